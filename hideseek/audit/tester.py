"""Pictures made for networks that are finished, and what those say of them.

A cell is loaded from its checkpoint and a representation is built from our own name of it, so a
sweep from a stranger runs none of the stranger's code. One network is in memory at a time;
pictures are kept for the next one as far as they fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from hideseek.audit.bootstrap import Floats, Integers
from hideseek.audit.cached import cache_of
from hideseek.audit.grid import CellPredictions, Grid
from hideseek.audit.reopen import Known, drawn
from hideseek.checkpoint import NetworkCard, load_network
from hideseek.data.datamodule import CxrDataModule, RepresentationDataset
from hideseek.data.sampler import Draw
from hideseek.errors import UserError
from hideseek.fill import Image, Mask
from hideseek.roi import REPRESENTATIONS, original
from hideseek.seeds import stream
from hideseek.tasks.evaluate import predict_classes

BATCH = 32
KEPT_BYTES = 2**29
"""Pictures that stay in memory for the next network."""


def pictures(
    images: RepresentationDataset,
    rows: Sequence[int],
    make: Callable[[Image, Mask, int], Sequence[Image]],
) -> list[Tensor]:
    """Decode the images of a batch once each, and make all pictures of them.

    Args:
        images: the originals, with masks.
        rows: of the cache, B.
        make: (image uint8 [S, S], mask bool [S, S], number of the image) to P such images.

    Returns:
        P tensors, uint8 [B, 1, S, S].
    """
    made = []
    for row in rows:
        item = images[Draw(row)]
        made.append(make(item["image"][0].numpy(), item["mask"].numpy(), images.keys[row]))
    return [torch.from_numpy(np.stack(each)).unsqueeze(1) for each in zip(*made, strict=True)]


def predict(
    net: nn.Module,
    card: NetworkCard,
    rows: Sequence[int],
    shown: Callable[[Sequence[int]], Sequence[Tensor]],
    table: pl.DataFrame,
    device: str | torch.device = "cpu",
    advance: Callable[[int], None] = lambda images: None,
) -> Floats:
    """Classify every picture of every image.

    Args:
        net: in evaluation mode.
        card: of the network.
        rows: of the cache, N.
        shown: gives the P pictures of a batch of rows, as `pictures` does.
        table: the cache's rows.
        device: where the network runs.
        advance: told how many images are done.

    Returns:
        Probabilities, float64 [P, N, K].
    """
    parts = []
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        stacks, index = shown(batch), torch.tensor(batch)
        items = [{"image": stack, "index": index} for stack in stacks]
        scores = predict_classes(net, card, items, table, device)
        numbers = scores.select(f"p_{name}" for name in card.classes).to_numpy()
        parts.append(numbers.reshape(len(stacks), len(batch), -1))
        advance(len(batch))
    return np.concatenate(parts, axis=1)


@dataclass(frozen=True)
class View:
    """A representation as a cell sees it; equal ones are the same pictures."""

    roi: str
    fill: str
    margin: float
    seed: int
    draw: int


class Tester:
    """Rebuilds cells and shows them the test images; keeps the pictures of one cache and size."""

    def __init__(self, sweep: Path, grid: Grid, chosen: Integers) -> None:
        """Take the images that are tested.

        Args:
            sweep: folder of the cells.
            grid: what `read_grid` found there.
            chosen: numbers of test images [n].
        """
        self.sweep, self.classes = sweep, grid.classes
        self.image_ids = grid.images.get_column("image_id").gather(chosen).to_list()
        self._place: tuple[Path, int] | None = None
        self._kept: dict[tuple[int, View], Tensor] = {}
        self._make_ofs: dict[View, Callable[..., Image]] = {}

    def scores(
        self, cell: CellPredictions, tested: Sequence[CellPredictions], device: str | torch.device
    ) -> Floats:
        """Classify the images as the `tested` cells see them, with the network of `cell`.

        Returns:
            Probabilities, float64 [tested, n, K].

        Raises:
            UserError: the cell cannot be rebuilt, or its cache lacks an image.
        """
        folder = self.sweep / cell.folder
        if cell.representation not in {each.representation for each in tested}:
            raise UserError(f"this version knows no representation '{cell.representation}'")
        cache = cache_of(self.sweep, cell.folder)
        net, card = load_network(folder / "checkpoints" / "best.ckpt")
        if card.task != "classify" or card.classes != self.classes:
            raise UserError(f"{folder}: its checkpoint is of other classes than its predictions")
        place = (cache.path, card.image_size)
        if self._place != place:
            self._place, self._kept, self._make_ofs = place, {}, {}
        views = [self._view(each, cell) for each in tested]
        self._make_ofs |= {v: _make_of(v, *place) for v in views if v not in self._make_ofs}
        row_of = {name: row for row, name in enumerate(cache.table.get_column("image_id"))}
        if not set(self.image_ids) <= set(row_of):
            raise UserError(f"{cache.path}: lacks test images of the sweep")
        rows = [row_of[name] for name in self.image_ids]
        dataset = RepresentationDataset(cache, original, card.image_size, with_mask=True)
        try:
            return predict(
                net, card, rows, partial(self._shown, dataset, views), cache.table, device
            )
        finally:
            cache.close()

    def _shown(
        self, dataset: RepresentationDataset, views: Sequence[View], rows: Sequence[int]
    ) -> list[Tensor]:
        """Make what is lacking of the pictures of a batch."""
        found = {v: self._kept[rows[0], v] for v in views if (rows[0], v) in self._kept}
        lacking = [view for view in dict.fromkeys(views) if view not in found]

        def make(image: Image, mask: Mask, key: int) -> list[Image]:
            return [
                self._make_ofs[view](image, mask, seed=stream(view.seed, "roi", key))
                for view in lacking
            ]

        if lacking:
            made = dict(zip(lacking, pictures(dataset, rows, make), strict=True))
            bytes_kept = (len(self._kept) + len(made)) * BATCH * dataset.image_size**2
            if bytes_kept <= KEPT_BYTES:
                self._kept |= {(rows[0], view): stack for view, stack in made.items()}
            found |= made
        return [found[view] for view in views]

    def _view(self, tested: CellPredictions, cell: CellPredictions) -> View:
        """Show a cell a representation with the cell's own random numbers, where it has any."""
        random = tested.roi == "random_box_out" or tested.fill in ("noise", "shuffle")
        draw = 0
        if random and tested.roi == cell.roi == "random_box_out":
            draw = drawn(self.sweep / cell.folder)
        return View(tested.roi, tested.fill, tested.margin, cell.seed if random else 0, draw)


def _make_of(view: View, cache: Path, size: int) -> Callable[..., Image]:
    """Build a representation from its name; the data module knows the fixed rectangle."""
    make = partial(REPRESENTATIONS[view.roi], fill=view.fill, margin=view.margin)
    if view.roi == "random_box_out":
        return partial(make, draw=view.draw)
    if view.roi != "fixed_box_out":
        return make
    module = CxrDataModule(Known(cache), make, None, size, batch_size=BATCH, seed=0)
    module.setup()
    return module.roi
