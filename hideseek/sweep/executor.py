"""Where cells run: what the sweep asks of this machine's processes, of Slurm and of Ray alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Job:
    """One cell to run.

    Attributes:
        name: of the cell, unique in its sweep.
        command: program and arguments of a single run.
        folder: of the cell, absolute; its output goes to `log.txt` in there.
    """

    name: str
    command: tuple[str, ...]
    folder: Path


class Executor(Protocol):
    """Runs jobs; asked from one thread, never blocking for long."""

    def submit(self, jobs: Sequence[Job]) -> None:
        """Take jobs to run as soon as there is room."""

    def running(self) -> set[str]:
        """Name the jobs that have started and not ended."""

    def poll(self) -> dict[str, str | None]:
        """Name the jobs that ended since the last call: None if well, else why not."""

    def close(self) -> None:
        """Stop whatever runs and wait until nothing does; may be called twice."""
