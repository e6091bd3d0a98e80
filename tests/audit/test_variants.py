"""Cells that are no seeds of each other: named, left out or refused, never averaged."""

import json

import pytest

from hideseek.audit.grid import read_grid
from hideseek.errors import UserError
from tests.audit.sweep_folder import write_cell


def cell(
    sweep, name: str, overrides: list[str], roi: str = "original", model: str = "tiny", **done
):
    folder = write_cell(sweep, roi, 2.0, model=model, **done)
    listed = [f"model={model}", f"roi={roi}", *overrides]
    (folder / "overrides.yaml").write_text("".join(f"- {item}\n" for item in listed))
    return folder.rename(folder.with_name(name))


def test_a_network_that_shares_no_cell_keeps_its_name(tmp_path):
    for width in (8, 16):
        cell(tmp_path, f"tiny-{width}", [f"model.net.width={width}", "trainer=cpu"])
    cell(tmp_path, "alex", ["trainer=cpu"], model="alexnet")
    cell(tmp_path, "alex2", ["trainer=gpu"], roi="lungs_removed", model="alexnet")
    assert read_grid(tmp_path).models() == [
        "alexnet", "tiny model.net.width=16", "tiny model.net.width=8",
    ]  # fmt: skip


def test_draws_started_elsewhere_stay_with_their_network(tmp_path):
    cell(tmp_path, "a", ["trainer=cpu"])
    for draw in (0, 1, 2):
        given = [f"roi.draw={draw}", "trainer=gpu", "workers=2"]
        cell(tmp_path, f"b{draw}", given, roi="random_box_out")
    grid = read_grid(tmp_path)
    assert grid.models() == ["tiny"]
    assert len(grid.representations("tiny")["random_box_out"]) == 3


def test_the_same_cell_under_two_names_is_one_seed(tmp_path):
    for name in ("tiny-original-s0-selection_validation", "tiny-original-s0"):
        cell(tmp_path, name, [], config_hash="c1")
    (cells,) = read_grid(tmp_path).representations("tiny").values()
    assert [each.folder for each in cells] == ["tiny-original-s0"]


def test_experiments_are_told_apart(tmp_path):
    for name in ("a", "b"):
        cell(tmp_path, name, [f"experiment={name}"], config_hash=name)
    assert read_grid(tmp_path).models() == ["tiny experiment=a", "tiny experiment=b"]


def test_what_nothing_tells_apart_is_refused_in_one_line(tmp_path):
    for name in ("a", "b"):
        cell(tmp_path, name, [], config_hash=name)
    with pytest.raises(UserError, match="nothing says how they differ") as caught:
        read_grid(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_strangers_setting_is_one_short_line_without_secrets(tmp_path):
    cell(tmp_path, "a", ["logger.api_key=SECRET1"])
    cell(tmp_path, "b", ['"model.net.x=\\e[31m[/x]' + "y" * 200 + '"'])
    names = read_grid(tmp_path).models()
    assert all(name.isprintable() and len(name) < 200 for name in names)
    assert not any("SECRET1" in name for name in names)


@pytest.mark.parametrize(
    "damage", [{"classes": None}, {"margin": "x"}, {"margin": [1]}, {"classes": "normal"}]
)
def test_a_damaged_record_is_one_line(tmp_path, damage):
    folder = write_cell(tmp_path, "original", 2.0)
    path = folder / "done.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **damage}))
    with pytest.raises(UserError) as caught:
        read_grid(tmp_path)
    assert "\n" not in str(caught.value)
    assert "done.json" in str(caught.value) or "no finished cell" in str(caught.value)
