"""What a cell writes about itself: configuration first, provenance and done.json last."""

from __future__ import annotations

import json
import math
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from hideseek import __version__
from hideseek.config import config_hash, plain
from hideseek.data.cache import Cache, CacheRecipe, training_rectangle
from hideseek.errors import UserError

PACKAGES = ("torch", "torchvision", "pytorch-lightning", "albumentations", "numpy", "hydra-core")


def describe(folder: Path, config: DictConfig) -> None:
    """Write what the cell is, before anything can fail.

    Args:
        folder: of the cell.
        config: of the cell.
    """
    for name in ("done.json", "failed.json", "attribution.png"):
        (folder / name).unlink(missing_ok=True)
    for partial in (folder / "checkpoints").glob(".*.ckpt"):
        partial.unlink()  # a kill while one was written
    overrides = list(HydraConfig.get().overrides.task)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(plain(config))))
    (folder / "overrides.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(overrides)))


def identity(config: DictConfig, recipe: CacheRecipe) -> dict[str, str]:
    """Hash what decides a cell's outcome; what a cell has to show to be kept or continued.

    Args:
        config: of the cell.
        recipe: of the cache that it reads.

    Returns:
        `config_hash`, `recipe_hash` and `version`.
    """
    return {
        "config_hash": config_hash(config),
        "recipe_hash": recipe.digest(),
        "version": __version__,
    }


def data_hashes(recipe: CacheRecipe) -> dict[str, str]:
    """Name what the data were made from, beside the hash of the whole recipe."""
    return {"manifest_hash": recipe.manifest_hash, "segmenter_hash": recipe.segmenter_hash}


def fail(folder: Path, config: DictConfig, error: Exception) -> None:
    """Write failed.json: that the cell itself failed, was not killed, and why in one line.

    Args:
        folder: of the cell.
        config: of the cell.
        error: that ended it.
    """
    text = (str(error).strip() or "no message").splitlines()[0]
    kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
    content = {"reason": kind + text, "config_hash": config_hash(config), "version": __version__}
    write_json(folder / "failed.json", content)


def finish(
    folder: Path,
    config: DictConfig,
    cache: Cache,
    score: float,
    metrics: Mapping[str, float],
    seconds: float,
    device: torch.device,
) -> None:
    """Write metrics, provenance and, when all else is there, done.json.

    Args:
        folder: of the cell.
        config: of the cell.
        cache: that it read.
        score: of the chosen epoch.
        metrics: final numbers.
        seconds: from the start of the cell.
        device: that it trained on.
    """
    choices = HydraConfig.get().runtime.choices
    hashes = {**identity(config, cache.recipe), **data_hashes(cache.recipe)}
    provenance = {
        **hashes,
        "cache": str(cache.path),
        "device": _device_name(device),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "git": git_revision(),
        "selection": config.selection.value,
        "seconds": round(seconds, 1),
    }
    done = {
        "model": choices["model"],
        "roi": choices["roi"],
        "seed": config.seed,
        "task": config.task.name,
        "classes": list(config.task.classes),
        "score": _number(score),
        "fill": config.roi.fill,
        "margin": config.roi.margin,
        **hashes,
    }
    if choices["roi"] == "fixed_box_out":
        done["hidden"] = round(_fixed_share(cache), 4)
    write_json(folder / "metrics.json", {name: _number(value) for name, value in metrics.items()})
    write_json(folder / "provenance.json", provenance)
    write_json(folder / "done.json", done)


def _fixed_share(cache: Cache) -> float:
    """Give the share of the square that the rectangle of all training images covers, 0 to 1."""
    top, left, bottom, right = training_rectangle(cache)
    return (bottom - top) * (right - left) / cache.recipe.size**2


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write a JSON file whole under its name, or not at all; what is not finite is null."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")
    temporary.replace(path)


def _finite(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()})"


def git_revision() -> str | None:
    """Describe the checkout that this code lies in; None for an installed package."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    folder = Path(__file__).parent
    try:
        found = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
