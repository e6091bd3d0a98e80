"""Raw data to a cache: the verb `prepare`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import polars as pl
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from hideseek.data.cache import Cache
from hideseek.data.source import ManifestSource, PhantomSource


def prepare(config: DictConfig) -> None:
    """Build the cache of a data group, or say that it is there, and show what it holds.

    Args:
        config: composed from `conf/prepare.yaml`.

    Raises:
        UserError: the manifest cannot be used or no image can be read.
    """
    console = Console()
    source: ManifestSource | PhantomSource = instantiate(config.data, _convert_="all")
    path, report = source.prepare()
    if report is None:
        console.print(f"cache: {path} (was there already)", soft_wrap=True)
    else:
        _show_problems(console, report.problems, path)
        console.print(f"cache: {path}", soft_wrap=True)
    _show_counts(console, Cache(path))


def _show_problems(console: Console, problems: list[dict[str, str]], path: Path) -> None:
    if not problems:
        return
    counts = Counter((problem["kind"], problem["action"]) for problem in problems)
    for (kind, action), count in sorted(counts.items()):
        console.print(f"{count} x {kind}: {action}")
    console.print(f"every one is listed in {path.with_suffix('.problems.csv')}", soft_wrap=True)


def _show_counts(console: Console, cache: Cache) -> None:
    table = Table(title=f"{len(cache)} images at {cache.recipe.size} px", header_style="bold")
    counts = (
        cache.table.group_by("label", "source").len().pivot("source", index="label", values="len")
    )
    counts = counts.fill_null(0).sort("label")
    splits = (
        cache.table.group_by("label", "split").len().pivot("split", index="label", values="len")
    )
    joined = counts.join(splits.fill_null(0), on="label", how="left").fill_null(0)
    for name in joined.columns:
        table.add_column(name, justify="left" if joined.schema[name] == pl.String else "right")
    for row in joined.iter_rows():
        table.add_row(*(str(value) for value in row))
    console.print(table)
    made = Counter(cache.table.get_column("mask_from"))
    states = Counter(cache.table.get_column("mask_state"))
    console.print(
        f"masks: {dict(sorted(made.items()))}, {dict(sorted(states.items()))}", highlight=False
    )
