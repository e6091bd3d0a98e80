from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from omegaconf import OmegaConf

from hideseek import __version__
from hideseek.config import plain
from hideseek.errors import UserError
from hideseek.resume import CELL_KEY
from hideseek.sweep import reuse
from hideseek.sweep.cells import plan
from hideseek.sweep.reuse import changed_settings, decide, failure, recipe_hashes, replace
from tests.sweep.grid import JOBS


@pytest.fixture
def cells(sweep):
    found = plan(*sweep, JOBS, 0)
    for cell in found:
        cell.folder.mkdir(parents=True)
    return found


def done(cell, **changed):
    content = {"model": "tiny", "roi": "original", "seed": 0, "version": __version__,
               "config_hash": cell.config_hash, "recipe_hash": "r"}  # fmt: skip
    (cell.folder / "done.json").write_text(json.dumps(content | changed))
    (cell.folder / "config.yaml").write_text(OmegaConf.to_yaml(plain(cell.config)))


def test_a_finished_cell_with_the_same_hashes_is_kept(cells):
    done(cells[0])
    assert decide(cells[0], "r", retry_failed=False) == reuse.Decision("keep")
    assert decide(cells[1], "r", retry_failed=False) == reuse.Decision("run")


@pytest.mark.parametrize("name", ["config_hash", "recipe_hash", "version"])
def test_what_differs_is_named(cells, name):
    done(cells[0], **{name: "old"})
    decision = decide(cells[0], "r", retry_failed=False)
    assert decision.verdict == "replace"
    assert f"{name} was old, is " in decision.why
    assert decision.why.count(" was ") == 1


def test_changed_settings_are_named(cells):
    done(cells[0], config_hash="old")
    path = cells[0].folder / "config.yaml"
    stored = OmegaConf.load(path)
    stored.epochs, stored.sweep = 99, "other"
    stored.model.net.gone = 1
    OmegaConf.save(stored, path)
    (told,) = changed_settings(path, cells[0].config)
    assert f"epochs was 99, is {cells[0].config.epochs}" in told
    assert "model.net.gone was 1, is None" in told
    assert "sweep" not in told
    assert told in decide(cells[0], "r", retry_failed=False).why
    path.write_text("{")
    assert changed_settings(path, cells[0].config) == []


def test_a_failure_is_left_alone_while_nothing_changed(cells):
    cell = cells[0]
    content = {"reason": "no", "config_hash": cell.config_hash, "version": __version__}
    (cell.folder / "failed.json").write_text(json.dumps(content))
    assert failure(cell.folder) == "no"
    assert decide(cell, "r", retry_failed=False) == reuse.Decision("failed", "no")
    assert decide(cell, "r", retry_failed=True) == reuse.Decision("run")
    (cell.folder / "failed.json").write_text(json.dumps(content | {"config_hash": "old"}))
    assert decide(cell, "r", retry_failed=False) == reuse.Decision("run")
    (cell.folder / "failed.json").write_text("[]")
    assert decide(cell, "r", retry_failed=False) == reuse.Decision("run")
    assert failure(cell.folder) is None


def test_what_another_cell_left_is_moved_and_not_lost(cells):
    folder = cells[0].folder
    for number in (1, 2):
        done(cells[0])
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints" / "last.ckpt").write_bytes(b"x")
        moved = replace(folder)
        assert not folder.exists()
        assert moved == folder.parent / ".replaced" / f"{folder.name}-{number}"
        assert (moved / "checkpoints" / "last.ckpt").read_bytes() == b"x"
        assert (moved / "done.json").exists()
        folder.mkdir()


def interrupted(cell, epochs=3, **changed):
    identity = {"config_hash": cell.config_hash, "recipe_hash": "r", "version": __version__}
    (cell.folder / "checkpoints").mkdir(exist_ok=True)
    content = {CELL_KEY: identity | changed, "epoch": epochs - 1}
    torch.save(content, cell.folder / "checkpoints" / "last.ckpt")


def test_an_interrupted_cell_goes_on_and_another_is_moved_aside(cells):
    interrupted(cells[0])
    goes_on = reuse.Decision("run", "interrupted after epoch 3, goes on")
    assert decide(cells[0], "r", retry_failed=False) == goes_on
    cells[0].config.resume = False
    assert "starts anew" in decide(cells[0], "r", retry_failed=False).why
    cells[0].config.resume = True
    interrupted(cells[0], config_hash="old")
    decision = decide(cells[0], "r", retry_failed=False)
    assert decision.verdict == "replace"
    assert "config_hash was old" in decision.why
    (cells[0].folder / "checkpoints" / "last.ckpt").write_bytes(b"half")
    decision = decide(cells[0], "r", retry_failed=False)
    assert decision == reuse.Decision("run", "its last.ckpt is incomplete, so it starts anew")


def test_without_data_nothing_that_is_there_is_touched(cells):
    done(cells[0])
    decision = decide(cells[0], None, retry_failed=False)
    assert decision == reuse.Decision("keep", "its data are not here to compare")
    done(cells[0], config_hash="old")
    assert decide(cells[0], None, retry_failed=True).verdict == "failed"
    interrupted(cells[1], config_hash="old")
    assert decide(cells[1], None, retry_failed=False) == reuse.Decision("run")


def test_wrong_settings_of_the_data_are_one_line(cells):
    cells[0].config.data.phantom.images = -5
    with pytest.raises(UserError, match=r"phantom\.images=-5"):
        reuse.cell_recipe(cells[0].config)


class Data:
    made: ClassVar[list[int]] = []

    def __init__(self, *_):
        self.recipe = self

    def ready(self, size):
        self.made.append(size)
        if size in self.missing:
            raise UserError(f"no cache of {size} px")
        return Path("cache.h5")

    def digest(self):
        return "r"


def test_data_are_looked_for_once_per_kind(cells, monkeypatch):
    cells[2].config.image_size = 96
    data = type("Mine", (Data,), {"made": [], "missing": ()})
    monkeypatch.setattr(reuse, "instantiate", lambda *_, **__: data())
    monkeypatch.setattr(reuse, "Cache", lambda _: data())
    assert recipe_hashes(cells) == ["r", "r", "r"]
    sizes = [cell.config.image_size for cell in cells]
    assert data.made == list(dict.fromkeys(sizes))
    data.missing = sizes[:1]
    assert recipe_hashes(cells) == [None if size == sizes[0] else "r" for size in sizes]
    data.missing = sizes
    with pytest.raises(UserError, match="no cache of"):
        recipe_hashes(cells)
