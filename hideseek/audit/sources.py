"""What the hospital explains: the metadata floor, and every network judged within a source.

    predictions of a sweep, rows of its cache -> floors, strata, conditional tests -> Section

Seeds are averaged in probability. The part that is within sources needs the predictions alone; the
floor and the views need the cache, and are listed as not available where it is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from hideseek.audit.cached import cache_of, described_rows
from hideseek.audit.conditional import ConditionalTest, conditional_test
from hideseek.audit.excess import (
    Counts,
    Excess,
    excess_over_floor,
    excess_table,
)
from hideseek.audit.floors import FloorsOnTest, floors_on_test
from hideseek.audit.grid import Grid
from hideseek.audit.section import Section
from hideseek.audit.source_lines import Cell, Pairs, Tests, floor_lines, pair_lines, within_lines
from hideseek.audit.strata import separate_within, strata_table
from hideseek.data.floor import Floor
from hideseek.errors import UserError

GUESSING = "guessing"


def sources_section(sweep: Path, grid: Grid, counts: Counts) -> Section:
    """Hold every network against the metadata, and judge it within sources.

    Args:
        sweep: its folder.
        grid: what `read_grid` found there.
        counts: resamples of its images [R, N], from `resample_counts`.

    Returns:
        The section `sources`, with the tables `floors` and `excess` (where the cache is there),
        `strata` and `conditional`.
    """
    lacking: dict[str, str] = {}
    rows: pl.DataFrame | None = None
    try:
        rows = rows_of(sweep, grid)
    except UserError as error:
        lacking = {"floor": str(error), "view": str(error)}
    floors = None
    if rows is not None:
        try:
            floors = floors_on_test(rows, grid)
        except UserError as error:
            lacking["floor"] = str(error)
    shown = averaged(grid, rows)
    by: list[tuple[str, ...]] = [("source",)]
    views = next(iter(shown.values())).get_column("view") if rows is not None else None
    if views is not None and views.n_unique() > 1:
        by.append(("source", "view"))
    elif views is not None:
        lacking["view"] = "all test images are of one view, or none is known"
    pairs = {
        (cell, names): separate_within(table, grid.classes, names, counts)
        for cell, table in shown.items()
        for names in by
    }
    tests = {
        (cell, names): conditional_test(table, grid.classes, names)
        for cell, table in shown.items()
        for names in by
    }
    excess = {} if floors is None else _excess(grid, shown, floors, counts)
    return Section(
        "sources",
        _content(grid, floors, excess, pairs, tests, lacking),
        _tables(floors, excess, pairs, tests),
        lines=(
            *([] if floors is None else floor_lines(floors.floors, floors.best, excess)),
            *pair_lines(pairs),
            *within_lines(pairs, tests),
            *(f"sources: {part} not available: {reason}" for part, reason in lacking.items()),
        ),
    )


def rows_of(sweep: Path, grid: Grid) -> pl.DataFrame:
    """Look up the rows of all splits in the cache of the first cell whose cache is there.

    Raises:
        UserError: none is there, or it lacks a test image.
    """
    reasons = []
    for cell in grid.cells:
        try:
            rows = described_rows(cache_of(sweep, cell.folder))
        except UserError as error:
            reasons.append(str(error))
            continue
        names = grid.images.get_column("image_id")
        if (there := names.is_in(rows.get_column("image_id").to_list())).all():
            return rows
        reasons.append(f"the cache of {cell.folder} lacks the image {names.filter(~there)[0]}")
    raise UserError(reasons[0])


def averaged(grid: Grid, rows: pl.DataFrame | None) -> dict[Cell, pl.DataFrame]:
    """Average the seeds of each cell in probability.

    Args:
        grid: of the sweep.
        rows: of its cache, for the views; or None.

    Returns:
        By model and representation `image_id, patient_id, source, label`, `view` where there are
        rows, and `p_<class>`, one row an image.
    """
    images = grid.images
    if rows is not None:
        views = rows.select("image_id", "view")
        images = images.join(views, on="image_id", how="left", maintain_order="left")
    shown = {}
    for model in grid.models():
        for representation, cells in grid.representations(model).items():
            mean = np.mean([cell.probabilities for cell in cells], axis=0)
            shown[model, representation] = images.with_columns(
                pl.Series(f"p_{name}", mean[:, k]) for k, name in enumerate(grid.classes)
            )
    return shown


def _excess(
    grid: Grid, shown: Mapping[Cell, pl.DataFrame], floors: FloorsOnTest, counts: Counts
) -> dict[Cell, tuple[Excess, ...]]:
    columns = [f"p_{name}" for name in grid.classes]
    return {
        cell: excess_over_floor(
            grid.labels,
            table.select(columns).to_numpy().argmax(axis=1),
            floors.predictions,
            grid.classes,
            counts,
        )
        for cell, table in shown.items()
    }


def _content(
    grid: Grid,
    floors: FloorsOnTest | None,
    excess: Mapping[Cell, Sequence[Excess]],
    pairs: Pairs,
    tests: Tests,
    lacking: Mapping[str, str],
) -> dict[str, Any]:
    first = next(iter(pairs))[0]
    return {
        "sources": grid.images.get_column("source").value_counts(sort=True).to_dicts(),
        "floors": [] if floors is None else [asdict(each) for each in floors.floors],
        "best_floor": None if floors is None else _name(floors.best),
        "excess": [
            {**_named(cell), **asdict(each)} for cell, found in excess.items() for each in found
        ],
        "identifiable": [
            {"classes": list(pair.classes), "by": list(pair.by), "verdict": pair.verdict,
             "strata": [name for name, _ in pair.strata]}
            for (cell, _), found in pairs.items() if cell == first for pair in found
        ],
        "within": [
            {**_named(cell), "classes": list(pair.classes), "by": list(pair.by),
             "verdict": pair.verdict, "overall": asdict(pair.overall),
             "within": None if pair.within is None else asdict(pair.within)}
            for (cell, _), found in pairs.items() for pair in found
        ],
        "conditional": [
            {**_named(cell), **asdict(test), "net_bits": test.net_bits}
            for (cell, _), test in tests.items()
        ],
        "not_available": dict(lacking),
    }  # fmt: skip


def _name(best: Floor | None) -> str:
    return GUESSING if best is None else best.name


def _named(cell: Cell) -> dict[str, str]:
    return {"model": cell[0], "representation": cell[1]}


def _tables(
    floors: FloorsOnTest | None,
    excess: Mapping[Cell, Sequence[Excess]],
    pairs: Pairs,
    tests: Tests,
) -> dict[str, pl.DataFrame]:
    tables = {
        "strata": pl.concat(
            _labelled(strata_table(pair), cell) for (cell, _), pair in pairs.items()
        ),
        "conditional": pl.concat(
            _labelled(_conditional_row(test), cell) for (cell, _), test in tests.items()
        ),
    }
    if floors is not None:
        tables["floors"] = pl.DataFrame(
            [
                {"floor": each.name, "columns": ", ".join(each.columns), "images": each.n,
                 "fitted_on": each.fitted_on, "correct": each.correct, "accuracy": each.accuracy,
                 "macro_auc": each.auc, "validated": each.validated,
                 "best": "yes" if each is floors.best else ""}
                for each in floors.floors
            ],
        )  # fmt: skip
        tables["excess"] = pl.concat(
            _labelled(excess_table(found), cell).with_columns(floor_of=pl.lit(_name(floors.best)))
            for cell, found in excess.items()
        )
    return tables


def _labelled(table: pl.DataFrame, cell: Cell) -> pl.DataFrame:
    return table.select(
        pl.lit(cell[0]).alias("model"), pl.lit(cell[1]).alias("representation"), pl.all()
    )


def _conditional_row(test: ConditionalTest) -> pl.DataFrame:
    row: dict[str, Any] = {
        "by": ", ".join(test.by),
        "patients": test.patients,
        "set_aside": test.set_aside,
        "strata": test.strata,
        "permutations": test.permutations,
    }
    for name in ("accuracy", "log_loss", "bits"):
        found = getattr(test, name)
        for part in ("value", "expected", "p"):
            row[f"{name}_{part}"] = None if found is None else getattr(found, part)
    numbers = {name: pl.Float64 for name in list(row)[5:]}
    return pl.DataFrame([row], schema_overrides=numbers)
