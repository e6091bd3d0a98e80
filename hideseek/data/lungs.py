"""Lung masks for images that come without one, from a trained U-Net."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from hideseek.checkpoint import NetworkCard, load_network, weights_hash
from hideseek.data.preprocess import letterbox_window, mask_from_square, to_square
from hideseek.errors import UserError
from hideseek.models.inputs import normalize
from hideseek.regions import lung_components

PACKAGED = Path(__file__).parents[1] / "weights" / "unet_small.pt"


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
    return weights_hash(segmenter_path(segmenter))


class LungSegmenter:
    """Finds lungs: letterbox, U-Net, back to the image, two largest components (paper, Methods)."""

    def __init__(
        self, net: nn.Module, card: NetworkCard, device: str | torch.device = "cpu"
    ) -> None:
        """Take a trained network.

        Args:
            net: float [B, 1, S, S] to logits [B, 2, S, S], lung last.
            card: how its input is made.
            device: where it runs.
        """
        self.net, self.card, self.device = net.to(device).eval(), card, torch.device(device)

    @classmethod
    def load(cls, segmenter: str) -> LungSegmenter:
        """Load `data.segmenter`, on the GPU where there is one.

        Raises:
            UserError: the checkpoint cannot be used or is no segmenter.
        """
        path = segmenter_path(segmenter)
        net, card = load_network(path)
        if card.task != "segment":
            raise UserError(f"{path}: holds a network that classifies; give a lung segmenter")
        return cls(net, card, "cuda" if torch.cuda.is_available() else "cpu")

    @torch.inference_mode()
    def masks(self, images: Sequence[npt.NDArray[np.uint8]]) -> list[npt.NDArray[np.bool_]]:
        """Segment a batch of radiographs of any shapes.

        Args:
            images: uint8 [H, W] each.

        Returns:
            bool [H, W] each; empty where no lung is found.
        """
        windows = [letterbox_window(*image.shape) for image in images]
        size = self.card.image_size
        squares = np.stack(
            [to_square(image, window, size) for image, window in zip(images, windows, strict=True)]
        )
        batch = torch.from_numpy(squares).unsqueeze(1).to(self.device)
        logits = self.net(normalize(batch, self.card.normalize, self.card.channels))
        found = logits.argmax(dim=1).cpu().numpy() == 1
        return [
            lung_components(mask_from_square(square, window, image.shape))
            for square, window, image in zip(found, windows, images, strict=True)
        ]
