from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import MissingConfigException
from hydra.types import HydraContext, RunMode
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from hideseek import __version__
from hideseek.config import config_folder, register
from hideseek.errors import UserError
from hideseek.sweep import launcher
from hideseek.sweep.launcher import Cell, cell_name, command, plan

ALLOWED = re.compile(r"[A-Za-z0-9._-]+")
SUBDIR = "tiny-original-s0"


def names(*cells: list[str]) -> list[str]:
    return [cell_name(SUBDIR, overrides, cells) for overrides in cells]


def test_names_say_what_the_sweep_varies():
    base = ["model=tiny", "roi=original", "seed=0", "epochs=3"]
    assert names(base) == [SUBDIR]
    assert names([*base, "roi.fill=mean"], [*base, "roi.fill=noise"]) == [
        f"{SUBDIR}-roi.fill_mean",
        f"{SUBDIR}-roi.fill_noise",
    ]


def test_model_roi_and_seed_stand_in_front_only():
    assert names(["model=a", "roi=x", "seed=0"], ["model=b", "roi=y", "+seed=1"]) == [SUBDIR] * 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("roi.margin=5", "roi.margin=-5"),
        ("data.root=a/b", "data.root=a_b"),
        ("data.root=a b", "data.root=a_b"),
        ("data.root='_'", "data.root='__'"),
        ("model.net.widths=[1,2]", "model.net.widths=[12]"),
        ("data.name=ä", "data.name=ö"),
        ("x=" + "a" * 300, "x=" + "a" * 299 + "b"),
        ("x=[1,2]" + "a" * 80, "x=[1;2]" + "a" * 80),
    ],
)
def test_cells_that_differ_have_folders_that_differ(one, other):
    first, second = names([one], [other])
    assert first.lower() != second.lower()
    for name in (first, second):
        assert ALLOWED.fullmatch(name)
        assert len(name) <= 100


@given(st.lists(st.text(min_size=1, max_size=120), min_size=2, max_size=4, unique=True))
def test_any_override_gives_a_usable_name_of_its_own(values):
    found = names(*([f"x={value}"] for value in values))
    assert len(set(found)) == len(values)
    for name in found:
        assert ALLOWED.fullmatch(name)
        assert len(name) <= 100


def test_names_do_not_depend_on_the_process():
    assert names(["x=" + "a" * 300], ["x=b"])[0] == names(["x=" + "a" * 300], ["x=c"])[0]


def cell(folder: str, overrides: tuple[str, ...] = ("model=tiny",)) -> Cell:
    return Cell(overrides, OmegaConf.create({"epochs": 1}), Path(folder), "0" * 16)


def spelled(folder: str, sweep: str = "grid", overrides: tuple[str, ...] = ("model=tiny",)):
    return command(cell(folder, overrides), OmegaConf.create({"sweep": sweep}))


def test_a_cell_is_a_single_run_with_an_absolute_interpreter():
    given = ("model=tiny", "sweep=other", "hydra.mode=MULTIRUN", "roi.fill=noise")
    words = spelled("/m/grid/a", overrides=given)
    assert words[:4] == [sys.executable, "-m", "hideseek", "train"]
    assert Path(words[0]).is_absolute()
    overrides = words[4:]
    assert "-m" not in overrides
    assert "--multirun" not in overrides
    assert overrides[:2] == ["model=tiny", "roi.fill=noise"]
    assert text(overrides, "hydra.mode") == "RUN"
    assert text(overrides, "sweep") == "grid"
    assert text(overrides, "hydra.run.dir") == "/m/grid/a"
    assert text(overrides, "hydra/job_logging") == "swept"


def text(overrides: list[str], key: str) -> str:
    (found,) = [
        o for o in OverridesParser.create().parse_overrides(overrides) if o.key_or_group == key
    ]
    value = found.value()
    return value if isinstance(value, str) else value.text


@pytest.mark.parametrize(
    "folder",
    ["/a b/c", "/it's", '/say "x"', "/a\\b", "/a\\", "/a\\'b", "/a=b,c", "/[x]{y}", "/ä", "/a\\\\"],
)
def test_paths_survive_hydras_grammar(folder):
    words = spelled(folder, sweep=f"s{folder}")
    assert text(words[4:], "hydra.run.dir") == folder
    assert text(words[4:], "sweep") == f"s{folder}"


@given(st.text(st.characters(codec="utf-8", exclude_categories=("C",)), min_size=1, max_size=30))
def test_any_path_survives_hydras_grammar(name):
    assert text(spelled(f"/{name}")[4:], "hydra.run.dir") == str(Path(f"/{name}"))


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """A Hydra that plans cells, as `hideseek train -m` has it."""
    register()
    monkeypatch.chdir(tmp_path)
    before = HydraConfig.instance().cfg
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        config = hydra.compose_config("train", COMMON, run_mode=RunMode.MULTIRUN)
        yield HydraContext(hydra.config_loader, Callbacks()), config
    HydraConfig.instance().cfg = before


COMMON = ["paths.multirun=m", "sweep=grid", "logger=csv"]
# As Hydra's sweeper does, what all cells share is part of each.
JOBS = [
    [*COMMON, "model=tiny", "roi=original", "seed=0"],
    [*COMMON, "model=tiny", "roi=lungs_removed", "seed=0"],
    [*COMMON, "model=alexnet", "roi=original", "seed=1"],
]
FOLDERS = ["tiny-original-s0", "tiny-lungs_removed-s0", "alexnet-original-s1"]


def test_plan_composes_each_cell_in_its_folder(sweep):
    cells = plan(*sweep, JOBS, 0)
    assert [str(cell.folder) for cell in cells] == [f"m/grid/{name}" for name in FOLDERS]
    assert [cell.config.model.net._target_.rpartition(".")[2] for cell in cells] == [
        "Tiny", "Tiny", "alexnet",
    ]  # fmt: skip
    assert [cell.config.seed for cell in cells] == [0, 0, 1]
    assert len({cell.config_hash for cell in cells}) == 3
    assert [cell.config_hash for cell in plan(*sweep, JOBS, 0)] == [c.config_hash for c in cells]


def test_a_wrong_name_stops_the_sweep_before_any_cell(sweep):
    with pytest.raises(MissingConfigException, match="lungs_gone"):
        plan(*sweep, [*JOBS, ["model=tiny", "roi=lungs_gone", "seed=0"]], 0)


def finish(cell: Cell) -> None:
    done = {
        "model": "tiny", "roi": cell.config.roi._target_, "seed": 0, "task": "classify",
        "classes": ["normal", "pneumonia", "covid19"], "score": 0.5, "version": __version__,
        "config_hash": cell.config_hash, "recipe_hash": "r",
    }  # fmt: skip
    (cell.folder / "done.json").write_text(json.dumps(done))
    (cell.folder / "predictions.csv").write_text("image_id,label,prediction\n1,normal,normal\n")
    (cell.folder / "history.csv").write_text("epoch,seconds\n0,1.5\n")


@pytest.fixture
def fake_cells(sweep, monkeypatch):
    """Cells that write a result and run nothing; the second one fails as often as asked."""
    cells = {str(cell.folder): cell for cell in plan(*sweep, JOBS, 0)}
    state = {"ran": [], "fail": True, "recipe": "r"}

    def run(words, log, timeout, tick):
        folder = str(log.parent)
        state["ran"].append(log.parent.name)
        tick()
        if log.parent.name == FOLDERS[1] and state["fail"]:
            log.write_text("first\n[red]the reason\n")
            return "exit status 1"
        finish(cells[folder])
        return None

    class Data:
        def __init__(self, *_):
            self.recipe = self

        def ready(self, size):
            return Path("cache.h5")

        def digest(self):
            return state["recipe"]

    monkeypatch.setattr(launcher, "run_logged", run)
    monkeypatch.setattr(launcher, "instantiate", lambda *_, **__: Data())
    monkeypatch.setattr(launcher, "Cache", Data)
    return state


def test_a_failing_cell_leaves_the_others_whole(sweep, fake_cells, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        launcher.launch(*sweep, JOBS, 0, None)
    assert caught.value.code == 1
    assert fake_cells["ran"] == FOLDERS
    folder = tmp_path / "m" / "grid"
    rows = list(csv.DictReader((folder / "results.csv").open()))
    assert [row["folder"] for row in rows] == sorted([FOLDERS[0], FOLDERS[2]])
    failures = list(csv.DictReader((folder / "failures.csv").open()))
    assert failures == [{"cell": FOLDERS[1], "reason": "exit status 1"}]
    assert "[red]the reason" in capsys.readouterr().out
    written = OmegaConf.load(folder / "sweep.yaml")
    assert [cell.folder for cell in written.cells] == FOLDERS
    assert [list(cell.overrides) for cell in written.cells] == JOBS


def test_a_finished_cell_is_kept_and_another_is_run_again(sweep, fake_cells, tmp_path):
    fake_cells["fail"] = False
    results = launcher.launch(*sweep, JOBS, 0, None)
    assert [result.return_value for result in results] == [0.5, 0.5, 0.5]
    fake_cells["ran"].clear()
    launcher.launch(*sweep, JOBS, 0, None)
    assert fake_cells["ran"] == []
    other = tmp_path / "m" / "grid" / FOLDERS[0] / "done.json"
    other.write_text(other.read_text().replace(__version__, "0.0.0"))
    (tmp_path / "m" / "grid" / FOLDERS[2] / "done.json").write_text("{")
    launcher.launch(*sweep, JOBS, 0, None)
    assert fake_cells["ran"] == [FOLDERS[0], FOLDERS[2]]
    fake_cells["ran"].clear()
    fake_cells["recipe"] = "other data"
    launcher.launch(*sweep, JOBS, 0, None)
    assert fake_cells["ran"] == FOLDERS


def test_a_cell_without_a_result_failed(sweep, fake_cells, tmp_path, monkeypatch):
    monkeypatch.setattr(launcher, "run_logged", lambda *_: None)
    with pytest.raises(SystemExit):
        launcher.launch(*sweep, JOBS[:1], 0, None)
    text = (tmp_path / "m" / "grid" / "failures.csv").read_text()
    assert "ended without a result" in text


def test_a_damaged_cell_is_one_line_and_no_traceback(sweep, fake_cells, tmp_path, capsys):
    fake_cells["fail"] = False
    launcher.launch(*sweep, JOBS, 0, None)
    (tmp_path / "m" / "grid" / FOLDERS[0] / "predictions.csv").write_text("")
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        launcher.launch(*sweep, JOBS, 0, None)
    assert caught.value.code == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "damaged" in line]
    assert FOLDERS[0] in line


def test_data_that_are_gone_are_no_reason_to_keep_a_cell(sweep, fake_cells, monkeypatch):
    fake_cells["fail"] = False
    launcher.launch(*sweep, JOBS[:1], 0, None)

    def gone(*_, **__):
        raise UserError("no manifest")

    monkeypatch.setattr(launcher, "instantiate", gone)
    fake_cells["ran"].clear()
    launcher.launch(*sweep, JOBS[:1], 0, None)
    assert fake_cells["ran"] == FOLDERS[:1]
