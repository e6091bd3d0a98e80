from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from hideseek.data.augment import Augmentation
from hideseek.data.cache import Cache
from hideseek.data.datamodule import RepresentationDataset
from hideseek.data.sampler import TrainingSampler
from hideseek.roi import original

SIDE, CENTRE, ARM = 161, 80, 40
STILL = {
    "rotate": 0.0,
    "translate": 0.0,
    "zoom": (1.0, 1.0),
    "ratio": 0.0,
    "ratio_probability": 0.0,
    "intensity": (1.0, 1.0),
}


def only(**ranges: object) -> Augmentation:
    return Augmentation(**{**STILL, **ranges})


def dot(column: int, row: int) -> np.ndarray:
    image = np.zeros((SIDE, SIDE), np.uint8)
    cv2.circle(image, (column, row), 4, 250, -1)
    return image


def place(image: np.ndarray) -> np.ndarray:
    """Return the centre of mass, (column, row)."""
    rows, columns = np.indices(image.shape)
    return np.array([(columns * image).sum(), (rows * image).sum()]) / image.sum(dtype=float)


def warps(augment: Augmentation, count: int = 80) -> np.ndarray:
    """Measure `count` changes on three drawn points: [count, 2, 3], shift last, from the centre."""
    points = (dot(CENTRE, CENTRE), dot(CENTRE + ARM, CENTRE), dot(CENTRE, CENTRE + ARM))
    found = []
    for seed in range(count):
        centre, right, down = (place(augment(point, None, seed)[0]) for point in points)
        found.append(np.stack([(right - centre) / ARM, (down - centre) / ARM, centre - CENTRE], 1))
    return np.array(found)


def reaches(values: np.ndarray, low: float, high: float, slack: float) -> bool:
    """Tell whether values stay in a range and fill most of it."""
    inside = low - slack <= values.min() and values.max() <= high + slack
    room = 0.15 * (high - low) + slack
    return bool(inside and values.min() <= low + room and values.max() >= high - room)


def test_nothing_asked_nothing_changed(radiograph: Callable[..., tuple]) -> None:
    image, lungs = radiograph(64, 64)
    changed, mask = only()(image, lungs, 1)
    np.testing.assert_array_equal(changed, image)
    np.testing.assert_array_equal(mask, lungs)


def test_rotation_keeps_to_its_limit() -> None:
    found = warps(only(rotate=10.0))
    angles = np.degrees(np.arctan2(found[:, 1, 0], found[:, 0, 0]))
    assert reaches(angles, -10, 10, slack=0.3)
    assert np.abs(np.linalg.norm(found[:, :, :2], axis=1) - 1).max() < 0.02
    assert np.abs(found[:, :, 2]).max() < 0.5


def test_shift_keeps_to_its_limit() -> None:
    found = warps(only(translate=0.1))
    for axis in (0, 1):
        assert reaches(found[:, axis, 2], -0.1 * SIDE, 0.1 * SIDE, slack=0.6)
    assert np.abs(np.corrcoef(found[:, 0, 2], found[:, 1, 2])[0, 1]) < 0.5
    assert np.abs(found[:, :, :2] - np.eye(2)).max() < 0.02


def test_zoom_is_common_or_per_axis() -> None:
    common = warps(only(zoom=(1.0, 1.085)))
    assert reaches(common[:, 0, 0], 1.0, 1.085, slack=0.01)
    assert np.abs(common[:, 0, 0] - common[:, 1, 1]).max() < 0.01
    apart = warps(only(zoom=(0.85, 1.15), zoom_per_axis=True))
    for axis in (0, 1):
        assert reaches(apart[:, axis, axis], 0.85, 1.15, slack=0.01)
    assert np.abs(np.corrcoef(apart[:, 0, 0], apart[:, 1, 1])[0, 1]) < 0.5
    assert np.abs(apart[:, :, 2]).max() < 0.5


def test_one_side_shrinks_as_often_as_asked() -> None:
    found = warps(only(ratio=0.1, ratio_probability=0.3), 200)
    sides = np.stack([found[:, 0, 0], found[:, 1, 1]], axis=1)
    assert sides.min() >= 0.9 - 0.01
    assert sides.min() < 0.92
    assert sides.max() <= 1.01
    changed = np.abs(sides - 1) > 0.005
    assert not changed.all(axis=1).any()
    assert 0.15 < changed.any(axis=1).mean() < 0.4
    assert changed.any(axis=0).all()


def test_all_together_keep_to_the_limits_of_the_paper() -> None:
    found = warps(Augmentation(intensity=(1.0, 1.0)))
    assert np.abs(found[:, :, 2]).max() <= 0.1 * SIDE + 1
    turns = np.degrees(np.arctan2(found[:, 1, 0], found[:, 0, 0]))
    # A side shrunk to 0.9 turns the picture of an axis by less than a tenth more.
    assert np.abs(turns).max() <= math.degrees(math.atan(math.tan(math.radians(10)) / 0.9)) + 0.3
    area = np.linalg.det(found[:, :, :2])
    assert area.min() >= 0.9 - 0.02
    assert area.max() <= 1.085**2 + 0.02


def test_intensity_is_one_factor_in_its_range() -> None:
    image = np.full((16, 16), 100, np.uint8)
    changed = [only(intensity=(0.9, 1.1))(image, None, seed)[0] for seed in range(150)]
    assert all(len(np.unique(one)) == 1 for one in changed)
    assert reaches(np.array([one[0, 0] for one in changed]), 90, 110, slack=1)
    bright = only(intensity=(1.1, 1.1))(np.full((8, 8), 250, np.uint8), None, 0)[0]
    assert (bright == 255).all()


def test_flip_never_always_and_half(radiograph: Callable[..., tuple]) -> None:
    image, lungs = radiograph(48, 40)
    for seed in range(20):
        np.testing.assert_array_equal(only(flip=0.0)(image, lungs, seed)[0], image)
        changed, mask = only(flip=1.0)(image, lungs, seed)
        np.testing.assert_array_equal(changed, np.fliplr(image))
        np.testing.assert_array_equal(mask, np.fliplr(lungs))
    half = [(only(flip=0.5)(image, None, seed)[0] != image).any() for seed in range(100)]
    assert 30 < sum(half) < 70


def test_outside_is_black() -> None:
    image = np.full((64, 64), 200, np.uint8)
    changed, mask = only(translate=0.1)(image, np.ones((64, 64), bool), 3)
    assert mask is not None
    assert (changed[mask] == 200).mean() > 0.9
    assert (changed[~mask] == 0).mean() > 0.8
    assert not mask.all()


@pytest.mark.parametrize("seed", range(8))
def test_mask_moves_with_the_image(radiograph: Callable[..., tuple], seed: int) -> None:
    _, lungs = radiograph(96, 96, seed)
    image = lungs.astype(np.uint8) * np.uint8(200)
    augment = Augmentation(rotate=10, zoom=(0.85, 1.15), zoom_per_axis=True, flip=0.5)
    changed, mask = augment(image, lungs, seed)
    assert mask is not None
    assert (mask.dtype, mask.shape) == (np.bool_, (96, 96))
    seen = changed > changed.max() / 2
    assert 2 * (seen & mask).sum() / (seen.sum() + mask.sum()) > 0.97
    assert (seen ^ lungs).sum() > 20


def test_shape_type_and_input_are_kept(radiograph: Callable[..., tuple]) -> None:
    image, lungs = radiograph(50, 40)
    before = image.copy(), lungs.copy()
    changed, mask = Augmentation()(image, lungs, 2**32 - 1)
    assert mask is not None
    assert (changed.dtype, changed.shape) == (np.uint8, (50, 40))
    assert (mask.dtype, mask.shape) == (np.bool_, (50, 40))
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(lungs, before[1])


def test_the_seed_alone_decides(radiograph: Callable[..., tuple]) -> None:
    image, lungs = radiograph(48, 48)
    one, other = Augmentation(), Augmentation()
    first = one(image, lungs, 7)[0]
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    np.testing.assert_array_equal(other(image, lungs, 7)[0], first)
    # Leaving the mask out changes nothing of the image: only segmentation carries it.
    np.testing.assert_array_equal(one(image, None, 7)[0], first)
    assert len({one(image, None, seed)[0].tobytes() for seed in range(50)}) == 50


def augmented(cache: Cache, workers: int, epoch: int, context: str | None = None) -> torch.Tensor:
    dataset = RepresentationDataset(cache, original, 48, Augmentation(), seed=4)
    sampler = TrainingSampler(cache.rows(["train"]), None, 6, seed=4)
    sampler.set_epoch(epoch)
    loader = DataLoader(
        dataset,
        batch_size=6,
        sampler=sampler,
        num_workers=workers,
        multiprocessing_context=context,
    )
    return torch.cat([batch["image"] for batch in loader])


def test_workers_change_nothing_and_epochs_differ(small_cache: Callable[..., Path]) -> None:
    cache = Cache(small_cache())
    alone = augmented(cache, 0, epoch=0)
    assert torch.equal(augmented(cache, 2, epoch=0, context="fork"), alone)
    later = augmented(cache, 2, epoch=1, context="fork")
    assert torch.equal(later, augmented(cache, 0, epoch=1))
    everything = torch.cat([alone, later]).flatten(1)
    assert len(torch.unique(everything, dim=0)) == len(everything) == 36


def test_the_same_image_is_changed_anew_each_time(small_cache: Callable[..., Path]) -> None:
    dataset = RepresentationDataset(Cache(small_cache()), original, 48, Augmentation(), seed=4)
    drawn = [dataset[draw] for draw in TrainingSampler(np.array([5]), None, 3, seed=4)]
    assert [int(item["index"]) for item in drawn] == [5, 5, 5]
    assert len({item["image"].numpy().tobytes() for item in drawn}) == 3
