from __future__ import annotations

from functools import partial

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from hideseek.checkpoint import KEY, NetworkCard, load_network
from hideseek.errors import UserError
from hideseek.models.unet import unet_small
from hideseek.tasks.averaging import averaged_weights
from hideseek.tasks.segment import SegmentTask

CARD = NetworkCard(
    "segment", "unet_small", "hideseek.models.unet.unet_small",
    {"widths": [4, 8], "norm": True}, 32, 1, "standardize", ("background", "lung"),
)  # fmt: skip
CPU = torch.device("cpu")


def items(count: int):
    generator = torch.Generator().manual_seed(1)
    return [
        {
            "image": torch.randint(256, (1, 32, 32), generator=generator, dtype=torch.uint8),
            "mask": torch.rand(32, 32, generator=generator) > 0.5,
            "counted": torch.tensor(True),
        }
        for _ in range(count)
    ]


class Recorder(Callback):
    """Keeps the network after every step, and what validation sees."""

    def __init__(self) -> None:
        self.steps, self.validated = [], []

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.steps.append(copied(pl_module.net))

    def on_validation_batch_start(self, trainer, pl_module, *_):
        self.validated.append(copied(pl_module.net))


def copied(net) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in net.state_dict().items()}


def average(states: list[dict[str, torch.Tensor]], decay: float) -> dict[str, torch.Tensor]:
    """Average as its formula says, in float64."""
    found = {name: value.double() for name, value in states[0].items()}
    for count, state in enumerate(states[1:], start=1):
        kept = min(decay, (1 + count) / (10 + count))
        found = {n: kept * value + (1 - kept) * state[n].double() for n, value in found.items()}
    return found


def same(net, expected: dict[str, torch.Tensor]) -> None:
    for name, value in net.items():
        if value.is_floating_point():
            torch.testing.assert_close(value.double(), expected[name], rtol=1e-4, atol=1e-6)


def test_what_is_validated_saved_and_left_is_the_average(tmp_path):
    torch.manual_seed(0)
    net = unet_small([4, 8], True)
    task = SegmentTask(net, CARD, partial(torch.optim.AdamW, lr=1e-2))
    recorder = Recorder()
    saver = ModelCheckpoint(tmp_path, filename="best", monitor="val/loss", save_last=True)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=2,
        callbacks=[averaged_weights(0.5, CPU), recorder, saver],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    data = items(12)
    trainer.fit(task, DataLoader(data, batch_size=2), DataLoader(data[:2], batch_size=2))
    assert len(recorder.steps) == 12
    ends = average(recorder.steps[:6], 0.5), average(recorder.steps, 0.5)
    for seen, expected in zip(recorder.validated, ends, strict=True):
        same(seen, expected)
    same(task.net.state_dict(), ends[1])
    last, card = load_network(tmp_path / "last.ckpt")
    assert card == CARD
    same(last.state_dict(), ends[1])
    # The average is another network than that of the last step, which trains on.
    head = recorder.steps[-1]["head.weight"]
    assert (last.head.weight - head).abs().max() > 1e-3
    content = torch.load(tmp_path / "best.ckpt", weights_only=True)
    assert content[KEY] == CARD.plain()


def test_the_validation_loss_is_the_averages(tmp_path):
    torch.manual_seed(0)
    task = SegmentTask(unet_small([4, 8], True), CARD, partial(torch.optim.Adam, lr=1e-2))
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=[averaged_weights(0.9, CPU)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    data = items(8)
    trainer.fit(task, DataLoader(data, batch_size=2), DataLoader(data, batch_size=8))
    batch = torch.utils.data.default_collate(data)
    with torch.inference_mode():
        logits = task.eval()(batch["image"])
    expected = torch.nn.functional.cross_entropy(logits, batch["mask"].long())
    assert float(trainer.callback_metrics["val/loss"]) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("decay", [1.0, 1.5, -0.1, float("nan")])
def test_a_decay_that_cannot_work_is_refused(decay):
    with pytest.raises(UserError, match="ema_decay"):
        averaged_weights(decay, CPU)
