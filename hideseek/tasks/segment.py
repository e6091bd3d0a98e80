"""Training of a lung segmenter."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.classification import BinaryConfusionMatrix

from hideseek.checkpoint import NetworkCard
from hideseek.tasks.metrics import segmentation_metrics
from hideseek.tasks.supervised import OptimizerFactory, SupervisedTask


class SegmentTask(SupervisedTask):
    """Unweighted two-class cross entropy on lung masks, as the paper's code trains its U-Net."""

    def __init__(self, net: nn.Module, card: NetworkCard, optimizer: OptimizerFactory) -> None:
        """Put a network to work.

        Args:
            net: float [B, 1, H, W] to logits [B, 2, H, W], lung last.
            card: how its input is made, and what a checkpoint says of it.
            optimizer: makes the optimiser from the parameters.
        """
        super().__init__(net, card, optimizer, BinaryConfusionMatrix)

    def step(self, phase: str, batch: dict[str, Tensor]) -> Tensor:
        """Count one batch and return its mean cross entropy."""
        logits, truth, counted = self(batch["image"]), batch["mask"].long(), batch["counted"]
        losses = functional.cross_entropy(logits, truth, reduction="none").mean(dim=(1, 2))
        predicted = logits.detach().argmax(dim=1)
        self.count(phase, predicted[counted], truth[counted], losses.detach()[counted])
        return losses.mean()

    def epoch_metrics(self, confusion: npt.NDArray[Any]) -> dict[str, float]:
        """Return the epoch's pooled pixel metrics."""
        return segmentation_metrics(confusion)
