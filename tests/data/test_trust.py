from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, kruskal
from sklearn.metrics import roc_auc_score
from statsmodels.stats.multitest import multipletests

from hideseek.data.mask_facts import estimated_quality, implausible, mask_facts
from hideseek.data.phantom import CLASSES, PhantomRecipe, draw
from hideseek.data.trust import (
    PERMUTATIONS,
    Gate,
    gate,
    permutation_test,
    stratified_auc,
    summarize,
    worst,
)

AB = ("a", "b")


def images(
    counts: dict[tuple[str, str], int],
    area: Callable[[str, str], float] = lambda label, source: 0.0,
    quality: Callable[[str, str], float] = lambda label, source: 0.0,
    failed: Callable[[str, str], float] = lambda label, source: 0.05,
    each: int = 1,
) -> pl.DataFrame:
    """Draw a table: patients of each (label, source), `each` images of every patient."""
    rng, rows = np.random.default_rng(0), []
    for (label, source), count in counts.items():
        for number in range(count):
            row = {
                "label": label,
                "source": source,
                "patient_id": f"{label}{source}{number}",
                "area": 0.3 + 0.02 * (rng.normal() + area(label, source)),
                "quality": 0.9 + 0.02 * (rng.normal() + quality(label, source)),
                "flagged": bool(rng.uniform() < failed(label, source)),
            }
            rows += [row] * each
    return pl.DataFrame(rows)


EVEN = {(label, source): 60 for label in AB for source in ("x", "y")}
APART = {("a", "x"): 80, ("b", "y"): 80}


def alarms(report: Gate) -> set[tuple[str, str]]:
    return {(test.measure, test.scope) for test in report.tests if test.alarm}


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2)), min_size=8, max_size=40))
@settings(max_examples=20, deadline=None)
def test_one_stratum_is_kruskal_wallis(rows: list[tuple[int, int]]) -> None:
    values, label = (np.array(column) for column in zip(*rows, strict=True))
    share, _ = permutation_test(values.astype(float), label, np.zeros_like(label))
    groups = [values[label == name] for name in np.unique(label)]
    if len(groups) > 1 and len(set(values)) > 1:
        assert share == pytest.approx(kruskal(*groups).statistic / (len(values) - 1))


def test_p_values_agree_with_the_asymptotic_ones() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 300)
    for shift in (0.0, 0.1, 0.15, 0.2):
        values = rng.normal(size=300) + shift * label
        expected = kruskal(*(values[label == name] for name in range(3))).pvalue
        _, p = permutation_test(values, label, np.zeros_like(label))
        assert p == pytest.approx(expected, abs=4 * np.sqrt(expected / PERMUTATIONS) + 0.005)
    failed = (rng.uniform(size=300) < 0.1 + 0.05 * label).astype(float)
    counts = np.array([np.bincount(label[failed == value], minlength=3) for value in (0, 1)])
    share, _ = permutation_test(failed, label, np.zeros_like(label))
    assert share == pytest.approx(chi2_contingency(counts, correction=False).statistic / 300)


def test_strata_remove_what_lies_between_them() -> None:
    rng = np.random.default_rng(0)
    strata = np.repeat([0, 1], 100)
    label = (rng.uniform(size=200) < np.where(strata == 0, 0.2, 0.8)).astype(int)
    values = rng.normal(size=200) + 3 * strata
    assert permutation_test(values, label, np.zeros_like(label))[1] < 0.001
    assert permutation_test(values, label, strata)[1] > 0.05
    assert permutation_test(values + label, label, strata)[1] < 0.001
    assert permutation_test(np.ones(200), label, strata) == (0.0, 1.0)


def test_p_values_are_uniform_without_a_difference() -> None:
    rng = np.random.default_rng(0)
    strata, label = rng.integers(0, 3, 60), rng.integers(0, 2, 60)
    ps = [permutation_test(rng.normal(size=60), label, strata, seed)[1] for seed in range(100)]
    assert 0.4 < np.mean(ps) < 0.6 and np.mean(np.array(ps) < 0.1) < 0.2


def test_auc() -> None:
    rng = np.random.default_rng(0)
    values, label = rng.integers(0, 9, 80).astype(float), rng.integers(0, 2, 80)
    once = np.zeros_like(label)
    assert stratified_auc(values, label, once, 1, 0) == pytest.approx(roc_auc_score(label, values))
    # Stratum 0: 1 of 1 pair won. Stratum 1: 1 of 2 pairs won, 1 tied. Stratum 2 has no pair.
    values, label = np.array([2.0, 1, 5, 5, 4, 9]), np.array([1, 0, 1, 0, 0, 0])
    strata = np.array([0, 0, 1, 1, 1, 2])
    assert stratified_auc(values, label, strata, 1, 0) == pytest.approx(2.5 / 3)


def test_no_difference_no_alarm() -> None:
    report = gate(images(EVEN), AB)
    assert not report.alarm and report.sentences == () and len(report.tests) == 6
    assert report.tests == gate(images(EVEN), AB).tests
    assert gate(images(EVEN), AB, seed=1).tests != report.tests


def test_holm() -> None:
    report = gate(images(EVEN, area=lambda label, source: 0.4 * (label == "b")), AB)
    expected = multipletests([test.p for test in report.tests], method="holm")[1]
    assert [test.p_holm for test in report.tests] == pytest.approx(expected)


def test_each_measure_has_its_own_alarm_and_wording() -> None:
    ill = lambda label, source: -1.5 * (label == "b")  # noqa: E731
    area = gate(images(EVEN, area=ill), AB)
    assert alarms(area) == {("area", "within_source")}
    assert "lung area: greater in a than in b" in area.sentences[0]
    assert "lungs_removed" in area.sentences[0] and "within their sources" in area.sentences[0]
    test = area.tests[0]
    assert test.pair == ("a", "b") and 0.8 < test.auc < 0.95 and test.patients == 240
    quality = gate(images(EVEN, quality=ill), AB)
    assert alarms(quality) == {("quality", "within_source")}
    assert "errors of the masks depend on the class" in quality.sentences[0]
    failing = gate(images(EVEN, failed=lambda label, source: 0.3 if label == "b" else 0.03), AB)
    assert alarms(failing) == {("flagged", "within_source")}
    assert "points more in b than in a" in failing.sentences[0]


def test_a_small_difference_is_no_alarm_however_certain() -> None:
    many = {key: 2000 for key in EVEN}
    report = gate(images(many, area=lambda label, source: 0.25 * (label == "b")), AB)
    assert report.tests[0].p_holm < 0.01 and not report.alarm


def test_what_the_source_explains_is_no_alarm_where_classes_share_it() -> None:
    counts = {("a", "x"): 90, ("b", "x"): 20, ("a", "y"): 20, ("b", "y"): 90}
    hospital = lambda label, source: 3.0 * (source == "y")  # noqa: E731
    report = gate(images(counts, area=hospital), AB)
    overall = next(t for t in report.tests if t.measure == "area" and t.scope == "overall")
    assert overall.p_holm < 0.01 and overall.auc > 0.75
    assert not report.alarm


def test_classes_without_a_shared_source_are_compared_overall() -> None:
    report = gate(images(APART, area=lambda label, source: 1.5 * (label == "b")), AB)
    assert alarms(report) == {("area", "overall")}
    assert "they share no source" in report.sentences[0]
    assert {test.scope for test in report.tests} == {"overall"}
    assert not gate(images(APART), AB).alarm


def test_a_pair_that_hardly_shares_a_source_counts_as_apart() -> None:
    counts = {**APART, ("b", "x"): 9}
    report = gate(images(counts, area=lambda label, source: 1.5 * (label == "b")), AB)
    assert alarms(report) == {("area", "overall")}
    assert gate(images({("a", "x"): 9, ("b", "x"): 9}), AB).tests == ()


def test_repeated_images_of_a_patient_count_once() -> None:
    shift = lambda label, source: 0.5 * (label == "b")  # noqa: E731
    one, five = (gate(images(EVEN, area=shift, each=each), AB) for each in (1, 5))
    assert one.tests == five.tests
    assert five.summary["n"].to_list() == [5 * n for n in one.summary["n"]]


def test_little_to_compare() -> None:
    table = images(EVEN)
    assert gate(table, ("a",)).tests == () and gate(table.head(0), AB).tests == ()
    unknown = gate(table.with_columns(quality=pl.lit(None)), AB)
    assert {test.measure for test in unknown.tests} == {"area", "flagged"}
    empty = gate(table.with_columns(area=0.0, quality=0.0, flagged=True), AB)
    assert not empty.alarm and {test.p for test in empty.tests} == {1.0}


def test_summary_by_hand() -> None:
    table = pl.DataFrame(
        {
            "label": ["a", "a", "b", "a"],
            "source": ["x", "x", "x", "y"],
            "patient_id": ["p1", "p1", "p2", "p3"],
            "area": [0.2, 0.4, 0.0, 0.3],
            "quality": [0.9, 0.7, 0.0, 0.8],
            "flagged": [False, True, True, False],
        }
    )
    rows = {(row["label"], row["source"]): row for row in summarize(table).to_dicts()}
    assert len(rows) == 2 + 2 + 3
    a, x = rows["a", None], rows[None, "x"]
    assert (a["n"], a["patients"], a["empty"], a["flagged"]) == (3, 2, 0, 1)
    assert (a["area_mean"], a["area_median"], a["area_p5"]) == pytest.approx((0.3, 0.3, 0.21))
    assert (x["n"], x["patients"], x["empty"], x["flagged"]) == (3, 2, 1, 2)
    assert (x["quality_mean"], x["quality_p5"]) == pytest.approx((1.6 / 3, 0.07))
    assert rows["b", "x"]["n"] == 1


def test_worst_first() -> None:
    table = pl.DataFrame(
        {
            "image_id": ["fair", "poor", "odd", "empty", "unknown"],
            "area": [0.3, 0.3, 0.3, 0.0, 0.3],
            "quality": [0.95, 0.6, 0.9, 0.0, None],
            "flagged": [False, False, True, True, False],
        }
    )
    order = ["empty", "odd", "unknown", "poor", "fair"]
    assert worst(table, 9)["image_id"].to_list() == order
    assert worst(table, 2)["image_id"].to_list() == order[:2]


@cache
def phantom_gate(carrier: str, strength: float, seed: int = 0) -> Gate:
    recipe = PhantomRecipe((carrier,), strength, size=128, seed=seed)
    rows = []
    for index in range(240):
        phantom = draw(recipe, index)
        facts = mask_facts(phantom.mask)
        rows.append(
            {
                "label": CLASSES[phantom.label],
                "source": phantom.source,
                "patient_id": phantom.patient_id,
                "area": facts.area,
                "quality": estimated_quality(facts),
                "flagged": bool(implausible(facts)),
            }
        )
    return gate(pl.DataFrame(rows), CLASSES)


@pytest.mark.parametrize("strength", [0.25, 1.0])
def test_a_mask_that_misses_the_disease_alarms(strength: float) -> None:
    found = alarms(phantom_gate("mask_error", strength))
    assert found == {(name, "within_source") for name in ("area", "quality", "flagged")}


@pytest.mark.parametrize("carrier", ["opacity", "marker"])
def test_fair_masks_do_not_alarm(carrier: str) -> None:
    assert not phantom_gate(carrier, 1.0).alarm


def test_lung_size_is_area_and_not_error() -> None:
    assert alarms(phantom_gate("lung_size", 1.0)) == {("area", "within_source")}
