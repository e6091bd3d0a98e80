from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hideseek.data.lungs import load_segmenter, segmenter_hash
from hideseek.errors import UserError


class Stand(nn.Module):
    """Stands in for PSPNet: dark is right lung, and the heart is everywhere."""

    targets = ("Heart", "Right Lung", "Left Lung")

    def forward(self, image: Tensor) -> Tensor:
        assert image.shape == (1, 1, 512, 512)
        assert float(image.min()) >= -1024 and float(image.max()) <= 1024
        dark = (image < -300) & (image > -1000)
        nothing = torch.full_like(image, -1.0)
        return torch.cat([-nothing, dark.float() - 0.5, nothing], dim=1)


def install(monkeypatch: pytest.MonkeyPatch, net: object) -> None:
    names = ("torchxrayvision", "torchxrayvision.baseline_models",
             "torchxrayvision.baseline_models.chestx_det")  # fmt: skip
    modules = {name: ModuleType(name) for name in names}
    modules[names[-1]].PSPNet = net  # type: ignore[attr-defined]
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)


def test_lungs_of_the_two_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Stand)
    image = np.full((120, 160), 200, np.uint8)
    image[30:90, 20:60] = 50
    (found,) = load_segmenter("torchxrayvision", True).find([image])
    truth = image == 50
    assert 2 * (found.mask & truth).sum() / (found.mask.sum() + truth.sum()) > 0.97
    assert np.isnan(found.disagreement)
    assert segmenter_hash("torchxrayvision") == "torchxrayvision"


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchxrayvision", None)
    with pytest.raises(UserError, match=r"needs the extra: pip install 'hideseek\[xrv\]'"):
        load_segmenter("torchxrayvision", True)

    def fails() -> None:
        raise OSError("no route to host\nat all")

    install(monkeypatch, fails)
    with pytest.raises(UserError, match=r"cannot be had: no route to host$"):
        load_segmenter("torchxrayvision", True)
