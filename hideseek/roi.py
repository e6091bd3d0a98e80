"""The representations: hide or keep the lungs, between the cache and the augmentation.

Five are the paper's (Sadre et al. 2021, Methods, and its code); five are controls that it lacks,
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
`lungs_isolated` and `lungs_framed` hide all, what removes lungs or boxes hides nothing, and
silhouettes are black. Single component: one box. Full: one box, the whole image.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import cv2
import numpy as np
import numpy.typing as npt

from hideseek.errors import UserError
from hideseek.fill import Image, Mask, check_pair, fill_hidden

Boxes = npt.NDArray[np.int16]
Rectangle = tuple[int, int, int, int]
_STREAM = 2  # keeps the draws of boxes apart from those of `hideseek.fill`


class MaskState(StrEnum):
    """What a mask holds: two or more components, none, one, or the whole image."""

    ok = "ok"
    empty = "empty"
    single = "single"
    full = "full"


def mask_state(mask: Mask) -> MaskState:
    """Classify a mask, bool [H, W]; a full one is `full`, not `single`."""
    if mask.all():
        return MaskState.full
    return (MaskState.empty, MaskState.single, MaskState.ok)[len(_largest(mask, keep=2)[1])]


def lung_components(mask: Mask, keep: int = 2) -> Mask:
    """Keep the largest 8-connected components (paper, Methods; its code keeps two).

    Args:
        mask: bool [H, W].
        keep: how many; of equal areas the one met first, row by row, wins.

    Returns:
        A new bool [H, W].
    """
    labels, kept, _ = _largest(mask, keep)
    return np.isin(np.arange(labels.max() + 1), kept)[labels]


def lung_boxes(mask: Mask) -> Boxes:
    """Bound each of the two largest components by its own axis-aligned box (paper, Methods).

    Args:
        mask: bool [H, W].

    Returns:
        int16 [2, 4]: (row0, col0, row1, col1), ends exclusive, image left first; -1 where none.
    """
    # Labelling only what lies round the lungs halves the time of this slowest step.
    col, row, width, height = cv2.boundingRect(_as_bytes(mask))
    _, _, stats = _largest(mask[row : row + max(height, 1), col : col + max(width, 1)], keep=2)
    corners = [(row + y, col + x, row + y + h, col + x + w) for x, y, w, h, _ in stats]
    corners.sort(key=lambda box: (box[1], box))
    return np.array([*corners, (-1,) * 4, (-1,) * 4][:2], np.int16)


def random_boxes(boxes: Boxes, shape: tuple[int, ...], seed: int, draw: int = 0) -> Boxes:
    """Place boxes of the same sizes uniformly inside the image, independently of each other.

    Args:
        boxes: int16 [N, 4] inside the image, -1 where none; only their sizes matter.
        shape: (H, W) of the image.
        seed: at least 0.
        draw: number of the draw, at least 0.

    Returns:
        int16 [N, 4], -1 where none; they may overlap.
    """
    sizes = (boxes[:, 2:] - boxes[:, :2]).astype(np.int64)
    rng = np.random.default_rng((seed, _STREAM, draw))
    starts = rng.integers(0, np.array(shape) - sizes, endpoint=True)
    placed = np.concatenate([starts, starts + sizes], axis=1)
    placed[boxes[:, 0] < 0] = -1
    return placed.astype(np.int16)


def fixed_rectangle(boxes: npt.NDArray[np.int16], coverage: float = 0.99) -> Rectangle:
    """Find a small rectangle that wholly contains the lung boxes of most images.

    Greedy peeling: from the rectangle round all boxes, give up the images that hold one edge in
    place, the edge that saves most area per image first, as long as `coverage` allows.

    Args:
        boxes: int16 [N, 2, 4] of the training images; rows of -1 are ignored, and so are images
            without boxes.
        coverage: share of the images with boxes, above 0, at most 1.

    Returns:
        (row0, col0, row1, col1), ends exclusive.

    Raises:
        UserError: no image has a box.
    """
    there = boxes[:, :, :1] >= 0
    starts = np.where(there, boxes[:, :, :2], np.iinfo(np.int16).max).min(axis=1)
    ends = np.where(there, boxes[:, :, 2:], -1).max(axis=1)
    # Starts change sign, so that every edge of a rectangle is the maximum of a column.
    extents = np.concatenate([-starts.astype(np.int64), ends], axis=1)[there.any(axis=(1, 2))]
    if len(extents) == 0:
        raise UserError("fixed_box_out: no training image has a lung box; check the masks")
    spare = len(extents) - max(1, int(np.ceil(coverage * len(extents) - 1e-9)))
    while (peeled := _peel(extents, spare)) is not None:
        spare -= len(extents) - len(peeled)
        extents = peeled
    top, left, bottom, right = (int(edge) for edge in extents.max(axis=0))
    return -top, -left, bottom, right


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
    return fill_hidden(image, ~_grow_mask(mask, margin), fill, seed)


def lungs_removed(
    image: Image, mask: Mask, *, fill: str = "black", margin: float = 0.0, seed: int = 0
) -> Image:
    """Hide the lungs (paper, Methods)."""
    check_pair(image, mask)
    return fill_hidden(image, _grow_mask(mask, margin), fill, seed)


def lungs_framed(
    image: Image, mask: Mask, *, fill: str = "black", margin: float = 0.0, seed: int = 0
) -> Image:
    """Hide what is outside both lung boxes (paper, Methods)."""
    check_pair(image, mask)
    return fill_hidden(image, ~_inside(_grown_boxes(mask, margin), image.shape), fill, seed)


def lungs_boxed_out(
    image: Image, mask: Mask, *, fill: str = "black", margin: float = 0.0, seed: int = 0
) -> Image:
    """Hide the two lung boxes (paper, Methods)."""
    check_pair(image, mask)
    return fill_hidden(image, _inside(_grown_boxes(mask, margin), image.shape), fill, seed)


def silhouette(
    image: Image, mask: Mask, *, fill: str = "black", margin: float = 0.0, seed: int = 0
) -> Image:
    """Show the mask alone, lung 255, else 0: what the lungs' shape gives away."""
    check_pair(image, mask)
    return _grow_mask(mask, margin) * np.uint8(255)


def box_silhouette(
    image: Image, mask: Mask, *, fill: str = "black", margin: float = 0.0, seed: int = 0
) -> Image:
    """Show the lung boxes alone, inside 255, else 0: what their sizes and places give away."""
    check_pair(image, mask)
    return _inside(_grown_boxes(mask, margin), image.shape) * np.uint8(255)


def union_box_out(
    image: Image, mask: Mask, *, fill: str = "black", margin: float = 0.0, seed: int = 0
) -> Image:
    """Hide one rectangle round both lung boxes, and so the heart between them."""
    check_pair(image, mask)
    boxes = lung_boxes(mask)
    there = boxes[boxes[:, 0] >= 0]
    if len(there) > 0:
        boxes = np.r_[there[:, :2].min(axis=0), there[:, 2:].max(axis=0)][np.newaxis]
    grown = _grow_boxes(boxes, _radius(there, margin), image.shape)
    return fill_hidden(image, _inside(grown, image.shape), fill, seed)


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
    grown = _grow_boxes(box, _radius(box, margin), image.shape)
    return fill_hidden(image, _inside(grown, image.shape), fill, seed)


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
    boxes = random_boxes(_grown_boxes(mask, margin), image.shape, seed, draw)
    return fill_hidden(image, _inside(boxes, image.shape), fill, seed)


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
    "fixed_box_out": fixed_box_out,
    "random_box_out": random_box_out,
}


def _largest(
    mask: Mask, keep: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Return the labels [H, W], the kept components' labels and their rows of cv2's table."""
    # Of OpenCV's algorithms this one numbers components in the order of their first pixel; those
    # that scan blocks of 2 x 2 pixels do not.
    _, labels, stats, _ = cv2.connectedComponentsWithStatsWithAlgorithm(
        _as_bytes(mask), 8, cv2.CV_32S, cv2.CCL_WU
    )
    kept = np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind="stable")[:keep] + 1
    return labels, kept, stats[kept]


def _as_bytes(mask: Mask) -> npt.NDArray[np.uint8]:
    if mask.dtype != np.bool_ or mask.ndim != 2:
        raise ValueError(f"expected mask bool [H, W], got {mask.dtype} {mask.shape}")
    return mask.view(np.uint8)


def _radius(boxes: Boxes, margin: float) -> float:
    widths = (boxes[:, 3] - boxes[:, 1])[boxes[:, 0] >= 0]
    return margin * float(widths.mean()) / 100 if len(widths) else 0.0


def _grow_mask(mask: Mask, margin: float) -> Mask:
    radius = _radius(lung_boxes(mask), margin) if margin else 0.0
    if radius == 0:
        return mask
    # Distances run from a pixel's centre to the nearest centre of the other kind.
    framed = np.pad(mask, 1).view(np.uint8)
    inside, precise = framed if radius < 0 else 1 - framed, cv2.DIST_MASK_PRECISE
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, precise)[1:-1, 1:-1]
    grown: Mask = distance > -radius if radius < 0 else distance <= radius
    return grown


def _grow_boxes(boxes: Boxes, pixels: float, shape: tuple[int, ...]) -> Boxes:
    (height, width), outwards = shape, np.array([-1, -1, 1, 1]) * int(pixels)
    grown: Boxes = (boxes + outwards).clip(0, (height, width, height, width)).astype(np.int16)
    grown[(boxes[:, 0] < 0) | (grown[:, 2:] <= grown[:, :2]).any(axis=1)] = -1
    return grown


def _grown_boxes(mask: Mask, margin: float) -> Boxes:
    boxes = lung_boxes(mask)
    return _grow_boxes(boxes, _radius(boxes, margin), mask.shape) if margin else boxes


def _inside(boxes: Boxes, shape: tuple[int, ...]) -> Mask:
    inside = np.zeros(shape, np.bool_)
    for row0, col0, row1, col1 in boxes[boxes[:, 0] >= 0]:
        inside[row0:row1, col0:col1] = True
    return inside


def _peel(extents: npt.NDArray[np.int64], spare: int) -> npt.NDArray[np.int64] | None:
    """Drop the images that hold the costliest edge; None where no edge can move."""
    best, most = None, 0.0
    for edge in range(4):
        inside = extents[:, edge] < extents[:, edge].max()
        given_up = int(np.count_nonzero(~inside))
        if given_up <= spare:
            saved = (_area(extents) - _area(extents[inside])) / given_up
            if saved > most:
                best, most = extents[inside], saved
    return best


def _area(extents: npt.NDArray[np.int64]) -> int:
    top, left, bottom, right = extents.max(axis=0)
    return int((top + bottom) * (left + right))
