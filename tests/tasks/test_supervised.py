from __future__ import annotations

from functools import partial
from itertools import pairwise

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from hideseek.checkpoint import KEY, NetworkCard, load_network
from hideseek.errors import UserError
from hideseek.models.inputs import normalize
from hideseek.models.tiny import Tiny
from hideseek.models.unet import unet_small
from hideseek.tasks.classify import ClassifyTask
from hideseek.tasks.segment import SegmentTask
from hideseek.tasks.supervised import one_cycle

CLASSIFY = NetworkCard(
    "classify", "tiny", "hideseek.models.tiny.Tiny",
    {"classes": 3, "in_channels": 3, "width": 4}, 32, 3, "paper", ("a", "b", "c"),
)  # fmt: skip
SEGMENT = NetworkCard(
    "segment", "unet_small", "hideseek.models.unet.unet_small",
    {"widths": [4, 8], "norm": True}, 32, 1, "standardize", ("background", "lung"),
)  # fmt: skip
ADAM = partial(torch.optim.Adam, lr=1e-3)


def tasks():
    torch.manual_seed(0)
    return {
        "classify": ClassifyTask(Tiny(3, 3, 4), CLASSIFY, ADAM, [1.0, 1.0, 4.0]),
        "segment": SegmentTask(unet_small([4, 8], True), SEGMENT, ADAM),
    }


def items(count: int):
    generator = torch.Generator().manual_seed(1)
    return [
        {
            "image": torch.randint(256, (1, 32, 32), generator=generator, dtype=torch.uint8),
            "label": torch.tensor(k % 3),
            "mask": torch.rand(32, 32, generator=generator) > 0.5,
            "index": torch.tensor(k),
            "counted": torch.tensor(True),
        }
        for k in range(count)
    ]


@pytest.mark.parametrize("name", ["classify", "segment"])
def test_a_checkpoint_of_one_epoch_rebuilds_the_network(name, tmp_path):
    task = tasks()[name]
    before = [parameter.detach().clone() for parameter in task.net.parameters()]
    saver = ModelCheckpoint(
        tmp_path, filename="best", monitor="val/loss", mode="min", save_last=True
    )
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=[saver],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    data = items(9)
    trainer.fit(task, DataLoader(data, batch_size=4), DataLoader(data[:5], batch_size=2))
    assert any(
        not torch.equal(old, new) for old, new in zip(before, task.net.parameters(), strict=True)
    )
    for file in ("best.ckpt", "last.ckpt"):
        content = torch.load(tmp_path / file, weights_only=True)
        assert content[KEY] == task.card.plain()
        net, card = load_network(tmp_path / file)
        assert card == task.card
        images = torch.stack([item["image"] for item in data])
        with torch.inference_mode():
            found = net(normalize(images, card.normalize, card.channels))
            assert torch.equal(found, task.eval()(images))
    metrics = {key: float(value) for key, value in trainer.callback_metrics.items()}
    for phase in ("train", "val"):
        assert metrics[f"{phase}/loss"] > 0
        assert 0 <= metrics[f"{phase}/accuracy"] <= 1
    assert not any(key.endswith("/n") for key in metrics)


def test_logits_are_float32_whatever_the_precision():
    task = tasks()["classify"]
    images = torch.stack([item["image"] for item in items(2)])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert task(images).dtype == torch.float32


def test_frozen_parameters_are_left_to_themselves():
    task = tasks()["classify"]
    task.net.features.requires_grad_(False)
    (group,) = task.configure_optimizers().param_groups
    assert {id(p) for p in group["params"]} == {id(p) for p in task.net.head.parameters()}


@pytest.mark.parametrize("name", ["classify", "segment"])
def test_an_epoch_starts_from_nothing(name):
    data = items(8)
    first, second = (torch.utils.data.default_collate(part) for part in (data[:3], data[3:]))

    def last_epoch(*batches) -> dict[str, float]:
        task, logged = tasks()[name], {}
        task.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
        task.log = lambda key, value: logged.update({key: float(value)})
        task.log_dict = logged.update
        task.eval()
        for batch in batches:
            for phase in ("train", "val"):
                task.step(phase, batch)
            task.on_validation_epoch_end()
        return logged

    assert last_epoch(first, second) == pytest.approx(last_epoch(second), nan_ok=True)
    assert last_epoch(first) != pytest.approx(last_epoch(second), nan_ok=True)


class Rates(Callback):
    """Keeps the learning rate of every step, and how many the schedule reckoned with."""

    def __init__(self) -> None:
        self.seen, self.total = [], None

    def on_train_batch_start(self, trainer, pl_module, *_):
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])
        if trainer.lr_scheduler_configs:
            self.total = trainer.lr_scheduler_configs[0].scheduler.total_steps


def rates(schedule: str, images: int = 16, **changes) -> Rates:
    torch.manual_seed(0)
    task = SegmentTask(unet_small([4, 8], True), SEGMENT, ADAM, schedule=schedule)
    kept = Rates()
    settings = {
        "accelerator": "cpu",
        "max_epochs": 3,
        "callbacks": [kept],
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    data = items(images)
    trainer = Trainer(**{**settings, **changes})
    trainer.fit(task, DataLoader(data, batch_size=2), DataLoader(data[:2], batch_size=2))
    return kept


def test_one_cycle_rises_for_a_tenth_and_falls_to_nothing_by_the_last_step():
    kept = rates("onecycle")
    assert kept.total == len(kept.seen) == 3 * 8
    peak = kept.seen.index(max(kept.seen))
    assert 0.05 < peak / 24 < 0.15
    assert kept.seen[0] < 1e-3 / 5
    assert kept.seen[-1] < 1e-3 / 20
    assert all(a < b for a, b in pairwise(kept.seen[: peak + 1]))
    assert all(a > b for a, b in pairwise(kept.seen[peak:]))


def test_a_constant_rate_is_constant():
    kept = rates("constant", max_epochs=2)
    assert set(kept.seen) == {1e-3}
    assert kept.total is None


def test_one_cycle_reckons_with_the_trainers_own_length():
    assert rates("onecycle", max_epochs=2).total == 16
    assert rates("onecycle", accumulate_grad_batches=3, max_epochs=2).total == 6
    assert rates("onecycle", max_epochs=-1, max_steps=5).total == 5
    with pytest.raises(UserError, match="needs a number of epochs"):
        rates("onecycle", max_epochs=-1, max_time="00:00:00:01")


@pytest.mark.parametrize("steps", [*range(1, 45), 100, 2700])
def test_one_cycle_of_any_length(steps):
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=0.25)
    scheduler, seen = one_cycle(optimizer, steps), []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert 0 <= min(seen) <= max(seen) <= 0.25 + 1e-9
    if steps >= 20:
        assert max(seen) > 0.2


def test_an_unknown_schedule_is_refused():
    with pytest.raises(UserError, match=r"schedule=cosine .* constant, onecycle"):
        SegmentTask(unet_small([4, 8], True), SEGMENT, ADAM, schedule="cosine")
    with pytest.raises(UserError, match="schedule=cosine"):
        ClassifyTask(Tiny(3, 3, 4), CLASSIFY, ADAM, [1.0, 1.0, 4.0], schedule="cosine")


def test_two_sets_that_could_choose_are_scored_apart(tmp_path):
    task = tasks()["segment"]
    savers = [
        ModelCheckpoint(tmp_path, filename=name, monitor=f"{phase}/f1_lung", mode="max")
        for name, phase in (("best", "test"), ("validation", "val"))
    ]
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=2,
        callbacks=savers,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    data = items(12)
    sets = [DataLoader(part, batch_size=2) for part in (data[8:10], data[10:])]
    trainer.fit(task, DataLoader(data[:8], batch_size=4), sets)
    for phase, part in (("val", data[8:10]), ("test", data[10:])):
        batch = torch.utils.data.default_collate(part)
        with torch.inference_mode():
            found = task.eval()(batch["image"]).argmax(dim=1) == 1
        overlap, sizes = (found & batch["mask"]).sum(), found.sum() + batch["mask"].sum()
        logged = float(trainer.callback_metrics[f"{phase}/f1_lung"])
        assert logged == pytest.approx(float(2 * overlap / sizes), abs=1e-6)
    assert {path.name for path in tmp_path.iterdir()} == {"best.ckpt", "validation.ckpt"}
