"""One child process from start to end: its own group, its own log, a clean environment.

Lightning's DDP starts further ranks from inside a cell. They belong to the cell's process group, so
that whatever ends the cell ends them too.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

LEFTOVERS = (
    "LOCAL_RANK", "RANK", "GROUP_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE",
    "MASTER_ADDR", "MASTER_PORT", "PL_GLOBAL_SEED", "PL_SEED_WORKERS", "WANDB_RUN_ID",
    "WANDB_RESUME", "WANDB_SERVICE", "CUBLAS_WORKSPACE_CONFIG",
)  # fmt: skip
"""Variables by which an earlier run would change a later one."""

CELL_VARIABLE = "HIDESEEK_CELL"
GRACE_SECONDS = 5.0
OUT_OF_TIME = "still running after"
PR_SET_PDEATHSIG = 1


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Copy an environment without what distributed or logged runs left in it."""
    kept = {name: value for name, value in environment.items() if name not in LEFTOVERS}
    return {**kept, CELL_VARIABLE: str(os.getpid())}


class Child:
    """A running command: a session of its own, its output in a file."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str],
        timeout: float | None = None,
    ) -> None:
        """Start it.

        Args:
            command: program and arguments.
            log: written on; what an interrupted attempt wrote stays.
            environment: of the command.
            timeout: seconds after which the whole process group is killed; None for no limit.
        """
        self.timeout, self.expired = timeout, False
        self.deadline = math.inf if timeout is None else time.monotonic() + timeout
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                start_new_session=True,
            )

    def ended(self) -> bool:
        """Tell whether it is over, by itself or by its time limit; then its group is too."""
        if self.process.poll() is None:
            if time.monotonic() < self.deadline:
                return False
            self.expired = True
        stop([self])
        return True

    def reason(self) -> str | None:
        """Say why it failed, in a few words; None if it ended well. For one that has ended."""
        if self.expired:
            return f"{OUT_OF_TIME} {self.timeout:g} s"
        status = self.process.returncode
        if status < 0:
            return f"killed by {signal.Signals(-status).name}"
        return None if status == 0 else f"exit status {status}"


def stop(children: Sequence[Child]) -> None:
    """End children and all that they started: politely together, then by force."""
    try:
        for child in children:
            if child.process.poll() is None:
                _signal_group(child, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        for child in children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.0, deadline - time.monotonic()))
    finally:
        # Ranks that wait in a collective ignore SIGTERM, and may outlive their rank 0.
        for child in children:
            _signal_group(child, signal.SIGKILL)
        for child in children:
            child.process.wait()


def _signal_group(child: Child, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.process.pid, number)


def run_logged(
    command: Sequence[str],
    log: Path,
    timeout: float | None,
    look_every: float = 0.5,
) -> str | None:
    """Run a command to its end with its output in a file.

    Args:
        command: program and arguments.
        log: written on.
        timeout: seconds after which the whole process group is killed; None for no limit.
        look_every: seconds between looks at the clock.

    Returns:
        None if it ended well, else why not, in a few words.
    """
    child = Child(command, log, clean_environment(os.environ), timeout)
    try:
        while not child.ended():
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(look_every)
    finally:
        stop([child])
    return child.reason()


def die_with_parent() -> None:
    """In a cell: let the kernel end this process when the one that started it dies (Linux).

    The ranks that Lightning starts from a cell come through here too, and die with their rank 0.
    """
    parent = os.environ.get(CELL_VARIABLE)
    if not parent or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if str(os.getppid()) != parent:
        sys.exit("whoever started this cell has ended already")
    os.environ[CELL_VARIABLE] = str(os.getpid())


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into an exit that runs the `finally` blocks, as Ctrl-C does."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    # What is ignored, as SIGHUP under nohup, stays ignored.
    heard = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, leave) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
