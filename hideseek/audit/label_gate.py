"""Whether maps follow what was learned: against networks trained on shuffled labels.

Such a network (`experiment=label_randomised`) has the same architecture, images and training, and
no disease to learn. Where it looks comes from edges, contrast, its first weights and the
architecture. Two of them look at different places as well, so one tells nothing: the maps of the
network in question have to stand out among those of several.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
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

TWINS = 3
"""Networks with shuffled labels that the gate needs."""

RULE = (
    f"of a network and at least {TWINS} of its kind trained on shuffled labels: passed if its E is "
    "the greatest (lower 95 % limit of the difference to the next above 0) or its maps are the "
    "least like those of the others (upper 95 % limit of the difference of mean rank correlations "
    f"below 0); with {TWINS}, one that learned nothing would be the greatest in a quarter of all "
    "cases, and the least like in a quarter; in simulations and small trainings it passed in 10 to "
    "31 %, with five in 5 to 22 %"
)
ESTIMATES = ("difference", "correlation_difference")
NUMBERS = (
    "enrichment", "enrichment_shuffled", "difference", "difference_low", "difference_high",
    "correlation", "correlation_shuffled",
    "correlation_difference", "correlation_difference_low", "correlation_difference_high",
)  # fmt: skip
LABEL_GATES = {
    **CELL,
    "twins": pl.Int64,
    "shuffled_folders": pl.String,
    "images": pl.Int64,
    **dict.fromkeys(NUMBERS, pl.Float64),
    "passed": pl.Boolean,
}

Values = npt.NDArray[np.float64]


def twins_of(
    cells: Sequence[CellPredictions], aside: Sequence[CellPredictions]
) -> dict[str, list[CellPredictions]]:
    """Find the networks with shuffled labels that belong to each cell.

    Args:
        cells: that are explained.
        aside: of the grid.

    Returns:
        By the cell's folder: all of the same model and representation, whatever their seeds, in the
        grid's order. One that says of every image what an earlier one says is its copy, and left
        out. Cells without any are absent.
    """
    found: dict[str, list[CellPredictions]] = {}
    for cell in cells:
        same: list[CellPredictions] = []
        for other in aside:
            kind = other.model, other.representation
            fits = other.training.shuffled and kind == (cell.model, cell.representation)
            if fits and not any(_is_copy(other, each) for each in same):
                same.append(other)
        if same:
            found[cell.folder] = same
    return found


def _is_copy(one: CellPredictions, other: CellPredictions) -> bool:
    return np.array_equal(one.probabilities, other.probabilities)


def label_gate_of(energies: Values, alike: Values, counts: Counts) -> dict[str, Any]:
    """Compare a network with its twins on the same images; see `RULE`.

    Both comparisons treat all 1 + K networks alike, so that a network that is no other than its
    twins passes either with probability 1 / (1 + K) at most. To ask instead whether its maps are
    less like theirs than theirs are among themselves on average would pass it in half of all cases.

    Args:
        energies: E of the network, then of its K >= 1 twins, NaN where not defined [B, 1 + K].
        alike: rank correlations of their maps, NaN where not defined [B, 1 + K, 1 + K].
        counts: [R, B] of resamples of patients.

    Returns:
        `twins` (K), `images` (where E of all is defined), `NUMBERS`, and `passed`: None with fewer
        than `TWINS` that give maps, or no image of which all do. A twin without any map that could
        be compared is left out of all but `twins`.
    """
    usable = [0, *(np.flatnonzero(~np.isnan(alike[:, 0, 1:]).all(axis=0)) + 1)]
    found = {"twins": alike.shape[1] - 1, "images": 0, **dict.fromkeys(NUMBERS), "passed": None}
    twins = len(usable) - 1
    if not twins:
        return found
    energy, images = _means(energies[:, usable], counts)
    pairs = alike[:, usable][:, :, usable].reshape(len(alike), -1)
    correlations = _means(pairs, counts)[0].reshape(-1, 1 + twins, 1 + twins)
    # Of each network with all others: its own place, 1, does not count.
    others = (correlations.sum(axis=2) - correlations.diagonal(axis1=1, axis2=2)) / twins
    greatest, least = energy[:, 1:].max(axis=1), others[:, 1:].min(axis=1)
    above, apart = estimate(energy[:, 0] - greatest), estimate(others[:, 0] - least)
    found |= {
        "images": images,
        "enrichment": estimate(energy[:, 0]).value,
        "enrichment_shuffled": estimate(greatest).value,
        "correlation": estimate(others[:, 0]).value,
        "correlation_shuffled": estimate(least).value,
    }
    for name, difference in zip(ESTIMATES, (above, apart), strict=True):
        found |= {
            name: difference.value,
            f"{name}_low": difference.low,
            f"{name}_high": difference.high,
        }
    if twins >= TWINS and (above.value is not None or apart.value is not None):
        higher = above.low is not None and above.low > 0
        found["passed"] = higher or (apart.high is not None and apart.high < 0)
    return found


def _means(values: Values, counts: Counts) -> tuple[Values, int]:
    """Average columns over the images where all are defined: [1 + R, M], and how many images."""
    defined = np.isfinite(values.sum(axis=1))
    kept = np.where(defined[:, None], values, 0.0)
    sums = weighted_sums(counts, np.column_stack([kept, defined]))
    return divide(sums[:, :-1], sums[:, -1:]), int(defined.sum())


def map_correlations(networks: Sequence[Maps]) -> Values:
    """Correlate networks' maps of each image by ranks (Spearman).

    Args:
        networks: maps of each of the M networks, float32 [B, h, w], of the same images.

    Returns:
        float64 [B, M, M], -1 to 1; NaN where a map has one value only, or the maps differ in size.
    """
    ranks = [_centred_ranks(maps) for maps in networks]
    found = np.full((len(networks[0]), len(ranks), len(ranks)), np.nan)
    for i, one in enumerate(ranks):
        for j, other in enumerate(ranks[: i + 1]):
            if networks[i].shape == networks[j].shape:
                spread = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
                found[:, i, j] = found[:, j, i] = divide((one * other).sum(axis=1), spread)
    return found


def _centred_ranks(maps: Maps) -> Values:
    ranks = rankdata(maps.reshape(len(maps), -1), axis=1)
    centred: Values = ranks - ranks.mean(axis=1, keepdims=True)
    return centred


def label_gate_content(
    sweep: Path, cells: Sequence[CellPredictions], gates: pl.DataFrame
) -> dict[str, Any]:
    """Sum the gate up for audit.json.

    Args:
        sweep: its folder.
        cells: that were explained.
        gates: a row for each that has a twin.

    Returns:
        `rule`, `passed` (by all that could be compared; None where none could), `missing` (networks
        with fewer than `TWINS` twins, as "model on representation"), the `command` that trains
        theirs, empty where none is missing, and `settings`, which the command needs in addition:
        texts, of which each takes a command of its own.
    """
    known = gates.get_column("passed").drop_nulls()
    held = set(gates.filter(pl.col("twins") >= TWINS).get_column("folder"))
    lacking = [cell for cell in cells if cell.folder not in held]
    words = [
        f"sweep={sweep.resolve().name}",
        f"model={_listed(cell.network for cell in lacking)}",
        f"roi={_listed(cell.roi for cell in lacking)}",
        f"seed={_listed(map(str, range(TWINS)))}",
    ]
    command = f"python train.py -m experiment=label_randomised {shlex.join(words)}"
    return {
        "rule": RULE,
        "passed": bool(known.all()) if len(known) else None,
        "missing": list(dict.fromkeys(_name(cell.model, cell.representation) for cell in lacking)),
        "command": command if lacking else "",
        "settings": list(dict.fromkeys(filter(None, map(_settings, lacking)))),
    }


def _listed(words: Iterable[str]) -> str:
    return ",".join(dict.fromkeys(words))


def _name(model: str, representation: str) -> str:
    return f"{model} on {representation}"


def _settings(cell: CellPredictions) -> str:
    """Write down what a cell was trained with beside its network, representation and seed."""
    fill = f"roi.fill={cell.fill}" if cell.fill not in ("black", "") else ""
    margin = f"roi.margin={cell.margin:g}" if cell.margin else ""
    return " ".join(filter(None, (cell.model.partition(" ")[2], fill, margin)))


def label_gate_lines(content: Mapping[str, Any], gates: pl.DataFrame) -> tuple[str, ...]:
    """Say what the gate says of each network, and how to get it where it was not run."""
    lines = [_line(row) for row in gates.filter(pl.col("twins") >= TWINS).iter_rows(named=True)]
    if content["missing"]:
        further = "; ".join(content["settings"])
        lines.append(
            "The gate of networks trained on shuffled labels is missing for "
            f"{', '.join(content['missing'])}: it was not run, for it needs {TWINS} of them; "
            "instead a network has to be above chance. This trains them, with the sweep's own data "
            "and settings added"
            + (f" (of these, each in a command of its own: {further})" if further else "")
            + f": {content['command']}"
        )
    return tuple(lines)


def _line(row: Mapping[str, Any]) -> str:
    name = _name(row["model"], row["representation"])
    if row["passed"] is None:
        return (
            f"shuffled labels say nothing of the maps of {name}, the gate was not run: fewer than "
            f"{TWINS} of them give maps of the same images; train the control with other seeds."
        )
    numbers = (
        f"E is {_text(row, 'enrichment')}, with shuffled labels {row['twins']} times at most "
        f"{_text(row, 'enrichment_shuffled')}, difference {_text(row, 'difference')}; mean rank "
        f"correlation with the maps of the others {_text(row, 'correlation')}, theirs at least "
        f"{_text(row, 'correlation_shuffled')}, difference {_text(row, 'correlation_difference')}"
    )
    if row["passed"]:
        return f"shuffled labels change the maps of {name}: {numbers}."
    return (
        f"attribution not informative for {name}: it does not stand out among networks trained on "
        f"shuffled labels ({numbers})."
    )


def _text(row: Mapping[str, Any], name: str) -> str:
    if row[name] is None:
        return "unknown"
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    return f"{row[name]:.2f}" + ("" if low is None else f" ({low:.2f} to {high:.2f})")
