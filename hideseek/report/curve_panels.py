"""Training curves of one network: losses and score by epoch, a colour for each representation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.typing import LineStyleType

from hideseek.report.drawing import drawn, legible
from hideseek.report.palette import representation_colour
from hideseek.roi import PAPER

PANELS = {"train": "loss, training images", "val": "loss, choosing images"}
OTHERS: tuple[LineStyleType, ...] = (":", "-.")
"""Of representations with another fill or margin, which share the colour."""


@dataclass(frozen=True)
class Line:
    """One cell: its representation, `epoch`, `train`, `val` and `score`, and the chosen epoch."""

    representation: str
    history: pl.DataFrame
    chosen: int | None


@drawn
def curve_panels(lines: Sequence[Line], score: str) -> Figure:
    """Draw three panels: both losses and the score.

    Args:
        lines: of one network, a line a cell, in order.
        score: name of what chose the epoch.

    Returns:
        The figure.
    """
    names = list(dict.fromkeys(line.representation for line in lines))
    rows = -(-len(names) // 4)
    figure = Figure(figsize=(10.5, 3.3 + 0.2 * rows), layout="constrained")
    axes = figure.subplots(1, 3)
    styles = {name: _style(name, names) for name in names}
    for axis, (column, title) in zip(
        axes, {**PANELS, "score": legible(score)}.items(), strict=True
    ):
        for name in names:
            of = [line for line in lines if line.representation == name]
            _draw(axis, of, column, representation_colour(name), styles[name])
        axis.set_title(title, loc="left")
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(axis="y", linewidth=0.6)
        axis.set_axisbelow(True)
    axes[2].set_ylim(min(0.0, axes[2].get_ylim()[0]), max(1.02, axes[2].get_ylim()[1]))
    _legend(figure, names, styles)
    return figure


def _draw(
    axis: Axes, lines: Sequence[Line], column: str, colour: str, style: LineStyleType
) -> None:
    several = len(lines) > 1
    for line in lines:
        x, y = line.history["epoch"].to_numpy(), line.history[column].cast(pl.Float64).to_numpy()
        width, alpha = (0.7, 0.45) if several else (1.6, 1.0)
        axis.plot(x, y, linestyle=style, color=colour, linewidth=width, alpha=alpha)
        if column == "score" and line.chosen is not None:
            # A white edge: dots of many cells lie on one another.
            axis.plot(x[line.chosen - 1], y[line.chosen - 1], "o", color=colour, markersize=4.5,
                      markeredgecolor="white", markeredgewidth=0.6, zorder=4)  # fmt: skip
    if several:
        both = pl.concat([line.history.select("epoch", pl.col(column).cast(pl.Float64))
                          for line in lines])  # fmt: skip
        mean = both.group_by("epoch").agg(pl.col(column).mean()).sort("epoch")
        axis.plot(mean["epoch"].to_numpy(), mean[column].to_numpy(), linestyle=style, color=colour,
                  linewidth=1.8, zorder=3)  # fmt: skip


def _style(name: str, names: Sequence[str]) -> LineStyleType:
    """Draw the paper's representations as lines, controls dashed, and other fills and margins."""
    plain = name.partition(" ")[0]
    alike = [other for other in names if other.partition(" ")[0] == plain]
    if place := alike.index(name):
        return OTHERS[(place - 1) % len(OTHERS)]
    return "-" if plain in PAPER else "--"


def _legend(figure: Figure, names: Sequence[str], styles: Mapping[str, LineStyleType]) -> None:
    handles = [
        Line2D([], [], color=representation_colour(name), linestyle=styles[name], linewidth=1.8)
        for name in names
    ]
    # matplotlib leaves out what begins with an underscore.
    labels = [f" {text}" if (text := legible(name)).startswith("_") else text for name in names]
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(names)))
