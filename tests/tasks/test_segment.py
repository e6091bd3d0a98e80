from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional

from hideseek.checkpoint import NetworkCard
from hideseek.errors import UserError
from hideseek.models.inputs import normalize
from hideseek.models.unet import unet_small
from hideseek.tasks.segment import SegmentTask, dice_loss

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


def certain(found) -> torch.Tensor:
    """Logits that are sure of a mask."""
    lung = torch.tensor(found, dtype=torch.float32) * 100 - 50
    return torch.stack([-lung, lung], dim=1)


def test_dice_loss_by_hand():
    truth = torch.tensor([[[1, 1, 0, 0]], [[1, 1, 0, 0]], [[0, 0, 0, 0]], [[0, 0, 0, 0]]])
    found = [[[1, 1, 0, 0]], [[0, 1, 1, 0]], [[0, 0, 0, 0]], [[1, 1, 1, 1]]]
    # 1 - (2 overlap + 1) / (sizes + 1): all right, half, nothing where nothing is, all too much.
    expected = [0, 1 - 3 / 5, 0, 1 - 1 / 5]
    assert dice_loss(certain(found), truth).tolist() == pytest.approx(expected, abs=1e-6)
    # Probability a half everywhere: overlap 1, sizes 2 + 2.
    undecided = torch.zeros(1, 2, 1, 4)
    assert dice_loss(undecided, truth[:1]).tolist() == pytest.approx([1 - 3 / 5])


def test_dice_loss_falls_along_its_gradient():
    logits = torch.zeros(2, 2, 4, 4, requires_grad=True)
    truth = torch.zeros(2, 4, 4, dtype=torch.long)
    truth[:, :2] = 1
    before = dice_loss(logits, truth).sum()
    before.backward()
    assert (logits.grad[:, 1, :2] < 0).all() and (logits.grad[:, 1, 2:] > 0).all()
    assert dice_loss(logits.detach() - logits.grad, truth).sum() < before


@pytest.mark.parametrize("phase", ["train", "val"])
def test_the_dice_loss_is_added_image_by_image(phase, monkeypatch):
    images, masks = [[[1, 0, 0, 0]], [[1, 1, 1, 1]]], [[[1, 1, 0, 0]], [[0, 0, 0, 0]]]
    given = batch(images, masks, [True, True])
    plain, both = (SegmentTask(Bright(), card("paper"), ADAM, loss=loss) for loss in (
        "cross_entropy", "cross_entropy_dice"))  # fmt: skip
    logits = Bright()(torch.tensor(images, dtype=torch.float32).unsqueeze(1))
    extra = dice_loss(logits, given["mask"].long())
    assert both.step(phase, given) == pytest.approx(float(plain.step(phase, given) + extra.mean()))


def test_an_unknown_loss_is_refused():
    with pytest.raises(UserError, match=r"task\.loss=dice .* cross_entropy, cross_entropy_dice"):
        SegmentTask(Bright(), card("paper"), ADAM, loss="dice")
