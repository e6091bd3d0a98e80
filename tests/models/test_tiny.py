from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from hideseek.errors import UserError
from hideseek.models.tiny import Tiny


def marked(n: int, size: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise; class 1 has a bright corner marker, class 2 a textured blob anywhere."""
    g = torch.Generator().manual_seed(seed)
    image = 0.4 + 0.1 * torch.randn(n, 1, size, size, generator=g)
    label = torch.arange(n) % 3
    side = size // 5
    ripples = 0.3 * torch.sin(torch.arange(side) * 2.0)
    for i, c in enumerate(label.tolist()):
        row, column = torch.randint(size // 6, size - side, (2,), generator=g).tolist()
        if c == 1:
            image[i, 0, 1 : size // 8, 1 : size // 8] = 1.0
        if c == 2:
            image[i, 0, row : row + side, column : column + side] += ripples[:, None]
    return image.clamp(0, 1).expand(-1, 3, -1, -1), label


@pytest.mark.parametrize("size", [32, 64])
def test_corner_marker_and_blob_are_learnt_in_a_few_dozen_steps(size):
    torch.manual_seed(0)
    network = Tiny()
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    for step in range(60):
        image, label = marked(48, size, step)
        loss = F.cross_entropy(network(image), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    image, label = marked(150, size, 10_000)
    hit = network.eval()(image).argmax(1) == label
    assert min(hit[label == c].float().mean() for c in range(3)) > 0.85


def test_size_and_layers():
    network = Tiny()
    assert sum(p.numel() for p in network.parameters()) == 99_219
    assert sum(isinstance(m, nn.Conv2d) for m in network.modules()) == 4
    stateful = (nn.modules.batchnorm._BatchNorm, nn.Dropout)
    assert not any(isinstance(m, stateful) for m in network.modules())


def test_result_does_not_depend_on_the_batch():
    network, image = Tiny(), torch.rand(6, 3, 48, 48)
    parts = torch.cat([network(image[:1]), network(image[1:])])
    assert torch.allclose(network(image), parts, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(9, 140), st.integers(9, 140))
def test_pooling_is_adaptive_pooling(height, width):
    network, image = Tiny(width=4), torch.rand(1, 3, height, width)
    expected = network.head(F.adaptive_avg_pool2d(network.features(image), 2).flatten(1))
    assert torch.allclose(network(image), expected, atol=1e-5)


def test_other_classes_channels_and_widths():
    assert Tiny(classes=5, in_channels=1, width=8)(torch.rand(2, 1, 32, 32)).shape == (2, 5)
    with pytest.raises(UserError, match="width=6"):
        Tiny(width=6)
