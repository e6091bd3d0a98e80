from __future__ import annotations

from functools import cache

import polars as pl

from hideseek.report.chapters.sources import chapter
from hideseek.report.source_files import class_by_source, left_out_source
from hideseek.sweep.sheet import Sheet, sheet_text
from tests.report.chapter_evidence import HOSTILE, evidence_of, metrics

CELLS = [("tiny", "original"), ("tiny", "lungs_removed")]
FLOORS = pl.DataFrame({
    "floor": ["source", "all columns"], "columns": ["source", "source, view"], "images": [300] * 2,
    "fitted_on": [900] * 2, "correct": [210, 200], "accuracy": [0.7, 2 / 3],
    "macro_auc": [0.8, 0.7], "validated": [0.71, 0.7], "best": ["yes", None],
})  # fmt: skip
EXCESS = pl.DataFrame([
    {"model": model, "representation": name, "metric": metric, "network": 0.9, "floor": 0.7,
     "excess": 0.2, "low": low, "high": 0.3, "floor_of": "source"}
    for (model, name), low in zip(CELLS, (0.1, -0.1), strict=True)
    for metric in ("accuracy", "balanced_accuracy")
])  # fmt: skip
STRATA = pl.DataFrame([
    {"model": model, "representation": name, "class_a": HOSTILE, "class_b": "covid19",
     "by": "source", "verdict": "weakly", "stratum": stratum, "patients_a": 40, "patients_b": 5,
     "auc": auc, "auc_low": 0.5, "auc_high": 1.0}
    for model, name in CELLS
    for stratum, auc in (("all images", 0.95), ("within strata", 0.61), ("hospital", 0.6))
])  # fmt: skip
CONDITIONAL = pl.DataFrame([
    {"model": model, "representation": name, "by": "source", "patients": 45, "set_aside": 155,
     "strata": 1, "permutations": 2000, "log_loss_p": 0.3}
    for model, name in CELLS
])  # fmt: skip
PROBE = pl.DataFrame([
    {"column": "source", "features": kind, "model": model, "representation": name, "levels": "a, b",
     "left_out": None, "images": 300, "patients": 200, "chance": 0.5, "balanced_accuracy": 0.9,
     "low": 0.85, "high": 0.95, "label": 0.7, "label_low": 0.6, "label_high": 0.8,
     "reading": reading}
    for kind, model, name, reading in (
        ("label", None, None, "above chance"), ("pixels", None, "original", "beyond the label"),
        ("pixels", None, "lungs_isolated", "not above chance"),
        ("network", "tiny", "original", "no more than the label"),
    )
])  # fmt: skip
CONTENT = {
    "best_floor": "source", "not_available": {"view": "one view only"},
    "identifiable": [
        {"classes": ["normal", "covid19"], "by": ["source"], "verdict": "not", "strata": []},
        {"classes": ["pneumonia", "covid19"], "by": ["source"], "verdict": "weakly",
         "strata": ["hospital"]},
        {"classes": ["normal", "pneumonia"], "by": ["source"], "verdict": "identifiable",
         "strata": ["nih"]},
    ],
}  # fmt: skip
TABLES = {"floors": FLOORS, "excess": EXCESS, "strata": STRATA, "conditional": CONDITIONAL,
          "probe": PROBE}  # fmt: skip


@cache
def full():
    sections = {"sources": CONTENT, "probe": {"rungs": [], "left_out": {"cell9": "no weights"}}}
    return chapter(evidence_of(TABLES, sections=sections))


def test_the_floor_and_what_is_beyond_it():
    said = full().sentences
    assert any("source alone gives an accuracy of 0.700 on the same 300" in each for each in said)
    assert any("beyond the floor on original; not shown on lungs_removed." in each for each in said)
    assert "Not available: view, because: one view only." in said


def test_guessing_can_be_the_floor():
    floors = FLOORS.with_columns(best=pl.lit(None, pl.String))
    evidence = evidence_of({"floors": floors}, sections={"sources": {"best_floor": "guessing"}})
    assert any("guessing is the floor" in each for each in chapter(evidence).sentences)


def test_classes_that_share_no_source_are_not_identifiable():
    said = " ".join(full().sentences)
    assert "normal and covid19 share no source" in said and "(not identifiable)" in said
    assert "pneumonia and covid19 share a source for few patients only (hospital)" in said
    assert "normal and pneumonia share" not in said


def test_the_conditional_test_in_words():
    said = " ".join(full().sentences)
    assert "tiny, original: within source, its prediction is not shown to go with the label" in said
    assert "(p = 0.3, 45 patients)" in said
    low = CONDITIONAL.with_columns(log_loss_p=pl.lit(0.0005))
    found = chapter(evidence_of({"conditional": low}, sections={"sources": CONTENT}))
    assert any("goes with the label (p = 0.0005" in each for each in found.sentences)
    none = CONDITIONAL.with_columns(log_loss_p=pl.lit(None))
    found = chapter(evidence_of({"conditional": none}, sections={"sources": CONTENT}))
    assert any("no source holds two classes" in each for each in found.sentences)


def test_the_numbers_reach_the_tables():
    tables = {table.name: table.frame for table in full().tables}
    assert list(tables) == ["floors", "excess", "strata", "conditional", "probe"]
    assert tables["excess"].rows()[0] == ("tiny", "original", 0.9, 0.7, 0.2, 0.1, 0.3)
    assert tables["excess"].height == 2
    assert tables["strata"]["estimate"].to_list() == [0.95, 0.61, 0.6]
    assert tables["floors"]["images"].dtype == pl.Int64


def test_where_the_source_can_be_read():
    said = " ".join(full().sentences)
    assert (
        "From the pixels, the source can be read beyond what the label tells of it on: orig" in said
    )
    assert "From the features of tiny, the source can be read beyond what the label tells of it " \
        "on: no representation." in said  # fmt: skip
    assert "cell9 is not in the probe: no weights" in said


def test_the_pictures_hold_the_names_as_text():
    pictures = {picture.name: picture for picture in full().pictures}
    assert list(pictures) == ["excess", "within_1", "probe_1"]
    assert (
        "&lt;script&gt;" in pictures["within_1"].svg and "<script" not in pictures["within_1"].svg
    )
    assert ">within source<" in pictures["within_1"].svg
    assert ">the label alone<" in pictures["probe_1"].svg and ">pixels<" in pictures["probe_1"].svg


def test_both_parts_can_lack():
    found = chapter(evidence_of(sections={"sources": {"left_out": "the cache is gone"}}))
    assert "the cache is gone" in found.absent
    assert found.absent.count("hideseek audit 'multirun/my grid' parts=") == 2
    half = chapter(evidence_of(TABLES, sections={"sources": CONTENT}))
    assert half.tables and "parts=sources,probe" in half.absent


def test_test_images_are_counted_by_class_and_source(tmp_path):
    rows = {"source": ["a", "a", "b", None, "a"],
            "label": ["normal", "normal", "covid19", "pneumonia", "other"]}  # fmt: skip
    pl.DataFrame(rows).write_csv(tmp_path / "predictions.csv")
    evidence = evidence_of(cells=[tmp_path / "gone", tmp_path])
    assert class_by_source(evidence).rows() == [("a", 2, 0, 0), ("", 0, 1, 0), ("b", 0, 0, 1)]
    (picture,) = chapter(evidence).pictures
    assert ">unknown<" in picture.svg and ">2<" in picture.svg
    odd = evidence_of(cells=[tmp_path], classes=["source", "normal", "normal"])
    assert class_by_source(odd).shape == (3, 4)


def test_a_source_that_was_left_out_is_named(tmp_path):
    auc = metrics({("tiny", "original"): (0.61, 0.55, 0.67)}, "macro_auc")
    evidence = evidence_of({"metrics": auc}, sweep=tmp_path)
    assert left_out_source(tmp_path) == "" and chapter(evidence).sentences == ()
    settings = {"data": {"leave_out": "hospital9"}}
    sheet = Sheet("mine", "2026-01-01", "0.1.0", None, "0" * 16, {}, (), settings, ())
    (tmp_path / "sweep.yaml").write_text(sheet_text(sheet))
    (said,) = chapter(evidence).sentences
    assert "without the source hospital9" in said and "tiny 0.610 (0.55-0.67)" in said
