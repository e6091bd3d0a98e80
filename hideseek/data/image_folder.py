"""A folder of images, masks and a manifest that is made here: whole under its name, or absent."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt


@contextmanager
def image_folder(folder: Path, is_there: Callable[[], bool]) -> Iterator[Path]:
    """Give a place to fill, which gets the folder's name when the block ends well.

    Args:
        folder: wanted; absent or empty.
        is_there: whether somebody else has finished the same folder in the meantime.

    Yields:
        A folder beside it, with `images/` and `masks/`; it is gone whatever happens.

    Raises:
        OSError: it cannot be written, or the name is taken by something else.
    """
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for name in ("images", "masks"):
            (partial / name).mkdir(parents=True)
        yield partial
        try:
            partial.replace(folder)
        except OSError:
            # Another process (a rank, a parallel cell) may have finished the same folder first.
            if not is_there():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_pair(
    folder: Path, name: str, image: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_]
) -> tuple[str, str]:
    """Write an image and its mask into such a folder.

    Args:
        folder: with `images/` and `masks/`.
        name: of both files, without ending.
        image: uint8 [S, S].
        mask: bool [S, S], True = lung.

    Returns:
        Their paths in the folder.
    """
    files = (f"images/{name}.png", f"masks/{name}.png")
    for file, pixels in zip(files, (image, mask * np.uint8(255)), strict=True):
        encoded = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
        (folder / file).write_bytes(encoded.tobytes())
    return files
