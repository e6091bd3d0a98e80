from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hideseek.audit.excess import (
    Counts,
    Estimate,
    class_metrics,
    estimate,
    excess_over_floor,
    excess_table,
    weighted_sums,
)
from hideseek.tasks.metrics import classification_metrics, confusion_matrix

CLASSES = ("normal", "pneumonia", "covid19")
FLOOR = np.array([[83, 17, 0], [20, 76, 4], [0, 0, 100]])
"""Of source and view on the test list of COVIDx5 (audit-spec 0.1)."""

Numbers = npt.NDArray[np.int64]


def predictions_of(confusion: Numbers) -> tuple[Numbers, Numbers]:
    cells = [(t, p) for t in range(3) for p in range(3) for _ in range(confusion[t, p])]
    true, called = np.array(cells).T
    return true, called


def draw(labels: Numbers, resamples: int, seed: int = 0) -> Counts:
    """Draw images within each class, each a patient."""
    rng = np.random.default_rng(seed)
    counts = np.zeros((resamples, len(labels)), np.uint16)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        counts[:, rows] = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), resamples)
    return counts


def test_covidx5_by_hand() -> None:
    # ResNet-50 on the same images: .95 / .93 / .92 right (Table 5 of the paper), 280 of 300.
    labels, floor = predictions_of(FLOOR)
    _, network = predictions_of(np.array([[95, 5, 0], [5, 93, 2], [5, 3, 92]]))
    found = {each.metric: each for each in excess_over_floor(labels, network, floor, CLASSES)}
    assert found["accuracy"].network.value == pytest.approx(280 / 300)
    assert found["accuracy"].floor.value == pytest.approx(259 / 300)
    assert found["accuracy"].difference == Estimate(pytest.approx(21 / 300))
    assert found["balanced_accuracy"].difference.value == pytest.approx(21 / 300)
    assert found["sens_pneumonia"].difference.value == pytest.approx(0.17)
    assert found["sens_covid19"].difference.value == pytest.approx(-0.08)


def test_a_network_like_the_floor_has_no_excess() -> None:
    labels, floor = predictions_of(FLOOR)
    for each in excess_over_floor(labels, floor, floor, CLASSES, draw(labels, 50)):
        assert each.difference == Estimate(0.0, 0.0, 0.0)


def test_intervals_are_paired() -> None:
    # The network is right where the floor is, and on 12 images more: the difference varies like
    # sqrt(12) / 300 = 1.2 points, while each accuracy alone varies like 2.
    labels, floor = predictions_of(FLOOR)
    network = floor.copy()
    mended = np.flatnonzero(labels != floor)[:12]
    network[mended] = labels[mended]
    found = excess_over_floor(labels, network, floor, CLASSES, draw(labels, 2000))[0]
    assert found.difference.value == pytest.approx(0.04)
    assert found.difference.low == pytest.approx(0.04 - 1.96 * 0.0113, abs=0.004)
    assert found.difference.high == pytest.approx(0.04 + 1.96 * 0.0113, abs=0.004)
    assert found.floor.low is not None
    assert found.floor.high is not None
    deviation = np.sqrt((0.83 * 0.17 + 0.76 * 0.24) / 100) / 3
    assert found.floor.high - found.floor.low == pytest.approx(2 * 1.96 * deviation, abs=0.006)


LABELS = st.lists(st.tuples(*[st.integers(0, 2)] * 2), min_size=1, max_size=40)


@given(LABELS)
@settings(max_examples=60, deadline=None)
def test_the_metrics_are_those_of_the_tables(pairs: list[tuple[int, int]]) -> None:
    labels, called = np.array(pairs).T
    expected = classification_metrics(confusion_matrix(labels, called, 3), CLASSES)
    for name, values in class_metrics(labels, called, CLASSES).items():
        assert values.shape == (1,)
        np.testing.assert_allclose(values[0], expected[name], rtol=1e-12)


@given(LABELS, st.integers(0, 2**16))
@settings(max_examples=40, deadline=None)
def test_a_resample_is_the_repeated_images(pairs: list[tuple[int, int]], seed: int) -> None:
    labels, called = np.array(pairs).T
    counts = draw(labels, 3, seed)
    found = class_metrics(labels, called, CLASSES, counts)
    for resample, count in enumerate(counts):
        again = np.repeat(np.arange(len(labels)), count)
        for name, values in class_metrics(labels[again], called[again], CLASSES).items():
            np.testing.assert_allclose(found[name][1 + resample], values[0], rtol=1e-12)


def test_an_absent_class_is_not_defined() -> None:
    labels, called = np.array([0, 0, 1]), np.array([0, 1, 1])
    counts = np.array([[1, 1, 1], [3, 0, 0]], np.uint16)  # the second lacks class 1
    found = class_metrics(labels, called, CLASSES, counts)
    assert np.isnan(found["sens_covid19"]).all()
    np.testing.assert_allclose(found["balanced_accuracy"], [0.75, 0.75, np.nan])
    np.testing.assert_allclose(found["accuracy"], [2 / 3, 2 / 3, 1])
    table = excess_table(excess_over_floor(labels, called, called, CLASSES, counts))
    assert table.filter(pl.col("metric") == "sens_covid19").row(0)[1:] == (None,) * 5


def test_an_interval_needs_nine_of_ten_resamples() -> None:
    values = np.arange(101.0)
    assert estimate(values) == Estimate(0.0, pytest.approx(1 + 99 * 0.025), pytest.approx(97.525))
    values[1:11] = np.nan
    assert estimate(values).low == pytest.approx(11 + 89 * 0.025)
    values[11] = np.nan
    assert estimate(values) == Estimate(0.0)
    values[0] = np.nan
    assert estimate(values) == Estimate(None)


def test_sums_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    counts, values = rng.integers(0, 4, (7, 5)).astype(np.uint16), rng.normal(size=(5, 2))
    expected = np.concatenate([values.sum(axis=0, keepdims=True), counts @ values])
    for block in (2**22, 11, 1):
        monkeypatch.setattr("hideseek.audit.excess._BLOCK", block)
        np.testing.assert_allclose(weighted_sums(counts, values), expected)


def test_arrays_that_do_not_fit() -> None:
    labels = np.array([0, 1, 2])
    with pytest.raises(ValueError, match="2 predictions for 3"):
        excess_over_floor(labels, labels[:2], labels, CLASSES)
    with pytest.raises(ValueError, match="counts"):
        excess_over_floor(labels, labels, labels, CLASSES, np.ones((4, 2), np.uint16))
