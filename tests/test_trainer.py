from __future__ import annotations

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import open_dict
from pytorch_lightning import Trainer

from hideseek.checkpoint import NetworkCard
from hideseek.errors import UserError
from hideseek.trainer import check_tasks, choices, fit, make_trainer
from tests.test_config import CHOICES, composed

TRAINED_HERE = [
    pytest.param(name, marks=pytest.mark.slow if name.startswith(("covidnet", "vgg")) else ())
    for group, name in CHOICES
    if group == "model" and name not in ("timm", "external")
]


def gradients(net: torch.nn.Module, batch: torch.Tensor) -> list[torch.Tensor]:
    torch.manual_seed(0)
    net.zero_grad(set_to_none=True)
    net.train()(batch).square().mean().backward()
    return [p.grad.clone() for p in net.parameters() if p.grad is not None]


@pytest.mark.parametrize("model", TRAINED_HERE)
def test_every_network_repeats_itself_on_the_cpu_in_deterministic_mode(model, tmp_path):
    with composed("train", [f"model={model}"], tmp_path) as config:
        with open_dict(config):
            if "weights" in config.model.net:
                config.model.net.weights = "none"
        net = instantiate(config.model.net, _convert_="all")
        size, channels = config.image_size, config.model.channels
    batch = torch.rand(2, channels, size, size, generator=torch.Generator().manual_seed(1))
    torch.use_deterministic_algorithms(True)
    try:
        one, other = gradients(net, batch), gradients(net, batch)
    finally:
        torch.use_deterministic_algorithms(False)
    assert len(one) > 4
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_an_operation_that_cannot_repeat_itself_is_named(monkeypatch):
    def refuse(*args, **kwargs):
        raise RuntimeError(
            "adaptive_avg_pool2d_backward_cuda does not have a deterministic implementation, but "
            "you set 'torch.use_deterministic_algorithms(True)'. You can turn off ..."
        )

    monkeypatch.setattr(Trainer, "fit", refuse)
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    card = NetworkCard("classify", "alexnet", "x", {}, 224, 3, "paper", ("a", "b"))
    task = type("Task", (), {"card": card})()
    with pytest.raises(UserError) as caught:
        fit(trainer, task, None, None)
    message = str(caught.value)
    assert "'adaptive_avg_pool2d_backward_cuda' of model=alexnet" in message
    assert "\n" not in message


def test_other_errors_stay_as_they_are(monkeypatch):
    def refuse(*args, **kwargs):
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(Trainer, "fit", refuse)
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        fit(trainer, None, None, None)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], {"best": "val/balanced_accuracy"}),
        (["selection=paper"], {"best": "val/balanced_accuracy"}),
        (["experiment=segment_lungs"], {"best": "val/f1_lung"}),
        (
            ["experiment=segment_lungs", "selection=paper"],
            {"best": "test/f1_lung", "validation": "val/f1_lung"},
        ),
    ],
)
def test_what_chooses_the_epoch(given, expected, tmp_path):
    with composed("train", given, tmp_path) as config:
        assert choices(config) == expected


def test_every_epoch_is_kept_until_the_next_and_the_best_for_good(tmp_path):
    with composed("train", ["trainer=cpu", "ema_decay=0.9"], tmp_path) as config:
        trainer, best = make_trainer(config, tmp_path, None, {"config_hash": "c"})
    saved = trainer.checkpoint_callbacks
    assert [(each.filename, each.monitor) for each in saved] == [
        ("best", "val/balanced_accuracy"),
        ("last", None),
    ]
    assert best is saved[0]
    assert all(each.dirpath == str(tmp_path / "checkpoints") for each in saved)
    assert type(trainer.strategy.checkpoint_io).__name__ == "WholeCheckpoints"


def test_slurms_tasks_are_the_trainers_ranks(monkeypatch):
    check_tasks(1)
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("SLURM_JOB_NAME", "grid")
    check_tasks(2)
    with pytest.raises(UserError, match="Slurm started 2 tasks, and the trainer expects 1 ranks"):
        check_tasks(1)
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    check_tasks(1)
