from __future__ import annotations

import importlib

import pytest
import torch
from torch import nn

from hideseek.errors import UserError
from hideseek.models.external import external, timm_model

SOURCE = """
from torch import nn

def small(classes=3, width=4):
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(inplace=True), nn.Conv2d(width, width, 3),
                         nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(width, classes))

class Named(nn.Module):
    cam_layer = "conv"
    def __init__(self):
        super().__init__()
        self.conv, self.later = nn.Conv2d(3, 2, 3), nn.Conv2d(2, 2, 3)

class Outer:
    @staticmethod
    def build():
        return nn.Linear(2, 2)

def number():
    return 7

constant = 7
"""


@pytest.fixture(autouse=True)
def somebody(tmp_path, monkeypatch):
    (tmp_path / "somebody_nets.py").write_text(SOURCE)
    (tmp_path / "somebody_broken.py").write_text("import no_such_package_at_all\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()


def refusal(target, *args, **kwargs) -> str:
    with pytest.raises(UserError) as error:
        external(target, *args, **kwargs)
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("target", ["somebody_nets:small", "somebody_nets.small"])
def test_builds_with_its_arguments(target):
    network = external(target, classes=5, width=8)
    assert network(torch.rand(2, 3, 9, 9)).shape == (2, 5)
    assert network.cam_layer == "2"
    assert not any(m.inplace for m in network.modules() if isinstance(m, nn.ReLU))


def test_cam_layer_given_own_guessed_or_absent():
    assert external("somebody_nets:small", cam_layer="3").cam_layer == "3"
    assert external("somebody_nets:Named").cam_layer == "conv"
    assert external("somebody_nets:Named", cam_layer="later").cam_layer == "later"
    assert external("somebody_nets:Outer.build").cam_layer == ""
    assert "no layer latr for cam_layer; try later" in refusal(
        "somebody_nets:Named", cam_layer="latr"
    )


def test_weights(tmp_path):
    path = tmp_path / "w.pth"
    saved = external("somebody_nets:small")
    torch.save(saved.state_dict(), path)
    network = external("somebody_nets:small", str(path))
    x = torch.rand(1, 3, 9, 9)
    assert torch.equal(network(x), saved(x))
    assert "6.weight [3, 4] for [2, 4]" in refusal("somebody_nets:small", str(path), classes=2)
    assert "no such file" in refusal("somebody_nets:small", str(tmp_path / "none.pth"))


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("no_such_module_here:small", "PYTHONPATH"),
        ("somebody_broken:small", "no_such_package_at_all"),
        ("somebody_nets:large", "has no large"),
        ("somebody_nets:number", "returned int, not a torch.nn.Module"),
        ("somebody_nets:constant", "not callable"),
        ("small", "package.module:callable"),
        ("somebody_nets:", "package.module:callable"),
    ],
)
def test_wrong_targets_are_one_line(target, words):
    assert words in refusal(target)


def test_wrong_arguments_are_one_line():
    assert "unexpected keyword argument 'depth'" in refusal("somebody_nets:small", depth=3)


def test_timm_network():
    network = timm_model("test_resnet", classes=4)
    assert network(torch.rand(2, 3, 64, 64)).shape == (2, 4)
    assert network.cam_layer == "layer4"
    assert timm_model("test_resnet", cam_layer="layer3").cam_layer == "layer3"


def test_timm_weights_file_drops_a_thousand_class_head(tmp_path):
    path = tmp_path / "w.pth"
    saved = timm_model("test_resnet", classes=1000)
    torch.save(saved.state_dict(), path)
    network = timm_model("test_resnet", classes=3, weights=str(path))
    assert torch.equal(network.conv1[0].weight, saved.conv1[0].weight)
    assert network.get_classifier().weight.shape[0] == 3
    with pytest.raises(UserError, match="do not fit"):
        timm_model("test_convnext", weights=str(path))


def test_timm_unknown_name_offers_near_ones():
    with pytest.raises(UserError, match=r"test_resnett: unknown.*test_resnet"):
        timm_model("test_resnett")


def test_timm_absent(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(UserError, match="timm is missing; pip install timm"):
        timm_model("test_resnet")


def test_timm_failing_download(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no network\nat all")

    monkeypatch.setattr("timm.create_model", refuse)
    with pytest.raises(UserError) as error:
        timm_model("test_resnet", weights="imagenet")
    assert "no network" in str(error.value)
    assert "\n" not in str(error.value)
    assert "weights=none" in str(error.value)
