"""The Lightning trainer of one cell: which checkpoints it keeps, and how it goes on."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path

import pytorch_lightning as lightning
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Callback, ModelCheckpoint, RichProgressBar
from pytorch_lightning.loggers import Logger

from hideseek.config import Selection
from hideseek.data.datamodule import CxrDataModule
from hideseek.errors import UserError
from hideseek.resume import CellCheckpoint, CellIdentity, StepSeed, WholeCheckpoints
from hideseek.tasks.averaging import averaged_weights
from hideseek.tasks.supervised import SupervisedTask
from hideseek.tracking import History

IRRELEVANT_ADVICE = (
    ".*does not have many workers.*",
    ".*sync_dist=True.*",  # our metrics gather when they compute
    ".*exists and is not empty.*",
    ".*number of training batches.*",
    ".*LeafSpec.*",
    ".*`srun` command is available.*",  # our launchers decide where a cell runs
)
NO_SUCH_KERNEL = "does not have a deterministic implementation"


def make_trainer(
    config: DictConfig, folder: Path, logger: Logger | None, identity: Mapping[str, str]
) -> tuple[lightning.Trainer, ModelCheckpoint]:
    """Make the trainer of a cell.

    Args:
        config: of the cell.
        folder: of the cell.
        logger: of the cell, or None.
        identity: of the cell; see `hideseek.record.identity`.

    Returns:
        The trainer, and the callback that keeps the chosen epoch.

    Raises:
        UserError: Slurm started another number of ranks than the trainer expects.
    """
    to = folder / "checkpoints"
    saved: list[ModelCheckpoint] = [
        CellCheckpoint(to, name, monitor, mode="max", enable_version_counter=False)
        for name, monitor in choices(config).items()
    ]
    # After the others, so that it remembers their scores; every epoch, where they skip the worse.
    saved.append(CellCheckpoint(to, "last", enable_version_counter=False))
    callbacks: list[Callback] = [
        *saved, History(folder), StepSeed(config.seed), CellIdentity(identity),
    ]  # fmt: skip
    if sys.stdout.isatty():
        callbacks.append(RichProgressBar())
    trainer: lightning.Trainer = instantiate(
        config.trainer,
        callbacks=callbacks,
        plugins=[WholeCheckpoints()],
        logger=logger or False,
        enable_progress_bar=sys.stdout.isatty(),
    )
    check_tasks(trainer.world_size)
    if config.ema_decay is not None:
        device = trainer.strategy.root_device
        trainer.callbacks.insert(0, averaged_weights(config.ema_decay, device))  # type: ignore[attr-defined]
    if trainer.world_size > 1 and trainer.strategy.root_device.type == "cpu":
        threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
        torch.set_num_threads(max(1, threads // trainer.world_size))
    return trainer, saved[0]


def check_tasks(ranks: int) -> None:
    """Compare with Slurm, whose every task would otherwise train the whole cell in one folder.

    Args:
        ranks: that the trainer expects.

    Raises:
        UserError: Slurm started more or fewer tasks.
    """
    tasks = int(os.environ.get("SLURM_NTASKS", ranks))
    by_hand = os.environ.get("SLURM_JOB_NAME") in (None, "bash", "interactive")
    if tasks != ranks and not by_hand:
        raise UserError(
            f"Slurm started {tasks} tasks, and the trainer expects {ranks} ranks; make "
            "hydra.launcher.tasks_per_node and trainer.devices (times nodes) equal"
        )


def choices(config: DictConfig) -> dict[str, str]:
    """Name the checkpoints that are kept, the chosen one first, and the score each has most of."""
    monitor = str(config.task.monitor)
    if config.task.name == "segment" and config.selection == Selection.paper:
        return {"best": monitor.replace("val/", "test/", 1), "validation": monitor}
    return {"best": monitor}


def fit(
    trainer: lightning.Trainer, task: SupervisedTask, datamodule: CxrDataModule, last: Path | None
) -> None:
    """Train, from the beginning or on from a checkpoint.

    Args:
        trainer: of the cell.
        task: to train.
        datamodule: to train on.
        last: the checkpoint to continue from, or None.

    Raises:
        UserError: `trainer.deterministic=true`, and an operation of the network has no kernel that
            repeats itself on this device; torch says so in the first step.
    """
    try:
        trainer.fit(task, datamodule=datamodule, ckpt_path=last, weights_only=True)
    except RuntimeError as error:
        if NO_SUCH_KERNEL not in str(error):
            raise
        operation = str(error).split()[0]
        raise UserError(
            f"trainer.deterministic=true: '{operation}' of model={task.card.model} has no "
            f"deterministic kernel on {trainer.strategy.root_device}; give trainer.deterministic="
            "warn, or another device"
        ) from None


def quieten() -> None:
    """Keep to ourselves what Lightning advises and nobody here can follow."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for pattern in IRRELEVANT_ADVICE:
        warnings.filterwarnings("ignore", pattern)
