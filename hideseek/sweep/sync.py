"""Uploading later: the W&B runs of a sweep that are on disk only."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from hideseek.errors import UserError
from hideseek.progress import progress
from hideseek.wandb_run import has_wandb_key

QUIET_SECONDS = 120.0
"""W&B writes to an open run every 15 s; one that is silent for longer has no process any more."""

BOUNDED = {
    "WANDB_X_GRAPHQL_RETRY_MAX": "4",
    "WANDB_X_FILE_STREAM_RETRY_MAX": "6",
    "WANDB_X_FILE_TRANSFER_RETRY_MAX": "6",
}
"""By default `wandb sync` tries for days where there is no network."""

HEADER_BYTES = 7
"""Of a run file in which nothing is written yet, all that a kill within seconds leaves."""

Runner = Callable[[Sequence[str], Mapping[str, str]], str]


def sync(sweep: Path, runner: Runner | None = None) -> None:
    """Upload what a sweep logged offline, or what a dying network left behind.

    A second call uploads only what is left.

    Args:
        sweep: folder of the sweep.
        runner: runs a command in an environment and returns its output; by default a process.

    Raises:
        UserError: no such sweep, no key, or some runs were not uploaded.
    """
    runner = runner or _run
    console = Console(soft_wrap=True)
    if not sweep.is_dir():
        raise UserError(f"{sweep}: no such folder; name a sweep, such as multirun/NAME")
    waiting = unsynced_runs(sweep)
    runs = [run for run in waiting if not _is_open(run)]
    if len(runs) < len(waiting):
        console.print(f"left out, still running: {len(waiting) - len(runs)}")
    if not runs:
        console.print(f"nothing to upload in {sweep}")
        return
    if not has_wandb_key():
        raise UserError(
            "no W&B key; get one at https://wandb.ai/authorize and run `wandb login`, "
            "or set WANDB_API_KEY"
        )
    failures: list[str] = []
    bar, advance = progress("uploading", len(runs))
    with bar:
        for run in runs:
            output = runner(_command(run), _environment(run))
            # W&B's own exit status is 0 even where nothing was uploaded.
            if not is_synced(run):
                failures.append(f"{run.parents[2].name}: {_last_line(output)}")
            advance(1)
    console.print(f"uploaded: {len(runs) - len(failures)} of {len(runs)} runs")
    for failure in failures:
        console.print(failure, markup=False, highlight=False)
    if failures:
        raise UserError(f"{sweep}: {len(failures)} runs were not uploaded; sync again to try these")


def unsynced_runs(sweep: Path) -> list[Path]:
    """Find the run files that W&B's server does not have, or not all of.

    Args:
        sweep: folder of the sweep.

    Returns:
        `CELL/wandb/[offline-]run-DATE_TIME-ID/run-ID.wandb`, by cell, then time.
    """
    found = sweep.glob("*/wandb/*run-*-*/run-*.wandb")
    runs = [
        path
        for path in found
        if not path.parent.is_symlink()
        and not is_synced(path)
        and path.stat().st_size > HEADER_BYTES
    ]
    return sorted(runs, key=lambda run: (run.parents[2], run.parent.name.rsplit("-", 2)[-2:]))


def is_synced(run: Path) -> bool:
    """Tell whether all of a run was uploaded: W&B's mark is there, and not older than the run."""
    mark = run.with_suffix(".wandb.synced")
    try:
        return mark.stat().st_mtime >= run.stat().st_mtime
    except OSError:
        return False


def _is_open(run: Path) -> bool:
    # Two uploads of one run at a time would overwrite each other.
    cell = run.parents[2]
    ended = (cell / "done.json").exists() or (cell / "failed.json").exists()
    return not ended and time.time() - run.stat().st_mtime < QUIET_SECONDS


def _command(run: Path) -> list[str]:
    # Online runs are left out by default, and so is what was uploaded in part before.
    options = ["--include-online", "--include-synced"]
    return [sys.executable, "-m", "wandb", "sync", *options, str(run.parent.resolve())]


def _environment(run: Path) -> dict[str, str]:
    # A mode or an id of the shell's would apply to all runs.
    dropped = ("WANDB_MODE", "WANDB_RUN_ID", "WANDB_SILENT")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    # W&B writes its own logs there, else below wherever the user is.
    return {**BOUNDED, **kept, "WANDB_DIR": str(run.parents[2].resolve())}


def _run(command: Sequence[str], environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        command,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return done.stdout.decode(errors="replace")


def _last_line(output: str) -> str:
    lines = [line.removeprefix("wandb:").strip() for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else "no output"
