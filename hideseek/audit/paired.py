"""Two cells on the same images: is there a difference, is it negligible, or can nobody tell?

    correct [seeds, N] of two cells -> compare -> Comparison -> decide a declared family

Seeds are averaged within an image first, so a seed is never counted as more images. A p-value says
whether there is a difference; only the equivalence test says that there is none worth naming.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import binom, norm, permutation_test, rankdata

from hideseek.audit.bootstrap import Draws, Floats, Integers, Interval
from hideseek.seeds import stream

Decision = Literal["different", "equivalent", "inconclusive"]
ALPHA = 0.05
FLIPS = 9_999


@dataclass(frozen=True)
class Comparison:
    """The accuracy of a cell less that of another on the same images.

    Attributes:
        difference: second less first, with the 95 % patient-cluster bootstrap interval.
        within: the same with the 90 % interval, which the equivalence test reads.
        p: of no difference, two-sided, by `test`.
        test: "exact McNemar" or "permutation of patients".
        p_equivalent: of a difference of at least the margin, in either direction.
        better, worse: images that only the second (the first) has right, as shares of the seeds.
        images: all images.
    """

    difference: Interval
    within: Interval
    p: float
    test: str
    p_equivalent: float
    better: float
    worse: float
    images: int


def compare(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    patients: npt.ArrayLike,
    counts: Integers,
    margin: float,
    seed: int = 0,
) -> Comparison:
    """Compare the accuracy of two cells, image by image.

    `p` comes from a permutation test that swaps the two cells for all images of a patient at once.
    Where no patient has two images that differ, and all seeds agree or there is one, that is
    McNemar's exact test, and is computed so; elsewhere McNemar's test rejects too often.

    Args:
        first: bool or 0..1 [S, N], whether each seed of the first cell is right on each image.
        second: the same of the second cell; it may have another number of seeds.
        patients: the patient of each image [N].
        counts: resamples of the images [R, N], from `resample_counts`.
        margin: the largest difference that is negligible, above 0; set before looking.
        seed: of the random permutations.

    Returns:
        The comparison.

    Raises:
        ValueError: if `margin` is not above 0.
    """
    if not margin > 0:
        raise ValueError(f"the margin is {margin}; it must be above 0")
    seeds = np.atleast_2d(first), np.atleast_2d(second)
    gains = seeds[1].mean(axis=0, dtype=np.float64) - seeds[0].mean(axis=0, dtype=np.float64)
    draws = Draws(float(gains.mean()), counts @ gains / counts.sum(axis=1))
    _, patient = np.unique(np.asarray(patients), return_inverse=True)
    better, worse = float(gains[gains > 0].sum()), float(-gains[gains < 0].sum())
    apart = np.bincount(patient[gains != 0]).max(initial=0) < 2
    if apart and np.isin(gains, (-1, 0, 1)).all():
        p, test = mcnemar(round(worse), round(better)), "exact McNemar"
    else:
        p, test = sign_flip(gains, patient, seed), "permutation of patients"
    # The bootstrap is blind where few images differ (none: an interval of width 0). The score is
    # not, but it takes what it counts as independent; so it counts patients, and both must agree.
    share = (patient.max() + 1) / gains.size
    score = score_tost(better * share, worse * share, gains.size * share, margin)
    same = max(tost(draws, margin), score)
    wide, narrow = draws.interval(), draws.interval(0.90)
    return Comparison(wide, narrow, p, test, same, better, worse, gains.size)


def mcnemar(b: int, c: int, mid_p: bool = False) -> float:
    """Test whether two classifiers are right equally often, from the images where one is wrong.

    Args:
        b: images that only the first has right.
        c: images that only the second has right.
        mid_p: count half of the probability of what was observed: less conservative.

    Returns:
        The two-sided p-value of the exact conditional test; 1 if `b` = `c` (without `mid_p`).
    """
    few, total = min(b, c), b + c
    exact = min(1.0, 2 * float(binom.cdf(few, total, 0.5)))
    observed = float(binom.pmf(few, total, 0.5)) * (1 if b == c else 2)
    return exact - observed / 2 if mid_p else exact


def sign_flip(gains: Floats, patients: npt.ArrayLike, seed: int) -> float:
    """Test a mean difference by swapping the two cells, for whole patients.

    Args:
        gains: difference of each image [N].
        patients: the patient of each image [N].
        seed: of the random permutations.

    Returns:
        The two-sided p-value: exact where at most 13 patients differ; else of 9,999 permutations,
        so never below .0002.
    """
    _, patient = np.unique(np.asarray(patients), return_inverse=True)
    sums = np.bincount(patient, weights=gains)
    sums = sums[np.abs(sums) > 1e-9]
    if sums.size < 2:  # SciPy asks for two; one patient alone can be swapped or not
        return 1.0
    result = permutation_test(
        (sums,),
        lambda x, axis: np.round(x.sum(axis=axis), 9),  # or equal sums differ in their last bit
        permutation_type="samples",
        vectorized=True,
        n_resamples=FLIPS,
        rng=np.random.default_rng(stream(seed, "sign flip")),
    )
    return float(result.pvalue)


def delong(positive: npt.NDArray[np.bool_], scores: Floats) -> tuple[Floats, Floats]:
    """Compute areas under the ROC curve and DeLong's covariance of them.

    Images of one patient are taken as independent: with clusters the covariance is too small.

    Args:
        positive: bool [N], at least two images of each kind.
        scores: float64 [M, N], higher is more positive, of M classifiers on the same images.

    Returns:
        The areas [M] and their covariance [M, M].
    """
    ones, zeros = scores[:, positive], scores[:, ~positive]
    ranks = rankdata(scores, axis=1)
    beaten = (ranks[:, positive] - rankdata(ones, axis=1)) / zeros.shape[1]
    beating = 1 - (ranks[:, ~positive] - rankdata(zeros, axis=1)) / ones.shape[1]
    covariance = np.cov(beaten) / ones.shape[1] + np.cov(beating) / zeros.shape[1]
    return beaten.mean(axis=1), np.atleast_2d(covariance)


def delong_test(positive: npt.NDArray[np.bool_], first: Floats, second: Floats) -> float:
    """Test whether two classifiers have the same area under the ROC curve (DeLong).

    Args:
        positive: bool [N]; images are taken as independent, see `delong`.
        first: scores of the first classifier [N].
        second: scores of the second [N].

    Returns:
        The two-sided p-value; 1 for equal areas, NaN where a difference has no variance.
    """
    areas, covariance = delong(positive, np.stack([first, second]))
    difference = float(areas[1] - areas[0])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    if abs(difference) < 1e-12 or variance < 1e-15:
        return 1.0 if abs(difference) < 1e-12 else float("nan")
    return float(2 * norm.sf(abs(difference) / math.sqrt(variance)))


def holm(p: npt.ArrayLike) -> Floats:
    """Adjust the p-values of a family of tests (Holm 1979): the chance of any error stays.

    Args:
        p: the p-values [M], none NaN.

    Returns:
        The adjusted p-values, in the given order.

    Raises:
        ValueError: if one is not in 0..1.
    """
    raw = np.asarray(p, dtype=np.float64)
    if not ((raw >= 0) & (raw <= 1)).all():
        raise ValueError("a p-value is not in 0..1")
    order = np.argsort(raw, kind="stable")
    steps = raw[order] * np.arange(raw.size, 0, -1)
    return np.minimum(1, np.maximum.accumulate(steps))[np.argsort(order)]


def tost(draws: Draws, margin: float) -> float:
    """Test equivalence by the bootstrap: two one-sided tests (Schuirmann 1987).

    Args:
        draws: a difference on the resamples.
        margin: the largest negligible difference, above 0.

    Returns:
        The p-value of a difference of at least `margin`; at most .05 goes with a 90 % percentile
        interval inside the margin.
    """
    values = draws.values[~np.isnan(draws.values)]
    beyond = max(int((values <= -margin).sum()), int((values >= margin).sum()))
    return (1 + beyond) / (1 + values.size)


def score_tost(better: float, worse: float, images: float, margin: float) -> float:
    """Test equivalence of two paired proportions by Tango's score (1998), sound at few pairs.

    Args:
        better: images that only the second has right; fractions (of seeds) make it conservative.
        worse: images that only the first has right.
        images: all images.
        margin: the largest negligible difference, above 0.

    Returns:
        The p-value of a difference of at least `margin`, the larger of two one-sided ones.
    """
    p = []
    for up, down in ((better, worse), (worse, better)):
        # Largest likelihood of the rarer discordant cell if the difference were the margin.
        half = (up + down - (2 * images - up + down) * margin) / (4 * images)
        rare = half + math.sqrt(half**2 + down * margin * (1 - margin) / (2 * images))
        deviation = math.sqrt(images * (2 * rare + margin * (1 - margin)))
        p.append(float(norm.cdf((up - down - images * margin) / deviation)))
    return max(p)


def decide(family: Sequence[Comparison], alpha: float = ALPHA) -> list[Decision]:
    """Decide each comparison of a family that was declared before looking.

    Holm guards "different" over the family; each "equivalent" has its own error rate. A difference
    that is surely there and surely within the margin is "equivalent": the margin says what counts.

    Args:
        family: all comparisons, made with one margin.
        alpha: the error rate.

    Returns:
        A decision for each comparison.
    """
    adjusted = holm([comparison.p for comparison in family])
    return [
        "equivalent" if c.p_equivalent <= alpha else "different" if p <= alpha else "inconclusive"
        for c, p in zip(family, adjusted, strict=True)
    ]
