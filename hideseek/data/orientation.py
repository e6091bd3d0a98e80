"""Is a picture a frontal chest radiograph the right way up, and no negative?

Judged from a thumbnail by two fixed directions, fitted by `benchmarks/orientation_weights.py` on
2,259 frontal radiographs of eight sources. With each source left out of the fit in turn, 0.04 % of
its images are called inverted and 0.4 % upside down; of their negatives and mirror images, 97.5 %
and 96.5 % are found. The worst source is Montgomery, whose pictures are squashed to squares: 6.5 %
false alarms. The thresholds were chosen on the same images.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from hideseek.data.duplicates import SIDE

WEIGHTS = Path(__file__).with_name("orientation.npy")

INVERTED = -0.3
"""Sum of the scores of an image and its mirror image, top to bottom, below which it is a negative;
upright chests are fitted to 1."""

UPSIDE_DOWN = -0.13
"""Score below which an image is upside down; upright chests are fitted to 1."""

UNLIKE = 0.25
"""Score, either way, below which a picture is like neither a chest nor a chest's negative."""


def judge(
    thumbnails: npt.NDArray[np.uint8], directions: npt.NDArray[np.float32] | None = None
) -> pl.DataFrame:
    """Judge the orientation of whole images.

    Args:
        thumbnails: uint8 [N, 32, 32].
        directions: [2, 32, 32], how like a chest and how upright; by default those of the package.

    Returns:
        One row each, truth values `inverted`, `upside_down` and `unlike` (another part of the body,
        some lateral views, CT slices and drawings; only of what is neither of the others).
    """
    stored = _packaged() if directions is None else directions
    chest, upright = stored.astype(np.float64).reshape(2, -1)
    plain, mirrored = standardized(thumbnails), standardized(thumbnails[:, ::-1])
    likeness, mirror_likeness = plain @ chest, mirrored @ chest
    inverted = likeness + mirror_likeness < INVERTED
    # The negative of an upright image has the vertical profile of one upside down.
    upside_down = np.where(inverted, -1, 1) * ((plain - mirrored) @ upright) < UPSIDE_DOWN
    unlike = (np.abs(likeness) < UNLIKE) & ~upside_down & ~inverted
    return pl.DataFrame({"inverted": inverted, "upside_down": upside_down, "unlike": unlike})


def standardized(thumbnails: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Give each thumbnail mean 0 and length 1; one without contrast becomes 0.

    Args:
        thumbnails: uint8 [N, 32, 32].

    Returns:
        float64 [N, 1024].
    """
    flat = thumbnails.reshape(-1, SIDE * SIDE).astype(np.float64)
    flat -= flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    np.divide(flat, length, out=flat, where=length > 0)
    return flat


@cache
def _packaged() -> npt.NDArray[np.float32]:
    stored: npt.NDArray[np.float32] = np.load(WEIGHTS, allow_pickle=False)
    return stored
