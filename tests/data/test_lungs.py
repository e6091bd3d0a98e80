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
from hideseek.data.lungs import (
    PACKAGED,
    LungSegmenter,
    load_segmenter,
    segmenter_hash,
    segmenter_path,
)
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
    found = [each.mask for each in LungSegmenter(net, card()).find(images)]
    assert net.shapes == [(4, 1, SIZE, SIZE)] * 2  # as it is, and mirrored
    assert not net.training
    for mask, truth, shape in zip(found, lungs, shapes, strict=True):
        assert mask.dtype == np.bool_
        assert mask.shape == shape
        assert dice(mask, truth) > 0.93


def test_the_mirror_image_is_segmented_too_and_averaged() -> None:
    class Sided(nn.Module):
        """Finds what is dark in the left half, surely, and in the right one, hardly."""

        def forward(self, batch: Tensor) -> Tensor:
            dark = ((batch < 105 / 255) & (batch > 5 / 255)).float()
            weight = torch.full((SIZE,), 4.0)
            weight[SIZE // 2 :] = -1.0
            return torch.cat([torch.zeros_like(dark), dark * weight - 9 * (1 - dark)], dim=1)

    image = np.full((SIZE, SIZE), 200, np.uint8)
    image[10:50, 8:24] = image[10:50, 40:56] = 50
    (found,) = LungSegmenter(Sided(), card()).find([image])
    # Each pass finds one lung, which the other does not believe in: (0.98 + 0.27) / 2 > 0.5.
    np.testing.assert_array_equal(found.mask, image == 50)
    assert found.disagreement == 1.0
    (found,) = LungSegmenter(Sided(), card(), mirrored=False).find([image])
    assert found.mask[:, :32].any() and not found.mask[:, 32:].any()
    assert np.isnan(found.disagreement)
    (found,) = LungSegmenter(Threshold(), card()).find([image])
    assert found.disagreement == 0.0


def test_no_lung_is_an_empty_mask() -> None:
    (found,) = LungSegmenter(Threshold(), card()).find([np.full((90, 70), 200, np.uint8)])
    assert found.mask.shape == (90, 70)
    assert not found.mask.any()
    assert found.disagreement == 0.0


def test_card_decides_the_input() -> None:
    class Standardized(nn.Module):
        def forward(self, batch: Tensor) -> Tensor:
            assert batch.shape == (1, 1, SIZE, SIZE)
            assert abs(float(batch.mean())) < 1e-5
            assert abs(float(batch.std()) - 1) < 1e-3
            return torch.cat([batch, -batch], dim=1)

    values = {**card().__dict__, "normalize": "standardize"}
    image = np.random.default_rng(0).integers(0, 255, (80, 80), np.uint8)
    LungSegmenter(Standardized(), NetworkCard(**values)).find([image])


def test_checkpoints(tmp_path: Path) -> None:
    net = Tiny(classes=2, in_channels=1, width=4)
    for task in ("classify", "segment"):
        save_network(tmp_path / f"{task}.pt", net, card(task))
    with pytest.raises(UserError, match=r"classify\.pt: holds a network that classifies"):
        load_segmenter(str(tmp_path / "classify.pt"), True)
    loaded = load_segmenter(str(tmp_path / "segment.pt"), False)
    assert isinstance(loaded, LungSegmenter)
    assert (loaded.card, loaded.mirrored) == (card(), False)
    with pytest.raises(UserError, match=r"absent\.pt: no such checkpoint"):
        load_segmenter(str(tmp_path / "absent.pt"), True)
    hashes = {segmenter_hash(str(tmp_path / f"{task}.pt")) for task in ("classify", "segment")}
    assert len(hashes) == 2
    with pytest.raises(UserError, match="no such checkpoint"):
        segmenter_hash(str(tmp_path / "absent.pt"))


def test_names() -> None:
    assert segmenter_path("packaged") == PACKAGED
    assert segmenter_path("own/unet.ckpt") == Path("own/unet.ckpt")


@pytest.mark.skipif(not PACKAGED.is_file(), reason="the packaged weights are not here")
def test_packaged_weights_find_real_lungs(pack: Path) -> None:
    segmenter = load_segmenter("packaged", True)
    table = pl.read_csv(pack / "manifest.csv", infer_schema=False)
    chosen = table.filter(pl.col("source") == "montgomery").head(3)
    images = [read_radiograph(pack / path).pixels for path in chosen["image"]]
    truths = [
        read_mask(pack / path, image.shape)
        for path, image in zip(chosen["mask"], images, strict=True)
    ]
    for found, truth in zip(segmenter.find(images), truths, strict=True):
        assert dice(found.mask, truth) > 0.8
