from __future__ import annotations

import pytest
import torch
from torch import nn

from hideseek.errors import UserError
from hideseek.models.unet import UNet, unet, unet_small


def test_paper_unet_has_the_documented_size_and_layers():
    with torch.device("meta"):
        network = unet()
    assert sum(p.numel() for p in network.parameters()) == 31_030_658
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert [m.kernel_size for m in convolutions].count((3, 3)) == 18
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    assert network(torch.empty(1, 1, 512, 512, device="meta")).shape == (1, 2, 512, 512)


def test_norm_replaces_every_bias_but_the_heads():
    network = UNet((4, 8), norm=True)
    threes = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert all(m.bias is None for m in threes)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in network.modules()) == len(threes) == 6
    assert network.head.bias is not None
    with torch.device("meta"):
        assert sum(p.numel() for p in unet_small().parameters()) < 31_030_658 / 15


def test_size_must_be_a_multiple():
    network = UNet((4, 8, 8))
    assert network(torch.zeros(2, 1, 12, 20)).shape == (2, 2, 12, 20)
    with pytest.raises(UserError, match=r"12x18 pixels.*multiple of 4"):
        network(torch.zeros(1, 1, 12, 18))


def test_no_levels_is_an_error():
    with pytest.raises(UserError, match="widths"):
        UNet(())


def test_one_level_equals_its_convolutions():
    network = UNet((4,))
    x = torch.randn(1, 1, 7, 5)
    first, _, second, _ = network.down[0]
    hidden = torch.relu(second(torch.relu(first(x))))
    assert torch.equal(network(x), network.head(hidden))


def test_skip_comes_before_the_upsampled_map():
    network = UNet((4, 8))
    x = torch.randn(1, 1, 8, 8)
    skip = network.down[0](x)
    deep = network.down[1](nn.functional.max_pool2d(skip, 2))
    merged = network.merge[0](torch.cat([skip, network.up[0](deep)], 1))
    assert torch.equal(network(x), network.head(merged))


@pytest.mark.parametrize("norm", [False, True])
def test_learns_a_bright_square(norm):
    torch.manual_seed(0)
    image = torch.randn(4, 1, 16, 16) * 0.3
    target = torch.zeros(4, 16, 16, dtype=torch.long)
    target[:, 4:10, 5:12] = 1
    image[:, 0] += 2 * target
    network = UNet((8, 16, 16), norm=norm)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(40):
        loss = nn.functional.cross_entropy(network(image), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (network(image).argmax(1) == target).float().mean() > 0.98
