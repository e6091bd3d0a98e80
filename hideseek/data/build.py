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
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from hideseek.data.cache import CacheRecipe, Entry, write_cache
from hideseek.data.entry import Decoded, Row, make_entry
from hideseek.data.images import read_mask, read_radiograph
from hideseek.data.lungs import FoundLungs, Segmenter
from hideseek.data.problems import Problem, problem_table
from hideseek.data.shards import discard, run_shards, texts
from hideseek.errors import UserError

SHARD = 64
BATCH = 16

Arrays = dict[str, npt.NDArray[Any]]


@dataclass
class BuildReport:
    """What became of the rows of a manifest.

    Attributes:
        rows: the canonical rows that went into the cache, with what was learned of each file.
        judged: these, and the rows that the policy for masks left out.
        problems: findings, in the order of the rows.
    """

    rows: list[Row] = field(default_factory=list)
    judged: list[Row] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def tables(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return manifest and problems as tables of text."""
        return pl.DataFrame(self.rows), problem_table(self.problems)


def mask_table(judged: Sequence[Row]) -> pl.DataFrame:
    """Lay out what is known of each mask, one row an image: text columns."""
    keys = ("image_id", "path", "label", "source", "patient_id", "split")
    facts = [name for name in (judged[0] if judged else {}) if name.startswith("mask_")]
    return pl.DataFrame([{name: row[name] for name in (*keys, *facts)} for row in judged])


def build_cache(
    table: pl.DataFrame,
    root: Path,
    recipe: CacheRecipe,
    path: Path,
    segmenter: Callable[[], Segmenter],
    advance: Callable[[int], None] = lambda count: None,
    export: Path | None = None,
) -> BuildReport:
    """Decode every row, complete the masks and write the cache.

    Args:
        table: canonical rows with their splits.
        root: folder that the rows' paths are relative to.
        recipe: of the cache.
        path: of the cache.
        segmenter: called once, when the first mask is missing.
        advance: told how many rows are done, for a progress bar.
        export: folder for the masks as PNG files of the images' own size, or None.

    Returns:
        The rows used and the problems met.

    Raises:
        UserError: not a single image could be used.
    """
    report = BuildReport()
    # Shards of a run that exported no masks would leave gaps in the export.
    folder = path.with_name(f".{path.stem}{'-export' if export else ''}.shards")
    builder = _Builder(root, recipe, segmenter, export)
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
        columns = (shard[name] for name in ("image", "mask", "row", "used"))
        for image, bits, row, used in zip(*columns, strict=True):
            report.judged.append(json.loads(str(row)))
            if not used:
                continue
            report.rows.append(report.judged[-1])
            mask = np.unpackbits(bits, count=size * size).reshape(size, size).astype(bool)
            yield Entry(image, mask, report.rows[-1])


@dataclass
class _Builder:
    root: Path
    recipe: CacheRecipe
    load_segmenter: Callable[[], Segmenter]
    export: Path | None = None

    @cached_property
    def segmenter(self) -> Segmenter:
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
        entries = []
        for item, found in zip(usable, self._lungs(usable), strict=True):
            entries.append(make_entry(item, found, self.recipe, problems, self.export))
        size = self.recipe.size
        images = [np.zeros((0, size, size), np.uint8), *(entry.image[None] for entry, _ in entries)]
        masks = [
            np.zeros((0, (size * size + 7) // 8), np.uint8),
            *(np.packbits(entry.mask)[None] for entry, _ in entries),
        ]
        return {
            "image": np.concatenate(images),
            "mask": np.concatenate(masks),
            "row": texts([json.dumps(entry.text) for entry, _ in entries]),
            "used": np.array([used for _, used in entries], np.bool_),
            "problems": texts([json.dumps(problems)]),
        }

    def _lungs(self, usable: Sequence[Decoded]) -> list[FoundLungs]:
        without = [
            each.radiograph.pixels for each in usable if each.mask is None and each.radiograph
        ]
        found: list[FoundLungs] = []
        for start in range(0, len(without), BATCH):
            found += self.segmenter.find(without[start : start + BATCH])
        made = iter(found)
        return [
            next(made) if item.mask is None else FoundLungs(item.mask, float("nan"))
            for item in usable
        ]


def _decode(row: Row, root: Path, windowing: str, mask_required: bool) -> Decoded:
    try:
        radiograph = read_radiograph(root / row["path"], windowing)
    except UserError as error:
        problem = Problem(row["path"], "unreadable", "error", str(error), "left out")
        return Decoded(row, None, None, [problem])
    if not row["mask"]:
        return Decoded(row, radiograph, None, [])
    height, width = radiograph.pixels.shape
    try:
        return Decoded(row, radiograph, read_mask(root / row["mask"], (height, width)), [])
    except UserError as error:
        action = "left out" if mask_required else "mask made by the segmenter"
        problem = Problem(row["mask"], "unreadable_mask", "error" if mask_required else "warning",
                          str(error), action)  # fmt: skip
        return Decoded(row, None if mask_required else radiograph, None, [problem])
