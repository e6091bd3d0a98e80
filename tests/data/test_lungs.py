from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn

from hideseek.checkpoint import NetworkCard, save_network
from hideseek.data.images import read_mask, read_radiograph
from hideseek.data.lungs import PACKAGED, LungSegmenter, segmenter_hash, segmenter_path
from hideseek.errors import UserError
from hideseek.models.tiny import Tiny

SIZE = 64


class Threshold(nn.Module):
    """Lung is what is darker than 105 of 255 and not the black of the letterbox."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, batch: Tensor) -> Tensor:
        self.shapes.append(tuple(batch.shape))
        assert batch.dtype == torch.float32
        lung = ((batch < 105 / 255) & (batch > 5 / 255)).float()
        return torch.cat([1 - lung, lung], dim=1)


def card(task: str = "segment") -> NetworkCard:
    target, classes = "hideseek.models.tiny.Tiny", ("background", "lung")
    arguments = {"classes": 2, "in_channels": 1, "width": 4}
    return NetworkCard(task, "tiny", target, arguments, SIZE, 1, "paper", classes)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def test_masks_land_on_the_original_pixels(radiograph: Callable[..., tuple]) -> None:
    shapes = [(150, 120), (120, 170), (64, 64), (333, 401)]
    images, lungs = zip(*(radiograph(*shape) for shape in shapes), strict=True)
    net = Threshold()
    found = LungSegmenter(net, card()).masks(images)
    assert net.shapes == [(4, 1, SIZE, SIZE)]
    assert not net.training
    for mask, truth, shape in zip(found, lungs, shapes, strict=True):
        assert mask.dtype == np.bool_
        assert mask.shape == shape
        assert dice(mask, truth) > 0.93


def test_two_largest_components_are_kept() -> None:
    image = np.full((SIZE, SIZE), 200, np.uint8)
    image[10:50, 8:24] = image[10:50, 40:56] = 50
    image[56:60, 30:34] = 50
    (mask,) = LungSegmenter(Threshold(), card()).masks([image])
    expected = image == 50
    expected[56:60, 30:34] = False
    np.testing.assert_array_equal(mask, expected)


def test_no_lung_is_an_empty_mask() -> None:
    (mask,) = LungSegmenter(Threshold(), card()).masks([np.full((90, 70), 200, np.uint8)])
    assert mask.shape == (90, 70)
    assert not mask.any()


def test_card_decides_the_input() -> None:
    class Standardized(nn.Module):
        def forward(self, batch: Tensor) -> Tensor:
            assert batch.shape == (1, 1, SIZE, SIZE)
            assert abs(float(batch.mean())) < 1e-5
            assert abs(float(batch.std()) - 1) < 1e-3
            return torch.cat([batch, -batch], dim=1)

    values = {**card().__dict__, "normalize": "standardize"}
    image = np.random.default_rng(0).integers(0, 255, (80, 80), np.uint8)
    LungSegmenter(Standardized(), NetworkCard(**values)).masks([image])


def test_checkpoints(tmp_path: Path) -> None:
    net = Tiny(classes=2, in_channels=1, width=4)
    for task in ("classify", "segment"):
        save_network(tmp_path / f"{task}.pt", net, card(task))
    with pytest.raises(UserError, match=r"classify\.pt: holds a network that classifies"):
        LungSegmenter.load(str(tmp_path / "classify.pt"))
    assert LungSegmenter.load(str(tmp_path / "segment.pt")).card == card()
    with pytest.raises(UserError, match=r"absent\.pt: no such checkpoint"):
        LungSegmenter.load(str(tmp_path / "absent.pt"))
    hashes = {segmenter_hash(str(tmp_path / f"{task}.pt")) for task in ("classify", "segment")}
    assert len(hashes) == 2
    with pytest.raises(UserError, match="no such checkpoint"):
        segmenter_hash(str(tmp_path / "absent.pt"))


def test_names() -> None:
    assert segmenter_path("packaged") == PACKAGED
    assert segmenter_path("own/unet.ckpt") == Path("own/unet.ckpt")


@pytest.mark.skipif(not PACKAGED.is_file(), reason="the packaged weights are not here")
def test_packaged_weights_find_real_lungs(pack: Path) -> None:
    segmenter = LungSegmenter.load("packaged")
    table = pl.read_csv(pack / "manifest.csv", infer_schema=False)
    chosen = table.filter(pl.col("source") == "montgomery").head(3)
    images = [read_radiograph(pack / path).pixels for path in chosen["image"]]
    truths = [
        read_mask(pack / path, image.shape)
        for path, image in zip(chosen["mask"], images, strict=True)
    ]
    for mask, truth in zip(segmenter.masks(images), truths, strict=True):
        assert dice(mask, truth) > 0.8
