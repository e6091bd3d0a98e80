"""What training a classifier and training a segmenter have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, cast

import numpy.typing as npt
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR
from torchmetrics import MeanMetric, Metric

from hideseek.checkpoint import KEY, NetworkCard
from hideseek.errors import UserError
from hideseek.models.inputs import normalize

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]
PHASES = ("train", "val", "test")
"""`test` where the test images choose the epoch beside the validation images."""

SCHEDULES = ("constant", "onecycle")
WARM_UP = 0.1
"""Share of the steps in which a one-cycle learning rate rises."""


class SupervisedTask(LightningModule):
    """One step for all phases, whole-epoch metrics, and checkpoints that rebuild their network."""

    def __init__(
        self,
        net: nn.Module,
        card: NetworkCard,
        optimizer: OptimizerFactory,
        confusion: Callable[[], Metric],
        schedule: str = "constant",
    ) -> None:
        """Put a network to work.

        Args:
            net: float [B, C, H, W] to logits [B, K, ...].
            card: how its input is made, and what a checkpoint says of it.
            optimizer: makes the optimiser from the parameters.
            confusion: makes the metric that counts true and predicted classes.
            schedule: of the learning rate: "constant", or "onecycle", which rises to the
                optimiser's learning rate and falls to almost 0 by the last step (Smith and Topin,
                arXiv:1708.07120, as `torch.optim.lr_scheduler.OneCycleLR` has it).

        Raises:
            UserError: unknown schedule.
        """
        super().__init__()
        if schedule not in SCHEDULES:
            raise UserError(f"schedule={schedule} is unknown; known are {', '.join(SCHEDULES)}")
        self.schedule, self.logged = schedule, list(PHASES[:2])
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

    def validation_step(
        self, batch: dict[str, Tensor], index: int, dataloader_idx: int = 0
    ) -> None:
        """Count one batch of the images that choose the epoch, or could."""
        phase = PHASES[1 + dataloader_idx]
        if phase not in self.logged:
            self.logged.append(phase)
        self.step(phase, batch)

    def on_validation_epoch_end(self) -> None:
        """Log the epoch: validation follows its last training batch, and callbacks come after."""
        for phase in self.logged:
            self._log_epoch(phase)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Make the optimiser over the parameters that learn, and its schedule.

        Raises:
            UserError: a one-cycle schedule, and no end of the training.
        """
        optimizer = self.make_optimizer(p for p in self.net.parameters() if p.requires_grad)
        if self.schedule == "constant":
            return optimizer
        # Of this trainer: epochs, batches of one rank and accumulation as they really are.
        steps = self.trainer.estimated_stepping_batches
        if not 0 < steps < float("inf"):
            raise UserError("schedule=onecycle needs a number of epochs; give trainer.max_epochs")
        scheduler = one_cycle(optimizer, int(steps))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

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


def one_cycle(optimizer: Optimizer, steps: int) -> OneCycleLR:
    """Make the schedule that peaks at the optimiser's learning rate after a tenth of the steps.

    Args:
        optimizer: whose groups hold the greatest learning rate.
        steps: of the whole training, at least 1.

    Returns:
        A scheduler to step after every batch.
    """
    # OneCycleLR divides by zero where the rise is exactly one step, as a tenth of ten steps is.
    rise = max(WARM_UP, min(2 / steps, 0.7))
    peaks = [group["lr"] for group in optimizer.param_groups]
    return OneCycleLR(optimizer, peaks, total_steps=steps, pct_start=rise)
