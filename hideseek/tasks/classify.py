"""Training of a classifier on one representation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.classification import MulticlassConfusionMatrix

from hideseek.checkpoint import NetworkCard
from hideseek.tasks.metrics import classification_metrics
from hideseek.tasks.supervised import OptimizerFactory, SupervisedTask


class ClassifyTask(SupervisedTask):
    """Weighted cross entropy on representations (paper, Methods).

    The weights of a batch are normalised over all ranks, so that training on two ranks follows the
    gradients of training on one.
    """

    class_weights: Tensor

    def __init__(
        self,
        net: nn.Module,
        card: NetworkCard,
        optimizer: OptimizerFactory,
        class_weights: Sequence[float],
        schedule: str = "constant",
    ) -> None:
        """Put a network to work.

        Args:
            net: float [B, C, H, W] to logits [B, K].
            card: how its input is made, and what a checkpoint says of it.
            optimizer: makes the optimiser from the parameters.
            class_weights: of the loss, one per class (paper: 1, 1, 4).
            schedule: of the learning rate (paper: constant).

        Raises:
            ValueError: as many weights as classes are needed.
        """
        if len(class_weights) != len(card.classes):
            raise ValueError(f"{len(class_weights)} class weights for {len(card.classes)} classes")
        super().__init__(
            net, card, optimizer, partial(MulticlassConfusionMatrix, len(card.classes)), schedule
        )
        self.register_buffer("class_weights", torch.tensor(class_weights, dtype=torch.float32))

    def step(self, phase: str, batch: dict[str, Tensor]) -> Tensor:
        """Count one batch and return its weighted cross entropy."""
        logits, labels, counted = self(batch["image"]), batch["label"], batch["counted"]
        weights = self.class_weights[labels]
        losses = functional.cross_entropy(logits, labels, reduction="none")
        predicted = logits.detach().argmax(dim=1)
        self.count(phase, predicted[counted], labels[counted], losses.detach()[counted],
                   weights[counted])  # fmt: skip
        # DDP averages gradients over ranks, so the normaliser has to be the average too.
        norm = self.all_gather(weights.sum()) if phase == "train" else weights.sum()
        assert isinstance(norm, Tensor)
        return (weights * losses).sum() / norm.mean()

    def epoch_metrics(self, confusion: npt.NDArray[Any]) -> dict[str, float]:
        """Return accuracy, sensitivities and PPVs of an epoch."""
        metrics = classification_metrics(confusion, self.card.classes)
        metrics.pop("n")
        return metrics
