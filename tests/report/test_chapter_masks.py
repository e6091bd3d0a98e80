from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from PIL import Image

from hideseek.data.cache import Cache
from hideseek.report.chapters.masks import chapter
from tests.report.chapter_evidence import evidence_of
from tests.report.finished_cells import HOSTILE, all_text, write_finished

CLASSES = ("normal", "pneumonia", "covid19")


def write_masks(path, flagged, source="hospital0", patients=40):
    """One mask a patient; `flagged` of each class are, and covid19 has the larger lungs."""
    rows = [
        {"image_id": f"{label}{number}", "label": label, "source": source,
         "patient_id": f"{label}{number}", "mask_from": "segmenter" if number % 2 else "manifest",
         "mask_area": f"{0.2 + number / 1000:.3f}", "mask_disagreement": "",
         "mask_quality": "0.9", "mask_shape_quality": "0.8",
         "mask_flags": "ragged" if number < flagged.get(label, 0) else ""}
        for label in CLASSES
        for number in range(patients)
    ]  # fmt: skip
    pl.DataFrame(rows).write_csv(path.with_suffix(".masks.csv"))


@pytest.fixture
def cell(small_cache, tmp_path):
    """A cell that read a cache with masks beside it."""
    path = small_cache()
    folder = write_finished(
        tmp_path / "sweep", name="cell", recipe_hash=Cache(path).recipe.digest()
    )
    (folder / "provenance.json").write_text(json.dumps({"cache": str(path)}))
    return folder, path


def chapter_of(cell):
    return chapter(evidence_of(sweep=str(cell.parent), cells=[cell]))


def test_counts_and_means_by_hand_and_no_alarm(cell):
    folder, path = cell
    write_masks(path, {"normal": 2})
    made = chapter_of(folder)
    assert any(text.startswith("No alarm") for text in made.sentences)
    assert made.sentences[0].startswith("60 of 120 masks were made by the segmenter")
    summary, tests = made.tables
    normal = summary.frame.filter(pl.col("label") == "normal", pl.col("source") == "all")
    row = normal.to_dicts()[0]
    assert (row["n"], row["patients"], row["empty"], row["flagged"]) == (40, 40, 0, 2)
    assert row["flagged_share"] == pytest.approx(0.05)
    assert row["area_mean"] == pytest.approx(np.mean([0.2 + n / 1000 for n in range(40)]))
    assert row["quality_mean"] == pytest.approx(0.8)  # the shape's, for there was no second look
    assert set(tests.frame["measure"]) == {"area", "quality", "failed"}
    assert not tests.frame["alarm"].any()


def test_masks_that_fail_in_one_class_raise_an_alarm(cell):
    folder, path = cell
    write_masks(path, {"covid19": 30})
    made = chapter_of(folder)
    alarms = [text for text in made.sentences if text.startswith("ALARM")]
    assert len(alarms) == 1 and "covid19" in alarms[0] and "75 points" in alarms[0]
    failed = made.tables[1].frame.filter(pl.col("measure") == "failed", pl.col("alarm"))
    assert failed["greater"].to_list() == ["covid19"]


def test_one_cache_is_judged_once_and_the_worst_are_shown(cell, tmp_path):
    folder, path = cell
    write_masks(path, {})
    Image.fromarray(np.zeros((50, 1800, 3), np.uint8)).save(path.with_suffix(".masks.png"))
    twin = write_finished(folder.parent, seed=1, recipe_hash=Cache(path).recipe.digest())
    made = chapter(evidence_of(sweep=str(folder.parent), cells=[folder, twin]))
    assert len(made.pictures) == 2
    assert made.pictures[1].svg == "" and made.pictures[1].png[:4] == b"\x89PNG"


def test_a_damaged_sheet_is_no_reason_to_stop(cell):
    folder, path = cell
    write_masks(path, {})
    path.with_suffix(".masks.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    assert len(chapter_of(folder).pictures) == 1


def test_a_cache_elsewhere_is_absent_and_says_what_to_do(tmp_path):
    folder = write_finished(tmp_path / "sweep")
    made = chapter_of(folder)
    assert "hideseek prepare" in made.absent and "cache-x.h5" in made.absent
    assert "jane" not in made.absent
    assert made.tables == () and made.pictures == ()


def test_no_table_beside_the_cache(cell):
    folder, path = cell
    assert f"{path.stem}.masks.csv is not beside" in chapter_of(folder).absent
    path.with_suffix(".masks.csv").write_text("image_id\n1\n")
    assert "hideseek prepare" in chapter_of(folder).absent


def test_no_cells():
    assert "no cell is finished" in chapter(evidence_of()).absent


def test_a_hostile_source_stays_text(cell):
    folder, path = cell
    write_masks(path, {}, source=HOSTILE)
    made = chapter_of(folder)
    assert HOSTILE in made.tables[0].frame["source"].to_list()
    assert "<script" not in made.pictures[0].svg and "&lt;script" in made.pictures[0].svg
    assert "home" not in all_text(made)
