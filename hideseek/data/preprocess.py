"""Pixels of any size to the square that a cache stores: one geometry for image and mask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

TOP_CROP = 0.08
"""Share of the height that the paper cuts off at the top, where burnt-in text stands."""


@dataclass(frozen=True)
class Window:
    """The part of a radiograph that becomes the square, in its own pixels.

    `averaged` tells how a shrinking square is sampled: by area averages, or, as the paper's code
    does, bilinearly from the four nearest pixels.

    Attributes:
        top: first row; negative where black rows are added above.
        left: first column; negative where black columns are added on the left.
        side: height and width.
        averaged: area averaging when it shrinks.
    """

    top: int
    left: int
    side: int
    averaged: bool


def paper_window(height: int, width: int) -> Window:
    """Cut the top 8 %, then the central square of the shorter side (paper's code, Methods).

    Args:
        height: rows of the radiograph.
        width: columns of the radiograph.

    Returns:
        A window inside the radiograph.
    """
    top = int(height * TOP_CROP)
    rest = height - top
    side = min(rest, width)
    return Window(top + (rest - side) // 2, (width - side) // 2, side, averaged=False)


def letterbox_window(height: int, width: int) -> Window:
    """Keep the whole radiograph in the middle of a black square.

    Args:
        height: rows of the radiograph.
        width: columns of the radiograph.

    Returns:
        A window as large as the longer side.
    """
    side = max(height, width)
    return Window((height - side) // 2, (width - side) // 2, side, averaged=True)


WINDOWS: dict[str, Callable[[int, int], Window]] = {
    "paper": paper_window,
    "letterbox": letterbox_window,
}


def to_square(image: Pixels, window: Window, size: int) -> Pixels:
    """Cut (or pad with black) to the window and resize.

    Args:
        image: uint8 [H, W].
        window: from one of `WINDOWS`.
        size: side of the result.

    Returns:
        uint8 [size, size].
    """
    square = _extract(image, window)
    shrinks = window.averaged and window.side > size
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (size, size), interpolation=method), dtype=np.uint8)


def mask_to_square(mask: Mask, window: Window, size: int) -> Mask:
    """Do to a mask what `to_square` does to its image; a pixel is lung if at least half of it is.

    Args:
        mask: bool [H, W].
        window: the window of the image.
        size: side of the result.

    Returns:
        bool [size, size].
    """
    return to_square(mask.astype(np.uint8) * np.uint8(255), window, size) > 127


def mask_from_square(square: Mask, window: Window, shape: tuple[int, int]) -> Mask:
    """Put a mask found on the square back on the radiograph.

    Args:
        square: bool [S, S].
        window: the window that made the square.
        shape: (height, width) of the radiograph.

    Returns:
        bool [H, W]; False where the window did not reach.
    """
    grown = cv2.resize(
        square.astype(np.uint8) * 255, (window.side, window.side), interpolation=cv2.INTER_LINEAR
    )
    whole = np.zeros(shape, dtype=bool)
    inside, outside = _overlap(window, shape)
    whole[outside] = grown[inside] > 127
    return whole


def _overlap(
    window: Window, shape: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return where window and radiograph overlap, in the window's and the radiograph's pixels."""
    inside, outside = [], []
    for start, length in ((window.top, shape[0]), (window.left, shape[1])):
        first, last = max(start, 0), min(start + window.side, length)
        inside.append(slice(first - start, last - start))
        outside.append(slice(first, last))
    return (inside[0], inside[1]), (outside[0], outside[1])


def _extract(image: Pixels, window: Window) -> Pixels:
    square = np.zeros((window.side, window.side), dtype=np.uint8)
    inside, outside = _overlap(window, (image.shape[0], image.shape[1]))
    square[inside] = image[outside]
    return square
