"""What there is to say about a data set, on the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import polars as pl
from rich import box
from rich.console import Console
from rich.table import Table

from hideseek.data.confounding import Confounding
from hideseek.data.floor import Floor
from hideseek.data.problems import Problem


def show_problems(console: Console, problems: Sequence[Problem], path: Path | None) -> None:
    """Print how often each kind of finding was met, the gravest first, and where all are listed."""
    if not problems:
        console.print("no problem found")
        return
    grave = ("error", "warning", "info")
    counts = Counter((problem.severity, problem.kind, problem.action) for problem in problems)
    table = _table(f"{len(problems)} findings", "severity", "kind", "what was done", "files")
    for (severity, kind, action), count in sorted(
        counts.items(), key=lambda item: (grave.index(item[0][0]), item[0][1:])
    ):
        table.add_row(severity, kind, action, str(count))
    console.print(table)
    if path is not None:
        console.print(f"every one is listed in {path}", soft_wrap=True)


def counts_table(rows: pl.DataFrame, title: str) -> Table:
    """Count images by label, over sources and splits.

    Args:
        rows: with `label`, `source` and `split`.
        title: above the table.
    """
    counted: dict[str, Counter[str]] = {}
    sources, given = sorted(set(rows.get_column("source"))), set(rows.get_column("split"))
    splits = [name for name in ("train", "val", "test") if name in given]
    for label, source, split in rows.select("label", "source", "split").iter_rows():
        counted.setdefault(label, Counter()).update((f"source {source}", f"split {split}"))
    table = _table(title, "label", *sources, *splits)
    keys = [*(f"source {name}" for name in sources), *(f"split {name}" for name in splits)]
    for label in sorted(counted):
        table.add_row(label, *(str(counted[label][key]) for key in keys))
    return table


def availability_table(rows: pl.DataFrame) -> Table:
    """Count listed, present and missing images by label and source.

    Args:
        rows: with `label`, `source` and `on_disk` ("yes" or "no").
    """
    there = pl.col("on_disk") == "yes"
    counts = rows.group_by("label", "source").agg(
        pl.len(), there.sum().alias("there"), (~there).sum().alias("missing")
    )
    title = f"{rows.filter(there).height} of {rows.height} listed images are on disk"
    table = _table(title, "label", "source", "listed", "on disk", "missing")
    for row in counts.sort("label", "source").iter_rows():
        table.add_row(*map(str, row))
    return table


def show_confounding(console: Console, report: Confounding) -> None:
    """Print how the label hangs together with the rest, and which classes share no stratum."""
    table = _table("the label and what is beside the image (training rows)", "columns", "levels",
                   "Cramér's V", "corrected", "bits", "balanced", "of all")  # fmt: skip
    for found in report.associations:
        association = (found.v, found.v_corrected, found.bits, found.balanced_bits)
        numbers = ("n/a" if value is None else f"{value:.3f}" for value in association)
        table.add_row(", ".join(found.columns), str(found.levels), *numbers,
                      f"{found.balanced_share:.0%}")  # fmt: skip
    console.print(table)
    for pair in report.pairs:
        one, other = pair.classes
        what = f"{one} and {other} by {' and '.join(pair.by)}"
        if pair.verdict == "not":
            console.print(f"not identifiable: {what}; no stratum holds both")
        elif pair.verdict == "weakly":
            where = ", ".join(pair.strata)
            console.print(
                f"weakly identifiable: {what}; {pair.patients[0]} and {pair.patients[1]} patients "
                f"in {where}"
            )


def show_floors(console: Console, floors: Sequence[Floor], classes: Sequence[str]) -> None:
    """Print what the columns beside the image reach on the test rows; the first is the floor."""
    names = [f"{kind} {name}" for kind in ("sens", "PPV") for name in classes]
    table = _table("metadata floor (test rows, no pixel used)", "columns", "correct", "accuracy",
                   *names)  # fmt: skip
    for floor in floors:
        fractions = (*floor.sensitivity, *floor.ppv)
        numbers = ("n/a" if value is None else f"{value:.3f}" for value in fractions)
        table.add_row(floor.name, f"{floor.correct}/{floor.n}", f"{floor.accuracy:.3f}", *numbers)
    console.print(table)
    if floors:
        console.print(f"the floor: {floors[0].accuracy:.3f} from {floors[0].name}; chosen by "
                      "cross-validation on the training rows", soft_wrap=True)  # fmt: skip


def _table(title: str, *names: str) -> Table:
    table = Table(title=title, header_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    text = ("severity", "kind", "what was done", "label", "source", "columns")
    for name in names:
        table.add_column(name, justify="left" if name in text else "right")
    return table
