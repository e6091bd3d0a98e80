"""Settings that cannot work, found before anything is written or read."""

from __future__ import annotations

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from hideseek.errors import UserError
from hideseek.fill import FILLS
from hideseek.models.backbones import MINIMUM_SIZE

SMALLEST_INPUT = 32


def check(config: DictConfig) -> None:
    """Refuse a configuration whose parts do not fit.

    Args:
        config: of a cell.

    Raises:
        UserError: naming the first setting that is missing, out of range or at odds with another.
    """
    model = HydraConfig.get().runtime.choices["model"]
    missing = sorted(OmegaConf.missing_keys(config.model))
    if missing:
        raise UserError(f"model={model} needs {missing[0]}=...")
    if config.model.task != config.task.name:
        right = "experiment=segment_lungs" if config.model.task == "segment" else "task=classify"
        raise UserError(f"model={model} is made to {config.model.task}; use it with {right}")
    for name, least in (("epochs", 1), ("batch_size", 1), ("seed", 0), ("workers", 0)):
        if config[name] < least:
            raise UserError(f"{name}={config[name]} cannot work; at least {least}")
    least = MINIMUM_SIZE.get(model, SMALLEST_INPUT)
    if config.image_size < least:
        raise UserError(
            f"image_size={config.image_size} is too small for {model}: at least {least}"
        )
    classes = len(config.task.classes)
    if config.task.name == "classify" and len(config.class_weights) != classes:
        raise UserError(
            f"class_weights has {len(config.class_weights)} numbers for {classes} classes"
        )
    if config.roi.fill not in FILLS:
        raise UserError(f"roi.fill={config.roi.fill} is unknown; known are {', '.join(FILLS)}")
