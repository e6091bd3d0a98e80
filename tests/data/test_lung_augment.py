from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch.utils.data import DataLoader

from hideseek.config import config_folder
from hideseek.data.augment import affine
from hideseek.data.cache import Cache
from hideseek.data.datamodule import RepresentationDataset
from hideseek.data.lung_augment import LungAugmentation
from hideseek.data.sampler import TrainingSampler
from hideseek.roi import original

SOMETIMES = ("flip", "elastic", "gamma", "tone", "clahe", "noise", "blur", "holes")
STILL = {
    **dict.fromkeys(SOMETIMES, 0.0),
    "scale": (1.0, 1.0),
    "rotate": 0.0,
    "translate": 0.0,
    "shear": 0.0,
}
SIDE = 96


def only(**ranges: object) -> LungAugmentation:
    return LungAugmentation(**{**STILL, **ranges})


@pytest.fixture
def pair(radiograph: Callable[..., tuple]) -> tuple[np.ndarray, np.ndarray]:
    return radiograph(SIDE, SIDE, 1)


def test_the_yaml_says_what_the_defaults_are():
    written = OmegaConf.to_container(OmegaConf.load(config_folder() / "augment" / "lungs.yaml"))
    assert written.pop("_target_") == "hideseek.data.lung_augment.LungAugmentation"
    defaults = {field.name: field.default for field in fields(LungAugmentation)}
    assert {k: tuple(v) if isinstance(v, list) else v for k, v in written.items()} == defaults


def test_nothing_asked_nothing_changed(pair):
    image, lungs = pair
    changed, mask = only()(image, lungs, 1)
    np.testing.assert_array_equal(changed, image)
    np.testing.assert_array_equal(mask, lungs)


@pytest.mark.parametrize("name", SOMETIMES)
def test_each_change_comes_as_often_as_asked(name, pair):
    image, lungs = pair
    always, half = only(**{name: 1.0}), only(**{name: 0.5})
    assert all((always(image, lungs, seed)[0] != image).any() for seed in range(5))
    changed = sum(bool((half(image, lungs, seed)[0] != image).any()) for seed in range(100))
    assert 30 < changed < 70


@pytest.mark.parametrize("name", ["gamma", "tone", "clahe", "noise", "blur", "holes"])
def test_appearance_leaves_the_mask(name, pair):
    image, lungs = pair
    for seed in range(10):
        np.testing.assert_array_equal(only(**{name: 1.0})(image, lungs, seed)[1], lungs)


@pytest.mark.parametrize(
    "ranges",
    [
        {"flip": 1.0},
        {"scale": (0.7, 1.25)},
        {"rotate": 15.0},
        {"translate": 0.1},
        {"shear": 5.0},
        {"elastic": 1.0},
    ],
)
def test_geometry_moves_the_mask_with_the_image(ranges, pair):
    lungs = pair[1]
    image = lungs.astype(np.uint8) * np.uint8(200)
    moved = 0
    for seed in range(12):
        changed, mask = only(**ranges)(image, lungs, seed)
        seen = changed > 100
        assert 2 * (seen & mask).sum() / (seen.sum() + mask.sum()) > 0.97
        moved += int((mask ^ lungs).sum())
    assert moved > 100


def square(half: int) -> np.ndarray:
    image = np.zeros((161, 161), bool)
    image[80 - half : 81 + half, 80 - half : 81 + half] = True
    return image


def test_the_scale_is_of_each_axis_and_in_its_range():
    mask = square(30)
    found = []
    for seed in range(60):
        _, changed = only(scale=(0.7, 1.25))(mask.astype(np.uint8), mask, seed)
        rows, columns = changed.any(axis=1).sum(), changed.any(axis=0).sum()
        found.append((rows / 61, columns / 61))
    scales = np.array(found)
    assert scales.min() > 0.7 - 0.03 and scales.max() < 1.25 + 0.03
    assert scales.min() < 0.76 and scales.max() > 1.19
    assert np.abs(scales[:, 0] - scales[:, 1]).max() > 0.2


def test_gamma_bends_the_tone_curve_in_its_range():
    image = np.arange(256, dtype=np.uint8).reshape(16, 16)
    found = []
    for seed in range(80):
        value = only(gamma=1.0)(image, None, seed)[0][8, 0]
        found.append(np.log(value / 255) / np.log(128 / 255))
    assert min(found) > 0.5 - 0.02 and max(found) < 2 + 0.02
    assert min(found) < 0.65 and max(found) > 1.8


def test_noise_is_as_strong_as_asked():
    image = np.full((64, 64), 128, np.uint8)
    deviations = [only(noise=1.0)(image, None, seed)[0].std() / 255 for seed in range(60)]
    assert min(deviations) > 0.009 and max(deviations) < 0.062
    assert min(deviations) < 0.02 and max(deviations) > 0.05


def test_holes_are_few_small_and_of_one_grey_each():
    image = np.full((200, 200), 128, np.uint8)
    for seed in range(40):
        painted = only(holes=1.0)(image, None, seed)[0] != 128
        count, _, boxes, _ = cv2.connectedComponentsWithStats(painted.astype(np.uint8))
        assert count - 1 <= 4  # they may touch, or have the grey of the image
        if count == 2:
            width, height = boxes[1, cv2.CC_STAT_WIDTH], boxes[1, cv2.CC_STAT_HEIGHT]
            assert min(width, height) >= 6 and max(width, height) <= 4 * 24
    one = only(holes=1.0, hole_count=(1, 1))
    greys = [set(np.unique(one(image, None, seed)[0])) - {128} for seed in range(40)]
    assert max(len(grey) for grey in greys) == 1
    assert len(set().union(*greys)) > 15


def test_the_seed_alone_decides(pair):
    image, lungs = pair
    one, other = LungAugmentation(), LungAugmentation()
    seeds = range(30)
    first = [one(image, lungs, seed) for seed in seeds]
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    for seed, (changed, mask) in reversed(list(zip(seeds, first, strict=True))):
        again = other(image, lungs, seed)
        np.testing.assert_array_equal(again[0], changed)
        np.testing.assert_array_equal(again[1], mask)
        np.testing.assert_array_equal(one(image, None, seed)[0], changed)
    assert len({changed.tobytes() for changed, _ in first}) == 30


@pytest.mark.parametrize("shape", [(32, 32), (50, 40), (96, 96)])
def test_shape_type_and_input_are_kept(shape, radiograph):
    image, lungs = radiograph(*shape)
    before = image.copy(), lungs.copy()
    for seed in range(20):
        changed, mask = LungAugmentation()(image, lungs, seed)
        assert (changed.dtype, changed.shape) == (np.uint8, shape)
        assert (mask.dtype, mask.shape) == (np.bool_, shape)
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(lungs, before[1])


@pytest.mark.parametrize("level", [0, 255])
def test_a_flat_image_is_no_problem(level):
    image, lungs = np.full((48, 48), level, np.uint8), np.zeros((48, 48), bool)
    for seed in range(40):
        assert not LungAugmentation()(image, lungs, seed)[1].any()


def test_what_albumentations_would_ignore_is_an_error():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        augment = LungAugmentation()
    steps = augment._transform.transforms
    assert [type(step).__name__ for step in steps] == [
        "HorizontalFlip", "Affine", "ElasticTransform", "RandomGamma", "RandomBrightnessContrast",
        "CLAHE", "GaussNoise", "GaussianBlur", "CoarseDropout",
    ]  # fmt: skip
    assert not [step for step in steps if getattr(step, "invalid_args", [])]
    with pytest.raises(ValueError, match="mode"):
        affine(mode=0)
    with pytest.raises(ValueError, match="alpha_affine"):
        A.ElasticTransform(alpha_affine=3, strict=True)
    with pytest.raises(TypeError, match="gama"):
        LungAugmentation(gama=0.5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"gamma": 1.5},
        {"noise_deviation": (0.06, 0.01)},
        {"clahe_clip": (0.5, 4.0)},
        {"hole_count": (0, 4)},
        {"gamma_range": (0.0, 2.0)},
    ],
)
def test_ranges_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError):
        LungAugmentation(**wrong)


def augmented(cache: Cache, workers: int, epoch: int) -> dict[str, torch.Tensor]:
    dataset = RepresentationDataset(cache, original, 48, LungAugmentation(), 4, with_mask=True)
    sampler = TrainingSampler(cache.rows(["train"]), None, 6, seed=4)
    sampler.set_epoch(epoch)
    context = "fork" if workers else None
    loader = DataLoader(
        dataset,
        batch_size=6,
        sampler=sampler,
        num_workers=workers,
        multiprocessing_context=context,
    )
    batches = list(loader)
    return {name: torch.cat([batch[name] for batch in batches]) for name in ("image", "mask")}


def test_workers_change_nothing_and_epochs_differ(small_cache: Callable[..., Path]):
    cache = Cache(small_cache(task="segment"))
    alone = augmented(cache, 0, epoch=0)
    for name, values in augmented(cache, 2, epoch=0).items():
        assert torch.equal(values, alone[name])
    later = augmented(cache, 0, epoch=1)
    everything = torch.cat([alone["image"], later["image"]]).flatten(1)
    assert len(torch.unique(everything, dim=0)) == len(everything) == 36
