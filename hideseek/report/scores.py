"""What a report needs of an audit's tables, read with care: they may be a stranger's.

    Evidence -> frames with exactly the columns that a chapter asks for

A column that is absent, and a value that is no number, is null; no chapter fails by it.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from hideseek.audit.command import PARTS
from hideseek.report.cell_files import without_places
from hideseek.report.evidence import Evidence
from hideseek.roi import PAPER, REPRESENTATIONS

SECTIONS = {"cross_representation": "matrix"}
"""Names in audit.json of parts that are asked for by another name."""

LIMITS = ("estimate", "low", "high")
Score = tuple[float | None, float | None, float | None]
"""Values of `LIMITS`."""


def columns(frame: pl.DataFrame, texts: Sequence[str], numbers: Sequence[str]) -> pl.DataFrame:
    """Take columns of a table as text and as finite numbers.

    Args:
        frame: any table.
        texts: names of columns; an absent one is "" throughout.
        numbers: names of columns; an absent one is null throughout.

    Returns:
        These columns in this order, as many rows as before.
    """
    rows = frame.height
    found = []
    for name in (*texts, *numbers):
        column = frame[name] if name in frame.columns else pl.Series(name, [None] * rows)
        if name in texts:
            shown = ["" if value is None else str(value) for value in column]
            found.append(pl.Series(name, shown, pl.String))
        else:
            found.append(pl.Series(name, [number(value) for value in column], pl.Float64))
    return pl.DataFrame(found)


def number(value: object) -> float | None:
    """Read a finite number from what may be anything; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        read = float(value)
    except (ValueError, OverflowError):
        return None
    return read if math.isfinite(read) else None


def mappings(value: object) -> list[Mapping[str, Any]]:
    """Take the mappings of what should be a list of them."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def texts(value: object) -> list[str]:
    """Take what should be a list of texts as one."""
    return [str(each) for each in value] if isinstance(value, list) else []


def scores(evidence: Evidence, metric: str) -> pl.DataFrame:
    """Take one metric of all networks and representations.

    Args:
        evidence: of the sweep.
        metric: for example "accuracy".

    Returns:
        `model`, `representation`, `seeds` and `LIMITS`, one row a cell of the grid.
    """
    table = columns(
        evidence.table("metrics"), ("model", "representation", "metric"), ("seeds", *LIMITS)
    )
    return (
        table.filter(pl.col("metric") == metric)
        .select("model", "representation", pl.col("seeds").cast(pl.Int64, strict=False), *LIMITS)
        .unique(["model", "representation"], keep="first", maintain_order=True)
    )


def by_model(table: pl.DataFrame) -> dict[str, dict[str, Score]]:
    """Give the score of each representation of each network.

    Args:
        table: as `scores` returns it.
    """
    found: dict[str, dict[str, Score]] = {}
    for model, name, *score in table.select("model", "representation", *LIMITS).iter_rows():
        found.setdefault(model, {})[name] = (score[0], score[1], score[2])
    return found


def groups(names: Iterable[str]) -> tuple[list[str], list[str], list[str]]:
    """Sort representations: the paper's, the controls that it lacks, and all others.

    Args:
        names: as in the audit, in any order, repeated or not.

    Returns:
        Three lists, the first two in the order of `hideseek.roi`, the third as met: other fills,
        margins, and names that this version does not know.
    """
    met = list(dict.fromkeys(names))
    controls = [name for name in REPRESENTATIONS if name not in PAPER]
    return (
        [name for name in PAPER if name in met],
        [name for name in controls if name in met],
        [name for name in met if name not in REPRESENTATIONS],
    )


def parts_of(name: str) -> tuple[str, str, float]:
    """Take the name of a representation apart.

    Args:
        name: as `hideseek.audit.grid.CellPredictions.representation` makes it, for example
            "lungs_removed mean margin 10".

    Returns:
        Representation, fill ("black" if none is named) and margin in % of the lung width.
    """
    start, _, margin = name.partition(" margin ")
    roi, _, fill = start.partition(" ")
    return roi, fill or "black", number(margin) or 0.0


def interval(score: Score, decimals: int = 3) -> str:
    """Write a number with its interval for a sentence or a picture.

    Args:
        score: estimate, low and high.
        decimals: of the estimate; the limits have two.

    Returns:
        For example "0.933 (0.90-0.96)"; "n/a" without a number, the number alone without limits.
    """
    estimate, low, high = score
    if estimate is None:
        return "n/a"
    if low is None or high is None:
        return f"{estimate:.{decimals}f}"
    return f"{estimate:.{decimals}f} ({low:.2f}-{high:.2f})"


def why_absent(evidence: Evidence, name: str, about: str) -> str:
    """Say that a part of the audit is not there, why, and what would make it.

    Args:
        evidence: of the sweep.
        name: of the section in audit.json.
        about: what the part tells, for the sentence.

    Returns:
        A sentence that ends in the command; it keeps the parts that are there.
    """
    part, there = SECTIONS.get(name, name), evidence.sections()
    asked = {part, *(SECTIONS.get(each, each) for each in there)}
    chosen = "all" if asked >= set(PARTS) else ",".join(each for each in PARTS if each in asked)
    content = there.get(name, there.get(part))
    because = "that was not asked for"
    if isinstance(content, dict) and isinstance(content.get("left_out"), str):
        because = without_places(content["left_out"])
    command = audit_command(evidence, f"parts={chosen}")
    return f"This audit says nothing of {about}: {because}. To add it: {command}"


def audit_command(evidence: Evidence, words: str = "") -> str:
    """Write the command that audits the sweep again, for a shell."""
    return f"hideseek audit {shlex.quote(str(evidence.sweep))} {words}".rstrip()
