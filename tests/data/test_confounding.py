from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats.contingency import association
from sklearn.metrics import mutual_info_score

from hideseek.data.confounding import (
    associate,
    confounding,
    contingency,
    corrected_v,
    identifiable_pairs,
    mutual_information,
)
from hideseek.data.sources import covidx


def table(**columns: list[str]) -> pl.DataFrame:
    count = len(next(iter(columns.values())))
    patients = [f"p{number}" for number in range(count)]
    return pl.DataFrame({"patient_id": patients, **columns})


@pytest.fixture(scope="module")
def covidx_train(pack: Path) -> pl.DataFrame:
    return covidx.read(pack).rows.filter(pl.col("split") == "train")


def test_counts() -> None:
    rows = table(label=["b", "a", "b", "b"], source=["x", "x", "", "x"], view=["1", "1", "1", "2"])
    np.testing.assert_array_equal(contingency(rows, ["source"]), [[0, 1], [1, 2]])
    # Joint levels in order: ("", 1), (x, 1), (x, 2).
    np.testing.assert_array_equal(contingency(rows, ["source", "view"]), [[0, 1, 0], [1, 1, 1]])


def test_corrected_v_by_hand() -> None:
    # [[20, 10], [10, 20]]: chi2 = 60 (400 - 100)^2 / 30^4 = 6.667, phi2 = 1/9; corrected:
    # 1/9 - 1/59 = 0.094162; 2 - 1/59 = 1.983051; V = sqrt(0.094162 / 0.983051) = 0.309492.
    assert corrected_v(np.array([[20, 10], [10, 20]])) == pytest.approx(0.309492, abs=1e-6)
    assert corrected_v(np.array([[15, 15], [15, 15]])) == 0.0
    assert corrected_v(np.array([[15, 15]])) is None


def test_mutual_information_by_hand() -> None:
    assert mutual_information(np.eye(4)) == pytest.approx(2.0)
    assert mutual_information(np.ones((3, 5))) == pytest.approx(0.0)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz")), min_size=2, max_size=60))
def test_bounds_and_references(pairs: list[tuple[str, str]]) -> None:
    label, source = zip(*pairs, strict=True)
    found = associate(table(label=list(label), source=list(source)), ["source"])
    assert found.bits == pytest.approx(mutual_info_score(label, source) / math.log(2), abs=1e-9)
    assert 0 <= found.balanced_bits <= 1 + 1e-9
    counts = contingency(table(label=list(label), source=list(source)), ["source"])
    if min(counts.shape) > 1:
        assert found.v == pytest.approx(association(counts))
        assert found.v_corrected is None or 0 <= found.v_corrected <= 1
    renamed = table(label=[x + "!" for x in label[::-1]], source=[x + "?" for x in source[::-1]])
    assert associate(renamed, ["source"]).balanced_bits == pytest.approx(found.balanced_bits)


def test_pairs() -> None:
    labels = ["a"] * 12 + ["b"] * 12 + ["c"] * 3 + ["a"]
    sources = ["s"] * 24 + ["t"] * 4
    pairs = identifiable_pairs(table(label=labels, source=sources), ["source"])
    assert [(pair.classes, pair.strata, pair.patients, pair.verdict) for pair in pairs] == [
        (("a", "b"), ("s",), (12, 12), "identifiable"),
        (("a", "c"), ("t",), (1, 3), "weakly"),
        (("b", "c"), (), (0, 0), "not"),
    ]


def test_covidx_train(covidx_train: pl.DataFrame) -> None:
    """Audit specification, 0.2 and 0.7."""
    coarse = covidx_train.with_columns(
        pl.when(pl.col("source") == "rsna").then(pl.col("view")).otherwise(pl.lit("")).alias("view")
    )
    found = {found.columns: found for found in confounding(coarse).associations}
    source, both = found["source",], found["source", "view"]
    assert source.v == pytest.approx(0.674, abs=5e-4)
    assert source.bits == pytest.approx(0.2162, abs=5e-5)
    assert source.balanced_bits == pytest.approx(0.8964, abs=5e-5)
    assert source.balanced_share == pytest.approx(0.57, abs=5e-3)
    assert both.balanced_bits == pytest.approx(1.075, abs=5e-4)
    assert confounding(coarse).view_given_source_bits == pytest.approx(0.2507, abs=5e-5)
    suffix = covidx_train.with_columns(pl.col("listed_as").str.extract(r"\.(\w+)$").alias("suffix"))
    assert associate(suffix, ["suffix"]).v == pytest.approx(0.5139, abs=5e-5)  # "0.513"
    verdicts = {
        pair.classes: (pair.strata, pair.verdict)
        for pair in confounding(coarse).pairs
        if pair.by == ("source",)
    }
    assert verdicts == {
        ("covid19", "normal"): ((), "not"),
        ("covid19", "pneumonia"): (("cohen",), "identifiable"),
        ("normal", "pneumonia"): (("rsna",), "identifiable"),
    }


def test_columns_that_are_absent_or_constant_are_left_out() -> None:
    rows = table(label=["a", "b", "a"], source=["s", "s", "s"])
    report = confounding(rows)
    assert report.associations == ()
    assert report.view_given_source_bits is None
    assert [pair.verdict for pair in report.pairs] == ["weakly"]
