from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

import hideseek.__main__
from hideseek.config import config_folder
from hideseek.data.cache import Cache
from hideseek.errors import UserError
from hideseek.sweep import rerun as module
from hideseek.sweep.rerun import (
    differences,
    read_options,
    recorded_cells,
    rerun,
    shared_overrides,
)
from hideseek.sweep.sheet import Outcome, Sheet, SheetCell, code_hash, read_sheet, sheet_text
from hydra_plugins.hideseek_recorded import RecordedSweeper

MANIFEST = "m" * 64


def sheet(*cells: SheetCell, name: str = "first", **changes) -> Sheet:
    packages = changes.pop("packages", {})
    version = changes.pop("version", hideseek.__main__.__version__)
    return Sheet(
        name, "now", version, None, changes.pop("code", code_hash()), packages, (), {}, cells
    )


def cell(name: str, *overrides: str, accuracy: float = 0.5, manifest: str = MANIFEST) -> SheetCell:
    metrics = {"accuracy": accuracy, "n": 4}
    return SheetCell(name, overrides, "c", Outcome(manifest, "r", "s", name, 0.5, metrics))


COMMON = ("model=tiny", "data=manifest", "weights=none", "logger=csv", "sweep=first")
CELLS = [
    cell("x-s0", *COMMON, "roi=original", "seed=0", accuracy=0.5),
    cell("x-s1", *COMMON, "roi=original", "seed=1", accuracy=0.6),
    cell("y-s0", *COMMON, "roi=lungs_removed", "seed=0", accuracy=0.4),
]
KEPT = list(COMMON[:3])


def test_cells_are_the_recorded_ones_and_the_command_line_wins():
    assert recorded_cells(sheet(*CELLS), ["sweep=again", "weights=imagenet"]) == [
        ["model=tiny", "data=manifest", f"roi={roi}", f"seed={seed}", "sweep=again",
         "weights=imagenet"]
        for roi, seed in (("original", 0), ("original", 1), ("lungs_removed", 0))
    ]  # fmt: skip
    assert shared_overrides(sheet(*CELLS), ["trainer=cpu"]) == KEPT
    assert shared_overrides(sheet(*CELLS), ["weights=x"]) == KEPT[:2]
    (first, *_) = recorded_cells(sheet(*CELLS), ["+trainer={a: 1e-4}", "~augment", "x='a b'"])
    assert first[-3:] == ["+trainer={a:0.0001}", "~augment", "x='a b'"]
    one = shared_overrides(sheet(CELLS[0]), [])
    assert one == [*KEPT, "roi=original", "seed=0"]


@pytest.mark.parametrize("own", ["seed=3", "++seed=3", "roi=original"])
def test_two_cells_never_become_one(own):
    with pytest.raises(UserError, match=r"x-s0 and .* are the same"):
        recorded_cells(sheet(*CELLS), [own])


def test_what_could_run_code_names_its_cell():
    evil = cell("z", "model=tiny", "model.net._target_=os.system")
    with pytest.raises(UserError, match=r"cell z: override .*_target_"):
        recorded_cells(sheet(*CELLS, evil), [])


def test_options():
    options = read_options(["sweep='a b'", "allow_other_data=true", "+x=1", "hydra.launcher.y=2"])
    assert (options.sweep, options.other_data) == ("a b", True)
    assert options.own == ("+x=1", "hydra.launcher.y=2")
    assert read_options([]) == module.Options(None, False, ())
    for word in ("seed=1,2", "--help", "x", "allow_other_data=maybe", "roi=glob(*)"):
        with pytest.raises(UserError) as caught:
            read_options([word])
        assert word in str(caught.value)


def test_other_code_and_packages_are_said():
    assert differences(sheet()) == []
    (code, packages) = differences(
        sheet(version="9.9", packages={"torch": "0.1", "nothing-x": "3"})
    )
    assert "hideseek 9.9" in code
    assert "torch 0.1 there" in packages
    assert "nothing-x 3 there, none here" in packages
    assert len(differences(sheet(code="other"))) == 1


@pytest.fixture
def elsewhere(tmp_path, small_cache, monkeypatch):
    """Another machine: a sheet, a cache with its manifest, and a main that runs nothing."""
    monkeypatch.chdir(tmp_path)
    state = {"calls": [], "status": 0, "cells": {}}
    cache = small_cache("manifest", 64)
    state["own"] = [f"data.cache={cache}"]
    state["hash"] = Cache(cache).recipe.digest()

    def main() -> None:
        words = sys.argv[1:]
        state["calls"].append(words)
        task = [word for word in words[2:] if not word.startswith("hydra")]
        ran = recorded_cells(read_sheet(Path("sweep.yaml")), task)
        cells = [
            SheetCell(f"again-{number}", tuple(overrides), "c", state["cells"].get(number))
            for number, overrides in enumerate(ran)
        ]
        folder = Path("multirun") / "first-rerun"
        folder.mkdir(parents=True)
        (folder / "sweep.yaml").write_text(sheet_text(sheet(*cells, name="first-rerun")))
        if state["status"]:
            sys.exit(state["status"])

    monkeypatch.setattr(hideseek.__main__, "main", main)
    (tmp_path / "sweep.yaml").write_text(sheet_text(sheet(*CELLS)))
    return state


def outcome(name: str, accuracy: float) -> Outcome:
    return Outcome(MANIFEST, "r", "s", name, 0.5, {"accuracy": accuracy, "n": 4})


def test_original_and_rerun_stand_side_by_side(elsewhere, tmp_path, capsys):
    before = list(sys.argv)
    # Two seeds, 0.5 and 0.6: deviation 0.0707, so seeds differ by up to 12.7 * 0.1 = 1.27.
    elsewhere["cells"] = {0: outcome("x-s0", 0.5), 1: outcome("other", 0.7)}
    elsewhere["status"] = 1
    with pytest.raises(SystemExit) as caught:
        rerun(Path("sweep.yaml"), [*elsewhere["own"], "trainer=cpu", "hydra.launcher.timeout=9"])
    assert caught.value.code == 1
    assert sys.argv == before
    ((verb, multirun, *words),) = elsewhere["calls"]
    assert (verb, multirun) == ("train", "-m")
    assert words == [
        "hydra/sweeper=recorded", f"hydra.sweeper.sheet='{tmp_path / 'sweep.yaml'}'",
        "sweep='first-rerun'", *KEPT, *elsewhere["own"], "trainer=cpu", "hydra.launcher.timeout=9",
    ]  # fmt: skip
    table = pl.read_csv("multirun/first-rerun/comparison.csv")
    assert table["cell"].to_list() == ["x-s0", "x-s1", "y-s0"]
    assert table["verdict"].to_list() == ["bitwise equal", "within seed noise", "not rerun"]
    out = capsys.readouterr().out
    assert "not taken over, as of the other machine: 'logger=csv', 'sweep=first'" in out
    assert "the same manifest, but another cache" in out
    assert "within seed noise" in out


def test_other_data_are_refused_unless_told(elsewhere, capsys):
    other = sheet(*(cell(c.folder, *c.overrides, manifest="0" * 64) for c in CELLS))
    Path("sweep.yaml").write_text(sheet_text(other))
    with pytest.raises(UserError) as caught:
        rerun(Path("sweep.yaml"), elsewhere["own"])
    message = str(caught.value)
    assert MANIFEST in message
    assert "0" * 64 in message
    assert "allow_other_data=true" in message
    assert elsewhere["calls"] == []
    rerun(Path("sweep.yaml"), [*elsewhere["own"], "allow_other_data=true"])
    (words,) = elsewhere["calls"]
    assert not any("allow_other_data" in word for word in words)
    assert "the data are not the original's" in capsys.readouterr().out


def test_data_that_are_missing_end_with_the_command_that_builds_them(elsewhere):
    with pytest.raises(UserError, match=r"data\.cache=gone\.h5 does not exist"):
        rerun(Path("sweep.yaml"), ["data.cache=gone.h5"])
    assert elsewhere["calls"] == []


def test_what_cannot_be_composed_here_is_one_line(elsewhere):
    with pytest.raises(UserError, match="cell x-s0: cannot be composed here") as caught:
        rerun(Path("sweep.yaml"), [*elsewhere["own"], "roi.nothing=1"])
    assert "\n" not in str(caught.value)


def test_the_original_is_never_run_over(elsewhere, tmp_path):
    with pytest.raises(UserError, match="original"):
        rerun(Path("sweep.yaml"), ["sweep=first", *elsewhere["own"]])
    moved = tmp_path / "multirun" / "moved"
    moved.mkdir(parents=True)
    (tmp_path / "sweep.yaml").rename(moved / "sweep.yaml")
    for path in (moved, moved / "sweep.yaml"):
        with pytest.raises(UserError, match="original"):
            rerun(path, ["sweep=moved", *elsewhere["own"]])
    assert elsewhere["calls"] == []


@pytest.mark.parametrize("status", [2, 130, 143])
def test_a_sweep_that_was_stopped_is_not_compared(status, elsewhere):
    elsewhere["status"] = status
    with pytest.raises(SystemExit) as caught:
        rerun(Path("sweep.yaml"), elsewhere["own"])
    assert caught.value.code == status
    assert not Path("multirun/first-rerun/comparison.csv").exists()


def test_a_name_of_another_machine_is_no_path(elsewhere):
    named = sheet(*CELLS, name="../../etc/x y")
    Path("sweep.yaml").write_text(sheet_text(named))
    rerun(Path("sweep.yaml"), elsewhere["own"])
    assert "sweep='_etc_x_y-rerun'" in elsewhere["calls"][0]


def test_a_sheet_without_cells_is_refused(elsewhere):
    Path("sweep.yaml").write_text(sheet_text(sheet()))
    with pytest.raises(UserError, match="lists no cell"):
        rerun(Path("sweep.yaml"), [])


class Launcher:
    """Takes cells and runs none."""

    def __init__(self, status: JobStatus = JobStatus.COMPLETED) -> None:
        self.status, self.calls = status, []

    def launch(self, cells, initial_job_idx):
        self.calls.append((cells, initial_job_idx))
        return [JobReturn(status=self.status, _return_value=0.5) for _ in cells]


def test_the_sweeper_launches_exactly_the_cells_of_the_sheet(tmp_path, capsys):
    path = tmp_path / "sweep.yaml"
    path.write_text(sheet_text(sheet(*CELLS)))
    sweeper = RecordedSweeper(str(path))
    sweeper.launcher = launcher = Launcher()
    (results,) = sweeper.sweep(["sweep=again"])
    assert len(results) == 3
    assert launcher.calls == [(recorded_cells(sheet(*CELLS), ["sweep=again"]), 0)]
    sweeper.launcher = Launcher(JobStatus.FAILED)
    with pytest.raises(SystemExit) as caught:
        sweeper.sweep([])
    assert caught.value.code == 1
    path.write_text("!!python/object/apply:os.system [ls]")
    with pytest.raises(SystemExit) as caught:
        sweeper.sweep([])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith(f"hideseek train: {path}: ")


def test_its_configuration_fits_and_its_import_is_light():
    config = OmegaConf.load(config_folder() / "hydra" / "sweeper" / "recorded.yaml")
    assert config._target_ == "hydra_plugins.hideseek_recorded.RecordedSweeper"
    assert set(config) == {"_target_", "sheet", "params"}
    code = (
        "import sys, hydra_plugins.hideseek_recorded\n"
        "assert not {'torch', 'polars', 'hideseek.sweep.sheet'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


SWEEP = [
    "data=phantom", "data.phantom.images=60", "data.phantom.size=64", "model=tiny",
    "model.net.width=4", "roi=original,lungs_removed", "seed=0,1", "epochs=1", "logger=csv",
    "trainer=cpu", "sweep=first", "+trainer.limit_train_batches=1",
]  # fmt: skip
SCRIPT = """
import sys
from pathlib import Path
from hideseek.sweep.bundle import bundle
from hideseek.sweep.rerun import rerun
bundle(Path("multirun/first"))
rerun(Path("first.zip"), sys.argv[1:])
"""


@pytest.mark.slow
def test_a_bundle_of_a_real_sweep_is_run_again_bitwise(tmp_path):
    train = [sys.executable, "-m", "hideseek", "train", "-m", *SWEEP]
    subprocess.run(train, cwd=tmp_path, check=True)
    again = [sys.executable, "-c", SCRIPT, "logger=csv"]
    subprocess.run(again, cwd=tmp_path, check=True)
    folder = tmp_path / "multirun" / "first-rerun"
    table = pl.read_csv(folder / "comparison.csv")
    assert table["verdict"].to_list() == ["bitwise equal"] * 4
    original = [cell.folder for cell in read_sheet(tmp_path / "multirun" / "first").cells]
    assert [cell.folder for cell in read_sheet(folder).cells] == original
