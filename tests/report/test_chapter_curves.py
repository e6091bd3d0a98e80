from __future__ import annotations

import json
from xml.etree import ElementTree

import polars as pl
import pytest

from hideseek.errors import UserError
from hideseek.report.chapters.curves import chapter, read_curve
from tests.report.chapter_evidence import evidence_of
from tests.report.finished_cells import HOSTILE, TOKEN, all_text, write_finished


def test_the_first_of_equal_scores_was_kept(tmp_path):
    curve = read_curve(write_finished(tmp_path, scores=(0.5, 0.9, 0.9, 0.7)))
    assert curve.chosen == 2
    assert curve.history["epoch"].to_list() == [1, 2, 3, 4]
    assert curve.history["train"].to_list() == pytest.approx([1.0, 0.9, 0.8, 0.7])
    assert curve.history["score"].to_list() == [0.5, 0.9, 0.9, 0.7]


def test_undefined_scores_are_never_chosen(tmp_path):
    assert read_curve(write_finished(tmp_path, scores=(None, 0.4, None))).chosen == 2
    assert read_curve(write_finished(tmp_path, seed=1, scores=(None, None))).chosen is None


def test_a_score_that_history_does_not_know_is_said(tmp_path):
    folder = write_finished(tmp_path, score=0.95)
    assert read_curve(folder).chosen is None
    made = chapter(evidence_of(cells=[folder]))
    assert any("cannot be told" in text and folder.name in text for text in made.sentences)
    assert made.tables[0].frame["chosen"].to_list() == [None]


def test_a_picture_for_each_network_and_a_row_for_each_cell(tmp_path):
    cells = [
        write_finished(tmp_path, model, roi, seed)
        for model in ("resnet50", "vgg11")
        for roi in ("original", "silhouette")
        for seed in (0, 1)
    ]
    made = chapter(evidence_of(cells=cells))
    assert made.absent == ""
    assert [picture.model for picture in made.pictures] == ["resnet50", "vgg11"]
    frame = made.tables[0].frame
    assert frame.height == 8
    assert set(frame["chosen"]) == {2} and set(frame["epochs"]) == {4}
    assert frame["last"].to_list() == [0.7] * 8


def test_labels_and_choice_of_epoch_keep_cells_apart(tmp_path):
    cells = [
        write_finished(tmp_path),
        write_finished(tmp_path, seed=1, config={"selection": "paper"}),
        write_finished(tmp_path, seed=2, config={"datamodule": {"shuffle_labels": True}}),
    ]
    worth = "Choosing the epoch on the test set (selection=paper) adds +2.0 points of accuracy."
    sections = {"selection": {"lines": [worth, "in /home/anna/sweeps/x"]}}
    made = chapter(evidence_of(cells=cells, sections=sections))
    assert worth in made.sentences and "anna" not in "".join(made.sentences)
    assert made.tables[0].frame["representation"].to_list() == [
        "original", "original selection=paper", "original labels shuffled",
    ]  # fmt: skip
    assert any("1 of 3 cells the test images chose" in text for text in made.sentences)


def test_cells_come_in_the_order_of_the_results(tmp_path):
    cells = [write_finished(tmp_path, roi=roi) for roi in ("lungs_removed", "original")]
    evidence = evidence_of(cells=cells)
    object.__setattr__(evidence, "results", pl.DataFrame({"folder": [cells[1].name]}))
    assert chapter(evidence).tables[0].frame["representation"][0] == "original"


DAMAGED = (
    "",
    "epoch",
    "epoch,val/balanced_accuracy\n0,0.5\n2,0.6\n",
    "epoch,val/balanced_accuracy\n0,0.5\n1,0.6,7,8\n",
    "epoch,val/balanced_accuracy\n0,wide\n",
    "epoch,seconds\n0,1\n",
    "\x00\x01",
)


def test_damaged_histories_are_left_out_with_a_sentence_each(tmp_path):
    good = write_finished(tmp_path)
    bad = [write_finished(tmp_path, seed=seed) for seed in range(1, len(DAMAGED) + 1)]
    for folder, damage in zip(bad, DAMAGED, strict=True):
        (folder / "history.csv").write_text(damage)
        with pytest.raises(UserError, match="history"):
            read_curve(folder)
    made = chapter(evidence_of(cells=[*bad, good]))
    assert made.tables[0].frame["folder"].to_list() == [good.name]
    for folder in bad:
        assert sum(folder.name in text for text in made.sentences) == 1


def test_a_history_that_ends_in_the_middle_of_a_line(tmp_path):
    folder = write_finished(tmp_path)
    text = (folder / "history.csv").read_text()
    (folder / "history.csv").write_text(text[:-8])
    assert read_curve(folder).history.height == 4


def test_no_cells_at_all():
    assert "run the sweep" in chapter(evidence_of()).absent


def test_hostile_names_stay_text_and_secrets_stay_out(tmp_path):
    folder = write_finished(tmp_path, HOSTILE, "../../etc/passwd", name="cell")
    made = chapter(evidence_of(cells=[folder]))
    text = all_text(made)
    assert "<script>alert" in made.tables[0].frame["model"][0]
    assert TOKEN not in text and "jane" not in text
    name, svg = made.pictures[0].name, made.pictures[0].svg
    assert name.replace("_", "").isalnum()
    root = ElementTree.fromstring(svg)
    assert not any(element.tag.endswith("script") for element in root.iter())


def test_history_without_the_monitored_score_falls_back(tmp_path):
    folder = write_finished(tmp_path, config={"task": {"monitor": "val/unheard"}})
    assert read_curve(folder).monitor == "val/balanced_accuracy"


def test_scores_of_a_cell_without_settings(tmp_path):
    folder = write_finished(tmp_path)
    (folder / "config.yaml").write_text("!!python/object/apply:os.system ['true']")
    assert read_curve(folder).chosen == 2
    assert json.loads((folder / "done.json").read_text())["score"] == 0.9
