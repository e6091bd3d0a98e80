"""What it is worth to let the test set choose the epoch, as the paper does.

The best of many epochs on the test set is partly luck, and would not be found again on other
patients. With `selection=paper` the validation images are trained on, so the cell itself cannot say
how much. Two answers: the same cell with `selection=validation`, image by image; and, without such
a cell, how far the chosen epoch lies above the usual one of the late epochs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from hideseek.audit.excess import Counts, Estimate, estimate, weighted_sums
from hideseek.audit.grid import CellPredictions, Grid
from hideseek.audit.section import Section
from hideseek.errors import UserError
from hideseek.sweep.untrusted import read_fields

MONITOR = "val/balanced_accuracy"
"""Column of history.csv that chose the epoch, where config.yaml names no other (`task.monitor`).

With selection=paper it is of the test images.
"""

FALLBACK = "val/accuracy"
"""Taken where history.csv lacks that column."""

OPTIMISM = {
    **dict.fromkeys(("model", "representation"), pl.String),
    "seed": pl.Int64,
    **dict.fromkeys(
        ("accuracy_paper", "accuracy_validation", "optimism", "low", "high"), pl.Float64
    ),
    **dict.fromkeys(("folder_paper", "folder_validation"), pl.String),
}
SPREAD = {
    **dict.fromkeys(("model", "representation"), pl.String),
    **dict.fromkeys(("seed", "epochs", "last"), pl.Int64),
    "score": pl.String,
    **dict.fromkeys(("best", "median", "spread"), pl.Float64),
    "folder": pl.String,
}


def selection_section(sweep: Path, grid: Grid, counts: Counts) -> Section:
    """Say which images chose the epochs of a sweep, and what it did to the scores.

    Args:
        sweep: its folder.
        grid: as `read_grid` returns it.
        counts: [R, N] of resamples of patients.

    Returns:
        The section `selection`; with pairs the table `optimism` (a row a pair, and one of all), and
        where the test set chose the epoch of cells that a verdict is of, the table `selection`.
    """
    flattered = [cell for cell in grid.cells if cell.training.flattered]
    aside = [cell for cell in grid.aside if not cell.training.shuffled]
    optimism = optimism_table(sweep, grid, counts)
    monitors = {cell.folder: _monitor(sweep / cell.folder) for cell in flattered}
    rows = [_spread_row(sweep, cell, monitors[cell.folder]) for cell in flattered]
    spread = pl.DataFrame(rows, SPREAD, orient="row")
    scores = dict(spread.drop_nulls("score").select("folder", "score").iter_rows())
    tables = {} if optimism.is_empty() else {"optimism": optimism}
    if flattered:
        tables["selection"] = spread
    known = spread.get_column("spread").drop_nulls()
    chosen = {cell.training.selection for cell in grid.cells}
    content: dict[str, Any] = {
        "chosen_by": {name: "test" if name == "paper" else name for name in sorted(chosen)},
        "pairs": max(0, optimism.height - 1),
        "optimism": None if optimism.is_empty() else optimism.row(-1, named=True),
        "spread": None if known.is_empty() else {"mean": known.mean(), "most": known.max()},
        "scores": sorted(set(scores.values())),
        "other_score": [name for name, score in scores.items() if score != monitors[name]],
        "set_aside": [cell.folder for cell in aside],
    }
    lines = (*_paired_lines(content), *_unpaired_lines(grid, spread, content), *_aside_lines(aside))
    return Section("selection", content, tables, lines=lines)


def optimism_table(sweep: Path, grid: Grid, counts: Counts) -> pl.DataFrame:
    """Compare cells that differ in nothing but the images that chose the epoch.

    Args:
        sweep: its folder.
        grid: with cells of both kinds, else there is nothing to compare.
        counts: [R, N] of resamples of patients.

    Returns:
        One row a pair, in the grid's order: accuracy with `selection=paper` and with
        `selection=validation`, `optimism` (the difference) and its paired 95 % interval; then one
        row of all pairs, `model` "all", their mean. Empty without a pair.
    """
    pairs = _pairs(sweep, grid)
    if not pairs:
        return pl.DataFrame(schema=OPTIMISM)
    right = np.stack([cell.predictions == grid.labels for pair in pairs for cell in pair], axis=1)
    paper, guarded = right[:, ::2].astype(np.float64), right[:, 1::2].astype(np.float64)
    images = weighted_sums(counts, np.ones((len(grid.labels), 1)))
    gained = weighted_sums(counts, paper - guarded) / images
    rows: list[tuple[object, ...]] = []
    for number, (one, other) in enumerate(pairs):
        accuracies = float(paper[:, number].mean()), float(guarded[:, number].mean())
        name = one.model, one.representation, one.seed
        folders = one.folder, other.folder
        rows.append((*name, *accuracies, *_limits(estimate(gained[:, number])), *folders))
    overall = estimate(gained.mean(axis=1))
    accuracies = float(paper.mean()), float(guarded.mean())
    rows.append(("all", "", None, *accuracies, *_limits(overall), "", ""))
    return pl.DataFrame(rows, OPTIMISM, orient="row")


def late_spread(scores: Sequence[float] | npt.NDArray[np.float64]) -> tuple[int, float, float]:
    """Measure how far the best epoch lies above the usual one, once a network has learned.

    Early epochs are left out, for they are below the others by what had not been learned yet.

    Args:
        scores: of each epoch, at least one, finite.

    Returns:
        How many epochs were looked at, the later half; the greatest of their scores; the median.
    """
    last = np.asarray(scores, np.float64)[len(scores) // 2 :]
    return len(last), float(last.max()), float(np.median(last))


def _pairs(sweep: Path, grid: Grid) -> list[tuple[CellPredictions, CellPredictions]]:
    """Pair cells, the one that the test set chose first, with true labels."""
    cells = [cell for cell in (*grid.cells, *grid.aside) if not cell.training.shuffled]
    kinds: dict[bool, dict[tuple[object, ...], CellPredictions]] = {True: {}, False: {}}
    for cell in cells:
        name = cell.model, cell.representation, cell.seed, _draw(sweep, cell)
        kinds[cell.training.flattered].setdefault(name, cell)
    return [(kinds[True][name], cell) for name, cell in kinds[False].items() if name in kinds[True]]


def _draw(sweep: Path, cell: CellPredictions) -> int | str:
    """Tell which random boxes a cell had; where that is unknown, it has no partner."""
    if cell.roi != "random_box_out":
        return 0
    from hideseek.audit.reopen import drawn  # loads torch

    try:
        return drawn(sweep / cell.folder)
    except UserError:
        return cell.folder


def _limits(found: Estimate) -> tuple[float | None, float | None, float | None]:
    return found.value, found.low, found.high


def _spread_row(sweep: Path, cell: CellPredictions, monitor: str) -> tuple[object, ...]:
    score, scores = _scores(sweep / cell.folder / "history.csv", monitor)
    name = cell.model, cell.representation, cell.seed
    if not scores:
        return (*name, *(None,) * 6, cell.folder)
    last, best, median = late_spread(scores)
    return (*name, len(scores), last, score, best, median, best - median, cell.folder)


def _monitor(folder: Path) -> str:
    """Read by which score a cell chose its epoch; the usual one where it does not tell."""
    try:
        return read_fields(folder / "config.yaml").below("task").text("monitor")
    except (OSError, ValueError, UserError):
        return MONITOR


def _scores(path: Path, monitor: str) -> tuple[str, list[float]]:
    """Read the score of each epoch and its name; no epoch where the file does not tell."""
    try:
        history = pl.read_csv(path, glob=False)
        score = monitor if monitor in history.columns else FALLBACK
        found = history.get_column(score).cast(pl.Float64)
    except (OSError, pl.exceptions.PolarsError):
        return "", []
    return score, [each for each in found if each is not None and math.isfinite(each)]


def _paired_lines(content: dict[str, Any]) -> tuple[str, ...]:
    found = content["optimism"]
    if found is None:
        return ()
    interval = ""
    if found["low"] is not None:
        interval = f", {100 * found['low']:+.1f} to {100 * found['high']:+.1f}"
    return (
        f"Choosing the epoch on the test set (selection=paper) adds {100 * found['optimism']:+.1f} "
        f"points of accuracy{interval}, over {content['pairs']} pairs of cells; the validation "
        "images that it also trains on are part of that (optimism.csv).",
    )


def _unpaired_lines(grid: Grid, spread: pl.DataFrame, content: dict[str, Any]) -> tuple[str, ...]:
    if spread.is_empty():
        return ()
    text = (
        f"The test set chose the epoch (selection=paper) of {spread.height} of {len(grid.cells)} "
        "cells, so their scores are too good by an unknown amount"
    )
    known = spread.drop_nulls("spread")
    if not known.is_empty():
        mean, most = (100 * float(known.select(each).item()) for each in _MEAN_AND_MOST)
        text += (
            f"; for its scale, over the later half of the epochs the best is {mean:.1f} points "
            f"above the median on the test set, {most:.1f} at most (of "
            f"{', '.join(content['scores'])})"
        )
    if others := len(content["other_score"]):
        text += (
            f". history.csv of {others} of them lacks the score that chose the epoch, so "
            f"{FALLBACK} stands in for it"
        )
    return (f"{text}. selection=validation,paper in one sweep measures it.",)


_MEAN_AND_MOST = pl.col("spread").mean(), pl.col("spread").max()


def _aside_lines(aside: Sequence[CellPredictions]) -> tuple[str, ...]:
    if not aside:
        return ()
    lines = []
    if paper := sum(cell.training.flattered for cell in aside):
        lines.append(
            "Verdicts are of the cells whose epoch the validation set chose; "
            f"{paper} of selection=paper are set aside."
        )
    if few := len(aside) - paper:
        lines.append(
            f"{few} of selection=validation are set aside: they show less than a verdict needs and "
            "the cells of selection=paper show."
        )
    return tuple(lines)
