"""The verb `hideseek audit`: settings, the parts of an audit in order, and its exit status.

Verdicts need predictions only. The further parts read the cells' caches and checkpoints, take
longer, and are left out, with the reason, where those are not on this machine.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from hideseek.audit.audit import Counts, Settings, audit_grid, resamples_of, write_audit
from hideseek.audit.grid import Grid, read_grid
from hideseek.audit.section import Section
from hideseek.audit.selection import selection_section
from hideseek.errors import UserError
from hideseek.report.audit import print_audit
from hideseek.report.tables import WIDTH

PARTS = ("sources", "probe", "attribution", "matrix")


def audit(sweep: Path, words: Sequence[str]) -> int:
    """Audit a finished sweep.

    Args:
        sweep: its folder.
        words: KEY=VALUE of `Settings`, and `parts=` some of `PARTS`, "all" or "none".

    Returns:
        The exit status; see `hideseek.audit.audit.Audit.status`.

    Raises:
        UserError: an unknown setting, or a sweep that cannot be audited.
    """
    parts = read_parts([word for word in words if word.startswith("parts=")])
    settings = read_settings([word for word in words if not word.startswith("parts=")])
    grid = read_grid(sweep)
    counts = resamples_of(grid, settings)
    found = audit_grid(grid, settings, counts)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    # At once: it reads no pixel, and a verdict should not be read without it.
    sections = [*found.sections, selection_section(sweep, grid, counts)]
    for part in parts:
        try:
            sections.append(_section(part)(sweep, grid, counts))
        except UserError as error:
            sections.append(Section(part, {"left_out": str(error)}, lines=(f"{part}: {error}",)))
    found = replace(found, sections=tuple(sections))
    folder = write_audit(found, sweep)
    print_audit(found, console)
    if "attribution" in parts:
        from hideseek.report.figure3 import figure_3

        picture = figure_3(sweep, grid, folder / "figure3.png")
        console.print(f"picture: {picture}" if picture else "no figure 3", soft_wrap=True)
    console.print(f"audit: {folder / 'audit.json'}", soft_wrap=True)
    return found.status


def _section(part: str) -> Callable[[Path, Grid, Counts], Section]:
    """Import a part when it is asked for: torch takes seconds."""
    if part == "sources":
        from hideseek.audit.sources import sources_section

        return sources_section
    if part == "probe":
        from hideseek.audit.ladder import probe_section

        return probe_section
    if part == "attribution":
        from hideseek.audit.attribution import attribution_section

        return attribution_section
    from hideseek.audit.matrix import matrix_section

    return matrix_section


def read_parts(words: Sequence[str]) -> tuple[str, ...]:
    """Read which further parts are asked for; none if nothing is said.

    Raises:
        UserError: an unknown part.
    """
    if not words:
        return ()
    given = words[-1].partition("=")[2]
    chosen = {"all": PARTS, "none": ()}.get(given, tuple(given.split(",")))
    unknown = [part for part in chosen if part not in PARTS]
    if unknown:
        raise UserError(f"parts={given}: give all, none, or some of {','.join(PARTS)}")
    return chosen


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
