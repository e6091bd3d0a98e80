"""The text of a table's cells, the same on the page and in the files for papers."""

from __future__ import annotations

import math
from collections.abc import Iterator

import polars as pl

from hideseek.report.chapter import Table

NOTHING = "n/a"
DECIMALS = 3


def is_missing(value: object) -> bool:
    """Tell whether a value is not defined: null or not a number."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def cell_text(value: object, decimals: int = DECIMALS) -> str:
    """Write a value as people read it.

    Args:
        value: of a cell.
        decimals: of fractions.

    Returns:
        One line, not escaped; "n/a" where the value is not defined. A fraction that would be
        rounded to zero says how small it is: "<0.001".
    """
    if is_missing(value):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return _fraction(value, decimals)
    if isinstance(value, list | tuple | pl.Series):
        return ", ".join(cell_text(each, decimals) for each in value)
    return " ".join(str(value).split())


def heading(table: Table, column: str) -> str:
    """Return what stands above a column."""
    return table.headings.get(column, column.replace("_", " "))


def is_number(table: Table, column: str) -> bool:
    """Tell whether a column holds numbers, which are set flush right."""
    return table.frame.schema[column].is_numeric()


def text_rows(table: Table) -> Iterator[list[str]]:
    """Yield the rows of a table as text."""
    decimals = [table.decimals.get(name, DECIMALS) for name in table.frame.columns]
    for row in table.frame.iter_rows():
        yield [cell_text(value, count) for value, count in zip(row, decimals, strict=True)]


def _fraction(value: float, decimals: int) -> str:
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    text = f"{value:.{decimals}f}"
    if value == 0 or float(text) != 0:
        return text if value else text.lstrip("-")
    smallest = f"{10**-decimals:.{decimals}f}"
    return f"<{smallest}" if value > 0 else f">-{smallest}"
