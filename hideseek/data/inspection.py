"""What a file is like: every image and mask of a manifest, decoded once before anything is kept.

The facts are plain arrays, stored in shards, so that a killed inspection goes on where it stopped.
What they mean is judged in `findings`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from hideseek.data.duplicates import thumbnail
from hideseek.data.images import read_mask, read_radiograph
from hideseek.data.samples import ImageError
from hideseek.data.shards import run_shards
from hideseek.errors import UserError

INSPECTION_VERSION = 1
"""Raised whenever the same file would give other facts."""

SHARD = 128
SIDE = 32


@dataclass(frozen=True)
class Facts:
    """What decoding one row's image and mask told.

    Attributes:
        error: kind of the error that kept the image from being decoded, "" where it was.
        reason: that error in one line.
        width: pixels, 0 where unreadable, as are the numbers below.
        height: pixels.
        bit_depth: bits per sample in the file.
        deviation: standard deviation of the 8-bit pixels.
        format: what the content is.
        sha256: of the file.
        window: "LOW..HIGH", the sample values that became black and white; "" for 8-bit files.
        notes: JSON list of (kind, reason), as `Radiograph.notes`.
        header: JSON object, as `Radiograph.header`.
        mask_error: why the mask could not be used, "" where it can or there is none.
        mask_share: share of the image that the mask covers, -1 without a mask.
        mask_sha256: of the mask's file, "" without a usable mask.
    """

    error: str = ""
    reason: str = ""
    width: int = 0
    height: int = 0
    bit_depth: int = 0
    deviation: float = 0.0
    format: str = ""
    sha256: str = ""
    window: str = ""
    notes: str = "[]"
    header: str = "{}"
    mask_error: str = ""
    mask_share: float = -1.0
    mask_sha256: str = ""


@dataclass(frozen=True)
class Inspection:
    """The facts of all rows.

    Attributes:
        facts: one row per manifest row, columns as in `Facts`.
        thumbnails: uint8 [N, 32, 32], the whole image squashed to a square; black where unreadable.
    """

    facts: pl.DataFrame
    thumbnails: npt.NDArray[np.uint8]


def inspect(
    table: pl.DataFrame,
    root: Path,
    windowing: str,
    folder: Path,
    advance: Callable[[int], None] = lambda count: None,
) -> Inspection:
    """Decode every image and mask of a table, over all cores.

    Args:
        table: rows with `path` and `mask`.
        root: folder that these are relative to.
        windowing: see `samples.WINDOWINGS`.
        folder: of the shards; its name stands for the rows, the files and the windowing.
        advance: told how many rows are done, for a progress bar.

    Returns:
        Facts and thumbnails, in the order of the table.
    """
    rows = list(zip(table.get_column("path"), table.get_column("mask"), strict=True))
    with ThreadPoolExecutor(os.cpu_count()) as pool:

        def work(part: Sequence[tuple[str, str]]) -> dict[str, npt.NDArray[Any]]:
            return _shard(
                list(pool.map(lambda row: _inspect(row[0], row[1], root, windowing), part))
            )

        shards = list(run_shards(folder, rows, SHARD, work, advance))
    names = [field.name for field in fields(Facts)]
    columns = {name: [value for s in shards for value in s[name].tolist()] for name in names}
    pictures = [shard["thumbnail"] for shard in shards]
    empty = np.zeros((0, SIDE, SIDE), np.uint8)
    schema = {name: type(getattr(Facts(), name)) for name in names}
    return Inspection(pl.DataFrame(columns, schema=schema), np.concatenate([empty, *pictures]))


def _shard(inspected: list[tuple[Facts, npt.NDArray[np.uint8]]]) -> dict[str, npt.NDArray[Any]]:
    by_name = zip(*(astuple(facts) for facts, _ in inspected), strict=True)
    names = (field.name for field in fields(Facts))
    arrays = {name: np.array(values) for name, values in zip(names, by_name, strict=True)}
    return {**arrays, "thumbnail": np.stack([picture for _, picture in inspected])}


def _inspect(
    path: str, mask: str, root: Path, windowing: str
) -> tuple[Facts, npt.NDArray[np.uint8]]:
    try:
        radiograph = read_radiograph(root / path, windowing)
    except ImageError as error:
        return Facts(error=error.kind, reason=str(error)), np.zeros((SIDE, SIDE), np.uint8)
    pixels, window = radiograph.pixels, radiograph.window
    facts = Facts(
        width=pixels.shape[1],
        height=pixels.shape[0],
        bit_depth=radiograph.bit_depth,
        deviation=float(pixels.std()),
        format=radiograph.format,
        sha256=radiograph.sha256,
        window="" if window is None else f"{window[0]:g}..{window[1]:g}",
        notes=json.dumps(radiograph.notes),
        header=json.dumps(radiograph.header),
    )
    if mask:
        try:
            lung = read_mask(root / mask, (pixels.shape[0], pixels.shape[1]))
            digest = hashlib.sha256((root / mask).read_bytes()).hexdigest()
            known = {"mask_share": float(lung.mean()), "mask_sha256": digest}
            facts = Facts(**{**asdict(facts), **known})
        except UserError as error:
            facts = Facts(**{**asdict(facts), "mask_error": str(error)})
    return facts, thumbnail(pixels)
