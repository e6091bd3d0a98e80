"""The chapters of a report in their order, and how they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from hideseek.report.chapter import Chapter
from hideseek.report.evidence import Evidence

CHAPTERS = (
    "verdicts",
    "heat_map",
    "paper_tables",
    "controls",
    "sources",
    "matrix",
    "curves",
    "masks",
    "attribution",
    "provenance",
    "checklists",
    "model_card",
)
"""Modules of this package, each with a function `chapter`; what a reader needs first is first."""


def chapter_function(name: str) -> Callable[[Evidence], Chapter]:
    """Import the function that writes a chapter.

    Args:
        name: one of `CHAPTERS`.

    Returns:
        The function; it raises UserError where the evidence has nothing for it.
    """
    function: Callable[[Evidence], Chapter] = import_module(f"{__package__}.{name}").chapter
    return function
