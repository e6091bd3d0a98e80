"""Trained networks on disk: tensors and plain values that rebuild the network alone.

A checkpoint may come from somebody else, so it is loaded without pickle and can name no code but
the networks of this package.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast, get_type_hints

import torch
from torch import nn

from hideseek.errors import UserError

KEY = "hideseek"
TRUSTED_PACKAGE = "hideseek.models."


@dataclass(frozen=True)
class NetworkCard:
    """What a checkpoint says of its network.

    Attributes:
        task: "classify" or "segment".
        model: name of the choice in `conf/model`.
        target: import path of the function or class that builds the network.
        arguments: plain keyword arguments of the target.
        image_size: side of the input, pixels.
        channels: of the input.
        normalize: one of `hideseek.models.inputs.NORMALIZATIONS`.
        classes: names in the order of the outputs.
        roi: name of the representation that it was trained on.
        cam_layer: path of the layer for Grad-CAM; empty: the one that the network names itself.
    """

    task: str
    model: str
    target: str
    arguments: dict[str, Any]
    image_size: int
    channels: int
    normalize: str
    classes: tuple[str, ...]
    roi: str = "original"
    cam_layer: str = ""

    def plain(self) -> dict[str, Any]:
        """Return built-in values only, so that `weights_only=True` can read them back."""
        return {**asdict(self), "classes": list(self.classes)}


def load_network(path: Path) -> tuple[nn.Module, NetworkCard]:
    """Rebuild a network from one file.

    Args:
        path: a checkpoint that this package wrote.

    Returns:
        The network in evaluation mode on the CPU, in float32, and its card.

    Raises:
        UserError: the file is absent, damaged or foreign, or names code outside this package.
    """
    content = _load(path)
    try:
        stored = dict(content[KEY])
        card = NetworkCard(**{**stored, "classes": tuple(stored["classes"])})
        net = _build(card)
        _put_weights(net, content)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except Exception as error:  # the file chooses the arguments, and with them the exception
        raise UserError(_misfit(path, error)) from None
    return net.float().eval(), card


def save_network(path: Path, net: nn.Module, card: NetworkCard) -> None:
    """Write a network alone, in half precision, the form in which weights are shipped.

    Args:
        path: of the file.
        net: any network of this package.
        card: of the network.
    """
    state = {f"net.{name}": _half(value) for name, value in net.state_dict().items()}
    torch.save({KEY: card.plain(), "state_dict": state}, path)


def load_weights(net: nn.Module, path: Path) -> None:
    """Put a checkpoint's weights into a network that exists already.

    Args:
        net: of the same architecture.
        path: a checkpoint that this package wrote.

    Raises:
        UserError: the file is absent, damaged, or of another network.
    """
    content = _load(path)
    try:
        _put_weights(net, content)
    except Exception as error:
        raise UserError(_misfit(path, error)) from None


def weights_hash(path: Path) -> str:
    """Hash a weights file: the first 16 hexadecimal digits of its SHA-256."""
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _misfit(path: Path, error: Exception) -> str:
    return f"{path}: the checkpoint does not fit its network ({_reason(error)})"


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _half(value: torch.Tensor) -> torch.Tensor:
    return value.half() if value.is_floating_point() else value


def _load(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch raises anything from EOFError to UnpicklingError on damaged or hostile files.
        raise UserError(f"{path}: incomplete or unsafe checkpoint ({_reason(error)})") from None
    if not isinstance(content, Mapping) or not {KEY, "state_dict"} <= content.keys():
        raise UserError(f"{path}: no checkpoint of hideseek (it lacks '{KEY}' or 'state_dict')")
    return content


def _build(card: NetworkCard) -> nn.Module:
    build = _builder(card.target)
    arguments = dict(card.arguments)
    if "weights" in inspect.signature(build).parameters:
        arguments["weights"] = "none"  # nothing is read or downloaded: the weights follow
    net = build(**arguments)
    if not isinstance(net, nn.Module):
        raise UserError(f"'{card.target}' builds no network")
    return net


def _builder(target: str) -> Callable[..., object]:
    """Find a network of this package; its helpers import and download, and are none."""
    refusal = UserError(f"names '{target}', and only networks of hideseek are rebuilt from it")
    module, _, name = target.rpartition(".")
    if not module.startswith(TRUSTED_PACKAGE) or name in ("external", "") or name[0] == "_":
        raise refusal
    build = getattr(importlib.import_module(module), name)
    if inspect.isclass(build):
        made: object = build
    else:
        made = get_type_hints(build).get("return") if inspect.isfunction(build) else None
    own = getattr(build, "__module__", None) == module
    if not own or not inspect.isclass(made) or not issubclass(made, nn.Module):
        raise refusal
    return cast(Callable[..., object], build)


def _put_weights(net: nn.Module, content: Mapping[str, Any]) -> None:
    prefix = "net."
    state = {
        k.removeprefix(prefix): v for k, v in content["state_dict"].items() if k.startswith(prefix)
    }
    net.load_state_dict(state)
