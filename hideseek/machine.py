"""What this machine has: cores, GPUs, W&B, folders that can be written, weights.

Called by `hideseek.doctor`. Every check takes what it looks at and raises nothing.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hideseek.config import config_folder
from hideseek.installed import Finding, broken

WEIGHTS = {
    "alexnet": "AlexNet_Weights",
    "vgg11": "VGG11_BN_Weights",
    "resnet50": "ResNet50_Weights",
}
"""Torchvision's names of the ImageNet weights that a model starts from."""

LITTLE_DISK_GB, LITTLE_SHARED_MB = 5, 512


def usable_cores() -> int:
    """Count the cores that this process may use, which a scheduler may have limited."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def devices(torch: Any) -> list[Finding]:  # noqa: ANN401
    """List what networks can run on.

    Args:
        torch: the module.
    """
    build = f"torch {torch.__version__}"
    try:
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        cards = [torch.cuda.get_device_properties(number) for number in range(count)]
        mps = torch.backends.mps.is_available()
    except Exception as error:  # a driver raises what it likes
        return [broken("GPU", error, "look at the driver with nvidia-smi")]
    if cards:
        return [
            Finding(f"GPU {number}", "ok", f"{card.name}, {card.total_memory / 2**30:.0f} GiB")
            for number, card in enumerate(cards)
        ]
    if mps:
        return [Finding("GPU", "ok", f"Apple MPS, {build}")]
    if shutil.which("nvidia-smi"):
        reason = (
            "was built without CUDA" if torch.version.cuda is None else "finds no usable driver"
        )
        remedy = "install torch for your CUDA version, see pytorch.org/get-started"
        return [Finding("GPU", "note", f"nvidia-smi is there, but {build} {reason}", remedy)]
    return [Finding("GPU", "note", f"none, {build}: trainer=cpu and small networks")]


def threads(count: int, cores: int, environment: Mapping[str, str]) -> Finding:
    """Compare the threads of one process with the cores it may use."""
    given = environment.get("OMP_NUM_THREADS")
    detail = f"{count} for {cores} cores, OMP_NUM_THREADS={given or 'not set'}"
    if count > cores:
        return Finding("threads", "note", detail, f"export OMP_NUM_THREADS={cores}")
    return Finding("threads", "ok", detail)


def weights_and_biases(
    environment: Mapping[str, str], has_key: Callable[[], bool | Exception]
) -> Finding:
    """Say what W&B will do with a cell; never what the key is."""
    mode = environment.get("WANDB_MODE", "")
    if mode == "disabled" or environment.get("WANDB_DISABLED", "").lower() in ("true", "1"):
        return Finding("W&B", "note", "disabled by WANDB_MODE or WANDB_DISABLED", "unset it")
    key = has_key()
    if isinstance(key, Exception):
        return broken("W&B", key, "pip install --force-reinstall wandb, or logger=csv")
    if not key:
        detail = "no key: cells are logged offline, below their folders"
        return Finding("W&B", "note", detail, "wandb login, then hideseek sync FOLDER")
    if mode in ("offline", "dryrun"):
        return Finding("W&B", "note", "a key, WANDB_MODE=offline", "hideseek sync FOLDER uploads")
    return Finding("W&B", "ok", "a key is there; cells are uploaded as they train")


def place(name: str, path: Path) -> Finding:
    """Try to write where a run would, and measure the room.

    Args:
        name: of the folder.
        path: which may not exist; then its nearest ancestor is tried. Nothing stays behind.
    """
    path = path.absolute()
    remedy = "export HIDESEEK_CACHE=FOLDER" if name == "cache" else "work in another folder"
    remedy = "export TMPDIR=FOLDER" if name == "temp" else remedy
    try:
        there = next(folder for folder in (path, *path.parents) if folder.exists())
        with tempfile.TemporaryFile(dir=there):
            free = shutil.disk_usage(there).free / 1e9
    except OSError as error:
        return Finding(name, "problem", f"{path}: {error.strerror}", remedy)
    detail = f"{path}, {free:.0f} GB free"
    if free < LITTLE_DISK_GB:
        return Finding(name, "note", detail, f"{remedy}, on a disk with more room")
    return Finding(name, "ok", detail)


def shared_memory(path: Path) -> list[Finding]:
    """Measure what the workers of a data loader share; containers often have 64 MB."""
    if not path.is_dir():
        return []
    room = shutil.disk_usage(path).total / 1e6
    detail = f"{path}, {room:.0f} MB for data loader workers"
    if room < LITTLE_SHARED_MB:
        remedy = "workers=0, or a container with --shm-size=2g"
        return [Finding("shared memory", "note", detail, remedy)]
    return [Finding("shared memory", "ok", detail)]


def shipped() -> Finding:
    """Look for what comes with the package: configuration and the lung segmenter."""
    weights = Path(__file__).parent / "weights" / "unet_small.pt"
    absent = [str(path) for path in (config_folder() / "train.yaml", weights) if not path.is_file()]
    if absent:
        return Finding("files", "problem", f"{', '.join(absent)}: not there", "reinstall hideseek")
    return Finding("files", "ok", "conf/ and the lung segmenter")


def imagenet(folder: Path, models: Any) -> Finding:  # noqa: ANN401
    """Look for the ImageNet weights in torch hub's cache.

    Args:
        folder: where torch hub keeps weights.
        models: `torchvision.models`.
    """
    urls = {model: str(getattr(models, name).IMAGENET1K_V1.url) for model, name in WEIGHTS.items()}
    absent = [m for m, url in urls.items() if not (folder / url.rpartition("/")[2]).is_file()]
    if not absent:
        return Finding("ImageNet weights", "ok", f"{', '.join(urls)} in {folder}")
    detail = f"{', '.join(absent)}: not in {folder}, downloaded when first used"
    return Finding("ImageNet weights", "note", detail, "without a network: weights=none or a file")
