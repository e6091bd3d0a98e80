"""One cell from end to end: a model, a representation, a seed.

Data, network and optimiser come from the configuration; the test set is read once, after training,
with the weights of the chosen epoch. `done.json` is written last.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import time
import warnings
from pathlib import Path

import polars as pl
import pytorch_lightning as lightning
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import Callback, ModelCheckpoint, RichProgressBar
from pytorch_lightning.loggers import Logger
from torch import nn

from hideseek import record, tracking
from hideseek.check import check
from hideseek.checkpoint import NetworkCard, load_network, load_weights
from hideseek.config import Selection, plain
from hideseek.data.datamodule import CxrDataModule
from hideseek.report.segmentation import write_segmentation
from hideseek.seeds import stream
from hideseek.tasks.averaging import averaged_weights
from hideseek.tasks.evaluate import measure_masks, metrics_of_predictions, predict_classes

log = logging.getLogger(__name__)

IRRELEVANT_ADVICE = (
    ".*does not have many workers.*",
    ".*sync_dist=True.*",  # our metrics gather when they compute
    ".*exists and is not empty.*",
    ".*number of training batches.*",
    ".*LeafSpec.*",
)


def train(config: DictConfig) -> float:
    """Train one cell in the folder that Hydra gave it.

    Args:
        config: composed from `conf/train.yaml`.

    Returns:
        The validation score of the chosen epoch, what a sweeper maximises.

    Raises:
        UserError: data, weights or settings that cannot work.
    """
    started = time.monotonic()
    folder = Path(HydraConfig.get().runtime.output_dir)
    check(config)
    primary = int(os.environ.get("LOCAL_RANK", 0)) == 0
    if primary:
        record.describe(folder, config)
    _quieten()
    datamodule: CxrDataModule = instantiate(config.datamodule, _convert_="all")
    torch.manual_seed(stream(config.seed, "initialise"))
    net, card = _network(config)
    task = instantiate(config.task.module)(net, card, instantiate(config.model.optimizer))
    logger: Logger | None = instantiate(config.logger) if config.logger and primary else None
    metrics: dict[str, float] = {}
    try:
        if logger is not None:
            logger.log_hyperparams(plain(config))
        trainer, best = _trainer(config, folder, logger)
        # Lightning moves the task back to the CPU when it has fitted it.
        device = trainer.strategy.root_device
        trainer.fit(task, datamodule=datamodule)
        score = math.nan if best.best_model_score is None else float(best.best_model_score)
        if trainer.is_global_zero:
            metrics = _test(folder, config, datamodule, device)
            assert datamodule.cache is not None
            seconds = time.monotonic() - started
            cache = datamodule.cache
            record.finish(folder, config, cache, score, metrics, seconds, device)
            log.info("done in %.0f s: %s", seconds, folder)
    finally:
        tracking.close(logger, metrics)
    return score


def _network(config: DictConfig) -> tuple[nn.Module, NetworkCard]:
    """Build the network and say what a checkpoint has to know of it."""
    choices = HydraConfig.get().runtime.choices
    arguments = OmegaConf.to_container(config.model.net, resolve=True, enum_to_str=True)
    assert isinstance(arguments, dict)
    card = NetworkCard(
        task=config.task.name,
        model=choices["model"],
        target=str(arguments["_target_"]),
        arguments={str(key): value for key, value in arguments.items() if key != "_target_"},
        image_size=config.image_size,
        channels=config.model.channels,
        normalize=config.normalize.value,
        classes=tuple(config.task.classes),
        roi=choices["roi"],
    )
    return instantiate(config.model.net, _convert_="all"), card


def _trainer(
    config: DictConfig, folder: Path, logger: Logger | None
) -> tuple[lightning.Trainer, ModelCheckpoint]:
    saved = [
        ModelCheckpoint(
            folder / "checkpoints",
            filename=name,
            monitor=monitor,
            mode="max",
            save_last=name == "best",
            enable_version_counter=False,
        )
        for name, monitor in _choices(config).items()
    ]
    callbacks: list[Callback] = [*saved, tracking.History(folder)]
    if sys.stdout.isatty():
        callbacks.append(RichProgressBar())
    trainer: lightning.Trainer = instantiate(
        config.trainer,
        callbacks=callbacks,
        logger=logger or False,
        enable_progress_bar=sys.stdout.isatty(),
    )
    if config.ema_decay is not None:
        device = trainer.strategy.root_device
        trainer.callbacks.insert(0, averaged_weights(config.ema_decay, device))  # type: ignore[attr-defined]
    if trainer.world_size > 1 and trainer.strategy.root_device.type == "cpu":
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // trainer.world_size))
    return trainer, saved[0]


def _choices(config: DictConfig) -> dict[str, str]:
    """Name the checkpoints that are kept, the chosen one first, and the score each has most of."""
    monitor = str(config.task.monitor)
    if config.task.name == "segment" and config.selection == Selection.paper:
        return {"best": monitor.replace("val/", "test/", 1), "validation": monitor}
    return {"best": monitor}


def _test(
    folder: Path, config: DictConfig, datamodule: CxrDataModule, device: torch.device
) -> dict[str, float]:
    """Read the test set with the chosen weights and write what came out."""
    assert datamodule.cache is not None
    batches, table = datamodule.test_dataloader(), datamodule.cache.table
    if config.task.name == "segment":
        choices = [_chosen(folder, config, name) for name in _choices(config)]
        measured = [measure_masks(*choice, batches, table, device) for choice in choices]
        return write_segmentation(folder, *measured)
    net, card = _chosen(folder, config, "best")
    predict_classes(net, card, batches, table, device).write_csv(folder / "predictions.csv")
    written = pl.read_csv(folder / "predictions.csv", infer_schema=False)
    return metrics_of_predictions(written, card.classes)


def _chosen(folder: Path, config: DictConfig, name: str) -> tuple[nn.Module, NetworkCard]:
    path = folder / "checkpoints" / f"{name}.ckpt"
    if not str(config.model.net["_target_"]).endswith(".external"):
        return load_network(path)
    # The user's own code is rebuilt from the configuration only, never from a checkpoint.
    net, card = _network(config)
    load_weights(net, path)
    return net.eval(), card


def _quieten() -> None:
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for pattern in IRRELEVANT_ADVICE:
        warnings.filterwarnings("ignore", pattern)
