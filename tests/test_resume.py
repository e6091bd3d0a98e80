from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer, seed_everything
from torch.utils.data import DataLoader

from hideseek import resume
from hideseek.resume import (
    CELL_KEY,
    CellCheckpoint,
    CellIdentity,
    StepSeed,
    WholeCheckpoints,
    last_checkpoint,
    lost_a_rank,
)
from hideseek.tasks.averaging import averaged_weights
from hideseek.tracking import History

IDENTITY = {"config_hash": "c", "recipe_hash": "r", "version": "0"}


class Dropping(LightningModule):
    """Learns with dropout; its validation score falls after the second epoch."""

    def __init__(self) -> None:
        super().__init__()
        layers = torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.5)
        self.net = torch.nn.Sequential(*layers, torch.nn.Linear(8, 1))

    def training_step(self, batch, index):
        loss = (self.net(batch) - 1).square().mean()
        self.log("train/loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, index):
        self.log("val/score", 1.0 - abs(self.current_epoch - 1) / 10)

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        return {"optimizer": optimizer, "lr_scheduler": schedule}


class Stop(Exception):
    pass


class StopAfter(StepSeed):
    """Ends the training as an accident would, between two epochs or within one."""

    def __init__(self, seed: int, epoch: int, batch: int) -> None:
        super().__init__(seed)
        self.when = epoch, batch

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == self.when:
            raise Stop
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)


def fit(folder: Path, seeding: StepSeed, before: Path | None = None) -> tuple[Trainer, Dropping]:
    folder.mkdir(exist_ok=True)
    seed_everything(3, verbose=False)
    task = Dropping()
    data = DataLoader(torch.rand(12, 4, generator=torch.Generator().manual_seed(0)), batch_size=4)
    torch.manual_seed(torch.seed() % 1000)  # whatever came before must not matter
    to = {"dirpath": folder / "checkpoints", "enable_version_counter": False}
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=5,
        callbacks=[
            averaged_weights(0.9, torch.device("cpu")),
            CellCheckpoint(**to, filename="best", monitor="val/score", mode="max"),
            CellCheckpoint(**to, filename="last"),
            History(folder),
            seeding,
            CellIdentity(IDENTITY),
        ],
        plugins=[WholeCheckpoints()],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(task, data, data, ckpt_path=before, weights_only=True)
    return trainer, task


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def without_seconds(folder: Path) -> list[list[str]]:
    lines = (folder / "history.csv").read_text().splitlines()
    return [line.split(",")[:1] + line.split(",")[2:] for line in lines]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    fit(folder, StepSeed(3))
    return folder


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize(("epoch", "batch"), [(1, 0), (2, 2), (4, 1)])
def test_a_continued_training_equals_an_uninterrupted_one(whole, epoch, batch, moved, tmp_path):
    folder = tmp_path / "a"
    with pytest.raises(Stop):
        fit(folder, StopAfter(3, epoch, batch))
    if moved:
        folder = Path(shutil.move(folder, tmp_path / "b"))
    before = last_checkpoint(folder, IDENTITY)
    assert before == folder / "checkpoints" / "last.ckpt"
    trainer, _ = fit(folder, StepSeed(3), before)
    for name in ("best.ckpt", "last.ckpt"):
        assert same(weights(folder / "checkpoints" / name), weights(whole / "checkpoints" / name))
    assert without_seconds(folder) == without_seconds(whole)
    assert not (tmp_path / "a").exists() or not moved
    best = trainer.checkpoint_callbacks[0]
    assert float(best.best_model_score) == 1.0
    assert Path(best.best_model_path) == folder / "checkpoints" / "best.ckpt"
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == [
        "best.ckpt", "last.ckpt",
    ]  # fmt: skip


def test_dropout_depends_on_the_seed_and_on_nothing_before(whole, tmp_path):
    torch.rand(17)
    fit(tmp_path / "again", StepSeed(3))
    fit(tmp_path / "other", StepSeed(4))
    last = "checkpoints/last.ckpt"
    assert same(weights(tmp_path / "again" / last), weights(whole / last))
    assert not same(weights(tmp_path / "other" / last), weights(whole / last))


def test_a_finished_training_is_not_trained_on(whole, tmp_path):
    folder = Path(shutil.copytree(whole, tmp_path / "copy"))
    before = (folder / "history.csv").read_bytes(), weights(folder / "checkpoints" / "last.ckpt")
    trainer, _ = fit(folder, StepSeed(3), last_checkpoint(folder, IDENTITY))
    assert float(trainer.checkpoint_callbacks[0].best_model_score) == 1.0
    assert (folder / "history.csv").read_bytes() == before[0]
    assert same(weights(folder / "checkpoints" / "last.ckpt"), before[1])


@pytest.mark.parametrize("name", IDENTITY)
def test_another_cells_checkpoint_is_not_continued(whole, name, caplog):
    with caplog.at_level("INFO", resume.__name__):
        assert last_checkpoint(whole, IDENTITY | {name: "other"}) is None
    assert f"has another {name}" in caplog.text


@pytest.mark.parametrize("kept", [0, 1, 1000, -10])
def test_a_damaged_checkpoint_is_not_continued(whole, kept, tmp_path, caplog):
    folder = Path(shutil.copytree(whole, tmp_path / "copy"))
    path = folder / "checkpoints" / "last.ckpt"
    path.write_bytes(path.read_bytes()[:kept])
    with caplog.at_level("INFO", resume.__name__):
        assert last_checkpoint(folder, IDENTITY) is None
    assert f"{path} is incomplete" in caplog.text
    assert len(caplog.records) == 1


def test_a_foreign_checkpoint_and_none_at_all(tmp_path):
    assert last_checkpoint(tmp_path, IDENTITY) is None
    (tmp_path / "checkpoints").mkdir()
    torch.save({"epoch": 1, CELL_KEY: IDENTITY}, tmp_path / "checkpoints" / "last.ckpt")
    assert last_checkpoint(tmp_path, IDENTITY) is not None
    torch.save({"epoch": 1}, tmp_path / "checkpoints" / "last.ckpt")
    assert last_checkpoint(tmp_path, IDENTITY) is None


def test_a_checkpoint_is_whole_or_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"a": 1}, path)

    def half(content, file):
        Path(file).write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(resume.torch, "save", half)
    with pytest.raises(OSError, match="no space"):
        WholeCheckpoints().save_checkpoint({"a": 2}, path)
    assert torch.load(path, weights_only=True) == {"a": 1}


def test_the_word_of_a_rank_that_is_left_is_no_failure_of_the_cell():
    text = "[../gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:1234"
    assert lost_a_rank(RuntimeError(text))
    assert not lost_a_rank(RuntimeError("shape mismatch"))


@pytest.mark.parametrize("name", ["..", "/etc", "../../x", "best.ckpt"])
def test_a_strangers_checkpoint_removes_nothing(whole, name, tmp_path):
    folder = Path(shutil.copytree(whole, tmp_path / "cell"))
    keepsake = tmp_path / "cell" / "thesis.txt"
    keepsake.write_text("mine")
    path = folder / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    for state in content["callbacks"].values():
        if isinstance(state, dict) and "best_model_path" in state:
            score = torch.tensor(-1.0)
            state |= {"best_model_path": name, "kth_best_model_path": name, "kth_value": score,
                      "best_model_score": score, "best_k_models": {name: score}}  # fmt: skip
    content["epoch"], content["loops"] = 1, {}
    torch.save(content, path)
    callback = CellCheckpoint(folder / "checkpoints", "best", "val/score", mode="max")
    (state,) = [s for key, s in content["callbacks"].items() if "val/score" in key]
    callback.load_state_dict(state)
    best = str(folder / "checkpoints" / "best.ckpt")
    assert (callback.best_model_path, callback.kth_best_model_path) == (best, best)
    assert list(callback.best_k_models) == [best]
    assert callback.dirpath == str(folder / "checkpoints")


def test_a_best_that_is_ahead_of_the_last_keeps_its_score(whole, tmp_path):
    folder = Path(shutil.copytree(whole, tmp_path / "cell"))
    content = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    (state,) = [s for key, s in content["callbacks"].items() if "val/score" in key]
    for known, expected in ((0.5, 1.0), (2.0, 2.0)):
        state |= {"best_model_score": torch.tensor(known)}
        callback = CellCheckpoint(folder / "checkpoints", "best", "val/score", mode="max")
        callback.load_state_dict(state)
        assert float(callback.best_model_score) == float(callback.kth_value) == expected
