"""A sweep: every cell as a process of its own, one after the other.

Started inside one process, the ranks of a distributed cell would replay the whole sweep from
`sys.argv` and train different cells together. Here a cell is a single run in a fresh process, in
its own folder; one that fails leaves the others whole.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hideseek import __version__
from hideseek.config import config_hash
from hideseek.data.cache import Cache
from hideseek.data.source import Source
from hideseek.errors import UserError
from hideseek.report.sweep import write_sweep_report
from hideseek.report.tables import WIDTH
from hideseek.sweep.process import ended_by_signals, run_logged
from hideseek.sweep.runs import read_done, sweep_results

LONGEST_NAME = 100
LOG_TAIL = 15
NAMED = ("model", "roi", "seed")


@dataclass(frozen=True)
class Cell:
    """One planned cell.

    Attributes:
        overrides: of this cell, as given to Hydra.
        config: composed from them.
        folder: where it writes.
        config_hash: what a finished cell in that folder has to show to be kept.
    """

    overrides: tuple[str, ...]
    config: DictConfig
    folder: Path
    config_hash: str


def launch(
    context: HydraContext,
    config: DictConfig,
    job_overrides: Sequence[Sequence[str]],
    first: int,
    timeout: float | None,
) -> list[JobReturn]:
    """Run all cells and collect them, the part of a Hydra launcher that is ours.

    Args:
        context: of Hydra, to compose with.
        config: of the sweep.
        job_overrides: one list per cell.
        first: number of the first cell.
        timeout: seconds that one cell may take; None for no limit.

    Returns:
        One result per cell, its value the validation score.

    Raises:
        SystemExit: with status 1, after all cells have run, if any failed.
    """
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    sweep = Path(str(config.hydra.sweep.dir))
    cells = plan(context, config, job_overrides, first)
    sweep.mkdir(parents=True, exist_ok=True)
    _write_sweep(sweep, config, cells)
    (sweep / "failures.csv").unlink(missing_ok=True)
    failures: dict[str, str] = {}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with ended_by_signals(), Progress(*columns, console=console) as progress:
        bar = progress.add_task("cells", total=len(cells))
        for cell in cells:
            reason = _run(cell, config, progress, timeout)
            if reason is not None:
                failures[cell.folder.name] = reason
            progress.advance(bar)
    reported = _report(sweep, console)
    if failures:
        _show_failures(console, sweep, failures)
    if failures or not reported:
        raise SystemExit(1)
    return [_result(cell) for cell in cells]


def plan(
    context: HydraContext, config: DictConfig, job_overrides: Sequence[Sequence[str]], first: int
) -> list[Cell]:
    """Compose every cell before any runs, so that a wrong name stops the sweep at once.

    Args:
        context: of Hydra.
        config: of the sweep.
        job_overrides: one list per cell.
        first: number of the first cell.

    Returns:
        The cells in order, each with a folder of its own.
    """
    cells = []
    for number, overrides in enumerate(job_overrides, start=first):
        composed = context.config_loader.load_sweep_config(config, list(overrides))
        with open_dict(composed):
            composed.hydra.job.id = str(number)
            composed.hydra.job.num = number
        HydraConfig.instance().set_config(composed)
        name = cell_name(str(composed.hydra.sweep.subdir), overrides, job_overrides)
        folder = Path(str(composed.hydra.sweep.dir)) / name
        cells.append(Cell(tuple(overrides), composed, folder, config_hash(composed)))
    return cells


def cell_name(subdir: str, overrides: Sequence[str], all_overrides: Sequence[Sequence[str]]) -> str:
    """Name a cell's folder: model-roi-sSEED, then whatever else the sweep varies.

    Args:
        subdir: model-roi-sSEED.
        overrides: of this cell.
        all_overrides: of all cells.

    Returns:
        A name of letters, digits, dot, underscore and hyphen, at most 100 characters long.
    """
    common = set.intersection(*(set(given) for given in all_overrides))
    further = [
        item for item in overrides
        if item not in common and item.lstrip("+").partition("=")[0] not in NAMED
    ]  # fmt: skip
    parts = [subdir, *(item.replace("=", "_", 1) for item in further)]
    slug = "-".join(re.sub(r"[^A-Za-z0-9._-]+", "_", part).strip("_") for part in parts)
    # Two values that differ in other characters only must not share a folder.
    if len(slug) > LONGEST_NAME or slug != "-".join(parts):
        digest = hashlib.sha256("\n".join(overrides).encode()).hexdigest()[:8]
        slug = f"{slug[: LONGEST_NAME - 9]}-{digest}"
    return slug


def command(cell: Cell, config: DictConfig) -> list[str]:
    """Spell a cell as a single run.

    Args:
        cell: to run.
        config: of the sweep.

    Returns:
        Program and arguments; an absolute interpreter, and no `-m` of Hydra's.
    """
    given = [item for item in cell.overrides if not item.startswith(("sweep=", "hydra"))]
    fixed = {
        "sweep": str(config.sweep),
        "hydra.mode": "RUN",
        "hydra.run.dir": str(cell.folder),
        "hydra/job_logging": "swept",
    }
    return [
        sys.executable, "-m", "hideseek", "train", *given,
        *(f"{key}={_quoted(value)}" for key, value in fixed.items()),
    ]  # fmt: skip


def _run(cell: Cell, config: DictConfig, progress: Progress, timeout: float | None) -> str | None:
    """Run one cell unless it is finished; return why it failed, or None."""
    name = cell.folder.name
    if _finished(cell):
        progress.console.print(f"{name}: finished before, kept")
        return None
    cell.folder.mkdir(parents=True, exist_ok=True)
    (cell.folder / "done.json").unlink(missing_ok=True)
    (cell.folder / "history.csv").unlink(missing_ok=True)
    epochs = progress.add_task(name, total=int(cell.config.epochs))
    reason = run_logged(
        command(cell, config),
        cell.folder / "log.txt",
        timeout,
        lambda: progress.update(epochs, completed=_epochs_done(cell.folder)),
    )
    if reason is None and not read_done(cell.folder):
        reason = "ended without a result"
    progress.remove_task(epochs)
    progress.console.print(f"{name}: {'done' if reason is None else reason}")
    return reason


def _finished(cell: Cell) -> bool:
    """Tell whether the folder holds this very cell: same settings, same code, same data."""
    done = read_done(cell.folder)
    if (done.get("config_hash"), done.get("version")) != (cell.config_hash, __version__):
        return False
    try:
        source: Source = instantiate(cell.config.data, _convert_="all")
        recipe = Cache(source.ready(cell.config.image_size)).recipe
    except UserError:
        return False
    return bool(recipe.digest() == done.get("recipe_hash"))


def _epochs_done(folder: Path) -> int:
    try:
        return len((folder / "history.csv").read_text().splitlines()) - 1
    except OSError:
        return 0


def _result(cell: Cell) -> JobReturn:
    score = read_done(cell.folder).get("score")
    return JobReturn(
        overrides=list(cell.overrides),
        cfg=cell.config,
        working_dir=str(cell.folder),
        task_name="train",
        status=JobStatus.COMPLETED,
        _return_value=float("nan") if score is None else score,
    )


def _write_sweep(sweep: Path, config: DictConfig, cells: Sequence[Cell]) -> None:
    content = {
        "name": str(config.sweep),
        "version": __version__,
        "cells": [
            {"folder": cell.folder.name, "overrides": list(cell.overrides)} for cell in cells
        ],
    }
    (sweep / "sweep.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(content)))


def _report(sweep: Path, console: Console) -> bool:
    """Report the finished cells; False where a damaged one prevents it."""
    try:
        write_sweep_report(sweep, sweep_results(sweep), console)
    except UserError as error:
        console.print(str(error), soft_wrap=True, markup=False, highlight=False)
        return False
    return True


def _show_failures(console: Console, sweep: Path, failures: dict[str, str]) -> None:
    rows = [{"cell": name, "reason": reason} for name, reason in failures.items()]
    pl.DataFrame(rows).write_csv(sweep / "failures.csv")
    console.print(f"\n[bold]{len(failures)} cells failed[/bold]")
    for name, reason in failures.items():
        log = sweep / name / "log.txt"
        lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
        console.print(f"\n[bold]{name}[/bold]: {reason}; the end of {log}:")
        console.print("\n".join(lines[-LOG_TAIL:]), markup=False, highlight=False)


def _quoted(value: str) -> str:
    # Hydra reads a backslash as itself unless it stands before a quote.
    return QuotedString(value, Quote.single).with_quotes()
