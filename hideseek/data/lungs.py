"""Lung masks for images that come without one, from a trained U-Net."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hideseek.checkpoint import NetworkCard, load_network, weights_hash
from hideseek.data.mask_facts import disagreement
from hideseek.data.preprocess import letterbox_window, mask_from_square, to_square
from hideseek.errors import UserError
from hideseek.models.inputs import normalize

PACKAGED = Path(__file__).parents[1] / "weights" / "unet_small.pt"
XRAYVISION = "torchxrayvision"


@dataclass(frozen=True)
class FoundLungs:
    """What a segmenter found on one image.

    Attributes:
        mask: bool [H, W], empty where no lung is found; components not yet chosen.
        disagreement: 1 - Dice of the image's mask and that of its mirror image, NaN without one.
    """

    mask: npt.NDArray[np.bool_]
    disagreement: float


class Segmenter(Protocol):
    """Whatever finds lungs."""

    def find(self, images: Sequence[npt.NDArray[np.uint8]]) -> list[FoundLungs]:
        """Segment a batch of radiographs, uint8 [H, W] each, of any shapes."""


def segmenter_path(segmenter: str) -> Path:
    """Resolve the configuration's `data.segmenter`.

    Args:
        segmenter: "packaged" for the weights that come with hideseek, else a checkpoint's path.

    Returns:
        The path, which may not exist.
    """
    return PACKAGED if segmenter == "packaged" else Path(segmenter)


def segmenter_hash(segmenter: str) -> str:
    """Hash the weights behind `data.segmenter`, for the cache's recipe."""
    return XRAYVISION if segmenter == XRAYVISION else weights_hash(segmenter_path(segmenter))


def load_segmenter(segmenter: str, mirrored: bool, precision: str = "float32") -> Segmenter:
    """Load `data.segmenter`, on the GPU where there is one.

    Args:
        segmenter: "packaged", "torchxrayvision" (an extra, which downloads its weights), or a
            checkpoint's path.
        mirrored: whether each image is segmented a second time, mirrored, and the two averaged.
        precision: "float32" or "bfloat16".

    Raises:
        UserError: the checkpoint cannot be used, is no segmenter, or the extra is not installed.
    """
    if segmenter == XRAYVISION:
        from hideseek.data.xrayvision import XrvSegmenter

        return XrvSegmenter()
    path = segmenter_path(segmenter)
    net, card = load_network(path)
    if card.task != "segment":
        raise UserError(f"{path}: holds a network that classifies; give a lung segmenter")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return LungSegmenter(net, card, device, mirrored, precision)


class LungSegmenter:
    """Finds lungs: letterbox, U-Net, and back to the image."""

    def __init__(
        self,
        net: nn.Module,
        card: NetworkCard,
        device: str | torch.device = "cpu",
        mirrored: bool = True,
        precision: str = "float32",
    ) -> None:
        """Take a trained network.

        Args:
            net: float [B, 1, S, S] to logits [B, 2, S, S], lung last.
            card: how its input is made.
            device: where it runs.
            mirrored: see `load_segmenter`.
            precision: likewise.
        """
        self.net = net.to(device).to(memory_format=torch.channels_last).eval()
        self.card, self.device, self.mirrored = card, torch.device(device), mirrored
        self.half = precision == "bfloat16"

    @torch.inference_mode()
    def find(self, images: Sequence[npt.NDArray[np.uint8]]) -> list[FoundLungs]:
        """Segment a batch of radiographs of any shapes.

        Args:
            images: uint8 [H, W] each.

        Returns:
            One mask each, of the image's shape.
        """
        windows = [letterbox_window(*image.shape) for image in images]
        size = self.card.image_size
        squares = np.stack(
            [to_square(image, window, size) for image, window in zip(images, windows, strict=True)]
        )
        batch = torch.from_numpy(squares).unsqueeze(1).to(self.device)
        lung = self._probability(batch)
        apart = [float("nan")] * len(images)
        if self.mirrored:
            other = self._probability(batch.flip(3)).flip(2)
            pairs = zip((lung > 0.5).cpu().numpy(), (other > 0.5).cpu().numpy(), strict=True)
            apart = [disagreement(one, another) for one, another in pairs]
            lung = (lung + other) / 2
        found = (lung > 0.5).cpu().numpy()
        return [
            FoundLungs(mask_from_square(square, window, image.shape), differs)
            for square, window, image, differs in zip(found, windows, images, apart, strict=True)
        ]

    def _probability(self, batch: Tensor) -> Tensor:
        """Return the probability of lung, float32 [B, S, S]."""
        inputs = normalize(batch, self.card.normalize, self.card.channels)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            logits = self.net(inputs.contiguous(memory_format=torch.channels_last))
        probability: Tensor = logits.float().softmax(dim=1)[:, 1]
        return probability
