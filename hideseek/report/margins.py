"""Accuracy as more and more round the lungs is hidden, filled in several ways."""

from __future__ import annotations

from itertools import pairwise

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hideseek.fill import FILLS
from hideseek.report.chapter import Picture
from hideseek.report.drawing import drawn, legible, picture
from hideseek.report.palette import GRID, network_colour
from hideseek.report.scores import LIMITS, parts_of
from hideseek.report.whiskers import MARKERS

APART = 0.14
"""Between the curves of neighbouring fills, as a share of the least step between margins."""

COLUMNS = 3
"""Networks side by side."""


def margin_table(accuracy: pl.DataFrame) -> pl.DataFrame:
    """Lay accuracies out by margin and fill.

    Args:
        accuracy: `model`, `representation` and `LIMITS`.

    Returns:
        `model, roi, fill, margin, estimate, low, high` of each network and representation that was
        run at two margins or fills at least; sorted by margin within a fill.
    """
    taken = [parts_of(name) for name in accuracy["representation"]]
    table = accuracy.select(
        "model",
        pl.Series("roi", [roi for roi, _, _ in taken], pl.String),
        pl.Series("fill", [fill for _, fill, _ in taken], pl.String),
        pl.Series("margin", [margin for _, _, margin in taken], pl.Float64),
        *LIMITS,
    )
    several = pl.struct("fill", "margin").n_unique().over("model", "roi") > 1
    return table.filter(several).sort("model", "roi", "fill", "margin", maintain_order=True)


def margin_pictures(table: pl.DataFrame) -> list[Picture]:
    """Draw accuracy over margin, one panel a network, one curve a fill.

    Args:
        table: as `margin_table` returns it.

    Returns:
        A picture for each representation.
    """
    made = []
    for place, roi in enumerate(dict.fromkeys(table["roi"])):
        part = table.filter(pl.col("roi") == roi, pl.col("estimate").is_not_null())
        if part.is_empty():
            continue
        fills = ", ".join(dict.fromkeys(part["fill"]))
        made.append(
            picture(
                _figure(part),
                f"margins_{place + 1}",
                f"Accuracy on {roi} by margin and fill, with 95 % intervals.",
                f"Curves of accuracy over the margin for the fills {fills}; the numbers are in "
                "the table margins.",
                representation=roi,
            )
        )
    return made


@drawn
def _figure(part: pl.DataFrame) -> Figure:
    models = list(dict.fromkeys(part["model"]))
    met = list(dict.fromkeys(part["fill"]))
    fills = [*(name for name in FILLS if name in met), *(name for name in met if name not in FILLS)]
    columns = min(COLUMNS, len(models))
    rows = -(-len(models) // columns)
    figure = Figure(figsize=(max(4.2, 3.2 * columns), 2.7 * rows + 0.6), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    margins = sorted(set(part["margin"]))
    steps = [after - before for before, after in pairwise(margins)]
    step = APART * min(steps, default=1.0)
    for axes in grid.flat[len(models) :]:
        axes.set_visible(False)
    for model, axes in zip(models, grid.flat, strict=False):
        axes.set_title(legible(model))
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        for place, fill in enumerate(fills):
            rows_of = part.filter(pl.col("model") == model, pl.col("fill") == fill)
            _curve(axes, rows_of, place, (place - (len(fills) - 1) / 2) * step)
        axes.set_xticks(margins)
    for place, fill in enumerate(fills):
        _curve_key(grid.flat[0], legible(fill), place)
    figure.supxlabel("margin, % of the lung width", fontsize=9)
    figure.supylabel("accuracy", fontsize=9)
    figure.legend(*grid.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure


def _curve(axes: Axes, rows: pl.DataFrame, place: int, shift: float) -> None:
    """Draw one fill, moved to the side so that no whisker hides another."""
    colour, marker = network_colour(place), MARKERS[place % len(MARKERS)]
    x = [margin + shift for margin in rows["margin"]]
    axes.plot(x, rows["estimate"].to_list(), marker=marker, color=colour, markersize=4, lw=1.2)
    for at, low, high in zip(x, rows["low"], rows["high"], strict=True):
        if low is not None and high is not None:
            axes.plot([at, at], [low, high], color=colour, linewidth=1)


def _curve_key(axes: Axes, fill: str, place: int) -> None:
    colour, marker = network_colour(place), MARKERS[place % len(MARKERS)]
    axes.plot([], [], marker=marker, color=colour, markersize=4, label=fill)
