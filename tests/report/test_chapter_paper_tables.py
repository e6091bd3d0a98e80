from __future__ import annotations

import polars as pl
import pytest

from hideseek.report.chapters.paper_tables import NETWORKS, chapter
from tests.report.chapter_evidence import HOSTILE, evidence_of, metrics

RESNET = pl.concat([
    metrics({("resnet50", "original"): (0.95, 0.92, 0.98), ("resnet50", "silhouette"): (0.4,) * 3,
             ("resnet50", "lungs_removed"): (0.8, 0.75, 0.85), (HOSTILE, "original"): (0.5,) * 3}),
    metrics({("resnet50", "original"): (0.91, 0.86, 0.96)}, "sens_covid19"),
    metrics({("resnet50", "original"): (0.99, 0.97, 1.0)}, "ppv_normal"),
])  # fmt: skip


def test_both_stand_under_one_another_as_in_the_paper():
    found = chapter(evidence_of({"metrics": RESNET}))
    assert [table.name for table in found.tables] == ["paper_table_7", "paper_intervals"]
    rows = {row["representation"] + row["of"]: row for row in found.tables[0].frame.to_dicts()}
    assert list(rows) == ["originalpaper", "originalthis sweep", "lungs_removedpaper",
                          "lungs_removedthis sweep"]  # fmt: skip
    # Table 7 of the paper: ResNet-50 on data 280 of 300, Wilson's interval by hand.
    paper, ours = rows["originalpaper"], rows["originalthis sweep"]
    assert (paper["accuracy"], paper["sens_covid"], paper["ppv_normal"]) == (0.933, 0.92, 0.905)
    p, z, n = 280 / 300, 1.959964, 300
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5 / (1 + z * z / n)
    assert (paper["low"], paper["high"]) == pytest.approx((middle - half, middle + half))
    assert (ours["accuracy"], ours["low"], ours["high"]) == (0.95, 0.92, 0.98)
    assert (ours["sens_covid"], ours["ppv_normal"]) == (0.91, 0.99)
    assert rows["lungs_removedpaper"]["accuracy"] == 0.927


def test_each_of_our_numbers_keeps_its_interval():
    table = chapter(evidence_of({"metrics": RESNET})).tables[-1].frame
    assert ("resnet50", "original", "sens_covid", 0.92, 0.91, 0.86, 0.96) in table.rows()
    assert table.height == 4


def test_networks_that_the_paper_lacks_are_named():
    found = chapter(evidence_of({"metrics": RESNET}))
    assert found.sentences[-1] == f"Not in the paper: {HOSTILE}."
    (picture,) = found.pictures
    assert picture.model == "resnet50" and picture.name == "paper_resnet50"


def test_none_of_these_is_in_the_paper():
    found = chapter(evidence_of({"metrics": metrics({("tiny", "original"): (0.9, 0.8, 1.0)})}))
    assert found.sentences == ("None of these networks is in the paper.",)
    assert found.tables == () and found.absent == ""


def test_another_spelling_of_covid_and_other_classes():
    renamed = RESNET.with_columns(pl.col("metric").str.replace("covid19", "COVID-19"))
    evidence = evidence_of({"metrics": renamed}, classes=["normal", "COVID-19", "other"])
    table = chapter(evidence).tables[0].frame
    assert "sens_covid" in table.columns and "sens_pneumonia" not in table.columns


def test_every_network_of_the_paper_is_known():
    every = metrics({(name, "original"): (0.9, 0.8, 0.95) for name in NETWORKS})
    tables = chapter(evidence_of({"metrics": every})).tables
    assert [each.name for each in tables[:-1]] == [f"paper_table_{n}" for n in (3, 4, 5, 6, 7)]
