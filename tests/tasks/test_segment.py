from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional

from hideseek.checkpoint import NetworkCard
from hideseek.models.inputs import normalize
from hideseek.models.unet import unet_small
from hideseek.tasks.segment import SegmentTask

ADAM = partial(torch.optim.Adam, lr=1e-3)


def card(how: str) -> NetworkCard:
    return NetworkCard(
        "segment", "unet_small", "hideseek.models.unet.unet_small", {}, 16, 1, how,
        ("background", "lung"),
    )  # fmt: skip


class Bright(nn.Module):
    """Calls bright pixels lung."""

    def forward(self, image):
        return torch.cat([0.5 - image, image - 0.5], dim=1)


def batch(predicted, true, counted):
    return {
        "image": torch.tensor(predicted, dtype=torch.uint8).unsqueeze(1) * 255,
        "mask": torch.tensor(true, dtype=torch.bool),
        "counted": torch.tensor(counted),
    }


def test_the_loss_is_torchs_unweighted_cross_entropy():
    torch.manual_seed(0)
    net = unet_small([4, 8], True)
    images = torch.randint(256, (3, 1, 16, 16), dtype=torch.uint8)
    masks = torch.rand(3, 16, 16) > 0.7
    given = {"image": images, "mask": masks, "counted": torch.ones(3, dtype=torch.bool)}
    loss = SegmentTask(net, card("standardize"), ADAM).training_step(given, 0)
    expected = functional.cross_entropy(net(normalize(images, "standardize", 1)), masks.long())
    assert torch.allclose(loss, expected)


def test_epoch_metrics_are_pooled_over_batches_without_uncounted_images(monkeypatch):
    task, logged = SegmentTask(Bright(), card("paper"), ADAM), {}
    monkeypatch.setattr(task, "log", lambda key, value: logged.update({key: float(value)}))
    monkeypatch.setattr(task, "log_dict", logged.update)
    task.training_step(batch([[[1, 0]]], [[[1, 0]]], [True]), 0)
    # True lung 1 + 2 pixels, found 1 + 2, both 1 + 1.
    task.validation_step(batch([[[1, 0, 0, 0]]], [[[1, 0, 0, 0]]], [True]), 0)
    task.validation_step(
        batch([[[1, 1, 0, 0]], [[1, 1, 1, 1]]], [[[1, 0, 1, 0]], [[0, 0, 0, 0]]], [True, False]), 0
    )
    task.on_validation_epoch_end()
    assert logged["train/accuracy"] == 1
    assert logged["val/accuracy"] == pytest.approx(6 / 8)
    assert logged["val/recall_lung"] == pytest.approx(2 / 3)
    assert logged["val/precision_lung"] == pytest.approx(2 / 3)
    assert logged["val/jaccard_lung"] == pytest.approx(2 / 4)
    assert logged["val/f1_lung"] == pytest.approx(4 / 6)
    assert logged["val/recall_background"] == pytest.approx(4 / 5)
    # Logits are -0.5 and 0.5, so a right pixel costs ln(1 + 1/e), a wrong one 1 more.
    right = float(torch.tensor(-1.0).exp().log1p())
    assert logged["train/loss"] == pytest.approx(right)
    assert logged["val/loss"] == pytest.approx(right + 2 / 8)
