from __future__ import annotations

import io

import polars as pl
from rich.console import Console

from hideseek.report.tables import results_table

RESULTS = pl.DataFrame(
    {
        "model": ["tiny", "resnet50"],
        "roi": ["original", "lungs_removed"],
        "seed": [0, 1],
        "accuracy": [0.91666, 1.0],
        "sens_covid19": [float("nan"), 0.5],
        "ppv_covid19": [None, 0.12345],
        "balanced_accuracy": [0.777, 0.777],
        "n": [300, 300],
        "epochs": [61, 3],
        "folder": ["hidden-a", "hidden-b"],
    }
)


def shown(results: pl.DataFrame) -> list[str]:
    console = Console(file=io.StringIO(), width=200)
    console.print(results_table(results, "a title"))
    return console.file.getvalue().splitlines()


def test_a_row_has_three_decimals_and_says_what_is_not_defined():
    lines = shown(RESULTS)
    assert "a title" in lines[0]
    rows = [line.split() for line in lines]
    assert [cells for cells in rows if cells[:1] in (["tiny"], ["resnet50"])] == [
        ["tiny", "original", "0", "0.917", "n/a", "n/a", "300"],
        ["resnet50", "lungs_removed", "1", "1.000", "0.500", "0.123", "300"],
    ]


def test_columns_are_the_results_without_the_hidden_ones():
    names = [str(column.header).split() for column in results_table(RESULTS, "").columns]
    assert names == [
        ["model"], ["roi"], ["seed"], ["accuracy"], ["sens", "covid19"], ["ppv", "covid19"],
        ["n"],
    ]  # fmt: skip


def test_text_is_left_and_numbers_are_right():
    sides = {column.header: column.justify for column in results_table(RESULTS, "").columns}
    assert sides["model"] == "left"
    assert sides["accuracy"] == "right"
