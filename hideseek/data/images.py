"""Files to pixels: decode a radiograph or a mask to one 8-bit channel, or say why not.

The first step of the data flow; everything after it sees only arrays. One decoder serves images
and masks, so that both get the same orientation.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from hideseek.data.dicom import is_dicom, read_dicom
from hideseek.data.samples import LARGEST, Decoded, ImageError, Note, to_8_bit

MINIMUM_SIDE = 32
"""Pixels; a shorter radiograph has lost what any network here looks at."""

SUFFIXES = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "DICOM": (".dcm", ".dicom", ""),
}
"""The extensions that fit a content; one that is not listed here fits any."""

Image.MAX_IMAGE_PIXELS = LARGEST // 2  # Pillow warns from here, and refuses twice as many
warnings.simplefilter("ignore", Image.DecompressionBombWarning)


@dataclass(frozen=True)
class Radiograph:
    """A decoded image.

    Attributes:
        pixels: uint8 [H, W], 0 black.
        bit_depth: bits per sample in the file.
        format: what the content is (PNG, JPEG, DICOM ...), whatever the name ends in.
        sha256: of the file's bytes, 64 hexadecimal digits.
        window: the sample values that became black and white; None for 8-bit files.
        notes: (kind, reason) of what had to be done: wrong_extension, palette, colour, alpha,
            rotated, high_bit, monochrome1.
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
    content = _content(path)
    decoded = _decode(path, content)
    height, width = decoded.samples.shape
    if min(height, width) < MINIMUM_SIDE:
        raise ImageError("tiny", f"{path}: {width}x{height} pixels, too small to use")
    pixels, window, notes = to_8_bit(decoded, windowing)
    fits = SUFFIXES.get(decoded.format, (path.suffix.lower(),))
    if path.suffix.lower() not in fits:
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
    samples = _decode(path, _content(path)).samples
    if samples.shape != shape:
        raise ImageError(
            "mask_size",
            f"{path}: the mask is {samples.shape[1]}x{samples.shape[0]} but its image is "
            f"{shape[1]}x{shape[0]}",
        )
    lung: npt.NDArray[np.bool_] = samples > samples.max() / 2
    return lung


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ImageError("absent", f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise ImageError("unreadable", f"{path}: cannot be read ({_line(error)})") from None
    if not content:
        raise ImageError("empty", f"{path}: the file is empty")
    return content


def _decode(path: Path, content: bytes) -> Decoded:
    try:
        if is_dicom(content) or path.suffix.lower() in (".dcm", ".dicom"):
            return read_dicom(content)
        return _with_pillow(content)
    except ImageError as error:
        raise ImageError(error.kind, f"{path}: {error}") from None
    except UnidentifiedImageError:
        reason = f"{path}: the content is no image that can be decoded"
        raise ImageError("no_image", reason) from None
    except Exception as error:
        # Pillow and pydicom raise anything from SyntaxError to struct.error on damaged files.
        kind = "truncated" if "truncated" in str(error).lower() else "damaged"
        reason = f"{path}: damaged or unsupported image ({_line(error)})"
        raise ImageError(kind, reason) from None


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _with_pillow(content: bytes) -> Decoded:
    image = Image.open(io.BytesIO(content))
    kind = str(image.format)
    frames = int(getattr(image, "n_frames", 1))
    if frames > 1:
        raise ImageError("frames", f"{frames} frames; one radiograph has one")
    notes: list[Note] = []
    upright = ImageOps.exif_transpose(image)
    if image.getexif().get(0x0112, 1) not in (0, 1):
        notes.append(("rotated", f"EXIF orientation {image.getexif()[0x0112]} applied"))
    if upright.mode.startswith("I") or upright.mode == "F":
        depth = 16 if upright.mode.startswith("I;16") or kind == "PNG" else 32
        return Decoded(np.nan_to_num(np.asarray(upright, np.float64)), depth, kind, tuple(notes))
    grey = np.array(_opaque(upright, notes).convert("L"), dtype=np.uint8)
    return Decoded(grey, 1 if image.mode == "1" else 8, kind, tuple(notes))


def _opaque(image: Image.Image, notes: list[Note]) -> Image.Image:
    """Resolve palette, transparency and colour, noting what they hide."""
    if image.mode in ("P", "PA"):
        notes.append(("palette", "palette resolved to luminance"))
    if image.mode in ("P", "PA", "LA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        clear = 1 - np.asarray(image.getchannel("A")).astype(bool).mean()
        opaque = np.asarray(image.getchannel("A")) == 255
        if not opaque.all():
            notes.append(("alpha", f"{1 - opaque.mean():.1%} of the pixels not opaque, laid on "
                          f"black ({clear:.1%} fully clear)"))  # fmt: skip
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image).convert("RGB")
    if image.mode not in ("1", "L"):
        channels = np.asarray(image.convert("RGB")).astype(np.int16)
        spread = int((channels.max(axis=2) - channels.min(axis=2)).max())
        if spread > 0:
            notes.append(("colour", f"channels differ by up to {spread} levels"))
    return image
