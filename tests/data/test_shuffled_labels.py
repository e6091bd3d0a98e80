"""Labels exchanged between patients: in training and validation, never in the test set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hideseek.data.shuffled import shuffled_labels
from hideseek.errors import UserError
from tests.data.test_datamodule import TEST, TRAIN, VAL, module


def shuffled(labels, patients, splits, seed=0):
    return shuffled_labels(
        np.array(labels, np.int64), np.array(patients, object), np.array(splits, object), seed
    )


@given(st.lists(st.integers(0, 2), min_size=1, max_size=30), st.integers(0, 9))
def test_patients_keep_their_images_together_and_classes_their_patients(classes, seed):
    patients = [f"p{k}" for k in range(len(classes)) for _ in range(1 + k % 3)]
    labels = [label for k, label in enumerate(classes) for _ in range(1 + k % 3)]
    changed = shuffled(labels, patients, ["train"] * len(labels), seed)
    of_patient = {name: set(changed[np.array(patients) == name]) for name in set(patients)}
    assert all(len(found) == 1 for found in of_patient.values())
    assert Counter(min(found) for found in of_patient.values()) == Counter(classes)
    assert changed.tolist() == shuffled(labels, patients, ["train"] * len(labels), seed).tolist()


def test_nothing_crosses_a_split_and_test_labels_stay():
    labels = [0] * 40 + [1] * 40 + [0, 1, 2] * 10 + [-1] * 5
    splits = ["train"] * 40 + ["val"] * 40 + ["test"] * 30 + ["train"] * 5
    changed = shuffled(labels, [str(k) for k in range(len(labels))], splits)
    assert changed.tolist() == labels  # each split has one class, the test set is not touched


def test_labels_say_nothing_of_the_true_ones():
    labels = np.arange(3000) % 3
    changed = shuffled(labels, range(3000), ["train"] * 3000)
    # A third agree by chance; the standard deviation is below 1 point.
    assert (changed == labels).mean() == pytest.approx(1 / 3, abs=0.04)
    assert (changed != shuffled(labels, range(3000), ["train"] * 3000, 1)).any()


def test_a_patient_of_two_labels_hands_on_both():
    changed = shuffled([0, 1, 2, 2], ["a", "a", "b", "b"], ["train"] * 4, seed=0)
    other = shuffled([0, 1, 2, 2], ["a", "a", "b", "b"], ["train"] * 4, seed=1)
    assert {tuple(changed), tuple(other)} <= {(0, 1, 2, 2), (2, 2, 0, 1)}


def batch_labels(loader) -> dict[int, int]:
    pairs = (zip(b["index"].tolist(), b["label"].tolist(), strict=True) for b in loader)
    return {row: label for each in pairs for row, label in each}


def test_training_reads_shuffled_labels_and_testing_the_true_ones(
    small_cache: Callable[..., Path],
) -> None:
    made = module(small_cache(), shuffle_labels=True)
    assert made.cache is not None
    true = dict(enumerate(made.cache.labels().tolist()))
    trained = batch_labels(made.train_dataloader())
    assert set(trained) == TRAIN
    assert any(trained[row] != true[row] for row in TRAIN)
    assert Counter(trained.values()) == Counter(true[row] for row in TRAIN)
    assert set(batch_labels(made.val_dataloader())) == VAL
    assert batch_labels(made.test_dataloader()) == {row: true[row] for row in TEST}
    plain = module(small_cache("plain"))
    assert batch_labels(plain.train_dataloader()) == {row: true[row] for row in TRAIN}


def test_a_segmenter_has_no_labels_to_shuffle(small_cache: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match="is for classifiers"):
        module(small_cache(task="segment"), task="segment", shuffle_labels=True)
