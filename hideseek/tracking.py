"""What a cell tells the world while it trains: history.csv always, W&B or TensorBoard by choice."""

from __future__ import annotations

import csv
import logging
import math
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger

from hideseek.wandb_run import CellLogger

log = logging.getLogger(__name__)


class History(Callback):
    """Writes history.csv, a row an epoch, and a line to the log.

    A value that is undefined (not a number) is an empty cell. A continued training continues the
    table: the rows are part of the checkpoints.
    """

    def __init__(self, folder: Path) -> None:
        """Choose the folder of the cell."""
        self.path = folder / "history.csv"
        self.rows: list[dict[str, float]] = []
        self.started = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """Give the rows to a checkpoint."""
        return {"rows": list(self.rows)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the rows of the epochs before."""
        self.rows = list(state_dict["rows"])

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the epoch's clock."""
        self.started = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the epoch that has just ended."""
        if not trainer.is_global_zero or trainer.sanity_checking:
            return
        numbers = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        seconds = round(time.monotonic() - self.started, 3)
        row = {"epoch": trainer.current_epoch, "seconds": seconds, **numbers}
        self.rows.append(row)
        with self.path.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            writer.writeheader()
            writer.writerows(map(_cells, self.rows))
        shown = "train/loss", "val/loss", "val/accuracy", "val/f1_lung"
        text = "  ".join(f"{name} {numbers[name]:.3f}" for name in shown if name in numbers)
        log.info("epoch %d/%s  %s  %.1f s", row["epoch"] + 1, trainer.max_epochs, text, seconds)


def _cells(row: dict[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in row.items()}


def tensorboard_logger(folder: str) -> Logger:
    """Log to TensorBoard files in the cell's folder."""
    from pytorch_lightning.loggers import TensorBoardLogger

    return TensorBoardLogger(folder, name="tensorboard", version="")


def close(logger: Logger | None, summary: dict[str, float]) -> None:
    """Write the final numbers and end the run, so that no other cell can be merged into it.

    Args:
        logger: of the cell, or None.
        summary: the final metrics; empty where the cell failed.
    """
    if logger is None:
        return
    if isinstance(logger, CellLogger):
        logger.finish(summary)
    else:
        logger.finalize("success" if summary else "failed")
