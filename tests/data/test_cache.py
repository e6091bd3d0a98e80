from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from hideseek.data.cache import TEXT, Cache, CacheRecipe, Entry, write_cache
from hideseek.data.mask_rules import MaskRules
from hideseek.errors import UserError
from hideseek.regions import lung_boxes

RECIPE = CacheRecipe("toy", "classify", 33, "paper", ("normal", "covid19"), "m", "s")
MakeCache = Callable[..., Path]


def entries(count: int, size: int = 33) -> Iterator[Entry]:
    for number in range(count):
        rng = np.random.default_rng(number)
        text = {"image_id": f"ä{number}", "label": ("normal", "covid19", "")[number % 3]}
        text |= {"split": ("train", "val", "test")[number % 3], "mask_from": "manifest"}
        image = rng.integers(0, 256, (size, size), dtype=np.uint8)
        yield Entry(image, rng.random((size, size)) > 0.5, text)


@pytest.mark.parametrize("size", [32, 33, 37])  # 33 * 33 and 37 * 37 are no multiples of 8
def test_round_trip(tmp_path: Path, size: int) -> None:
    path = tmp_path / "new folder" / "a.h5"
    recipe = replace(RECIPE, size=size)
    assert write_cache(path, recipe, entries(5, size), capacity=9) == 5
    cache = Cache(path)
    assert len(cache) == 5
    assert cache.recipe == recipe
    for number, entry in enumerate(entries(5, size)):
        image, mask = cache[number]
        assert (image.dtype, mask.dtype) == (np.uint8, np.bool_)
        np.testing.assert_array_equal(image, entry.image)
        np.testing.assert_array_equal(mask, entry.mask)
        np.testing.assert_array_equal(cache.boxes[number], lung_boxes(entry.mask))
    assert cache.table.columns == list(TEXT)
    assert cache.table.get_column("image_id").to_list() == [f"ä{number}" for number in range(5)]
    assert cache.table.get_column("patient_id").to_list() == [""] * 5
    assert cache.labels().tolist() == [0, 1, -1, 0, 1]
    assert cache.rows(["train"]).tolist() == [0, 3]
    assert cache.rows(["val", "test"]).tolist() == [1, 2, 4]
    assert os.listdir(path.parent) == ["a.h5"]  # noqa: PTH208


def test_mask_states(tmp_path: Path) -> None:
    lungs = np.zeros((4, 33, 33), bool)
    lungs[1, 5:9, 5:9] = True
    lungs[2, 5:9, [5, 20]] = True
    lungs[3] = True
    black = np.zeros((33, 33), np.uint8)
    write_cache(tmp_path / "a.h5", RECIPE, (Entry(black, mask, {}) for mask in lungs), 4)
    cache = Cache(tmp_path / "a.h5")
    assert cache.table.get_column("mask_state").to_list() == ["empty", "single", "ok", "full"]
    assert (cache.boxes[0] == -1).all()


def test_recipe_hash_covers_every_field() -> None:
    other = {str: "other", int: 99, tuple: ("other",), MaskRules: MaskRules(fill_holes=True)}
    changed = {
        replace(RECIPE, **{field.name: other[type(getattr(RECIPE, field.name))]}).digest()
        for field in fields(RECIPE)
    }
    assert len(changed | {RECIPE.digest()}) == len(fields(RECIPE)) + 1
    assert replace(RECIPE).digest() == RECIPE.digest()
    assert RECIPE.file_name() == f"cache-toy-33-{RECIPE.digest()}.h5"
    swapped = replace(RECIPE, classes=RECIPE.classes[::-1])
    assert swapped.digest() != RECIPE.digest()


def test_failing_writer_leaves_nothing_and_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write_cache(path, RECIPE, entries(3), 3)
    before = path.read_bytes()

    def failing() -> Iterator[Entry]:
        yield from entries(2)
        raise UserError("no segmenter")

    with pytest.raises(UserError, match="no segmenter"):
        write_cache(path, RECIPE, failing(), 3)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


KILLED = """
import sys, time
from pathlib import Path
import numpy as np
from hideseek.data.cache import CacheRecipe, Entry, write_cache

def entries():
    for number in range(500):
        yield Entry(np.full((64, 64), number % 256, np.uint8), np.ones((64, 64), bool), {})
    print("written", flush=True)
    time.sleep(60)

recipe = CacheRecipe("toy", "classify", 64, "paper", ("a",), "m", "s")
write_cache(Path(sys.argv[1]), recipe, entries(), 1000)
"""


def test_killed_writer_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    command = [sys.executable, "-c", KILLED, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "written\n"
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert not path.exists()
    assert not list(tmp_path.glob("*.h5"))
    for partial in tmp_path.iterdir():
        with pytest.raises(UserError):
            Cache(partial)
    assert write_cache(path, RECIPE, entries(3), 3) == 3
    assert len(Cache(path)) == 3


def refused(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        Cache(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_refusals(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.h5", tmp_path / "a.h5"
    write_cache(whole, RECIPE, entries(3), 3)
    assert "no such cache" in refused(tmp_path / "absent.h5")

    def changed(change: Callable[[h5py.File], object]) -> str:
        path.write_bytes(whole.read_bytes())
        with h5py.File(path, "r+") as file:
            change(file)
        return refused(path)

    assert "incomplete" in changed(lambda file: file.attrs.pop("complete"))
    assert "incomplete" in changed(lambda file: file.attrs.create("complete", False))
    assert "another version" in changed(lambda file: file.attrs.create("format_version", 0))
    assert "not a readable cache" in changed(lambda file: file.pop("boxes"))
    foreign = json.dumps({"classes": [], "maker": "somebody"})
    assert "not a readable cache" in changed(lambda file: file.attrs.create("recipe", foreign))
    path.write_bytes(whole.read_bytes()[:3000])
    assert "not a readable cache" in refused(path)
    path.write_text("image,label\n")
    assert "not a readable cache" in refused(path)
    path.unlink()
    with h5py.File(path, "w") as file:
        file["image"] = np.zeros((3, 3))
    assert "incomplete" in refused(path)


def test_open_reader_does_not_disturb_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write_cache(path, RECIPE, entries(3), 3)
    reader = Cache(path)
    first = reader[0][0]
    write_cache(path, RECIPE, list(entries(3))[::-1], 3)
    np.testing.assert_array_equal(reader[0][0], first)
    np.testing.assert_array_equal(Cache(path)[2][0], first)


def _stands_at(handle: int, position: int) -> bool:
    try:
        return os.lseek(handle, 0, os.SEEK_CUR) == position
    except OSError:  # closed: the file was opened again under another number
        return False


def test_a_forked_process_opens_the_file_for_itself(small_cache: MakeCache) -> None:
    cache = Cache(small_cache())
    expected = cache[1][0]
    (handle,) = (
        int(link.name)
        for link in Path("/proc/self/fd").iterdir()
        if link.exists() and link.readlink() == cache.path
    )
    os.lseek(handle, 1234, os.SEEK_SET)
    child = os.fork()
    if child == 0:
        try:
            same = np.array_equal(cache[1][0], expected)
            os._exit(0 if same and not _stands_at(handle, 1234) else 1)
        finally:
            os._exit(2)  # an error in the child must not go on as a second pytest
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(cache[1][0], expected)


def loaded(cache: Cache, workers: int, context: str | None) -> tuple[torch.Tensor, torch.Tensor]:
    loader = DataLoader(
        cache,
        batch_size=5,
        num_workers=workers,
        multiprocessing_context=context,
    )
    images, masks = zip(*loader, strict=True)
    return torch.cat(images), torch.cat(masks)


@pytest.mark.parametrize("context", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers_read_what_one_process_reads(small_cache: MakeCache, context: str) -> None:
    cache = Cache(small_cache(size=33))
    images, masks = loaded(cache, 0, None)  # leaves a handle open that workers must not share
    assert images.shape == masks.shape == (36, 33, 33)
    for _ in range(2):
        other_images, other_masks = loaded(cache, 2, context)
        assert torch.equal(other_images, images)
        assert torch.equal(other_masks, masks)


def test_pickling_leaves_the_handle_behind(small_cache: MakeCache) -> None:
    cache = Cache(small_cache())
    expected = cache[3][0]
    copy = pickle.loads(pickle.dumps(cache))
    np.testing.assert_array_equal(copy[3][0], expected)
    cache.close()
    np.testing.assert_array_equal(copy[3][0], expected)
    np.testing.assert_array_equal(cache[3][0], expected)
