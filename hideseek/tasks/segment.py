"""Training of a lung segmenter."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.classification import BinaryConfusionMatrix

from hideseek.checkpoint import NetworkCard
from hideseek.errors import UserError
from hideseek.tasks.metrics import segmentation_metrics
from hideseek.tasks.supervised import OptimizerFactory, SupervisedTask

LOSSES = ("cross_entropy", "cross_entropy_dice")


class SegmentTask(SupervisedTask):
    """Lung masks, by pixels alone as the paper's code trains its U-Net, or also by overlap."""

    def __init__(
        self,
        net: nn.Module,
        card: NetworkCard,
        optimizer: OptimizerFactory,
        loss: str = "cross_entropy",
        schedule: str = "constant",
    ) -> None:
        """Put a network to work.

        Args:
            net: float [B, 1, H, W] to logits [B, 2, H, W], lung last.
            card: how its input is made, and what a checkpoint says of it.
            optimizer: makes the optimiser from the parameters.
            loss: "cross_entropy" of two classes, unweighted (paper), or "cross_entropy_dice", to
                which each image adds `dice_loss`.
            schedule: of the learning rate (paper: constant).

        Raises:
            UserError: unknown loss or schedule.
        """
        super().__init__(net, card, optimizer, BinaryConfusionMatrix, schedule)
        if loss not in LOSSES:
            raise UserError(f"task.loss={loss} is unknown; known are {', '.join(LOSSES)}")
        self.with_dice = loss == "cross_entropy_dice"

    def step(self, phase: str, batch: dict[str, Tensor]) -> Tensor:
        """Count one batch and return its mean loss."""
        logits, truth, counted = self(batch["image"]), batch["mask"].long(), batch["counted"]
        losses = functional.cross_entropy(logits, truth, reduction="none").mean(dim=(1, 2))
        if self.with_dice:
            losses = losses + dice_loss(logits, truth)
        predicted = logits.detach().argmax(dim=1)
        self.count(phase, predicted[counted], truth[counted], losses.detach()[counted])
        return losses.mean()

    def epoch_metrics(self, confusion: npt.NDArray[Any]) -> dict[str, float]:
        """Return the epoch's pooled pixel metrics."""
        return segmentation_metrics(confusion)


def dice_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Return 1 - soft Dice of the lung class (Milletari et al., arXiv:1606.04797).

    Args:
        logits: float [B, 2, H, W], lung last.
        truth: 0 or 1 [B, H, W].

    Returns:
        float [B], 0..1. One pixel is added to overlap and sizes alike: where there is no lung and
        none is found the loss is 0, not 0/0.
    """
    lung = logits.softmax(dim=1)[:, 1]
    overlap = (lung * truth).sum(dim=(1, 2))
    sizes = lung.sum(dim=(1, 2)) + truth.sum(dim=(1, 2))
    return 1 - (2 * overlap + 1) / (sizes + 1)
