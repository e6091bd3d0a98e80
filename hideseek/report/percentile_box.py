"""A box of percentiles, which says the same for ten values and for ten thousand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from hideseek.report.palette import INK, UNKNOWN

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def percentile_box(
    axis: Axes, place: int, values: npt.NDArray[np.float64], colour: str, nothing: str
) -> None:
    """Draw one lying box: 5th, 25th, 50th, 75th and 95th percentile.

    Args:
        axis: to draw on.
        place: height.
        values: finite; none of them is fine.
        colour: of the box.
        nothing: written where there are no values.
    """
    if not len(values):
        axis.text(0.02, place, nothing, color=UNKNOWN, va="center",
                  transform=axis.get_yaxis_transform())  # fmt: skip
        return
    low, first, middle, third, high = np.quantile(values, QUANTILES)
    axis.plot([low, high], [place, place], color=colour, linewidth=1.2)
    axis.barh(place, third - first, left=first, height=0.5, color=colour, alpha=0.55)
    axis.plot([middle, middle], [place - 0.27, place + 0.27], color=INK, linewidth=1.6)


def finish_boxes(axis: Axes, title: str, size: float = 10) -> None:
    """Give boxes their title, room at both sides, and lines to compare along."""
    axis.use_sticky_edges = False
    axis.margins(x=0.04)
    axis.set_title(title, loc="left", fontsize=size)
    axis.grid(axis="x", linewidth=0.6)
    axis.set_axisbelow(True)
