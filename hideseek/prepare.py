"""Raw data to a cache, and what it is worth untrained: the verbs `prepare` and `check`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import polars as pl
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import Console

from hideseek.data.cache import Cache
from hideseek.data.confounding import confounding
from hideseek.data.drawn import PhantomSource
from hideseek.data.floor import metadata_floor
from hideseek.data.manifest import read_text_columns
from hideseek.data.problems import problem_table
from hideseek.data.source import ManifestSource
from hideseek.data.splits import complete_splits
from hideseek.data.trust import gate, worst
from hideseek.errors import UserError
from hideseek.record import write_json
from hideseek.report.data import (
    availability_table,
    counts_table,
    show_confounding,
    show_floors,
    show_problems,
)
from hideseek.report.masks import SHEET, contact_sheet, gate_table, show_gate
from hideseek.report.tables import WIDTH


def prepare(config: DictConfig) -> None:
    """Survey the files of a data group, build its cache, and show what it holds.

    Args:
        config: composed from `conf/prepare.yaml`.

    Raises:
        UserError: the data cannot be used, or `strict` and something was found.
    """
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    source: ManifestSource | PhantomSource = instantiate(config.data, _convert_="all")
    prepared = source.prepare()
    problems = prepared.cache.with_suffix(".problems.csv")
    show_problems(console, prepared.problems, problems)
    if prepared.survey is not None and config.data.task == "classify":
        path = prepared.survey.folder / "confounding.json"
        _confounding(console, prepared.survey.rows, list(config.task.classes), path)
    cache = Cache(prepared.cache)
    if cache.recipe.task == "classify":
        _trust(console, cache)
    console.print(counts_table(cache.table, f"{len(cache)} images at {cache.recipe.size} px"))
    already = "" if prepared.fresh else " (was there already)"
    console.print(f"cache: {prepared.cache}{already}", soft_wrap=True)


def _trust(console: Console, cache: Cache) -> None:
    """Show whether the masks depend on the class, and leave the report beside the cache."""
    table = gate_table(read_text_columns(cache.path.with_suffix(".masks.csv")))
    report = gate(table, cache.recipe.classes)
    show_gate(console, report)
    report.summary.write_csv(cache.path.with_suffix(".gate.csv"))
    tests = [asdict(test) for test in report.tests]
    write_json(
        cache.path.with_suffix(".gate.json"), {"sentences": report.sentences, "tests": tests}
    )
    rows, columns = SHEET
    sheet = contact_sheet(cache, worst(table, rows * columns), cache.path.with_suffix(".masks.png"))
    console.print(f"masks to look at, worst first: {sheet}", soft_wrap=True)


def check(config: DictConfig) -> None:
    """Show how far the labels can be told without looking at a pixel; opens no image.

    Rows that are listed but not on disk count, so that a data set can be judged before it is
    downloaded. Where `prepare` has run, its facts of the files are used.

    Args:
        config: composed from `conf/check.yaml`.

    Raises:
        UserError: the rows cannot be read.
    """
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    data: ManifestSource | PhantomSource = instantiate(config.data, _convert_="all")
    if config.data.get("task", "classify") != "classify":
        raise UserError("check compares classes; give it data of the task 'classify'")
    source = data.list_files()
    listed = source.listed()
    path = Path(source.folder) / f"{source.name}.check.problems.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    problem_table(listed.problems).write_csv(path)
    show_problems(console, listed.problems, path)
    if "on_disk" in listed.rows.columns:
        console.print(availability_table(listed.rows))
    rows = _with_survey(listed.rows, source.surveyed(listed))
    if not (rows.get_column("split") == "test").any():
        rows = complete_splits(rows, source.split_seed, source.folds, source.fold)
    console.print(counts_table(rows, f"{rows.height} images listed"))
    path = Path(source.folder) / f"{source.name}.check.json"
    _confounding(console, rows, list(config.task.classes), path)


def _with_survey(listed: pl.DataFrame, surveyed: pl.DataFrame | None) -> pl.DataFrame:
    """Take the rows that a survey left in, unless it could not see all that are listed.

    With some files absent, facts of the others would tell what is on disk and not what is in the
    data.
    """
    absent = "on_disk" in listed.columns and (listed.get_column("on_disk") == "no").any()
    return listed if surveyed is None or absent else surveyed


def _confounding(console: Console, rows: pl.DataFrame, classes: list[str], path: Path) -> None:
    report = confounding(rows.filter(pl.col("split") != "test"))
    show_confounding(console, report)
    floors = metadata_floor(rows, classes)
    show_floors(console, floors, classes)
    write_json(path, {"confounding": asdict(report), "floors": [asdict(floor) for floor in floors]})
    console.print(f"report: {path}", soft_wrap=True)
