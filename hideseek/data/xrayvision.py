"""Lung masks from torchxrayvision's PSPNet, an alternative to the packaged U-Net (an extra).

Cohen et al., TorchXRayVision (MIDL 2022). Its weights are downloaded when first used.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
import torch

from hideseek.data.lungs import FoundLungs
from hideseek.data.preprocess import letterbox_window, mask_from_square, to_square
from hideseek.errors import UserError

SIZE = 512
LUNGS = ("Left Lung", "Right Lung")


class XrvSegmenter:
    """Finds both lungs with the network trained on ChestX-Det."""

    def __init__(self) -> None:
        """Load the network.

        Raises:
            UserError: torchxrayvision is not installed, or its weights cannot be had.
        """
        try:
            from torchxrayvision.baseline_models.chestx_det import PSPNet
        except ImportError:
            raise UserError(
                "data.segmenter=torchxrayvision needs the extra: pip install 'hideseek[xrv]'"
            ) from None
        try:
            self.net = PSPNet().eval()
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(f"the weights of torchxrayvision cannot be had: {reason}") from None
        self.channels = [self.net.targets.index(name) for name in LUNGS]

    @torch.inference_mode()
    def find(self, images: Sequence[npt.NDArray[np.uint8]]) -> list[FoundLungs]:
        """Segment radiographs of any shapes, uint8 [H, W] each."""
        found = []
        for image in images:
            height, width = image.shape
            window = letterbox_window(height, width)
            square = to_square(image, window, SIZE).astype(np.float32)
            # The library's own range for grey values.
            inputs = torch.from_numpy(square / 255 * 2048 - 1024)[None, None]
            lung = (self.net(inputs)[0, self.channels] > 0).any(dim=0).cpu().numpy()
            shrunk = cv2.resize(lung.astype(np.uint8), (SIZE, SIZE)) > 0
            found.append(FoundLungs(mask_from_square(shrunk, window, (height, width)), np.nan))
        return found
