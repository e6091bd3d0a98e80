from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as reference

from hideseek.tasks.metrics import (
    classification_metrics,
    confusion_matrix,
    mask_counts,
    mean_over_images,
    segmentation_metrics,
)

CLASSES = ("normal", "pneumonia", "covid")
ROWS = list(csv.DictReader((Path(__file__).parent / "paper_tables.csv").open()))
PAIRS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=60)


def test_confusion_by_hand():
    found = confusion_matrix(np.array([0, 0, 1, 2, 2, 2]), np.array([0, 2, 1, 2, 0, 0]), 3)
    assert found.tolist() == [[1, 0, 1], [0, 1, 0], [2, 0, 1]]
    assert found.dtype == np.int64


def test_small_integer_types_do_not_overflow():
    labels = np.full(300, 99, np.uint8)
    assert confusion_matrix(labels, labels, 100)[99, 99] == 300


def test_metrics_by_hand():
    found = classification_metrics(np.array([[1, 0, 1], [0, 1, 0], [2, 0, 1]]), CLASSES)
    expected = {
        "accuracy": 3 / 6,
        "sens_normal": 1 / 2,
        "sens_pneumonia": 1.0,
        "sens_covid": 1 / 3,
        "ppv_normal": 1 / 3,
        "ppv_pneumonia": 1.0,
        "ppv_covid": 1 / 2,
        "balanced_accuracy": (1 / 2 + 1 + 1 / 3) / 3,
        "n": 6,
    }
    assert list(found) == list(expected)
    assert found == pytest.approx(expected)


def test_what_is_not_defined_is_nan_and_never_0():
    # No image is of the third class and none is called so.
    found = classification_metrics(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]), CLASSES)
    assert math.isnan(found["sens_covid"])
    assert math.isnan(found["ppv_covid"])
    assert found["balanced_accuracy"] == pytest.approx((3 / 4 + 1) / 2)
    # It is there but never called, so its PPV is undefined and its sensitivity 0.
    found = classification_metrics(np.array([[3, 1, 0], [0, 4, 0], [1, 1, 0]]), CLASSES)
    assert math.isnan(found["ppv_covid"])
    assert found["sens_covid"] == 0
    empty = classification_metrics(np.zeros((3, 3), np.int64), CLASSES)
    assert empty.pop("n") == 0
    assert all(math.isnan(value) for value in empty.values())


@given(PAIRS)
def test_classification_as_scikit_learn(pairs):
    labels, predictions = (np.array(side) for side in zip(*pairs, strict=True))
    confusion = confusion_matrix(labels, predictions, 3)
    numbers = range(3)
    assert np.array_equal(
        confusion, reference.confusion_matrix(labels, predictions, labels=numbers)
    )
    found = classification_metrics(confusion, CLASSES)
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(labels, predictions))
    options = {"labels": numbers, "average": None, "zero_division": np.nan}
    for prefix, score in (("sens", reference.recall_score), ("ppv", reference.precision_score)):
        expected = score(labels, predictions, **options)
        assert [found[f"{prefix}_{name}"] for name in CLASSES] == pytest.approx(
            expected.tolist(), nan_ok=True
        )
    recalls = reference.recall_score(labels, predictions, labels=np.unique(labels), average="macro")
    assert found["balanced_accuracy"] == pytest.approx(recalls)


def reconstruct(row):
    """Find a confusion matrix of 100 images a class with the row's diagonal and column sums."""
    hits = [round(100 * float(row[f"sens_{name}"])) for name in CLASSES]
    columns = [int(row[f"pred_{name}"]) for name in CLASSES]
    for first in range(100 - hits[0] + 1):
        matrix = np.diag(hits)
        matrix[0, 1:] = first, 100 - hits[0] - first
        matrix[2, 1] = columns[1] - hits[1] - first
        matrix[2, 0] = 100 - hits[2] - matrix[2, 1]
        matrix[1, 0] = columns[0] - hits[0] - matrix[2, 0]
        matrix[1, 2] = columns[2] - hits[2] - matrix[0, 2]
        rows_fit = (matrix.sum(axis=1) == 100).all()
        if rows_fit and (matrix.sum(axis=0) == columns).all() and (matrix >= 0).all():
            return matrix
    raise AssertionError("no confusion matrix fits")


def test_all_25_rows_of_the_papers_tables_3_to_7_are_there():
    assert len(ROWS) == 25
    assert len({(row["model"], row["dataset"]) for row in ROWS}) == 25


@pytest.mark.parametrize("row", ROWS, ids=[f"{r['table']}-{r['dataset']}" for r in ROWS])
def test_the_papers_tables_3_to_7(row):
    confusion = reconstruct(row)
    labels, predictions = (
        np.repeat(index.ravel(), confusion.ravel()) for index in np.indices((3, 3))
    )
    found = classification_metrics(confusion_matrix(labels, predictions, 3), CLASSES)
    assert found["n"] == 300
    for name in ("accuracy", *(f"{kind}_{c}" for kind in ("sens", "ppv") for c in CLASSES)):
        assert f"{found[name]:.3f}" == f"{float(row[name]):.3f}", name


MASKS = hnp.arrays(np.bool_, st.tuples(st.integers(1, 6), st.integers(1, 6)))


def test_segmentation_by_hand():
    true = np.array([[1, 1, 0, 0], [1, 0, 0, 0]], bool)
    predicted = np.array([[1, 0, 0, 0], [1, 1, 0, 0]], bool)
    counts = mask_counts(predicted, true)
    assert counts.tolist() == [[4, 1], [1, 2]]
    assert segmentation_metrics(counts) == pytest.approx(
        {
            "recall_background": 4 / 5,
            "precision_background": 4 / 5,
            "jaccard_background": 4 / 6,
            "f1_background": 8 / 10,
            "recall_lung": 2 / 3,
            "precision_lung": 2 / 3,
            "jaccard_lung": 2 / 4,
            "f1_lung": 4 / 6,
            "accuracy": 6 / 8,
        }
    )


def test_rows_of_the_counts_are_the_truth():
    true, predicted = np.array([[1, 1, 1, 0]], bool), np.array([[1, 0, 0, 0]], bool)
    assert mask_counts(predicted, true).tolist() == [[1, 0], [2, 1]]


@given(MASKS.flatmap(lambda true: st.tuples(st.just(true), hnp.arrays(np.bool_, true.shape))))
@settings(max_examples=60)
def test_segmentation_as_scikit_learn(masks):
    true, predicted = masks
    found = segmentation_metrics(mask_counts(predicted, true))
    assert found["accuracy"] == pytest.approx(
        reference.accuracy_score(true.ravel(), predicted.ravel())
    )
    scores = {
        "recall": reference.recall_score,
        "precision": reference.precision_score,
        "jaccard": reference.jaccard_score,
        "f1": reference.f1_score,
    }
    for number, name in enumerate(("background", "lung")):
        y_true, y_found = true.ravel() == number, predicted.ravel() == number
        for metric, score in scores.items():
            value = found[f"{metric}_{name}"]
            # jaccard_score cannot say "undefined"; the others could, and 0/0 is not 0.
            undefined = {
                "recall": not y_true.any(),
                "precision": not y_found.any(),
            }.get(metric, not (y_true | y_found).any())
            if undefined:
                assert math.isnan(value)
            else:
                assert value == pytest.approx(score(y_true, y_found, zero_division=0))


def test_the_mean_over_images_is_not_the_pooled_metric():
    small = mask_counts(np.zeros((1, 10), bool), np.eye(1, 10, dtype=bool))  # 1 lung pixel, missed
    large = mask_counts(np.ones((1, 10), bool), np.ones((1, 10), bool))  # 10, all found
    per_image = [segmentation_metrics(counts) for counts in (small, large)]
    assert mean_over_images(per_image)["recall_lung"] == pytest.approx(1 / 2)
    assert segmentation_metrics(small + large)["recall_lung"] == pytest.approx(10 / 11)


def test_mean_over_images_skips_what_is_not_defined():
    nan = float("nan")
    means = mean_over_images([{"a": 1.0, "b": nan}, {"a": nan, "b": nan}, {"a": 0.5, "b": nan}])
    assert means["a"] == pytest.approx(0.75)
    assert math.isnan(means["b"])
    assert mean_over_images([]) == {}
