"""The self-test on the terminal: what was planted against what was found."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from hideseek.audit.outcomes import EXPECTED, OUTCOMES, expected, groups, rate
from hideseek.audit.rehearsal import Rehearsal
from hideseek.report.tables import WIDTH


def print_selftest(found: Sequence[Rehearsal], summary: Mapping[str, Any]) -> None:
    """Print the tables and whether the goals are met.

    Args:
        found: of all data sets.
        summary: as `hideseek.audit.selftest.summarize` returns it.
    """
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    console.print(confusion_table(found))
    console.print(power_table(found))
    for name, goal in summary["goals"].items():
        console.print(f"{'met   ' if goal['met'] else 'MISSED'} {name}: {goal['text']}")


def confusion_table(found: Sequence[Rehearsal]) -> Table:
    """Lay out what was planted against what was found, at strength 0 and 1."""
    rows: dict[tuple[str, str, str], Counter[str]] = {}
    for each in found:
        if each.planted.strength in (0, 1):
            carrier = each.planted.carrier if each.planted.strength else "nothing"
            key = each.planted.on, carrier, expected(each.planted)
            rows.setdefault(key, Counter())[each.verdict] += 1
    verdicts = list(dict.fromkeys([*EXPECTED.values(), *(v for row in rows.values() for v in row)]))
    title = "planted at full strength, and what was found"
    table = _table(title, "background", "planted", "expected")
    for verdict in verdicts:
        table.add_column(verdict.replace("_", "\n"), justify="right")
    for (on, carrier, wanted), counts in rows.items():
        shown = (
            f"[bold]{counts[name]}[/bold]" if name == wanted else str(counts[name] or "")
            for name in verdicts
        )
        table.add_row(on, carrier, wanted, *shown)
    return table


def power_table(found: Sequence[Rehearsal]) -> Table:
    """Lay out how often the truth is found, by carrier, strength and number of images."""
    title = "correct verdicts, with 95 % intervals"
    table = _table(title, "background", "planted", "strength", "images")
    for name in OUTCOMES:
        table.add_column(name.replace("_", " "), justify="right")
    for (on, carrier, strength, images), group in sorted(groups(found).items()):
        others = (str(rate(group, name).hits or "") for name in OUTCOMES[1:])
        shown = str(rate(group, "correct"))
        table.add_row(on, carrier, f"{strength:g}", str(images), shown, *others)
    return table


def _table(title: str, *columns: str) -> Table:
    return Table(*columns, title=title, header_style="bold", box=box.SIMPLE_HEAD)
