"""What a report is written from: the files of an audited sweep, read once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from hideseek.audit.audit import FORMAT
from hideseek.errors import UserError
from hideseek.sweep.runs import read_done, sweep_results


@dataclass(frozen=True)
class Evidence:
    """An audited sweep.

    Attributes:
        sweep: its folder.
        audit: content of audit.json; see docs/audit.md.
        tables: audit/NAME.csv by NAME, for example "metrics" and "comparisons"; a part that was not
            asked for has none.
        results: as in results.csv, one row per finished cell.
        cells: folders of the finished cells, by name.
    """

    sweep: Path
    audit: Mapping[str, Any]
    tables: Mapping[str, pl.DataFrame]
    results: pl.DataFrame
    cells: tuple[Path, ...]

    def sections(self) -> Mapping[str, Any]:
        """Return the further parts of the audit by name, also those that were left out."""
        found = self.audit.get("sections")
        return found if isinstance(found, dict) else {}

    def section(self, name: str) -> Mapping[str, Any]:
        """Return a further part of the audit, empty if it was not asked for or left out."""
        content = self.sections().get(name)
        # Of a part that ran, `left_out` lists cells; of one that did not, it is the reason.
        if not isinstance(content, dict) or isinstance(content.get("left_out"), str):
            return {}
        return content

    def lines(self, name: str) -> tuple[str, ...]:
        """Return what a further part of the audit says in sentences; older audits kept none."""
        lines = self.section(name).get("lines")
        return tuple(map(str, lines)) if isinstance(lines, list) else ()

    def table(self, name: str) -> pl.DataFrame:
        """Return a table of the audit, without rows if it is not there."""
        return self.tables.get(name, pl.DataFrame())


def read_evidence(sweep: Path) -> Evidence:
    """Read an audited sweep.

    Args:
        sweep: its folder.

    Returns:
        What is there.

    Raises:
        UserError: there is no audit of this version's format, or a file cannot be read.
    """
    path = sweep / "audit" / "audit.json"
    again = f"run hideseek audit {sweep} parts=all"
    try:
        audit = json.loads(path.read_text())
        if not isinstance(audit, dict) or audit.get("format") != FORMAT:
            raise UserError(f"{path}: not format {FORMAT}; {again}")
        tables = {file.stem: pl.read_csv(file) for file in sorted(path.parent.glob("*.csv"))}
        listed = sweep / "results.csv"
        results = pl.read_csv(listed) if listed.is_file() else sweep_results(sweep)
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: not there; {again}") from None
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{path.parent}: cannot be read ({error}); {again}") from None
    cells = tuple(
        sorted(done.parent for done in sweep.glob("*/done.json") if read_done(done.parent))
    )
    return Evidence(sweep, audit, tables, results, cells)
