"""Where the lungs are: components, boxes and rectangles of a mask, and how a margin grows them.

Between the mask and the representations; pure functions on bool [H, W] masks (True = lung) and
int16 [N, 4] boxes (row0, col0, row1, col1), ends exclusive, -1 where there is none.
"""

from __future__ import annotations

from enum import StrEnum

import cv2
import numpy as np
import numpy.typing as npt

from hideseek.errors import UserError
from hideseek.fill import Mask

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


def lung_components(
    mask: Mask, keep: int = 2, fill_holes: bool = False, least_area: float = 0.0
) -> Mask:
    """Keep the largest 8-connected components (paper, Methods; its code keeps two).

    Args:
        mask: bool [H, W].
        keep: how many; of equal areas the one met first, row by row, wins.
        fill_holes: whether what a component encloses becomes lung. Not in the paper.
        least_area: share of the image; smaller components are no lung. Not in the paper.

    Returns:
        A new bool [H, W].
    """
    labels, kept, stats = _largest(mask, keep)
    kept = kept[stats[:, cv2.CC_STAT_AREA] >= least_area * mask.size]
    lungs = np.isin(np.arange(labels.max() + 1), kept)[labels]
    if fill_holes:
        outlines, _ = cv2.findContours(_as_bytes(lungs), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        filled = np.zeros(mask.shape, np.uint8)
        lungs = cv2.drawContours(filled, outlines, -1, 1, cv2.FILLED).astype(np.bool_)
    return lungs


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


def margin_radius(boxes: Boxes, margin: float) -> float:
    """Turn a margin in % of the mean box width into pixels; 0 where there is no box."""
    widths = (boxes[:, 3] - boxes[:, 1])[boxes[:, 0] >= 0]
    return margin * float(widths.mean()) / 100 if len(widths) else 0.0


def grow_mask(mask: Mask, margin: float) -> Mask:
    """Grow a mask by a Euclidean disc of `margin` % of the lung width; negative shrinks it."""
    radius = margin_radius(lung_boxes(mask), margin) if margin else 0.0
    if radius == 0:
        return mask
    # Distances run from a pixel's centre to the nearest centre of the other kind.
    framed = np.pad(mask, 1).view(np.uint8)
    inside, precise = framed if radius < 0 else 1 - framed, cv2.DIST_MASK_PRECISE
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, precise)[1:-1, 1:-1]
    grown: Mask = distance > -radius if radius < 0 else distance <= radius
    return grown


def grow_boxes(boxes: Boxes, pixels: float, shape: tuple[int, ...]) -> Boxes:
    """Move every edge outwards by whole pixels, inside (H, W); one shrunk to nothing is gone."""
    (height, width), outwards = shape, np.array([-1, -1, 1, 1]) * int(pixels)
    grown: Boxes = (boxes + outwards).clip(0, (height, width, height, width)).astype(np.int16)
    grown[(boxes[:, 0] < 0) | (grown[:, 2:] <= grown[:, :2]).any(axis=1)] = -1
    return grown


def grown_boxes(mask: Mask, margin: float) -> Boxes:
    """Bound the lungs as `lung_boxes` does, then grow each box by `margin` % of the lung width."""
    boxes = lung_boxes(mask)
    return grow_boxes(boxes, margin_radius(boxes, margin), mask.shape) if margin else boxes


def box_region(boxes: Boxes, shape: tuple[int, ...]) -> Mask:
    """Mark the pixels of an (H, W) image that lie in any of the boxes."""
    inside = np.zeros(shape, np.bool_)
    for row0, col0, row1, col1 in boxes[boxes[:, 0] >= 0]:
        inside[row0:row1, col0:col1] = True
    return inside


def union_region(mask: Mask, margin: float) -> Mask:
    """Mark the rectangle round all lung boxes, grown by `margin` % of the lung width."""
    boxes = lung_boxes(mask)
    there = boxes[boxes[:, 0] >= 0]
    if len(there) > 0:
        boxes = np.r_[there[:, :2].min(axis=0), there[:, 2:].max(axis=0)][np.newaxis]
    return box_region(grow_boxes(boxes, margin_radius(there, margin), mask.shape), mask.shape)


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
