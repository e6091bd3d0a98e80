"""A small classifier that a CPU trains in seconds, for demos, tests and the audit's self-test."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from hideseek.errors import UserError


class Tiny(nn.Module):
    """Four 3x3 convolutions with GroupNorm and ReLU, 2x2 average pooling, one linear layer.

    GroupNorm, not BatchNorm, so that results do not depend on how a batch is split across ranks.
    The 2x2 grid keeps the quadrant of a finding. The last convolution has stride 1, so maps for
    Grad-CAM have an eighth of the image's side. 99,219 parameters by default. Our own design;
    not in the paper.

    Args:
        classes: number of logits.
        in_channels: channels of the image.
        width: channels of the first stage, a multiple of 4; each later stage doubles them.

    Attributes:
        cam_layer: dotted path of the layer for Grad-CAM, the last stage (after its ReLU).

    Raises:
        UserError: `width` is not a positive multiple of 4.
    """

    cam_layer: str = "features.3"

    def __init__(self, classes: int = 3, in_channels: int = 3, width: int = 16) -> None:
        """Build the layers; arguments as in the class."""
        super().__init__()
        if width < 4 or width % 4:
            raise UserError(f"tiny: width={width} is not a positive multiple of 4; use 16")
        widths = [in_channels, width, 2 * width, 4 * width, 8 * width]
        specs = zip(widths[:-1], widths[1:], (2, 2, 2, 1), strict=True)
        self.features = nn.Sequential(*(_stage(*spec) for spec in specs))
        self.head = nn.Linear(4 * widths[-1], classes)

    def forward(self, image: Tensor) -> Tensor:
        """Classify a batch.

        Args:
            image: float [B, in_channels, H, W], H and W at least 9, meant for 32 .. 128 pixels.

        Returns:
            Logits, float [B, classes].
        """
        x = self.features(image)
        height, width = x.shape[-2:]
        # These windows are adaptive pooling's to 2x2, whose CUDA backward is not deterministic.
        kernel = ((height + 1) // 2, (width + 1) // 2)
        x = F.avg_pool2d(x, kernel, stride=(height // 2, width // 2))
        logits: Tensor = self.head(x.flatten(1))
        return logits


def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
        nn.GroupNorm(4, outputs),
        nn.ReLU(inplace=True),
    )
