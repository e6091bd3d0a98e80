from __future__ import annotations

from functools import partial

import pytest
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from hideseek.checkpoint import KEY, NetworkCard, load_network
from hideseek.models.inputs import normalize
from hideseek.models.tiny import Tiny
from hideseek.models.unet import unet_small
from hideseek.tasks.classify import ClassifyTask
from hideseek.tasks.segment import SegmentTask

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
