"""New classes and splits for patients at random, as a trial deals treatments to its centres."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hideseek.data.phantom import CLASSES

FEWEST_PATIENTS = 30
"""With so many, every class is in every split."""

_PLACES = "train test train val train train test train train test val train train test train"
_PLACES += " train val test train train"
PLACES = tuple(_PLACES.split())
"""Splits of three patients each, in turn: of 20 threes 12 train, 3 val, 5 test."""


class Dealt(NamedTuple):
    """What a patient is dealt.

    Attributes:
        label: position in `CLASSES`.
        split: "train", "val" or "test".
    """

    label: int
    split: str


def deal(patients: Sequence[tuple[str, str, int]], random: np.random.Generator) -> dict[str, Dealt]:
    """Deal each patient a class and a split: at random, and alike in every source.

    Permuted blocks: each three patients of a source and of about as many images get the three
    classes in random order and one split.

    Args:
        patients: source, patient and number of images; one row for each patient.
        random: of the order of patients and classes.

    Returns:
        By patient. In each source the classes differ by a patient or two at most.
    """
    order = sorted(patients)
    random.shuffle(order)
    order.sort(key=lambda patient: (patient[0], -patient[2]))
    first = int(random.integers(len(PLACES)))
    dealt, classes = {}, np.arange(len(CLASSES))
    for number, (_, patient, _) in enumerate(order):
        block, place = divmod(number, len(CLASSES))
        if place == 0:
            random.shuffle(classes)
        split = PLACES[(first + block) % len(PLACES)]
        dealt[patient] = Dealt(int(classes[place]), split)
    return dealt
