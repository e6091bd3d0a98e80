from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hideseek.errors import UserError
from hideseek.models.covidnet import (
    CovidNetA,
    covidnet_cxr3a,
    covidnet_cxr4a,
    final_grid,
    stage_widths,
)
from hideseek.models.inception import ConvBnRelu, Residual, mixed_5b


def small(**changes) -> CovidNetA:
    return CovidNetA(**{"width": 0.25, "image_size": 96, "head": "gap", **changes})


def count_with_statistics(network: nn.Module) -> int:
    """Parameters and BatchNorm statistics as Keras counts them: no gamma, no counters."""
    trainable = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return trainable + sum(
        b.numel() for n, b in network.named_buffers() if n.endswith(("mean", "var"))
    )


@pytest.fixture(scope="module")
def shapes_and_macs():
    with torch.device("meta"):
        network = covidnet_cxr4a()
    shapes: dict[str, tuple[int, ...]] = {}
    macs = 0

    def hook(name):
        def record(module, inputs, output):
            nonlocal macs
            shapes[name] = tuple(output.shape)
            if isinstance(module, nn.Conv2d):
                macs += output.numel() * module.weight[0].numel()
            elif isinstance(module, nn.Linear):
                macs += module.weight.numel()

        return record

    for name, module in network.named_modules():
        module.register_forward_hook(hook(name))
    with torch.no_grad():
        network(torch.empty(1, 3, 480, 480, device="meta"))
    return network, shapes, macs


def test_stages_have_the_documented_shapes(shapes_and_macs):
    _, shapes, _ = shapes_and_macs
    assert shapes["stem"] == (1, 120, 57, 57)
    assert shapes["mixed_5b"] == shapes["block35"] == (1, 224, 57, 57)
    assert shapes["mixed_6a"] == shapes["block17"] == (1, 896, 28, 28)
    assert shapes["mixed_7a"] == shapes["block8"] == (1, 1736, 13, 13)
    assert shapes["block8.9.mixed.branches.1.2"] == (1, 216, 13, 13)  # conv2d_203, COVID-Net#113
    assert shapes["conv_7b"] == (1, 1536, 13, 13)
    assert shapes[""] == (1, 3)


def test_convolutions_count_as_named_by_keras(shapes_and_macs):
    network, _, _ = shapes_and_macs
    named = [n for n, m in network.named_modules() if isinstance(m, ConvBnRelu)]
    assert named[-1] == "conv_7b"
    assert len(named) - 1 == 203
    assert named[-2] == "block8.9.mixed.branches.1.2"
    assert [len(b) for b in (network.block35, network.block17, network.block8)] == [10, 20, 10]
    blocks = [m for m in network.modules() if isinstance(m, Residual)]
    assert [b.scale for b in blocks] == [0.17] * 10 + [0.1] * 20 + [0.2] * 9 + [1.0]
    assert [b.activate for b in blocks] == [True] * 39 + [False]
    assert all(b.conv.bias is not None for b in blocks)
    assert network.head.bias is None
    for stage, long in (("block17", 7), ("block8", 3)):
        branch = network.get_submodule(f"{stage}.0.mixed.branches.1")
        assert [c[0].kernel_size for c in branch] == [(1, 1), (1, long), (long, 1)]
    assert {m.eps for m in network.modules() if isinstance(m, nn.BatchNorm2d)} == {1e-3}


def test_size_and_work_are_within_two_percent_of_the_documented(shapes_and_macs):
    network, _, macs = shapes_and_macs
    assert count_with_statistics(network) == pytest.approx(40.2e6, rel=0.02)
    assert macs == pytest.approx(23.63e9, rel=0.02)
    assert round(macs / 1e9, 2) == 23.75
    assert round(count_with_statistics(network) / 1e6, 2) == 39.92


def test_standard_widths_are_keras_inception_resnet_v2():
    with torch.device("meta"):
        network = CovidNetA(classes=1000, head="gap", standard_widths=True)
    assert count_with_statistics(network) == 54_336_736 + 1536 * 1000  # Keras' without top, + head


def test_pruned_widths_are_the_published_table():
    assert stage_widths() == {
        "stem": [[24, 24, 40, 48, 120]],
        "mixed_5b": [[64], [32, 48], [48, 64, 64], [48]],
        "block35": [[24], [24, 24], [24, 32, 48]],
        "mixed_6a": [[336], [224, 224, 336]],
        "block17": [[168], [112, 144, 168]],
        "mixed_7a": [[216, 328], [216, 240], [216, 240, 272]],
        "block8": [[160], [160, 192, 216]],
        "conv_7b": [[1536]],
    }


@given(st.floats(0.01, 0.99))
def test_scaled_widths_are_positive_multiples_of_eight(width):
    branches = [b for stage in stage_widths(width).values() for b in stage]
    assert all(c >= 8 and c % 8 == 0 for b in branches for c in b)


def test_final_grid():
    assert [final_grid(s) for s in (480, 299, 160, 75, 74)] == [13, 8, 3, 1, 0]


def test_flatten_head_takes_its_size_only():
    network = small(head="flatten", classes=4)
    assert network(torch.rand(2, 3, 96, 96)).shape == (2, 4)
    with pytest.raises(UserError, match=r"128x96 pixels.*96.*head=gap"):
        network(torch.rand(1, 3, 128, 96))


def test_gap_head_takes_any_size_from_75():
    network = small()
    assert network(torch.rand(2, 3, 80, 107)).shape == (2, 3)
    with pytest.raises(UserError, match="75"):
        network(torch.rand(2, 3, 74, 107))


@pytest.mark.parametrize(
    ("change", "word"),
    [({"image_size": 74}, "75"), ({"head": "x"}, "gap"), ({"bn_mode": "x"}, "train")],
)
def test_bad_arguments(change, word):
    with pytest.raises(UserError, match=word):
        small(**change)


def test_factories_build_one_graph():
    with torch.device("meta"):
        three, four = covidnet_cxr3a(), covidnet_cxr4a()
    assert {k: v.shape for k, v in three.state_dict().items()} == {
        k: v.shape for k, v in four.state_dict().items()
    }


def test_starts_like_keras():
    network = small()
    conv = network.conv_7b[0]
    bound = (6 / (conv.in_channels + conv.out_channels)) ** 0.5
    assert conv.weight.abs().max() <= bound
    assert conv.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert all(not m.conv.bias.any() for m in network.modules() if isinstance(m, Residual))


def test_average_pool_leaves_padding_out():
    block = mixed_5b(8, stage_widths(0.1)["mixed_5b"])
    pooled = block.branches[3][0](torch.ones(1, 8, 4, 4))
    assert torch.equal(pooled, torch.ones(1, 8, 4, 4))


def train_step(network: nn.Module, image: torch.Tensor) -> None:
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    nn.functional.cross_entropy(network(image), torch.arange(len(image)) % 3).backward()
    optimizer.step()


def statistics(network: nn.Module) -> dict[str, torch.Tensor]:
    return {n: b.clone() for n, b in network.named_buffers()}


def test_frozen_batch_norm_never_moves_and_trains_as_it_evaluates():
    torch.manual_seed(0)
    network, image = small(bn_mode="frozen_like_paper"), torch.rand(4, 3, 96, 96)
    before = statistics(network)
    shift = network.conv_7b[1].bias.detach().clone()
    network.train()
    train_step(network, image)
    after = statistics(network)
    assert all(torch.equal(before[n], after[n]) for n in before)
    assert not torch.equal(shift, network.conv_7b[1].bias)
    assert network.training
    with torch.no_grad():
        trained = network.train()(image)
        assert torch.equal(trained, network.eval()(image))


def test_frozen_survives_a_parent_and_sync_batch_norm():
    network = small(bn_mode="frozen_like_paper")
    parent = nn.Sequential(nn.SyncBatchNorm.convert_sync_batchnorm(network))
    parent.eval()
    parent.train()
    norms = [m for m in parent.modules() if isinstance(m, nn.SyncBatchNorm)]
    assert len(norms) == 204
    assert not any(m.training for m in norms)
    assert parent[0].training


def test_ordinary_batch_norm_moves_and_keeps_its_scale():
    torch.manual_seed(0)
    network, image = small(), torch.rand(4, 3, 96, 96)
    before = statistics(network)
    train_step(network, image)
    after = statistics(network)
    assert all(not torch.equal(before[n], after[n]) for n in before)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(torch.equal(m.weight, torch.ones_like(m.weight)) for m in norms)
    with torch.no_grad():
        assert not torch.allclose(copy.deepcopy(network).train()(image), network.eval()(image))


def test_scaled_down_network_trains_on_a_cpu():
    torch.manual_seed(0)
    network = small(image_size=160)
    image = torch.rand(6, 3, 160, 160) * 0.3
    label = torch.arange(6) % 3
    for i, c in enumerate(label.tolist()):
        image[i, :, 50 * c : 50 * c + 40, 20:140] += 0.7
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    losses = []
    for _ in range(12):
        loss = nn.functional.cross_entropy(network(image), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
