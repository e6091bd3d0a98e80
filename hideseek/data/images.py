"""Files to pixels: decode a radiograph or a mask to one 8-bit channel, or say why not.

The first step of the data flow; everything after it sees only arrays. One decoder serves images
and masks, so that both get the same orientation.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from hideseek.errors import UserError

MINIMUM_SIDE = 32
"""Pixels; a shorter radiograph has lost what any network here looks at."""


@dataclass(frozen=True)
class Radiograph:
    """A decoded image.

    Attributes:
        pixels: uint8 [H, W], 0 black.
        bit_depth: bits per sample in the file.
        format: what the content is (PNG, JPEG ...), whatever the name ends in.
        sha256: of the file's bytes, 64 hexadecimal digits.
    """

    pixels: npt.NDArray[np.uint8]
    bit_depth: int
    format: str
    sha256: str


def read_radiograph(path: Path) -> Radiograph:
    """Decode one radiograph to 8-bit grey.

    Palette and colour images become luminance, transparent pixels are laid on black, the EXIF
    orientation is applied, and samples of more than 8 bits are scaled from the image's own minimum
    and maximum (a 12-bit image in a 16-bit file would otherwise come out black or saturated).

    Args:
        path: the file.

    Returns:
        The pixels with what is known about the file.

    Raises:
        UserError: the file is absent, empty, truncated, no image, or smaller than 32 pixels.
    """
    samples, file_format, content = _decode(path)
    depth = 8 if samples.dtype == np.uint8 else 16
    pixels = samples.astype(np.uint8) if depth == 8 else _scale_to_8_bit(samples)
    if min(pixels.shape) < MINIMUM_SIDE:
        raise UserError(f"{path}: {pixels.shape[1]}x{pixels.shape[0]} pixels, too small to use")
    digest = hashlib.sha256(content).hexdigest()
    return Radiograph(pixels, depth, file_format, digest)


def read_mask(path: Path, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Decode a lung mask.

    A pixel is lung where the value is above half of the file's greatest value: this reads 0/1,
    0/255 and the 0/127/255 masks whose middle value means "ignore".

    Args:
        path: the file.
        shape: (height, width) of the radiograph that the mask belongs to.

    Returns:
        bool [H, W], True where lung.

    Raises:
        UserError: the file cannot be decoded or has another shape than the radiograph.
    """
    pixels, _, _ = _decode(path)
    if pixels.shape != shape:
        raise UserError(
            f"{path}: the mask is {pixels.shape[1]}x{pixels.shape[0]} but its image is "
            f"{shape[1]}x{shape[0]}"
        )
    lung: npt.NDArray[np.bool_] = pixels > pixels.max() / 2
    return lung


def _decode(path: Path) -> tuple[npt.NDArray[Any], str, bytes]:
    """Return the samples [H, W] (uint8, or float64 where deeper), the format and the bytes."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({_line(error)})") from None
    if not content:
        raise UserError(f"{path}: the file is empty")
    try:
        image = Image.open(io.BytesIO(content))
        return _grey(image), str(image.format), content
    except UnidentifiedImageError:
        raise UserError(f"{path}: the content is no image that can be decoded") from None
    except Exception as error:
        # Pillow raises anything from SyntaxError to struct.error on damaged files.
        raise UserError(f"{path}: damaged or unsupported image ({_line(error)})") from None


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _grey(image: Image.Image) -> npt.NDArray[Any]:
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I") or upright.mode == "F":
        return np.nan_to_num(np.asarray(upright).astype(np.float64))
    if upright.mode in ("P", "PA", "LA", "RGBA") or "transparency" in upright.info:
        upright = upright.convert("RGBA")
        black = Image.new("RGBA", upright.size, (0, 0, 0, 255))
        upright = Image.alpha_composite(black, upright).convert("RGB")
    return np.array(upright.convert("L"), dtype=np.uint8)


def _scale_to_8_bit(samples: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    low, high = float(samples.min()), float(samples.max())
    span = (high - low) or 1.0
    return np.round((samples - low) / span * 255).astype(np.uint8)
