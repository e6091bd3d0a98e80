"""Every trained cell tested on every representation of its sweep: train on one, test on another.

    checkpoint, cache -> pictures of a batch, decoded once -> scores of each network -> Section

A cell is loaded from its checkpoint and a representation is built from our own name of it, so a
sweep from a stranger runs none of the stranger's code. One network is in memory at a time;
pictures are kept for the next one as far as they fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from hideseek.audit.bootstrap import Draws, Floats, Integers, mean_draws, metric_draws
from hideseek.audit.cached import cache_of
from hideseek.audit.grid import CellPredictions, Grid
from hideseek.audit.reopen import Known, drawn
from hideseek.audit.section import Section
from hideseek.checkpoint import NetworkCard, load_network
from hideseek.data.datamodule import CxrDataModule, RepresentationDataset
from hideseek.data.sampler import Draw
from hideseek.errors import UserError
from hideseek.fill import FILLS, Image, Mask
from hideseek.roi import REPRESENTATIONS, original
from hideseek.seeds import stream
from hideseek.tasks.evaluate import predict_classes

NAME = "cross_representation"
BATCH = 32
KEPT_BYTES = 2**29
"""Pictures that stay in memory for the next network."""

SAME_SCORE = 1e-3
"""Largest difference of a probability that another device or batch size explains."""

METRICS = ("accuracy", "balanced_accuracy", "macro_auc")
_SCHEMA = {
    **dict.fromkeys(("model", "trained_on", "tested_on", "diagonal"), pl.String),
    "seeds": pl.Int64,
    "metric": pl.String,
    **dict.fromkeys(("estimate", "low", "high", "drop", "drop_low", "drop_high"), pl.Float64),
}
Scored = dict[tuple[str, str], list[list[dict[str, Draws]]]]
"""Metrics of each tested representation, of each seed, of each (model, representation)."""


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


def matrix_section(
    sweep: Path,
    grid: Grid,
    counts: Integers,
    device: str | torch.device = "cpu",
    images: int | None = None,
) -> Section:
    """Test every cell on every representation that the sweep has.

    Args:
        sweep: its folder.
        grid: what `read_grid` found there.
        counts: resamples of its images [R, N], from `resample_counts`.
        device: where the networks run.
        images: at most so many test images, taken evenly from every class; None for all.

    Returns:
        The section `cross_representation`, with a table of that name, seeds averaged. Cells that
        cannot be rebuilt are left out, and a line says why.
    """
    chosen = _some(grid.labels, images)
    labels, counts = grid.labels[chosen], counts[:, chosen]
    tested: dict[str, CellPredictions] = {}
    for cell in grid.cells:
        if cell.roi in REPRESENTATIONS and cell.fill in FILLS:
            tested.setdefault(cell.representation, cell)
    names, tester = list(tested), _Tester(sweep, grid, chosen)
    scored: Scored = {}
    reproduced: dict[str, dict[str, object]] = {}
    left_out: dict[str, str] = {}
    for cell in grid.cells:
        try:
            scores = tester.scores(cell, list(tested.values()), device)
        except (UserError, RuntimeError, ValueError) as error:  # torch's, of an odd network
            left_out[cell.folder] = (str(error).strip() or "no message").splitlines()[0]
            continue
        own = scores[names.index(cell.representation)]
        reproduced[cell.folder] = _compared(own, cell, chosen)
        metrics = [
            metric_draws(labels, each.argmax(axis=1), each, counts, grid.classes) for each in scores
        ]
        scored.setdefault((cell.model, cell.representation), []).append(metrics)
    rows = [row for cell, seeds in scored.items() for row in _rows(cell, names, seeds)]
    table = pl.DataFrame(rows, schema=_SCHEMA, orient="row").fill_nan(None)
    content = {
        "images": len(chosen),
        "representations": names,
        "cells": table.to_dicts(),
        "reproduced": reproduced,
        "left_out": left_out,
    }
    lines = _lines(reproduced, left_out, len(chosen), len(grid.labels))
    return Section(NAME, content, {NAME: table}, lines=lines)


def _some(labels: Integers, images: int | None) -> Integers:
    """Choose at most so many images, spread evenly over the classes and over each class."""
    if images is None or images >= len(labels):
        return np.arange(len(labels))
    order = np.argsort(labels, kind="stable")
    places = np.linspace(0, len(labels) - 1, max(1, images)).round().astype(np.intp)
    return np.sort(order[places])


def _compared(scores: Floats, cell: CellPredictions, chosen: Integers) -> dict[str, object]:
    """Compare with the cell's own predictions.csv."""
    apart = float(np.abs(scores - cell.probabilities[chosen]).max())
    changed = int((scores.argmax(axis=1) != cell.predictions[chosen]).sum())
    return {
        "same": apart <= SAME_SCORE and changed == 0,
        "changed": changed,
        "largest_difference": apart if np.isfinite(apart) else None,
    }


def _rows(
    cell: tuple[str, str], tested: Sequence[str], seeds: Sequence[Sequence[dict[str, Draws]]]
) -> Iterator[tuple[object, ...]]:
    """Lay one row of the matrix out; `drop` is from the diagonal, paired image by image."""
    for metric in METRICS:
        means = [
            mean_draws([seed[place][metric] for seed in seeds]) for place in range(len(tested))
        ]
        own = means[tested.index(cell[1])]
        for name, mean in zip(tested, means, strict=True):
            found = mean.interval(), (own - mean).interval()
            values = [value for each in found for value in (each.estimate, each.low, each.high)]
            yield (*cell, name, "yes" if name == cell[1] else "no", len(seeds), metric, *values)


def _lines(
    reproduced: Mapping[str, Mapping[str, object]],
    left_out: Mapping[str, str],
    images: int,
    of: int,
) -> tuple[str, ...]:
    lines = []
    if reproduced:
        lines.append(
            "Cross-representation matrix: off the diagonal a network sees pictures unlike any that "
            "it was trained on (out of distribution). A low value there says that this network "
            "does not cope with them, not that they hold no information."
        )
    if images != of:
        lines.append(f"Cross-representation matrix: of {images} of the {of} test images.")
    lines += [
        f"{folder}: its checkpoint does not give its predictions.csv again ({facts['changed']} of "
        f"{images} images in another class), so do not read its row of the cross-representation "
        "matrix; run the cell again."
        for folder, facts in reproduced.items()
        if not facts["same"]
    ]
    lines += [
        f"{folder}: left out of the cross-representation matrix: {reason}"
        for folder, reason in left_out.items()
    ]
    return tuple(lines)


@dataclass(frozen=True)
class _View:
    """A representation as a cell sees it; equal ones are the same pictures."""

    roi: str
    fill: str
    margin: float
    seed: int
    draw: int


class _Tester:
    """Rebuilds cells and shows them the test images; keeps the pictures of one cache and size."""

    def __init__(self, sweep: Path, grid: Grid, chosen: Integers) -> None:
        self.sweep, self.classes = sweep, grid.classes
        self.image_ids = grid.images.get_column("image_id").gather(chosen).to_list()
        self._place: tuple[Path, int] | None = None
        self._kept: dict[tuple[int, _View], Tensor] = {}
        self._makers: dict[_View, Callable[..., Image]] = {}

    def scores(
        self, cell: CellPredictions, tested: Sequence[CellPredictions], device: str | torch.device
    ) -> Floats:
        """Classify the images as the `tested` cells see them, with the network of `cell`."""
        folder = self.sweep / cell.folder
        if cell.representation not in {each.representation for each in tested}:
            raise UserError(f"this version knows no representation '{cell.representation}'")
        cache = cache_of(self.sweep, cell.folder)
        net, card = load_network(folder / "checkpoints" / "best.ckpt")
        if card.task != "classify" or card.classes != self.classes:
            raise UserError(f"{folder}: its checkpoint is of other classes than its predictions")
        place = (cache.path, card.image_size)
        if self._place != place:
            self._place, self._kept, self._makers = place, {}, {}
        views = [self._view(each, cell) for each in tested]
        self._makers |= {v: _maker(v, *place) for v in views if v not in self._makers}
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
        self, dataset: RepresentationDataset, views: Sequence[_View], rows: Sequence[int]
    ) -> list[Tensor]:
        """Make what is lacking of the pictures of a batch."""
        found = {v: self._kept[rows[0], v] for v in views if (rows[0], v) in self._kept}
        lacking = [view for view in dict.fromkeys(views) if view not in found]

        def make(image: Image, mask: Mask, key: int) -> list[Image]:
            return [
                self._makers[view](image, mask, seed=stream(view.seed, "roi", key))
                for view in lacking
            ]

        if lacking:
            made = dict(zip(lacking, pictures(dataset, rows, make), strict=True))
            bytes_kept = (len(self._kept) + len(made)) * BATCH * dataset.image_size**2
            if bytes_kept <= KEPT_BYTES:
                self._kept |= {(rows[0], view): stack for view, stack in made.items()}
            found |= made
        return [found[view] for view in views]

    def _view(self, tested: CellPredictions, cell: CellPredictions) -> _View:
        """Show a cell a representation with the cell's own random numbers, where it has any."""
        random = tested.roi == "random_box_out" or tested.fill in ("noise", "shuffle")
        draw = 0
        if random and tested.roi == cell.roi == "random_box_out":
            draw = drawn(self.sweep / cell.folder)
        return _View(tested.roi, tested.fill, tested.margin, cell.seed if random else 0, draw)


def _maker(view: _View, cache: Path, size: int) -> Callable[..., Image]:
    """Build a representation from its name; the data module knows the fixed rectangle."""
    make = partial(REPRESENTATIONS[view.roi], fill=view.fill, margin=view.margin)
    if view.roi == "random_box_out":
        return partial(make, draw=view.draw)
    if view.roi != "fixed_box_out":
        return make
    module = CxrDataModule(Known(cache), make, None, size, batch_size=BATCH, seed=0)
    module.setup()
    return module.roi
