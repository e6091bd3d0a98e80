"""The panel of `hideseek show`: what it draws is what a cell's network is shown."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from PIL import Image

from hideseek.data.cache import Cache
from hideseek.data.datamodule import CxrDataModule
from hideseek.data.sampler import Draw
from hideseek.report.figures import first_of_class, image_panel, represented
from hideseek.roi import REPRESENTATIONS


class Made:
    """A source whose cache is there."""

    def __init__(self, path):
        self.path = path

    def ready(self, image_size):
        return self.path


@pytest.mark.parametrize(("fill", "margin", "seed"), [("black", 0.0, 0), ("noise", 12.0, 7)])
def test_pictures_are_what_a_network_is_shown(fill, margin, seed, small_cache):
    path = small_cache()
    cache = Cache(path)
    row = int(cache.rows(["test"])[3])
    made = represented(cache, row, tuple(REPRESENTATIONS), fill, margin, seed)
    assert list(made) == list(REPRESENTATIONS)
    for name, function in REPRESENTATIONS.items():
        roi = partial(function, fill=fill, margin=margin)
        module = CxrDataModule(Made(path), roi, None, 48, 4, seed)
        module.setup()
        item = module.dataset()[Draw(row=row, epoch=0, position=0, counted=True)]
        assert np.array_equal(made[name], item["image"][0].numpy()), name


def test_without_training_images_the_rectangle_is_that_of_all(small_cache):
    cache = Cache(small_cache(split=lambda number, given: "test"))
    made = represented(cache, 0, ("fixed_box_out",))["fixed_box_out"]
    tops, ends = cache.boxes[:, :, :2], cache.boxes[:, :, 2:]
    (row0, col0), (row1, col1) = tops.min(axis=(0, 1)), ends.max(axis=(0, 1))
    hidden = made[row0:row1, col0:col1]
    # 99 % of 36 images are all of them.
    assert (hidden == 0).all()
    assert (made == 0).sum() < hidden.size + 0.05 * made.size


def test_five_pictures_in_a_line_and_a_block_for_each_image(small_cache, tmp_path):
    cache = Cache(small_cache())

    def size(rows, representations):
        path = image_panel(cache, rows, tmp_path / "a.png", representations)
        return np.array(Image.open(path).size)

    names = tuple(REPRESENTATIONS)
    five, all_of_them = size([0], names[:5]), size([0], names)
    assert all_of_them[0] == pytest.approx(five[0] * 6 / 5, abs=2)  # six controls below the five
    assert 1.7 * five[1] < all_of_them[1] < 2 * five[1]
    assert np.allclose(size([0, 1, 2], names), (all_of_them[0], 3 * all_of_them[1]), atol=3)
    assert size([0], names[:1])[0] == pytest.approx(five[0] / 5, abs=2)


def test_every_picture_is_drawn(small_cache, tmp_path):
    # All of them cover most of the paper; an empty axis would be white.
    cache = Cache(small_cache())
    path = image_panel(cache, [0], tmp_path / "a.png", ("lungs_removed",) * 1)
    one = (np.asarray(Image.open(path).convert("L")) < 250).mean()
    path = image_panel(
        cache, [0], tmp_path / "b.png", tuple(n for n in REPRESENTATIONS if "box" in n)
    )
    many = (np.asarray(Image.open(path).convert("L")) < 250).mean()
    assert one > 0.6 and many > 0.5


def test_the_first_of_a_class_is_of_the_first_split_that_has_one(small_cache):
    cache = Cache(small_cache())
    table = cache.table.with_row_index()

    def first(label, split):
        return table.filter((table["label"] == label) & (table["split"] == split))["index"][0]

    assert first_of_class(cache, "covid19", ("test", "train")) == first("covid19", "test")
    assert first_of_class(cache, "covid19", ("train", "test")) == first("covid19", "train")
    assert first_of_class(cache, "covid19", ("none",)) is None
    assert first_of_class(cache, "covid", ("test", "train")) is None
