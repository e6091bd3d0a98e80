from __future__ import annotations

from functools import partial

import pytest
import torch
from pytorch_lightning import Trainer
from torch import nn
from torch.nn import functional

from hideseek.checkpoint import NetworkCard
from hideseek.models.tiny import Tiny
from hideseek.tasks.classify import ClassifyTask

CARD = NetworkCard(
    "classify", "tiny", "hideseek.models.tiny.Tiny", {}, 32, 1, "paper", ("a", "b", "c")
)
ADAM = partial(torch.optim.Adam, lr=1e-3)
WEIGHTS = [1.0, 1.0, 4.0]


class Lookup(nn.Module):
    """Logits that stand in the image: grey value k makes class k the likeliest."""

    def forward(self, image):
        grey = (image[:, 0, 0, 0] * 255).round().long()
        return 2.0 * functional.one_hot(grey, 3).float()


def attached(net) -> ClassifyTask:
    task = ClassifyTask(net, CARD, ADAM, WEIGHTS)
    task.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    return task


def batch(predicted, labels, counted=None):
    images = torch.tensor(predicted, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)
    return {
        "image": images.contiguous(),
        "label": torch.tensor(labels),
        "counted": torch.tensor(counted or [True] * len(labels)),
        "index": torch.arange(len(labels)),
    }


def epoch(task, monkeypatch) -> dict[str, float]:
    logged: dict[str, float] = {}
    monkeypatch.setattr(task, "log", lambda key, value: logged.update({key: float(value)}))
    monkeypatch.setattr(task, "log_dict", logged.update)
    task.on_validation_epoch_end()
    return logged


def test_the_loss_is_torchs_weighted_cross_entropy():
    torch.manual_seed(0)
    net = Tiny(3, 1, 4)
    task = attached(net)
    images = torch.randint(256, (8, 1, 32, 32), dtype=torch.uint8)
    labels = torch.tensor([0, 1, 2, 2, 0, 1, 1, 2])
    given = {"image": images, "label": labels, "counted": torch.ones(8, dtype=torch.bool)}
    loss = task.training_step(given, 0)
    expected = functional.cross_entropy(net(images / 255), labels, torch.tensor(WEIGHTS))
    assert torch.allclose(loss, expected)
    assert not torch.allclose(loss, functional.cross_entropy(net(images / 255), labels))
    ours = torch.autograd.grad(loss, net.head.weight)[0]
    theirs = torch.autograd.grad(expected, net.head.weight)[0]
    assert torch.allclose(ours, theirs, atol=1e-7)


def test_epoch_metrics_span_batches_and_phases_stay_apart(monkeypatch):
    task = attached(Lookup())
    batches = [batch([0, 1, 2], [0, 1, 1]), batch([2, 2], [2, 0]), batch([0], [2])]
    for given in batches:
        task.training_step(given, 0)
    task.validation_step(batch([1, 1], [1, 0]), 0)
    found = epoch(task, monkeypatch)
    assert found["train/accuracy"] == pytest.approx(3 / 6)
    assert found["train/sens_a"] == pytest.approx(1 / 2)
    assert found["train/sens_b"] == pytest.approx(1 / 2)
    assert found["train/sens_c"] == pytest.approx(1 / 2)
    assert found["train/ppv_a"] == pytest.approx(1 / 2)
    assert found["train/ppv_b"] == pytest.approx(1)
    assert found["train/ppv_c"] == pytest.approx(1 / 3)
    assert found["val/accuracy"] == pytest.approx(1 / 2)
    assert torch.isnan(torch.tensor(found["val/sens_c"]))
    logits = 2.0 * functional.one_hot(torch.tensor([0, 1, 2, 2, 2, 0]), 3).float()
    expected = functional.cross_entropy(
        logits, torch.tensor([0, 1, 1, 2, 0, 2]), torch.tensor(WEIGHTS)
    )
    assert found["train/loss"] == pytest.approx(float(expected))


def test_uncounted_images_do_not_count(monkeypatch):
    with_surplus = attached(Lookup())
    without = attached(Lookup())
    for task in (with_surplus, without):
        task.training_step(batch([0, 1], [0, 2]), 0)
        task.validation_step(batch([0, 1], [0, 2]), 0)
    with_surplus.validation_step(batch([2, 1, 0], [2, 0, 0], [False, True, False]), 0)
    without.validation_step(batch([1], [0]), 0)
    with_surplus.validation_step(batch([2, 2], [2, 2], [False, False]), 0)
    assert epoch(with_surplus, monkeypatch) == pytest.approx(
        epoch(without, monkeypatch), nan_ok=True
    )


def test_as_many_weights_as_classes():
    with pytest.raises(ValueError, match="2 class weights for 3 classes"):
        ClassifyTask(Lookup(), CARD, ADAM, [1.0, 1.0])


def test_weights_follow_the_device_and_stay_out_of_the_network():
    task = ClassifyTask(Tiny(3, 1, 4), CARD, ADAM, WEIGHTS)
    assert "class_weights" in dict(task.named_buffers())
    assert "class_weights" not in task.net.state_dict()
