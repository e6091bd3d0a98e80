"""The top level of a cell's configuration, with types that Hydra checks.

Below the top level the YAML files of `conf/` speak; tests hold their keys against the signatures of
the functions and classes they name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf


class Selection(StrEnum):
    """Which images choose the epoch: the validation set, or, as in the paper, the test set."""

    validation = "validation"
    paper = "paper"


class Normalize(StrEnum):
    """How grey values enter a network; see `hideseek.models.inputs.normalize`."""

    paper = "paper"
    imagenet = "imagenet"
    standardize = "standardize"


class Sampling(StrEnum):
    """How often each class is drawn; see `hideseek.data.sampler.draw_weights`."""

    balanced = "balanced"
    covidnet = "covidnet"
    natural = "natural"


class Schedule(StrEnum):
    """How the learning rate goes; see `hideseek.tasks.supervised.SupervisedTask`."""

    constant = "constant"
    onecycle = "onecycle"


@dataclass
class TrainConfig:
    """One cell: a model, a representation and a seed, and all that its training needs."""

    seed: int = 0
    sweep: str = MISSING
    weights: str = "imagenet"
    epochs: int = MISSING
    batch_size: int = MISSING
    image_size: int = MISSING
    learning_rate: float = MISSING
    schedule: Schedule = Schedule.constant
    ema_decay: float | None = None
    class_weights: list[float] = field(default_factory=list)
    sampling: Sampling = MISSING
    selection: Selection = Selection.validation
    normalize: Normalize = MISSING
    workers: int = 0
    resume: bool = True
    task: Any = MISSING
    model: Any = MISSING
    data: Any = MISSING
    roi: Any = MISSING
    augment: Any = None
    trainer: Any = MISSING
    logger: Any = None
    datamodule: Any = MISSING
    paths: Any = MISSING


def config_folder() -> Path:
    """Find `conf/`: inside an installed package, or beside it in a checkout."""
    packaged = Path(__file__).parent / "conf"
    return packaged if packaged.is_dir() else Path(__file__).parents[1] / "conf"


def register() -> None:
    """Make schema and resolvers known to Hydra; may be called twice."""
    ConfigStore.instance().store(name="train_schema", node=TrainConfig)
    OmegaConf.register_new_resolver("min", min, replace=True)
    OmegaConf.register_new_resolver("len", len, replace=True)


PLACE_KEYS = ("hydra", "sweep", "paths", "logger", "workers", "resume")
"""Where and how a cell runs: what may differ between two runs of the same cell."""


def plain(config: DictConfig, without: Sequence[str] = ("hydra",)) -> dict[str, Any]:
    """Resolve a configuration to built-in values.

    Args:
        config: of a cell.
        without: keys of the top level to leave out.

    Returns:
        Dictionaries, lists, texts and numbers.
    """
    return {str(key): _plain_value(config[key]) for key in config if key not in without}


def config_hash(config: DictConfig) -> str:
    """Hash what decides the outcome of a cell: 16 hexadecimal digits."""
    values = plain(config, PLACE_KEYS)
    values["datamodule"].pop("workers", None)
    # It is looked at after training.
    values["model"].pop("cam_layer", None)
    # A cache may lie anywhere.
    for data in (values["data"], values["datamodule"]["source"]):
        for source in (data, data.get("source", {})):
            source.pop("folder", None)
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain_value(value: Any) -> Any:  # noqa: ANN401
    if OmegaConf.is_config(value):
        return OmegaConf.to_container(value, resolve=True, enum_to_str=True, throw_on_missing=True)
    return value.value if isinstance(value, Enum) else value
