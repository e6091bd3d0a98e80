"""The verb `hideseek report`: an audited sweep as one HTML page, and its tables and pictures."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from hideseek.errors import UserError
from hideseek.progress import progress
from hideseek.report.chapter import Chapter
from hideseek.report.chapters.order import CHAPTERS, chapter_function
from hideseek.report.evidence import Evidence, read_evidence
from hideseek.report.export import export
from hideseek.report.page import build_page
from hideseek.report.tables import WIDTH

log = logging.getLogger(__name__)

FIRST_AUDIT = ("parts=sources",)
"""Settings of an audit that nobody ran yet: the parts that need no network."""


def report(sweep: Path) -> int:
    """Write the report of a sweep into `report/` in it, after an audit if there is none.

    Args:
        sweep: its folder.

    Returns:
        The exit status: 0, or 1 where a chapter failed for a reason that nobody foresaw; the page
        is written then too, and says so.

    Raises:
        UserError: there is no such sweep, or it cannot be audited.
    """
    if not sweep.is_dir():
        raise UserError(f"{sweep}: no such folder; give a sweep such as multirun/NAME")
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    if not (sweep / "audit" / "audit.json").is_file():
        _audit_first(sweep, console)
    evidence = read_evidence(sweep)
    chapters, failed = write_chapters(evidence)
    folder = sweep / "report"
    folder.mkdir(exist_ok=True)
    export(chapters, folder)
    _write_cards(evidence, folder)
    page = write_page(chapters, evidence, folder / "index.html")
    for chapter in chapters:
        if chapter.absent:
            line = f"not in it: [bold]{escape(chapter.title)}[/bold]: {escape(chapter.absent)}"
            console.print(line, highlight=False, soft_wrap=True)
    size = page.stat().st_size / 1e6
    console.print(f"report: {escape(str(page))} ({size:.1f} MB)", highlight=False, soft_wrap=True)
    return 1 if failed else 0


def _write_cards(evidence: Evidence, folder: Path) -> None:
    """Write model_card-1.md and so on, to go with the weights."""
    from hideseek.report.chapters.model_card import as_markdown, model_cards

    for old in folder.glob("model_card-*.md"):
        old.unlink()
    for number, card in enumerate(model_cards(evidence), 1):
        (folder / f"model_card-{number}.md").write_text(as_markdown(card), encoding="utf-8")


def _audit_first(sweep: Path, console: Console) -> None:
    from hideseek.audit.command import audit

    console.print(
        f"no audit yet, so one runs first, without the parts that take long; for all of them: "
        f"hideseek audit {escape(str(sweep))} parts=all",
        highlight=False,
        soft_wrap=True,
    )
    audit(sweep, FIRST_AUDIT)


def write_chapters(evidence: Evidence) -> tuple[list[Chapter], bool]:
    """Ask for every chapter in order.

    Args:
        evidence: that they are written from.

    Returns:
        The chapters, and whether one failed other than by a UserError. A chapter that has nothing
        to go by is there, and says what is lacking.
    """
    chapters, failed = [], False
    bar, advance = progress("chapters", len(CHAPTERS))
    with bar:
        for name in CHAPTERS:
            try:
                chapters.append(chapter_function(name)(evidence))
            except UserError as error:
                chapters.append(_absent(name, str(error)))
            except Exception as error:
                # Files of others can be damaged in any way, and the other chapters are of use.
                log.exception("chapter %s", name)
                failed = True
                reason = f"It could not be written ({type(error).__name__}: {error})."
                chapters.append(_absent(name, reason))
            advance(1)
    return chapters, failed


def _absent(name: str, reason: str) -> Chapter:
    title = name.replace("_", " ").capitalize()
    return Chapter(name.replace("_", "-"), title, absent=reason)


def write_page(chapters: Sequence[Chapter], evidence: Evidence, path: Path) -> Path:
    """Write the page: whole under its name, or not there.

    Args:
        chapters: in order.
        evidence: what the page's head says is taken from it.
        path: of the HTML file.

    Returns:
        The path.
    """
    title = f"Hide-and-seek report: {evidence.audit.get('sweep', evidence.sweep.name)}"
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(build_page(chapters, title, facts(evidence.audit)), encoding="utf-8")
    temporary.replace(path)
    return path


def facts(audit: Mapping[str, Any]) -> list[str]:
    """Say in short lines what was audited, from audit.json's content."""
    classes = audit.get("classes")
    named = ", ".join(map(str, classes)) if isinstance(classes, list) else "?"
    return [
        f"{audit.get('images', '?')} test images",
        f"{audit.get('patients', '?')} patients",
        f"classes: {named}",
        f"audited {str(audit.get('written', '?'))[:10]}",
        f"hideseek {audit.get('version', '?')}",
    ]
