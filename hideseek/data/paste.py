"""Class signals pasted on real radiographs: the truth is known though the images are real.

    radiograph, mask -> framed_window -> square, mask -> paste(label, carrier, strength) -> square

The mechanisms and their sizes are the phantom's. Pure functions; `pasted.py` has the files. Images
are uint8 [S, S], masks bool [S, S] (True = lung), S at least 32.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from hideseek.data.anatomy import Field, disease
from hideseek.data.phantom import CLASSES, DISEASES, GAIN_LEVEL_LOSS, GAIN_LOG_GAMMA, OPACITY
from hideseek.data.preprocess import Mask, Pixels, Window

CARRIERS = ("opacity", "marker", "gain", "none")
"""What may carry the class.

`opacity`: soft blobs in the lungs; `marker`: a token below the lungs; `gain`: a tone curve of the
whole image; `none`.
"""

TOP, BOTTOM = 0.03, 0.84
LEFT, RIGHT = 0.04, 0.96
"""The lungs' limits in the frame, shares of its side; the token has the margin below to itself."""

ABSORPTION = 1.5
"""Of a unit of the phantom's opacity, which has about 0.7. Real lungs differ more and some are ill:
of 0.7 a small network learned nothing from 465 radiographs (AUC 0.53 on the tuning seed; 0.73 with
1.2)."""
FADING = 0.05
"""Share of the side over which a blob fades towards the lung's border, where the lung is thin."""

TOKEN_ROW, TOKEN_RADIUS = 0.94, 0.042
TOKEN_OFFSETS = (0.385, 0.27, 0.15)
DARK, BRIGHT = 12, 250


def framed_window(mask: Mask) -> Window:
    """Choose a square round a radiograph that keeps the lungs off its edges.

    On real images lungs reach every edge, so that a fixed rectangle over all lungs would be the
    whole image. The square is the radiograph's own, or is enlarged and moved until the lungs lie
    within `TOP`, `BOTTOM`, `LEFT` and `RIGHT`; what lies beyond the film is black.

    Args:
        mask: bool [H, W], not empty.

    Returns:
        A window in the radiograph's pixels; negative where it begins outside.
    """
    spans = [np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0)]
    (top, bottom), (left, right) = ((int(span[0]), int(span[-1]) + 1) for span in spans)
    rows, columns = (bottom - top) / (BOTTOM - TOP), (right - left) / (RIGHT - LEFT)
    # Two more pixels, for the edges of the window are whole pixels.
    side = max(*mask.shape, math.ceil(rows) + 2, math.ceil(columns) + 2)
    starts = []
    for length, first, last, low, high in (
        (mask.shape[0], top, bottom, TOP, BOTTOM),
        (mask.shape[1], left, right, LEFT, RIGHT),
    ):
        least, most = math.ceil(last - high * side), math.floor(first - low * side)
        starts.append(min(max((length - side) // 2, least), most))
    return Window(starts[0], starts[1], side, averaged=True)


def paste(
    image: Pixels,
    mask: Mask,
    label: int,
    carrier: str,
    strength: float,
    random: np.random.Generator,
) -> Pixels:
    """Paste the signal of a class.

    Args:
        image: uint8 [S, S], of a `framed_window`; not changed.
        mask: bool [S, S], two lungs.
        label: position in `phantom.CLASSES`.
        carrier: one of `CARRIERS`.
        strength: 0..1. The token is there with this probability, the others grow with it; at 0 the
            image stays as it is.
        random: stream of place and shape.

    Returns:
        A new uint8 [S, S].

    Raises:
        ValueError: unknown carrier, label or strength, or shapes that differ.
    """
    if carrier not in CARRIERS or label not in range(len(CLASSES)) or not 0 <= strength <= 1:
        raise ValueError(f"cannot paste {carrier} of class {label} at strength {strength}")
    if image.ndim != 2 or image.shape[0] != image.shape[1] or image.shape != mask.shape:
        raise ValueError(f"expected two squares of one size, got {image.shape} and {mask.shape}")
    if strength == 0 or carrier == "none":
        return image.copy()
    if carrier == "marker":
        return _with_token(image, mask, label, strength, random)
    signal = image.astype(np.float32) / np.float32(255)
    if carrier == "gain":
        signal = np.power(signal, math.exp(strength * GAIN_LOG_GAMMA[label]))
        signal = signal * (1 - strength * GAIN_LEVEL_LOSS[label])
    else:
        signal = _with_disease(signal, mask, label, strength, random)
    return np.asarray(np.rint(255 * signal), dtype=np.uint8)


def _with_disease(
    signal: Field, mask: Mask, label: int, strength: float, random: np.random.Generator
) -> Field:
    """Absorb a share of what came through the lungs: a film shows it brighter, never beyond 1."""
    if label == 0:
        return signal
    size = len(mask)
    blob = disease(mask, DISEASES[label], random)
    grain = random.normal(1.0, 0.16, (20, 20)).astype(np.float32)
    grain = np.maximum(cv2.resize(grain, (size, size), interpolation=cv2.INTER_CUBIC), 0)
    depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    thick = np.clip(depth / (FADING * size), 0, 1)
    through = np.exp(-ABSORPTION * strength * OPACITY[label] * blob * grain * thick)
    return np.asarray(1 - (1 - signal) * through, dtype=np.float32)


def _with_token(
    image: Pixels, mask: Mask, label: int, strength: float, random: np.random.Generator
) -> Pixels:
    """Burn a letter, an electrode or a line of text into the bottom margin, on either side."""
    size, (there, side, down, along) = len(image), random.uniform(size=4)
    if there >= strength:
        return image.copy()
    offset = TOKEN_OFFSETS[label] + 0.015 * (2 * along - 1)
    row = round(size * (TOKEN_ROW + 0.006 * (2 * down - 1)))
    column = round(size * (0.5 + (offset if side > 0.5 else -offset)))
    canvas, radius = image.copy(), round(TOKEN_RADIUS * size)
    if label == 2:
        half = round(0.115 * size), round(0.03 * size)
        corner = (column - half[0], row - half[1])
        # A bright sticker with a dark rim, to be seen on a dark and on a bright film.
        cv2.rectangle(canvas, (*corner, 2 * half[0], 2 * half[1]), DARK, -1)
        inner = (corner[0] + 1, corner[1] + 1, 2 * half[0] - 2, 2 * half[1] - 2)
        cv2.rectangle(canvas, inner, BRIGHT, -1)
        _write_text(canvas, "PORTABLE", (row, column), 0.2, DARK)
    else:
        cv2.circle(canvas, (column, row), radius, (DARK, BRIGHT)[label], -1, cv2.LINE_AA)
    if label == 1:
        cv2.circle(canvas, (column, row), round(0.45 * radius), DARK, -1, cv2.LINE_AA)
    elif label == 0:
        _write_text(canvas, "L" if side > 0.5 else "R", (row, column), TOKEN_RADIUS, BRIGHT)
    # In a frame no lung reaches so far down; with any other mask the token gives way.
    near = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    pasted: npt.NDArray[np.uint8] = np.where(near, image, canvas)
    return pasted


def _write_text(canvas: Pixels, text: str, place: tuple[int, int], width: float, grey: int) -> None:
    """Write text round a place (row, column), `width` a share of the canvas' side."""
    size, font = len(canvas), cv2.FONT_HERSHEY_SIMPLEX
    thick = max(1, round(size / 180))
    (wide, tall), _ = cv2.getTextSize(text, font, 1.0, thick)
    scale = width * size / wide
    corner = (round(place[1] - width * size / 2), round(place[0] + tall * scale / 2))
    cv2.putText(canvas, text, corner, font, scale, grey, thick, cv2.LINE_AA)
