"""Somebody else's network: any callable on the Python path, or any timm model.

Both return an ordinary module, float [B, 3, H, W] -> logits [B, classes], for training in the
protocol or for the audit of a finished network.

Its in-place activations are made ordinary ones: same results, but Grad-CAM is then right at
whatever layer is named. `cam_layer`, the dotted path of the layer for Grad-CAM, is best given.
Without it, it is the network's own attribute of that name; else for timm its last feature
stage; else the last convolution; else "" (no Grad-CAM).
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from hideseek.errors import UserError
from hideseek.models.weights import fit_state, load_state


def external(
    target: str, weights: str | None = None, *, cam_layer: str | None = None, **kwargs: object
) -> nn.Module:
    """Build a network by calling what an import path names.

    Args:
        target: "package.module:callable" or "package.module.callable".
        weights: path of a state dict that fits the network whole, or None (or "none").
        cam_layer: dotted path of the layer for Grad-CAM; see the module.
        **kwargs: passed to the callable.

    Returns:
        The network, with `cam_layer` set.

    Raises:
        UserError: the import path, the arguments, what is returned, the weights or `cam_layer`
            are wrong.
    """
    build = _imported(target)
    try:
        inspect.signature(build).bind(**kwargs)
    except TypeError as error:
        raise UserError(f"external model {target}: {error}; mend the model's arguments") from error
    except ValueError:
        pass  # some builtins have no signature
    network = build(**kwargs)
    if not isinstance(network, nn.Module):
        raise UserError(
            f"external model {target}: returned {type(network).__name__}, not a torch.nn.Module; "
            "name a class or function that returns one"
        )
    if weights is not None and weights != "none":
        fit_state(network, load_state(weights), weights)
    return _prepare_for_cam(network, cam_layer, target)


def timm_model(
    name: str, classes: int = 3, weights: str = "none", *, cam_layer: str | None = None
) -> nn.Module:
    """Build a network of the timm library.

    Args:
        name: timm's name, for example "convnext_tiny".
        classes: number of logits.
        weights: "none" (random), "imagenet" (timm's pretrained weights, downloaded) or the path
            of a state dict with 1000 classes (last layer dropped) or `classes`.
        cam_layer: dotted path of the layer for Grad-CAM; see the module.

    Returns:
        The network, with `cam_layer` set.

    Raises:
        UserError: timm is absent, the name unknown, or the weights or `cam_layer` wrong.
    """
    try:
        timm = importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise UserError("model=timm: timm is missing; pip install timm") from error
    if not timm.is_model(name):
        near = ", ".join(difflib.get_close_matches(name, timm.list_models(), 3)) or "another name"
        raise UserError(f"timm model {name}: unknown to timm {timm.__version__}; try {near}")
    try:
        network: Any = timm.create_model(
            name, pretrained=weights == "imagenet", num_classes=classes
        )
    except Exception as error:  # the hub client raises many kinds
        if weights != "imagenet":
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"timm model {name}: no pretrained weights ({reason}); pass weights=none, or download "
            "them on another machine and pass weights=/path/to/file"
        ) from error
    if weights not in ("none", "imagenet"):
        head = network.pretrained_cfg.get("classifier")
        fit_state(network, load_state(weights), weights, head if isinstance(head, str) else None)
    stages = getattr(network, "feature_info", None)
    guess = stages[-1].get("module") if isinstance(stages, list) and stages else None
    return _prepare_for_cam(network, cam_layer, f"timm.{name}", guess)


def _imported(target: str) -> Callable[..., object]:
    """Import the callable that `target` names."""
    module, _, attribute = target.partition(":") if ":" in target else target.rpartition(".")
    if not module or not attribute:
        raise UserError(f"external model {target!r}: not of the form package.module:callable")
    try:
        found: object = importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"external model {target}: cannot import {module} ({error}); install it, or put its "
            "folder on PYTHONPATH"
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise UserError(f"external model {target}: {module} has no {attribute}; check its name")
        found = getattr(found, part)
    if not callable(found):
        raise UserError(f"external model {target}: not callable; name a class or a function")
    return found


def _prepare_for_cam(
    network: nn.Module, cam_layer: str | None, source: str, guess: str | None = None
) -> nn.Module:
    """Set `cam_layer` and switch in-place activations off."""
    modules: dict[str, Any] = dict(network.named_modules())
    if cam_layer is not None and cam_layer not in modules:
        near = ", ".join(difflib.get_close_matches(cam_layer, modules, 3)) or "see print(network)"
        raise UserError(f"external model {source}: no layer {cam_layer} for cam_layer; try {near}")
    convolutions = [path for path, layer in modules.items() if isinstance(layer, nn.Conv2d)]
    own: Any = getattr(network, "cam_layer", None)
    candidates = [cam_layer, own, guess, *convolutions[-1:], ""]
    for layer in modules.values():
        if isinstance(getattr(layer, "inplace", None), bool):
            layer.inplace = False
    named: Any = network
    named.cam_layer = next(c for c in candidates if c == "" or c in modules)
    return network
