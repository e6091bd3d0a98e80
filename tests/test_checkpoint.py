from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from hideseek.checkpoint import (
    KEY,
    NetworkCard,
    _builder,
    load_network,
    load_weights,
    save_network,
    weights_hash,
)
from hideseek.config import config_folder
from hideseek.errors import UserError
from hideseek.models import tiny
from hideseek.models.tiny import Tiny
from hideseek.models.unet import unet_small

TINY = NetworkCard(
    task="classify",
    model="tiny",
    target="hideseek.models.tiny.Tiny",
    arguments={"classes": 3, "in_channels": 3, "width": 4},
    image_size=32,
    channels=3,
    normalize="paper",
    classes=("normal", "pneumonia", "covid19"),
    roi="lungs_removed",
    cam_layer="features.3",
)
UNET = NetworkCard(
    task="segment",
    model="unet_small",
    target="hideseek.models.unet.unet_small",
    arguments={"widths": [4, 8], "norm": True},
    image_size=32,
    channels=1,
    normalize="standardize",
    classes=("background", "lung"),
)
CASES = {
    "tiny": (TINY, lambda: Tiny(3, 3, 4)),
    "unet": (UNET, lambda: unet_small([4, 8], True)),
}


def write(path: Path, card: NetworkCard, net: nn.Module) -> Path:
    state = {f"net.{name}": value for name, value in net.state_dict().items()}
    state["class_weights"] = torch.ones(3)
    torch.save({KEY: card.plain(), "state_dict": state, "epoch": 3, "callbacks": {}}, path)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_network(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message


@pytest.mark.parametrize("name", CASES)
def test_round_trip_of_a_lightning_checkpoint(name, tmp_path):
    card, build = CASES[name]
    net = build()
    for buffer in net.buffers():  # running statistics that a fresh network does not have
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 2)
    path = write(tmp_path / "a.ckpt", card, net)
    content = torch.load(path, weights_only=True)
    assert content[KEY]["target"] == card.target
    loaded, found = load_network(path)
    assert found == card
    assert not loaded.training
    image = torch.rand(2, card.channels, 32, 32)
    with torch.inference_mode():
        assert torch.equal(loaded(image), net.eval()(image))


@pytest.mark.parametrize("name", CASES)
def test_shipped_weights_are_half_as_large_and_come_back_in_float32(name, tmp_path):
    card, build = CASES[name]
    net = build()
    save_network(tmp_path / "half.pt", net, card)
    loaded, _ = load_network(tmp_path / "half.pt")
    for key, value in loaded.state_dict().items():
        expected = net.state_dict()[key]
        assert value.dtype == expected.dtype
        assert torch.equal(value, expected.half().to(expected.dtype))
    stored = torch.load(tmp_path / "half.pt", weights_only=True)["state_dict"]
    assert {v.dtype for v in stored.values() if v.is_floating_point()} == {torch.float16}


def test_load_weights_into_a_network_that_exists(tmp_path):
    net, other = Tiny(3, 3, 4), Tiny(3, 3, 4)
    load_weights(other, write(tmp_path / "a.ckpt", TINY, net))
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("state", [{}, {"net.x": torch.ones(1)}, [1], {1: torch.ones(1)}])
def test_load_weights_refuses_in_one_line(state, tmp_path):
    path = tmp_path / "a.ckpt"
    torch.save({KEY: TINY.plain(), "state_dict": state}, path)
    with pytest.raises(UserError, match="does not fit") as caught:
        load_weights(Tiny(3, 3, 4), path)
    assert "\n" not in str(caught.value)


def test_absent(tmp_path):
    assert "no such checkpoint" in refusal(tmp_path / "a.ckpt")
    with pytest.raises(UserError, match="no such checkpoint"):
        weights_hash(tmp_path / "a.ckpt")


def test_a_folder_is_no_checkpoint(tmp_path):
    refusal(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_truncated(share, tmp_path):
    path = write(tmp_path / "a.ckpt", TINY, Tiny(3, 3, 4))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert "incomplete or unsafe" in refusal(path)


@pytest.mark.parametrize("content", [{"state_dict": {}}, {KEY: {}}, {"a": 1}, [1, 2], 3])
def test_foreign(content, tmp_path):
    torch.save(content, tmp_path / "a.ckpt")
    assert "no checkpoint of hideseek" in refusal(tmp_path / "a.ckpt")


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def test_pickled_code_does_not_run(tmp_path):
    marker, path = tmp_path / "ran", tmp_path / "a.ckpt"
    torch.save({KEY: TINY.plain(), "state_dict": {}, "x": Bomb(marker)}, path)
    assert "unsafe" in refusal(path)
    assert not marker.exists()


HOSTILE = [
    ("os.system", {"command": "touch {marker}"}),
    ("hideseek.models.external.external", {"target": "os:mkdir", "path": "{marker}"}),
    ("hideseek.models.external._imported", {"target": "planted:x"}),
    ("hideseek.models.external.importlib.import_module", {"name": "planted"}),
    ("hideseek.models.weights.imagenet_state", {"url": "http://127.0.0.1:9/x-00000000.pth"}),
    ("hideseek.models.weights.load_state", {"path": "/etc/hostname"}),
    ("hideseek.models.tiny.nn.Linear", {"in_features": 1, "out_features": 1}),
    ("hideseek.models.tiny.functional.relu", {}),
    ("hideseek.models.tiny._stage", {"inputs": 4, "outputs": 4, "stride": 1}),
    ("hideseek.models.no_such_module.Tiny", {}),
    ("hideseek.models.tiny.NoSuchNet", {}),
    ("hideseek.models.tiny", {}),
    ("hideseek.models.", {}),
    ("hideseek.models..Tiny", {}),
    ("hideseek.modelsx.tiny.Tiny", {}),
    ("hideseek.config.register", {}),
    ("planted.x", {}),
    ("", {}),
    (7, {}),
]


@pytest.mark.parametrize(("target", "arguments"), HOSTILE, ids=[str(case[0]) for case in HOSTILE])
def test_a_card_names_no_code_but_networks_of_this_package(
    target, arguments, tmp_path, monkeypatch
):
    def connect(*_, **__):
        raise AssertionError("opened a connection")

    monkeypatch.setattr(socket.socket, "connect", connect)
    marker = tmp_path / "ran"
    (tmp_path / "planted.py").write_text(f"import os; os.mkdir({str(marker)!r}); x = 1")
    monkeypatch.syspath_prepend(tmp_path)
    given = {key: str(value).format(marker=marker) for key, value in arguments.items()}
    card = replace(TINY, target=target, arguments=given)
    message = refusal(write(tmp_path / "a.ckpt", card, Tiny(3, 3, 4)))
    assert not marker.exists()
    assert "connection" not in message


def test_what_a_module_of_ours_imports_is_no_network_of_ours(monkeypatch):
    monkeypatch.setattr(tiny, "Linear", nn.Linear, raising=False)
    with pytest.raises(UserError):
        _builder("hideseek.models.tiny.Linear")


@pytest.mark.parametrize(
    "path", sorted((config_folder() / "model").glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_network_of_the_configuration_may_stand_on_a_card(path):
    target = OmegaConf.load(path).net._target_
    if target == "hideseek.models.external.external":
        with pytest.raises(UserError):
            _builder(target)
    else:
        assert callable(_builder(target))


def test_a_card_that_names_no_weights_downloads_none(tmp_path, monkeypatch):
    from hideseek.models import backbones

    def download(url: str):
        raise AssertionError(f"downloads {url}")

    monkeypatch.setattr(backbones, "imagenet_state", download)
    card = replace(TINY, target="hideseek.models.backbones.alexnet", arguments={"classes": 3})
    path = write(tmp_path / "a.ckpt", card, Tiny(3, 3, 4))
    message = refusal(path)
    assert "does not fit its network" in message
    assert "downloads" not in message


@pytest.mark.parametrize(
    "change",
    [
        {"arguments": {"classes": 4, "in_channels": 3, "width": 4}},
        {"arguments": {"classes": 3, "in_channels": 3, "width": 5}},
        {"arguments": {"no_such": 1}},
        {"arguments": {"classes": "three"}},
        {"arguments": 5},
        {"classes": 5},
        {"target": "hideseek.models.unet.unet_small", "arguments": {"widths": [4, 8]}},
    ],
)
def test_a_card_that_does_not_fit_its_weights(change, tmp_path):
    path = tmp_path / "a.ckpt"
    write(path, TINY, Tiny(3, 3, 4))
    content = torch.load(path, weights_only=True)
    torch.save({**content, KEY: {**content[KEY], **change}}, path)
    refusal(path)


@pytest.mark.parametrize("key", ["task", "target", "classes", "arguments"])
def test_a_card_that_lacks_a_field(key, tmp_path):
    path = write(tmp_path / "a.ckpt", TINY, Tiny(3, 3, 4))
    content = torch.load(path, weights_only=True)
    del content[KEY][key]
    torch.save(content, path)
    assert key in refusal(path)


def test_a_card_from_before_there_was_a_cam_layer(tmp_path):
    path = write(tmp_path / "a.ckpt", TINY, Tiny(3, 3, 4))
    content = torch.load(path, weights_only=True)
    del content[KEY]["cam_layer"]
    torch.save(content, path)
    assert load_network(path)[1] == replace(TINY, cam_layer="")


def test_missing_and_surplus_weights(tmp_path):
    path = write(tmp_path / "a.ckpt", TINY, Tiny(3, 3, 4))
    content = torch.load(path, weights_only=True)
    head = content["state_dict"].pop("net.head.bias")
    torch.save(content, path)
    assert "does not fit" in refusal(path)
    content["state_dict"] |= {"net.head.bias": head, "net.more": head}
    torch.save(content, path)
    assert "does not fit" in refusal(path)


def test_hash_follows_the_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert weights_hash(tmp_path / "a") == "ba7816bf8f01cfea"  # SHA-256 of "abc", FIPS 180-2
