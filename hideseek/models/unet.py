"""The lung segmenter: a U-Net from a grey radiograph to background and lung logits.

Trained by `tasks/segment.py`; run by `prepare` to draw the lung masks that every representation
is cut from.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hideseek.errors import UserError


class UNet(nn.Module):
    """U-Net of the paper (Ronneberger style, same-size convolutions).

    Source: the paper's segmentation section and its code: depth 5, two 3x3 convolutions with
    padding 1 and ReLU per level, no normalisation, 2x2 max-pooling, 2x2 transposed convolution
    with stride 2, 1x1 head. The defaults have 31,030,658 parameters.

    Args:
        widths: channels of each level, finest first; at least one.
        in_channels: channels of the image, 1 for grey.
        classes: output channels; the paper uses 0 = background, 1 = lung.
        norm: put a BatchNorm before each ReLU (convolutions then have no bias). Not in the paper.
    """

    def __init__(
        self,
        widths: Sequence[int] = (64, 128, 256, 512, 1024),
        in_channels: int = 1,
        classes: int = 2,
        norm: bool = False,
    ) -> None:
        """Build the layers; arguments as in the class."""
        super().__init__()
        if not widths:
            raise UserError("U-Net: widths is empty; give the channels of each level")
        self.multiple = 2 ** (len(widths) - 1)
        inputs = [in_channels, *widths[:-1]]
        self.down = nn.ModuleList(
            _two_convs(a, b, norm) for a, b in zip(inputs, widths, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in pairs)
        self.merge = nn.ModuleList(_two_convs(2 * b, b, norm) for _, b in pairs)
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Segment a batch.

        Args:
            image: float [B, in_channels, H, W], each image standardised by its own mean and
                standard deviation (as the paper does). H and W must be multiples of
                2 ** (levels - 1), 16 by default.

        Returns:
            Logits, float [B, classes, H, W].

        Raises:
            UserError: H or W is not such a multiple.
        """
        height, width = image.shape[-2:]
        if height % self.multiple or width % self.multiple:
            raise UserError(
                f"U-Net: image of {height}x{width} pixels; resize or pad both sides "
                f"to a multiple of {self.multiple}"
            )
        skips: list[Tensor] = []
        x = self.down[0](image)
        for level in self.down[1:]:
            skips.append(x)
            x = level(self.pool(x))
        for up, merge, skip in zip(self.up, self.merge, reversed(skips), strict=True):
            x = merge(torch.cat([skip, up(x)], dim=1))
        logits: Tensor = self.head(x)
        return logits


def _two_convs(inputs: int, outputs: int, norm: bool) -> nn.Sequential:
    """Two 3x3 convolutions with ReLU, BatchNorm before the ReLU if `norm`."""
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers.append(nn.Conv2d(channels, outputs, 3, padding=1, bias=not norm))
        if norm:
            layers.append(nn.BatchNorm2d(outputs))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def unet() -> UNet:
    """The paper's U-Net: 31,030,658 parameters, no normalisation."""
    return UNet()


def unet_small(widths: Sequence[int] = (16, 32, 64, 128, 256), norm: bool = True) -> UNet:
    """A U-Net a sixteenth of that size, with BatchNorm, for CPUs.

    Args:
        widths: channels of each level, finest first.
        norm: BatchNorm before each ReLU.
    """
    return UNet(widths, norm=norm)
