"""How well the source, the view or any other column can be read from feature vectors.

A linear probe: what logistic regression finds, the network has at hand. A probe above chance does
not say that the network uses it, and features of the label alone already tell sources apart that
differ in their labels: give the one-hot labels as features to see how much that is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hideseek.audit.excess import Counts, Estimate, class_metrics, estimate
from hideseek.data.confounding import FEW
from hideseek.errors import UserError
from hideseek.seeds import stream

FOLDS = 5
Features = npt.NDArray[np.floating]
Labels = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Probe:
    """What a probe reaches.

    Attributes:
        levels: of the column, those with 10 patients or more, sorted.
        left_out: the other levels and their patients, on the side that has fewer; their images are
            neither fitted nor judged.
        images: judged.
        patients: judged.
        chance: balanced accuracy of guessing, 1 / K; None with fewer than two levels.
        balanced_accuracy: mean sensitivity over the levels, 0 to 1. The interval is that of judging
            these fits on other patients; the fits themselves are not repeated.
        sensitivity: of each level.
        verdict: "above chance" where the interval lies above it, "not above chance" where it does
            not, "no interval" without counts, and "not identifiable" with fewer than two levels:
            nothing can be said then, in particular not that the features are free of the column.
    """

    levels: tuple[str, ...]
    left_out: tuple[tuple[str, int], ...]
    images: int
    patients: int
    chance: float | None
    balanced_accuracy: Estimate | None
    sensitivity: tuple[Estimate, ...]
    verdict: str


def probe(
    features: Features,
    column: Sequence[str],
    patients: Sequence[str],
    train: npt.NDArray[np.bool_] | None = None,
    counts: Counts | None = None,
    seed: int = 0,
) -> Probe:
    """Predict a column from features, and judge on patients that were not fitted.

    Args:
        features: [N, D], finite.
        column: the level of each image [N]; "" is one like any other.
        patients: of each image [N].
        train: bool [N], True for the images to fit on, the others are judged; None for
            cross-validation in 5 folds of patients, which judges all.
        counts: [R, N] of a resampling of patients; None for no interval.
        seed: of the folds.

    Returns:
        The result.

    Raises:
        UserError: a feature is not finite, or a patient is on both sides of `train`.
        ValueError: the arrays differ in length.
    """
    level, patient = np.asarray(column, dtype=str), np.asarray(patients, dtype=str)
    _check(features, level, patient, train)
    sides = [np.full(len(level), True)] if train is None else [train, ~train]
    names = sorted(set(level.tolist()))
    fewest = {
        name: min(len(np.unique(patient[side & (level == name)])) for side in sides)
        for name in names
    }
    kept = tuple(name for name in names if fewest[name] >= FEW)
    left_out = tuple((name, fewest[name]) for name in names if name not in kept)
    if len(kept) < 2:
        return Probe(kept, left_out, 0, 0, None, None, (), "not identifiable")
    rows = np.flatnonzero(np.isin(level, kept))
    target = np.searchsorted(kept, level[rows])
    fitted = None if train is None else train[rows]
    called = _predict(features[rows], target, patient[rows], fitted, seed)
    judged = called >= 0
    chosen = None if counts is None else counts[:, rows[judged]]
    metrics = class_metrics(target[judged], called[judged], kept, chosen)
    balanced = estimate(metrics["balanced_accuracy"])
    chance = 1 / len(kept)
    return Probe(
        kept,
        left_out,
        int(judged.sum()),
        len(np.unique(patient[rows[judged]])),
        chance,
        balanced,
        tuple(estimate(metrics[f"sens_{name}"]) for name in kept),
        _verdict(balanced, chance),
    )


def _verdict(balanced: Estimate, chance: float) -> str:
    if balanced.low is None:
        return "no interval"
    return "above chance" if balanced.low > chance else "not above chance"


def _predict(
    features: Features,
    target: Labels,
    patient: npt.NDArray[np.str_],
    train: npt.NDArray[np.bool_] | None,
    seed: int,
) -> Labels:
    """Predict the level of each image that is judged, [n]; -1 for those that are not."""
    if train is None:
        folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=stream(seed, "probe"))
        splits = list(folds.split(features, target, patient))
    else:
        splits = [(np.flatnonzero(train), np.flatnonzero(~train))]
    called = np.full(len(target), -1, np.intp)
    for fit, judge in splits:
        regression = LogisticRegression(max_iter=1000, class_weight="balanced")
        model = make_pipeline(StandardScaler(), regression).fit(features[fit], target[fit])
        called[judge] = model.predict(features[judge])
    return called


def _check(
    features: Features,
    level: npt.NDArray[np.str_],
    patient: npt.NDArray[np.str_],
    train: npt.NDArray[np.bool_] | None,
) -> None:
    lengths = {len(features), len(level), len(patient), *([] if train is None else [len(train)])}
    if len(lengths) > 1 or features.ndim != 2:
        raise ValueError(f"features {features.shape}, {len(level)} levels, {len(patient)} patients")
    wrong = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if wrong.size:
        raise UserError(
            f"probe: the features of image {wrong[0] + 1} are not finite; "
            "the network may have diverged, so train it again"
        )
    both = set() if train is None else set(patient[train]) & set(patient[~train])
    if both:
        raise UserError(
            f"probe: patient '{min(both)}' is in training and test images; split by patient"
        )
