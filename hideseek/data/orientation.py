"""Is a picture a frontal chest radiograph the right way up, and no negative?

Judged from a thumbnail by two fixed directions, fitted by `benchmarks/orientation_weights.py` on
2,259 frontal radiographs of eight sources. With each source left out of the fit in turn, 0.0 % of
its images are called inverted and 0.4 % upside down; of their negatives and mirror images, 96.9 %
and 96.5 % are found.
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


def judge(thumbnails: npt.NDArray[np.uint8]) -> pl.DataFrame:
    """Judge the orientation of whole images.

    Args:
        thumbnails: uint8 [N, 32, 32].

    Returns:
        One row each, truth values `inverted`, `upside_down` and `unlike` (another part of the body,
        some lateral views, CT slices and drawings; only of what is neither of the others).
    """
    chest, upright = directions()
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
    return np.divide(flat, length, out=np.zeros_like(flat), where=length > 0)


@cache
def directions() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Load both directions, float64 [1024]: how like a chest, and how upright."""
    stored = np.load(WEIGHTS, allow_pickle=False).astype(np.float64).reshape(2, SIDE * SIDE)
    return stored[0], stored[1]
