"""Weight files into networks: the one place where the model factories read a file.

A file is read with `weights_only=True`, so that it cannot run code, and whatever is wrong with it
comes out as one line.
"""

from __future__ import annotations

import logging
import socket
import sys
from pathlib import Path
from pickle import UnpicklingError
from zipfile import is_zipfile

import torch
from torch import Tensor, nn

from hideseek.errors import UserError

IMAGENET_CLASSES = 1000
DOWNLOAD_TIMEOUT_S = 60.0

log = logging.getLogger(__name__)


def load_state(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict onto the CPU.

    Args:
        path: a file written by `torch.save`: a state dict, or a dict that holds one under
            `state_dict`, `model_state_dict` or `model`. The prefix `module.` that
            DataParallel adds is taken off.

    Returns:
        Parameter name -> tensor.

    Raises:
        UserError: no such file, unreadable, truncated, holds other objects, or no state dict.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f"weights {path}: no such file; check the path, or pass weights=none")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"weights {path}: {error.strerror or error}; check the file") from error
    except Exception as error:  # torch.load raises eight kinds of exception on a bad file
        if isinstance(error, UnpicklingError) and is_zipfile(path):
            reason = "holds other objects than tensors; save the network's state_dict() instead"
        else:
            reason = "not a whole PyTorch weights file; fetch or save it again"
        raise UserError(f"weights {path}: {reason}") from error
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not (
        isinstance(content, dict)
        and content
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())
    ):
        raise UserError(f"weights {path}: no state dict in it; save the network's state_dict()")
    if all(key.startswith("module.") for key in content):
        content = {key.removeprefix("module."): value for key, value in content.items()}
    return dict(content)


def fit_state(
    network: nn.Module, state: dict[str, Tensor], source: str, head: str | None = None
) -> None:
    """Load a state dict into a network, in place.

    Args:
        network: the network, last layer already of the wanted size.
        state: parameter name -> tensor, from `load_state`.
        source: where it came from, for the message.
        head: dotted path of the last layer. If the file's has 1000 outputs (ImageNet) and the
            network's another number, the network keeps its own.

    Raises:
        UserError: names or shapes differ.
    """
    own = network.state_dict()
    rows = state.get(f"{head}.weight")
    if head and rows is not None and rows.shape[:1] == (IMAGENET_CLASSES,):
        kept = {k: v for k, v in own.items() if k in (f"{head}.weight", f"{head}.bias")}
        if all(v.shape[0] != IMAGENET_CLASSES for v in kept.values()):
            state = {**state, **kept}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(
            f"weights {source}: do not fit {type(network).__name__} ({_difference(own, state)}); "
            "pass weights of this very network"
        ) from error


def _difference(own: dict[str, Tensor], state: dict[str, Tensor]) -> str:
    """Say in a few words how two state dicts differ, one example of each kind."""
    # Files older than PyTorch 0.4.1 lack the counters, and load all the same.
    missing = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
    extra = [k for k in state if k not in own]
    reshaped = [k for k in own if k in state and own[k].shape != state[k].shape]
    parts = []
    if missing:
        parts.append(f"{len(missing)} missing, such as {missing[0]}")
    if extra:
        parts.append(f"{len(extra)} unknown, such as {extra[0]}")
    if reshaped:
        key = reshaped[0]
        shapes = f"{list(state[key].shape)} for {list(own[key].shape)}"
        parts.append(f"{len(reshaped)} of another shape, such as {key} {shapes}")
    return "; ".join(parts) or "the network refused them"


def imagenet_state(url: str) -> dict[str, Tensor]:
    """Torchvision's ImageNet weights, from the torch hub folder or else the network.

    Args:
        url: address of the file; its name ends in the first digits of its SHA-256, which the
            download is checked against.

    Returns:
        Parameter name -> tensor, with the 1000-class last layer.

    Raises:
        UserError: the file is not in the hub folder and cannot be downloaded, or is damaged.
    """
    name = url.rsplit("/", 1)[1]
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.is_file():
        log.info("downloading %s to %s", url, path)
        # A cluster node without a network may drop packets: without a limit that hangs.
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_S)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            digits = name.removesuffix(".pth").rsplit("-", 1)[1]
            torch.hub.download_url_to_file(url, str(path), digits, sys.stderr.isatty())
        except (OSError, RuntimeError) as error:  # RuntimeError: the hash differs
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UserError(
                f"ImageNet weights: cannot download {url} ({reason}); pass weights=none, or "
                f"download it on another machine and pass weights=/path/to/{name}, or place it "
                f"at {path}"
            ) from error
        finally:
            socket.setdefaulttimeout(before)
    return load_state(path)
