"""One child process from start to end: its own group, its own log, a clean environment.

Lightning's DDP starts further ranks from inside a cell. They belong to the cell's process group, so
that whatever ends the cell ends them too.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

LEFTOVERS = (
    "LOCAL_RANK", "RANK", "GROUP_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE",
    "MASTER_ADDR", "MASTER_PORT", "PL_GLOBAL_SEED", "PL_SEED_WORKERS", "WANDB_RUN_ID",
    "WANDB_SERVICE", "CUBLAS_WORKSPACE_CONFIG",
)  # fmt: skip
"""Variables by which an earlier run would change a later one."""

CELL_VARIABLE = "HIDESEEK_CELL"
GRACE_SECONDS = 5.0
PR_SET_PDEATHSIG = 1


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Copy an environment without what distributed or logged runs left in it."""
    kept = {name: value for name, value in environment.items() if name not in LEFTOVERS}
    return {**kept, CELL_VARIABLE: "1"}


def run_logged(
    command: Sequence[str],
    log: Path,
    timeout: float | None,
    tick: Callable[[], None],
    seconds_between_ticks: float = 0.5,
) -> str | None:
    """Run a command to its end with its output in a file.

    Args:
        command: program and arguments.
        log: written anew.
        timeout: seconds after which the whole process group is killed; None for no limit.
        tick: called while waiting.
        seconds_between_ticks: how often.

    Returns:
        None if it ended well, else why not, in a few words.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    with log.open("wb") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=clean_environment(os.environ),
            start_new_session=True,
        )
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(seconds_between_ticks)
                    break
                tick()
                if deadline is not None and time.monotonic() > deadline:
                    return f"still running after {timeout:g} s"
        finally:
            _end_group(child)
    if child.returncode < 0:
        return f"killed by {signal.Signals(-child.returncode).name}"
    return None if child.returncode == 0 else f"exit status {child.returncode}"


def _end_group(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_SECONDS)
    # Ranks that wait in a collective ignore SIGTERM, and may outlive their rank 0.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def die_with_parent() -> None:
    """In a cell: let the kernel end this process when the sweep's process dies (Linux)."""
    if os.environ.get(CELL_VARIABLE) and sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into an exit that runs the `finally` blocks, as Ctrl-C does."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
