"""One picture in several files: thumbnails that correlate, whatever the files' names and bytes."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

SIDE = 32
THRESHOLD = 0.985
BLOCK = 2048


def thumbnail(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Squash a whole image to a small square by area averages.

    Args:
        pixels: uint8 [H, W].

    Returns:
        uint8 [32, 32].
    """
    small = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8)


def near_duplicates(
    thumbnails: npt.NDArray[np.uint8], threshold: float = THRESHOLD
) -> list[tuple[int, int, float]]:
    """Find every pair of images whose thumbnails correlate.

    All pairs are compared, in blocks of matrix products: 14,000 images take seconds, so that no
    perceptual hash, which can miss a pair, has to choose candidates first.

    Args:
        thumbnails: uint8 [N, 32, 32].
        threshold: least Pearson correlation of the grey values; a change of brightness or contrast
            does not lower it.

    Returns:
        (i, j, correlation) with i < j, sorted. An image without contrast has no pair.
    """
    flat = thumbnails.reshape(-1, SIDE * SIDE).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    flat = np.divide(flat, length, out=np.zeros_like(flat), where=length > 0)
    pairs: list[tuple[int, int, float]] = []
    for start in range(0, len(flat), BLOCK):
        rows = flat[start : start + BLOCK]
        for other in range(start, len(flat), BLOCK):
            alike = rows @ flat[other : other + BLOCK].T
            for first, second in np.argwhere(alike > threshold):
                i, j = start + int(first), other + int(second)
                if i < j:
                    pairs.append((i, j, float(alike[first, second])))
    return sorted(pairs)
