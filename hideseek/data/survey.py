"""The survey: one pass over every file, all its problems, splits that hold, before any cache.

Its folder holds `manifest.csv` (the rows that are used, with splits and facts), `problems.csv` and
`near_duplicates.csv`, and is named by the hash of all that decides them. It appears whole or not at
all; the facts of the files lie in shards beside it, so that a killed survey goes on.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from hideseek.data.copies import Pair, without_copies
from hideseek.data.duplicates import near_duplicates
from hideseek.data.findings import judge_files
from hideseek.data.inspection import INSPECTION_VERSION, inspect
from hideseek.data.manifest import COLUMNS, files_state, read_text_columns, table_hash
from hideseek.data.problems import Problem, problem_table
from hideseek.data.sources.listing import Listing
from hideseek.data.splits import complete_splits
from hideseek.progress import progress

SURVEY_VERSION = 1
"""Raised whenever the same files would be judged in another way."""


@dataclass(frozen=True)
class SurveyRecipe:
    """Everything but the files that decides what a survey says.

    Attributes:
        task: "classify" or "segment" (which needs a usable mask in every row).
        windowing: of samples of more than 8 bits, one of `samples.WINDOWINGS`.
        duplicates: correlation of 32x32 thumbnails from which two images are near-duplicates.
        split_seed: of the splits that the rows leave open.
        folds: number of folds, or None for one split.
        fold: which fold is the test set.
        version: of the judgement.
    """

    task: str
    windowing: str
    duplicates: float
    split_seed: int
    folds: int | None
    fold: int
    version: int = SURVEY_VERSION


@dataclass(frozen=True)
class Survey:
    """A finished survey.

    Attributes:
        folder: where its files lie.
        rows: the rows that are used: text, canonical columns first, then facts and `group`.
        problems: all findings.
    """

    folder: Path
    rows: pl.DataFrame
    problems: list[Problem]


def survey_folder(
    place: Path, name: str, listed: Listing, root: Path, recipe: SurveyRecipe
) -> Path:
    """Name the folder of a survey by its rows, the state of the files and its recipe."""
    parts = (table_hash(listed.rows), files_state(listed.rows, root), json.dumps(asdict(recipe)))
    return place / f"{name}-{_digest(*parts)}"


def read_survey(folder: Path) -> Survey | None:
    """Read a finished survey, or None where there is none."""
    if not (folder / "manifest.csv").is_file():
        return None
    problems = read_text_columns(folder / "problems.csv").iter_rows()
    rows = read_text_columns(folder / "manifest.csv")
    return Survey(folder, rows, [Problem(*values) for values in problems])


def survey(folder: Path, listed: Listing, root: Path, recipe: SurveyRecipe) -> Survey:
    """Inspect every file and decide what is used.

    Args:
        folder: as `survey_folder` names it.
        listed: canonical rows ("" where a split is open) and what was found when listing them.
        root: folder that the rows' paths are relative to.
        recipe: the choices.

    Returns:
        The survey, as written to the folder.

    Raises:
        UserError: too few patients are left to split.
    """
    table = listed.rows
    names = table.select("path", "mask")
    key = _digest(table_hash(names), files_state(table, root), recipe.windowing, INSPECTION_VERSION)
    bar, advance = progress("inspecting files", table.height)
    with bar:
        inspection = inspect(
            table, root, recipe.windowing, folder.parent / f"inspection-{key}", advance
        )
    judged = judge_files(table, inspection, masks_required=recipe.task == "segment")
    pairs = near_duplicates(inspection.thumbnails[judged.kept], recipe.duplicates)
    rows, copies = without_copies(judged.rows, pairs)
    if not rows.is_empty():
        rows = complete_splits(rows, recipe.split_seed, recipe.folds, recipe.fold, "group")
    first = [name for name in (*COLUMNS, "width", "height", "bit_depth", "format", "sha256")]
    rows = rows.select(*first, *(name for name in rows.columns if name not in first))
    found = [*listed.problems, *judged.problems, *copies]
    _write(folder, rows, found, _pair_table(judged.rows, pairs))
    return Survey(folder, rows, found)


def _pair_table(rows: pl.DataFrame, pairs: Sequence[Pair]) -> pl.DataFrame:
    path = rows.get_column("path").to_list()
    named = [(path[first], path[second], round(alike, 5)) for first, second, alike in pairs]
    schema = {"image_a": pl.String, "image_b": pl.String, "correlation": pl.Float64}
    return pl.DataFrame(named, schema=schema, orient="row")


def _write(
    folder: Path, rows: pl.DataFrame, problems: Sequence[Problem], pairs: pl.DataFrame
) -> None:
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    temporary.mkdir(parents=True)
    try:
        rows.write_csv(temporary / "manifest.csv")
        problem_table(problems).write_csv(temporary / "problems.csv")
        pairs.write_csv(temporary / "near_duplicates.csv")
        if not folder.exists():
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _digest(*parts: object) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:12]
