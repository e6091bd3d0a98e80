from __future__ import annotations

import socket
import urllib.error
from pathlib import Path

import pytest
import torch
from torchvision import models

from hideseek.errors import UserError
from hideseek.models.backbones import MINIMUM_SIZE, alexnet, resnet50, vgg11
from hideseek.models.covidnet import covidnet_cxr3a, covidnet_cxr4a
from hideseek.models.tiny import Tiny

URL = models.ResNet50_Weights.IMAGENET1K_V1.url
NAME = URL.rsplit("/", 1)[1]


@pytest.fixture(scope="module")
def imagenet_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("hub") / "checkpoints" / NAME
    path.parent.mkdir()
    torch.manual_seed(0)
    torch.save(models.resnet50().state_dict(), path)
    return path


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """An empty hub folder, and no network."""
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def refuse(*args, **kwargs):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    return tmp_path / "hub"


def on_meta(build, *args, **kwargs):
    with torch.device("meta"):
        return build(*args, **kwargs)


@pytest.mark.parametrize(
    ("build", "size", "map_side"),
    [
        (lambda: alexnet(weights="none"), 224, 13),
        (lambda: vgg11(weights="none"), 224, 14),
        (lambda: vgg11(weights="none", batch_norm=False), 224, 14),
        (lambda: resnet50(weights="none"), 224, 7),
        (covidnet_cxr3a, 480, 13),
        (covidnet_cxr4a, 480, 13),
        (Tiny, 64, 8),
        (Tiny, 32, 4),
    ],
)
def test_cam_layer_is_the_last_map_after_its_relu(build, size, map_side):
    network = on_meta(build).eval()
    seen = []
    layer = network.get_submodule(network.cam_layer)
    layer.register_forward_hook(lambda m, i, o: seen.append(o.shape))
    logits = network(torch.empty(2, 3, size, size, device="meta"))
    assert logits.shape == (2, 3)
    assert [tuple(s[2:]) for s in seen] == [(map_side, map_side)]
    last = [m for m in layer.modules() if not list(m.children())][-1]
    assert isinstance(last, torch.nn.ReLU) or network.cam_layer == "layer4"


@pytest.mark.parametrize(
    ("build", "name"), [(alexnet, "alexnet"), (vgg11, "vgg11"), (resnet50, "resnet50")]
)
def test_minimum_size_runs(build, name):
    network = on_meta(build, 4, weights="none").eval()
    size = MINIMUM_SIZE[name]
    assert network(torch.empty(1, 3, size, size, device="meta")).shape == (1, 4)
    if name != "resnet50":
        with pytest.raises(RuntimeError):
            network(torch.empty(1, 3, size - 1, size - 1, device="meta"))


def test_vgg11_has_batch_norm_unless_told():
    with_norm, plain = on_meta(vgg11, weights="none"), on_meta(vgg11, 3, "none", False)
    count = [
        sum(isinstance(m, torch.nn.BatchNorm2d) for m in n.modules()) for n in (with_norm, plain)
    ]
    assert count == [8, 0]


def test_imagenet_file_in_the_hub_folder_needs_no_network(hub, imagenet_file, monkeypatch):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(imagenet_file.parent.parent))
    network = resnet50(weights="imagenet")
    state = torch.load(imagenet_file, weights_only=True)
    own = network.state_dict()
    assert all(torch.equal(own[k], v) for k, v in state.items() if not k.startswith("fc."))
    assert own["fc.weight"].shape == (3, 2048)


def test_failing_download_is_one_line_with_the_remedies(hub):
    before = socket.getdefaulttimeout()
    with pytest.raises(UserError) as error:
        resnet50(weights="imagenet")
    message = str(error.value)
    assert "\n" not in message
    place = str(hub / "checkpoints" / NAME)
    for words in (
        URL,
        "Name or service not known",
        "weights=none",
        f"weights=/path/to/{NAME}",
        place,
    ):
        assert words in message
    assert socket.getdefaulttimeout() == before
    assert list((hub / "checkpoints").iterdir()) == []


def test_download_with_a_wrong_hash_is_refused(hub, monkeypatch, tmp_path):
    (tmp_path / "other").write_bytes(b"not the weights")
    real = torch.hub.Request  # a file address in place of the network's
    monkeypatch.undo()
    monkeypatch.setattr(torch.hub, "_hub_dir", str(hub))
    address = (tmp_path / "other").as_uri()
    monkeypatch.setattr(torch.hub, "Request", lambda url, **kwargs: real(address, **kwargs))
    with pytest.raises(UserError, match=r"invalid hash value.*weights=none"):
        resnet50(weights="imagenet")
    assert list((hub / "checkpoints").iterdir()) == []


def test_path_with_thousand_classes_drops_the_head(imagenet_file):
    network = resnet50(classes=5, weights=str(imagenet_file))
    assert network.fc.weight.shape == (5, 2048)
    expected = torch.load(imagenet_file, weights_only=True)["layer4.2.conv3.weight"]
    assert torch.equal(network.layer4[2].conv3.weight, expected)


def test_path_with_own_classes_is_used_whole(tmp_path):
    saved = resnet50(weights="none")
    torch.save({"state_dict": saved.state_dict()}, tmp_path / "own.pth")
    network = resnet50(weights=str(tmp_path / "own.pth"))
    assert torch.equal(network.fc.weight, saved.fc.weight)
    with pytest.raises(UserError, match=r"fc\.weight \[3, 2048\] for \[4, 2048\]"):
        resnet50(classes=4, weights=str(tmp_path / "own.pth"))


def test_path_of_another_network(imagenet_file):
    with pytest.raises(UserError, match=r"do not fit AlexNet.*such as features\.0\.weight"):
        on_meta(alexnet, weights=str(imagenet_file))


def test_truncated_hub_file(hub, imagenet_file):
    path = hub / "checkpoints" / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(imagenet_file.read_bytes()[:100_000])
    with pytest.raises(UserError, match=f"{NAME}: not a whole PyTorch weights file"):
        on_meta(resnet50, weights="imagenet")


def test_missing_path():
    with pytest.raises(UserError, match=r"/no/such/file\.pth: no such file"):
        on_meta(resnet50, weights="/no/such/file.pth")
