from __future__ import annotations

import csv
import json
import os
import struct
import time
from pathlib import Path

import polars as pl
import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch.utils.data import DataLoader

from hideseek import tracking


def offline_records(file: Path):
    """Read a .wandb file: LevelDB's log format behind seven bytes, a protobuf per record."""
    from wandb.proto import wandb_internal_pb2

    raw, position, parts = file.read_bytes(), 7, b""
    assert raw.startswith(b":W&B")
    while position + 7 <= len(raw):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", raw[position : position + 7])
        parts += raw[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def whole_run(path: Path) -> list:
    """Read a run that W&B's own process may still be writing down."""
    for _ in range(100):
        records = list(offline_records(path))
        if {"run", "exit"} <= {record.WhichOneof("record_type") for record in records}:
            break
        time.sleep(0.2)
    return records


def values(items) -> dict[str, object]:
    return {item.key: json.loads(item.value_json) for item in items if item.key}


@pytest.fixture
def no_key(tmp_path, monkeypatch):
    """A home without any W&B key, and a prompt that fails the test."""
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    # Lightning sets it for offline runs; set here, it is restored after the test.
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("NETRC", raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))

    def ask(*_):
        raise AssertionError("asked the user")

    monkeypatch.setattr("builtins.input", ask)
    monkeypatch.setattr("getpass.getpass", ask)
    return home


def test_wandb_logs_each_cell_offline_in_a_run_of_its_own(no_key, tmp_path):
    import wandb

    for seed in (0, 1):
        folder = tmp_path / f"cell{seed}"
        folder.mkdir()
        logger = tracking.wandb_logger(
            folder=str(folder),
            sweep="grid",
            name=f"tiny/original/{seed}",
            task="classify",
            tags=["tiny", "original"],
        )
        config = {"seed": seed, "epochs": 2, "model": {"net": {"widths": [4, 8]}}}
        logger.log_hyperparams(config)
        logger.log_metrics({"train/loss": 0.5 + seed}, step=0)
        tracking.close(logger, {"accuracy": 0.25 + seed})
        assert wandb.run is None
    ids = set()
    for seed in (0, 1):
        (run_file,) = (tmp_path / f"cell{seed}" / "wandb").glob("offline-run-*/run-*.wandb")
        records = whole_run(run_file)
        (run,) = [record.run for record in records if record.WhichOneof("record_type") == "run"]
        ids.add(run.run_id)
        assert run.display_name == f"tiny/original/{seed}"
        assert (run.run_group, run.job_type, run.project) == ("grid", "classify", "hideseek")
        assert set(run.tags) == {"tiny", "original"}
        logged = {}
        for record in records:
            logged |= values(record.config.update)
        assert logged["seed"] == seed
        assert logged["epochs"] == 2
        assert logged["model"] == {"net": {"widths": [4, 8]}}
        history = [
            json.loads(item.value_json)
            for record in records
            for item in record.history.item
            if "train/loss" in (item.key, *item.nested_key)
        ]
        assert history == [0.5 + seed]
        summary = {}
        for record in records:
            summary |= values(record.summary.update)
        assert summary["test/accuracy"] == 0.25 + seed
        assert any(record.WhichOneof("record_type") == "exit" for record in records)
    assert len(ids) == 2


def test_a_key_is_found_in_the_environment_and_in_netrc(no_key, tmp_path, monkeypatch):
    assert not tracking.has_wandb_key()
    netrc = no_key / ".netrc"
    netrc.write_text("machine example.org login a password b\n")
    assert not tracking.has_wandb_key()
    netrc.write_bytes(b"\xff\xfe\n")
    assert not tracking.has_wandb_key()
    netrc.write_text("machine api.wandb.ai login user password k\n")
    assert tracking.has_wandb_key()
    monkeypatch.setenv("NETRC", str(tmp_path / "elsewhere"))
    assert not tracking.has_wandb_key()
    monkeypatch.setenv("WANDB_API_KEY", "")
    assert not tracking.has_wandb_key()
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    assert tracking.has_wandb_key()


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
