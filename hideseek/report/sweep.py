"""What a sweep leaves beside its cells: results.csv, a table on the terminal, a picture."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
from rich.console import Console

from hideseek.data.cache import Cache
from hideseek.errors import UserError
from hideseek.report.figures import representation_panel
from hideseek.report.tables import results_table


def write_sweep_report(sweep: Path, results: pl.DataFrame, console: Console) -> None:
    """Write and show the results of the finished cells.

    Args:
        sweep: folder of the sweep.
        results: as `hideseek.sweep.runs.sweep_results` returns it.
        console: where the table goes.
    """
    if results.is_empty():
        console.print(f"no finished cell in {sweep}")
        return
    results.write_csv(sweep / "results.csv")
    console.print(results_table(results, f"{sweep.name}: test set"))
    console.print(f"results: {sweep / 'results.csv'}", soft_wrap=True)
    folder = sweep / results.item(0, "folder")
    if any(name.startswith("sens_") for name in results.columns):
        try:
            cache = Cache(Path(json.loads((folder / "provenance.json").read_text())["cache"]))
            picture = representation_panel(cache, sweep / "representations.png")
        except (OSError, ValueError, KeyError, UserError) as error:
            console.print(f"no picture from the cache of {folder.name}: {error}", soft_wrap=True)
            return
        console.print(f"picture: {picture}", soft_wrap=True)
