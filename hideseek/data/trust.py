"""Trust gate: whether masks differ between the classes, and which to look at.

Comes after `mask_facts.py` and before anything is trained: every representation is cut along the
masks, so masks that fail more on one class, or whose shape tells the class, carry it into all of
them (audit-spec 0.3). Pure statistics of one table; what becomes of flagged images is decided
elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.stats import mannwhitneyu, rankdata

from hideseek.seeds import stream

SIGNIFICANT = 0.01
PERMUTATIONS = 2000
BLOCK = 200
FEW = 10
"""Patients of a class, below which a pair of classes is not compared."""

LEAST_EFFECT = {"area": 0.15, "quality": 0.15, "flagged": 0.05}
"""How far the AUC of two classes must be from 0.5; for `flagged` 0.05 is 10 points of failure."""

MEANING = {
    "area": "the shape of the masks carries the class, so that what is cut out along them may leak "
    "it (lungs_removed, lungs_boxed_out); disease may be the reason, or the segmenter",
    "quality": "the errors of the masks depend on the class; look at the worst masks and segment "
    "again before a comparison is trusted",
    "flagged": "masks fail more often in one class; leaving them out biases the comparison and "
    "keeping them leaks the class",
}

Values = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class GateTest:
    """Whether one number depends on the class; a patient counts once in each class and source.

    Attributes:
        measure: "area", "quality" or "flagged".
        scope: "within_source" or "overall".
        patients: in the comparison.
        epsilon_squared: share of the variance of ranks that the class explains, 0 to 1; overall it
            is that of the Kruskal-Wallis test.
        p: of that share, from permuting the classes of patients.
        p_holm: adjusted for all tests of the gate.
        pair: the two classes that differ most, the one with the greater values first.
        auc: probability that a patient of the first has a greater value than one of the second,
            0.5 to 1; for `flagged` 0.5 plus half the difference of the rates.
        alarm: significant, and the difference is no trifle.
    """

    measure: str
    scope: str
    patients: int
    epsilon_squared: float
    p: float
    p_holm: float
    pair: tuple[str, str]
    auc: float
    alarm: bool


@dataclass(frozen=True, eq=False)
class Gate:
    """The report.

    Attributes:
        summary: a row for each class (`source` null), source (`label` null) and both: n, patients,
            empty, flagged, and mean, median and p5 (5th percentile) of area and quality.
        tests: of each measure within sources and overall; fewer where nothing can be compared.
        sentences: one for each alarm.
    """

    summary: pl.DataFrame
    tests: tuple[GateTest, ...]
    sentences: tuple[str, ...]

    @property
    def alarm(self) -> bool:
        """Whether the class can be told from the masks or from their errors."""
        return bool(self.sentences)


def gate(table: pl.DataFrame, classes: Sequence[str], seed: int = 0) -> Gate:
    """Test whether mask area, quality and failure depend on the class.

    Within sources first, since a class that comes from one hospital differs by whatever that
    hospital does; pairs of classes with fewer than `FEW` patients in sources that both share can
    only be compared overall. The test is Kruskal-Wallis on ranks within each source, its p value
    from permuting patients within their source. An alarm needs p < 0.01 after Holm's correction
    and an effect of `LEAST_EFFECT`.

    Args:
        table: a row for each image with `label`, `source`, `patient_id`, `area` (share of the
            image), `quality` (estimated or a true Dice; null where unknown), `flagged` (bool).
        classes: the labels to compare; rows of others are ignored.
        seed: of the permutations.

    Returns:
        The report.
    """
    table = table.filter(pl.col("label").is_in(list(classes))).with_columns(
        pl.col("area", "quality").cast(pl.Float64).fill_nan(None)
    )
    units = table.group_by("label", "source", "patient_id", maintain_order=True).agg(
        pl.col("area", "quality", "flagged").mean()
    )
    tests = [
        _test(units.drop_nulls(measure), measure, within, classes, seed)
        for measure in LEAST_EFFECT
        for within in (True, False)
    ]
    judged = _judged([test for test in tests if test is not None])
    sentences = tuple(_sentence(test) for test in judged if test.alarm)
    return Gate(summarize(table), judged, sentences)


def summarize(table: pl.DataFrame) -> pl.DataFrame:
    """Count and average by class, by source and by both; see `Gate.summary`."""
    cells = [
        pl.len().alias("n"),
        pl.col("patient_id").n_unique().alias("patients"),
        (pl.col("area") == 0).sum().alias("empty"),
        pl.col("flagged").sum(),
    ]
    for name in ("area", "quality"):
        column = pl.col(name)
        cells += [column.mean().alias(f"{name}_mean"), column.median().alias(f"{name}_median")]
        cells += [column.quantile(0.05, "linear").alias(f"{name}_p5")]
    keys = (("label",), ("source",), ("label", "source"))
    parts = [table.group_by(key).agg(cells).sort(key) for key in keys]
    order = ("label", "source", *parts[0].columns[1:])
    return pl.concat(parts, how="diagonal").select(order)


def worst(table: pl.DataFrame, count: int) -> pl.DataFrame:
    """Choose the images to look at: flagged ones first, of the lowest quality first.

    Args:
        table: as `gate` takes it.
        count: of rows at most.

    Returns:
        Rows of the table, worst first; equal ones in the table's order.
    """
    by = (~pl.col("flagged"), pl.col("quality").fill_nan(None), "area")
    return table.sort(*by, nulls_last=False, maintain_order=True).head(count)


def _test(
    units: pl.DataFrame, measure: str, within: bool, classes: Sequence[str], seed: int
) -> GateTest | None:
    """Run one test; None where no two classes can be compared."""
    near, far = _pairs(units, classes)
    pairs = near if within else far or near
    if not pairs:
        return None
    if within:
        units = units.filter(pl.col("label").n_unique().over("source") > 1)
    codes = dict(zip(classes, range(len(classes)), strict=True))
    label = units["label"].replace_strict(codes, return_dtype=pl.Int64).to_numpy()
    source = units["source"].rank("dense").fill_null(0).cast(pl.Int64).to_numpy()
    values, strata = units[measure].to_numpy(), source if within else np.zeros_like(source)
    share, p = permutation_test(values, label, strata, seed)
    aucs = [stratified_auc(values, label, strata, *pair) for pair in pairs]
    most = int(np.argmax(np.abs(np.array(aucs) - 0.5)))
    (one, other), auc = pairs[most], aucs[most]
    greater = (classes[one], classes[other]) if auc >= 0.5 else (classes[other], classes[one])
    effect = abs(auc - 0.5)
    alarm = (within or bool(far)) and effect >= LEAST_EFFECT[measure]
    scope = "within_source" if within else "overall"
    return GateTest(measure, scope, units.height, share, p, p, greater, 0.5 + effect, alarm)


def _pairs(
    units: pl.DataFrame, classes: Sequence[str]
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Return the pairs of classes to compare within sources and those only to compare overall."""
    counts = units.group_by("label", "source").len()
    of = {name: counts.filter(pl.col("label") == name).drop("label") for name in classes}
    held = [dict(of[name].iter_rows()) for name in classes]
    near, far = [], []
    for one, other in combinations(range(len(classes)), 2):
        shared = held[one].keys() & held[other].keys()
        if min(sum(held[name][source] for source in shared) for name in (one, other)) >= FEW:
            near.append((one, other))
        elif min(sum(held[name].values()) for name in (one, other)) >= FEW:
            far.append((one, other))
    return near, far


def permutation_test(
    values: Values, label: Codes, strata: Codes, seed: int = 0
) -> tuple[float, float]:
    """Test whether values depend on the label within strata.

    The statistic is the share of the variance of the ranks, centred and scaled in each stratum,
    that lies between labels. With one stratum it is H / (n - 1) of the Kruskal-Wallis test; for
    yes-or-no values that is the chi-square of the table over n.

    Args:
        values: [N].
        label: [N], 0 .. K - 1.
        strata: [N], the permutations stay inside.
        seed: of the `PERMUTATIONS` permutations.

    Returns:
        The share, 0 to 1, and its p value, at least 1 / (`PERMUTATIONS` + 1).
    """
    rng = np.random.default_rng(stream(seed, "trust-gate"))
    member = np.eye(int(label.max()) + 1)[label]
    size = np.maximum(member.sum(axis=0), 1)
    observed, drawn, total = np.zeros(len(size)), np.zeros((PERMUTATIONS, len(size))), 0.0
    for stratum in np.unique(strata):
        rows = strata == stratum
        score = rankdata(values[rows]) / (rows.sum() + 1) - 0.5
        observed += score @ member[rows]
        total += float(score @ score)
        for start in range(0, PERMUTATIONS, BLOCK):
            shuffled = rng.permuted(np.tile(score, (BLOCK, 1)), axis=1)
            drawn[start : start + BLOCK] += shuffled @ member[rows]
    if total < 1e-12:
        return 0.0, 1.0
    between = float((observed**2 / size).sum())
    # The tolerance counts permutations that give the observed statistic but for rounding.
    reached = int(((drawn**2 / size).sum(axis=1) >= between * (1 - 1e-9)).sum())
    return between / total, (1 + reached) / (PERMUTATIONS + 1)


def stratified_auc(values: Values, label: Codes, strata: Codes, one: int, other: int) -> float:
    """Compute the probability that `one` has the greater value, ties half, over pairs in a stratum.

    Args:
        values: [N].
        label: [N].
        strata: [N]; pairs of different strata are not compared.
        one: a label.
        other: another; some stratum holds both.
    """
    won, compared = 0.0, 0
    for stratum in np.unique(strata):
        first, second = (values[(strata == stratum) & (label == name)] for name in (one, other))
        if len(first) and len(second):
            won += float(mannwhitneyu(first, second, method="asymptotic").statistic)
            compared += len(first) * len(second)
    return won / compared


def _judged(tests: list[GateTest]) -> tuple[GateTest, ...]:
    """Adjust the p values (Holm 1979, Scand J Stat 6:65) and settle the alarms."""
    adjusted, least = {}, 0.0
    for rank, test in enumerate(sorted(tests, key=lambda test: test.p)):
        least = max(least, min(1.0, (len(tests) - rank) * test.p))
        adjusted[test.measure, test.scope] = least
    holm = [adjusted[test.measure, test.scope] for test in tests]
    return tuple(
        replace(test, p_holm=p, alarm=test.alarm and p < SIGNIFICANT)
        for test, p in zip(tests, holm, strict=True)
    )


def _sentence(test: GateTest) -> str:
    one, other = test.pair
    if test.measure == "flagged":
        points = 200 * (test.auc - 0.5)
        what = f"failed masks: {points:.0f} points more in {one} than in {other}"
    else:
        name = "lung area" if test.measure == "area" else "mask quality"
        what = f"{name}: greater in {one} than in {other} with probability {test.auc:.2f}"
    where = (
        "within their sources"
        if test.scope == "within_source"
        else "they share no source, so that class and source cannot be told apart"
    )
    return f"{what} ({where}; p = {test.p_holm:.2g}): {MEANING[test.measure]}"
