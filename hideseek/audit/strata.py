"""Whether a classifier tells two classes apart where the source is the same for both.

Over all images a network that only tells hospitals apart can be right every time. Within a stratum,
a source or a view of a source, that knowledge is worth nothing. Two classes that no stratum holds
together are not identifiable: no test on these images can tell the disease from the hospital.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
import polars as pl

from hideseek.audit.bootstrap import ranking, weighted_auc
from hideseek.audit.excess import Counts, Estimate, Values, divide, estimate, weight_blocks
from hideseek.data.confounding import FEW
from hideseek.errors import UserError

MEASURES = ("auc", "accuracy", "balanced_accuracy")


@dataclass(frozen=True)
class Separation:
    """How well two classes are told apart on some images; None where one class is absent.

    Attributes:
        images: of each class.
        patients: of each class.
        auc: area under the ROC curve of p_a / (p_a + p_b), 0.5 by chance.
        accuracy: share on the right side of 0.5, a tie counting half. What chance gives depends on
            how many images each class has.
        balanced_accuracy: the same as a mean over the two classes, 0.5 by chance.
    """

    images: tuple[int, int]
    patients: tuple[int, int]
    auc: Estimate
    accuracy: Estimate
    balanced_accuracy: Estimate


@dataclass(frozen=True)
class StratifiedPair:
    """Two classes within strata.

    Attributes:
        classes: the two, `a` and `b`.
        by: columns that make the strata.
        verdict: "identifiable", "weakly" (fewer than 10 patients of one class in the strata that
            hold both) or "not".
        overall: on all images of the two, whatever their strata.
        within: pooled over the strata that hold both, by Mantel-Haenszel weights
            n_a n_b / (n_a + n_b) in images; None where there is none: not identifiable, which is
            neither right nor wrong.
        strata: name of each stratum that holds both, and the separation there.
        lacking: name of each stratum that holds one of them only, and the class it lacks.
    """

    classes: tuple[str, str]
    by: tuple[str, ...]
    verdict: str
    overall: Separation
    within: Separation | None
    strata: tuple[tuple[str, Separation], ...]
    lacking: tuple[tuple[str, str], ...]


def separate_within(
    predictions: pl.DataFrame,
    classes: Sequence[str],
    by: Sequence[str] = ("source",),
    counts: Counts | None = None,
) -> tuple[StratifiedPair, ...]:
    """Evaluate each pair of classes within each stratum.

    Args:
        predictions: one row an image: `label`, `patient_id`, the columns of `by`, and `p_<class>`
            for each class; an empty value of a stratum's column is a level of its own.
        classes: labels in order; rows of other labels are ignored.
        by: columns that make the strata.
        counts: [R, N] of a resampling of patients; None for no intervals.

    Returns:
        One result a pair, in the order of the classes.

    Raises:
        UserError: a probability is absent or not between 0 and 1.
        ValueError: the counts are of another number of images.
    """
    scores = probabilities(predictions, classes)
    if counts is not None and counts.shape[1] != len(scores):
        raise ValueError(f"counts of {counts.shape[1]} images for {len(scores)} predictions")
    label = predictions.get_column("label").fill_null("").to_numpy()
    patient = predictions.get_column("patient_id").to_numpy()
    stratum, names = strata_of(predictions, by)
    results = []
    for first, second in combinations(range(len(classes)), 2):
        pair = (classes[first], classes[second])
        a, b = scores[:, first], scores[:, second]
        # Rounded, so that scores that differ by the division alone are a tie.
        score = np.full(len(label), 0.5)
        np.divide(a, a + b, out=score, where=a + b > 0)
        images = _Images(pair, label, patient, score.round(12), counts)
        present = [
            {name for name in pair if ((stratum == place) & (label == name)).any()}
            for place in range(len(names))
        ]
        shared = [place for place, held in enumerate(present) if len(held) == 2]
        parts = [images.separations(stratum == place) for place in shared]
        within = images.summary(np.isin(stratum, shared), _pool(parts)) if parts else None
        fewest = min(within.patients) if within else 0
        results.append(
            StratifiedPair(
                pair,
                tuple(by),
                "not" if within is None else "weakly" if fewest < FEW else "identifiable",
                images.summary(np.full(len(label), True)),
                within,
                tuple((names[place], images.summary(stratum == place)) for place in shared),
                tuple(
                    (names[place], next(name for name in pair if name not in held))
                    for place, held in enumerate(present)
                    if len(held) == 1
                ),
            )
        )
    return tuple(results)


def strata_of(rows: pl.DataFrame, by: Sequence[str]) -> tuple[npt.NDArray[np.intp], list[str]]:
    """Number the joint levels of some text columns.

    Args:
        rows: a table that has the columns; an empty value is a level like any other.
        by: one or more of its columns.

    Returns:
        The level of each row [N], and the names of the levels.
    """
    levels = [tuple(row) for row in rows.select(pl.col(by).fill_null("")).iter_rows()]
    number = {level: place for place, level in enumerate(sorted(set(levels)))}
    names = [" ".join(part for part in level if part) or "unknown" for level in number]
    return np.array([number[level] for level in levels], np.intp), names


def probabilities(predictions: pl.DataFrame, classes: Sequence[str]) -> Values:
    """Read the columns `p_<class>`, numbers or text, as float64 [N, K].

    Raises:
        UserError: one is absent, or a value is not between 0 and 1.
    """
    lacking = [name for name in classes if f"p_{name}" not in predictions.columns]
    if lacking:
        raise UserError(
            f"the predictions have no column p_{lacking[0]}; name the classes they have"
        )
    columns = [pl.col(f"p_{name}").cast(pl.Float64, strict=False) for name in classes]
    values: Values = predictions.select(columns).to_numpy().astype(np.float64)
    wrong = np.flatnonzero(~((values >= 0) & (values <= 1)).all(axis=1))
    if wrong.size:
        raise UserError(
            f"row {wrong[0] + 1} of the predictions has a probability outside 0 to 1 or none; "
            "the network may have diverged, so train it again"
        )
    return values


def strata_table(pairs: Sequence[StratifiedPair]) -> pl.DataFrame:
    """Lay results out for a report.

    Returns:
        For each pair a row "all images", a row "within strata", empty where not identifiable, and
        one for each shared stratum: `class_a, class_b, by, verdict, stratum, images_a, images_b,
        patients_a, patients_b`, then each of `MEASURES` with `_low` and `_high`.
    """
    schema: dict[str, type[pl.DataType]] = {
        **dict.fromkeys(("class_a", "class_b", "by", "verdict", "stratum"), pl.String),
        **dict.fromkeys(("images_a", "images_b", "patients_a", "patients_b"), pl.Int64),
        **{f"{name}{end}": pl.Float64 for name in MEASURES for end in ("", "_low", "_high")},
    }
    rows = []
    for pair in pairs:
        start = (*pair.classes, ", ".join(pair.by), pair.verdict)
        for name, part in (("all images", pair.overall), ("within strata", pair.within),
                           *pair.strata):  # fmt: skip
            cells = [None] * (len(schema) - 5) if part is None else _cells(part)
            rows.append((*start, name, *cells))
    return pl.DataFrame(rows, schema=schema, orient="row")


def _cells(part: Separation) -> list[float | None]:
    each = [getattr(part, name) for name in MEASURES]
    return [*part.images, *part.patients, *(v for e in each for v in (e.value, e.low, e.high))]


@dataclass(frozen=True)
class _Images:
    """The images that a pair of classes is judged on."""

    pair: tuple[str, str]
    label: npt.NDArray[np.object_]
    patient: npt.NDArray[np.object_]
    score: Values
    counts: Counts | None

    def separations(self, chosen: npt.NDArray[np.bool_]) -> Values:
        """Measure chosen images [N], as `separations` does."""
        rows = np.flatnonzero(chosen & np.isin(self.label, self.pair))
        counts = None if self.counts is None else self.counts[:, rows]
        return separations(self.score[rows], self.label[rows] == self.pair[0], counts)

    def summary(self, chosen: npt.NDArray[np.bool_], values: Values | None = None) -> Separation:
        """Sum up chosen images [N], by default by their own values."""
        values = self.separations(chosen) if values is None else values
        rows = [chosen & (self.label == name) for name in self.pair]
        images = (int(rows[0].sum()), int(rows[1].sum()))
        patients = (len(np.unique(self.patient[rows[0]])), len(np.unique(self.patient[rows[1]])))
        return Separation(images, patients, *(estimate(column) for column in values.T[:3]))


def separations(
    score: Values, positive: npt.NDArray[np.bool_], counts: Counts | None = None
) -> Values:
    """Measure how well a score separates two classes, on the images and on every resample.

    Args:
        score: [n], higher for the positive class, which is decided for above 0.5.
        positive: bool [n].
        counts: [R, n], or None.

    Returns:
        float64 [1 + R, 4]: the AUC, a tie counting half, accuracy, balanced accuracy, and the
        weight n_a n_b / (n_a + n_b). All are NaN where a class is absent, and the weight 0.
    """
    ranked = ranking(positive, score)
    a, b = ranked[:2]
    right = np.where(score == 0.5, 0.5, (score > 0.5) == positive)
    results = []
    for weights in weight_blocks(counts, len(score)):
        of_a, of_b = weights.T[a], weights.T[b]
        n_a, n_b = of_a.sum(axis=0), of_b.sum(axis=0)
        hits_a, hits_b = right[a] @ of_a, right[b] @ of_b
        both = np.where(n_a * n_b > 0, n_a + n_b, 0.0)
        auc, accuracy = weighted_auc(weights.T, ranked), divide(hits_a + hits_b, both)
        balanced = (divide(hits_a, n_a) + divide(hits_b, n_b)) / 2
        pooling = np.nan_to_num(divide(n_a * n_b, both))
        results.append(np.stack([auc, accuracy, balanced, pooling], axis=1))
    return np.concatenate(results)


def _pool(parts: Sequence[Values]) -> Values:
    """Average over strata; in a resample over those that still hold both classes."""
    values, weights = np.stack(parts)[:, :, :3], np.stack(parts)[:, :, 3:]
    return divide((np.nan_to_num(values) * weights).sum(axis=0), weights.sum(axis=0))
