"""Building blocks of Inception-ResNet-v2 (Szegedy et al. 2016), which `covidnet.py` puts together.

All take and give float [B, channels, H, W].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

Kernel = int | tuple[int, int]

# (height, width) where not square; by stage and branch, in the layout of the width table.
KERNELS: dict[str, list[list[Kernel]]] = {
    "mixed_5b": [[1], [1, 5], [1, 3, 3], [1]],
    "block35": [[1], [1, 3], [1, 3, 3]],
    "mixed_6a": [[3], [1, 3, 3]],
    "block17": [[1], [1, (1, 7), (7, 1)]],
    "mixed_7a": [[1, 3], [1, 3], [1, 3, 3]],
    "block8": [[1], [1, (1, 3), (3, 1)]],
}


class ConvBnRelu(nn.Sequential):
    """Convolution without bias, BatchNorm (eps 1e-3, no trained scale), ReLU.

    Padding keeps the size at stride 1 and is absent at stride 2, unless `padding` says otherwise.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: Kernel,
        stride: int = 1,
        padding: tuple[int, int] | None = None,
    ) -> None:
        """Build the three layers."""
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        if padding is None:
            padding = (height // 2, width // 2) if stride == 1 else (0, 0)
        norm = nn.BatchNorm2d(outputs, eps=1e-3)
        # Keras' Inception-ResNet-v2 has no gamma. A constant one, not None, keeps the fast cuDNN
        # kernels and lets SyncBatchNorm convert the layer.
        norm.weight.requires_grad_(False)
        super().__init__(
            nn.Conv2d(inputs, outputs, (height, width), stride, padding, bias=False),
            norm,
            nn.ReLU(inplace=True),
        )


class Branches(nn.Module):
    """Branches run on one input, their channels concatenated."""

    def __init__(self, *branches: nn.Module) -> None:
        """Hold the branches."""
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        """Map float [B, C, H, W] to [B, sum of the branches' channels, H', W']."""
        return torch.cat([branch(x) for branch in self.branches], dim=1)


class Residual(nn.Module):
    """Inception-ResNet block: relu(x + scale * 1x1 conv of the branches).

    Args:
        channels: channels in and out.
        widths: channels of each branch's convolutions.
        kernels: their kernels, in the same layout.
        scale: factor on the residual.
        activate: end with a ReLU; the last block of the network does not.
    """

    def __init__(
        self,
        channels: int,
        widths: list[list[int]],
        kernels: Sequence[Sequence[Kernel]],
        scale: float,
        activate: bool = True,
    ) -> None:
        """Build the layers."""
        super().__init__()
        self.scale, self.activate = scale, activate
        self.mixed = Branches(
            *(chain(channels, w, k) for w, k in zip(widths, kernels, strict=True))
        )
        self.conv = nn.Conv2d(joined(widths), channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map float [B, channels, H, W] to the same shape."""
        x = x + self.scale * self.conv(self.mixed(x))
        return torch.relu(x) if self.activate else x


def joined(branches: list[list[int]]) -> int:
    """Channels of the concatenated branches."""
    return sum(branch[-1] for branch in branches)


def chain(
    inputs: int, widths: list[int], kernels: Sequence[Kernel], last_stride: int = 1
) -> nn.Sequential:
    """Convolutions in a row, the last one with a stride."""
    strides = [1] * (len(widths) - 1) + [last_stride]
    specs = zip([inputs, *widths[:-1]], widths, kernels, strides, strict=True)
    return nn.Sequential(*(ConvBnRelu(*spec) for spec in specs))


def stem(widths: list[int]) -> nn.Sequential:
    """From 480 to 57 pixels in five convolutions and two poolings."""
    a, b, c, d, e = widths
    return nn.Sequential(
        ConvBnRelu(3, a, 3, stride=2),
        ConvBnRelu(a, b, 3, padding=(0, 0)),
        ConvBnRelu(b, c, 3),
        nn.MaxPool2d(3, 2),
        ConvBnRelu(c, d, 1),
        ConvBnRelu(d, e, 3, padding=(0, 0)),
        nn.MaxPool2d(3, 2),
    )


def mixed_5b(inputs: int, widths: list[list[int]]) -> Branches:
    """Inception-A; the fourth branch starts with average pooling."""
    chains = [chain(inputs, w, k) for w, k in zip(widths, KERNELS["mixed_5b"], strict=True)]
    # TensorFlow's "same" average leaves the padding out of the count.
    pool = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return Branches(*chains[:3], nn.Sequential(pool, chains[3]))


def reduction(
    inputs: int, widths: list[list[int]], kernels: Sequence[Sequence[Kernel]]
) -> Branches:
    """Halve the size: each branch ends at stride 2, beside a max-pooling of the input."""
    chains = [chain(inputs, w, k, last_stride=2) for w, k in zip(widths, kernels, strict=True)]
    return Branches(*chains, nn.MaxPool2d(3, 2))
