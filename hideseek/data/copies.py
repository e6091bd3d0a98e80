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

from hideseek.data.problems import Problem, Severity

SAME = 0.999
"""Correlation from which two thumbnails are one picture, encoded twice."""

PROTECTED = ("test", "val", "train")
"""The splits, the one whose images are kept at the others' cost first."""

Pair = tuple[int, int, float]


def without_copies(rows: pl.DataFrame, pairs: Sequence[Pair]) -> tuple[pl.DataFrame, list[Problem]]:
    """Leave out copies and what straddles given splits, and group what belongs together.

    Of one picture in two rows (correlation of 0.999 or more) the second is left out, both where
    their labels differ; a given test list stays whole, though, and its copies are only named.
    Similar pictures (below that) stay, but in one group, which later steps never split. Where a
    group is in several given splits, its rows outside the most protected one (test before val
    before train) are left out.

    Args:
        rows: canonical rows with their splits ("" where open).
        pairs: positions i < j of similar pictures with their correlation.

    Returns:
        The rows left, with the column `group`, and the findings: one with the action "left out"
        for each row that is.
    """
    problems: list[Problem] = []
    dropped: set[int] = set()
    named = list(rows.select("path", "label", "split", "patient_id").iter_rows(named=True))
    for first, second, correlation in pairs:
        found, out = _judge(named[first], named[second], correlation)
        problems += found
        dropped |= {(first, second)[place] for place in out}
    groups = group_ids(rows, [pair[:2] for pair in pairs])
    grouped = rows.with_columns(pl.Series("group", groups, dtype=pl.String))
    left = grouped.with_row_index("at").filter(~pl.col("at").is_in(sorted(dropped))).drop("at")
    return _without_straddlers(left, problems)


def _judge(
    one: dict[str, str], other: dict[str, str], correlation: float
) -> tuple[list[Problem], tuple[int, ...]]:
    """Say what two rows of similar pictures have in common, and which of them (0, 1) go."""
    alike = f"correlates {correlation:.4f} with {one['path']}"
    conflict = one["label"] != other["label"]
    # A copy in another split is left out there, with its group.
    same = correlation >= SAME and one["split"] == other["split"]
    whole = one["split"] == "test"
    found = []
    out: tuple[int, ...] = ()
    if conflict:
        action = "kept, in one group"
        if same:
            action = "kept: the test list stays whole" if whole else "left out"
            out = () if whole else (0, 1)
        severity: Severity = "error" if same else "warning"
        reason = f"{alike}, but is '{other['label']}' and not '{one['label']}'"
        found.append(Problem(other["path"], "label_conflict", severity, reason, action))
        if out:
            reason = f"correlates {correlation:.4f} with {other['path']}, which is another label"
            found.append(Problem(one["path"], "label_conflict", severity, reason, action))
    elif same:
        action = "kept: the test list stays whole" if whole else "left out"
        out = () if whole else (1,)
        found.append(Problem(other["path"], "duplicate", "warning", alike, action))
    else:
        action = "kept, in one group"
        found.append(Problem(other["path"], "near_duplicate", "warning", alike, action))
    if one["patient_id"] != other["patient_id"]:
        reason = f"{alike}, of patient '{one['patient_id']}' and not '{other['patient_id']}'"
        action = "patients in one group"
        found.append(Problem(other["path"], "patient_conflict", "warning", reason, action))
    return found, out


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
    named = list(rows.select("path", "patient_id", "group", "split").iter_rows())
    kept_at: dict[tuple[str, str], str] = {}
    patients: dict[tuple[str, str], str] = {}
    for path, patient, group, split in named:
        kept_at.setdefault((group, split), path)
        patients.setdefault((patient, split), path)
    for row, kept, own in straddlers(rows, "group"):
        path, patient, group, _ = named[row]
        by_patient = (patient, kept) in patients
        kind = "patient_in_two_splits" if by_patient else "copy_in_two_splits"
        what = f"patient '{patient}'" if by_patient else "a near-duplicate"
        other = patients[patient, kept] if by_patient else kept_at[group, kept]
        reason = f"{what} is in {kept}, too: {other}"
        problems.append(Problem(path, kind, "warning", reason, f"left out of {own}"))
        out.append(row)
    return rows.with_row_index("at").filter(~pl.col("at").is_in(out)).drop("at"), problems
