"""Where the classifiers of a sweep look: Grad-CAM, measured, with a network that knows nothing.

cell -> checkpoint, cache -> what evaluation saw -> maps -> energy in the lungs
the same with random weights -> gate
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor, nn

from hideseek.attribution import Maps, enlarged, raw_maps
from hideseek.audit.correlation import correlations, factors_of
from hideseek.audit.energy import MEASURES, mean_by_group, measure_maps
from hideseek.audit.excess import Counts
from hideseek.audit.gates import CELL, GATES, above_chance, cell_name, gate_lines, gate_of
from hideseek.audit.grid import CellPredictions, Grid, Integers
from hideseek.audit.reopen import BATCH, REPRODUCED, Reopened, reopen
from hideseek.audit.section import Section
from hideseek.checkpoint import NetworkCard
from hideseek.errors import UserError
from hideseek.models.inputs import normalize
from hideseek.progress import progress
from hideseek.seeds import stream

ENERGY = "lung_enrichment"
RANDOM = 3
"""Networks with random weights that a trained one is set against."""


def explain(
    net: nn.Module, card: NetworkCard, layer: str, images: Tensor, device: str | torch.device
) -> tuple[Integers, Maps]:
    """Predict images and map what speaks for the predicted class, a few at a time.

    Args:
        net: in evaluation mode; it is moved to the device.
        card: of the network.
        layer: for Grad-CAM.
        images: uint8 [B, 1, S, S].
        device: where the network runs.

    Returns:
        Predicted class numbers [B], and raw maps float32 [B, h, w].
    """
    net.to(device)
    predictions, maps = [], []
    for batch in torch.split(images, BATCH):
        inputs = normalize(batch.to(device), card.normalize, card.channels)
        with torch.inference_mode():
            predicted = net(inputs).argmax(dim=1).cpu().numpy()
        maps.append(raw_maps(net, layer, inputs, predicted.tolist()))
        predictions.append(predicted)
    return np.concatenate(predictions), np.concatenate(maps)


def randomise(net: nn.Module, seed: int) -> None:
    """Draw all weights of a network anew: He's normal distribution, biases 0, no statistics.

    A network just built has random weights as well, but not if building it loads trained ones, and
    PyTorch's own choice of biases makes deep networks blind to the image.

    Args:
        net: changed in place, and left on the CPU.
        seed: of the weights.
    """
    generator = torch.Generator().manual_seed(seed)
    net.cpu()
    for module in net.modules():
        reset = getattr(module, "reset_running_stats", None)
        if reset is not None:
            reset()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if parameter.ndim > 1:
                nn.init.kaiming_normal_(parameter, nonlinearity="relu", generator=generator)
            else:
                parameter.fill_(float(not name.endswith("bias")))


def attribution_section(
    sweep: Path,
    grid: Grid,
    counts: Counts,
    images: int | None = 60,
    device: str | torch.device = "cpu",
    every_seed: bool = False,
) -> Section:
    """Measure where each classifier of a sweep looks.

    Args:
        sweep: its folder.
        grid: as `read_grid` returns it.
        counts: [R, N] of resamples of patients, of all images of the grid.
        images: at most so many, drawn balanced by class and the same for every cell; None for all.
        device: where the networks run.
        every_seed: explain all cells; else the lowest seed of each representation.

    Returns:
        The section `attribution` with its tables: `attribution_images` (a row an image and cell),
        `attribution` (means by cell; by class, by right and wrong, and minus the original's on the
        same images), `attribution_gates` and `attribution_correlations`.
    """
    chosen = balanced_draw(grid.labels, images)
    cells = list(grid.cells) if every_seed else grid.lowest_seeds()
    explained: dict[str, _Explained] = {}
    left_out: dict[str, str] = {}
    bar, advance = progress("attribution", len(cells))
    with bar:
        shown = _Shown(chosen)
        # The networks of a representation one after the other, for its images are kept so long.
        for cell in sorted(cells, key=lambda each: each.representation):
            try:
                explained[cell.folder] = _explain_cell(sweep, cell, grid, shown, counts, device)
            except (UserError, RuntimeError, ValueError) as error:  # torch's, of an odd network
                left_out[cell.folder] = (str(error).strip() or "no message").splitlines()[0]
            advance(1)
    found = [(cell, explained[cell.folder]) for cell in cells if cell.folder in explained]
    rows = pl.concat([each.rows for _, each in found]) if found else pl.DataFrame()
    gates = pl.DataFrame([{**cell_name(cell), **each.gate} for cell, each in found], GATES)
    tables = {"attribution_images": rows, "attribution_gates": gates}
    if found:
        tables["attribution"] = _means(rows, counts[:, chosen])
        tables["attribution_correlations"] = correlations(rows)
    content = {
        "method": "Grad-CAM of the predicted class, raw maps",
        "images": len(chosen),
        "of": len(grid.labels),
        "drawn": "balanced by class, seed 0" if len(chosen) < len(grid.labels) else "all",
        "seeds": "all" if every_seed else "lowest of each representation",
        "cells": [
            {
                **cell_name(cell),
                "layer": e.layer,
                "map": list(e.map_size),
                "reproduced": e.reproduced,
            }
            for cell, e in found
        ],
        "gates": {"model": gates.to_dicts(), "label": None},
        "left_out": left_out,
    }
    return Section("attribution", content, tables, lines=gate_lines(content, gates))


def balanced_draw(labels: Integers, images: int | None, seed: int = 0) -> Integers:
    """Draw images at random, as many of each class as there are or as are needed.

    Args:
        labels: class numbers [N].
        images: how many, at least 1; None for all.
        seed: of the draw.

    Returns:
        Their places, ascending.
    """
    if images is None or images >= len(labels):
        return np.arange(len(labels))
    mixed = np.random.default_rng(stream(seed, "attribution")).permutation(len(labels))
    turn = np.empty(len(labels), np.int64)
    for number in np.unique(labels):
        members = mixed[labels[mixed] == number]
        turn[members] = np.arange(len(members))
    # The first of every class, then the second of every class, as long as there are any.
    return np.sort(mixed[np.argsort(turn[mixed], kind="stable")][:images])


@dataclass(frozen=True)
class _Explained:
    """What one cell gives: a row an image, and how it compares with random weights."""

    layer: str
    map_size: tuple[int, ...]
    reproduced: int
    rows: pl.DataFrame
    gate: dict[str, Any]


class _Shown:
    """The drawn images, read once for each representation and once as radiographs."""

    def __init__(self, chosen: Integers) -> None:
        self.chosen = chosen
        self._roi: object = None
        self._images: dict[object, Tensor] = {}
        self._radiographs: dict[object, Any] = {}

    def images(self, opened: Reopened) -> Tensor:
        """Read what the network saw, unless another one of this representation saw the same."""
        roi = opened.dataset.roi
        assert isinstance(roi, partial)
        named = roi.func, tuple(roi.keywords.items())
        if self._roi != named:
            self._roi, self._images = named, {}
        key = self._place(opened), opened.dataset.seed
        if key not in self._images:
            self._images[key] = opened.images(self.chosen.tolist())
        return self._images[key]

    def radiographs(self, opened: Reopened) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """Read the images with nothing hidden, and the lungs."""
        key = self._place(opened)
        if key not in self._radiographs:
            self._radiographs[key] = opened.radiographs(self.chosen.tolist())
        pictures, masks = self._radiographs[key]
        return pictures, masks

    def _place(self, opened: Reopened) -> tuple[Path, int]:
        return opened.dataset.cache.path, opened.card.image_size


def _explain_cell(
    sweep: Path,
    cell: CellPredictions,
    grid: Grid,
    shown: _Shown,
    counts: Counts,
    device: str | torch.device,
) -> _Explained:
    opened = reopen(sweep, cell, grid)
    chosen, images = shown.chosen, shown.images(opened)
    radiographs, masks = shown.radiographs(opened)
    about = opened.net, opened.card, opened.layer, images, device
    predictions, maps = explain(*about)
    reproduced = int((predictions == cell.predictions[chosen]).sum())
    if reproduced < REPRODUCED * len(chosen):
        raise UserError(
            f"{cell.folder}: its checkpoint gives {reproduced} of {len(chosen)} predictions of its "
            "predictions.csv; run the cell again"
        )
    measured = _measure(maps, masks, radiographs)
    enrichment = [measured.get_column(ENERGY)]
    for number in range(RANDOM):
        randomise(opened.net, stream(number, "random weights"))
        enrichment.append(_measure(explain(*about)[1], masks, radiographs).get_column(ENERGY))
    classes = np.array(grid.classes)
    rows = pl.DataFrame(
        {
            **cell_name(cell),
            **grid.images[chosen].to_dict(),
            **factors_of(opened.dataset.cache, grid.images.get_column("image_id")[chosen]),
            "prediction": classes[predictions],
            "correct": predictions == grid.labels[chosen],
        },
        schema_overrides=CELL,
    )
    values = np.stack([each.to_numpy() for each in enrichment], axis=1)
    gate = {**gate_of(values, counts[:, chosen]), **above_chance(cell, grid, counts)}
    gate["informative"] = gate["passed"] and gate["above_chance"]
    return _Explained(opened.layer, maps.shape[1:], reproduced, rows.hstack(measured), gate)


def _measure(
    maps: Maps, masks: npt.NDArray[np.bool_], radiographs: npt.NDArray[np.uint8]
) -> pl.DataFrame:
    """Enlarge and measure a few maps at a time: enlarged, those of a test set take gigabytes."""
    parts = [slice(start, start + BATCH) for start in range(0, len(maps), BATCH)]
    return pl.concat(
        measure_maps(enlarged(maps[part], masks.shape[1:]), masks[part], radiographs[part])
        for part in parts
    )


def _means(rows: pl.DataFrame, counts: Counts) -> pl.DataFrame:
    """Average each cell's rows, which are of the same images in the same order, and so paired."""
    parts = []
    cells = {str(key[0]): part for key, part in rows.group_by("folder", maintain_order=True)}
    originals = {
        (part.item(0, "model"), part.item(0, "seed")): part
        for part in cells.values()
        if part.item(0, "representation") == "original"
    }
    for part in cells.values():
        name = part.select(*CELL).row(0, named=True)
        for group in ("", "label", "correct"):
            means = mean_by_group(part, [group] if group else [], counts)
            levels = {"true": "right", "false": "wrong"} if group == "correct" else {}
            level = pl.col(group).cast(pl.String).replace(levels) if group else pl.lit("")
            parts.append(_named(means.with_columns(level.alias("level")), name, group or "all"))
        original = originals.get((name["model"], name["seed"]))
        if original is not None and original is not part:
            less = [part.get_column(each) - original.get_column(each) for each in MEASURES]
            means = mean_by_group(pl.DataFrame([part.get_column("state"), *less]), [], counts)
            parts.append(_named(means.with_columns(level=pl.lit("")), name, "minus original"))
    return pl.concat(parts)


def _named(means: pl.DataFrame, name: dict[str, Any], group: str) -> pl.DataFrame:
    columns = [pl.lit(value, CELL[key]).alias(key) for key, value in name.items()]
    numbers = ("images", "no_energy", "no_lung", "defined", "mean", "low", "high")
    return means.select(*columns, pl.lit(group).alias("group"), "level", "measure", *numbers)
