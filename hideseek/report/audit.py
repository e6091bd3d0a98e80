"""An audit on the terminal: what each network scores on what it sees, and what that means."""

from __future__ import annotations

import math

import polars as pl
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hideseek.audit.audit import Audit
from hideseek.audit.verdict import Verdict

SHOWN = ("accuracy", "macro_auc")
MARKS = {"different": "differs", "equivalent": "equal", "inconclusive": "?"}


def print_audit(audit: Audit, console: Console) -> None:
    """Print tables and verdicts.

    Args:
        audit: to print.
        console: where it goes.
    """
    for verdict in audit.verdicts:
        console.print(audit_table(audit, verdict.model))
        console.print(f"[bold]{verdict.name}[/bold]: ", end="")
        console.print(verdict.sentence, markup=False, highlight=False, soft_wrap=True)
        console.print(_because(verdict), markup=False, highlight=False, soft_wrap=True)
        console.print()
    for section in audit.sections:
        for line in section.lines:
            console.print(line, markup=False, highlight=False, soft_wrap=True)


def audit_table(audit: Audit, model: str) -> Table:
    """Lay out a network's representations.

    Args:
        audit: that was made.
        model: name of the network.

    Returns:
        A table: accuracies with 95 % intervals, the difference from the original and what it is
        called at the margin that was set.
    """
    margin = f"margin ±{100 * audit.settings.margin:g} points"
    table = Table(
        title=escape(f"{model}: {audit.grid.images.height} test images, {margin}"),
        header_style="bold",
        box=box.SIMPLE_HEAD,
    )
    for heading in ("sees", "seeds", "accuracy", "AUC", "less original", "p (Holm)", ""):
        left = heading in ("sees", "")
        table.add_column(heading, justify="left" if left else "right", no_wrap=True)
    for representation in audit.grid.representations(model):
        rows = audit.metrics.filter(
            pl.col("model") == model, pl.col("representation") == representation
        )
        cells = [_interval(rows.filter(pl.col("metric") == name)) for name in SHOWN]
        compared = [""] * 3
        if not audit.comparisons.is_empty():
            compared = _compared(
                audit.comparisons.filter(
                    pl.col("model") == model, pl.col("representation") == representation
                )
            )
        table.add_row(escape(representation), str(rows.item(0, "seeds")), *cells, *compared)
    return table


def _interval(row: pl.DataFrame) -> str:
    estimate, low, high = row.select("estimate", "low", "high").row(0)
    if estimate is None:
        return "n/a"
    return f"{estimate:.3f} ({low:.2f}-{high:.2f})"


def _compared(row: pl.DataFrame) -> list[str]:
    if row.is_empty():
        return ["", "", ""]
    found = row.row(0, named=True)
    difference = f"{found['difference']:+.3f} ({found['low']:+.2f} {found['high']:+.2f})"
    return [difference, f"{found['p_holm']:.3g}", MARKS[found["decision"]]]


def _because(verdict: Verdict) -> str:
    steps = []
    for step in verdict.steps:
        score, numbers = step.score, ""
        if score is not None and not math.isnan(score.estimate):
            numbers = f" {score.estimate:.3f} ({score.low:.3f}-{score.high:.3f})"
        steps.append(f"{step.representation} {step.answer}{numbers}")
    return "  AUC: " + "; ".join(steps)
