"""Files to pixels: decode a radiograph or a mask to one 8-bit channel, or say why not.

The first step of the data flow; everything after it sees only arrays. One decoder serves images
and masks, so that both get the same orientation.
"""

from __future__ import annotations

import hashlib
import io
import logging
import re
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from hideseek.data.dicom import is_dicom, read_dicom
from hideseek.data.samples import LARGEST, Decoded, ImageError, Note, to_8_bit
from hideseek.errors import UserError

MINIMUM_SIDE = 32
"""Pixels; a shorter radiograph has lost what any network here looks at."""

NOTES = {
    "wrong_extension": "the content is of another format than the name says",
    "palette": "the samples were places in a palette; its colours were looked up",
    "colour": "the channels differ, so that luminance is not the only choice",
    "alpha": "pixels that are not opaque were laid on black",
    "rotated": "an EXIF orientation was applied",
    "high_bit": "a window of the samples became 8 bits",
    "monochrome1": "high samples were dark (DICOM MONOCHROME1, TIFF WhiteIsZero) and were inverted",
}
"""Kinds of `Radiograph.notes`."""

SUFFIXES = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "JPEG2000": (".jp2", ".j2k", ".j2c", ".jpx", ".jpf"),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "DICOM": (".dcm", ".dicom"),
}
"""The extensions that fit a content; one that is not listed here fits any, and so does none."""

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


@dataclass(frozen=True)
class Radiograph:
    """A decoded image.

    Attributes:
        pixels: uint8 [H, W], 0 black.
        bit_depth: bits per sample in the file.
        format: what the content is (PNG, JPEG, DICOM ...), whatever the name ends in.
        sha256: of the file's bytes, 64 hexadecimal digits.
        window: the sample values that became black and white; None for 8-bit files.
        notes: (kind, reason) of what had to be done, kinds from `NOTES`; none for plain grey.
        header: what a DICOM header says of view, sex, age, pixel_spacing and modality.
    """

    pixels: npt.NDArray[np.uint8]
    bit_depth: int
    format: str
    sha256: str
    window: tuple[float, float] | None = None
    notes: tuple[Note, ...] = ()
    header: dict[str, str] = field(default_factory=dict)


def read_radiograph(path: Path, windowing: str = "minmax") -> Radiograph:
    """Decode one radiograph to 8-bit grey.

    Palette and colour images become luminance, transparent pixels are laid on black, the EXIF
    orientation is applied, and samples of more than 8 bits are windowed.

    Args:
        path: the file.
        windowing: of samples of more than 8 bits, one of `samples.WINDOWINGS`; the window of a
            DICOM header comes first.

    Returns:
        The pixels with what is known about the file.

    Raises:
        ImageError: the file is absent, empty, truncated, no image, has several frames, or is
            smaller than 32 or larger than 100 million pixels.
    """
    with _one_line(path), _quiet():
        content = _content(path)
        decoded = _decode(path, content)
        height, width = decoded.samples.shape
        if min(height, width) < MINIMUM_SIDE:
            raise ImageError("tiny", f"{width}x{height} pixels, too small to use")
        pixels, window, notes = to_8_bit(decoded, windowing)
    suffix = path.suffix.lower()
    if suffix and suffix not in SUFFIXES.get(decoded.format, (suffix,)):
        notes = (("wrong_extension", f"{decoded.format} data under '{path.suffix}'"), *notes)
    digest = hashlib.sha256(content).hexdigest()
    return Radiograph(
        pixels, decoded.bit_depth, decoded.format, digest, window, notes, decoded.header
    )


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
        ImageError: the file cannot be decoded or has another shape than the radiograph.
    """
    with _one_line(path), _quiet():
        samples = _decode(path, _content(path)).samples
        if samples.shape != shape:
            raise ImageError(
                "mask_size",
                f"the mask is {samples.shape[1]}x{samples.shape[0]} but its image is "
                f"{shape[1]}x{shape[0]}",
            )
        lung: npt.NDArray[np.bool_] = samples > samples.max() / 2
    return lung


class _Silence:
    """Keeps Pillow and pydicom quiet while any thread decodes: damage makes them talkative.

    `warnings.catch_warnings` would not do, as threads would restore each other's filters.
    """

    _FILTER = ("ignore", None, Warning, re.compile(r"PIL\.|pydicom\.|hideseek\.data\.dicom"), 0)
    _LOGGERS = tuple(logging.getLogger(name) for name in ("PIL", "pydicom"))

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads = 0
        self._levels: list[int] = []

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            self._threads += 1
            if self._threads == 1:
                cast(list[Any], warnings.filters).insert(0, self._FILTER)
                self._levels = [logger.level for logger in self._LOGGERS]
                for logger in self._LOGGERS:
                    logger.setLevel(logging.CRITICAL + 1)
        try:
            with np.errstate(all="ignore"):
                yield
        finally:
            with self._lock:
                self._threads -= 1
                if self._threads == 0:
                    with suppress(ValueError):  # somebody else may have reset the filters
                        cast(list[Any], warnings.filters).remove(self._FILTER)
                    for logger, level in zip(self._LOGGERS, self._levels, strict=True):
                        logger.setLevel(level)


_quiet = _Silence()


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong with a file into one line that names it."""
    try:
        yield
    except ImageError as error:
        raise ImageError(error.kind, f"{path}: {error}") from None
    except UserError:
        raise
    except UnidentifiedImageError:
        reason = f"{path}: the content is no image that can be decoded"
        raise ImageError("no_image", reason) from None
    except Image.DecompressionBombError:
        raise ImageError("too_large", f"{path}: claims more than {LARGEST} pixels") from None
    except Exception as error:
        # Pillow and pydicom raise anything from SyntaxError to RecursionError on damaged files.
        kind = "truncated" if "truncated" in str(error).lower() else "damaged"
        reason = f"{path}: damaged or unsupported image ({_line(error)})"
        raise ImageError(kind, reason) from None


def _line(error: Exception) -> str:
    words = " ".join(str(error).split())[:200] or type(error).__name__
    return "".join(letter if letter.isprintable() else "?" for letter in words)


def _content(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise OSError("not a file")  # reading a pipe or a device might never end
        content = path.read_bytes()
    except FileNotFoundError:
        raise ImageError("absent", "no such file") from None
    except (OSError, ValueError) as error:
        raise ImageError("unreadable", f"cannot be read ({_line(error)})") from None
    if not content:
        raise ImageError("empty", "the file is empty")
    return content


def _decode(path: Path, content: bytes) -> Decoded:
    if is_dicom(content):
        return read_dicom(content)
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        if path.suffix.lower() not in SUFFIXES["DICOM"]:
            raise
        return read_dicom(content)  # some archives strip the preamble
    return _with_pillow(image, content)


def _with_pillow(image: Image.Image, content: bytes) -> Decoded:
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
