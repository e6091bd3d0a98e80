"""The paper's three ImageNet networks, from torchvision, with the last layer replaced.

AlexNet, VGG-11 and ResNet-50 (paper Tables 5-7) start from torchvision's first ImageNet weights,
as in the paper's code. Images are RGB or repeated grey, float [B, 3, H, W]; the paper feeds
224x224 pixels in 0 .. 1 without ImageNet's mean and standard deviation.

`weights` is the same for all: "imagenet" (torch hub folder, else download), "none" (random) or
the path of a state dict with 1000 classes (last layer dropped) or with `classes` (used whole).
Each network has an attribute `cam_layer`, the dotted path of the layer for Grad-CAM; all of them
are after the last ReLU, since a layer before an in-place ReLU gives another map.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from torchvision import models

from hideseek.models.weights import fit_state, imagenet_state, load_state

MINIMUM_SIZE = {"alexnet": 63, "vgg11": 32, "resnet50": 32}
"""Smallest image side in pixels. ResNet-50 would run below it, on a map of one pixel."""


def alexnet(classes: int = 3, weights: str = "imagenet") -> nn.Module:
    """AlexNet, 57.0 M parameters at 3 classes (paper Table 5).

    Args:
        classes: number of logits.
        weights: "imagenet", "none" or a path; see the module.

    Returns:
        The network, float [B, 3, H, W] -> logits [B, classes]; `cam_layer` is the ReLU after the
        last convolution.

    Raises:
        UserError: the weights cannot be found, downloaded or fitted.
    """
    url = models.AlexNet_Weights.IMAGENET1K_V1.url
    return _finish(models.alexnet(), "classifier.6", "features.11", classes, weights, url)


def vgg11(classes: int = 3, weights: str = "imagenet", batch_norm: bool = True) -> nn.Module:
    """VGG-11, 128.8 M parameters at 3 classes (paper Table 6).

    Args:
        classes: number of logits.
        weights: "imagenet", "none" or a path; see the module.
        batch_norm: the variant with BatchNorm, which the paper's code uses; its text says
            plain VGG-11.

    Returns:
        The network, float [B, 3, H, W] -> logits [B, classes]; `cam_layer` is the ReLU after the
        last convolution.

    Raises:
        UserError: the weights cannot be found, downloaded or fitted.
    """
    build = models.vgg11_bn if batch_norm else models.vgg11
    choices = models.VGG11_BN_Weights if batch_norm else models.VGG11_Weights
    network = build(init_weights=weights == "none")
    cam_layer = "features.27" if batch_norm else "features.19"
    url = choices.IMAGENET1K_V1.url
    return _finish(network, "classifier.6", cam_layer, classes, weights, url)


def resnet50(classes: int = 3, weights: str = "imagenet") -> nn.Module:
    """ResNet-50, 23.5 M parameters at 3 classes (paper Table 7).

    Args:
        classes: number of logits.
        weights: "imagenet", "none" or a path; see the module.

    Returns:
        The network, float [B, 3, H, W] -> logits [B, classes]; `cam_layer` is the last stage.

    Raises:
        UserError: the weights cannot be found, downloaded or fitted.
    """
    url = models.ResNet50_Weights.IMAGENET1K_V1.url
    return _finish(models.resnet50(), "fc", "layer4", classes, weights, url)


def _finish(
    network: nn.Module, head: str, cam_layer: str, classes: int, weights: str, url: str
) -> nn.Module:
    """Replace the last layer, load the weights, name the layer for Grad-CAM."""
    parent, _, name = head.rpartition(".")
    last: Any = network.get_submodule(head)
    setattr(network.get_submodule(parent), name, nn.Linear(last.in_features, classes))
    if weights != "none":
        state = imagenet_state(url) if weights == "imagenet" else load_state(weights)
        fit_state(network, state, weights, head)
    named: Any = network  # nn.Module's stubs take tensors and modules only
    named.cam_layer = cam_layer
    return network
