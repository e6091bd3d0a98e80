"""Tells Hydra, which looks for plugins in this package only, of the launcher `cells`."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class CellsLauncher(Launcher):
    """Runs every cell of a sweep as a process of its own; see `hideseek.sweep.launcher`."""

    def __init__(self, timeout: float | None = None) -> None:
        """Set the seconds that one cell may take; None for no limit."""
        self.timeout = timeout

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what Hydra gives; the task function runs in the cells, not here."""
        self.context, self.config = hydra_context, config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run the cells."""
        from hideseek.sweep.launcher import launch

        return launch(self.context, self.config, job_overrides, initial_job_idx, self.timeout)
