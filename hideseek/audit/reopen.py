"""A finished cell made ready to run again, on exactly what its evaluation saw.

A cell may be a collaborator's. Of what it wrote, only plain values are read: names of our own
representations, numbers, the path of the cache, whose recipe has to be the one that the cell names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hideseek.attribution import cam_layer
from hideseek.audit.cached import cache_of
from hideseek.audit.grid import CellPredictions, Grid
from hideseek.checkpoint import NetworkCard, load_network
from hideseek.data.datamodule import CxrDataModule, RepresentationDataset
from hideseek.data.sampler import Draw
from hideseek.errors import UserError
from hideseek.roi import REPRESENTATIONS
from hideseek.sweep.untrusted import read_fields

BATCH = 8
REPRODUCED = 0.95
"""Share of the recorded predictions that a checkpoint has to give again; a GPU may round a few."""


@dataclass(frozen=True)
class Reopened:
    """A finished cell, ready to be run again on what its evaluation saw.

    Attributes:
        net: in evaluation mode.
        card: of the network.
        layer: for Grad-CAM.
        dataset: of the representation, without augmentation.
        rows: place in the cache of each image of the grid.
    """

    net: nn.Module
    card: NetworkCard
    layer: str
    dataset: RepresentationDataset
    rows: tuple[int, ...]

    def images(self, chosen: Sequence[int]) -> Tensor:
        """Read images of the grid as evaluation saw them: uint8 [B, 1, S, S]."""
        return torch.stack([self.dataset[Draw(self.rows[each])]["image"] for each in chosen])

    def radiographs(
        self, chosen: Sequence[int]
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """Read the same images before anything was hidden, and the lungs: [B, S, S] each."""
        plain = RepresentationDataset(
            self.dataset.cache, REPRESENTATIONS["original"], self.card.image_size, with_mask=True
        )
        items = [plain[Draw(self.rows[each])] for each in chosen]
        return (
            torch.cat([item["image"] for item in items]).numpy(),
            torch.stack([item["mask"] for item in items]).numpy(),
        )


def reopen(sweep: Path, cell: CellPredictions, grid: Grid) -> Reopened:
    """Rebuild a cell's network and representation from what it wrote.

    Args:
        sweep: folder of the sweep.
        cell: of the grid.
        grid: of the sweep.

    Returns:
        Network and images.

    Raises:
        UserError: the checkpoint, the layer or the cache is absent, unreadable or another one.
    """
    folder = sweep / cell.folder
    net, card = load_network(folder / "checkpoints" / "best.ckpt")
    if (card.model, card.roi, card.classes) != (cell.network, cell.roi, grid.classes):
        raise UserError(f"{folder}: its checkpoint is of another cell; run the cell again")
    layer = cam_layer(net, card)
    # The data module scales the rectangle of fixed_box_out and checks that the cache fits.
    data = CxrDataModule(
        Known(cache_of(sweep, cell.folder).path),
        _representation(folder, cell),
        None,
        card.image_size,
        BATCH,
        cell.seed,
        classes=grid.classes,
    )
    data.setup()
    assert data.cache is not None
    places = {name: row for row, name in enumerate(data.cache.table.get_column("image_id"))}
    names = grid.images.get_column("image_id")
    if lacking := [name for name in names if name not in places]:
        raise UserError(f"{data.cache.path}: lacks the test image {lacking[0]}")
    return Reopened(net, card, layer, data.dataset(), tuple(places[name] for name in names))


@dataclass(frozen=True)
class Known:
    """A source whose cache is there."""

    cache: Path

    def ready(self, image_size: int) -> Path:
        """Return it, whatever its size."""
        return self.cache


def drawn(folder: Path) -> int:
    """Read which of the random boxes a cell of `random_box_out` was trained with.

    Args:
        folder: of the cell.

    Returns:
        `roi.draw` of its config.yaml, of which no more is read.

    Raises:
        UserError: the file does not tell.
    """
    where = folder / "config.yaml"
    try:
        config = read_fields(where)
    except (OSError, ValueError):
        raise UserError(f"{where}: not readable, so the random boxes are unknown") from None
    return int(config.below("roi").number("draw") or 0)


def _representation(folder: Path, cell: CellPredictions) -> Callable[..., Any]:
    if cell.roi not in REPRESENTATIONS:
        raise UserError(f"{folder}: roi={cell.roi!r} is unknown to this version")
    further = {"draw": drawn(folder)} if cell.roi == "random_box_out" else {}
    fill = cell.fill or "black"
    return partial(REPRESENTATIONS[cell.roi], fill=fill, margin=cell.margin, **further)
