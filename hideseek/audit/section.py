"""One part of an audit: what goes into audit.json, and the tables and pictures beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl


@dataclass(frozen=True)
class Section:
    """What one part of an audit found.

    Attributes:
        name: key in audit.json.
        content: plain values; None for what is not defined.
        tables: by file name without ending; written as `audit/NAME.csv`.
        pictures: files that were written.
        lines: what a reader should know of it, a sentence each.
    """

    name: str
    content: Mapping[str, Any]
    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    pictures: tuple[Path, ...] = ()
    lines: tuple[str, ...] = ()
