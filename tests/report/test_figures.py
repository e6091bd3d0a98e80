from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hideseek.data.cache import Cache, CacheRecipe, Entry, write_cache
from hideseek.errors import UserError
from hideseek.report.figures import representation_panel

CLASSES = ("normal", "pneumonia")


def write(path: Path, splits: list[str], empty: set[int] = frozenset()) -> Cache:
    """Radiographs of one grey each, 100, 110, ..., classes in turn."""
    recipe = CacheRecipe("x", "classify", 32, "paper", CLASSES, "m", "s")
    mask = np.zeros((32, 32), bool)
    mask[8:24, 4:12] = mask[8:24, 20:28] = True
    entries = [
        Entry(
            np.full((32, 32), 100 + 10 * k, np.uint8),
            np.zeros_like(mask) if k in empty else mask,
            {"image_id": str(k), "label": CLASSES[k % 2], "split": split},
        )
        for k, split in enumerate(splits)
    ]
    write_cache(path, recipe, entries, len(entries))
    return Cache(path)


def commonest(path: Path, count: int) -> set[int]:
    """Return the most frequent greys; smoothed edges and letters have rarer ones."""
    pixels = np.asarray(Image.open(path).convert("L"))
    return {value for value, _ in Counter(pixels.ravel().tolist()).most_common(count)}


def test_the_panel_shows_the_first_test_image_of_each_class(tmp_path):
    cache = write(tmp_path / "c.h5", ["train", "train", "test", "test", "test", "test"])
    path = representation_panel(cache, tmp_path / "a.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    # Images 2 and 3, black where something is hidden, and white paper.
    assert commonest(path, 4) == {0, 120, 130, 255}


def test_columns_are_the_asked_representations(tmp_path):
    cache = write(tmp_path / "c.h5", ["test", "test"])
    one = representation_panel(cache, tmp_path / "1.png", ["original"])
    assert commonest(one, 3) == {100, 110, 255}
    two = representation_panel(cache, tmp_path / "2.png", ["original", "lungs_removed"])
    sizes = [Image.open(path).size for path in (one, two)]
    assert sizes[1][0] == pytest.approx(2 * sizes[0][0], abs=2)
    assert sizes[1][1] == sizes[0][1]


def test_images_without_lungs_and_classes_without_images_are_passed_over(tmp_path):
    cache = write(tmp_path / "c.h5", ["test", "train", "test"], {0})
    path = representation_panel(cache, tmp_path / "a.png", ["original"])
    assert commonest(path, 2) == {120, 255}


def test_nothing_to_show_is_one_line(tmp_path):
    cache = write(tmp_path / "c.h5", ["test", "test"], {0, 1})
    with pytest.raises(UserError, match="no test image has a lung mask"):
        representation_panel(cache, tmp_path / "a.png")
