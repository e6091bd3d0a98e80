"""Findings: what is odd about a file or a row, how bad it is, and what was done about it.

Every step of `prepare` reports in this form; `problems.csv` holds them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import polars as pl

Severity = Literal["info", "warning", "error"]


class Problem(NamedTuple):
    """One finding.

    Attributes:
        file: path of the image or mask, relative to the data root, or of the table.
        kind: a short name, such as "unreadable" or "near_duplicate".
        severity: "error" where the row cannot be used, "warning" where a result may suffer,
            "info" where the reader only did something worth knowing.
        reason: one line.
        action: what was done: "kept", "left out" ...
    """

    file: str
    kind: str
    severity: Severity
    reason: str
    action: str


def problem_table(problems: Sequence[Problem]) -> pl.DataFrame:
    """Lay findings out as `problems.csv` has them: text columns, one row each, in order."""
    return pl.DataFrame(problems, schema=dict.fromkeys(Problem._fields, pl.String), orient="row")
