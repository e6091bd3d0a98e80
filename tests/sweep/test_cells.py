from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import MissingConfigException
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from hideseek.errors import UserError
from hideseek.sweep.cells import Cell, cell_name, command, fixed_overrides, plan
from tests.sweep.grid import FOLDERS, JOBS

ALLOWED = re.compile(r"[A-Za-z0-9._-]+")
SUBDIR = "tiny-original-s0"


def names(*cells: list[str], fixed: tuple[str, ...] = ()) -> list[str]:
    return [cell_name(SUBDIR, overrides, fixed) for overrides in cells]


def test_names_say_what_the_sweep_varies():
    base = ["model=tiny", "roi=original", "seed=0", "epochs=3"]
    fixed = ("epochs=3",)
    assert names(base, fixed=fixed) == [SUBDIR]
    assert names([*base, "roi.fill=mean"], [*base, "roi.fill=noise"], fixed=fixed) == [
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


def test_a_cell_that_a_sweeper_asks_for_alone_says_what_it_varies():
    given = ["model=tiny", "epochs=3", "seed=0,1", 'data.root="a b"', "roi.fill=choice(mean,noise)"]
    fixed = fixed_overrides(given)
    assert fixed == {"model=tiny", "epochs=3", 'data.root="a b"'}
    job = ["model=tiny", "epochs=3", 'data.root="a b"', "seed=1", "learning_rate=0.1"]
    assert names(job, fixed=tuple(fixed)) == [f"{SUBDIR}-learning_rate_0.1"]


def test_names_do_not_depend_on_the_process():
    assert names(["x=" + "a" * 300], ["x=b"])[0] == names(["x=" + "a" * 300], ["x=c"])[0]


def cell(folder: str, overrides: tuple[str, ...] = ("model=tiny",)) -> Cell:
    return Cell(overrides, OmegaConf.create({"epochs": 1}), Path(folder), "0" * 16)


def spelled(folder: str, sweep: str = "grid", overrides: tuple[str, ...] = ("model=tiny",)):
    content = {"sweep": sweep, "hydra": {"runtime": {"config_sources": []}}}
    return command(cell(folder, overrides), OmegaConf.create(content))


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


def test_a_cell_that_is_asked_for_twice_is_the_same_cell(sweep):
    one, other, third = plan(*sweep, [JOBS[0], JOBS[0], JOBS[1]], 0)
    assert one is other
    assert third.folder != one.folder


def test_different_cells_never_share_a_folder(sweep):
    # What the command line sets for all is not part of the names.
    context, config = sweep
    config.hydra.overrides.task.append("epochs=3")
    with pytest.raises(UserError, match="share this folder"):
        plan(context, config, [JOBS[0], [*JOBS[0], "epochs=3"]], 0)


def test_configuration_from_elsewhere_is_handed_on(tmp_path):
    sources = [
        {"provider": "hydra", "schema": "pkg", "path": "hydra.conf"},
        {"provider": "main", "schema": "file", "path": "/conf"},
        {"provider": "command-line", "schema": "file", "path": "/it's mine"},
        {"provider": "schema", "schema": "structured", "path": ""},
    ]
    config = OmegaConf.create({"sweep": "grid", "hydra": {"runtime": {"config_sources": sources}}})
    words = command(cell("/m/grid/a"), config)
    (given,) = [word for word in words if word.startswith("hydra.searchpath=")]
    (parsed,) = OverridesParser.create().parse_overrides([given])
    assert [getattr(item, "text", item) for item in parsed.value()] == ["file:///it's mine"]
