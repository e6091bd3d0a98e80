"""Heat maps: a colour and a text in each cell, so that nothing is told by colour alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from hideseek.report.drawing import drawn, ink_on
from hideseek.report.palette import GRID, INK, PAPER_WHITE, SCALE

GAP = 0.25
"""Of a cell, between groups of columns or rows."""

CELL_WIDTH, CELL_HEIGHT = 0.9, 0.52  # inches; two lines of text in 8 points
LETTER = 0.078  # inches of a letter of a label
WIDEST = 12
"""Columns beyond which a picture would need letters too small to read."""


@dataclass(frozen=True)
class Heat:
    """A heat map.

    Attributes:
        rows: labels.
        columns: labels; may have several lines.
        values: by row and column; None for a cell without a number.
        texts: the same, shown in the cells.
        limits: values of the ends of the scale; beyond them the colour changes no more.
        scale: what the colours mean.
        row_starts: rows before which there is a gap.
        column_starts: columns before which there is a gap.
        outlined: cells (row, column) with a frame.
        across: what the columns are; shown below them if not empty.
        down: what the rows are.
    """

    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float | None]]
    texts: Sequence[Sequence[str]]
    limits: tuple[float, float]
    scale: str
    row_starts: frozenset[int] = frozenset()
    column_starts: frozenset[int] = frozenset()
    outlined: frozenset[tuple[int, int]] = frozenset()
    across: str = ""
    down: str = ""

    def turned(self) -> Heat:
        """Swap rows and columns."""
        return replace(
            self,
            rows=[name.replace("\n", " ") for name in self.columns],
            columns=[name.replace(" ", "\n") for name in self.rows],
            values=list(zip(*self.values, strict=True)),
            texts=list(zip(*self.texts, strict=True)),
            row_starts=self.column_starts,
            column_starts=self.row_starts,
            outlined=frozenset((column, row) for row, column in self.outlined),
            across=self.down,
            down=self.across,
        )


@drawn
def heat_figure(heat: Heat) -> Figure:
    """Draw a heat map; turned, if it has too many columns and fewer rows.

    Args:
        heat: with one row and one column at least.

    Returns:
        The figure.
    """
    if len(heat.columns) > WIDEST and len(heat.rows) < len(heat.columns):
        heat = heat.turned()
    across, down = _places(heat.columns, heat.column_starts), _places(heat.rows, heat.row_starts)
    width, height = across[-1] + 1, down[-1] + 1
    header = 0.17 * max(name.count("\n") + 1 for name in heat.columns) + 0.2
    sides = LETTER * max(map(len, heat.rows)) + 1.2 + 0.3 * bool(heat.down)
    size = CELL_WIDTH * width + sides, max(1.7, CELL_HEIGHT * height + header + 0.35)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_xticks([place + 0.5 for place in across], heat.columns)
    axes.set_yticks([place + 0.5 for place in down], heat.rows)
    axes.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    if heat.across:
        axes.set_xlabel(heat.across, labelpad=8)
        axes.xaxis.set_label_position("top")
    axes.set_ylabel(heat.down)
    normal = Normalize(*heat.limits, clip=True)
    for row, y in enumerate(down):
        for column, x in enumerate(across):
            value, text = heat.values[row][column], heat.texts[row][column]
            place = None if value is None else float(normal(value))
            _cell(axes, x, y, place, text, (row, column) in heat.outlined)
    bar = figure.colorbar(
        ScalarMappable(normal, SCALE), ax=axes, fraction=0.03, pad=0.02, anchor=(0, 1)
    )
    bar.set_label(heat.scale, fontsize=8)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    return figure


def _places(names: Sequence[str], starts: frozenset[int]) -> list[float]:
    gaps = 0
    places = []
    for number in range(len(names)):
        gaps += number in starts and number > 0
        places.append(number + GAP * gaps)
    return places


def _cell(axes: Axes, x: float, y: float, place: float | None, text: str, outlined: bool) -> None:
    """Draw a cell at (x, y), coloured by its place on the scale, hatched where it has none."""
    hatch = "////" if place is None else None
    face = PAPER_WHITE if place is None else colormaps[SCALE](place)
    axes.add_patch(
        Rectangle((x, y), 1, 1, facecolor=face, edgecolor=GRID if hatch else PAPER_WHITE,
                  linewidth=1, hatch=hatch)
    )  # fmt: skip
    if outlined:
        axes.add_patch(
            Rectangle((x + 0.04, y + 0.04), 0.92, 0.92, fill=False, edgecolor="#d55e00",
                      linewidth=2)
        )  # fmt: skip
    ink = INK if place is None else ink_on(place)
    axes.text(x + 0.5, y + 0.5, text, color=ink, ha="center", va="center", fontsize=8)
