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
        v: Cramer's V, 0 to 1; None with one class or one level.
        v_corrected: with the bias correction of Bergsma (2013); None likewise.
        bits: mutual information, plug-in.
        balanced_bits: the same if every class were equally frequent.
        balanced_share: of the log2 K bits that the label then has.
        counts: (label, joint level, images, patients), the cells that are not empty, sorted.
    """

    columns: tuple[str, ...]
    levels: int
    v: float | None
    v_corrected: float | None
    bits: float
    balanced_bits: float
    balanced_share: float
    counts: tuple[tuple[str, str, int, int], ...]


@dataclass(frozen=True)
class Pair:
    """Whether two classes can be told apart other than by their strata.

    Attributes:
        classes: the two.
        by: columns that make the strata.
        strata: those in which both occur.
        patients: of each class in these strata, each counted once.
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
        view_given_source_bits: I(label; view | source), plug-in; None where one does not vary.
        pairs: of classes, by source and by source and view.
    """

    associations: tuple[Association, ...]
    view_given_source_bits: float | None
    pairs: tuple[Pair, ...]


def confounding(
    table: pl.DataFrame, columns: Sequence[str] = ("source", "view", "format")
) -> Confounding:
    """Report on the columns that a table has and that vary.

    Args:
        table: text columns, `label` and `patient_id` among them; rows without a label are ignored.
        columns: the candidates; where "source" and "view" both vary, they are also taken together.

    Returns:
        The report, plain values only, so that `asdict` of it goes into a JSON file.
    """
    table = table.filter(pl.col("label") != "")
    varying = [name for name in columns if name in table.columns and table[name].n_unique() > 1]
    sets: list[tuple[str, ...]] = [(name,) for name in varying]
    by: list[tuple[str, ...]] = [("source",)] if "source" in table.columns else []
    if "source" in varying and "view" in varying:
        sets.append(("source", "view"))
        by.append(("source", "view"))
    found = {names: associate(table, names) for names in sets}
    given_source = None
    if by[1:]:  # the chain rule; the difference of two equal sums may fall below 0
        given_source = max(0.0, found["source", "view"].bits - found[("source",)].bits)
    pairs = [
        Pair((row[0], row[1]), strata, tuple(row[2]), (row[5], row[6]), row[7])
        for strata in by
        for row in identifiable_pairs(table, strata).iter_rows()
    ]
    return Confounding(tuple(found.values()), given_source, tuple(pairs))


def associate(table: pl.DataFrame, columns: Sequence[str]) -> Association:
    """Measure the association of the label with the joint levels of some columns."""
    cells = contingency(table, "label", columns)
    counts = count_matrix(cells)
    classes, levels = counts.shape
    balanced = mutual_information(counts, balanced=True)
    return Association(
        tuple(columns),
        levels,
        cramers_v(counts, corrected=False),
        cramers_v(counts),
        mutual_information(counts),
        balanced,
        float(balanced / np.log2(classes)) if classes > 1 else 0.0,
        tuple((row[0], _joint(row[1:-2]), row[-2], row[-1]) for row in cells.iter_rows()),
    )


def contingency(
    table: pl.DataFrame, row: str = "label", column: str | Sequence[str] = "source"
) -> pl.DataFrame:
    """Count the images and the patients of each cell that is not empty.

    Args:
        table: text columns, `patient_id` among them; "" is a level like any other.
        row: the column that makes the rows of the contingency table.
        column: the one that makes its columns, or several, taken jointly.

    Returns:
        One line a cell, sorted: the columns named, then `images` and `patients`.
    """
    names = [row, *([column] if isinstance(column, str) else column)]
    cells = table.with_columns(pl.col(names).fill_null("")).group_by(names)
    counted = cells.agg(pl.len().alias("images"), pl.col("patient_id").n_unique().alias("patients"))
    return counted.sort(names)


def count_matrix(cells: pl.DataFrame, of: str = "images") -> Counts:
    """Lay the cells of `contingency` out as a table, rows and columns in sorted order.

    Args:
        cells: as `contingency` returns them.
        of: "images" or "patients".

    Returns:
        int64 [rows, joint levels of the columns].
    """
    row, *columns = cells.columns[:-2]
    places = [
        cells.select(pl.struct(names).rank("dense")).to_series().to_numpy().astype(np.intp) - 1
        for names in ([row], columns)
    ]
    counts = np.zeros([int(place.max(initial=-1)) + 1 for place in places], np.int64)
    counts[places[0], places[1]] = cells.get_column(of).to_numpy()
    return counts


def cramers_v(counts: Counts, corrected: bool = True) -> float | None:
    """Compute Cramer's V, by default with the bias correction of Bergsma.

    The correction (Bergsma 2013, J Korean Stat Soc 42:323) takes away what independent columns are
    expected to show by chance, which is much where levels are many and images few.

    Args:
        counts: int [R, C]; empty rows and columns are ignored.
        corrected: False for the plain statistic.

    Returns:
        0 to 1; None where it is not defined: with one row or column, or, corrected, where the
        images are too few for the correction.
    """
    counts = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0]
    rows, columns = counts.shape
    if min(rows, columns) < 2:
        return None
    plain = min(1.0, float(association(counts)))
    if not corrected:
        return plain
    total = int(counts.sum())
    phi = plain**2 * (min(rows, columns) - 1)
    excess = max(0.0, phi - (rows - 1) * (columns - 1) / (total - 1))
    least = min(size - (size - 1) ** 2 / (total - 1) for size in (rows, columns))
    return float(min(1.0, np.sqrt(excess / (least - 1)))) if least > 1 else None


def mutual_information(counts: npt.NDArray[np.float64] | Counts, balanced: bool = False) -> float:
    """Compute the mutual information of rows and columns, plug-in, in bits.

    Args:
        counts: [R, C], counts or any non-negative weights.
        balanced: give each row the weight 1 / R, so that a rare class counts like a common one.

    Returns:
        0 to log2 min(R, C); 0 without any count.
    """
    counts = counts[counts.sum(axis=1) > 0]
    if not counts.size:
        return 0.0
    joint = counts / (counts.sum(axis=1, keepdims=True) if balanced else 1)
    joint = joint / joint.sum()
    parts = (joint.sum(axis=1), joint.sum(axis=0), joint.ravel())
    row, column, both = (float(entropy(part, base=2)) for part in parts)
    return max(0.0, row + column - both)


def identifiable_pairs(table: pl.DataFrame, by: Sequence[str] = ("source",)) -> pl.DataFrame:
    """Find for each pair of classes the strata in which both occur.

    A classifier that only ever sees two classes in different sources can tell the sources and be
    right; without a shared stratum no test on these data can tell the difference.

    Args:
        table: text columns, `label` and `patient_id` among them.
        by: columns that make the strata.

    Returns:
        One row a pair, sorted: `class_a`, `class_b`, `strata` (list of names), `images_a` and
        `images_b` (list: in each of these strata), `patients_a` and `patients_b` (in all of them,
        each counted once), `verdict`: "identifiable", "weakly" (fewer than 10 patients of one
        class) or "not".
    """
    table = table.with_columns(pl.col("label", *by).fill_null(""))
    cells = contingency(table, "label", by)
    rows = []
    for classes in combinations(table.get_column("label").unique().sort(), 2):
        one, other = (cells.filter(pl.col("label") == name) for name in classes)
        shared = one.join(other, on=list(by), suffix="_b").sort(by)
        inside = table.join(shared, on=list(by), how="semi")
        patients = [
            inside.filter(pl.col("label") == name).get_column("patient_id").n_unique()
            for name in classes
        ]
        verdict = "identifiable" if min(patients) >= FEW else "weakly" if min(patients) else "not"
        names = [_joint(level) for level in shared.select(by).iter_rows()]
        images = [shared.get_column(name).to_list() for name in ("images", "images_b")]
        rows.append((*classes, names, *images, *patients, verdict))
    text, counts = pl.List(pl.String), pl.List(pl.Int64)
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        **{"class_a": pl.String, "class_b": pl.String, "strata": text},
        **{"images_a": counts, "images_b": counts, "patients_a": pl.Int64, "patients_b": pl.Int64},
        "verdict": pl.String,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def _joint(level: Sequence[str]) -> str:
    return " ".join(part for part in level if part) or "unknown"
