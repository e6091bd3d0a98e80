"""Planted truth through the real pipeline: networks are trained on it, and the sweep is audited.

    Planted -> FOLDER/NAME/MODEL-ROI-sSEED/, as in any sweep -> audit_grid -> Rehearsal

A few workers take one data set after the other. What is finished is kept.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hideseek.audit.planted import SHOWN, Planted, train_cell
from hideseek.errors import UserError
from hideseek.sweep.pool import DEVICES, THREADS, cell_environment
from hideseek.sweep.process import die_with_parent

if TYPE_CHECKING:
    from hideseek.audit.audit import Audit


@dataclass(frozen=True)
class Rehearsal:
    """What the audit said of a planted data set.

    Attributes:
        planted: the data set.
        verdict: one of `hideseek.audit.verdict.MEANING`.
        failing: the verdict's first failing precondition; empty if none failed.
        scores: `ba_NAME` (balanced accuracy), `auc_NAME`, and `low_NAME` and `high_NAME` (95 %
            interval of the AUC), all in 0..1, for each representation NAME.
    """

    planted: Planted
    verdict: str
    failing: str
    scores: Mapping[str, float]


def rehearse(
    planted: Sequence[Planted],
    folder: Path,
    workers: int,
    advance: Callable[[int], None] = lambda count: None,
    settings: Sequence[str] | None = None,
) -> list[Rehearsal]:
    """Train and audit data sets, several at once; cells that are finished are kept.

    Args:
        planted: what to draw.
        folder: gets a sweep for each.
        workers: processes, at least 1.
        advance: told how many data sets are done.
        settings: overrides of every cell; `Planted.settings` of each if None.

    Returns:
        One for each, in the order given.

    Raises:
        UserError: a cell cannot work, or a worker was killed.
    """
    spawn = multiprocessing.get_context("spawn")
    with (
        _environment(),
        ProcessPoolExecutor(workers, mp_context=spawn, initializer=_begin) as pool,
    ):
        futures = [pool.submit(rehearse_one, each, folder, settings) for each in planted]
        try:
            for future in as_completed(futures):
                future.result()
                advance(1)
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            # Whatever a cell was writing, it continues from its last whole epoch.
            for child in multiprocessing.active_children():
                child.kill()
            if isinstance(error, BrokenProcessPool):
                raise UserError(
                    f"{folder}: a worker was killed, perhaps for want of memory; the same command "
                    "goes on from here, workers=1 needs less"
                ) from None
            raise
        return [future.result() for future in futures]


def rehearse_one(
    planted: Planted, folder: Path, settings: Sequence[str] | None = None
) -> Rehearsal:
    """Train the unfinished cells of one data set in this process, and audit its sweep.

    Args:
        planted: what to draw.
        folder: its sweep lies in it.
        settings: overrides of every cell; `Planted.settings` of each if None.

    Returns:
        What the audit says.

    Raises:
        UserError: a cell cannot work.
    """
    from hideseek.audit.audit import Settings, audit_grid, resamples_of
    from hideseek.audit.grid import read_grid

    sweep = folder / planted.name
    for roi in SHOWN:
        try:
            train_cell(planted, roi, sweep, settings)
        except UserError as error:
            raise UserError(f"{sweep}: {error}") from None
    # Both can be made again, and hundreds of data sets would fill a disk.
    for made in (sweep / "cache", *sweep.glob("*/checkpoints")):
        shutil.rmtree(made, ignore_errors=True)
    grid, decided = read_grid(sweep), Settings()
    audit = audit_grid(grid, decided, resamples_of(grid, decided))
    (verdict,) = audit.verdicts
    return Rehearsal(planted, verdict.name, verdict.failing, _scores(audit))


def _scores(audit: Audit) -> dict[str, float]:
    scores: dict[str, float] = {}
    for row in audit.metrics.iter_rows(named=True):
        name = str(row["representation"]).replace(" ", "_")
        if row["metric"] == "balanced_accuracy":
            scores[f"ba_{name}"] = row["estimate"]
        elif row["metric"] == "macro_auc":
            limits = {"auc": row["estimate"], "low": row["low"], "high": row["high"]}
            scores |= {f"{key}_{name}": value for key, value in limits.items()}
    return scores


@contextmanager
def _environment() -> Iterator[None]:
    """Give the workers that start here a cell's environment: no GPU, and one thread.

    More threads would change the last digits, and then verdicts with the number of processors.
    """
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update({**cell_environment(before, {DEVICES: ""}), **dict.fromkeys(THREADS, "1")})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _begin() -> None:
    """In a worker: end with the process that started it, and leave Ctrl-C to that one."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
