from __future__ import annotations

import json

import polars as pl
import pytest

from hideseek.data.cache import Cache
from hideseek.report.chapters.checklists import (
    AUTHORS,
    NAMES,
    Checklist,
    Item,
    chapter,
    filled,
    read_checklist,
)
from hideseek.report.split_facts import SplitFacts, split_facts
from hideseek.report.sweep_facts import sweep_facts
from tests.report.chapter_evidence import evidence_of, metrics
from tests.report.finished_cells import HOSTILE, TOKEN, all_text, write_finished

TRIPOD = (
    "1 2 3a 3b 3c 4 5a 5b 6a 6b 6c 7 8a 8b 8c 9a 9b 9c 10 11 12a 12b 12c 12d 12e 12f 12g 13 14 15 "
    "16 17 18a 18b 18c 18d 18e 18f 19 20a 20b 20c 21 22 23a 23b 24 25 26 27a 27b 27c"
)


def audited(cells=(), sweep="s", **audit):
    table = pl.concat([metrics({("resnet50", "original"): (0.9, 0.85, 0.95)}, name)
                       for name in ("accuracy", "macro_auc", "sens_normal")])  # fmt: skip
    return evidence_of({"metrics": table}, sweep=str(sweep), cells=cells, **audit)


def test_items_are_numbered_as_in_the_guidelines():
    claim, tripod = map(read_checklist, NAMES)
    assert [item.number for item in claim.items] == [str(n) for n in range(1, 45)]
    assert [item.number for item in tripod.items] == TRIPOD.split()
    assert (claim.doi, tripod.doi) == ("10.1148/ryai.240300", "10.1136/bmj-2023-078378")


@pytest.mark.parametrize("name", NAMES)
def test_every_fact_that_a_checklist_asks_for_can_be_there(name, small_cache, tmp_path):
    path = small_cache()
    cell = write_finished(tmp_path / "sweep", recipe_hash=Cache(path).recipe.digest())
    (cell / "provenance.json").write_text(json.dumps({"cache": str(path), "packages": {"a": "1"}}))
    sections = {"sources": {"x": 1}, "attribution": {"method": "Grad-CAM", "images": 3}}
    evidence = audited([cell], cell.parent, sections=sections,
                       verdicts=[{"model": "resnet50", "sentence": "resnet50 reads."}])  # fmt: skip
    facts = sweep_facts(evidence)
    for item in read_checklist(name).items:
        assert item.fact or item.rest, item.number
        if item.fact:
            assert facts.get(item.fact), (item.number, item.fact)


def test_filling_in():
    items = (Item("1", "a", "Whole", "known"), Item("2", "a", "Part", "known", "the rest"),
             Item("3", "b", "Unknown", "missing"), Item("4", "b", "Theirs", "", "all"))  # fmt: skip
    frame = filled(Checklist("C", "10.1/x", items), {"known": "It is so."})
    assert frame["answer"].to_list() == ["It is so.", "It is so.", AUTHORS, AUTHORS]
    assert frame["authors"].to_list() == ["", "the rest", "unknown", "all"]


def test_counts_of_a_cache_by_hand(small_cache, tmp_path):
    path = small_cache()
    cell = write_finished(tmp_path / "sweep", recipe_hash=Cache(path).recipe.digest())
    (cell / "provenance.json").write_text(json.dumps({"cache": str(path)}))
    facts = sweep_facts(audited([cell], cell.parent))
    assert facts["counts"] == (
        "Images and patients used: training 18 images of 9 patients; validation 6 images of 3 "
        "patients; test 12 images of 6 patients."
    )
    assert facts["disjoint"].startswith("Patients: none")
    assert "covid19 4, normal 4, pneumonia 4" in facts["classes"]
    assert "no external test" in facts["external"]


def test_patients_in_two_splits_and_new_sources_are_counted():
    rows = pl.DataFrame(
        {"image_id": ["a", "b", "c"], "label": "normal", "source": ["x", "x", "y"],
         "patient_id": ["p", "q", "p"], "split": ["train", "val", "test"]}
    )  # fmt: skip
    known = SplitFacts(rows, True)
    assert known.shared_patients() == 1
    assert known.external() is True
    assert "without training images: y" in known.sources()
    assert SplitFacts(rows, False).external() is None


def test_without_the_cache_only_test_images_are_known(tmp_path):
    cell = write_finished(tmp_path)
    (cell / "predictions.csv").write_text(
        "image_id,patient_id,source,split,label\na,p,x,test,normal\nb,p,,test,covid19\n"
    )
    known = split_facts(audited([cell], tmp_path))
    assert known is not None and known.counts() == "test 2 images of 1 patients"
    assert "not named 1" in known.sources()
    (cell / "predictions.csv").write_text("broken")
    assert split_facts(audited([cell], tmp_path)) is None


def test_what_is_stated_is_what_the_cells_say(tmp_path):
    cells = [write_finished(tmp_path), write_finished(tmp_path, seed=3)]
    facts = sweep_facts(audited(cells, tmp_path))
    assert facts["initialisation"] == "First weights: resnet50 imagenet; seeds 0, 3."
    assert "learning rate 0.0001 (constant)" in facts["training"]
    assert "validation images" in facts["selection"]
    assert facts["performance"] == (
        "With nothing hidden, 95 % intervals: resnet50: accuracy 0.900 (0.85-0.95), "
        "macro AUC 0.900 (0.85-0.95)."
    )
    assert "sens_normal 0.900" in facts["estimates"]
    assert "300 test images of 200 patients." in facts["sample_size"]
    paper = write_finished(tmp_path, seed=4, config={"selection": "paper"})
    assert "test images, as in the paper" in sweep_facts(audited([paper], tmp_path))["selection"]


def test_the_chapter_and_hostile_cells(tmp_path):
    cell = write_finished(tmp_path, HOSTILE, name="cell", classes=[HOSTILE])
    made = chapter(audited([cell], tmp_path, classes=[HOSTILE]))
    assert [table.name for table in made.tables] == list(NAMES)
    text = all_text(made)
    assert HOSTILE in text and TOKEN not in text and "jane" not in text
    assert "of 44 items" in text and "of 52 items" in text


def test_no_cells_leave_nearly_all_to_the_authors():
    frames = [table.frame for table in chapter(evidence_of()).tables]
    assert all((frame["answer"] == AUTHORS).sum() > frame.height / 3 for frame in frames)
