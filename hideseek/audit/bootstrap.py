"""Intervals from resampled patients, the same resamples for every metric of every cell.

    labels, patients -> resample_counts -> metric_draws (a cell) -> Draws -> Interval
                                           a - b of two cells    -> Draws -> Interval

Images of a patient are not independent, so patients are drawn, with all their images. They are
drawn within a class, since a test set fixes how many images a class has by design. A resample is a
weight for each image, so all resamples of a metric are a matrix product or a cumulative sum.

Intervals are percentile intervals, with two corrections that simulation shows to be needed. With
fewer than five images wrong, or right, resamples know too little (none wrong: an interval of width
0), so the interval of a proportion is at least Wilson's there. And resampling adds to the
calibration error what sampling had added to it before, so its draws are reflected at the estimate
(the "basic" interval); the estimate itself is too high in small test sets, and can lie above the
interval. Nothing is done for `macro_f1`, `balanced_accuracy` and the areas: at 1.00 the width is 0
and says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from hideseek.seeds import stream

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]
Ranking = tuple[
    npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]
]

ECE_BINS = 15
FEW = 5
"""Images wrong, or right, below which Wilson's interval is the least that is given."""

BLOCK = 512
"""Resamples worked on at a time: 300 images of them fit into a core's cache."""


@dataclass(frozen=True)
class Interval:
    """An estimate and the limits around it, all in the unit of the metric."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Draws:
    """A metric, or a difference of two, on the test set and on each resample of it.

    Attributes:
        estimate: on the test set itself.
        values: float64 [R], on each resample; NaN where it is not defined.
        images: of a proportion of images, how many there are; 0 for any other metric.
        reflected: whether the interval reflects the draws at the estimate, never below 0.
    """

    estimate: float
    values: Floats
    images: int = 0
    reflected: bool = False

    def __sub__(self, other: Draws) -> Draws:
        """Pair two cells, resample by resample; both must come from the same counts."""
        values = self.values - other.values
        if self.reflected:
            values = 2 * (self.estimate - other.estimate) - values
        return Draws(self.estimate - other.estimate, values)

    def interval(self, confidence: float = 0.95) -> Interval:
        """Take the percentile interval, corrected as the module says.

        Args:
            confidence: of the interval, between 0 and 1.

        Returns:
            The interval, from the resamples that define the metric; NaN limits if none does.
        """
        defined = self.values[~np.isnan(self.values)]
        if defined.size == 0:
            return Interval(self.estimate, float("nan"), float("nan"))
        if self.reflected:
            defined = np.maximum(0, 2 * self.estimate - defined)
        low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
        if self.images > 0 and self.images * min(self.estimate, 1 - self.estimate) < FEW:
            wilson = _wilson(self.estimate, self.images, confidence)
            low, high = min(low, wilson[0]), max(high, wilson[1])
        return Interval(self.estimate, float(low), float(high))


def resample_counts(
    labels: Integers, patients: npt.ArrayLike, resamples: int, seed: int
) -> npt.NDArray[np.uint16]:
    """Draw patients with replacement within each class, and count how often each image is in.

    A patient whose images have several labels is drawn whole, in the class of most of the images
    (of equally many, the lowest class). The order of the images does not matter.

    Args:
        labels: true class numbers [N].
        patients: the patient of each image [N], numbers or text.
        resamples: how many, R.
        seed: of the draw.

    Returns:
        uint16 [R, N]; every class has as many patients as in the test set, with repeats.

    Raises:
        ValueError: if there is no image, or `labels` and `patients` differ in length.
    """
    labels = np.asarray(labels)
    names, patient = np.unique(np.asarray(patients), return_inverse=True)
    if labels.size == 0 or labels.shape != patient.shape:
        raise ValueError(f"{labels.size} labels and {patient.size} patients, need as many, >= 1")
    per_class = np.zeros((len(names), int(labels.max()) + 1), dtype=np.int64)
    np.add.at(per_class, (patient, labels), 1)
    stratum = per_class.argmax(axis=1)
    rng = np.random.default_rng(stream(seed, "bootstrap"))
    times = np.zeros((resamples, len(names)), dtype=np.uint16)
    for number in np.unique(stratum):
        members = np.flatnonzero(stratum == number)
        equal = np.full(members.size, 1 / members.size)
        times[:, members] = rng.multinomial(members.size, equal, size=resamples)
    return times[:, patient]


def metric_draws(
    labels: Integers,
    predictions: Integers,
    probabilities: Floats,
    counts: Integers,
    classes: Sequence[str],
) -> dict[str, Draws]:
    """Compute every metric of a cell on the test set and on each resample.

    Args:
        labels: true class numbers [N], 0 .. K-1.
        predictions: predicted class numbers [N].
        probabilities: float64 [N, K] in 0..1, finite.
        counts: how often each image is in each resample [R, N], from `resample_counts`.
        classes: names of the K classes.

    Returns:
        `accuracy`, `balanced_accuracy`, `macro_f1`, `sens_<class>`, `ppv_<class>`, `auc_<class>`
        (one against the rest) and `macro_auc`, all in 0..1; means are over the classes that define
        the value. `ece`, the expected calibration error of the largest probability in 15 equally
        wide bins open on the left, in 0..1, and `brier`, the mean squared distance between the
        probabilities and the truth, in 0..2.

    Raises:
        ValueError: if shapes do not fit or a probability is not finite.
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    shapes = labels.shape, predictions.shape, probabilities.shape, counts.shape[1:]
    images = labels.shape[0]
    if shapes != ((images,), (images,), (images, len(classes)), (images,)):
        raise ValueError(f"shapes of labels, predictions, probabilities and counts: {shapes}")
    if not np.isfinite(probabilities).all():
        raise ValueError("a probability is not finite")
    sums = _summands(labels, predictions, probabilities)
    rankings = [ranking(labels == k, probabilities[:, k]) for k in range(len(classes))]
    weights = np.concatenate([np.ones((1, images), dtype=counts.dtype), counts])
    blocks = [
        _metrics(weights[start : start + BLOCK].T.astype(np.float64), sums, rankings, classes)
        for start in range(0, len(weights), BLOCK)
    ]
    whole = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    of = {"accuracy": images}
    for k, name in enumerate(classes):
        of[f"sens_{name}"], of[f"ppv_{name}"] = (
            int((labels == k).sum()),
            int((predictions == k).sum()),
        )
    return {
        name: Draws(float(values[0]), values[1:], of.get(name, 0), reflected=name == "ece")
        for name, values in whole.items()
    }


def mean_draws(seeds: Sequence[Draws]) -> Draws:
    """Average one metric over the seeds of a cell, resample by resample (same counts)."""
    values = np.mean([draws.values for draws in seeds], axis=0)
    estimate = float(np.mean([draws.estimate for draws in seeds]))
    images = min(draws.images for draws in seeds)
    return Draws(estimate, values, images, seeds[0].reflected)


def intervals(draws: Mapping[str, Draws], confidence: float = 0.95) -> dict[str, Interval]:
    """Take the interval of every metric."""
    return {name: metric.interval(confidence) for name, metric in draws.items()}


def _wilson(proportion: float, images: int, confidence: float) -> tuple[float, float]:
    """Compute Wilson's limits; SciPy has them for whole numbers only, not for means of seeds."""
    z = float(norm.isf((1 - confidence) / 2))
    centre = proportion + z**2 / (2 * images)
    half = z * math.sqrt(proportion * (1 - proportion) / images + z**2 / (4 * images**2))
    return (centre - half) / (1 + z**2 / images), (centre + half) / (1 + z**2 / images)


def _summands(labels: Integers, predictions: Integers, probabilities: Floats) -> Floats:
    """Give what each image adds to the confusion matrix, the ECE bins and the Brier score."""
    images, classes = probabilities.shape
    rows = np.arange(images)
    confusion = np.zeros((images, classes * classes))
    confusion[rows, labels * classes + predictions] = 1
    confidence = probabilities.max(axis=1)
    bin_of = np.clip(np.ceil(confidence * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)
    gaps = np.zeros((images, ECE_BINS))
    gaps[rows, bin_of] = (probabilities.argmax(axis=1) == labels) - confidence
    distance = ((probabilities - np.eye(classes)[labels]) ** 2).sum(axis=1, keepdims=True)
    return np.concatenate([confusion, gaps, distance], axis=1)


def ranking(positive: npt.NDArray[np.bool_], scores: Floats) -> Ranking:
    """Sort the negatives once; count for each positive those below and those not above.

    Args:
        positive: bool [N].
        scores: float64 [N], higher for the positive class.

    Returns:
        Rows of the positives, rows of the negatives by score, and for each positive the number of
        negatives below it and of those not above it.
    """
    negatives, positives = np.flatnonzero(~positive), np.flatnonzero(positive)
    negatives = negatives[np.argsort(scores[negatives], kind="stable")]
    below = np.searchsorted(scores[negatives], scores[positives], side="left")
    not_above = np.searchsorted(scores[negatives], scores[positives], side="right")
    return positives, negatives, below, not_above


def _metrics(
    weights: Floats, sums: Floats, rankings: Sequence[Ranking], classes: Sequence[str]
) -> dict[str, Floats]:
    """Compute each metric under each column of the weights [N, B]."""
    number = len(classes)
    totals = sums.T @ weights
    confusion = totals[: number**2].reshape(number, number, -1)
    images = confusion.sum(axis=(0, 1))
    hits = np.einsum("kkb->kb", confusion)
    true, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    sensitivity, ppv = _divide(hits, true), _divide(hits, predicted)
    auc = np.stack([weighted_auc(weights, ranking) for ranking in rankings])
    return {
        "accuracy": _divide(hits.sum(axis=0), images),
        "balanced_accuracy": _mean(sensitivity),
        "macro_f1": _mean(_divide(2 * hits, true + predicted)),
        **{f"sens_{name}": row for name, row in zip(classes, sensitivity, strict=True)},
        **{f"ppv_{name}": row for name, row in zip(classes, ppv, strict=True)},
        **{f"auc_{name}": row for name, row in zip(classes, auc, strict=True)},
        "macro_auc": _mean(auc),
        "ece": _divide(np.abs(totals[number**2 : -1]).sum(axis=0), images),
        "brier": _divide(totals[-1], images),
    }


def weighted_auc(weights: Floats, ranking: Ranking) -> Floats:
    """Compute the area under the ROC curve, the weighted Mann-Whitney statistic.

    Args:
        weights: of each image in each resample [N, B].
        ranking: as `ranking` gives it.

    Returns:
        float64 [B] in 0..1, a tie counting half; NaN where a class has no weight.
    """
    positives, negatives, below, not_above = ranking
    lost = np.zeros((len(negatives) + 1, weights.shape[1]))
    np.cumsum(weights[negatives], axis=0, out=lost[1:])
    won = np.einsum("pb,pb->b", weights[positives], lost[below] + lost[not_above])
    return _divide(won, 2 * weights[positives].sum(axis=0) * lost[-1])


def _mean(by_class: Floats) -> Floats:
    defined = ~np.isnan(by_class)
    return _divide(np.where(defined, by_class, 0).sum(axis=0), defined.sum(axis=0))


def _divide(part: Floats, whole: npt.NDArray[np.number]) -> Floats:
    fraction = np.full(part.shape, np.nan)
    np.divide(part, whole, out=fraction, where=whole > 0)
    return fraction
