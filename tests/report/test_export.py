from __future__ import annotations

import csv
import io
import re

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from hideseek.report.chapter import Chapter, Picture, Table
from hideseek.report.export import (
    as_csv,
    as_markdown,
    escape_latex,
    export,
    file_names,
    harmless,
    latex,
)

FRAME = pl.DataFrame({"model": ["a_b", "=1+1"], "x": [0.123456789, None], "n": [1, 2]})
TABLE = Table("scores", "A 5 % interval.", FRAME, {"x": "x & y"})
words = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=30)


def test_csv_has_all_digits_and_no_formula():
    assert as_csv(TABLE) == "model,x,n\na_b,0.123456789,1\n'=1+1,,2\n"


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"), ("+1", "+1"), ("-0.5", "-0.5"), ("@x", "'@x"),
        ("-1+cmd|' /C calc'!A0", "'-1+cmd|' /C calc'!A0"), ("\t=1", "'\t=1"), ("  =1", "'  =1"),
        ("a=1", "a=1"), ("", ""), ("＝1", "'＝1"),  # noqa: RUF001
    ],
)  # fmt: skip
def test_a_formula_gets_an_apostrophe_and_a_number_does_not(text, safe):
    assert harmless(text) == safe


@given(st.lists(words, min_size=1, max_size=5))
@example(['a"b', "a,b", "=1"])
def test_csv_reads_back(values):
    frame = pl.DataFrame({"name": values, "number": range(len(values))})
    rows = list(csv.reader(io.StringIO(as_csv(Table("t", "c", frame)))))[1:]
    read = [name.removeprefix("'") if name[:1] == "'" else name for name, _ in rows]
    assert read == [value.removeprefix("'") for value in values]
    assert all(row[0][:1] not in ("=", "@") for row in rows)


def test_lists_and_dates_are_text_in_csv():
    frame = pl.DataFrame({"names": [["a", "b"]], "yes": [True]})
    assert "true" in as_csv(Table("t", "c", frame))
    assert "a" in as_csv(Table("t", "c", frame))


@settings(deadline=None)
@given(st.lists(words, min_size=1, max_size=4), words)
@example(["a|b", "<b>x</b>", "&amp;", "www.example.org", "\\", "`x`", "[x](y)", "*", "1. x"], "# x")
def test_markdown_reads_back_as_the_same_text(values, caption):
    table = Table("t", caption, pl.DataFrame({"name": values}))
    tokens = MarkdownIt("commonmark").enable("table").parse(as_markdown(table))
    inline = [token for token in tokens if token.type == "inline"]
    assert all(child.type == "text" for token in inline for child in token.children or ())
    read = ["".join(child.content for child in token.children or ()) for token in inline]
    assert read[0] == f"Table: {' '.join(caption.split())}".strip()
    assert read[1:] == ["name", *(" ".join(value.split()) for value in values)]


def test_latex_is_a_booktabs_table():
    lines = latex(TABLE).splitlines()
    assert r"\begin{tabular}{lrr}" in lines
    assert r"\caption{A 5 \% interval.}\label{tab:scores}" in lines
    assert lines[lines.index(r"\toprule") + 1] == r"model & x \& y & n \\"
    assert r"a\_b & 0.123 & 1 \\" in lines
    assert r"=1+1 & n/a & 2 \\" in lines


def test_a_row_cannot_be_taken_for_the_options_of_a_lines_end():
    text = latex(Table("t", "c", pl.DataFrame({"x": ["a", "[2pt] b", "*"]})))
    assert "a \\\\\n{[}2pt{]} b \\\\\n{*} \\\\\n" in text


def test_a_long_table_breaks_over_pages_in_latex():
    text = latex(Table("t", "c", pl.DataFrame({"x": range(100)})))
    assert r"\begin{longtable}{r}" in text
    assert r"\begin{table}" not in text
    assert text.count(r"\endhead") == 1


@given(words)
@example("\\input{/etc/passwd}")
@example("50%$x_1^2~#&{}")
def test_no_sign_has_a_meaning_in_latex(text):
    escaped = escape_latex(text)
    left = re.sub(
        r"\\[a-z]+\{\}|\\[&%$#_{}]|\$(?:-|\\[a-z]+)\$|\{[\[\]*-]\}|--", "", escaped
    )  # what is meant
    assert not set(left) & set("\\&%$#_{}~^")


def test_names_of_files_are_plain_and_differ():
    names = ["a", "A", "a", "../../etc/passwd", "model.net.width=8", "", "..", "x" * 300]
    items = [Table(name, "", pl.DataFrame()) for name in names]
    assert file_names(items) == [
        "a", "A-2", "a-3", "etc-passwd", "model.net.width-8", "unnamed", "unnamed-2", "x" * 100,
    ]  # fmt: skip


def test_files_of_an_earlier_report_go_and_others_stay(tmp_path):
    chapter = Chapter(
        "x", "X", tables=(TABLE,), pictures=(Picture("p", "c", "a", b"png", "<svg/>"),)
    )
    (tmp_path / "tables").mkdir()
    outside = tmp_path / "outside.csv"
    outside.write_text("mine")
    (tmp_path / "tables" / "scores.csv").symlink_to(outside)
    (tmp_path / "tables" / "old.csv").write_text("")
    (tmp_path / "tables" / "notes.txt").write_text("")
    export([chapter], tmp_path)
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {
        "scores.csv", "scores.md", "scores.tex", "notes.txt",
    }  # fmt: skip
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"p.png", "p.svg"}
    assert outside.read_text() == "mine"
    assert (tmp_path / "figures" / "p.png").read_bytes() == b"png"
