"""A sweep: every cell as a process of its own, on this machine, Slurm or Ray.

Started inside one process, the ranks of a distributed cell would replay the whole sweep from
`sys.argv` and train different cells together. Here a cell is a single run in a fresh process, in
its own folder; one that fails leaves the others whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import polars as pl
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext
from omegaconf import DictConfig
from rich.console import Console

from hideseek.errors import UserError
from hideseek.report.sweep import write_sweep_report
from hideseek.report.tables import WIDTH
from hideseek.sweep.cells import Cell, command, plan
from hideseek.sweep.executor import Executor, Job
from hideseek.sweep.live import CellState, LiveTable
from hideseek.sweep.process import OUT_OF_TIME, ended_by_signals
from hideseek.sweep.reuse import Decision, decide, failure, recipe_hashes, replace
from hideseek.sweep.runs import read_done, sweep_results
from hideseek.sweep.sheet import write_sheet

LOG_TAIL = 15
SECONDS_BETWEEN_LOOKS = 0.2
HYDRAS_OWN_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"


class CellFailed(Exception):
    """What a sweeper that asks for a failed cell's score gets."""


def launch(
    context: HydraContext,
    config: DictConfig,
    job_overrides: Sequence[Sequence[str]],
    first: int,
    executor: Callable[[], Executor],
    retry_failed: bool = False,
) -> list[JobReturn]:
    """Run all cells and collect them, the part of a Hydra launcher that is ours.

    Args:
        context: of Hydra, to compose with.
        config: of the sweep.
        job_overrides: one list per cell.
        first: number of the first cell; above 0 for the later steps of an adaptive sweeper.
        executor: makes what runs the cells.
        retry_failed: whether to run again what failed before.

    Returns:
        One result per cell, its value the validation score.

    Raises:
        SystemExit: with status 1, after all cells have run, if any failed; an adaptive sweeper gets
            results that raise `CellFailed` instead, and decides itself.
        UserError: the sweep runs already, or no cell has its data.
    """
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    sweep = Path(str(config.hydra.sweep.dir)).absolute()
    asked = plan(context, config, job_overrides, first)
    cells = list({cell.folder: cell for cell in asked}.values())
    sweep.mkdir(parents=True, exist_ok=True)
    with sole_owner(sweep), ended_by_signals():
        write_sheet(sweep, config, cells)
        states = _run_all(cells, config, executor, retry_failed, console)
        reported = _report(sweep, console)
        write_sheet(sweep, config, cells)
    failed = _show_failures(sweep, states, console, keep=first > 0)
    simple = config.hydra.sweeper.get("_target_") == HYDRAS_OWN_SWEEPER
    if not reported or (failed and simple):
        raise SystemExit(1)
    by_name = {state.name: state for state in states}
    return [_result(cell, by_name[cell.folder.name]) for cell in asked]


@contextlib.contextmanager
def sole_owner(sweep: Path) -> Iterator[None]:
    """Keep a second start of a sweep from running the same cells at the same time.

    Args:
        sweep: folder of the sweep.

    Raises:
        UserError: another process runs it.
    """
    # Never through a link: the folder may be shared.
    opened = os.open(sweep / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
    with os.fdopen(opened, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{sweep}: this sweep is running already; wait for it, or give another sweep=NAME"
            ) from None
        except OSError:  # a file system without locks
            pass
        yield


def _run_all(
    cells: Sequence[Cell],
    config: DictConfig,
    executor: Callable[[], Executor],
    retry_failed: bool,
    console: Console,
) -> list[CellState]:
    """Run what is not finished and return how each cell ended."""
    states = [
        CellState(cell.folder.name, cell.folder.absolute(), int(cell.config.epochs),
                  str(cell.config.task.monitor))
        for cell in cells
    ]  # fmt: skip
    with LiveTable(states, console) as table:
        decisions = [
            decide(cell, recipe, retry_failed)
            for cell, recipe in zip(cells, recipe_hashes(cells), strict=True)
        ]
        runs = [decision.verdict in ("run", "replace") for decision in decisions]
        # Before anything is moved: what runs the cells may refuse its settings.
        running = executor() if any(runs) else None
        try:
            for state, decision in zip(states, decisions, strict=True):
                _prepare(state, decision, table)
            jobs = [
                Job(state.name, tuple(command(cell, config)), state.folder)
                for cell, state, run in zip(cells, states, runs, strict=True)
                if run
            ]
            if running is not None:
                _follow(jobs, {state.name: state for state in states}, running, table)
        finally:
            if running is not None:
                running.close()
    return states


def _prepare(state: CellState, decision: Decision, table: LiveTable) -> None:
    """Make a cell's folder ready and say what becomes of it."""
    why = f": {decision.why}" if decision.why else ""
    state.read()
    if decision.verdict == "keep":
        state.status = "kept"
        table.say(f"{state.name}: finished before, kept{why}")
        return
    if decision.verdict == "failed":
        state.status = "failed"
        state.reason = f"{decision.why} (before; hydra.launcher.retry_failed=true tries again)"
        table.say(f"{state.name}: failed before, left alone")
        return
    if decision.verdict == "replace":
        moved = replace(state.folder)
        state.epoch, state.score = 0, None
        table.say(f"{state.name}: runs anew{why}; what it had is in {moved.parent}")
    elif why:
        table.say(f"{state.name}{why}")
    state.folder.mkdir(parents=True, exist_ok=True)
    (state.folder / "failed.json").unlink(missing_ok=True)


def _follow(
    jobs: Sequence[Job], states: dict[str, CellState], executor: Executor, table: LiveTable
) -> None:
    executor.submit(jobs)
    left = {job.name for job in jobs}
    while left:
        # Before what ended, so that a cell which did both since the last look has a start.
        for name in sorted(executor.running()):
            if states[name].status == "waiting":
                states[name].start()
        for name, reason in executor.poll().items():
            state = states[name]
            if reason is None and not read_done(state.folder):
                reason = "ended without a result"
            if reason is not None and not reason.startswith(OUT_OF_TIME):
                reason = failure(state.folder) or reason
            state.end(reason)
            table.say(f"{name}: {'done' if reason is None else reason}")
            left.discard(name)
        table.update()
        if left:
            time.sleep(SECONDS_BETWEEN_LOOKS)


def _result(cell: Cell, state: CellState) -> JobReturn:
    score = read_done(cell.folder).get("score")
    failed = state.status == "failed"
    value: object = math.nan if score is None else score
    return JobReturn(
        overrides=list(cell.overrides),
        cfg=cell.config,
        working_dir=str(cell.folder),
        task_name="train",
        status=JobStatus.FAILED if failed else JobStatus.COMPLETED,
        _return_value=CellFailed(f"{state.name}: {state.reason}") if failed else value,
    )


def _report(sweep: Path, console: Console) -> bool:
    """Report the finished cells; False where a damaged one prevents it."""
    try:
        write_sweep_report(sweep, sweep_results(sweep), console)
    except UserError as error:
        console.print(str(error), soft_wrap=True, markup=False, highlight=False)
        return False
    return True


def _show_failures(
    sweep: Path, states: Sequence[CellState], console: Console, keep: bool
) -> list[CellState]:
    """Write failures.csv and show the end of each log."""
    failed = [state for state in states if state.status == "failed"]
    path = sweep / "failures.csv"
    rows = pl.DataFrame([{"cell": state.name, "reason": state.reason} for state in failed])
    if keep and path.is_file():
        rows = pl.concat([pl.read_csv(path, infer_schema=False, glob=False), rows], how="diagonal")
    if rows.is_empty():
        path.unlink(missing_ok=True)
    else:
        rows.write_csv(path)
    if failed:
        console.print(f"\n[bold]{len(failed)} cells failed[/bold]")
    for state in failed:
        log = state.folder / "log.txt"
        lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
        heading = f"\n{state.name}: {state.reason}; the end of {log}:"
        console.print(heading, style="bold", markup=False, soft_wrap=True)
        console.print("\n".join(lines[-LOG_TAIL:]), markup=False, highlight=False)
    return failed
