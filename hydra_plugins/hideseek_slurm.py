"""Tells Hydra of the launcher `slurm`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hideseek.errors import UserError
from hydra_plugins.hideseek_cells import CellsLauncher

if TYPE_CHECKING:
    from hideseek.sweep.executor import Executor


class SlurmLauncher(CellsLauncher):
    """Runs every cell of a sweep as a job of a Slurm array; see `hideseek.sweep.slurm`."""

    def __init__(
        self,
        partition: str | None = None,
        account: str | None = None,
        qos: str | None = None,
        constraint: str | None = None,
        timeout_min: int = 720,
        nodes: int = 1,
        tasks_per_node: int = 1,
        cpus_per_task: int | None = 4,
        gpus_per_node: int | str | None = None,
        mem_gb: float | None = None,
        array_parallelism: int = 256,
        max_num_timeout: int = 3,
        signal_delay_s: int = 120,
        setup: Sequence[str] | None = None,
        srun_args: Sequence[str] | None = None,
        additional_parameters: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        retry_failed: bool = False,
    ) -> None:
        """Describe the jobs, in the words of submitit.

        Args:
            partition: where to run; None for Slurm's default, here and below.
            account: to charge.
            qos: quality of service.
            constraint: features that a node must have.
            timeout_min: minutes of a job; a cell that needs longer goes on in a further job.
            nodes: of one cell.
            tasks_per_node: a cell's ranks on a node, as many as `trainer.devices`. With one task on
                one node Lightning starts the ranks itself, and any number works.
            cpus_per_task: processors of a rank.
            gpus_per_node: of a job, a number or `type:number`.
            mem_gb: memory of a node.
            array_parallelism: cells at once.
            max_num_timeout: how many further jobs a cell may have that met its time limit.
            signal_delay_s: seconds before the time limit at which the job is put back in the queue.
            setup: lines of shell before the cell starts, such as `module load cuda`.
            srun_args: further arguments of `srun`.
            additional_parameters: further arguments of `sbatch`, by name without the hyphens.
            timeout: seconds that one attempt at a cell may take; None for no limit but Slurm's.
            retry_failed: whether to run cells again that failed before.
        """
        super().__init__(array_parallelism, None, timeout, retry_failed)
        self.max_num_timeout, self.nodes, self.tasks = max_num_timeout, nodes, tasks_per_node
        self.parameters: dict[str, Any] = {
            "partition": partition,
            "account": account,
            "qos": qos,
            "constraint": constraint,
            "timeout_min": timeout_min,
            "nodes": nodes,
            "tasks_per_node": tasks_per_node,
            "cpus_per_task": cpus_per_task,
            "gpus_per_node": gpus_per_node,
            "mem_gb": mem_gb,
            "array_parallelism": array_parallelism,
            "signal_delay_s": signal_delay_s,
            "setup": None if setup is None else list(setup),
            "srun_args": list(srun_args or ()),
            "additional_parameters": dict(additional_parameters or {}),
        }

    def executor(self) -> Executor:
        """Make what runs the cells.

        Raises:
            UserError: ranks that do not agree with the trainer's, submitit or Slurm is missing.
        """
        from hideseek.sweep.slurm import SlurmExecutor

        if self.nodes * self.tasks > 1:
            # Known before any job waits in the queue; what only a node knows is checked there.
            for key, wanted in (("devices", self.tasks), ("num_nodes", self.nodes)):
                given = self.config.trainer.get(key, 1)
                if isinstance(given, int) and given > 0 and given != wanted:
                    name = "tasks_per_node" if key == "devices" else "nodes"
                    raise UserError(
                        f"hydra.launcher.{name}={wanted} needs trainer.{key}={wanted}, not {given}"
                    )
        return SlurmExecutor(self.parameters, self.timeout, self.max_num_timeout)
