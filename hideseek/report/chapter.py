"""What a report is made of: chapters of sentences, tables and pictures, all plain values.

Chapters know nothing of HTML, and the page knows nothing of the audit. All text is plain: the page
escapes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl


@dataclass(frozen=True)
class Table:
    """A table, shown on the page and written as CSV, Markdown and LaTeX.

    Attributes:
        name: of the files, without ending; unique in a report.
        caption: one sentence; says what a row is and how numbers were obtained.
        frame: the rows; numbers stay numbers, so that the page can sort them.
        headings: shown instead of a column's name.
        decimals: of a column's numbers; three where nothing is said.
    """

    name: str
    caption: str
    frame: pl.DataFrame
    headings: Mapping[str, str] = field(default_factory=dict)
    decimals: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Picture:
    """A picture, shown on the page and written beside it.

    Attributes:
        name: of the files, without ending; unique in a report.
        caption: one sentence below it.
        alternative: what someone who cannot see it has to know.
        png: the picture; the page shows it where there is no `svg`.
        svg: the same as drawing, from matplotlib; empty for a photograph such as radiographs.
        model: network that it is about, for the page's filter; empty for all.
        representation: the same of a representation.
    """

    name: str
    caption: str
    alternative: str
    png: bytes
    svg: str = ""
    model: str = ""
    representation: str = ""


@dataclass(frozen=True)
class Card:
    """The answer on one network, short enough that all of them fit on a screen.

    Attributes:
        model: network that it is about, for the page's filter too.
        verdict: one of `hideseek.audit.verdict.MEANING`, or another short name.
        sentence: to quote.
        status: as the audit's exit status: 0 the lungs are read, 3 a shortcut, 4 cannot be told.
        numbers: short lines such as "AUC original 0.91 (0.88-0.94)".
    """

    model: str
    verdict: str
    sentence: str
    status: int
    numbers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chapter:
    """One part of a report.

    Attributes:
        key: short name, for links; letters and hyphens.
        title: heading.
        sentences: paragraphs before tables and pictures.
        tables: in order.
        pictures: in order, before the tables.
        absent: what is not there and the command that would make it; empty if nothing lacks.
        cards: shown first, before the sentences.
    """

    key: str
    title: str
    sentences: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    absent: str = ""
    cards: tuple[Card, ...] = ()
