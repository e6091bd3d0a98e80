"""Cells on a Ray cluster, or on the one that Ray makes of this machine.

Not through hydra-ray-launcher: it trains inside Ray's worker, whose command line is not the cell's,
so that Lightning could not start a second rank from it; and its requirements exclude newer ones of
joblib's. Here a Ray task starts the cell's own command, as every executor does.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hideseek.errors import UserError
from hideseek.sweep.executor import Job
from hideseek.sweep.pool import OF_A_SCHEDULER
from hideseek.sweep.process import GRACE_SECONDS, run_logged

if TYPE_CHECKING:
    from ray import ObjectRef

log = logging.getLogger(__name__)

OBJECT_STORE = 80 * 1024**2
"""Bytes, about the least that Ray takes: cells pass files, not objects."""


class RayExecutor:
    """Runs every cell as a Ray task."""

    def __init__(
        self,
        address: str | None = None,
        cpus_per_cell: float = 1,
        devices_per_cell: float | None = None,
        timeout: float | None = None,
    ) -> None:
        """Choose the cluster and what a cell reserves of it.

        Args:
            address: of a running cluster (`auto`, `host:6379`); None makes one of this machine.
            cpus_per_cell: processors that Ray keeps for a cell.
            devices_per_cell: GPUs for a cell, a half lets two share one; None: one where the
                cluster has any.
            timeout: seconds that one cell may take; None for no limit.

        Raises:
            UserError: Ray is not installed.
        """
        try:
            import ray  # noqa: F401
        except ModuleNotFoundError:
            raise UserError(
                "hydra/launcher=ray needs the extra: pip install 'hideseek[ray]'"
            ) from None
        self.address, self.timeout = address, timeout
        self.cpus_per_cell, self.devices_per_cell = cpus_per_cell, devices_per_cell
        self.connected = False
        self.jobs: dict[str, tuple[Job, ObjectRef[str | None], int]] = {}

    def submit(self, jobs: Sequence[Job]) -> None:
        """Hand jobs to Ray, which starts each as soon as there is room.

        Raises:
            UserError: the cluster cannot be reached, or has no room for any cell.
        """
        import ray

        if not jobs:
            return
        if not self.connected:
            self._connect()
        devices = self._devices()
        self._check_room(devices)
        kept = ray.remote(num_cpus=self.cpus_per_cell, num_gpus=devices, max_retries=0)
        task = kept(run_cell)
        here = Path.cwd()
        for job in jobs:
            reference = task.options(name=job.name).remote(job, here, self.timeout)
            self.jobs[job.name] = job, reference, _touched(job)

    def running(self) -> set[str]:
        """Name the jobs that have started and not ended."""
        return {name for name, (job, _, before) in self.jobs.items() if _touched(job) != before}

    def poll(self) -> dict[str, str | None]:
        """Name the jobs that ended since the last call: None if well, else why not."""
        import ray

        names = {reference: name for name, (_, reference, _) in self.jobs.items()}
        if not names:
            return {}
        ready, _ = ray.wait(list(names), num_returns=len(names), timeout=0)
        ended = {}
        for reference in ready:
            ended[names[reference]] = _reason(reference)
            del self.jobs[names[reference]]
        return ended

    def close(self) -> None:
        """Cancel whatever runs or waits, and end the cluster if it is ours."""
        import ray

        references = [reference for _, reference, _ in self.jobs.values()]
        for force in (False, True):
            # Not by force, the task still ends its cell and waits for that; waiting ones go first.
            for reference in reversed(references):
                ray.cancel(reference, force=force)
            if references:
                _, references = ray.wait(
                    references, num_returns=len(references), timeout=2 * GRACE_SECONDS
                )
        self.jobs.clear()
        if self.connected:
            ray.shutdown()
            self.connected = False

    def _connect(self) -> None:
        import ray

        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        with _own_handlers():
            try:
                if self.address is None:
                    quiet |= {"include_dashboard": False, "object_store_memory": OBJECT_STORE}
                    ray.init("local", **quiet)
                else:
                    _reach(self.address)
                    ray.init(self.address, **quiet)
            except (OSError, ValueError, RuntimeError) as error:
                line = (str(error).strip() or type(error).__name__).splitlines()[0]
                raise UserError(f"hydra.launcher.address={self.address}: {line}") from None
        self.connected = True

    def _devices(self) -> float:
        import ray

        if self.devices_per_cell is not None:
            return self.devices_per_cell
        present: float = ray.cluster_resources().get("GPU", 0.0)
        return min(1.0, present)

    def _check_room(self, devices: float) -> None:
        """Say so where a cell would wait for ever; a cluster of others may still grow."""
        import ray

        for node in ray.nodes():
            has = node["Resources"]
            if has.get("CPU", 0) >= self.cpus_per_cell and has.get("GPU", 0) >= devices:
                return
        line = (
            f"no node of the Ray cluster has hydra.launcher.cpus_per_cell={self.cpus_per_cell:g} "
            f"processors and hydra.launcher.devices_per_cell={devices:g} GPUs"
        )
        if self.address is None:
            raise UserError(line)
        log.warning("%s; the cells wait for one", line)


def run_cell(job: Job, here: Path, timeout: float | None) -> str | None:
    """Run one cell, in a Ray worker.

    Args:
        job: to run.
        here: the sweep's working folder, by which relative paths go.
        timeout: seconds that it may take, or None.

    Returns:
        None if it ended well, else why not.
    """
    os.chdir(here)
    # Where Ray itself runs inside an allocation, Lightning would wait for Slurm's ranks.
    for name in [name for name in os.environ if name.startswith(OF_A_SCHEDULER)]:
        del os.environ[name]
    path = job.folder / "log.txt"
    path.touch()
    return run_logged(job.command, path, timeout)


def _reach(address: str) -> None:
    """Raise an OSError at once where Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _touched(job: Job) -> int:
    try:
        return (job.folder / "log.txt").stat().st_mtime_ns
    except OSError:
        return 0


def _reason(reference: ObjectRef[str | None]) -> str | None:
    import ray
    from ray import exceptions

    try:
        reason = ray.get(reference)
    except exceptions.TaskCancelledError:
        return "cancelled"
    except exceptions.OutOfMemoryError:
        return "ended by Ray: its node ran out of memory"
    except exceptions.NodeDiedError:
        return "the Ray node that ran it has gone"
    except exceptions.WorkerCrashedError:
        return "the Ray worker that ran it died"
    except exceptions.RayError as error:
        return f"Ray: {(str(error).strip() or type(error).__name__).splitlines()[-1]}"
    return None if reason is None else str(reason)


@contextlib.contextmanager
def _own_handlers() -> Iterator[None]:
    """Keep Ray from putting its own handler of SIGTERM over the sweep's."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
