"""Whether predictions say anything about the label that the source does not already say.

A permutation test of: prediction and label are independent within each stratum. Labels are dealt
anew among the patients of a stratum, which keeps everything that the source explains and breaks the
rest. A network that reads the hospital alone is no better than its permutations.

The patient is the unit, since images of a patient are not independent: all of a patient's images
get the label together, and every patient weighs the same, however many images there are. A patient
with images of two labels is a unit for each, which treats them as two people. A patient with images
in several strata (AP and PA) is exchanged with patients who have images in the same ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.special import entr

from hideseek.audit.excess import Values
from hideseek.audit.strata import probabilities, strata_of
from hideseek.errors import UserError
from hideseek.seeds import stream

PERMUTATIONS = 2000
LEAST_PROBABILITY = 1e-7
"""Below it the log-loss grows no further, so that one certain mistake does not decide alone."""

_BLOCK = 2**21  # labels permuted at a time


@dataclass(frozen=True)
class Permuted:
    """A statistic and what permuted labels give.

    Attributes:
        value: on the true labels.
        expected: mean over the permutations: what the strata alone explain, and the bias.
        p: (1 + permutations at least as good) / (1 + permutations), one-sided.
    """

    value: float
    expected: float
    p: float


@dataclass(frozen=True)
class ConditionalTest:
    """The test of independence within strata.

    Attributes:
        by: columns that make the strata.
        patients: units that the test rests on, those in strata that hold two labels or more.
        set_aside: units in strata of one label, which no permutation changes. They are in no
            number here.
        strata: how many hold two labels or more.
        permutations: B.
        accuracy: mean over patients of the share of their images classified rightly, 0 to 1; None,
            like the others, where no stratum holds two labels: not identifiable.
        log_loss: mean over patients, in nats; permutations at least as low count as good.
        bits: I(prediction; label | stratum), plug-in. `value - expected` is free of most of its
            bias.
    """

    by: tuple[str, ...]
    patients: int
    set_aside: int
    strata: int
    permutations: int
    accuracy: Permuted | None
    log_loss: Permuted | None
    bits: Permuted | None

    @property
    def net_bits(self) -> float | None:
        """I(prediction; label | stratum), plug-in minus permutation mean; may be below 0."""
        return None if self.bits is None else self.bits.value - self.bits.expected


def conditional_test(
    predictions: pl.DataFrame,
    classes: Sequence[str],
    by: Sequence[str] = ("source",),
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> ConditionalTest:
    """Test whether prediction and label are independent given the strata.

    Args:
        predictions: one row an image: `label`, `patient_id`, the columns of `by`, and `p_<class>`
            for each class, the largest of which is the prediction.
        classes: labels in order; rows of other labels are ignored.
        by: columns that make the strata.
        permutations: B, at least 1.
        seed: of the permutations.

    Returns:
        The test. The least p it can give is 1 / (B + 1).

    Raises:
        UserError: a probability is absent or not between 0 and 1, or B is below 1.
    """
    if permutations < 1:
        raise UserError(f"audit: {permutations} permutations; take 1 or more, 2000 for a report")
    predictions = predictions.filter(pl.col("label").is_in(list(classes)))
    scores = probabilities(predictions, classes)
    units = _units(predictions, classes, scores, by)
    informative = [part for part in units if len(np.unique(part[0])) > 1]
    patients = sum(len(labels) for labels, _, _ in informative)
    aside = sum(len(labels) for labels, _, _ in units) - patients
    if not informative:
        return ConditionalTest(tuple(by), 0, aside, 0, permutations, None, None, None)
    rng = np.random.default_rng(stream(seed, "conditional"))
    sums = np.zeros((1 + permutations, 3))
    for labels, votes, losses in informative:
        done = 0
        for dealt in _deals(rng, labels, permutations):
            sums[done : done + len(dealt)] += _statistics(dealt, votes, losses)
            done += len(dealt)
    # Rounded, so that the order of summation does not break ties.
    accuracy, loss, bits = (sums / patients).round(12).T
    return ConditionalTest(
        tuple(by),
        patients,
        aside,
        len(informative),
        permutations,
        _permuted(accuracy, accuracy[1:] >= accuracy[0]),
        _permuted(loss, loss[1:] <= loss[0]),
        _permuted(bits, bits[1:] >= bits[0]),
    )


def _units(
    predictions: pl.DataFrame, classes: Sequence[str], scores: Values, by: Sequence[str]
) -> list[tuple[npt.NDArray[np.intp], Values, Values]]:
    """Average the images of each patient; give labels [n], votes and losses [n, K] by stratum."""
    k = len(classes)
    votes = np.eye(k)[scores.round(12).argmax(axis=1)]
    losses = -np.log(scores.clip(LEAST_PROBABILITY))
    images = predictions.select("label", "patient_id").with_columns(
        pl.Series("stratum", strata_of(predictions, by)[0]),
        *(pl.Series(f"v{c}", votes[:, c]) for c in range(k)),
        *(pl.Series(f"l{c}", losses[:, c]) for c in range(k)),
    )
    numbers = [f"{kind}{c}" for kind in "vl" for c in range(k)]
    # First within a stratum: otherwise a patient with more AP than PA images would differ from one
    # with fewer by the view alone.
    inside = images.group_by("label", "patient_id", "stratum").agg(pl.col(numbers).mean())
    units = (
        inside.group_by("label", "patient_id")
        .agg(pl.col(numbers).mean(), pl.col("stratum").sort().cast(pl.String).str.join(" "))
        .sort("label", "patient_id")
    )
    place = {name: number for number, name in enumerate(classes)}
    parts = []
    for _, part in units.group_by("stratum", maintain_order=True):
        labels = np.array([place[name] for name in part.get_column("label")], np.intp)
        values = part.select(numbers).to_numpy()
        parts.append((labels, values[:, :k], values[:, k:]))
    return parts


def _deals(
    rng: np.random.Generator, labels: npt.NDArray[np.intp], permutations: int
) -> Iterator[npt.NDArray[np.intp]]:
    """Yield the labels as they are [1, n], then permuted, in blocks [some, n]."""
    yield labels[None]
    step = max(1, _BLOCK // len(labels))
    for start in range(0, permutations, step):
        rows = min(step, permutations - start)
        yield rng.permuted(np.tile(labels, (rows, 1)), axis=1)


def _statistics(dealt: npt.NDArray[np.intp], votes: Values, losses: Values) -> Values:
    """Sum up right votes, losses and bits over the patients of a stratum, [b, 3]."""
    joint = np.empty((len(dealt), votes.shape[1], votes.shape[1]))
    loss = np.zeros(len(dealt))
    for label in range(votes.shape[1]):
        member = (dealt == label).astype(np.float64)
        joint[:, label] = member @ votes
        loss += member @ losses[:, label]
    right = np.trace(joint, axis1=1, axis2=2)
    return np.stack([right, loss, dealt.shape[1] * _bits(joint / dealt.shape[1])], axis=1)


def _bits(joint: Values) -> Values:
    """Give the mutual information of each [K, K] of shares, in bits."""
    rows, columns = entr(joint.sum(axis=2)).sum(axis=1), entr(joint.sum(axis=1)).sum(axis=1)
    nats = rows + columns - entr(joint).sum(axis=(1, 2))
    return np.asarray(nats.clip(0) / np.log(2), np.float64)


def _permuted(values: Values, as_good: npt.NDArray[np.bool_]) -> Permuted:
    p = (1 + int(as_good.sum())) / (1 + len(as_good))
    return Permuted(float(values[0]), float(values[1:].mean()), p)
