"""Which image comes when: balanced draws for training, each image once for evaluation.

Both samplers shard themselves over ranks, so a run on two ranks sees, batch by batch, the images
of a run on one. A draw carries its place in the epoch, from which augmentation is seeded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Sampler

from hideseek.errors import UserError
from hideseek.seeds import stream

SAMPLINGS = ("balanced", "covidnet", "natural")
COVIDNET_SHARE = 0.25
"""Share of the last class in each batch of the paper's COVID-Net code (2 of 8)."""


class Draw(NamedTuple):
    """One image asked of a data set.

    Attributes:
        row: of the cache.
        epoch: counted from 0.
        position: place in the epoch's global order.
        counted: False for an image repeated only to give every rank equally many.
    """

    row: int
    epoch: int = 0
    position: int = 0
    counted: bool = True


def draw_weights(labels: npt.NDArray[np.int64], sampling: str) -> npt.NDArray[np.float64]:
    """Weight each image so that its class is drawn as often as the sampling says.

    Args:
        labels: class numbers [N].
        sampling: "balanced" draws every class equally often (paper, Methods); "covidnet" draws the
            last class for a quarter and leaves the others in their natural ratio, as the paper's
            COVID-Net code does; "natural" draws every image equally often.

    Returns:
        Probabilities [N] that sum to 1.

    Raises:
        UserError: unknown sampling.
    """
    if sampling not in SAMPLINGS:
        raise UserError(f"sampling '{sampling}' is unknown; known are {', '.join(SAMPLINGS)}")
    weights = np.ones(len(labels))
    if sampling == "balanced":
        _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
        weights = 1 / counts[inverse]
    elif sampling == "covidnet":
        last = labels == labels.max()
        if last.all():
            return np.full(len(labels), 1 / len(labels))
        weights = np.where(last, COVIDNET_SHARE / last.sum(), (1 - COVIDNET_SHARE) / (~last).sum())
    shares: npt.NDArray[np.float64] = weights / weights.sum()
    return shares


class TrainingSampler(Sampler[Draw]):
    """Draw whole batches of training images, sharded over ranks.

    An epoch has ceil(N / batch size) batches, all full, as many as the paper's code counts. With
    "natural" sampling an epoch is a permutation, filled up from its beginning; otherwise images
    are drawn with replacement.
    """

    def __init__(
        self,
        rows: npt.NDArray[np.intp],
        weights: npt.NDArray[np.float64] | None,
        batch_size: int,
        seed: int,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        """Describe the draw.

        Args:
            rows: rows of the cache to draw from [N].
            weights: probabilities [N], or None for a permutation.
            batch_size: over all ranks together.
            seed: of the cell.
            rank: of this process.
            ranks: how many processes train together.

        Raises:
            UserError: there is nothing to draw from, or the ranks do not divide the batch.
        """
        if len(rows) == 0:
            raise UserError("the training set is empty; check the manifest's column 'split'")
        if batch_size % ranks:
            raise UserError(f"batch_size={batch_size} cannot be shared by {ranks} processes")
        self.rows, self.weights, self.batch_size = rows, weights, batch_size
        self.seed, self.rank, self.ranks, self.epoch = seed, rank, ranks, 0
        self.total = -(-len(rows) // batch_size) * batch_size

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass; Lightning calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Count the draws of this rank."""
        return self.total // self.ranks

    def __iter__(self) -> Iterator[Draw]:
        """Yield this rank's share of one global order."""
        generator = torch.Generator().manual_seed(stream(self.seed, "sampler", self.epoch))
        if self.weights is None:
            order = torch.randperm(len(self.rows), generator=generator).numpy()
            chosen = np.resize(order, self.total)
        else:
            probabilities = torch.from_numpy(self.weights)
            chosen = torch.multinomial(
                probabilities, self.total, replacement=True, generator=generator
            ).numpy()
        for position in range(self.rank, self.total, self.ranks):
            yield Draw(int(self.rows[chosen[position]]), self.epoch, position)


class EvaluationSampler(Sampler[Draw]):
    """Every image once, in order; ranks get equally many, the surplus marked as not counted."""

    def __init__(self, rows: Sequence[int] | npt.NDArray[np.intp], rank: int = 0, ranks: int = 1):  # noqa: ANN204
        """Describe the pass.

        Args:
            rows: rows of the cache.
            rank: of this process.
            ranks: how many processes evaluate together.
        """
        self.rows, self.rank, self.ranks = rows, rank, ranks

    def __len__(self) -> int:
        """Count the draws of this rank."""
        return -(-len(self.rows) // self.ranks)

    def __iter__(self) -> Iterator[Draw]:
        """Yield this rank's share."""
        for step in range(len(self)):
            position = step * self.ranks + self.rank
            counted = position < len(self.rows)
            yield Draw(int(self.rows[position if counted else 0]), 0, position, counted)
