"""Pictures that are files already, such as radiographs with maps over them, made small for a page.

A file may be a stranger's: it is decoded as PNG only, up to a bound, and written anew.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path

from PIL import Image

from hideseek.errors import UserError
from hideseek.report.chapter import Picture

WIDTHS = (900, 720, 600, 480, 360)
"""Widths in pixels that are tried, the largest first."""

MOST_PIXELS = 40_000_000
"""Of a file; a cell's picture has about a million."""

LARGEST_FILE = 50_000_000
COLOURS = 256


def photograph(
    path: Path,
    budget: int,
    name: str,
    caption: str,
    alternative: str,
    model: str = "",
    representation: str = "",
) -> Picture:
    """Read a PNG file and make it fit.

    Args:
        path: of the file.
        budget: bytes that the picture should not exceed; the smallest width is taken where none
            fits.
        name: see `Picture`, as the others.
        caption: below the picture.
        alternative: what someone who cannot see it has to know.
        model: network that it is about.
        representation: representation that it is about.

    Returns:
        The picture, at most 900 px wide; where it has to be, in 256 colours.

    Raises:
        UserError: the file is absent, damaged, no PNG, or too large.
    """
    where = f"{path.parent.name}/{path.name}"
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise UserError(f"{where}: larger than {LARGEST_FILE // 1_000_000} MB")
        with warnings.catch_warnings(), Image.open(path, formats=["PNG"]) as image:
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            if image.width * image.height > MOST_PIXELS:
                raise UserError(f"{where}: more than {MOST_PIXELS // 1_000_000} million pixels")
            image.load()
            picture = image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise UserError(f"{where}: absent or no whole PNG file") from None
    png = b""
    for width in WIDTHS:
        for write in (_true_colours, _few_colours):
            png = write(_narrowed(picture, width))
            if len(png) <= budget:
                return Picture(name, caption, alternative, png, "", model, representation)
    return Picture(name, caption, alternative, png, "", model, representation)


def _narrowed(picture: Image.Image, width: int) -> Image.Image:
    if picture.width <= width:
        return picture
    height = max(1, round(picture.height * width / picture.width))
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def _true_colours(picture: Image.Image) -> bytes:
    written = io.BytesIO()
    picture.save(written, "PNG", optimize=True)
    return written.getvalue()


def _few_colours(picture: Image.Image) -> bytes:
    """Write a picture in 256 colours of its own.

    By octree: a median cut loses the maps' bright colours among many greys, and the largest
    coverage takes minutes where no two pixels are alike. Not dithered, which compresses badly.
    """
    few = picture.quantize(COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    return _true_colours(few)
