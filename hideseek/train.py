"""One cell from end to end: a model, a representation, a seed.

Data, network and optimiser come from the configuration; the test set is read once, after training,
with the weights of the chosen epoch. `done.json` is written last.
"""

from __future__ import annotations

import logging
import math
import os
import time
from pathlib import Path

import polars as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import Logger
from torch import nn

from hideseek import record, tracking, wandb_run
from hideseek.attribution import cam_layer
from hideseek.check import check
from hideseek.checkpoint import NetworkCard, load_network, load_weights
from hideseek.data.datamodule import CxrDataModule
from hideseek.errors import UserError
from hideseek.report.attribution import attribution_panel
from hideseek.report.segmentation import write_segmentation
from hideseek.resume import last_checkpoint, lost_a_rank
from hideseek.seeds import stream
from hideseek.tasks.evaluate import measure_masks, metrics_of_predictions, predict_classes
from hideseek.trainer import choices, fit, make_trainer, quieten

log = logging.getLogger(__name__)


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
    primary = int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_PROCID", 0))) == 0
    if primary:
        record.describe(folder, config)
    try:
        return _train(folder, config, primary, started)
    except Exception as error:
        if not lost_a_rank(error):
            record.fail(folder, config, error)
        raise


def _train(folder: Path, config: DictConfig, primary: bool, started: float) -> float:
    check(config)
    quieten()
    datamodule: CxrDataModule = instantiate(config.datamodule, _convert_="all")
    datamodule.setup()
    assert datamodule.cache is not None
    recipe = datamodule.cache.recipe
    identity = record.identity(config, recipe)
    torch.manual_seed(stream(config.seed, "initialise"))
    net, card = _network(config)
    task = instantiate(config.task.module)(net, card, instantiate(config.model.optimizer))
    logger: Logger | None = instantiate(config.logger) if config.logger and primary else None
    metrics: dict[str, float] = {}
    try:
        trainer, best = make_trainer(config, folder, logger, identity)
        # Lightning moves the task back to the CPU when it has fitted it.
        device = trainer.strategy.root_device
        before = last_checkpoint(folder, identity) if config.resume else None
        hashes = {**identity, **record.data_hashes(recipe)}
        wandb_run.announce(logger, config, hashes, continued=before is not None)
        fit(trainer, task, datamodule, before)
        score = math.nan if best.best_model_score is None else float(best.best_model_score)
        if trainer.is_global_zero:
            metrics = _test(folder, config, datamodule, device)
            assert datamodule.cache is not None
            seconds = time.monotonic() - started
            cache = datamodule.cache
            record.finish(folder, config, cache, score, metrics, seconds, device)
            log.info("done in %.0f s: %s", seconds, folder)
            panel = folder / "attribution.png"
            pictures = {"attribution": panel} if panel.is_file() else {}
            wandb_run.log_outcome(logger, config.task.classes, pictures)
    finally:
        tracking.close(logger, metrics)
    return score


def _network(config: DictConfig) -> tuple[nn.Module, NetworkCard]:
    """Build the network and say what a checkpoint has to know of it."""
    chosen = HydraConfig.get().runtime.choices
    arguments = OmegaConf.to_container(config.model.net, resolve=True, enum_to_str=True)
    assert isinstance(arguments, dict)
    card = NetworkCard(
        task=config.task.name,
        model=chosen["model"],
        target=str(arguments["_target_"]),
        arguments={str(key): value for key, value in arguments.items() if key != "_target_"},
        image_size=config.image_size,
        channels=config.model.channels,
        normalize=config.normalize.value,
        classes=tuple(config.task.classes),
        roi=chosen["roi"],
        cam_layer=config.model.get("cam_layer") or "",
    )
    net = instantiate(config.model.net, _convert_="all")
    if card.cam_layer:
        cam_layer(net, card)  # a name that is wrong is better known before training
    return net, card


def _test(
    folder: Path, config: DictConfig, datamodule: CxrDataModule, device: torch.device
) -> dict[str, float]:
    """Read the test set with the chosen weights and write what came out."""
    assert datamodule.cache is not None
    batches, table = datamodule.test_dataloader(), datamodule.cache.table
    if config.task.name == "segment":
        kept = [_chosen(folder, config, name) for name in choices(config)]
        measured = [measure_masks(*choice, batches, table, device) for choice in kept]
        return write_segmentation(folder, *measured)
    net, card = _chosen(folder, config, "best")
    predict_classes(net, card, batches, table, device).write_csv(folder / "predictions.csv")
    try:
        panel = folder / "attribution.png"
        attribution_panel(net, card, datamodule.dataset(), panel, device=device)
    except UserError as error:
        log.warning("no attribution.png: %s", error)
    written = pl.read_csv(folder / "predictions.csv", infer_schema=False, glob=False)
    return metrics_of_predictions(written, card.classes)


def _chosen(folder: Path, config: DictConfig, name: str) -> tuple[nn.Module, NetworkCard]:
    path = folder / "checkpoints" / f"{name}.ckpt"
    if not str(config.model.net["_target_"]).endswith(".external"):
        return load_network(path)
    # The user's own code is rebuilt from the configuration only, never from a checkpoint.
    net, card = _network(config)
    load_weights(net, path)
    return net.eval(), card
