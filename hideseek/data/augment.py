"""Random changes of training images, seeded per draw, applied alike to image and mask.

albumentations 2.0.8 gives each worker the same numbers, and the same again every epoch, unless the
transform is reseeded; here it is reseeded for every image from (seed, epoch, position).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A
import cv2
import numpy as np
import numpy.typing as npt

Span = tuple[float, float]


class SeededAugmentation:
    """A chain of random changes that takes its randomness from each call."""

    def __init__(self, steps: Sequence[A.BasicTransform | A.BaseCompose]) -> None:
        """Take the changes in their order."""
        self._transform = A.Compose(list(steps))

    def __call__(
        self,
        image: npt.NDArray[np.uint8],
        mask: npt.NDArray[np.bool_] | None,
        seed: int,
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_] | None]:
        """Change one image and, where given, its mask.

        Args:
            image: uint8 [H, W].
            mask: bool [H, W] or None.
            seed: decides everything random, 32 bits.

        Returns:
            New arrays of the same shapes and types.
        """
        self._transform.set_random_seed(seed)
        if mask is None:
            return self._transform(image=image)["image"], None
        changed = self._transform(image=image, mask=mask.astype(np.uint8))
        return changed["image"], changed["mask"].astype(bool)


class Augmentation(SeededAugmentation):
    """One random change of geometry and intensity (paper, Methods; ranges of its code).

    The warps of the paper's list (rotation, translation, zoom) are one interpolation here instead
    of several in a row. Pixels that come from outside the image are black.
    """

    def __init__(
        self,
        rotate: float = 10.0,
        translate: float = 0.1,
        zoom: Span = (1.0, 1.085),
        zoom_per_axis: bool = False,
        ratio: float = 0.1,
        ratio_probability: float = 0.3,
        intensity: Span = (0.9, 1.1),
        flip: float = 0.0,
    ) -> None:
        """Set the ranges.

        Args:
            rotate: greatest angle, degrees, both ways.
            translate: greatest shift, share of the side, both axes.
            zoom: range of the linear zoom. The default is what the paper's code does: an area of
                0.85 to 1.15 of which the part above 1 cannot be met, so 0 to 8.5 % zoom in.
            zoom_per_axis: draw the zoom of rows and columns apart, as Keras does.
            ratio: greatest shrinking of one side.
            ratio_probability: how often a side is shrunk.
            intensity: range of the factor on the grey values.
            flip: how often left and right are exchanged.
        """
        shrink = (1 - ratio, 1.0)
        sides = [affine(scale={axis: shrink, other: (1.0, 1.0)}) for axis, other in ("xy", "yx")]
        # Every transform costs a twentieth of a millisecond even when it does nothing.
        steps = [A.OneOf(sides, p=ratio_probability)] if ratio_probability > 0 else []
        steps += [A.HorizontalFlip(p=flip)] if flip > 0 else []
        steps += [
            affine(
                scale={"x": tuple(zoom), "y": tuple(zoom)},
                keep_ratio=not zoom_per_axis,
                rotate=(-rotate, rotate),
                translate_percent={axis: (-translate, translate) for axis in "xy"},
            ),
            A.MultiplicativeNoise(multiplier=tuple(intensity), p=1.0, strict=True),
        ]
        super().__init__(steps)


def affine(**ranges: Any) -> A.Affine:  # noqa: ANN401
    """Make the one warp of a chain: image bilinear, mask nearest, black outside.

    Args:
        ranges: arguments of `albumentations.Affine`; an unknown one is refused.

    Returns:
        The transform, always applied.
    """
    return A.Affine(
        **ranges,
        fill=0,
        fill_mask=0,
        interpolation=cv2.INTER_LINEAR,
        mask_interpolation=cv2.INTER_NEAREST,
        p=1.0,
        strict=True,  # albumentations otherwise ignores what it does not know
    )
