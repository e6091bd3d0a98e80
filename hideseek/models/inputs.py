"""From the uint8 batch that travels to the float batch that a network reads, on the device."""

from __future__ import annotations

import torch
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
NORMALIZATIONS = ("paper", "imagenet", "standardize")


def normalize(batch: Tensor, how: str, channels: int) -> Tensor:
    """Scale grey values and repeat the channel.

    Args:
        batch: uint8 [B, 1, H, W].
        how: "paper" divides by 255 and no more, as the paper's classification code does;
            "imagenet" also subtracts ImageNet's mean and divides by its standard deviation;
            "standardize" gives each image mean 0 and standard deviation 1, as the paper's
            segmentation code does, except that a constant image becomes 0 and not NaN.
        channels: 1 or 3.

    Returns:
        float32 [B, channels, H, W].

    Raises:
        ValueError: unknown `how`.
    """
    if how not in NORMALIZATIONS:
        raise ValueError(f"normalize='{how}' is unknown; known are {', '.join(NORMALIZATIONS)}")
    scaled = batch.float() / 255
    if how == "standardize":
        mean = scaled.mean(dim=(1, 2, 3), keepdim=True)
        deviation = scaled.std(dim=(1, 2, 3), keepdim=True)
        scaled = (scaled - mean) / deviation.clamp_min(1e-6)
    scaled = scaled.expand(-1, channels, -1, -1)
    if how == "imagenet":
        shape = (1, 3, 1, 1)
        mean = torch.tensor(IMAGENET_MEAN, device=batch.device).view(shape)
        deviation = torch.tensor(IMAGENET_STD, device=batch.device).view(shape)
        scaled = (scaled - mean) / deviation
    return scaled
