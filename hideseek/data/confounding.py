"""How far labels hang together with what is not in the picture: source, view, file format.

Pure statistics of a manifest's text columns; an empty value is a level of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.stats import entropy
from scipy.stats.contingency import association

FEW = 10
"""Patients of a class in shared strata, below which a comparison rests on hardly anyone."""

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Association:
    """How strongly the label hangs together with one column or several.

    Attributes:
        columns: whose joint levels are compared with the label.
        levels: number of joint levels.
        v: Cramer's V, 0 to 1.
        v_corrected: with the bias correction of Bergsma (2013); None with one level.
        bits: mutual information, plug-in.
        balanced_bits: the same if every class were equally frequent.
        balanced_share: of the log2 K bits that the label then has.
    """

    columns: tuple[str, ...]
    levels: int
    v: float | None
    v_corrected: float | None
    bits: float
    balanced_bits: float
    balanced_share: float


@dataclass(frozen=True)
class Pair:
    """Whether two classes can be told apart other than by their strata.

    Attributes:
        classes: the two.
        by: columns that make the strata.
        strata: those in which both occur.
        patients: of each class in these strata.
        verdict: "identifiable", "weakly" (fewer than 10 patients of one class) or "not".
    """

    classes: tuple[str, str]
    by: tuple[str, ...]
    strata: tuple[str, ...]
    patients: tuple[int, int]
    verdict: str


@dataclass(frozen=True)
class Confounding:
    """The report on a table.

    Attributes:
        associations: of the label with each column, and with source and view together.
        view_given_source_bits: I(label; view | source), plug-in; None without views.
        pairs: of classes, by source and by source and view.
    """

    associations: tuple[Association, ...]
    view_given_source_bits: float | None
    pairs: tuple[Pair, ...]


def confounding(table: pl.DataFrame, columns: Sequence[str] = ("source", "view", "format")) -> (
    Confounding
):  # fmt: skip
    """Report on the columns that a table has and that vary.

    Args:
        table: text columns, `label` and `patient_id` among them.
        columns: the candidates; where "source" and "view" both vary, they are also taken together.

    Returns:
        The report, plain values only.
    """
    varying = [name for name in columns if name in table.columns and table[name].n_unique() > 1]
    sets: list[tuple[str, ...]] = [(name,) for name in varying]
    by: list[tuple[str, ...]] = [("source",)] if "source" in table.columns else []
    given_source = None
    if "source" in varying and "view" in varying:
        sets.append(("source", "view"))
        by.append(("source", "view"))
    found = {names: associate(table, names) for names in sets}
    if by[1:]:
        given_source = found["source", "view"].bits - found[("source",)].bits
    pairs = [pair for strata in by for pair in identifiable_pairs(table, strata)]
    return Confounding(tuple(found.values()), given_source, tuple(pairs))


def associate(table: pl.DataFrame, columns: Sequence[str]) -> Association:
    """Measure the association of the label with the joint levels of some columns."""
    counts = contingency(table, columns)
    balanced = mutual_information(counts / counts.sum(axis=1, keepdims=True))
    classes = counts.shape[0]
    return Association(
        tuple(columns),
        counts.shape[1],
        float(association(counts)) if min(counts.shape) > 1 else None,
        corrected_v(counts),
        mutual_information(counts),
        balanced,
        float(balanced / np.log2(classes)) if classes > 1 else 0.0,
    )


def contingency(table: pl.DataFrame, columns: Sequence[str]) -> Counts:
    """Count rows by label and joint level, both in sorted order.

    Returns:
        int64 [classes, levels].
    """
    label = table.get_column("label").rank("dense").to_numpy() - 1
    level = table.select(pl.struct(list(columns)).rank("dense")).to_series().to_numpy() - 1
    counts = np.zeros((int(label.max()) + 1, int(level.max()) + 1), np.int64)
    np.add.at(counts, (label.astype(np.intp), level.astype(np.intp)), 1)
    return counts


def corrected_v(counts: Counts) -> float | None:
    """Compute Cramer's V with the bias correction of Bergsma (2013, J Korean Stat Soc 42:323).

    Args:
        counts: int [R, C], no row or column empty.

    Returns:
        0 to 1; None where there is one row or one column.
    """
    rows, columns = counts.shape
    total = counts.sum()
    if min(rows, columns) < 2 or total < 2:
        return None
    phi = float(association(counts)) ** 2 * (min(rows, columns) - 1)
    excess = max(0.0, phi - (rows - 1) * (columns - 1) / (total - 1))
    least = min(rows - (rows - 1) ** 2 / (total - 1), columns - (columns - 1) ** 2 / (total - 1))
    return float(min(1.0, np.sqrt(excess / (least - 1)))) if least > 1 else None


def mutual_information(weights: npt.NDArray[np.float64] | Counts) -> float:
    """Compute the mutual information of rows and columns, plug-in, in bits.

    Args:
        weights: [R, C], counts or any non-negative weights.
    """
    joint = weights / weights.sum()
    parts = (joint.sum(axis=1), joint.sum(axis=0), joint.ravel())
    row, column, both = (float(entropy(part, base=2)) for part in parts)
    return max(0.0, row + column - both)


def identifiable_pairs(table: pl.DataFrame, by: Sequence[str]) -> list[Pair]:
    """Find for each pair of classes the strata in which both occur.

    A classifier that only ever sees two classes in different sources can tell the sources and be
    right; without a shared stratum no test on these data can tell the difference.

    Args:
        table: text columns, `label` and `patient_id` among them.
        by: columns that make the strata.
    """
    patients = table.group_by("label", *by).agg(pl.col("patient_id").n_unique())
    held: dict[str, dict[tuple[str, ...], int]] = {}
    for label, *stratum, count in patients.iter_rows():
        held.setdefault(label, {})[tuple(stratum)] = count
    pairs = []
    for one, other in combinations(sorted(held), 2):
        shared = sorted(held[one].keys() & held[other].keys())
        counts = tuple(sum(held[name][stratum] for stratum in shared) for name in (one, other))
        verdict = "not" if not shared else "weakly" if min(counts) < FEW else "identifiable"
        names = tuple(" ".join(part for part in stratum if part) or "unknown" for stratum in shared)
        pairs.append(Pair((one, other), tuple(by), names, (counts[0], counts[1]), verdict))
    return pairs
