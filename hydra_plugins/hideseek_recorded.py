"""Tells Hydra of the sweeper `recorded`, which runs the cells that a sweep.yaml lists."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.utils import JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class RecordedSweeper(Sweeper):
    """Launches the cells of a sheet; see `hideseek.sweep.rerun`."""

    def __init__(self, sheet: str, params: Mapping[str, str] | None = None) -> None:
        """Choose the sheet.

        Args:
            sheet: path of a sweep.yaml, a sweep's folder or a bundle.
            params: what an experiment would sweep over; not used, for the sheet lists the cells.
        """
        self.sheet = sheet
        self.launcher: Launcher | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Make the launcher."""
        from hydra.core.plugins import Plugins

        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:  # noqa: ANN401
        """Run every cell with the recorded overrides, then those of the command line.

        Args:
            arguments: overrides of the command line; they win.

        Returns:
            One list of results.

        Raises:
            SystemExit: a cell failed, or the sheet cannot be used.
        """
        from hideseek.errors import UserError
        from hideseek.sweep.rerun import recorded_cells
        from hideseek.sweep.sheet import read_sheet

        assert self.launcher is not None
        try:
            cells = recorded_cells(read_sheet(Path(self.sheet)), arguments)
            results = self.launcher.launch(cells, initial_job_idx=0)
        except UserError as error:
            print(f"hideseek train: {error}", file=sys.stderr)
            sys.exit(2)
        if any(result.status == JobStatus.FAILED for result in results):
            sys.exit(1)
        return [results]
