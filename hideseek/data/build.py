"""Manifest rows to a cache: decode, find the lungs where no mask is given, crop, store.

Squares and masks are made in shards that survive a kill, then written as one cache. What cannot be
decoded is listed with its reason and left out; the rest goes on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from hideseek.data.cache import CacheRecipe, Entry, write_cache
from hideseek.data.images import Radiograph, read_mask, read_radiograph
from hideseek.data.lungs import LungSegmenter
from hideseek.data.preprocess import WINDOWS, mask_to_square, to_square
from hideseek.data.problems import Problem, problem_table
from hideseek.data.shards import discard, run_shards, texts
from hideseek.errors import UserError
from hideseek.regions import lung_components

SHARD = 64
BATCH = 16

Row = dict[str, str]
Arrays = dict[str, npt.NDArray[Any]]


@dataclass
class BuildReport:
    """What became of the rows of a manifest.

    Attributes:
        rows: the canonical rows that went into the cache, with what was learned of each file.
        problems: findings, in the order of the rows.
    """

    rows: list[Row] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def tables(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return manifest and problems as tables of text."""
        return pl.DataFrame(self.rows), problem_table(self.problems)


class _Decoded(NamedTuple):
    row: Row
    radiograph: Radiograph | None
    mask: npt.NDArray[np.bool_] | None
    problems: list[Problem]


def build_cache(
    table: pl.DataFrame,
    root: Path,
    recipe: CacheRecipe,
    path: Path,
    segmenter: Callable[[], LungSegmenter],
    advance: Callable[[int], None] = lambda count: None,
) -> BuildReport:
    """Decode every row, complete the masks and write the cache.

    Args:
        table: canonical rows with their splits.
        root: folder that the rows' paths are relative to.
        recipe: of the cache.
        path: of the cache.
        segmenter: called once, when the first mask is missing.
        advance: told how many rows are done, for a progress bar.

    Returns:
        The rows used and the problems met.

    Raises:
        UserError: not a single image could be used.
    """
    report = BuildReport()
    folder = path.with_name(f".{path.stem}.shards")
    builder = _Builder(root, recipe, segmenter)
    rows = list(table.iter_rows(named=True))
    shards = run_shards(folder, rows, SHARD, builder.shard, advance)
    count = write_cache(path, recipe, _entries(shards, recipe.size, report), max(len(rows), 1))
    discard(folder)
    if count == 0:
        path.unlink()
        first = report.problems[0].reason if report.problems else "the manifest is empty"
        raise UserError(f"none of the {table.height} images can be used; the first: {first}")
    return report


def _entries(shards: Iterator[Arrays], size: int, report: BuildReport) -> Iterator[Entry]:
    for shard in shards:
        report.problems += [Problem(*values) for values in json.loads(str(shard["problems"][0]))]
        for image, bits, row in zip(shard["image"], shard["mask"], shard["row"], strict=True):
            report.rows.append(json.loads(str(row)))
            mask = np.unpackbits(bits, count=size * size).reshape(size, size).astype(bool)
            yield Entry(image, mask, report.rows[-1])


@dataclass
class _Builder:
    root: Path
    recipe: CacheRecipe
    load_segmenter: Callable[[], LungSegmenter]

    @cached_property
    def segmenter(self) -> LungSegmenter:
        return self.load_segmenter()

    @cached_property
    def pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(os.cpu_count())

    def shard(self, rows: Sequence[Row]) -> Arrays:
        required = self.recipe.task == "segment"
        decoded = list(
            self.pool.map(
                lambda row: _decode(row, self.root, self.recipe.windowing, required), rows
            )
        )
        problems = [problem for item in decoded for problem in item.problems]
        usable = [item for item in decoded if item.radiograph is not None]
        entries = [
            _entry(item, mask, self.recipe, problems)
            for item, mask in zip(usable, self._masks(usable), strict=True)
        ]
        size = self.recipe.size
        images = [np.zeros((0, size, size), np.uint8), *(entry.image[None] for entry in entries)]
        masks = [
            np.zeros((0, (size * size + 7) // 8), np.uint8),
            *(np.packbits(entry.mask)[None] for entry in entries),
        ]
        return {
            "image": np.concatenate(images),
            "mask": np.concatenate(masks),
            "row": texts([json.dumps(entry.text) for entry in entries]),
            "problems": texts([json.dumps(problems)]),
        }

    def _masks(self, usable: Sequence[_Decoded]) -> list[npt.NDArray[np.bool_]]:
        without = [
            item.radiograph.pixels for item in usable if item.mask is None and item.radiograph
        ]
        found: list[npt.NDArray[np.bool_]] = []
        for start in range(0, len(without), BATCH):
            found += self.segmenter.masks(without[start : start + BATCH])
        made = iter(found)
        return [next(made) if item.mask is None else item.mask for item in usable]


def _entry(
    item: _Decoded, mask: npt.NDArray[np.bool_], recipe: CacheRecipe, problems: list[Problem]
) -> Entry:
    radiograph = item.radiograph
    assert radiograph is not None
    height, width = radiograph.pixels.shape
    window = WINDOWS[recipe.preprocess](height, width)
    if recipe.task == "classify":
        mask = lung_components(mask)
    square = mask_to_square(mask, window, recipe.size)
    if not square.any():
        where = "no lung found" if not mask.any() else "no lung inside the square that is cut out"
        reason = f"{where}; kept, and marked 'empty'"
        problems.append(Problem(item.row["path"], "empty_mask", "warning", reason, "kept"))
    facts = {
        "width": str(width),
        "height": str(height),
        "bit_depth": str(radiograph.bit_depth),
        "format": radiograph.format,
        "sha256": radiograph.sha256,
        "mask_from": "segmenter" if item.mask is None else "manifest",
    }
    image = to_square(radiograph.pixels, window, recipe.size)
    return Entry(image, square, {**item.row, **facts})


def _decode(row: Row, root: Path, windowing: str, mask_required: bool) -> _Decoded:
    try:
        radiograph = read_radiograph(root / row["path"], windowing)
    except UserError as error:
        problem = Problem(row["path"], "unreadable", "error", str(error), "left out")
        return _Decoded(row, None, None, [problem])
    if not row["mask"]:
        return _Decoded(row, radiograph, None, [])
    height, width = radiograph.pixels.shape
    try:
        return _Decoded(row, radiograph, read_mask(root / row["mask"], (height, width)), [])
    except UserError as error:
        action = "left out" if mask_required else "mask made by the segmenter"
        problem = Problem(row["mask"], "unreadable_mask", "error" if mask_required else "warning",
                          str(error), action)  # fmt: skip
        return _Decoded(row, None if mask_required else radiograph, None, [problem])
