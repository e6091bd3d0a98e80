"""Manifest rows to a cache: decode, find the lungs where no mask is given, crop, store.

What cannot be decoded is listed with its reason and left out; the rest goes on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from hideseek.data.cache import CacheRecipe, Entry, write_cache
from hideseek.data.images import Radiograph, read_mask, read_radiograph
from hideseek.data.lungs import LungSegmenter
from hideseek.data.preprocess import WINDOWS, mask_to_square, to_square
from hideseek.errors import UserError
from hideseek.regions import lung_components

BATCH = 16
PROBLEM_COLUMNS = ("file", "kind", "severity", "reason", "action")


@dataclass
class BuildReport:
    """What became of the rows of a manifest.

    Attributes:
        rows: the canonical rows that went into the cache, with what was learned of each file.
        problems: one dictionary per finding, keys `PROBLEM_COLUMNS`.
    """

    rows: list[dict[str, str]] = field(default_factory=list)
    problems: list[dict[str, str]] = field(default_factory=list)

    def tables(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return manifest and problems as tables of text."""
        problems = pl.DataFrame(self.problems, schema=dict.fromkeys(PROBLEM_COLUMNS, pl.String))
        return pl.DataFrame(self.rows), problems


class _Decoded(NamedTuple):
    row: dict[str, str]
    radiograph: Radiograph | None
    mask: npt.NDArray[np.bool_] | None
    problems: list[dict[str, str]]


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
    entries = _entries(table, root, recipe, segmenter, report, advance)
    count = write_cache(path, recipe, entries, max(table.height, 1))
    if count == 0:
        path.unlink()
        first = report.problems[0]["reason"] if report.problems else "the manifest is empty"
        raise UserError(f"none of the {table.height} images can be used; the first: {first}")
    return report


def _entries(
    table: pl.DataFrame,
    root: Path,
    recipe: CacheRecipe,
    segmenter: Callable[[], LungSegmenter],
    report: BuildReport,
    advance: Callable[[int], None],
) -> Iterator[Entry]:
    needs_label_mask = recipe.task == "segment"
    lungs: LungSegmenter | None = None
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting = table.iter_rows(named=True)
        while rows := list(islice(waiting, BATCH)):
            decoded = list(pool.map(lambda row: _decode(row, root, needs_label_mask), rows))
            usable = [item for item in decoded if item.radiograph is not None]
            report.problems.extend(problem for item in decoded for problem in item.problems)
            without = [item for item in usable if item.mask is None]
            if without and lungs is None:
                lungs = segmenter()
            found = iter(
                lungs.masks([item.radiograph.pixels for item in without if item.radiograph])
                if lungs and without
                else []
            )
            for item in usable:
                mask = next(found) if item.mask is None else item.mask
                yield _entry(item, mask, recipe, report)
            advance(len(rows))


def _entry(
    item: _Decoded, mask: npt.NDArray[np.bool_], recipe: CacheRecipe, report: BuildReport
) -> Entry:
    radiograph = item.radiograph
    assert radiograph is not None
    height, width = radiograph.pixels.shape
    window = WINDOWS[recipe.preprocess](height, width)
    if recipe.task == "classify":
        mask = lung_components(mask)
    made = "segmenter" if item.mask is None else "manifest"
    file = {"width": width, "height": height, "bit_depth": radiograph.bit_depth}
    facts = {"format": radiograph.format, "sha256": radiograph.sha256, "mask_from": made}
    report.rows.append({**item.row, **{key: str(value) for key, value in file.items()}, **facts})
    if not mask.any():
        reason = "no lung found; kept, and marked 'empty'"
        report.problems.append(_problem(item.row["path"], "empty_mask", "warning", reason, "kept"))
    return Entry(
        to_square(radiograph.pixels, window, recipe.size),
        mask_to_square(mask, window, recipe.size),
        {**item.row, "mask_from": made},
    )


def _decode(row: dict[str, str], root: Path, mask_required: bool) -> _Decoded:
    try:
        radiograph = read_radiograph(root / row["path"])
    except UserError as error:
        problem = _problem(row["path"], "unreadable", "error", str(error), "left out")
        return _Decoded(row, None, None, [problem])
    if not row["mask"]:
        return _Decoded(row, radiograph, None, [])
    height, width = radiograph.pixels.shape
    try:
        return _Decoded(row, radiograph, read_mask(root / row["mask"], (height, width)), [])
    except UserError as error:
        action = "left out" if mask_required else "mask made by the segmenter"
        severity = "error" if mask_required else "warning"
        problem = _problem(row["mask"], "unreadable_mask", severity, str(error), action)
        return _Decoded(row, None if mask_required else radiograph, None, [problem])


def _problem(file: str, kind: str, severity: str, reason: str, action: str) -> dict[str, str]:
    return dict(zip(PROBLEM_COLUMNS, (file, kind, severity, reason, action), strict=True))
