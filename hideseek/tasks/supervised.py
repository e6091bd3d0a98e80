"""What training a classifier and training a segmenter have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, cast

import numpy.typing as npt
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import MeanMetric, Metric

from hideseek.checkpoint import KEY, NetworkCard
from hideseek.models.inputs import normalize

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]
PHASES = ("train", "val")


class SupervisedTask(LightningModule):
    """One step for both phases, whole-epoch metrics, and checkpoints that rebuild their network."""

    def __init__(
        self,
        net: nn.Module,
        card: NetworkCard,
        optimizer: OptimizerFactory,
        confusion: Callable[[], Metric],
    ) -> None:
        """Put a network to work.

        Args:
            net: float [B, C, H, W] to logits [B, K, ...].
            card: how its input is made, and what a checkpoint says of it.
            optimizer: makes the optimiser from the parameters.
            confusion: makes the metric that counts true and predicted classes.
        """
        super().__init__()
        self.net, self.card, self.make_optimizer = net, card, optimizer
        self.confusion = nn.ModuleDict({f"{phase}_confusion": confusion() for phase in PHASES})
        self.loss = nn.ModuleDict({f"{phase}_loss": MeanMetric() for phase in PHASES})

    @abstractmethod
    def step(self, phase: str, batch: dict[str, Tensor]) -> Tensor:
        """Count one batch and return its loss, scalar."""

    @abstractmethod
    def epoch_metrics(self, confusion: npt.NDArray[Any]) -> dict[str, float]:
        """Turn the counts of an epoch into named fractions."""

    def forward(self, batch: Tensor) -> Tensor:
        """Return float32 logits of a uint8 batch [B, 1, H, W]."""
        logits: Tensor = self.net(normalize(batch, self.card.normalize, self.card.channels))
        return logits.float()

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        """Return the loss of one batch."""
        return self.step("train", batch)

    def validation_step(self, batch: dict[str, Tensor], index: int) -> None:
        """Count one batch of the images that choose the epoch."""
        self.step("val", batch)

    def on_validation_epoch_end(self) -> None:
        """Log the epoch: validation follows its last training batch, and callbacks come after."""
        for phase in PHASES:
            self._log_epoch(phase)

    def configure_optimizers(self) -> Optimizer:
        """Make the optimiser over the parameters that learn."""
        return self.make_optimizer(p for p in self.net.parameters() if p.requires_grad)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the card, so that the checkpoint rebuilds its network alone."""
        checkpoint[KEY] = self.card.plain()

    def count(self, phase: str, predicted: Tensor, truth: Tensor, losses: Tensor,
              weights: Tensor | float = 1.0) -> None:  # fmt: skip
        """Add counted images to an epoch: classes [N, ...], losses and their weights [N]."""
        if len(losses) == 0:
            return
        confusion, loss = self._metrics(phase)
        confusion.update(predicted, truth)
        loss.update(losses, weight=weights)

    def _metrics(self, phase: str) -> tuple[Metric, Metric]:
        confusion, loss = self.confusion[f"{phase}_confusion"], self.loss[f"{phase}_loss"]
        return cast(Metric, confusion), cast(Metric, loss)

    def _log_epoch(self, phase: str) -> None:
        confusion, loss = self._metrics(phase)
        # Already over all ranks: torchmetrics gathers when it computes.
        metrics = self.epoch_metrics(confusion.compute().cpu().numpy().astype("int64"))
        self.log(f"{phase}/loss", loss.compute())
        self.log_dict({f"{phase}/{name}": value for name, value in metrics.items()})
        confusion.reset()
        loss.reset()
