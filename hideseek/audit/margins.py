"""How far around the lungs a hole has to reach until half of the signal is gone.

    AUC at each margin, on shared resamples -> half_margin -> Half -> the section `margins`

What touches the lungs, such as the heart, goes with a small margin; a marker at the border stays.
The fills are told apart: where they differ, the way of hiding speaks (audit-spec 2.10).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from hideseek.audit.bootstrap import Draws, Floats
from hideseek.audit.grid import Grid
from hideseek.audit.section import Section

CHANCE = 0.5
HIDING = ("lungs_removed", "lungs_boxed_out", "union_box_out")
FEWEST = 3
"""Margins that make a curve."""


@dataclass(frozen=True)
class Half:
    """The margin at which half of the excess over chance is gone.

    Attributes:
        estimate: in % of the lungs' width; None if the largest margin does not reach it.
        low: lower 95 % limit; None if it lies beyond the largest margin.
        high: upper limit, likewise.
        largest: margin that was tried.
    """

    estimate: float | None
    low: float | None
    high: float | None
    largest: float

    def __str__(self) -> str:
        """Write it out, "> 30" for what lies beyond the largest margin."""
        beyond = f"> {self.largest:g}"
        shown = [
            beyond if each is None else f"{each:.0f}"
            for each in (self.estimate, self.low, self.high)
        ]
        return f"{shown[0]} % ({shown[1]} to {shown[2]})"


def half_margin(curve: Mapping[float, Draws], least: float = 0.05) -> Half | str:
    """Find where the excess over chance falls to half of what the lungs' own outline leaves.

    Args:
        curve: AUC by margin in % of the lungs' width, on the same resamples; straight lines join
            the margins.
        least: AUC above chance without which there is nothing to halve.

    Returns:
        The margin, or in words why there is none.
    """
    margins = sorted(margin for margin in curve if margin >= 0)
    if len(margins) < FEWEST or margins[0] != 0:
        return "not known without the margin 0 and two larger ones"
    if curve[0].interval().low - CHANCE <= least:
        return "nothing to halve, for it is not clearly above chance at margin 0"
    excess = np.stack(
        [np.concatenate([[curve[m].estimate], curve[m].values]) - CHANCE for m in margins]
    )
    crossed = _first_below(np.asarray(margins, dtype=np.float64), excess, excess[0] / 2)
    # Infinity orders like any number, so limits may lie beyond the largest margin.
    low, high = np.quantile(crossed[1:], [0.025, 0.975], method="nearest")
    known = [None if np.isinf(each) else float(each) for each in (crossed[0], low, high)]
    return Half(known[0], known[1], known[2], margins[-1])


def _first_below(margins: Floats, excess: Floats, half: Floats) -> Floats:
    """Interpolate the first margin [R] at which excess [M, R] is at most half [R], or infinity."""
    below = excess <= half
    first = np.where(below.any(axis=0), below.argmax(axis=0), len(margins))
    crossed = np.full(half.shape, np.inf)
    columns = np.flatnonzero((first > 0) & (first < len(margins)))
    after = first[columns]
    before = after - 1
    high, low = excess[before, columns], excess[after, columns]
    share = (high - half[columns]) / (high - low)
    crossed[columns] = margins[before] + share * (margins[after] - margins[before])
    # A resample without any excess at 0 has lost it there.
    crossed[first == 0] = 0.0
    return crossed


def margins_section(
    grid: Grid, scores: Mapping[tuple[str, str], Mapping[str, Draws]], least: float = 0.05
) -> Section | None:
    """Sum up the margins of a sweep.

    Args:
        grid: its cells.
        scores: metrics by model and representation, seeds averaged.
        least: AUC above chance that counts.

    Returns:
        The section with the table `margins`, or None where no representation that hides the lungs
        was shown with three margins. Those that show the lungs gain with the margin.
    """
    curves: dict[tuple[str, str, str], dict[float, Draws]] = {}
    for cell in (each for each in grid.cells if each.roi in HIDING):
        draws = scores[cell.model, cell.representation]["macro_auc"]
        curves.setdefault((cell.model, cell.roi, cell.fill), {})[cell.margin] = draws
    curves = {key: curve for key, curve in curves.items() if len(curve) >= FEWEST}
    if not curves:
        return None
    rows, halves, lines = [], [], []
    for key, curve in curves.items():
        named = dict(zip(("model", "roi", "fill"), key, strict=True))
        rows += [
            {**named, "margin": margin, **asdict(curve[margin].interval())}
            for margin in sorted(curve)
        ]
        half = half_margin(curve, least)
        halves.append({**named, "half": asdict(half) if isinstance(half, Half) else None})
        said = half if isinstance(half, str) else f"half of its signal is gone at {half}"
        lines.append(f"margins: {' '.join(key)}: {said}")
    content: dict[str, Any] = {"unit": "% of the lungs' width", "half": halves}
    return Section("margins", content, {"margins": pl.DataFrame(rows)}, lines=tuple(lines))
