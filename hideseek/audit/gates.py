"""Whether attribution says anything: against networks with random weights, and above chance."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from hideseek.audit.bootstrap import metric_draws
from hideseek.audit.excess import Counts, divide, estimate, weighted_sums
from hideseek.audit.grid import CellPredictions, Grid

CELL = {"model": pl.String, "representation": pl.String, "seed": pl.Int64, "folder": pl.String}

GATES = {
    **CELL,
    **dict.fromkeys(("enrichment", "low", "high", "far", "far_random"), pl.Float64),
    **dict.fromkeys(("lowered", "lowered_low", "lowered_high"), pl.Float64),
    **dict.fromkeys(("auc", "auc_low", "auc_high"), pl.Float64),
    **dict.fromkeys(("passed", "above_chance", "informative"), pl.Boolean),
}


def gate_of(values: npt.NDArray[np.float64], counts: Counts) -> dict[str, Any]:
    """Compare E of the trained network, the first column of [B, 1 + RANDOM], with the others.

    A trained network has to be farther from E = 1 than every one with random weights. If it were no
    other than they, it would be the farthest in a quarter of all cases.
    """
    defined = ~np.isnan(values)
    sums = weighted_sums(counts, np.concatenate([np.nan_to_num(values), defined], axis=1))
    means = divide(sums[:, : values.shape[1]], sums[:, values.shape[1] :])
    far = np.abs(means - 1)
    random = np.fmax.reduce(far[:, 1:], axis=1)  # of those that give any map
    trained, lowered = estimate(means[:, 0]), estimate(far[:, 0] - random)
    return {
        "enrichment": trained.value,
        "low": trained.low,
        "high": trained.high,
        "far": estimate(far[:, 0]).value,
        "far_random": estimate(random).value,
        "lowered": lowered.value,
        "lowered_low": lowered.low,
        "lowered_high": lowered.high,
        "passed": lowered.low is not None and lowered.low > 0,
    }


def above_chance(cell: CellPredictions, grid: Grid, counts: Counts) -> dict[str, Any]:
    """Tell whether the network learned anything, on all images: where nothing else is random.

    Where regions are hidden, training on noise moves E as well, past that of random weights.
    """
    given = grid.labels, cell.predictions, cell.probabilities, counts, grid.classes
    auc = metric_draws(*given)["macro_auc"].interval()
    values = {"auc": auc.estimate, "auc_low": auc.low, "auc_high": auc.high}
    known = {name: None if np.isnan(value) else value for name, value in values.items()}
    return {**known, "above_chance": auc.low > 0.5}


def gate_lines(content: dict[str, Any], gates: pl.DataFrame) -> tuple[str, ...]:
    """Say of which cells the maps may be read, and why not of the others."""
    lines = [
        f"{content['method']}, on {content['images']} of {content['of']} test images "
        f"({content['drawn']}); seeds: {content['seeds']}. E is the share of a map's energy in the "
        "lungs over their share of the image, 1 by chance."
    ]
    for gate in gates.filter(~pl.col("passed") | ~pl.col("above_chance")).iter_rows(named=True):
        lines.append(
            f"attribution not informative for {gate['model']} on {gate['representation']}: "
            + _why(gate)
        )
    return tuple(lines)


def _why(gate: dict[str, Any]) -> str:
    if not gate["above_chance"]:
        known = gate["auc_low"] is not None
        interval = f", {gate['auc_low']:.2f} to {gate['auc_high']:.2f}" if known else ""
        auc = "not defined" if gate["auc"] is None else f"{gate['auc']:.2f}{interval}"
        return f"the network is not shown to be above chance (macro AUC {auc})."
    if gate["enrichment"] is None:
        return "its maps are empty, or no image has lungs."
    if gate["far_random"] is None:
        return f"E is {gate['enrichment']:.2f}, and networks with random weights give no map."
    difference = f"{gate['lowered']:.2f}"
    if gate["lowered_low"] is not None:
        difference += f", {gate['lowered_low']:.2f} to {gate['lowered_high']:.2f}"
    return (
        f"|E - 1| is {gate['far']:.2f}, and with random weights up to {gate['far_random']:.2f} "
        f"(difference {difference})."
    )


def cell_name(cell: CellPredictions) -> dict[str, Any]:
    """Name a cell in the columns of `CELL`."""
    return {
        "model": cell.model,
        "representation": cell.representation,
        "seed": cell.seed,
        "folder": cell.folder,
    }
