"""Sample values to grey levels: what a decoder hands over, and the window that makes it 8 bits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from hideseek.errors import UserError

WINDOWINGS = ("minmax", "percentile", "bits")
LARGEST = 100_000_000
"""Pixels; a file that claims more is refused before anything is allocated."""

Note = tuple[str, str]


class ImageError(UserError):
    """A file that gives no pixels.

    Attributes:
        kind: a short name of the reason, for `problems.csv`.
    """

    def __init__(self, kind: str, reason: str) -> None:
        """Take the kind and the line that is shown."""
        super().__init__(reason)
        self.kind = kind


@dataclass(frozen=True)
class Decoded:
    """What a decoder found.

    Attributes:
        samples: [H, W], uint8, or float64 where there are more than 8 bits or a window applies.
        bit_depth: bits per sample in the file.
        format: what the content is.
        notes: (kind, reason) of what the decoder had to do.
        header: what the file says beside its pixels.
        window: given by the file itself, in sample values.
        inverted: whether high samples are dark.
    """

    samples: npt.NDArray[Any]
    bit_depth: int
    format: str
    notes: tuple[Note, ...] = ()
    header: dict[str, str] = field(default_factory=dict)
    window: tuple[float, float] | None = None
    inverted: bool = False


def to_8_bit(
    decoded: Decoded, windowing: str
) -> tuple[npt.NDArray[np.uint8], tuple[float, float] | None, tuple[Note, ...]]:
    """Map samples to grey levels.

    Args:
        decoded: from a decoder.
        windowing: where the file gives no window: "minmax", from the least to the greatest sample;
            "percentile", from the 0.5th to the 99.5th percentile, which a burnt-in marker does not
            move; "bits", from 0 to the greatest value of the smallest of 8, 10, 12, 14 and 16 bits
            that holds all samples, which keeps exposure comparable between images. Where a sample
            is negative or none of these holds all, "bits" falls back to "minmax", and a note says
            so.

    Returns:
        uint8 [H, W], the window (None where 8-bit samples are taken as they are), and the notes.

    Raises:
        UserError: unknown windowing.
    """
    if windowing not in WINDOWINGS:
        raise UserError(f"windowing={windowing} is unknown; known are {', '.join(WINDOWINGS)}")
    samples, notes, window = decoded.samples, decoded.notes, decoded.window
    if samples.dtype == np.uint8 and window is None:
        pixels = samples
    else:
        rule = "the file's window"
        if window is None:
            window, rule = _window(samples, windowing)
        low, high = window
        scaled = (samples.astype(np.float64) - low) / ((high - low) or 1.0)
        pixels = np.round(scaled.clip(0, 1) * 255).astype(np.uint8)
        notes = (*notes, ("high_bit", f"samples {low:g} to {high:g} become 0 to 255 ({rule})"))
    if decoded.inverted:
        pixels = 255 - pixels
        notes = (*notes, ("monochrome1", "photometric inversion undone"))
    return pixels, window, notes


def _window(samples: npt.NDArray[np.float64], windowing: str) -> tuple[tuple[float, float], str]:
    """Choose a window, and name the windowing that gave it."""
    if windowing == "percentile":
        low, high = np.percentile(samples, (0.5, 99.5))
        return (float(low), float(high)), windowing
    low, high = float(samples.min()), float(samples.max())
    if windowing == "bits":
        bits = next((bits for bits in (8, 10, 12, 14, 16) if high < 2**bits), None)
        if bits is None or low < 0:
            return (low, high), "bits, which fell back to minmax"
        return (0.0, 2.0**bits - 1), windowing
    return (low, high), windowing
