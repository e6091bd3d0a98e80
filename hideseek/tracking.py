"""What a cell tells the world while it trains: history.csv always, W&B or TensorBoard by choice."""

from __future__ import annotations

import csv
import logging
import math
import os
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger

log = logging.getLogger(__name__)


class History(Callback):
    """Writes history.csv, a row an epoch, and a line to the log.

    A value that is undefined (not a number) is an empty cell.
    """

    def __init__(self, folder: Path) -> None:
        """Choose the folder of the cell."""
        self.path = folder / "history.csv"
        self.rows: list[dict[str, float]] = []
        self.started = time.monotonic()

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


def wandb_logger(
    folder: str, sweep: str, name: str, task: str, tags: list[str], project: str = "hideseek"
) -> Logger:
    """Open one W&B run for one cell; offline where there is no key.

    Args:
        folder: of the cell; W&B writes below it.
        sweep: the run's group.
        name: of the run, model/roi/seed.
        task: the run's job type.
        tags: of the run.
        project: of the run.

    Returns:
        A Lightning logger.
    """
    import wandb
    from pytorch_lightning.loggers import WandbLogger

    quiet = wandb.Settings(silent=True, console="off", init_timeout=30)
    given: dict[str, Any] = {"project": project, "name": name, "group": sweep, "job_type": task}
    given |= {"tags": tags, "save_dir": folder, "settings": quiet}
    reason = None if has_wandb_key() else "no API key"
    if reason is None:
        logger = WandbLogger(**given)
        try:
            _ = logger.experiment
            return logger
        except Exception as error:
            # Whatever W&B raises without a network or with a wrong key must not end the training.
            reason = str(error).partition("\n")[0]
            wandb.teardown()
    log.info("W&B: %s, so this run is logged offline in %s/wandb", reason, folder)
    return WandbLogger(**given, offline=True)


def has_wandb_key() -> bool:
    """Tell whether W&B could log in without asking."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    netrc = Path(os.environ.get("NETRC", str(Path.home() / ".netrc")))
    try:
        return "api.wandb.ai" in netrc.read_text(errors="replace")
    except OSError:
        return False


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
    if type(logger).__name__ == "WandbLogger":
        import wandb

        if wandb.run is not None:
            wandb.run.summary.update({f"test/{name}": value for name, value in summary.items()})
        wandb.finish(exit_code=0 if summary else 1)
    else:
        logger.finalize("success" if summary else "failed")
