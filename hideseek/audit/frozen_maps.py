"""Where a network looks that was trained elsewhere: Grad-CAM on whole images, and a gate."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import nn

from hideseek.attribution import cam_layer
from hideseek.audit.bootstrap import Integers
from hideseek.audit.energy import mean_by_group
from hideseek.audit.excess import Counts
from hideseek.audit.explain import balanced_draw, energy_of, explain, measured, random_energy
from hideseek.audit.gates import gate_of
from hideseek.audit.section import Section
from hideseek.checkpoint import NetworkCard
from hideseek.data.datamodule import RepresentationDataset
from hideseek.data.sampler import Draw

NAME = "attribution"
IMAGES = 60


def maps_section(
    net: nn.Module,
    card: NetworkCard,
    dataset: RepresentationDataset,
    predictions: pl.DataFrame,
    labels: Integers,
    rows: list[int],
    counts: Counts,
    device: str | torch.device = "cpu",
) -> Section:
    """Measure where a network looks on some of the images, as they are.

    Args:
        net: in evaluation mode.
        card: of the network.
        dataset: of the originals, with masks.
        predictions: `image_id, patient_id, source, split, label, prediction`, a row an image.
        labels: class numbers [N].
        rows: place of each image in the cache [N].
        counts: resamples of patients [R, N].
        device: where the network runs.

    Returns:
        The section with the tables `attribution` (means over all images, by class, and by right and
        wrong) and `attribution_images`; `left_out` with the reason where no layer is named.
    """
    chosen = balanced_draw(labels.astype(np.int64), IMAGES)
    items = [dataset[Draw(rows[each])] for each in chosen]
    images = torch.stack([item["image"] for item in items])
    masks, radiographs = torch.stack([item["mask"] for item in items]).numpy(), images[:, 0].numpy()
    try:
        layer = cam_layer(net, card)
        random = deepcopy(net)
        maps = explain(net, card, layer, images, device)[1]
        found = measured(maps, masks, radiographs)
        energies = random_energy((random, card, layer, images, device), masks, radiographs)
    except Exception as error:  # somebody's own network; what was found before must not be lost
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return Section(NAME, {"left_out": reason}, lines=(f"attribution: left out: {reason}",))
    shown = predictions[chosen.tolist()]
    named = shown.select("image_id", "patient_id", "source", "label", "prediction").with_columns(
        correct=pl.col("prediction") == pl.col("label")
    )
    drawn = counts[:, chosen]
    gate = gate_of(np.column_stack([energy_of(found), energies]), drawn)
    table = _means(named.hstack(found), drawn)
    content: dict[str, Any] = {
        "method": "Grad-CAM of the predicted class, raw maps",
        "layer": layer,
        "map": list(maps.shape[1:]),
        "images": len(chosen),
        "of": len(labels),
        "gate": gate,
        "means": table.to_dicts(),
    }
    tables = {"attribution": table, "attribution_images": named.hstack(found)}
    return Section(NAME, content, tables, lines=(_line(gate, layer, len(chosen)),))


def _means(rows: pl.DataFrame, counts: Counts) -> pl.DataFrame:
    parts = []
    for group in ("", "label", "correct"):
        means = mean_by_group(rows, [group] if group else [], counts)
        level = pl.col(group).cast(pl.String) if group else pl.lit("")
        parts.append(means.select(pl.lit(group or "all").alias("group"), level.alias("level"),
                                  *means.columns[bool(group):]))  # fmt: skip
    return pl.concat(parts)


def _line(gate: dict[str, Any], layer: str, images: int) -> str:
    if gate["enrichment"] is None:
        return f"attribution at {layer}: no map of {images} images has any energy."
    start = (
        f"attribution at {layer}, {images} images: E in the lungs {gate['enrichment']:.2f}"
        + ("" if gate["low"] is None else f" ({gate['low']:.2f} to {gate['high']:.2f})")
        + ", 1 by chance"
    )
    if gate["passed"]:
        return f"{start}; networks with random weights are nearer to 1."
    return f"{start}. Not informative: a network with random weights looks there as much."
