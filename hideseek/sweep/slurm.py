"""Cells on a Slurm cluster, through submitit: an array of jobs, one for each cell.

Not through hydra-submitit-launcher: the first job that fails ends its `launch()`, and it trains
inside submitit's process, whose arguments Lightning cannot start a second rank from. Here submitit
runs `CellOnNode`, which starts the cell's own command, as every executor does.

A cell's ranks are Slurm's tasks; in a lone task Lightning starts them itself. What Slurm says of a
job decides whether it has ended, since a job that has been pre-empted comes back; the words come
from small files that the tasks write. Both work without Slurm's accounting.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from hideseek.errors import UserError
from hideseek.sweep.executor import Job
from hideseek.sweep.process import run_logged

if TYPE_CHECKING:
    from submitit import Job as SubmittedJob
    from submitit.core.utils import DelayedSubmission

log = logging.getLogger(__name__)

FOLDER = ".slurm"
PATIENCE = 600.0
LONGEST_CLOSE = 120.0
ENDED = {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY",
    "PREEMPTED", "REVOKED", "TIMEOUT",
}  # fmt: skip
SHIELDED = ("sh", "-c", 'trap "" INT USR1 USR2; exec "$@"', "sh")
"""Slurm signals a job's every process; the cell must outlive what asks submitit to requeue, and
Lightning, which would requeue on its own, leaves alone what is ignored already."""


class SlurmExecutor:
    """Runs every cell as a job of a Slurm array."""

    def __init__(
        self,
        parameters: Mapping[str, Any],
        timeout: float | None = None,
        max_num_timeout: int = 3,
        seconds_between_queries: float = 5.0,
    ) -> None:
        """Describe the jobs.

        Args:
            parameters: of submitit: `timeout_min`, `partition`, `gpus_per_node`, ...; None is left
                to Slurm.
            timeout: seconds that one attempt at a cell may take; None for Slurm's limit only.
            max_num_timeout: how often a cell that met Slurm's time limit may go on in a new job.
            seconds_between_queries: how often `squeue` is asked.

        Raises:
            UserError: submitit or Slurm is not installed.
        """
        try:
            import submitit  # noqa: F401
        except ModuleNotFoundError:
            raise UserError(
                "hydra/launcher=slurm needs the extra: pip install 'hideseek[slurm]'"
            ) from None
        for program in ("sbatch", "srun", "squeue", "scancel"):
            if shutil.which(program) is None:
                raise UserError(
                    f"hydra/launcher=slurm needs Slurm's `{program}`, which is not on PATH; start "
                    "the sweep on a login node, or use hydra/launcher=cells"
                )
        self.timeout, self.max_num_timeout = timeout, max_num_timeout
        self.seconds_between_queries, self.next_query = seconds_between_queries, 0.0
        self.parameters = {key: value for key, value in parameters.items() if value is not None}
        self.jobs: dict[str, SubmittedJob[None]] = {}
        self.states: dict[str, str] = {}

    def submit(self, jobs: Sequence[Job]) -> None:
        """Submit jobs as one array.

        Raises:
            UserError: Slurm or submitit refuses them, or jobs of an earlier start still run.
        """
        from submitit import SlurmExecutor as Submitter
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        if not jobs:
            return
        folder = jobs[0].folder.parent / FOLDER
        _refuse_if_busy(folder)
        folder.mkdir(parents=True, exist_ok=True)
        submitter = Submitter(folder, max_num_timeout=self.max_num_timeout)
        named = {"name": folder.parent.name, **self.parameters}
        try:
            # submitit also prints what it raises.
            with contextlib.redirect_stderr(io.StringIO()):
                submitter.update_parameters(**_parameters(named))
                submitted = submitter.submit_array([CellOnNode(job, self.timeout) for job in jobs])
        except (FailedJobError, FailedSubmissionError, ValueError) as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise UserError(f"hydra/launcher=slurm: {lines[0]}") from None
        self.jobs.update({job.name: task for job, task in zip(jobs, submitted, strict=True)})
        self.states.update({task.job_id: "PENDING" for task in submitted})

    def running(self) -> set[str]:
        """Name the jobs that have started and not ended."""
        return {name for name, job in self.jobs.items() if self._state(job) == "RUNNING"}

    def poll(self) -> dict[str, str | None]:
        """Name the jobs that ended since the last call: None if well, else why not."""
        if not self.jobs or time.monotonic() < self.next_query:
            return {}
        self.next_query = time.monotonic() + self.seconds_between_queries
        states = job_states(self._arrays())
        if states is None:
            return {}
        self.states = states
        ended = {}
        for name, job in list(self.jobs.items()):
            state = self._state(job)
            if state is None or state in ENDED:
                ended[name] = _reason(job, state)
                del self.jobs[name]
        return ended

    def close(self) -> None:
        """Cancel whatever runs or waits and wait until Slurm has ended it."""
        arrays = self._arrays()
        if not arrays:
            return
        # What waits must not start. SIGINT ends a task at once, as Ctrl-C does; without it Slurm
        # sends SIGTERM, which a task outlives, and gives it KillWait (30 s) to do so.
        for how in (["--state=PENDING"], ["--signal=INT"], []):
            _slurm("scancel", *how, *arrays)
        deadline = time.monotonic() + LONGEST_CLOSE
        while time.monotonic() < deadline:
            states = job_states(arrays)
            if states is not None and ENDED.issuperset(states.values()):
                break
            time.sleep(min(1.0, self.seconds_between_queries))
        else:
            log.warning("Slurm has not ended its jobs %s; see squeue", ", ".join(arrays))
        self.jobs.clear()

    def _arrays(self) -> list[str]:
        return sorted({job.job_id.partition("_")[0] for job in self.jobs.values()})

    def _state(self, job: SubmittedJob[None]) -> str | None:
        return self.states.get(job.job_id)


@dataclass(frozen=True)
class CellOnNode:
    """What submitit runs on a node, once for each rank of a cell.

    Attributes:
        job: to run.
        timeout: seconds that it may take, or None.
    """

    job: Job
    timeout: float | None

    def __call__(self) -> None:
        """Run the cell's command and leave word of how it ended.

        Raises:
            SystemExit: it did not end well; Slurm then ends the other ranks too.
        """
        from submitit import JobEnvironment

        environment = JobEnvironment()
        rank, told = environment.global_rank, []

        def keep(number: int, frame: FrameType | None) -> None:
            told.append(number)

        signal.signal(signal.SIGTERM, keep)
        if environment.num_tasks == 1:
            # Lightning then starts the ranks of a cell with several devices itself.
            os.environ["SLURM_JOB_NAME"] = "interactive"
        outcome = _outcome_file(environment.paths.result_pickle)
        outcome.unlink(missing_ok=True)
        path = self.job.folder / (f"log-rank{rank}.txt" if rank else "log.txt")
        reason: str | None
        try:
            reason = run_logged((*SHIELDED, *self.job.command), path, self.timeout)
        except Exception as error:  # submitit's, where it may not requeue once more, or a full disk
            reason = str(error)
        deadline = time.monotonic() + PATIENCE
        while reason is not None and told and time.monotonic() < deadline:
            # Slurm ends or requeues this job, and a job that ends by itself is not requeued.
            time.sleep(0.5)
        outcome.write_text(json.dumps(reason))
        if reason is not None:
            sys.exit(reason)

    def checkpoint(self) -> DelayedSubmission:
        """Tell submitit what to run when the job is requeued: the same, which then continues."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def job_states(arrays: Iterable[str]) -> dict[str, str] | None:
    """Ask Slurm for the states of jobs.

    Args:
        arrays: numbers of jobs or arrays.

    Returns:
        State by job, such as {"12_0": "RUNNING"}, without those that Slurm has forgotten; None
        where Slurm does not answer.
    """
    wanted = ",".join(arrays)
    shape = "--noheader", "--array", "--states=all", "--format=%i %T"
    answer = _slurm("squeue", *shape, f"--jobs={wanted}")
    if answer is None:
        return None
    if answer.returncode:
        return {} if "Invalid job id" in answer.stderr else None
    pairs = (line.split() for line in answer.stdout.splitlines())
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def _slurm(*command: str) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return None


def _parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    # srun has not taken cpus_per_task from sbatch since Slurm 22.05.
    cpus = [f"--cpus-per-task={given['cpus_per_task']}"] if "cpus_per_task" in given else []
    srun = ["--kill-on-bad-exit=1", *cpus, *given.get("srun_args", [])]
    further = {"requeue": True, **given.get("additional_parameters", {})}
    names = {"timeout_min": "time", "tasks_per_node": "ntasks_per_node", "name": "job_name"}
    translated = {names.get(key, key): value for key, value in given.items() if key != "mem_gb"}
    if "mem_gb" in given:
        translated["mem"] = f"{round(given['mem_gb'] * 1024)}M"
    return {**translated, "srun_args": srun, "additional_parameters": further}


def _refuse_if_busy(folder: Path) -> None:
    """Keep two jobs from writing into one cell, where an earlier sweep was killed itself."""
    before = [path.name.partition("_")[0] for path in folder.glob("*_submission.sh")]
    states = job_states(before) if before else {}
    if states is None:
        raise UserError(f"{folder.parent}: Slurm does not answer; try again when squeue works")
    busy = sorted({job.partition("_")[0] for job, state in states.items() if state not in ENDED})
    if busy:
        raise UserError(
            f"{folder.parent}: Slurm still has jobs of an earlier start of this sweep; wait for "
            f"them, or end them with: scancel {' '.join(busy)}"
        )


def _outcome_file(result: Path) -> Path:
    return result.with_suffix(".json")


def _reason(job: SubmittedJob[None], state: str | None) -> str | None:
    """Say why a job failed, by what its ranks wrote and what Slurm calls it."""
    outcomes: list[str | None] = []
    for rank in range(job.num_tasks):
        try:
            told = json.loads(_outcome_file(job.task(rank).paths.result_pickle).read_text())
        except (OSError, ValueError):
            continue
        if told is not None and state in (None, "COMPLETED", "FAILED"):
            return f"rank {rank}: {told}" if rank else str(told)
        outcomes.append(told)
    if state == "COMPLETED" or (state is None and len(outcomes) == job.num_tasks):
        return None
    said = "Slurm has forgotten the job" if state is None else f"Slurm says {state}"
    return f"{said}; see {job.task(0).paths.stderr}"
