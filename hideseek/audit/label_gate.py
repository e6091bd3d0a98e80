"""Whether maps follow what was learned: against networks trained on shuffled labels.

Such a network (`experiment=label_randomised`) has the same architecture, images and training, and
no disease to learn. Where it looks comes from edges, contrast and the architecture alone. Maps of a
network that are no different from its maps show that, too, and nothing of the disease.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.stats import rankdata

from hideseek.attribution import Maps
from hideseek.audit.excess import Counts, divide, estimate, weighted_sums
from hideseek.audit.gates import CELL
from hideseek.audit.grid import CellPredictions

ALIKE = 0.5
"""Mean rank correlation of two networks' maps below which they count as different."""

RULE = (
    "passed if E falls with shuffled labels (lower 95 % limit of the paired difference above 0) or "
    f"the maps differ (upper 95 % limit of their mean rank correlation below {ALIKE})"
)
NUMBERS = (
    "enrichment", "enrichment_shuffled", "difference", "difference_low", "difference_high",
    "correlation", "correlation_low", "correlation_high",
)  # fmt: skip
LABEL_GATES = {
    **CELL,
    "shuffled_folder": pl.String,
    "images": pl.Int64,
    **dict.fromkeys(NUMBERS, pl.Float64),
    "passed": pl.Boolean,
}

Values = npt.NDArray[np.float64]


def twins_of(
    cells: Sequence[CellPredictions], aside: Sequence[CellPredictions]
) -> dict[str, CellPredictions]:
    """Find the network with shuffled labels that belongs to each cell.

    Args:
        cells: that are explained.
        aside: of the grid.

    Returns:
        By the cell's folder: of the same model and representation, of its seed where there is one,
        else of the lowest. Cells without any are absent.
    """
    shuffled = [cell for cell in aside if cell.training.shuffled]
    found = {}
    for cell in cells:
        same = [
            other
            for other in shuffled
            if (other.model, other.representation) == (cell.model, cell.representation)
        ]
        if same:
            found[cell.folder] = min(same, key=lambda each: (each.seed != cell.seed, each.seed))
    return found


def label_gate_of(true: Values, shuffled: Values, alike: Values, counts: Counts) -> dict[str, Any]:
    """Compare a network with its twin on the same images; see `RULE`.

    Args:
        true: E of the network, NaN where not defined [B].
        shuffled: E of the twin [B].
        alike: rank correlation of their maps [B].
        counts: [R, B] of resamples of patients.

    Returns:
        `images` (where E of both is defined), `NUMBERS` and `passed`, None where nothing can be
        compared, because one of them gives no map.
    """
    both = np.where(np.isnan(true) | np.isnan(shuffled), np.nan, 1.0)
    values = np.stack([true * both, shuffled * both, alike], axis=1)
    defined = ~np.isnan(values)
    sums = weighted_sums(counts, np.concatenate([np.nan_to_num(values), defined], axis=1))
    means = divide(sums[:, :3], sums[:, 3:])
    one, other, correlation = (estimate(means[:, column]) for column in range(3))
    difference = estimate(means[:, 0] - means[:, 1])
    unknown = difference.value is None and correlation.value is None
    fell = difference.low is not None and difference.low > 0
    differ = correlation.high is not None and correlation.high < ALIKE
    return {
        "images": int(defined[:, 0].sum()),
        "enrichment": one.value,
        "enrichment_shuffled": other.value,
        "difference": difference.value,
        "difference_low": difference.low,
        "difference_high": difference.high,
        "correlation": correlation.value,
        "correlation_low": correlation.low,
        "correlation_high": correlation.high,
        "passed": None if unknown else fell or differ,
    }


def map_correlations(one: Maps, other: Maps) -> Values:
    """Correlate two networks' maps of each image by ranks (Spearman).

    Args:
        one: float32 [B, h, w].
        other: of the same images.

    Returns:
        float64 [B], -1 to 1; NaN where a map has one value only, or the maps differ in size.
    """
    if one.shape != other.shape:
        return np.full(len(one), np.nan)
    ranks = [rankdata(maps.reshape(len(maps), -1), axis=1) for maps in (one, other)]
    x, y = (each - each.mean(axis=1, keepdims=True) for each in ranks)
    spread = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    return divide((x * y).sum(axis=1), spread)


def label_gate_content(
    sweep: Path, cells: Sequence[CellPredictions], gates: pl.DataFrame
) -> dict[str, Any]:
    """Sum the gate up for audit.json.

    Args:
        sweep: its folder.
        cells: that were explained.
        gates: a row for each that has a twin.

    Returns:
        `rule`, `passed` (by all that could be compared; None where none could), `missing` (models
        without any twin) and the `command` that trains theirs, empty where none is missing.
    """
    known = gates.get_column("passed").drop_nulls()
    held = set(gates.get_column("model"))
    missing = [name for name in dict.fromkeys(cell.model for cell in cells) if name not in held]
    words = [f"sweep={sweep.resolve().name}", f"model={','.join(missing)}"]
    command = f"python train.py -m experiment=label_randomised {shlex.join(words)}"
    return {
        "rule": RULE,
        "passed": bool(known.all()) if len(known) else None,
        "missing": missing,
        "command": command if missing else "",
    }


def label_gate_lines(content: Mapping[str, Any], gates: pl.DataFrame) -> tuple[str, ...]:
    """Say what the gate says of each network, and how to get it where it is missing."""
    lines = [_line(row) for row in gates.iter_rows(named=True)]
    if content["missing"]:
        lines.append(
            "The gate of a network trained on shuffled labels is missing for "
            f"{', '.join(content['missing'])}; instead a network has to be above chance. This "
            f"trains it, with the sweep's own data and settings added: {content['command']}"
        )
    return tuple(lines)


def _line(row: Mapping[str, Any]) -> str:
    name = f"{row['model']} on {row['representation']}"
    numbers = (
        f"E is {_text(row, 'enrichment')}, with shuffled labels {_text(row, 'enrichment_shuffled')}"
        f", difference {_text(row, 'difference')}; rank correlation of the maps "
        f"{_text(row, 'correlation')}"
    )
    if row["passed"]:
        return f"shuffled labels change the maps of {name}: {numbers}."
    if row["passed"] is None:
        return (
            f"shuffled labels say nothing of the maps of {name}: no image has a map of both "
            "networks; train the control with another seed."
        )
    return (
        f"attribution not informative for {name}: a network trained on shuffled labels looks at "
        f"the lungs as much ({numbers})."
    )


def _text(row: Mapping[str, Any], name: str) -> str:
    if row[name] is None:
        return "unknown"
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    return f"{row[name]:.2f}" + ("" if low is None else f" ({low:.2f} to {high:.2f})")
