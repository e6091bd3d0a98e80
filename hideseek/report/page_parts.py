"""Chapters as the page's template takes them: numbered, rounded, and with what a filter asks."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from hideseek.report.cells import DECIMALS, cell_text, heading, is_missing, is_number
from hideseek.report.chapter import Chapter, Picture, Table
from hideseek.report.export import file_names

LARGEST_DRAWING = 400_000
"""Characters of an SVG; the page shows the PNG instead of a larger one, which would be slow."""

WIDE = 110
"""Characters of a line that an upright sheet of paper has room for; a wider table goes across."""

SHORT = 28
"""Characters of a text that stays on one line in a table."""

MODEL = "model"
REPRESENTATION = ("representation", "roi")


@dataclass(frozen=True)
class Cell:
    """A cell: its text, the number that it is sorted by, and classes of the style sheet."""

    text: str
    number: str = ""
    classes: str = ""


@dataclass(frozen=True)
class Row:
    """A row, and what the page's filter looks at."""

    cells: list[Cell]
    model: str
    representation: str


@dataclass(frozen=True)
class Sheet:
    """A table as the template takes it; `row_heading` where the first column names the rows."""

    number: int
    file: str
    caption: str
    columns: list[tuple[str, bool]]
    rows: list[Row]
    row_heading: bool

    @property
    def wide(self) -> bool:
        """Whether it is printed across."""
        lines = [[cell.text for cell in row.cells] for row in self.rows]
        columns = zip(*lines, strict=True) if lines else [() for _ in self.columns]
        return (
            sum(
                2 + max(map(len, [*heading.split(), *(text[:SHORT] for text in texts)]), default=0)
                for (heading, _), texts in zip(self.columns, columns, strict=True)
            )
            > WIDE
        )


@dataclass(frozen=True)
class Plate:
    """A picture as the template takes it; `width` and `height` in pixels, 0 if unknown."""

    number: int
    file: str
    source: str
    width: int
    height: int
    picture: Picture


@dataclass(frozen=True)
class Part:
    """A chapter as the template takes it."""

    chapter: Chapter
    sheets: list[Sheet]
    plates: list[Plate]


def page_parts(chapters: Sequence[Chapter]) -> list[Part]:
    """Prepare chapters; tables and pictures are numbered through the whole report."""
    tables = [table for chapter in chapters for table in chapter.tables]
    pictures = [picture for chapter in chapters for picture in chapter.pictures]
    sheets = iter([
        _sheet(table, number, name)
        for number, (table, name) in enumerate(zip(tables, file_names(tables), strict=True), 1)
    ])  # fmt: skip
    plates = iter([
        _plate(picture, number, name)
        for number, (picture, name) in enumerate(
            zip(pictures, file_names(pictures), strict=True), 1
        )
    ])  # fmt: skip
    return [
        Part(
            chapter,
            [next(sheets) for _ in chapter.tables],
            [next(plates) for _ in chapter.pictures],
        )
        for chapter in chapters
    ]


def _sheet(table: Table, number: int, file: str) -> Sheet:
    names = table.frame.columns
    columns = [(heading(table, name), is_number(table, name)) for name in names]
    decimals = [table.decimals.get(name, DECIMALS) for name in names]
    rows = []
    for values in table.frame.iter_rows():
        of = dict(zip(names, values, strict=True))
        shown = next((of[name] for name in REPRESENTATION if name in of), None)
        cells = [
            _cell(value, count, is_number)
            for value, count, (_, is_number) in zip(values, decimals, columns, strict=True)
        ]
        rows.append(Row(cells, str(of.get(MODEL) or ""), str(shown or "")))
    named = bool(columns) and not columns[0][1]
    return Sheet(number, file, table.caption, columns, rows, named)


def _cell(value: object, decimals: int, right: bool) -> Cell:
    text = cell_text(value, decimals)
    if is_missing(value):
        return Cell(text, classes="n none" if right else "none")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Cell(text, classes="n" if right else _breaking(text))
    # JavaScript knows "Infinity"; twelve digits order what floats can tell apart on a page.
    number = f"{value:.12g}".replace("inf", "Infinity")
    return Cell(text.replace("-", "−"), number, "n")  # noqa: RUF001


def _breaking(text: str) -> str:
    """Tell the style sheet where a text may break: nowhere, at spaces, or, a hash, anywhere."""
    parts = re.split(r"[\s-]+", text)
    if len(max(parts, key=len)) > SHORT:
        return "long"
    return "short" if len(text) <= SHORT and len(parts) > 1 else ""


def _plate(picture: Picture, number: int, file: str) -> Plate:
    if picture.svg and (len(picture.svg) <= LARGEST_DRAWING or not picture.png):
        return Plate(number, file, _address("image/svg+xml", picture.svg.encode()), 0, 0, picture)
    width, height = _size(picture.png)
    return Plate(number, file, _address("image/png", picture.png), width, height, picture)


def _address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _size(png: bytes) -> tuple[int, int]:
    """Read width and height in pixels from the first chunk of a PNG file."""
    if png[:8] != b"\x89PNG\r\n\x1a\n" or len(png) < 24:
        return 0, 0
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def choices(parts: Sequence[Part], of: str) -> list[str]:
    """List what the filter offers, in the order in which the page names it."""
    found = [
        str(getattr(item, of))
        for part in parts
        for item in (
            *(part.chapter.cards if of == MODEL else ()),
            *(plate.picture for plate in part.plates),
            *(row for sheet in part.sheets for row in sheet.rows),
        )
    ]
    return [name for name in dict.fromkeys(found) if name]
