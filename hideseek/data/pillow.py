"""Pictures that Pillow opens (PNG, JPEG, TIFF ...): samples of one channel, upright.

Reads bytes for `images.py`, which silences Pillow and turns whatever it raises into one line.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from hideseek.data.samples import LARGEST, Decoded, ImageError, Note

FORMATS = ("PNG", "JPEG", "JPEG2000", "WEBP", "BMP", "DIB", "TIFF", "GIF", "PPM")
"""What Pillow may try: its other readers start programs (EPS) or know no signature (TGA)."""

UPRIGHT: dict[int, Callable[[npt.NDArray[Any]], npt.NDArray[Any]]] = {
    2: np.fliplr,
    3: lambda stored: stored[::-1, ::-1],
    4: np.flipud,
    5: np.transpose,
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].T,
    8: np.rot90,
}
"""By EXIF orientation, what turns the stored picture upright; 1 is upright."""

_ORIENTATION, _BITS_PER_SAMPLE, _PHOTOMETRIC = 0x0112, 258, 262  # tags of EXIF and TIFF


def read_pillow(content: bytes) -> Decoded | None:
    """Decode a picture of a single frame.

    Palette and colour become luminance, pixels that are not opaque are laid on black, and the EXIF
    orientation is applied. TIFF WhiteIsZero of more than 8 bits is marked as inverted; Pillow
    itself inverts that of 8.

    Args:
        content: of the file.

    Returns:
        Samples [H, W], uint8, or float64 where there are more than 8 bits; None where the content
        is of none of `FORMATS`.

    Raises:
        ImageError: several frames, more than `LARGEST` pixels, a colour space that is not
            supported, or no finite sample.
        Exception: whatever Pillow raises on damage.
    """
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        return None
    return _decoded(image, content)


def _decoded(image: Image.Image, content: bytes) -> Decoded:
    # A telephone's MPO is a JPEG whose other pictures are previews of the first.
    kind = {"MPO": "JPEG", "DIB": "BMP"}.get(str(image.format), str(image.format))
    if image.width * image.height > LARGEST:
        claim = f"{image.width}x{image.height} pixels"
        raise ImageError("too_large", f"claims {claim}, more than {LARGEST}")
    frames = int(getattr(image, "n_frames", 1))
    if frames > 1 and image.format != "MPO":
        raise ImageError("frames", f"multi-frame: {frames} frames; export the one that is meant")
    tags = cast(dict[int, Any], getattr(image, "tag_v2", {}))  # of TIFF
    bits = content[24] if kind == "PNG" else max(tags.get(_BITS_PER_SAMPLE, (8,)))
    orientation = image.getexif().get(_ORIENTATION)
    image.load()
    upright = kind == "TIFF"  # Pillow turns these as it loads them
    notes: list[Note] = []
    depth, inverted = 1 if image.mode == "1" else 8, False
    samples: npt.NDArray[Any]
    if image.mode.startswith("I") or image.mode == "F":
        depth = 32 if image.mode == "F" or bits == 32 else 16
        samples = _finite(np.array(image, np.float64))
        inverted = tags.get(_PHOTOMETRIC) == 0  # Pillow inverts 8 bits only
    elif bits > 8 and image.mode in ("LA", "RGB", "RGBA"):
        depth, upright = bits, False
        samples = _deep_colour(content, notes)
    else:
        samples = np.array(_grey(image, notes), dtype=np.uint8)
    if orientation in UPRIGHT:
        notes.append(("rotated", f"EXIF orientation {orientation} applied"))
        samples = samples if upright else np.ascontiguousarray(UPRIGHT[orientation](samples))
    return Decoded(samples, depth, kind, tuple(notes), inverted=inverted)


def _finite(samples: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    finite = samples[np.isfinite(samples)]
    if not finite.size:
        raise ImageError("damaged", "no sample is a finite number")
    low, high = float(finite.min()), float(finite.max())
    np.nan_to_num(samples, copy=False, nan=low, posinf=high, neginf=low)
    return samples


def _deep_colour(content: bytes, notes: list[Note]) -> npt.NDArray[np.float64]:
    """Decode colour of 16 bits a sample, of which Pillow keeps the upper eight only."""
    found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None or found.dtype != np.uint16 or found.ndim != 3:
        raise ImageError("unsupported", "deep colour; convert it to 16-bit grey")
    colour = found[..., :3].astype(np.float64)
    _note_colour(np.moveaxis(colour, 2, 0), notes)
    grey: npt.NDArray[np.float64] = np.rint(
        colour @ (0.114, 0.587, 0.299)
    )  # OpenCV's order is blue, green, red
    if found.shape[2] == 4:
        alpha = found[..., 3]
        _note_alpha(alpha == 65535, notes)
        grey *= alpha / 65535
    return grey


def _grey(image: Image.Image, notes: list[Note]) -> Image.Image:
    """Resolve palette, transparency and colour, noting what they hide."""
    if image.mode in ("1", "L") and "transparency" not in image.info:
        return image.convert("L")
    if image.mode == "LAB":
        raise ImageError("unsupported", "unsupported colour space LAB; convert it to grey")
    if image.mode in ("P", "PA"):
        notes.append(("palette", "palette resolved to luminance"))
    if image.mode in ("P", "PA", "La", "LA", "RGBa", "RGBA") or "transparency" in image.info:
        image = image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")
        _note_alpha(np.asarray(image.getchannel("A")) == 255, notes)
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    image = image if image.mode == "RGB" else image.convert("RGB")
    channels = image.split()
    if _note_colour([np.asarray(channel) for channel in channels], notes):
        return image.convert("L")
    return channels[0]


def _note_alpha(opaque: npt.NDArray[np.bool_], notes: list[Note]) -> None:
    if not opaque.all():
        share = 1 - opaque.mean()
        notes.append(("alpha", f"{share:.2%} of the pixels not opaque, laid on black"))


def _note_colour(channels: Iterable[npt.NDArray[Any]], notes: list[Note]) -> bool:
    """Note how far three channels differ, and tell whether they do."""
    first, second, third = channels
    greatest = np.maximum(np.maximum(first, second), third)
    spread = (greatest - np.minimum(np.minimum(first, second), third)).max()
    if spread > 0:
        notes.append(("colour", f"channels differ by up to {spread:.0f} levels"))
    return bool(spread > 0)
