"""Where the classifiers of a sweep look, with two gates that say of which the maps may be read.

cells -> explained on the same images -> means with intervals
against random weights, and against networks trained on shuffled labels -> gates
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from hideseek.audit.correlation import correlations
from hideseek.audit.energy import MEASURES, mean_by_group
from hideseek.audit.excess import Counts
from hideseek.audit.explain import RANDOM, Explained, Shown, balanced_draw, explain_cell
from hideseek.audit.gates import CELL, GATES, above_chance, cell_name, gate_lines, gate_of
from hideseek.audit.grid import CellPredictions, Grid, Integers
from hideseek.audit.label_gate import (
    LABEL_GATES,
    label_gate_content,
    label_gate_lines,
    label_gate_of,
    map_correlations,
    twins_of,
)
from hideseek.audit.section import Section
from hideseek.errors import UserError
from hideseek.progress import progress


def attribution_section(
    sweep: Path,
    grid: Grid,
    counts: Counts,
    images: int | None = 60,
    device: str | torch.device = "cpu",
    every_seed: bool = False,
) -> Section:
    """Measure where each classifier of a sweep looks.

    Args:
        sweep: its folder.
        grid: as `read_grid` returns it.
        counts: [R, N] of resamples of patients, of all images of the grid.
        images: at most so many, drawn balanced by class and the same for every cell; None for all.
        device: where the networks run.
        every_seed: explain all cells; else the lowest seed of each representation.

    Returns:
        The section `attribution` with its tables: `attribution_images` (a row an image and cell),
        `attribution` (means by cell; by class, by right and wrong, and minus the original's on the
        same images), `attribution_gates` (against random weights), `attribution_label_gates`
        (against shuffled labels) and `attribution_correlations`.
    """
    chosen = balanced_draw(grid.labels, images)
    drawn = counts[:, chosen]
    cells = list(grid.cells) if every_seed else grid.lowest_seeds()
    twins = twins_of(cells, grid.aside)
    controls = [twin for each in twins.values() for twin in each]
    explained, left_out = _explain_all(sweep, cells, controls, grid, chosen, device)
    found = [(cell, explained[cell.folder]) for cell in cells if cell.folder in explained]
    label_rows = []
    for cell, seen in found:
        shuffled = {
            twin.folder: explained[twin.folder]
            for twin in twins.get(cell.folder, [])
            if twin.folder in explained
        }
        if shuffled:
            label_rows.append(_label_row(cell, seen, shuffled, drawn))
    label_gates = pl.DataFrame(label_rows, LABEL_GATES)
    passed = dict(label_gates.select("folder", "passed").iter_rows())
    gates = pl.DataFrame(
        [_gate_row(cell, seen, grid, counts, drawn, passed) for cell, seen in found], GATES
    )
    rows = pl.concat(_rows(*each, grid, chosen) for each in found) if found else pl.DataFrame()
    tables = {
        "attribution_images": rows,
        "attribution_gates": gates,
        "attribution_label_gates": label_gates,
    }
    if found:
        tables["attribution"] = _means(rows, drawn)
        tables["attribution_correlations"] = correlations(rows)
    content: dict[str, Any] = {
        "method": "Grad-CAM of the predicted class, raw maps",
        "images": len(chosen),
        "of": len(grid.labels),
        "drawn": "balanced by class, seed 0" if len(chosen) < len(grid.labels) else "all",
        "seeds": "all" if every_seed else "lowest of each representation",
        "cells": [
            {
                **cell_name(cell),
                "layer": seen.layer,
                "map": list(seen.maps.shape[1:]),
                "reproduced": seen.reproduced,
            }
            for cell, seen in found
        ],
        "gates": {"model": gates.to_dicts(), "label": label_gates.to_dicts() or None},
        "label_gate": label_gate_content(sweep, [cell for cell, _ in found], label_gates),
        "left_out": left_out,
    }
    lines = (
        *gate_lines(content, gates),
        *label_gate_lines(content["label_gate"], label_gates),
        *(f"not explained: {folder}: {reason}" for folder, reason in left_out.items()),
    )
    return Section("attribution", content, tables, lines=lines)


def _explain_all(
    sweep: Path,
    cells: Sequence[CellPredictions],
    twins: Sequence[CellPredictions],
    grid: Grid,
    chosen: Integers,
    device: str | torch.device,
) -> tuple[dict[str, Explained], dict[str, str]]:
    """Explain cells and the networks with shuffled labels; by folder, and why not others."""
    explained: dict[str, Explained] = {}
    left_out: dict[str, str] = {}
    random = {cell.folder: (cell, RANDOM) for cell in cells}
    random |= {twin.folder: (twin, 0) for twin in twins}
    bar, advance = progress("attribution", len(random))
    with bar:
        shown = Shown(chosen)
        # The networks of a representation one after the other, for its images are kept so long.
        for cell, number in sorted(random.values(), key=lambda each: each[0].representation):
            try:
                explained[cell.folder] = explain_cell(sweep, cell, grid, shown, device, number)
            except (UserError, RuntimeError, ValueError) as error:  # torch's, of an odd network
                left_out[cell.folder] = (str(error).strip() or "no message").splitlines()[0]
            advance(1)
    return explained, left_out


def _rows(cell: CellPredictions, seen: Explained, grid: Grid, chosen: Integers) -> pl.DataFrame:
    about = pl.DataFrame(
        {
            **cell_name(cell),
            **grid.images[chosen].to_dict(),
            **seen.factors,
            "prediction": np.array(grid.classes)[seen.predictions],
            "correct": seen.predictions == grid.labels[chosen],
        },
        schema_overrides=CELL,
    )
    return about.hstack(seen.measured)


def _gate_row(
    cell: CellPredictions,
    seen: Explained,
    grid: Grid,
    counts: Counts,
    drawn: Counts,
    passed: dict[str, bool | None],
) -> dict[str, Any]:
    values = np.column_stack([seen.energy, seen.random])
    row = {**cell_name(cell), **gate_of(values, drawn), **above_chance(cell, grid, counts)}
    both = row["passed"] and passed.get(cell.folder) is not False
    return {**row, "informative": both and row["above_chance"]}


def _label_row(
    cell: CellPredictions, seen: Explained, shuffled: Mapping[str, Explained], drawn: Counts
) -> dict[str, Any]:
    networks = [seen, *shuffled.values()]
    alike = map_correlations([each.maps for each in networks])
    energies = np.column_stack([each.energy for each in networks])
    found = label_gate_of(energies, alike, drawn)
    return {**cell_name(cell), "shuffled_folders": ", ".join(shuffled), **found}


def _means(rows: pl.DataFrame, counts: Counts) -> pl.DataFrame:
    """Average each cell's rows, which are of the same images in the same order, and so paired."""
    parts = []
    cells = {str(key[0]): part for key, part in rows.group_by("folder", maintain_order=True)}
    originals = {
        (part.item(0, "model"), part.item(0, "seed")): part
        for part in cells.values()
        if part.item(0, "representation") == "original"
    }
    for part in cells.values():
        name = part.select(*CELL).row(0, named=True)
        for group in ("", "label", "correct"):
            means = mean_by_group(part, [group] if group else [], counts)
            levels = {"true": "right", "false": "wrong"} if group == "correct" else {}
            level = pl.col(group).cast(pl.String).replace(levels) if group else pl.lit("")
            parts.append(_named(means.with_columns(level.alias("level")), name, group or "all"))
        original = originals.get((name["model"], name["seed"]))
        if original is not None and original is not part:
            less = [part.get_column(each) - original.get_column(each) for each in MEASURES]
            means = mean_by_group(pl.DataFrame([part.get_column("state"), *less]), [], counts)
            parts.append(_named(means.with_columns(level=pl.lit("")), name, "minus original"))
    return pl.concat(parts)


def _named(means: pl.DataFrame, name: dict[str, Any], group: str) -> pl.DataFrame:
    columns = [pl.lit(value, CELL[key]).alias(key) for key, value in name.items()]
    numbers = ("images", "no_energy", "no_lung", "defined", "mean", "low", "high")
    return means.select(*columns, pl.lit(group).alias("group"), "level", "measure", *numbers)
