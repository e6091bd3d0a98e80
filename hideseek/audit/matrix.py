"""Every trained cell tested on every representation of its sweep: train on one, test on another.

cell -> Tester -> scores on each representation, each image decoded once -> Section
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch

from hideseek.audit.bootstrap import Draws, Floats, Integers, mean_draws, metric_draws
from hideseek.audit.explain import balanced_draw
from hideseek.audit.grid import CellPredictions, Grid
from hideseek.audit.section import Section
from hideseek.audit.tester import Tester
from hideseek.errors import UserError
from hideseek.fill import FILLS
from hideseek.roi import REPRESENTATIONS

NAME = "cross_representation"
SAME_SCORE = 1e-3
"""Largest difference of a probability that another device or batch size explains."""

METRICS = ("accuracy", "balanced_accuracy", "macro_auc")
_SCHEMA = {
    **dict.fromkeys(("model", "trained_on", "tested_on", "diagonal"), pl.String),
    "seeds": pl.Int64,
    "metric": pl.String,
    **dict.fromkeys(("estimate", "low", "high", "drop", "drop_low", "drop_high"), pl.Float64),
}
Scored = dict[tuple[str, str], list[list[dict[str, Draws]]]]
"""Metrics of each tested representation, of each seed, of each (model, representation)."""


def matrix_section(
    sweep: Path,
    grid: Grid,
    counts: Integers,
    device: str | torch.device = "cpu",
    images: int | None = None,
) -> Section:
    """Test every cell on every representation that the sweep has.

    Args:
        sweep: its folder.
        grid: what `read_grid` found there.
        counts: resamples of its images [R, N], from `resample_counts`.
        device: where the networks run.
        images: at most so many test images, drawn balanced by class; None for all.

    Returns:
        The section `cross_representation`, with a table of that name, seeds averaged. Cells that
        cannot be rebuilt are left out, and a line says why.
    """
    chosen = balanced_draw(grid.labels, images)
    labels, counts = grid.labels[chosen], counts[:, chosen]
    tested: dict[str, CellPredictions] = {}
    for cell in grid.cells:
        if cell.roi in REPRESENTATIONS and cell.fill in FILLS:
            tested.setdefault(cell.representation, cell)
    names, tester = list(tested), Tester(sweep, grid, chosen)
    scored: Scored = {}
    reproduced: dict[str, dict[str, object]] = {}
    left_out: dict[str, str] = {}
    for cell in grid.cells:
        try:
            scores = tester.scores(cell, list(tested.values()), device)
        except (UserError, RuntimeError, ValueError) as error:  # torch's, of an odd network
            left_out[cell.folder] = (str(error).strip() or "no message").splitlines()[0]
            continue
        own = scores[names.index(cell.representation)]
        reproduced[cell.folder] = _compared(own, cell, chosen)
        metrics = [
            metric_draws(labels, each.argmax(axis=1), each, counts, grid.classes) for each in scores
        ]
        scored.setdefault((cell.model, cell.representation), []).append(metrics)
    rows = [row for cell, seeds in scored.items() for row in _rows(cell, names, seeds)]
    table = pl.DataFrame(rows, schema=_SCHEMA, orient="row").fill_nan(None)
    content = {
        "images": len(chosen),
        "representations": names,
        "cells": table.to_dicts(),
        "reproduced": reproduced,
        "left_out": left_out,
    }
    lines = _lines(reproduced, left_out, len(chosen), len(grid.labels))
    return Section(NAME, content, {NAME: table}, lines=lines)


def _compared(scores: Floats, cell: CellPredictions, chosen: Integers) -> dict[str, object]:
    """Compare with the cell's own predictions.csv."""
    apart = float(np.abs(scores - cell.probabilities[chosen]).max())
    changed = int((scores.argmax(axis=1) != cell.predictions[chosen]).sum())
    return {
        "same": apart <= SAME_SCORE and changed == 0,
        "changed": changed,
        "largest_difference": apart if np.isfinite(apart) else None,
    }


def _rows(
    cell: tuple[str, str], tested: Sequence[str], seeds: Sequence[Sequence[dict[str, Draws]]]
) -> Iterator[tuple[object, ...]]:
    """Lay one row of the matrix out; `drop` is from the diagonal, paired image by image."""
    for metric in METRICS:
        means = [
            mean_draws([seed[place][metric] for seed in seeds]) for place in range(len(tested))
        ]
        own = means[tested.index(cell[1])]
        for name, mean in zip(tested, means, strict=True):
            found = mean.interval(), (own - mean).interval()
            values = [value for each in found for value in (each.estimate, each.low, each.high)]
            yield (*cell, name, "yes" if name == cell[1] else "no", len(seeds), metric, *values)


def _lines(
    reproduced: Mapping[str, Mapping[str, object]],
    left_out: Mapping[str, str],
    images: int,
    of: int,
) -> tuple[str, ...]:
    lines = []
    if reproduced:
        lines.append(
            "Cross-representation matrix: off the diagonal a network sees pictures unlike any that "
            "it was trained on (out of distribution). A low value there says that this network "
            "does not cope with them, not that they hold no information."
        )
    if images != of:
        lines.append(f"Cross-representation matrix: of {images} of the {of} test images.")
    lines += [
        f"{folder}: its checkpoint does not give its predictions.csv again ({facts['changed']} of "
        f"{images} images in another class), so do not read its row of the cross-representation "
        "matrix; run the cell again."
        for folder, facts in reproduced.items()
        if not facts["same"]
    ]
    lines += [
        f"{folder}: left out of the cross-representation matrix: {reason}"
        for folder, reason in left_out.items()
    ]
    return tuple(lines)
