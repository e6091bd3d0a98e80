"""Tells Hydra of the launcher `ray`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hydra_plugins.hideseek_cells import CellsLauncher

if TYPE_CHECKING:
    from hideseek.sweep.executor import Executor


class RayLauncher(CellsLauncher):
    """Runs every cell of a sweep as a Ray task; see `hideseek.sweep.ray`."""

    def __init__(
        self,
        address: str | None = None,
        cpus_per_cell: float = 1,
        devices_per_cell: float | None = None,
        timeout: float | None = None,
        retry_failed: bool = False,
    ) -> None:
        """Choose the cluster and what a cell reserves of it.

        Args:
            address: of a running cluster (`auto`, `host:6379`); None makes one of this machine.
            cpus_per_cell: processors that Ray keeps for a cell.
            devices_per_cell: GPUs, a half lets two cells share one; None: one where the cluster
                has any.
            timeout: seconds that one cell may take; None for no limit.
            retry_failed: whether to run cells again that failed before.
        """
        super().__init__(timeout=timeout, retry_failed=retry_failed)
        self.address, self.cpus_per_cell, self.gpus = address, cpus_per_cell, devices_per_cell

    def executor(self) -> Executor:
        """Make what runs the cells.

        Raises:
            UserError: Ray is not installed.
        """
        from hideseek.sweep.ray import RayExecutor

        return RayExecutor(self.address, self.cpus_per_cell, self.gpus, self.timeout)
