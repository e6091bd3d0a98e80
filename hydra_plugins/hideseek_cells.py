"""Tells Hydra, which looks for plugins in this package only, of the launcher `cells`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from hideseek.sweep.executor import Executor


class CellsLauncher(Launcher):
    """Runs every cell of a sweep as a process of its own; see `hideseek.sweep.launcher`."""

    def __init__(
        self,
        parallel: int = 1,
        devices_per_cell: int | None = None,
        timeout: float | None = None,
        retry_failed: bool = False,
    ) -> None:
        """Set up; see `hideseek.sweep.pool.LocalPool`.

        Args:
            parallel: cells at once.
            devices_per_cell: GPUs that each cell sees.
            timeout: seconds that one cell may take; None for no limit.
            retry_failed: whether to run cells again that failed before.
        """
        self.parallel, self.devices_per_cell = parallel, devices_per_cell
        self.timeout, self.retry_failed = timeout, retry_failed

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what Hydra gives; the task function runs in the cells, not here."""
        self.context, self.config = hydra_context, config

    def executor(self) -> Executor:
        """Make what runs the cells."""
        from hideseek.sweep.pool import LocalPool

        return LocalPool(self.parallel, self.devices_per_cell, self.timeout)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run the cells.

        Raises:
            SystemExit: a cell failed, or a mistake of the user's; Hydra would show a traceback.
        """
        from hideseek.errors import UserError
        from hideseek.sweep.launcher import launch

        cells = self.context, self.config, job_overrides, initial_job_idx
        try:
            if not isinstance(self.retry_failed, bool):
                raise UserError(f"hydra.launcher.retry_failed={self.retry_failed}: true or false")
            return launch(*cells, self.executor, self.retry_failed)
        except UserError as error:
            print(f"hideseek train: {error}", file=sys.stderr)
            raise SystemExit(2) from None
