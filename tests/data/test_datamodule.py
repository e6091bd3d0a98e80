from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from pytorch_lightning.trainer.states import TrainerState
from torch import Tensor

from hideseek.data.augment import Augmentation
from hideseek.data.cache import Cache
from hideseek.data.datamodule import CxrDataModule
from hideseek.data.sampler import Draw
from hideseek.errors import UserError
from hideseek.regions import fixed_rectangle
from hideseek.roi import fixed_box_out, lungs_removed, original, random_box_out

Image = npt.NDArray[np.uint8]
MakeCache = Callable[..., Path]
TRAIN, VAL, TEST = set(range(18)), set(range(18, 24)), set(range(24, 36))


def module(path: Path, **changes: object) -> CxrDataModule:
    settings: dict[str, object] = {
        **{"roi": original, "augment": None, "image_size": 48, "batch_size": 6, "seed": 0},
        **{"sampling": "natural", **changes},
    }
    source = SimpleNamespace(ready=lambda image_size: path)
    made = CxrDataModule(source, **settings)
    made.prepare_data()
    made.setup()
    return made


def rows(loader: object) -> list[int]:
    return [int(row) for batch in loader for row in batch["index"]]


def test_batches_are_small_and_plain(small_cache: MakeCache) -> None:
    made = module(small_cache())
    batches = list(made.train_dataloader())
    assert len(batches) == 3
    for batch in batches:
        assert set(batch) == {"image", "label", "index", "counted"}
        assert batch["image"].dtype == torch.uint8
        assert batch["image"].shape == (6, 1, 48, 48)
        assert batch["label"].dtype == batch["index"].dtype == torch.int64
        assert batch["counted"].all()
    assert made.cache is not None
    first = batches[0]
    for image, label, row in zip(first["image"], first["label"], first["index"], strict=True):
        np.testing.assert_array_equal(image[0], made.cache[int(row)][0])
        name = made.cache.table.item(int(row), "label")
        assert made.cache.recipe.classes[int(label)] == name


@pytest.mark.parametrize("size", [48, 32])
def test_mask_comes_with_the_image_on_request(small_cache: MakeCache, size: int) -> None:
    made = module(small_cache(task="segment"), task="segment", image_size=size, roi=lungs_removed)
    for batch in made.val_dataloader():
        assert batch["mask"].dtype == torch.bool
        assert batch["mask"].shape == (6, size, size)
        assert not batch["image"][:, 0][batch["mask"]].any()
        assert 0.1 < batch["mask"].float().mean() < 0.5


def test_validation_keeps_test_images_away_from_training(small_cache: MakeCache) -> None:
    made = module(small_cache())
    assert set(rows(made.train_dataloader())) == TRAIN
    assert rows(made.val_dataloader()) == sorted(VAL)
    assert rows(made.test_dataloader()) == sorted(TEST)


def test_paper_selects_on_the_test_set(small_cache: MakeCache) -> None:
    made = module(small_cache(), selection="paper")
    assert set(rows(made.train_dataloader())) == TRAIN | VAL
    assert rows(made.val_dataloader()) == rows(made.test_dataloader()) == sorted(TEST)


def test_a_segmenter_in_the_papers_way_shows_both_choices(small_cache: MakeCache) -> None:
    made = module(small_cache(task="segment"), selection="paper", task="segment")
    assert set(rows(made.train_dataloader())) == TRAIN
    validation, test = made.val_dataloader()
    assert rows(validation) == sorted(VAL)
    assert rows(test) == rows(made.test_dataloader()) == sorted(TEST)
    alone = module(small_cache(task="segment"), task="segment")
    assert rows(alone.val_dataloader()) == sorted(VAL)


@pytest.mark.parametrize("sampling", ["balanced", "covidnet"])
def test_weighted_draws_take_training_rows_alone(small_cache: MakeCache, sampling: str) -> None:
    made = module(small_cache(), sampling=sampling)
    loader = made.train_dataloader()
    drawn: set[int] = set()
    for epoch in range(8):
        loader.sampler.set_epoch(epoch)
        drawn |= set(rows(loader))
    assert drawn == TRAIN
    with pytest.raises(UserError, match="sampling 'even' is unknown"):
        module(small_cache(), sampling="even").train_dataloader()


def test_patient_in_two_splits_is_refused(small_cache: MakeCache) -> None:
    path = small_cache(split=lambda number, given: "test" if number == 1 else given)
    with pytest.raises(UserError, match="patient 'patient0' is in test and train"):
        module(path)


@pytest.mark.parametrize("gone", ["train", "val", "test"])
def test_empty_split_is_refused(small_cache: MakeCache, gone: str) -> None:
    other = "test" if gone == "train" else "train"
    path = small_cache(split=lambda number, given: other if given == gone else given)
    with pytest.raises(UserError, match=f"no image is in the split '{gone}'"):
        module(path)


def test_too_small_a_cache_is_refused(small_cache: MakeCache) -> None:
    with pytest.raises(UserError, match=r"holds 48 px, and 64 are needed; .*data\.size=64"):
        module(small_cache(), image_size=64)


@pytest.mark.parametrize("size", [64, 32])
def test_fixed_box_comes_from_training_masks_alone(small_cache: MakeCache, size: int) -> None:
    path = small_cache(size=64, shift=lambda split: {"train": 0, "val": -8, "test": 8}[split])
    cache = Cache(path)
    of_training = fixed_rectangle(cache.boxes[:18])
    assert of_training != fixed_rectangle(cache.boxes)
    made = module(path, roi=partial(fixed_box_out, fill="black", margin=0.0), image_size=size)
    top, left, bottom, right = made.roi.keywords["rectangle"]
    outwards = np.array([-top, -left, bottom, right])
    exact = np.array([-1, -1, 1, 1]) * of_training * size / 64
    assert (outwards >= exact).all()  # still contains the lungs
    assert (outwards < exact + 1).all()
    for loader in (made.train_dataloader(), made.test_dataloader()):
        for batch in loader:
            assert not batch["image"][:, 0, top:bottom, left:right].any()
            assert batch["image"][:, 0, bottom:].any()


class Recorder:
    """An augmentation that notes what it is given."""

    def __init__(self) -> None:
        self.images: list[Image] = []
        self.seeds: list[int] = []

    def __call__(self, image: Image, mask: object, seed: int) -> tuple[Image, object]:
        self.images.append(image)
        self.seeds.append(seed)
        return image + np.uint8(1), mask


def test_hidden_first_and_augmented_after(small_cache: MakeCache) -> None:
    recorder = Recorder()

    def hide(image: Image, mask: npt.NDArray[np.bool_], *, seed: int) -> Image:
        return np.where(mask, np.uint8(7), np.uint8(70))

    made = module(small_cache(), roi=hide, augment=recorder)
    batches = list(made.train_dataloader())
    assert {int(value) for image in recorder.images for value in np.unique(image)} == {7, 70}
    assert {int(value) for value in torch.cat([b["image"] for b in batches]).unique()} == {8, 71}
    assert len(set(recorder.seeds)) == len(recorder.seeds) == 18
    list(made.val_dataloader())
    list(made.test_dataloader())
    assert len(recorder.images) == 18


def test_random_boxes_belong_to_the_image(small_cache: MakeCache) -> None:
    path = small_cache()
    made = module(path, roi=random_box_out, seed=1)
    dataset = made.dataset()
    first = dataset[Draw(20, epoch=0, position=0)]["image"]
    assert torch.equal(dataset[Draw(20, epoch=4, position=9)]["image"], first)
    (batch,) = made.val_dataloader()
    assert torch.equal(batch["image"][2], first)
    other = module(path, roi=random_box_out, seed=2).dataset()[Draw(20)]["image"]
    assert not torch.equal(other, first)


def test_workers_change_nothing(small_cache: MakeCache) -> None:
    path = small_cache(task="segment")

    def epochs(workers: int) -> list[Tensor]:
        made = module(
            path,
            workers=workers,
            augment=Augmentation(),
            roi=random_box_out,
            sampling="balanced",
            task="segment",
        )
        next(iter(made.val_dataloader()))  # reads in this process before workers fork
        loader = made.train_dataloader()
        assert loader.num_workers == workers
        seen = []
        for epoch in range(2):
            loader.sampler.set_epoch(epoch)
            seen += [value for batch in loader for value in batch.values()]
        return seen

    alone, shared = epochs(0), epochs(2)
    assert len(alone) == len(shared) == 2 * 3 * 5
    assert all(torch.equal(one, other) for one, other in zip(alone, shared, strict=True))


def on_rank(made: CxrDataModule, rank: int) -> CxrDataModule:
    made.trainer = SimpleNamespace(global_rank=rank, world_size=2, state=TrainerState())
    return made


def test_two_ranks_share_each_batch_and_the_validation_set(small_cache: MakeCache) -> None:
    path = small_cache(images=34)  # 18 train, 6 val, 10 test
    settings = {"augment": Augmentation(), "sampling": "balanced", "seed": 3}
    alone = module(path, **settings)
    ranks = [on_rank(module(path, **settings), rank) for rank in range(2)]
    loaders = [made.train_dataloader() for made in ranks]
    for whole, *parts in zip(alone.train_dataloader(), *loaders, strict=True):
        for name, values in whole.items():
            joined = torch.stack([part[name] for part in parts], dim=1).flatten(0, 1)
            assert torch.equal(joined, values)
    shards = [rows(made.val_dataloader()) for made in ranks]
    assert sorted(shards[0] + shards[1]) == sorted(VAL)
    for made in ranks:
        assert rows(made.test_dataloader()) == sorted(TEST - {34, 35})


def test_surplus_of_a_rank_is_marked(small_cache: MakeCache) -> None:
    made = module(small_cache(images=35), selection="paper")
    (batch, last) = on_rank(made, 1).val_dataloader()
    counted = torch.cat([batch["counted"], last["counted"]]).tolist()
    assert counted == [True] * 5 + [False]


def test_augmentation_differs_by_epoch_and_position(small_cache: MakeCache) -> None:
    dataset = module(small_cache(), augment=Augmentation()).dataset(augmented=True)
    draws = [Draw(3, epoch, position) for epoch in range(3) for position in range(3)]
    seen = [dataset[draw]["image"].numpy().tobytes() for draw in draws]
    assert len(set(seen)) == 9
    assert dataset[draws[4]]["image"].numpy().tobytes() == seen[4]


def test_mask_is_augmented_like_the_image(small_cache: MakeCache) -> None:
    still = {"rotate": 0, "translate": 0, "zoom": (1, 1), "ratio_probability": 0}
    flip = Augmentation(**still, intensity=(1, 1), flip=1)
    made = module(small_cache(task="segment"), augment=flip, task="segment", roi=lungs_removed)
    plain, flipped = made.dataset()[Draw(3)], made.dataset(augmented=True)[Draw(3)]
    for name in ("image", "mask"):
        assert torch.equal(flipped[name], plain[name].flip(-1))
        assert not torch.equal(flipped[name], plain[name])


def test_a_cache_of_other_classes_or_another_task_is_refused(small_cache: MakeCache) -> None:
    assert module(small_cache(), classes=["normal", "pneumonia", "covid19"]).cache is not None
    with pytest.raises(UserError, match="its classes are normal, pneumonia, covid19"):
        module(small_cache(), classes=["covid19", "normal", "pneumonia"])
    with pytest.raises(UserError, match="made to classify"):
        module(small_cache(), task="segment")
