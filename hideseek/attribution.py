"""Grad-CAM maps as numbers: which places of the last feature map raise the score of a class.

The package `grad-cam` records activations and gradients and weights the channels. Its last step is
left out: there every map is stretched to 0 .. 1 by itself, so that an empty map looks like any
other and maps cannot be compared, averaged or measured.

The paper shows maps of ResNet-50 alone (Figure 3) and publishes neither code nor layer for them.
Here each network's layer stands in `conf/model`: the last feature map after its last ReLU.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hideseek.checkpoint import NetworkCard
from hideseek.errors import UserError

Maps = npt.NDArray[np.float32]
SMALLEST_SIDE = 2


def cam_layer(net: nn.Module, card: NetworkCard) -> str:
    """Name the layer for Grad-CAM: the configuration's, else the network's own.

    Args:
        net: any classifier.
        card: of the network.

    Returns:
        The dotted path of a module of `net`.

    Raises:
        UserError: neither names one, or there is no such layer.
    """
    name = str(card.cam_layer or getattr(net, "cam_layer", ""))
    if not name:
        raise UserError(f"model={card.model}: no layer for Grad-CAM; name one by model.cam_layer")
    _find(net, name)
    return name


def raw_maps(net: nn.Module, layer_name: str, images: Tensor, targets: Sequence[int]) -> Maps:
    """Compute Grad-CAM maps on one scale: after the ReLU, before any stretching per image.

    With A the layer's output and Y the logit of the target, a map is
    `relu(sum_k mean(dY / dA_k) A_k)`. It is right at any layer that runs once, also before an
    in-place activation, and works whatever the gradient mode around it; the network is left as it
    was found.

    Args:
        net: any classifier, frozen or not; it is run in evaluation mode, on its own device.
        layer_name: dotted path of a module whose output is [B, C, h, w], channels second.
        images: [B, ...] as the network takes them, on any device.
        targets: a class number for each image.

    Returns:
        float32 [B, h, w], 0 or more, in the logit's unit.

    Raises:
        UserError: the targets do not fit the images or the classes; or the layer is unknown, runs
            not exactly once, does not lead to the logits, or gives no map of 2x2 or more.
    """
    # Its import takes scikit-learn and all of matplotlib along.
    from pytorch_grad_cam import GradCAM  # type: ignore[import-untyped]

    if len(targets) != len(images):
        raise UserError(f"Grad-CAM: {len(targets)} targets for {len(images)} images; give as many")
    layer = _find(net, layer_name)
    with torch.inference_mode(False), torch.enable_grad(), _frozen_evaluation(net):
        start = layer.register_forward_hook(lambda _, __, output: _start(layer_name, output))
        cam: Any = None
        try:
            cam = GradCAM(net, [layer], reshape_transform=_own_copy)
            recorded = cam.activations_and_grads
            logits = recorded(images.to(cam.device, copy=True))
            if len(recorded.activations) != 1 or not logits.requires_grad:
                raise UserError(_not_once(layer_name, len(recorded.activations)))
            _score(logits, targets).backward()  # type: ignore[no-untyped-call]
            activations, gradients = recorded.activations[0].numpy(), recorded.gradients[0].numpy()
            signed: Maps = cam.get_cam_image(None, layer, None, activations, gradients)
        finally:
            # Not as a context manager: that one swallows IndexError.
            if cam is not None:
                cam.activations_and_grads.release()
            start.remove()
    return np.maximum(signed, 0)


def enlarged(maps: Maps, size: tuple[int, int]) -> Maps:
    """Enlarge maps to the image, bilinearly; values stay within each map's range.

    Args:
        maps: float32 [B, h, w].
        size: height and width of the image.

    Returns:
        float32 [B, height, width].
    """
    tensor = torch.from_numpy(maps)[:, None]
    large = F.interpolate(tensor, size=size, mode="bilinear", align_corners=False)
    return np.asarray(large[:, 0].numpy(), dtype=np.float32)


def _find(net: nn.Module, name: str) -> nn.Module:
    layers: dict[str, nn.Module] = dict(net.named_modules(remove_duplicate=False))
    if name not in layers:
        near = ", ".join(difflib.get_close_matches(name, layers, 3)) or "see print(network)"
        raise UserError(f"Grad-CAM: the network has no layer '{name}'; try {near}")
    return layers[name]


@contextmanager
def _frozen_evaluation(net: nn.Module) -> Iterator[None]:
    """Evaluate without a gradient on any parameter; afterwards all is as it was."""
    modules = [(module, module.training) for module in net.modules()]
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    try:
        net.eval()
        for parameter in trained:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
        # Not net.train(), which would pass one flag on to all the submodules.
        for module, training in modules:
            module.training = training


def _start(name: str, output: object) -> Tensor:
    """Begin the graph at the layer's output, so that nothing before it need keep a gradient."""
    if not isinstance(output, Tensor) or output.ndim != 4:
        given = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise UserError(
            f"Grad-CAM: layer '{name}' gives {given}, not [B, C, h, w]; name one that gives maps"
        )
    height, width = output.shape[-2:]
    if min(height, width) < SMALLEST_SIDE:
        raise UserError(
            f"Grad-CAM: at this image size the map of '{name}' has {height}x{width} values, and "
            "2x2 are the least; take a larger image_size or an earlier layer"
        )
    # The clone is no leaf, so that an in-place activation may follow.
    return output.detach().requires_grad_().clone()


def _own_copy(recorded: Tensor) -> Tensor:
    """Copy what grad-cam records, which an in-place activation would otherwise overwrite."""
    return recorded.to(torch.float32, copy=True)


def _not_once(name: str, runs: int) -> str:
    if runs == 1:
        return f"Grad-CAM: the logits do not depend on layer '{name}'; name one that leads to them"
    return f"Grad-CAM: layer '{name}' runs {runs} times for an image; name one that runs once"


def _score(logits: Tensor, targets: Sequence[int]) -> Tensor:
    classes = logits.shape[1]
    wrong = [target for target in targets if not 0 <= target < classes]
    if wrong:
        raise UserError(f"Grad-CAM: no class {wrong[0]}; the network has 0 .. {classes - 1}")
    return logits[range(len(targets)), list(targets)].sum()
