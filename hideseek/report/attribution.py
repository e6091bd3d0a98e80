"""Pictures: where a classifier looked, by Grad-CAM, on a few test images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import nn
from torch.utils.data import default_collate

from hideseek.attribution import Maps, cam_layer, enlarged, raw_maps
from hideseek.checkpoint import NetworkCard
from hideseek.data.cache import Cache
from hideseek.data.datamodule import RepresentationDataset
from hideseek.data.sampler import Draw
from hideseek.errors import UserError
from hideseek.models.inputs import normalize
from hideseek.tasks.evaluate import predict_classes

COLOURS = "viridis"  # the same order for the colour-blind and in grey print


def attribution_panel(
    net: nn.Module,
    card: NetworkCard,
    dataset: RepresentationDataset,
    path: Path,
    per_class: int = 2,
    device: str | torch.device = "cpu",
) -> Path:
    """Draw test images as the network saw them, and Grad-CAM of the predicted class over them.

    All maps have one colour scale, so a dark map means that little of the logit comes from the map.

    Args:
        net: in evaluation mode.
        card: of the network.
        dataset: without augmentation, as `CxrDataModule.dataset()` returns it.
        path: of the PNG file.
        per_class: how many images of each class: the first of the test split by `image_id`.
        device: where the network runs.

    Returns:
        The path.

    Raises:
        UserError: there is no test image, or the layer allows no map.
    """
    rows = _first_of_each_class(dataset.cache, per_class)
    if not rows:
        raise UserError(f"{dataset.cache.path}: no labelled test image, so there is none to show")
    layer = cam_layer(net, card)
    batch = default_collate([dataset[Draw(row)] for row in rows])
    predictions = predict_classes(net, card, [batch], dataset.cache.table, device)
    targets = [card.classes.index(name) for name in predictions.get_column("prediction")]
    shown = batch["image"]
    images = normalize(shown.to(device), card.normalize, card.channels)
    maps = raw_maps(net, layer, images, targets)
    pictures = shown[:, 0].numpy()
    title = f"{card.model}, {card.roi}: Grad-CAM of the predicted class at {layer}"
    _draw(path, title, pictures, enlarged(maps, pictures.shape[1:]), _captions(predictions))
    return path


def _first_of_each_class(cache: Cache, per_class: int) -> list[int]:
    labels, names = cache.labels(), cache.table.get_column("image_id")
    rows = sorted(cache.rows(["test"]).tolist(), key=lambda row: str(names[row]))
    return [
        row
        for number in range(len(cache.recipe.classes))
        for row in [row for row in rows if labels[row] == number][:per_class]
    ]


def _captions(predictions: pl.DataFrame) -> list[str]:
    return [
        f"{row['label']} → {row['prediction']} ({row['p_' + row['prediction']]:.2f})"
        for row in predictions.iter_rows(named=True)
    ]


def _draw(path: Path, title: str, pictures: np.ndarray, maps: Maps, captions: list[str]) -> None:
    from matplotlib.figure import Figure

    most = float(maps.max())
    relative = maps / most if most > 0 else maps
    scale = f"colours: share of the panel's maximum, {most:.3g}" if most > 0 else "no map above 0"
    legend = "rows: label → prediction (probability)"
    figure = Figure(figsize=(5.6, 2.5 * len(captions) + 0.6), layout="constrained")
    figure.suptitle(f"{title}\n{legend}\n{scale}", fontsize=9)
    axes = figure.subplots(len(captions), 2, squeeze=False)
    for picture, values, caption, line in zip(pictures, relative, captions, axes, strict=True):
        for axis in line:
            axis.imshow(picture, cmap="gray", vmin=0, vmax=255)
            axis.set(xticks=[], yticks=[])
        colours = line[1].imshow(values, cmap=COLOURS, vmin=0, vmax=1, alpha=0.5)
        line[0].set_title(caption, fontsize=9, loc="left")
    figure.colorbar(colours, ax=axes, shrink=min(1.0, 2.0 / len(captions)), aspect=15)
    figure.savefig(path, dpi=110)
