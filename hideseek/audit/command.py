"""The verb `hideseek audit`: settings, the parts of an audit in order, and its exit status."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from hideseek.audit.audit import Settings, audit_grid, resamples_of, write_audit
from hideseek.audit.grid import read_grid
from hideseek.errors import UserError
from hideseek.report.audit import print_audit
from hideseek.report.tables import WIDTH


def audit(sweep: Path, words: Sequence[str]) -> int:
    """Audit a finished sweep.

    Args:
        sweep: its folder.
        words: KEY=VALUE of `Settings`.

    Returns:
        The exit status; see `hideseek.audit.audit.Audit.status`.

    Raises:
        UserError: an unknown setting, or a sweep that cannot be audited.
    """
    settings = read_settings(words)
    grid = read_grid(sweep)
    found = audit_grid(grid, settings, resamples_of(grid, settings))
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    folder = write_audit(found, sweep)
    print_audit(found, console)
    console.print(f"audit: {folder / 'audit.json'}", soft_wrap=True)
    return found.status


def read_settings(words: Sequence[str]) -> Settings:
    """Read KEY=VALUE words.

    Args:
        words: of the command line.

    Returns:
        The settings.

    Raises:
        UserError: an unknown key, or no number.
    """
    defaults = asdict(Settings())
    given: dict[str, Any] = {}
    for word in words:
        key, _, value = word.partition("=")
        if key not in defaults:
            raise UserError(f"'{word}' is unknown; known are {', '.join(defaults)}")
        kind = type(defaults[key])
        try:
            given[key] = kind(value)
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            raise UserError(f"{word}: '{value}' is not {what}") from None
    return Settings(**given)
