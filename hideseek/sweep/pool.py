"""Cells on this machine: several at once, each with its own devices and share of the processors."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Mapping, Sequence

from hideseek.errors import UserError
from hideseek.sweep.executor import Job
from hideseek.sweep.process import Child, clean_environment, stop

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS",
           "OPENCV_FOR_THREADS_NUM")  # fmt: skip
DEVICES = "CUDA_VISIBLE_DEVICES"
OF_A_SCHEDULER = ("SLURM_", "PMI_", "PMIX_")
"""Inside an allocation these make Lightning wait for ranks that nobody starts."""


class LocalPool:
    """Runs up to `parallel` cells at once as child processes of this one."""

    def __init__(
        self, parallel: int = 1, devices_per_cell: int | None = None, timeout: float | None = None
    ) -> None:
        """Share out the machine.

        Args:
            parallel: cells at once, at least 1.
            devices_per_cell: GPUs that each cell sees; None shows every GPU to a lone cell and
                one, in turn, to each of several.
            timeout: seconds that one cell may take; None for no limit.

        Raises:
            UserError: a number that cannot work on this machine.
        """
        check_numbers(parallel, devices_per_cell, timeout)
        self.timeout = timeout
        processors = len(os.sched_getaffinity(0))
        self.free = shares(parallel, devices_per_cell, visible_devices(), processors)
        self.waiting: deque[Job] = deque()
        self.children: dict[str, tuple[Child, dict[str, str]]] = {}

    def submit(self, jobs: Sequence[Job]) -> None:
        """Take jobs to run as soon as there is room."""
        self.waiting.extend(jobs)
        self._start()

    def running(self) -> set[str]:
        """Name the jobs that have started and not ended."""
        return set(self.children)

    def poll(self) -> dict[str, str | None]:
        """Name the jobs that ended since the last call: None if well, else why not."""
        ended = {}
        for name, (child, share) in list(self.children.items()):
            if child.ended():
                ended[name] = child.reason()
                del self.children[name]
                self.free.append(share)
        self._start()
        return ended

    def close(self) -> None:
        """Stop whatever runs and wait until nothing does."""
        self.waiting.clear()
        stop([child for child, _ in self.children.values()])
        self.children.clear()

    def _start(self) -> None:
        while self.waiting and self.free:
            job, share = self.waiting.popleft(), self.free.pop(0)
            environment = cell_environment(os.environ, share)
            child = Child(job.command, job.folder / "log.txt", environment, self.timeout)
            self.children[job.name] = child, share


def check_numbers(parallel: object, devices_per_cell: object, timeout: object) -> None:
    """Check what Hydra took from the command line as it stood there.

    Raises:
        UserError: naming the first that is no number that can work.
    """
    whole = {"parallel": (parallel, 1), "devices_per_cell": (devices_per_cell, 0)}
    for name, (value, least) in whole.items():
        sound = isinstance(value, int) and not isinstance(value, bool) and value >= least
        if not sound and not (name == "devices_per_cell" and value is None):
            raise UserError(f"hydra.launcher.{name}={value}: give a whole number from {least} on")
    number = isinstance(timeout, int | float) and not isinstance(timeout, bool) and timeout > 0
    if timeout is not None and not number:
        raise UserError(f"hydra.launcher.timeout={timeout}: give seconds, above 0, or null")


def cell_environment(environment: Mapping[str, str], share: Mapping[str, str]) -> dict[str, str]:
    """Make the environment of one cell.

    Args:
        environment: of this process.
        share: of the machine, one of `shares`; a number of threads that the user set stays.

    Returns:
        Without leftovers of distributed runs, and without a scheduler's allocation.
    """
    kept = {
        name: value
        for name, value in clean_environment(environment).items()
        if not name.startswith(OF_A_SCHEDULER)
    }
    given = {name: value for name, value in share.items() if name == DEVICES or name not in kept}
    return {**kept, **given}


def shares(
    parallel: int, devices_per_cell: int | None, devices: Sequence[str], processors: int
) -> list[dict[str, str]]:
    """Share processors and GPUs among the cells that run at once.

    Args:
        parallel: cells at once.
        devices_per_cell: GPUs for each, or None; see `LocalPool`.
        devices: names of the GPUs, as CUDA_VISIBLE_DEVICES has them.
        processors: of this machine.

    Returns:
        The environment variables of each place, `parallel` dictionaries. GPUs go round: more
        places than GPUs share them.

    Raises:
        UserError: more GPUs for a cell than there are.
    """
    wanted = devices_per_cell
    if wanted is None:
        wanted = len(devices) if parallel == 1 else min(1, len(devices))
    if wanted > len(devices):
        raise UserError(
            f"hydra.launcher.devices_per_cell={wanted}, and {len(devices)} GPUs are visible here"
        )
    threads = str(max(1, processors // parallel))
    places: list[dict[str, str]] = []
    for place in range(parallel):
        variables = {} if parallel == 1 else dict.fromkeys(THREADS, threads)
        if devices:
            chosen = [devices[(place * wanted + k) % len(devices)] for k in range(wanted)]
            variables[DEVICES] = ",".join(chosen)
        places.append(variables)
    return places


def visible_devices() -> list[str]:
    """Name the GPUs that this process may use."""
    given = os.environ.get(DEVICES)
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip() not in ("", "-1")]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]
