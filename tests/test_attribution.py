from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from hideseek.attribution import cam_layer, enlarged, raw_maps
from hideseek.checkpoint import NetworkCard
from hideseek.config import config_folder, register
from hideseek.errors import UserError
from hideseek.models.backbones import alexnet, resnet50
from hideseek.models.tiny import Tiny

MODELS = {path.stem: OmegaConf.load(path) for path in (config_folder() / "model").glob("*.yaml")}
CLASSIFIERS = sorted(name for name, model in MODELS.items() if model.task == "classify")
SETTINGS = [
    pytest.param([f"model={name}"], marks=pytest.mark.slow if "covidnet" in name else ())
    for name in CLASSIFIERS
] + [pytest.param(["model=vgg11", "model.net.batch_norm=0"])]
NEEDED = {"external": ["model.net.target=torchvision.models:resnet18"]}
CARD = NetworkCard("classify", "m", "t", {}, 32, 3, "paper", ("a", "b", "c"))


def reference(net: nn.Module, layer: str, images: torch.Tensor, targets: list[int]) -> np.ndarray:
    """Grad-CAM written plainly, an image at a time, on a copy that changes nothing in place."""
    net = copy.deepcopy(net).eval()
    for module in net.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    kept: list[torch.Tensor] = []
    net.get_submodule(layer).register_forward_hook(lambda _, __, output: kept.append(output))
    maps = []
    for image, target in zip(images, targets, strict=True):
        kept.clear()
        logit = net(image[None].clone().requires_grad_())[0, target]
        (gradient,) = torch.autograd.grad(logit, kept[0])
        weights = gradient[0].mean(dim=(1, 2))
        maps.append(sum(w * a for w, a in zip(weights, kept[0][0].detach(), strict=True)).relu())
    return torch.stack(maps).numpy()


def assert_same(maps: np.ndarray, expected: np.ndarray) -> None:
    assert maps.dtype == np.float32
    assert maps.shape == expected.shape
    assert expected.max() > 0
    assert np.corrcoef(maps.ravel(), expected.ravel())[0, 1] > 0.99999
    np.testing.assert_allclose(maps, expected, rtol=1e-3, atol=1e-4 * expected.max())


class Sums(nn.Module):
    """Logits that are linear in a map of two channels, so that gradients are known."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Conv2d(2, 2, 1, bias=False)
        self.maps.weight.data = torch.eye(2)[:, :, None, None]
        self.weights = nn.Parameter(torch.tensor([[1.0, 0.0], [2.0, -4.0], [-1.0, 0.0]]))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.maps(image).sum(dim=(2, 3)) @ self.weights.T


def test_a_map_worked_out_by_hand():
    first, second = [[1.0, 2.0], [3.0, 4.0]], [[1.0, 0.0], [1.0, 3.0]]
    images = torch.tensor([[first, second]] * 3)
    # dY/dA is the weight itself everywhere, and so is its mean.
    maps = raw_maps(Sums(), "maps", images, [0, 1, 2])
    assert maps.dtype == np.float32
    np.testing.assert_array_equal(
        maps,
        [
            [[1, 2], [3, 4]],
            [[0, 4], [2, 0]],  # 2 A1 - 4 A2 = [[-2, 4], [2, -4]]
            [[0, 0], [0, 0]],  # nothing but negative evidence, and it stays 0
        ],
    )


def configured(setting: list[str], size: str) -> tuple[nn.Module, str, int]:
    """Build a classifier of the configuration for a size of its recipe; give its layer too."""
    given = [*setting, *NEEDED.get(setting[0].removeprefix("model="), []), "weights=none"]
    register()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = compose("train", [*given, "data=manifest", f"image_size=${{model.recipe.{size}}}"])
        torch.manual_seed(0)
        net = instantiate(config.model.net, _convert_="all").eval()
    layer = cam_layer(net, replace(CARD, cam_layer=config.model.cam_layer))
    assert layer == net.cam_layer  # said twice, in the YAML and in the network
    return net, layer, config.image_size


@pytest.mark.parametrize("setting", SETTINGS, ids=" ".join)
def test_each_network_of_the_configuration_has_a_layer_that_in_place_steps_leave_alone(setting):
    net, layer, size = configured(setting, "rehearsal_size")
    images, targets = torch.rand(2, 3, size, size), [0, 1]
    maps = raw_maps(net, layer, images, targets)
    assert min(maps.shape[1:]) >= 2
    assert_same(maps, reference(net, layer, images, targets))


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS, ids=" ".join)
def test_maps_at_the_size_of_the_recipe(setting):
    net, layer, size = configured(setting, "image_size")
    assert min(raw_maps(net, layer, torch.rand(1, 3, size, size), [0]).shape[1:]) >= 2


def test_before_an_in_place_activation_the_map_is_right_too():
    net, images = alexnet(weights="none"), torch.rand(2, 3, 96, 96)
    assert net.features[11].inplace
    assert_same(
        raw_maps(net, "features.10", images, [0, 2]),
        reference(net, "features.10", images, [0, 2]),
    )


def state(net: nn.Module) -> tuple[list, list, list, int]:
    hooks = sum(len(m._forward_hooks) + len(m._backward_hooks) for m in net.modules())
    return (
        [module.training for module in net.modules()],
        [parameter.requires_grad for parameter in net.parameters()],
        [None if p.grad is None else (id(p.grad), p.grad.sum().item()) for p in net.parameters()],
        hooks,
    )


def half_frozen() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(), nn.Flatten(),
        nn.Linear(4 * 36, 3),
    )  # fmt: skip
    net(torch.rand(4, 3, 8, 8)).sum().backward()
    net[0].requires_grad_(False)
    net[1].eval()
    net[5].weight.grad = None
    return net


IMAGES = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("frozen", [True, False])
def test_any_gradient_mode_and_a_frozen_network(around, frozen):
    net = half_frozen().requires_grad_(not frozen)
    expected = reference(net, "2", IMAGES, [0, 1])
    before, mode = state(net), torch.is_grad_enabled()
    with around():
        images = IMAGES.clone()
        assert_same(raw_maps(net, "2", images, [0, 1]), expected)
    assert state(net) == before
    assert torch.is_grad_enabled() == mode
    assert torch.equal(images, IMAGES)


@pytest.mark.parametrize(
    ("layer", "images", "targets", "message"),
    [
        ("2", IMAGES, [0], "1 targets for 2 images"),
        ("2", IMAGES, [0, 3], r"no class 3; the network has 0 \.\. 2"),
        ("2", IMAGES, [0, -1], "no class -1"),
        ("5", IMAGES, [0, 1], r"gives \[2, 3\], not \[B, C, h, w\]"),
        ("2", IMAGES[:, :, :3, :3], [0, 1], "has 1x1 values, and 2x2 are the least"),
    ],
)
def test_mistakes_are_named_and_leave_the_network_alone(layer, images, targets, message):
    net = half_frozen()
    before = state(net)
    with pytest.raises(UserError, match=message) as caught:
        raw_maps(net, layer, images, targets)
    assert "\n" not in str(caught.value)
    assert state(net) == before


def test_an_error_in_the_network_passes_through_and_leaves_it_alone():
    net = half_frozen()
    before = state(net)
    # grad-cam's own context manager would swallow an IndexError.
    net[4].register_forward_hook(lambda *_: [][0])
    with pytest.raises(IndexError):
        raw_maps(net, "2", IMAGES, [0, 1])
    net[4]._forward_hooks.clear()
    assert state(net) == before


def test_mixed_training_flags_stay_mixed():
    net = half_frozen()
    raw_maps(net, "2", IMAGES, [0, 1])
    assert [m.training for m in net.modules()] == [True, True, False, True, True, True, True]
    statistics = net[1].running_mean.clone()
    raw_maps(net, "2", IMAGES, [0, 1])
    assert torch.equal(net[1].running_mean, statistics)


def test_images_as_bytes():
    class Bytes(Tiny):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return super().forward(image.float() / 255)

    net, images = Bytes(), torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    expected = reference(_as_tiny(net), "features.3", images / 255, [1, 2])
    assert_same(raw_maps(net, "features.3", images, [1, 2]), expected)


def _as_tiny(net: nn.Module) -> Tiny:
    tiny = Tiny()
    tiny.load_state_dict(net.state_dict())
    return tiny


def test_a_layer_that_runs_more_than_once_or_not_at_all_or_for_nothing_is_refused():
    net = resnet50(weights="none")
    with pytest.raises(UserError, match=r"'layer4\.2\.relu' runs 3 times"):
        raw_maps(net, "layer4.2.relu", torch.rand(1, 3, 64, 64), [0])
    idle = Sums()
    idle.idle = nn.Conv2d(2, 2, 1)
    with pytest.raises(UserError, match="'idle' runs 0 times"):
        raw_maps(idle, "idle", torch.rand(1, 2, 4, 4), [0])
    idle.maps.register_forward_hook(lambda _, __, output: (idle.idle(output), output)[1])
    with pytest.raises(UserError, match="do not depend on layer 'idle'"):
        raw_maps(idle, "idle", torch.rand(1, 2, 4, 4), [0])


def test_the_configured_layer_comes_before_the_networks_own():
    card = replace(CARD, cam_layer="features.2")
    assert cam_layer(Tiny(), card) == "features.2"
    assert cam_layer(Tiny(), CARD) == "features.3"
    wrong = replace(CARD, cam_layer="feature.3")
    with pytest.raises(UserError, match=r"no layer 'feature\.3'; try features\.3"):
        cam_layer(Tiny(), wrong)
    with pytest.raises(UserError, match=r"no layer for Grad-CAM; name one by model\.cam_layer"):
        cam_layer(Sums(), CARD)


def test_enlarged_maps_by_hand():
    maps = np.array([[[0, 4]], [[1, 1]]], np.float32)
    large = enlarged(maps, (2, 4))
    assert large.dtype == np.float32
    # Sample centres lie at -1/4, 1/4, 3/4, 5/4 of the two values; outside, the edge goes on.
    np.testing.assert_allclose(large, [[[0, 1, 3, 4]] * 2, [[1, 1, 1, 1]] * 2])
