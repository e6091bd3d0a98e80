from __future__ import annotations

import polars as pl

from hideseek.report.chapters.matrix import WARNING, chapter
from tests.report.chapter_evidence import HOSTILE, evidence_of

NAMES = ("original", "lungs_removed", "silhouette")
TABLE = pl.DataFrame([
    {"model": HOSTILE, "trained_on": trained, "tested_on": tested, "metric": metric,
     "diagonal": "yes" if trained == tested else "no", "seeds": 1,
     "estimate": 0.5 + row / 10 + column / 100, "low": 0.4, "high": 0.99, "drop": 0.01,
     "drop_low": 0.0, "drop_high": 0.02}
    for metric in ("accuracy", "macro_auc")
    for row, trained in enumerate(NAMES[:2]) for column, tested in enumerate(NAMES)
])  # fmt: skip
CONTENT = {"images": 300, "left_out": {}, "reproduced": {"a": {"same": True, "changed": 0}}}


def matrix_of(content, table=TABLE):
    return chapter(
        evidence_of({"cross_representation": table}, sections={"cross_representation": content})
    )


def test_rows_are_what_was_trained_on_and_columns_what_was_tested():
    found = matrix_of(CONTENT)
    (table,), (picture,) = found.tables, found.pictures
    assert table.frame.height == 6
    cells = {row[1:3]: row[3:] for row in table.frame.rows()}
    assert cells["lungs_removed", "silhouette"] == (0.62, 0.4, 0.99, 0.01, 0.0, 0.02)
    places = [picture.svg.index(f">{value}<") for value in
              ("0.500", "0.510", "0.520", "0.600", "0.610", "0.620")]  # fmt: skip
    assert places == sorted(places)
    assert ">0.40-0.99<" in picture.svg
    assert picture.svg.count("stroke: #d55e00") == 2
    assert picture.model == HOSTILE and "&lt;script&gt;" not in picture.name


def test_the_reader_is_warned_that_it_is_out_of_distribution():
    assert matrix_of(CONTENT).sentences == (WARNING,)
    assert "out of distribution" in WARNING


def test_cells_that_cannot_be_trusted_are_named():
    content = {"images": 30, "left_out": {"cell1": "no checkpoint"},
               "reproduced": {"cell2": {"same": False, "changed": 3}}}  # fmt: skip
    said = " ".join(matrix_of(content).sentences)
    assert "Of 30 of the 300 test images" in said
    assert "cell1 is not in the matrix: no checkpoint" in said
    assert "cell2: its checkpoint does not give its predictions again" in said


def test_a_part_that_is_not_there_names_its_command():
    left_out = chapter(evidence_of(sections={"matrix": {"left_out": "its checkpoint is gone"}}))
    assert "its checkpoint is gone" in left_out.absent
    for found in (left_out, chapter(evidence_of(sections={}))):
        assert found.absent.endswith("hideseek audit 'multirun/my grid' parts=matrix")
        assert found.pictures == () and found.tables == ()


def test_a_table_of_an_earlier_audit_is_not_taken_for_this_ones():
    assert chapter(evidence_of({"cross_representation": TABLE}, sections={})).tables == ()
