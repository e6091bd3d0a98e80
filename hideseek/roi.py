"""The representations: hide or keep the lungs, between the cache and the augmentation.

Five are the paper's (Sadre et al. 2021, Methods, and its code); six are controls that it lacks,
which tell what a hidden region's shape gives away. All are pure functions
`(image, mask, *, fill, margin, seed) -> image` of

    image: uint8 [H, W], not changed; from 1 x 1 pixel on.
    mask: bool [H, W], True = lung, taken as it is: `lung_components` is applied once, when the
        cache is made. Boxes look at the two largest components alone.
    fill: what takes the place of hidden pixels, one of `hideseek.fill.FILLS`; `original` and the
        silhouettes hide nothing and ignore it, so that a sweep over fills can include them.
    margin: % of the lung width, which is the mean width of the lung boxes. Positive grows the lungs
        by a Euclidean disc and each box by the same radius (whole pixels, rounded towards 0,
        clipped to the image); negative shrinks them, and outside the image there is no lung.
        Boxes are taken before growing, so two lungs stay two boxes; one shrunk to nothing is gone.
    seed: of random fills and boxes, at least 0.

and return a new uint8 [H, W]. They raise `ValueError` for wrong types or shapes and `UserError` for
an unknown fill. Odd masks have defined results. Empty: there is no lung and no box, so
`lungs_isolated`, `lungs_framed` and `around_lungs` hide all, what removes lungs or boxes hides
nothing, and silhouettes are black. Single component: one box. Full: one box, the whole image.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hideseek.fill import Image, Mask, check_pair, fill_hidden
from hideseek.regions import (
    Rectangle,
    box_region,
    grow_boxes,
    grow_mask,
    grown_boxes,
    margin_radius,
    random_boxes,
    union_region,
)


def original(
    image: Image, mask: Mask, *, fill: str = "black", margin: float = 0.0, seed: int = 0
) -> Image:
    """Hide nothing: the paper's `data`."""
    check_pair(image, mask)
    return image.copy()


def lungs_isolated(
    image: Image, mask: Mask, *, fill: str = "black", margin: float = 0.0, seed: int = 0
) -> Image:
    """Hide what is not lung (paper, Methods)."""
    check_pair(image, mask)
    return fill_hidden(image, ~grow_mask(mask, margin), fill, seed)


def lungs_removed(
    image: Image, mask: Mask, *, fill: str = "black", margin: float = 0.0, seed: int = 0
) -> Image:
    """Hide the lungs (paper, Methods)."""
    check_pair(image, mask)
    return fill_hidden(image, grow_mask(mask, margin), fill, seed)


def lungs_framed(
    image: Image, mask: Mask, *, fill: str = "black", margin: float = 0.0, seed: int = 0
) -> Image:
    """Hide what is outside both lung boxes (paper, Methods)."""
    check_pair(image, mask)
    return fill_hidden(image, ~box_region(grown_boxes(mask, margin), image.shape), fill, seed)


def lungs_boxed_out(
    image: Image, mask: Mask, *, fill: str = "black", margin: float = 0.0, seed: int = 0
) -> Image:
    """Hide the two lung boxes (paper, Methods)."""
    check_pair(image, mask)
    return fill_hidden(image, box_region(grown_boxes(mask, margin), image.shape), fill, seed)


def silhouette(
    image: Image, mask: Mask, *, fill: str = "black", margin: float = 0.0, seed: int = 0
) -> Image:
    """Show the mask alone, lung 255, else 0: what the lungs' shape gives away."""
    check_pair(image, mask)
    return grow_mask(mask, margin) * np.uint8(255)


def box_silhouette(
    image: Image, mask: Mask, *, fill: str = "black", margin: float = 0.0, seed: int = 0
) -> Image:
    """Show the lung boxes alone, inside 255, else 0: what their sizes and places give away."""
    check_pair(image, mask)
    return box_region(grown_boxes(mask, margin), image.shape) * np.uint8(255)


def union_box_out(
    image: Image, mask: Mask, *, fill: str = "black", margin: float = 0.0, seed: int = 0
) -> Image:
    """Hide one rectangle round both lung boxes, and so the heart between them."""
    check_pair(image, mask)
    return fill_hidden(image, union_region(mask, margin), fill, seed)


def around_lungs(
    image: Image, mask: Mask, *, fill: str = "black", margin: float = 0.0, seed: int = 0
) -> Image:
    """Keep what is beside the lungs in the rectangle round both: heart, mediastinum, ribs.

    What is all over an image is there, too; a token at its border is not. `margin` grows the lungs
    and the rectangle, so where it is negative a rim of lung is kept.
    """
    check_pair(image, mask)
    kept = union_region(mask, margin) & ~grow_mask(mask, margin)
    return fill_hidden(image, ~kept, fill, seed)


def fixed_box_out(
    image: Image,
    mask: Mask,
    *,
    rectangle: Rectangle,
    fill: str = "black",
    margin: float = 0.0,
    seed: int = 0,
) -> Image:
    """Hide the same rectangle in every image, whatever the mask: its shape gives nothing away.

    `rectangle` is (row0, col0, row1, col1), ends exclusive, and is clipped to the image; `margin`
    is in % of its width. A rectangle with no area or negative edges raises `ValueError`.
    """
    check_pair(image, mask)
    row0, col0, row1, col1 = rectangle
    if not (0 <= row0 < row1 and 0 <= col0 < col1):
        raise ValueError(f"expected 0 <= row0 < row1 and 0 <= col0 < col1, got {rectangle}")
    box = np.array([[row0, col0, row1, col1]], np.int16)
    grown = grow_boxes(box, margin_radius(box, margin), image.shape)
    return fill_hidden(image, box_region(grown, image.shape), fill, seed)


def random_box_out(
    image: Image,
    mask: Mask,
    *,
    draw: int = 0,
    fill: str = "black",
    margin: float = 0.0,
    seed: int = 0,
) -> Image:
    """Hide boxes as large as the lung boxes, but anywhere; `draw` numbers the draws of a seed."""
    check_pair(image, mask)
    boxes = random_boxes(grown_boxes(mask, margin), image.shape, seed, draw)
    return fill_hidden(image, box_region(boxes, image.shape), fill, seed)


PAPER = ("original", "lungs_isolated", "lungs_removed", "lungs_framed", "lungs_boxed_out")
REPRESENTATIONS: dict[str, Callable[..., Image]] = {
    "original": original,
    "lungs_isolated": lungs_isolated,
    "lungs_removed": lungs_removed,
    "lungs_framed": lungs_framed,
    "lungs_boxed_out": lungs_boxed_out,
    "silhouette": silhouette,
    "box_silhouette": box_silhouette,
    "union_box_out": union_box_out,
    "around_lungs": around_lungs,
    "fixed_box_out": fixed_box_out,
    "random_box_out": random_box_out,
}
