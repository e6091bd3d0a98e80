"""COVIDNet CXR3-A and CXR4-A: the two proprietary classifiers of the paper, rebuilt.

Nobody published their code, and the released graphs cannot be had. Documented are: 40.2 M
parameters and 23.63 G multiply-adds for both (COVID-Net docs/models.md), 203 automatically named
convolutions of which the last gives 216 channels of 13x13 (COVID-Net#113), a final `conv_7b`
(COVID-Net#64) and logits without a bias. That naming is Inception-ResNet-v2's, so this is that
network with thinner stages. All widths but the 216 are chosen here to meet the two totals.
"""

from __future__ import annotations

from math import floor
from typing import Literal, Self

from torch import Tensor, nn

from hideseek.errors import UserError
from hideseek.models.inception import (
    KERNELS,
    ConvBnRelu,
    Residual,
    joined,
    mixed_5b,
    reduction,
    stem,
)

Widths = dict[str, list[list[int]]]

# stage: (share of the standard width kept, standard Inception-ResNet-v2 widths of each branch).
# 27/32 follows from the documented 216 of 256; the other shares are fitted. Kept widths, rounded
# to multiples of 8:
#   stem 24 24 40 48 120 | mixed_5b 64 / 32 48 / 48 64 64 / 48 | block35 24 / 24 24 / 24 32 48
#   mixed_6a 336 / 224 224 336 | block17 168 / 112 144 168 | mixed_7a 216 328 / 216 240 / 216 240
#   272 | block8 160 / 160 192 216 | conv_7b 1536
STAGES: dict[str, tuple[float, list[list[int]]]] = {
    "stem": (5 / 8, [[32, 32, 64, 80, 192]]),
    "mixed_5b": (11 / 16, [[96], [48, 64], [64, 96, 96], [64]]),
    "block35": (11 / 16, [[32], [32, 32], [32, 48, 64]]),
    "mixed_6a": (7 / 8, [[384], [256, 256, 384]]),
    "block17": (7 / 8, [[192], [128, 160, 192]]),
    "mixed_7a": (27 / 32, [[256, 384], [256, 288], [256, 288, 320]]),
    "block8": (27 / 32, [[192], [192, 224, 256]]),
    "conv_7b": (1, [[1536]]),
}


def stage_widths(width: float = 1.0, standard_widths: bool = False) -> Widths:
    """Channels of every convolution, by stage and branch.

    Args:
        width: common factor on all of them.
        standard_widths: those of the published Inception-ResNet-v2, without its thinning.

    Returns:
        For each stage of `STAGES` the branches, each a list of channels. With a common or stage
        factor below 1: multiples of 8 (halves go up), at least 8.
    """

    def scaled(channels: int, factor: float) -> int:
        return channels if factor == 1 else max(8, 8 * floor(channels * factor / 8 + 0.5))

    return {
        stage: [[scaled(c, width * (1 if standard_widths else kept)) for c in b] for b in branches]
        for stage, (kept, branches) in STAGES.items()
    }


def final_grid(image_size: int) -> int:
    """Side of the last feature map: 13 for 480 pixels, 3 for 160, 0 or less if too small."""
    size = image_size
    for kernel, stride in ((3, 2), (3, 1), (3, 2), (3, 1), (3, 2), (3, 2), (3, 2)):
        size = (size - kernel) // stride + 1
    return size


class CovidNetA(nn.Module):
    """Width-pruned Inception-ResNet-v2, the best supportable reading of CXR3-A and CXR4-A.

    At 480 pixels: 39.9 M parameters (documented 40.2 M) and 23.75 G multiply-adds (documented
    23.63 G). Weights start as in Keras: Glorot uniform, biases 0.

    The meaning of the original's "norm_dense" layer is unknown; here it is a plain linear layer.

    Args:
        classes: number of logits.
        image_size: side of the square input in pixels, at least 75; the paper uses 480.
        width: common factor on all channels, for small machines.
        head: "flatten" (by analogy with the documented B networks; fixed to `image_size`) or
            "gap" (global average pooling; any input of 75 pixels or more).
        bn_mode: "train" for ordinary BatchNorm (momentum 0.1); "frozen_like_paper" for BatchNorm
            that stays in inference mode, statistics never updated, as the paper's TensorFlow
            script ran it by oversight (COVID-Net PR#163). Shifts are trained in both.
        standard_widths: the unpruned Inception-ResNet-v2, to check the graph against Keras'.

    Attributes:
        cam_layer: dotted path of the layer for Grad-CAM, `conv_7b` (COVID-Net#64).

    Raises:
        UserError: unknown `head` or `bn_mode`, or `image_size` below 75.
    """

    cam_layer: str = "conv_7b"

    def __init__(
        self,
        classes: int = 3,
        image_size: int = 480,
        width: float = 1.0,
        head: Literal["flatten", "gap"] = "flatten",
        bn_mode: Literal["train", "frozen_like_paper"] = "train",
        *,
        standard_widths: bool = False,
    ) -> None:
        """Build the layers; arguments as in the class."""
        super().__init__()
        grid = final_grid(image_size)
        if grid < 1:
            raise UserError(f"COVIDNet: image_size={image_size} is too small; use 75 or more")
        if head not in ("flatten", "gap"):
            raise UserError(f"COVIDNet: head={head!r} is unknown; use flatten or gap")
        if bn_mode not in ("train", "frozen_like_paper"):
            raise UserError(
                f"COVIDNet: bn_mode={bn_mode!r} is unknown; use train or frozen_like_paper"
            )
        self.image_size, self.flatten = image_size, head == "flatten"
        self.frozen_bn = bn_mode == "frozen_like_paper"
        channels = self._build_features(stage_widths(width, standard_widths))
        self.head = nn.Linear(channels * (grid**2 if self.flatten else 1), classes, bias=False)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        self.train()

    def _build_features(self, widths: Widths) -> int:
        """Add the stages in the order of the flow; return the channels of the last."""

        def blocks(stage: str, count: int, scale: float) -> list[Residual]:
            w, k = widths[stage], KERNELS[stage]
            return [Residual(channels, w, k, scale) for _ in range(count)]

        stem_widths = widths["stem"][0]
        self.stem = stem(stem_widths)
        self.mixed_5b = mixed_5b(stem_widths[-1], widths["mixed_5b"])
        channels = joined(widths["mixed_5b"])
        self.block35 = nn.Sequential(*blocks("block35", 10, 0.17))
        self.mixed_6a = reduction(channels, widths["mixed_6a"], KERNELS["mixed_6a"])
        channels += joined(widths["mixed_6a"])
        self.block17 = nn.Sequential(*blocks("block17", 20, 0.1))
        self.mixed_7a = reduction(channels, widths["mixed_7a"], KERNELS["mixed_7a"])
        channels += joined(widths["mixed_7a"])
        last = Residual(channels, widths["block8"], KERNELS["block8"], 1.0, activate=False)
        self.block8 = nn.Sequential(*blocks("block8", 9, 0.2), last)
        self.conv_7b = ConvBnRelu(channels, widths["conv_7b"][0][0], 1)
        return widths["conv_7b"][0][0]

    def forward(self, image: Tensor) -> Tensor:
        """Classify a batch.

        Args:
            image: float [B, 3, H, W]; the paper feeds values in 0 .. 1. H and W are `image_size`
                for the flatten head.

        Returns:
            Logits, float [B, classes].

        Raises:
            UserError: the image is below 75 pixels, or not of the flatten head's size.
        """
        height, width = image.shape[-2:]
        if self.flatten and (height, width) != (self.image_size, self.image_size):
            raise UserError(
                f"COVIDNet: image of {height}x{width} pixels, head built for {self.image_size}; "
                "set the model's image_size or head=gap"
            )
        if final_grid(min(height, width)) < 1:
            raise UserError(f"COVIDNet: image of {height}x{width} pixels; use 75 or more")
        x = image
        for stage in STAGES:
            x = self.get_submodule(stage)(x)
        logits: Tensor = self.head(x.flatten(1) if self.flatten else x.mean((2, 3)))
        return logits

    def train(self, mode: bool = True) -> Self:
        """Set training mode; with `frozen_like_paper`, BatchNorm stays in inference mode."""
        super().train(mode)
        if self.frozen_bn:
            for layer in self.modules():
                if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                    layer.eval()
        return self


def covidnet_cxr3a(
    classes: int = 3,
    image_size: int = 480,
    width: float = 1.0,
    head: Literal["flatten", "gap"] = "flatten",
    bn_mode: Literal["train", "frozen_like_paper"] = "train",
) -> CovidNetA:
    """COVIDNet CXR3-A (paper Table 3): see `CovidNetA` for the arguments.

    The same graph as `covidnet_cxr4a`: the released networks have the same documented size and
    differ in training data and weights, neither of which the paper uses, so trained from scratch
    the two are runs of one architecture.
    """
    return CovidNetA(classes, image_size, width, head, bn_mode)


def covidnet_cxr4a(
    classes: int = 3,
    image_size: int = 480,
    width: float = 1.0,
    head: Literal["flatten", "gap"] = "flatten",
    bn_mode: Literal["train", "frozen_like_paper"] = "train",
) -> CovidNetA:
    """COVIDNet CXR4-A (paper Table 4): the same graph as `covidnet_cxr3a`, which says why."""
    return CovidNetA(classes, image_size, width, head, bn_mode)
