"""The source probe, rung by rung: from which representation can the hospital still be read?

    train and test images as a cell saw them -> features -> probe of source and view -> Section

Two kinds of features: a small fixed description of the pixels, of what is there to be read, and
what the trained network hands to its last layer, which is what it kept. Beside them stands what the
label alone tells of the source: features that know the label know that much anyway.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from sklearn.random_projection import SparseRandomProjection
from torch import Tensor, nn

from hideseek.audit.excess import Counts
from hideseek.audit.explain import balanced_draw
from hideseek.audit.grid import Grid, Integers
from hideseek.audit.ladder_lines import Rung, ladder_lines, ladder_table
from hideseek.audit.probe import Probe, probe
from hideseek.audit.reopen import Reopened, reopen
from hideseek.audit.section import Section
from hideseek.checkpoint import NetworkCard
from hideseek.data.cache import Cache
from hideseek.data.sampler import Draw
from hideseek.errors import UserError
from hideseek.models.inputs import normalize
from hideseek.seeds import stream

COLUMNS = ("source", "view")
TRAINING = 600
"""Training images that a probe is fitted on."""

SIDE, LEVELS = 16, 32
"""Of the description: pixels of the shrunk image a side, and bins of its grey levels."""

WIDEST = 4096
"""Features above which random directions stand for them: COVID-Net's last layer reads 460,800."""

BATCH = 16
Features = npt.NDArray[np.float32]


def probe_section(
    sweep: Path,
    grid: Grid,
    counts: Counts,
    device: str | torch.device = "cpu",
    images: int | None = None,
) -> Section:
    """Probe every representation, and every network on its own, for source and view.

    Args:
        sweep: its folder.
        grid: what `read_grid` found there.
        counts: resamples of its images [R, N], from `resample_counts`.
        device: where the networks run.
        images: at most so many training and so many test images; None for 600 training images,
            evenly of every source, and all test images.

    Returns:
        The section `probe`, with a table of that name. Of several seeds the lowest is probed; cells
        that cannot be rebuilt are left out, and a line says why.
    """
    chosen = balanced_draw(grid.labels, images)
    rungs: list[Rung] = []
    left_out: dict[str, str] = {}
    described: set[str] = set()
    for cell in grid.lowest_seeds():
        try:
            opened = reopen(sweep, cell, grid)
            asked = _Asked.of(opened, grid, chosen, counts, images or TRAINING)
            pixels, network = _features(opened, asked.rows, device)
            if not rungs:
                rungs += asked.rungs("label", asked.labels(grid.classes))
            if cell.representation not in described:
                rungs += asked.rungs("pixels", pixels, representation=cell.representation)
                described.add(cell.representation)
            rungs += asked.rungs("network", network, cell.model, cell.representation)
        except UserError as error:
            left_out[cell.folder] = str(error)
    lines = ladder_lines(rungs)
    if described and not rungs:
        lines.append(
            "probe: all images are of one source and of one view, so there is none to read"
        )
    lines += [f"{folder}: left out of the probe: {why}" for folder, why in left_out.items()]
    table = ladder_table(rungs)
    content = {"rungs": table.to_dicts(), "left_out": left_out}
    return Section("probe", content, {"probe": table}, lines=tuple(lines))


def describe(image: npt.NDArray[np.uint8]) -> Features:
    """Describe a picture by fixed numbers: shrunk, and its grey levels.

    Args:
        image: uint8 [H, W].

    Returns:
        float32 [288]: 16 x 16 mean grey values in 0..1, row by row, then the share of pixels in
        each of 32 equal bins of grey levels, which sums to 1.
    """
    small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    bins = np.bincount(image.ravel() // (256 // LEVELS), minlength=LEVELS) / image.size
    return np.concatenate([small.ravel() / 255, bins]).astype(np.float32)


def penultimate(
    net: nn.Module,
    card: NetworkCard,
    batches: Iterable[Tensor],
    device: str | torch.device = "cpu",
) -> Features:
    """Take what a network hands to its last linear layer.

    Args:
        net: in evaluation mode.
        card: of the network.
        batches: uint8 [B, 1, S, S] each, N images together.
        device: where the network runs.

    Returns:
        float32 [N, D], D at most 4096: of more, as many random directions, which keep distances to
        a few percent.

    Raises:
        UserError: no linear layer gives the classes.
    """
    heads = [
        layer
        for layer in net.modules()
        if isinstance(layer, nn.Linear) and layer.out_features == len(card.classes)
    ]
    if not heads:
        raise UserError("its network ends in no linear layer, so it has no features to probe")
    seen: list[Features] = []
    directions: SparseRandomProjection | None = None

    def keep(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0].flatten(1).float().cpu().numpy())

    net.to(device)
    hook = heads[-1].register_forward_pre_hook(keep)
    try:
        with torch.inference_mode():
            for batch in batches:
                net(normalize(batch.to(device), card.normalize, card.channels))
                if seen[-1].shape[1] > WIDEST:
                    if directions is None:
                        directions = SparseRandomProjection(WIDEST, random_state=0)
                        directions.fit(seen[-1])
                    seen[-1] = directions.transform(seen[-1])
    finally:
        hook.remove()
        net.cpu()
    return np.concatenate(seen)


def draw_training(table: pl.DataFrame, images: int, seed: int = 0) -> list[int]:
    """Choose training images, as evenly of every source as there are, whatever their order.

    Args:
        table: rows of a cache.
        images: at most so many.
        seed: of the choice.

    Returns:
        Their places in the cache, in order.
    """
    train = table.with_row_index("row").filter(pl.col("split") == "train").sort("image_id")
    rng = np.random.default_rng(stream(seed, "probe rows"))
    shuffled = train[rng.permutation(train.height)]
    within = pl.int_range(pl.len()).over("source")
    return (
        shuffled.sort(within, maintain_order=True).head(images).get_column("row").sort().to_list()
    )


@dataclass(frozen=True)
class _Asked:
    """The images of a cell that are fitted, then those that are judged."""

    rows: list[int]
    table: pl.DataFrame
    train: npt.NDArray[np.bool_]
    counts: Counts

    @classmethod
    def of(
        cls, opened: Reopened, grid: Grid, chosen: Integers, counts: Counts, images: int
    ) -> _Asked:
        cache: Cache = opened.dataset.cache
        fitted = draw_training(cache.table, images)
        rows = [*fitted, *(opened.rows[each] for each in chosen)]
        train = np.arange(len(rows)) < len(fitted)
        judged = counts[:, chosen]
        unused = np.zeros((len(counts), len(fitted)), judged.dtype)
        return cls(rows, cache.table[rows], train, np.concatenate([unused, judged], axis=1))

    def labels(self, classes: Sequence[str]) -> Features:
        """Give the true labels as features [N, K]."""
        labels = self.table.get_column("label").to_numpy()
        matches: Features = (labels[:, None] == np.array(classes, object)).astype(np.float32)
        return matches

    def rungs(
        self, kind: str, features: Features, model: str = "", representation: str = ""
    ) -> list[Rung]:
        """Probe the columns that vary."""
        return [
            Rung(name, kind, model, representation, self._probe(features, name))
            for name in COLUMNS
            if self.table.get_column(name).n_unique() > 1
        ]

    def _probe(self, features: Features, name: str) -> Probe:
        column = self.table.get_column(name).to_list()
        patients = self.table.get_column("patient_id").to_list()
        return probe(features, column, patients, self.train, self.counts)


def _features(
    opened: Reopened, rows: Sequence[int], device: str | torch.device
) -> tuple[Features, Features]:
    """Describe images, and run the network on them, reading each once."""
    described: list[Features] = []

    def batches() -> Iterator[Tensor]:
        for start in range(0, len(rows), BATCH):
            items = [opened.dataset[Draw(row)]["image"] for row in rows[start : start + BATCH]]
            described.extend(describe(item[0].numpy()) for item in items)
            yield torch.stack(items)

    network = penultimate(opened.net, opened.card, batches(), device)
    return np.stack(described), network
