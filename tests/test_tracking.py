from __future__ import annotations

import csv
from pathlib import Path

import polars as pl
import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch.utils.data import DataLoader

from hideseek import tracking


class Line(LightningModule):
    """Logs as the tasks do: both phases when validation ends."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, index):
        return self.layer(batch).square().mean()

    def validation_step(self, batch, index):
        pass

    def on_validation_epoch_end(self) -> None:
        self.log("train/loss", 1.0 / (1 + self.current_epoch))
        self.log_dict({"val/loss": 2.0, "val/accuracy": float("nan")})

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def fit(folder: Path, epochs: int, logger=False) -> None:
    data = DataLoader(torch.rand(4, 1), batch_size=2)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[tracking.History(folder)],
        logger=logger,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=2,
        log_every_n_steps=1,
    )
    trainer.fit(Line(), data, data)


def test_history_has_one_row_an_epoch(tmp_path, caplog):
    with caplog.at_level("INFO", "hideseek.tracking"):
        fit(tmp_path, 3)
    rows = list(csv.DictReader((tmp_path / "history.csv").open()))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert list(rows[0]) == [
        "epoch", "seconds", "train/loss", "val/accuracy", "val/loss",
    ]  # fmt: skip
    assert [float(row["train/loss"]) for row in rows] == pytest.approx([1, 1 / 2, 1 / 3])
    assert all(0 <= float(row["seconds"]) < 60 for row in rows)
    ours = [record for record in caplog.records if record.name == "hideseek.tracking"]
    lines = [record.getMessage() for record in ours]
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]


def test_undefined_values_are_empty_cells_in_the_history(tmp_path):
    fit(tmp_path, 2)
    rows = list(csv.DictReader((tmp_path / "history.csv").open()))
    assert [(row["val/accuracy"], row["val/loss"]) for row in rows] == [("", "2.0")] * 2
    table = pl.read_csv(tmp_path / "history.csv")
    assert table["val/accuracy"].null_count() == table.height == 2
    assert table["seconds"].sum() >= 0


def test_tensorboard_writes_below_the_cell(tmp_path):
    pytest.importorskip("tensorboard")
    logger = tracking.tensorboard_logger(str(tmp_path))
    fit(tmp_path, 1, logger)
    tracking.close(logger, {"accuracy": 1.0})
    assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))


def test_closing_nothing_is_allowed():
    tracking.close(None, {})
