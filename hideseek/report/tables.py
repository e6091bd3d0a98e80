"""Results as tables that people read."""

from __future__ import annotations

import math

import polars as pl
from rich import box
from rich.table import Table

HIDDEN = ("folder", "balanced_accuracy", "images", "epochs")
"""Columns of results.csv that the terminal has no room for."""

WHEN_VARIED = ("fill", "margin", "selection", "labels", "data")
"""Columns that are shown where they differ between cells."""

WIDTH = 120
"""Characters of a line where there is no terminal to ask."""


def results_table(results: pl.DataFrame, title: str) -> Table:
    """Lay out a results.csv in the paper's columns.

    Args:
        results: as `hideseek.sweep.runs.sweep_results` returns it.
        title: above the table.

    Returns:
        A table for the terminal; fractions with three decimals, "n/a" where undefined.
    """
    table = Table(title=title, header_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    same = [n for n in WHEN_VARIED if n in results.columns and results[n].n_unique() < 2]
    columns = [name for name in results.columns if name not in (*HIDDEN, *same)]
    for name in columns:
        text = results.schema[name] == pl.String
        heading = name.replace("_", "\n", 1)
        table.add_column(heading, justify="left" if text else "right", no_wrap=True)
    for row in results.select(columns).iter_rows():
        table.add_row(*(_cell(value) for value in row))
    return table


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "n/a"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
