"""What a network reaches beyond the metadata floor, on the same test images.

The floor (`hideseek.data.floor`) looks at no pixel. A network that is no better may have learned
nothing but the hospital. Intervals come from resample counts [R, N] made elsewhere: how often each
of the N images is drawn in each of R resamples of patients. One draw serves both predictors, so
that their difference is paired.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

Counts = npt.NDArray[np.integer[Any]]
Labels = npt.NDArray[np.integer[Any]]
Values = npt.NDArray[np.float64]

LEVEL = 0.95
"""Coverage of every interval."""

UNDEFINED = 0.1
"""Share of resamples without a value beyond which an interval would only describe the others."""

_BLOCK = 2**17  # counts turned into float64 at a time: 1 MiB, which a core's cache holds


@dataclass(frozen=True)
class Estimate:
    """A number with its percentile interval.

    Attributes:
        value: None where it is not defined.
        low: lower bound at 95 %; None without counts, or where more than a tenth of the resamples
            leave the value undefined.
        high: upper bound. At a value that all resamples share, such as an accuracy of 1, the
            interval has no width, which proves nothing about the next image.
    """

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Excess:
    """One metric of a network beside that of the floor.

    Attributes:
        metric: as `class_metrics` names it.
        network: 0 to 1.
        floor: 0 to 1.
        difference: network - floor, -1 to 1, with the paired interval.
    """

    metric: str
    network: Estimate
    floor: Estimate
    difference: Estimate


def excess_over_floor(
    labels: Labels,
    network: Labels,
    floor: Labels,
    classes: Sequence[str],
    counts: Counts | None = None,
) -> tuple[Excess, ...]:
    """Compare a network with the floor.

    Args:
        labels: true class numbers [N].
        network: the network's class numbers for the same images [N].
        floor: the floor's [N].
        classes: names of the K classes.
        counts: [R, N] of a resampling of patients; None for no intervals.

    Returns:
        Accuracy, balanced accuracy and the sensitivity of each class.

    Raises:
        ValueError: the arrays differ in length, or hold no image.
    """
    of_network = class_metrics(labels, network, classes, counts)
    of_floor = class_metrics(labels, floor, classes, counts)
    return tuple(
        Excess(
            name,
            estimate(values),
            estimate(of_floor[name]),
            estimate(values - of_floor[name]),
        )
        for name, values in of_network.items()
    )


def excess_table(excesses: Sequence[Excess]) -> pl.DataFrame:
    """Lay excesses out for a report.

    Returns:
        One row a metric: `metric, network, floor, excess, low, high`; null where not defined.
    """
    rows = [
        (each.metric, each.network.value, each.floor.value, each.difference.value,
         each.difference.low, each.difference.high)
        for each in excesses
    ]  # fmt: skip
    numbers = ("network", "floor", "excess", "low", "high")
    schema = {"metric": pl.String, **dict.fromkeys(numbers, pl.Float64)}
    return pl.DataFrame(rows, schema=schema, orient="row")


def class_metrics(
    labels: Labels, predictions: Labels, classes: Sequence[str], counts: Counts | None = None
) -> dict[str, Values]:
    """Compute metrics of the images, and of every resample of them.

    Args:
        labels: true class numbers [N].
        predictions: predicted class numbers [N].
        classes: names of the K classes.
        counts: [R, N], or None.

    Returns:
        `accuracy`, `balanced_accuracy` (mean sensitivity over the classes that the images have) and
        `sens_<class>`, each float64 [1 + R]: first of the images themselves. NaN where a
        denominator is 0; a resample without one of the classes has no balanced accuracy.

    Raises:
        ValueError: the arrays differ in length, or hold no image.
    """
    if len(labels) != len(predictions) or not len(labels):
        raise ValueError(f"{len(predictions)} predictions for {len(labels)} images")
    member = labels[:, None] == np.arange(len(classes))
    right = member & (predictions == labels)[:, None]
    sums = weighted_sums(counts, np.concatenate([right, member], axis=1))
    hits, totals = sums[:, : len(classes)], sums[:, len(classes) :]
    sensitivity = divide(hits, totals)
    return {
        "accuracy": divide(hits.sum(axis=1), totals.sum(axis=1)),
        "balanced_accuracy": sensitivity[:, member.any(axis=0)].mean(axis=1),
        **{f"sens_{name}": sensitivity[:, number] for number, name in enumerate(classes)},
    }


def estimate(values: Values) -> Estimate:
    """Turn a value and those of its resamples into the value and its percentile interval.

    Args:
        values: float64 [1 + R], the value itself first; NaN where not defined.
    """
    value, resampled = float(values[0]), values[1:]
    if np.isnan(value):
        return Estimate(None)
    undefined = np.isnan(resampled)
    if not len(resampled) or undefined.mean() > UNDEFINED:
        return Estimate(value)
    low, high = np.quantile(resampled[~undefined], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high))


def weighted_sums(counts: Counts | None, values: npt.NDArray[Any]) -> Values:
    """Sum values over the images, then over every resample.

    Args:
        counts: [R, N], or None.
        values: [N, M].

    Returns:
        float64 [1 + R, M]: first each image counted once.
    """
    values = values.astype(np.float64)
    return np.concatenate([block @ values for block in weight_blocks(counts, len(values))])


def weight_blocks(counts: Counts | None, images: int) -> Iterator[Values]:
    """Give the weights of the images, first 1 each, then those of the resamples in blocks.

    Args:
        counts: [R, N], or None.
        images: N.

    Yields:
        float64 [some rows, N], so that 10,000 resamples of a large test set fit into memory.

    Raises:
        ValueError: the counts are of another number of images.
    """
    yield np.ones((1, images))
    if counts is None:
        return
    if counts.ndim != 2 or counts.shape[1] != images:
        raise ValueError(f"expected counts [R, {images}], got {list(counts.shape)}")
    step = max(1, _BLOCK // max(1, images))
    for start in range(0, len(counts), step):
        yield counts[start : start + step].astype(np.float64)


def divide(part: Values, whole: Values) -> Values:
    """Divide, NaN where the divisor is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(whole > 0, part / whole, np.nan)
