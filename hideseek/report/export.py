"""The tables and pictures of a report as files: CSV, Markdown and LaTeX; PNG and SVG.

CSV holds every digit; Markdown and LaTeX hold what the page shows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import polars as pl

from hideseek.report.cells import heading, is_number, text_rows
from hideseek.report.chapter import Chapter, Picture, Table

LONGEST_NAME = 100
LONGEST_FLOAT = 40
"""Rows that still fit a page; a longer table may break over pages in LaTeX."""

FORMULA = "=+-@＝＋－＠"  # noqa: RUF001  a spreadsheet takes the wide signs too
MARKUP = re.compile(
    r"[\\`*_{}\[\]<>|#~&$@^]|^[=+-]|(?<=[0-9])[.)](?=\s|$)|(?<=www)\.|:(?=//)", re.IGNORECASE
)
"""Signs that mean something anywhere, at the start of a line, in a list or in a link."""

LATEX: Mapping[str, str] = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "`": r"\textasciigrave{}",
    '"': r"\textquotedbl{}", "'": r"\textquotesingle{}", "[": "{[}", "]": "{]}", "*": "{*}",
    "-": "{-}", "−": "$-$", "–": "--", "±": r"$\pm$", "×": r"$\times$", "→": r"$\rightarrow$",  # noqa: RUF001
    "≤": r"$\leq$", "≥": r"$\geq$", "≈": r"$\approx$", "≠": r"$\neq$", "·": r"$\cdot$",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}  # fmt: skip
"""Brackets and stars after a line's end would be taken for its options; two hyphens for a dash."""

ENDINGS: Mapping[str, tuple[str, ...]] = {
    "tables": (".csv", ".md", ".tex"),
    "figures": (".png", ".svg"),
}


def file_names(items: Sequence[Table | Picture]) -> list[str]:
    """Name the files of tables or of pictures, without ending.

    Args:
        items: whose names may hold anything, a path too.

    Returns:
        One name each, of letters, digits, dots, hyphens and underscores; all different, also where
        a file system takes no account of case.
    """
    given: list[str] = []
    taken: set[str] = set()
    for item in items:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", item.name).strip("-.")[:LONGEST_NAME] or "unnamed"
        name, number = plain, 1
        while name.lower() in taken:
            number += 1
            name = f"{plain}-{number}"
        taken.add(name.lower())
        given.append(name)
    return given


def export(chapters: Sequence[Chapter], folder: Path) -> None:
    """Write the files of a report; those of an earlier report are removed.

    Args:
        chapters: with tables and pictures.
        folder: of the report; files go to `tables/` and `figures/` in it.
    """
    for name, endings in ENDINGS.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for path in sorted((folder / name).iterdir()):
            if path.suffix in endings:
                path.unlink()
    tables = [table for chapter in chapters for table in chapter.tables]
    pictures = [picture for chapter in chapters for picture in chapter.pictures]
    formats: Mapping[str, Callable[[Table], str]] = {"csv": as_csv, "md": as_markdown, "tex": latex}
    for name, table in zip(file_names(tables), tables, strict=True):
        for ending, write in formats.items():
            (folder / "tables" / f"{name}.{ending}").write_text(write(table), encoding="utf-8")
    for name, picture in zip(file_names(pictures), pictures, strict=True):
        if picture.png:
            (folder / "figures" / f"{name}.png").write_bytes(picture.png)
        if picture.svg:
            (folder / "figures" / f"{name}.svg").write_text(picture.svg, encoding="utf-8")


def as_csv(table: Table) -> str:
    """Write a table as CSV with all digits; empty where a value is not defined.

    A text that a spreadsheet would run as a formula has an apostrophe before it.
    """
    frame = table.frame.select(
        pl.col(name) if kind.is_numeric() or kind == pl.Boolean else _as_text(name, kind)
        for name, kind in table.frame.schema.items()
    ).with_columns(pl.col(pl.Float32, pl.Float64).fill_nan(None))
    return frame.rename(harmless).write_csv()


def _as_text(name: str, kind: pl.DataType) -> pl.Expr:
    if kind == pl.String:
        return pl.col(name).map_elements(harmless, return_dtype=pl.String)
    return pl.col(name).map_elements(lambda value: harmless(str(value)), return_dtype=pl.String)


def harmless(text: str) -> str:
    """Put an apostrophe before what a spreadsheet would take for a formula.

    Args:
        text: of a cell.

    Returns:
        The same text where it is a number or does not look like a formula.
    """
    if text.lstrip()[:1] not in tuple(FORMULA) and text[:1] not in ("\t", "\r", "\n"):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def as_markdown(table: Table) -> str:
    """Write a table as Markdown, with its caption above."""
    columns = table.frame.columns
    rules = ["---:" if is_number(table, name) else ":---" for name in columns]
    lines = [[markdown(heading(table, name)) for name in columns], rules]
    lines += [[markdown(text) for text in row] for row in text_rows(table)]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"Table: {markdown(table.caption)}\n\n{body}\n"


def markdown(text: str) -> str:
    """Escape text for one line of Markdown."""
    return MARKUP.sub(r"\\\g<0>", " ".join(text.split()))


def latex(table: Table) -> str:
    """Write a table for LaTeX with booktabs; a long one as a longtable."""
    columns = table.frame.columns
    long = table.frame.height > LONGEST_FLOAT
    align = "".join("r" if is_number(table, name) else "l" for name in columns)
    label = re.sub(r"[^A-Za-z0-9-]+", "-", table.name)
    caption = rf"\caption{{{escape_latex(table.caption)}}}\label{{tab:{label}}}"
    head = [r"\toprule", _latex_line([heading(table, name) for name in columns]), r"\midrule"]
    body = [_latex_line(row) for row in text_rows(table)]
    if long:
        lines = [
            r"% needs \usepackage{booktabs,longtable}",
            rf"\begin{{longtable}}{{{align}}}", caption + r" \\", *head, r"\endhead",
            *body, r"\bottomrule", r"\end{longtable}",
        ]  # fmt: skip
    else:
        lines = [
            r"% needs \usepackage{booktabs}",
            r"\begin{table}", r"\centering", caption, rf"\begin{{tabular}}{{{align}}}",
            *head, *body, r"\bottomrule", r"\end{tabular}", r"\end{table}",
        ]  # fmt: skip
    return "\n".join(lines) + "\n"


def escape_latex(text: str) -> str:
    """Escape text for LaTeX."""
    return "".join(LATEX.get(sign, sign) for sign in " ".join(text.split()))


def _latex_line(cells: Sequence[str]) -> str:
    return " & ".join(escape_latex(cell) for cell in cells) + r" \\"
