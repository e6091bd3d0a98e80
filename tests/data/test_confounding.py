from __future__ import annotations

import csv
import json
import math
from dataclasses import asdict
from pathlib import Path
from random import Random

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats.contingency import association
from sklearn.metrics import mutual_info_score

from hideseek.data.confounding import (
    Counts,
    associate,
    confounding,
    contingency,
    count_matrix,
    cramers_v,
    identifiable_pairs,
    mutual_information,
)

PAIRS = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz")), min_size=2, max_size=60)


def table(**columns: list[str]) -> pl.DataFrame:
    count = len(next(iter(columns.values())))
    patients = [f"p{number}" for number in range(count)]
    return pl.DataFrame({"patient_id": patients, **columns})


def counted(label: list[str], source: list[str]) -> Counts:
    return count_matrix(contingency(table(label=label, source=source)))


@pytest.fixture(scope="module")
def covidx_train(pack: Path) -> pl.DataFrame:
    """The training list and the RSNA headers, read here and not by the package's reader."""
    with (pack / "rsna-pneumonia/dicom_headers_covidx5.csv").open() as lines:
        views = {row["PatientID"]: row["ViewPosition"] for row in csv.DictReader(lines)}
    text = (pack / "COVID-Net/labels/train_COVIDx5.txt").read_text()
    rows = pl.DataFrame(
        [line.split(" ") for line in text.splitlines()],
        schema=["patient_id", "file", "label", "source"],
        orient="row",
    )
    suffix = pl.col("file").str.extract(r"\.(\w+)$")
    view = pl.col("patient_id").replace_strict(views, default="", return_dtype=pl.String)
    return rows.with_columns(view.alias("view"), suffix.alias("suffix"))


def test_contingency() -> None:
    rows = table(label=["b", "a", "b", "b"], source=["x", "x", "", "x"], view=["1", "1", "1", "2"])
    rows = rows.with_columns(pl.Series("patient_id", ["p", "q", "p", "p"]))
    cells = contingency(rows)
    assert cells.columns == ["label", "source", "images", "patients"]
    assert cells.rows() == [("a", "x", 1, 1), ("b", "", 1, 1), ("b", "x", 2, 1)]
    np.testing.assert_array_equal(count_matrix(cells), [[0, 1], [1, 2]])
    np.testing.assert_array_equal(count_matrix(cells, "patients"), [[0, 1], [1, 1]])
    # Joint levels in order: ("", 1), (x, 1), (x, 2).
    both = count_matrix(contingency(rows, "label", ["source", "view"]))
    np.testing.assert_array_equal(both, [[0, 1, 0], [1, 1, 1]])


def test_v_by_hand() -> None:
    # [[20, 10], [10, 20]]: chi2 = 60 (400 - 100)^2 / 30^4 = 6.667, phi2 = 1/9; corrected:
    # 1/9 - 1/59 = 0.094162; 2 - 1/59 = 1.983051; V = sqrt(0.094162 / 0.983051) = 0.309492.
    assert cramers_v(np.array([[20, 10], [10, 20]])) == pytest.approx(0.309492, abs=1e-6)
    assert cramers_v(np.array([[20, 10], [10, 20]]), corrected=False) == pytest.approx(1 / 3)
    assert cramers_v(np.array([[15, 15], [15, 15]])) == 0.0
    assert cramers_v(np.diag([5, 6, 7])) == pytest.approx(1.0)


@pytest.mark.parametrize("corrected", [True, False])
def test_v_where_it_is_not_defined(corrected: bool) -> None:
    for counts in ([[15, 15]], [[15], [3]], [[15, 3], [0, 0]], [[15, 0], [3, 0]]):
        assert cramers_v(np.array(counts), corrected) is None
    padded = cramers_v(np.array([[20, 0, 10], [0, 0, 0], [10, 0, 20]]), corrected)
    assert padded == cramers_v(np.array([[20, 10], [10, 20]]), corrected)


def test_corrected_v_is_nearly_0_on_many_independent_levels() -> None:
    rng = np.random.default_rng(0)
    drawn = [rng.multinomial(200, np.full(60, 1 / 60)).reshape(3, 20) for _ in range(50)]
    plain = [cramers_v(counts, corrected=False) or 0.0 for counts in drawn]
    corrected = [cramers_v(counts) or 0.0 for counts in drawn]
    assert np.mean(plain) > 0.25
    assert np.mean(corrected) < 0.1


def test_mutual_information_by_hand() -> None:
    assert mutual_information(np.eye(4)) == pytest.approx(2.0)
    assert mutual_information(np.ones((3, 5))) == pytest.approx(0.0)
    assert mutual_information(np.zeros((2, 2))) == 0.0
    # 90 and 10 images, told apart fully: H(0.1) = 0.468996 bits; balanced 1 bit.
    assert mutual_information(np.diag([90, 10])) == pytest.approx(0.468996, abs=1e-6)
    assert mutual_information(np.diag([90, 10]), balanced=True) == pytest.approx(1.0)


@given(PAIRS)
def test_bounds_and_references(pairs: list[tuple[str, str]]) -> None:
    label, source = (list(values) for values in zip(*pairs, strict=True))
    found = associate(table(label=label, source=source), ["source"])
    assert found.bits == pytest.approx(mutual_info_score(label, source) / math.log(2), abs=1e-9)
    assert 0 <= found.bits <= math.log2(len(set(label))) + 1e-9
    assert 0 <= found.balanced_bits <= math.log2(len(set(label))) + 1e-9
    assert 0 <= found.balanced_share <= 1 + 1e-9
    counts = counted(label, source)
    if min(counts.shape) > 1:
        assert found.v == pytest.approx(association(counts))
        assert found.v_corrected is None or 0 <= found.v_corrected <= 1
    else:
        assert found.v is None and found.v_corrected is None


@given(PAIRS, st.randoms(use_true_random=False))
def test_neither_order_nor_names_matter(pairs: list[tuple[str, str]], random: Random) -> None:
    first = associate(table(label=[a for a, _ in pairs], source=[b for _, b in pairs]), ["source"])
    random.shuffle(pairs)
    label = [{"a": "z", "b": "k"}[a] for a, _ in pairs]
    source = [{"x": "", "y": "u", "z": "c"}[b] for _, b in pairs]
    other = associate(table(label=label, source=source), ["source"])
    for name in ("levels", "v", "v_corrected", "bits", "balanced_bits", "balanced_share"):
        # The root in V turns a rounding error of 1e-16 near 0 into 1e-8.
        assert getattr(other, name) == pytest.approx(getattr(first, name), abs=1e-6)


def test_pairs() -> None:
    labels = ["a"] * 12 + ["b"] * 12 + ["c"] * 3 + ["a"]
    sources = ["s"] * 24 + ["t"] * 4
    pairs = identifiable_pairs(table(label=labels, source=sources))
    assert pairs.rows() == [
        ("a", "b", ["s"], [12], [12], 12, 12, "identifiable"),
        ("a", "c", ["t"], [1], [3], 1, 3, "weakly"),
        ("b", "c", [], [], [], 0, 0, "not"),
    ]


def test_a_patient_in_two_strata_counts_once() -> None:
    """Six patients with an AP and a PA image each are six and not twelve: weakly."""
    rows = pl.DataFrame(
        [
            (label, view, f"{label}{number}")
            for label in "ab"
            for view in ("AP", "PA")
            for number in range(6 if label == "a" else 20)
        ],
        schema=["label", "view", "patient_id"],
        orient="row",
    )
    pairs = identifiable_pairs(rows, ["view"])
    assert pairs.rows() == [("a", "b", ["AP", "PA"], [6, 6], [20, 20], 6, 20, "weakly")]


def test_unknown_is_a_stratum() -> None:
    rows = table(label=["a", "b"], source=["", ""])
    assert identifiable_pairs(rows).get_column("strata").to_list() == [["unknown"]]


def test_covidx_train(covidx_train: pl.DataFrame) -> None:
    """Audit specification, 0.2 and 0.7: the five sources, the views of RSNA alone."""
    assert covidx_train.height == 13_958
    report = confounding(covidx_train, ["source", "view", "suffix"])
    found = {found.columns: found for found in report.associations}
    source, both = found["source",], found["source", "view"]
    assert source.v == pytest.approx(0.67351, abs=5e-6)  # "0.674"
    assert source.v_corrected == pytest.approx(0.67335, abs=5e-6)  # which would round to 0.673
    assert source.bits == pytest.approx(0.21625, abs=5e-6)  # "0.2162"
    assert source.balanced_bits == pytest.approx(0.89636, abs=5e-6)  # "0.8964"
    assert source.balanced_share == pytest.approx(0.57, abs=5e-3)
    assert both.balanced_bits == pytest.approx(1.07516, abs=5e-6)  # "1.075"
    assert both.balanced_share == pytest.approx(0.68, abs=5e-3)
    assert report.view_given_source_bits == pytest.approx(0.25067, abs=5e-6)  # "0.2507"
    assert ("COVID-19", "cohen", 439) in [cell[:3] for cell in source.counts]


def test_covidx_extension(covidx_train: pl.DataFrame) -> None:
    """0.513 is plain V of the training list with extensions in lower case; one file is .JPG."""
    lower = covidx_train.with_columns(pl.col("suffix").str.to_lowercase())
    assert associate(lower, ["suffix"]).v == pytest.approx(0.51309, abs=5e-6)
    assert associate(covidx_train, ["suffix"]).v == pytest.approx(0.51387, abs=5e-6)


def test_covidx_pairs(covidx_train: pl.DataFrame) -> None:
    pairs = identifiable_pairs(covidx_train)
    assert pairs.drop("patients_a", "patients_b").rows() == [
        ("COVID-19", "normal", [], [], [], "not"),
        ("COVID-19", "pneumonia", ["cohen"], [439], [52], "identifiable"),
        ("normal", "pneumonia", ["rsna"], [7966], [5423], "identifiable"),
    ]


def test_the_report_is_json(covidx_train: pl.DataFrame) -> None:
    report = asdict(confounding(covidx_train))
    again = json.loads(json.dumps(report))
    assert [pair["verdict"] for pair in again["pairs"]] == [
        pair["verdict"] for pair in report["pairs"]
    ]
    assert again["associations"][0]["counts"][0][:2] == ["COVID-19", "actmed"]


def test_columns_that_are_absent_or_constant_are_left_out() -> None:
    rows = table(label=["a", "b", "a", ""], source=["s", "s", "s", "t"])
    report = confounding(rows)  # the row without a label does not make `source` vary
    assert report.associations == ()
    assert report.view_given_source_bits is None
    assert [pair.verdict for pair in report.pairs] == ["weakly"]
