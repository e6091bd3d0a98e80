"""With selection=validation nothing that runs in training can be handed the test images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from hideseek.data.cache import Cache
from tests.data.test_datamodule import TEST, TRAIN, VAL, module, rows


class Net(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch: dict[str, torch.Tensor], index: int) -> torch.Tensor:
        return (self.weight * batch["image"].float().mean() - 1) ** 2

    def validation_step(self, batch: dict[str, torch.Tensor], index: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


class Peeks(Callback):
    """Asks for the test images wherever Lightning calls it."""

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self.refused = 0

    def peek(self, trainer: Any) -> None:
        assert trainer.test_dataloaders is None
        try:
            self.seen |= set(rows(trainer.datamodule.test_dataloader()))
        except RuntimeError:
            self.refused += 1

    def on_fit_start(self, trainer, module):
        self.peek(trainer)

    def on_train_epoch_end(self, trainer, module):
        self.peek(trainer)

    def on_validation_epoch_end(self, trainer, module):
        self.peek(trainer)

    def on_fit_end(self, trainer, module):
        self.peek(trainer)


def fit(made: Any, callback: Callback) -> None:
    trainer = Trainer(
        accelerator="cpu", max_epochs=2, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[callback],
        num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(Net(), datamodule=made)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    found: set[int] = set()
    get = Cache.__getitem__
    monkeypatch.setattr(Cache, "__getitem__", lambda self, i: (found.add(int(i)), get(self, i))[1])
    return found


def test_no_callback_reaches_the_test_images(
    small_cache: Callable[..., Path], read: set[int]
) -> None:
    made, spy = module(small_cache()), Peeks()
    fit(made, spy)
    assert (spy.seen, spy.refused) == (set(), 6)
    assert read == TRAIN | VAL
    assert rows(made.test_dataloader()) == sorted(TEST)  # after training


def test_the_papers_way_reads_them_as_it_says(
    small_cache: Callable[..., Path], read: set[int]
) -> None:
    fit(module(small_cache(), selection="paper"), Peeks())
    assert read == TRAIN | VAL | TEST
