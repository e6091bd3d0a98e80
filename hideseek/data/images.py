"""Files to pixels: decode a radiograph or a mask to one 8-bit channel, or say why not.

The first step of the data flow; everything after it sees only arrays. One decoder serves images
and masks, so that both get the same orientation.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from hideseek.data.dicom import is_dicom, read_dicom
from hideseek.data.pillow import read_pillow
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
    decoded = read_pillow(content)
    if decoded is not None:
        return decoded
    if path.suffix.lower() in SUFFIXES["DICOM"]:
        return read_dicom(content)  # some archives strip the preamble
    raise ImageError("no_image", "the content is no image that can be decoded")
