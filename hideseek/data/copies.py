"""Copies: one picture in several rows, and one patient in several splits.

A picture that is in two splits, or under two labels, makes a classifier look better or worse than
it is; a patient in two splits does the same more quietly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hideseek.data.problems import Problem

SAME = 0.999
"""Correlation from which two thumbnails are one picture, encoded twice."""

PROTECTED = ("test", "val", "train")
"""The splits, the one whose images are kept at the others' cost first."""

Pair = tuple[int, int, float]


def without_copies(rows: pl.DataFrame, pairs: Sequence[Pair]) -> tuple[pl.DataFrame, list[Problem]]:
    """Leave out copies and what straddles given splits, and group what belongs together.

    Of one picture in two rows (correlation of 0.999 or more) the second is left out, both where
    their labels differ. Similar pictures (below that) stay, but in one group, which later steps
    never split. Where a group is in several given splits, its rows outside the most protected one
    (test before val before train) are left out: test lists stay whole.

    Args:
        rows: canonical rows with their splits ("" where open).
        pairs: positions i < j of similar pictures with their correlation.

    Returns:
        The rows left, with the column `group`, and the findings.
    """
    problems: list[Problem] = []
    dropped: set[int] = set()
    path, label, split, patient = (
        rows.get_column(name).to_list() for name in ("path", "label", "split", "patient_id")
    )
    for first, second, correlation in pairs:
        alike = f"correlates {correlation:.4f} with {path[first]}"
        same, conflict = correlation >= SAME, label[first] != label[second]
        if conflict:
            reason = f"{alike}, but is '{label[second]}' and not '{label[first]}'"
            action = "both left out" if same else "kept, in one group"
            severity = "error" if same else "warning"
            problems.append(Problem(path[second], "label_conflict", severity, reason, action))  # type: ignore[arg-type]
            dropped |= {first, second} if same else set()
        elif same and split[first] == split[second]:
            problems.append(Problem(path[second], "duplicate", "warning", alike, "left out"))
            dropped.add(second)
        else:
            problems.append(Problem(path[second], "near_duplicate", "warning", alike,
                                    "kept, in one group"))  # fmt: skip
        if patient[first] != patient[second]:
            reason = f"{alike}, of patient '{patient[first]}' and not '{patient[second]}'"
            problems.append(Problem(path[second], "patient_conflict", "warning", reason,
                                    "patients in one group"))  # fmt: skip
    grouped = rows.with_columns(
        pl.Series("group", group_ids(rows, [pair[:2] for pair in pairs]), dtype=pl.String)
    )
    left = grouped.with_row_index("at").filter(~pl.col("at").is_in(sorted(dropped))).drop("at")
    return _without_straddlers(left, problems)


def group_ids(table: pl.DataFrame, pairs: Sequence[tuple[int, int]]) -> list[str]:
    """Join patients who share near-duplicate images, directly or through others.

    Args:
        table: rows with `patient_id`.
        pairs: row numbers of near-duplicate images.

    Returns:
        A group for each row: the smallest `patient_id` of the patients joined.
    """
    patients = table.get_column("patient_id").unique().sort()
    number = {patient: index for index, patient in enumerate(patients)}
    of_row = [number[patient] for patient in table.get_column("patient_id")]
    one = [of_row[first] for first, _ in pairs]
    other = [of_row[second] for _, second in pairs]
    joined = coo_array((np.ones(len(pairs)), (one, other)), shape=(len(patients), len(patients)))
    _, component = connected_components(joined, directed=False)
    _, smallest = np.unique(component, return_index=True)
    return [patients[int(smallest[component[index]])] for index in of_row]


def straddlers(table: pl.DataFrame, group: str) -> list[tuple[int, str, str]]:
    """List the rows to leave out so that no group is in two splits.

    Given splits are not changed: a group keeps the images of its most protected split (test before
    val before train), and those in its other splits would leak.

    Args:
        table: rows with `split` ("" where open: such rows are not looked at) and the column
            `group`.
        group: column of what stays together.

    Returns:
        For each such row, in order: its number, the split that its group keeps, its own split.
    """
    rows = list(zip(table.get_column(group), table.get_column("split"), strict=True))
    kept: dict[str, str] = {}
    for name, split in sorted((row for row in rows if row[1]), key=lambda row: _rank(row[1])):
        kept.setdefault(name, split)
    return [
        (number, kept[name], split)
        for number, (name, split) in enumerate(rows)
        if split and kept[name] != split
    ]


def _rank(split: str) -> int:
    return PROTECTED.index(split)


def _without_straddlers(
    rows: pl.DataFrame, problems: list[Problem]
) -> tuple[pl.DataFrame, list[Problem]]:
    out = []
    patients = rows.get_column("patient_id").to_list()
    splits: dict[str, set[str]] = {}
    for patient, split in zip(patients, rows.get_column("split"), strict=True):
        splits.setdefault(patient, set()).add(split)
    for row, kept, own in straddlers(rows, "group"):
        by_patient = kept in splits[patients[row]]
        kind = "patient_in_two_splits" if by_patient else "copy_in_two_splits"
        what = f"patient '{patients[row]}'" if by_patient else "a near-duplicate"
        reason = f"{what} is in {kept} and {own}"
        problems.append(Problem(rows.item(row, "path"), kind, "warning", reason,
                                f"left out of {own}"))  # fmt: skip
        out.append(row)
    return rows.with_row_index("at").filter(~pl.col("at").is_in(out)).drop("at"), problems
