"""Dots with whiskers: estimates and their intervals against a line, such as chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hideseek.report.drawing import drawn
from hideseek.report.palette import GRID, INK
from hideseek.report.scores import Score

MARKERS = "osD^vPX*"
"""Beside the colours, for those who cannot tell these apart."""

LETTER = 0.078  # inches of a letter of a label
ROW, SERIES = 0.14, 0.15  # inches: of a row, and for each series in it
WIDTH = 5.2  # inches of the plot itself


@dataclass(frozen=True)
class Series:
    """What is drawn in one colour.

    Attributes:
        name: in the legend.
        colour: of dots and whiskers.
        scores: estimate, low and high by row; a row may lack.
    """

    name: str
    colour: str
    scores: Mapping[str, Score]


@drawn
def whisker_figure(
    rows: Mapping[str, str],
    series: Sequence[Series],
    label: str,
    lines: Mapping[str, float],
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Draw dots with whiskers, one row for each name, networks side by side in it.

    Args:
        rows: labels by key, from the top; at least one.
        series: at least one; the legend is left out where there is one without a name.
        label: of the axis.
        lines: vertical lines by what they mean, the first of them solid.
        limits: of the axis; by the data if None.

    Returns:
        The figure.
    """
    height = len(rows) * (ROW + SERIES * len(series))
    named = [each for each in series if each.name]
    columns = max(1, min(len(named) + len(lines), 3))
    legend = 0.2 * -(-(len(named) + len(lines)) // columns)
    sides = LETTER * max(map(len, rows.values())) + 0.3
    figure = Figure(figsize=(WIDTH + sides, max(1.3, height + legend + 0.75)), layout="constrained")
    axes = figure.subplots()
    for place, (meaning, value) in enumerate(lines.items()):
        style = (0, (4, 3)) if place else "solid"
        axes.axvline(value, color=INK, linewidth=1, linestyle=style, label=meaning, zorder=1)
    for number in range(1, len(rows)):
        axes.axhline(number - 0.5, color=GRID, linewidth=0.8, zorder=0)
    share = SERIES / (ROW + SERIES * len(series))
    for number, each in enumerate(series):
        shift = (number - (len(series) - 1) / 2) * share
        _series(axes, list(rows), each, shift, MARKERS[number % len(MARKERS)])
    axes.set(ylim=(len(rows) - 0.5, -0.5), xlabel=label)
    if limits is not None:
        axes.set_xlim(*limits)
    axes.set_yticks(range(len(rows)), list(rows.values()))
    axes.tick_params(axis="y", length=0)
    if named or lines:
        figure.legend(loc="outside upper center", ncols=columns)
    return figure


def _series(axes: Axes, rows: Sequence[str], series: Series, shift: float, marker: str) -> None:
    for number, row in enumerate(rows):
        estimate, low, high = series.scores.get(row, (None, None, None))
        if estimate is None:
            continue
        if low is not None and high is not None:
            axes.plot([low, high], [number + shift] * 2, color=series.colour, linewidth=1.6)
        axes.plot(estimate, number + shift, marker, color=series.colour, markersize=5, zorder=3)
    if series.name:
        axes.plot([], [], marker, color=series.colour, linestyle="-", label=series.name)
