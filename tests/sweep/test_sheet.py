from __future__ import annotations

import copy
import json
import re
import shutil
import stat
import zipfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hideseek import __version__
from hideseek.config import config_folder
from hideseek.errors import UserError
from hideseek.sweep import sheet as module
from hideseek.sweep.cells import plan
from hideseek.sweep.sheet import code_hash, completed, read_sheet, sheet_text, write_sheet
from tests.sweep.grid import COMMON, FOLDERS, JOBS

PREDICTIONS = "image_id,label,prediction\n1,a,a\n2,a,b\n3,b,b\n4,b,b\n"


def finish(folder: Path, config_hash: str, **done) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "model": "tiny", "roi": "original", "seed": 0, "task": "classify", "classes": ["a", "b"],
        "score": 0.625, "config_hash": config_hash, "recipe_hash": "r", "manifest_hash": "m",
        "segmenter_hash": "s", **done,
    }  # fmt: skip
    (folder / "done.json").write_text(json.dumps(content))
    (folder / "predictions.csv").write_text(PREDICTIONS)
    (folder / "history.csv").write_text("epoch,seconds\n0,1.5\n")


@pytest.fixture
def planned(sweep, tmp_path):
    """A folder, the sweep's configuration and its cells."""
    folder = tmp_path / "m" / "grid"
    folder.mkdir(parents=True)
    return folder, sweep[1], plan(*sweep, JOBS, 0)


def test_a_sheet_says_what_ran_and_what_came_out(planned):
    folder, config, cells = planned
    finish(folder / FOLDERS[0], cells[0].config_hash)
    finish(folder / FOLDERS[1], "of other settings")
    write_sheet(folder, config, cells)
    assert [path.name for path in folder.glob(".*")] == []
    content = yaml.safe_load((folder / "sweep.yaml").read_text())
    assert list(content) == [
        "format", "name", "written", "version", "code", "packages", "overrides", "configuration",
        "cells",
    ]  # fmt: skip
    assert (content["format"], content["name"], content["version"]) == (1, "grid", __version__)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", content["written"])
    assert content["code"]["hash"] == code_hash()
    assert "torch" in content["packages"]
    assert content["overrides"] == COMMON
    assert [cell["folder"] for cell in content["cells"]] == FOLDERS
    assert [cell["overrides"] for cell in content["cells"]] == JOBS
    first, other, _ = content["cells"]
    assert first["config_hash"] == cells[0].config_hash
    assert [first[f"{name}_hash"] for name in ("manifest", "recipe", "segmenter")] == list("mrs")
    assert first["predictions_sha256"] == sha256(PREDICTIONS.encode()).hexdigest()
    assert first["score"] == 0.625
    assert first["metrics"] == {
        "accuracy": 0.75, "sens_a": 0.5, "sens_b": 1.0, "ppv_a": 1.0, "ppv_b": 2 / 3,
        "balanced_accuracy": 0.75, "n": 4,
    }  # fmt: skip
    assert set(other) == {"folder", "overrides", "config_hash"}


def test_the_configuration_is_what_all_cells_share(planned):
    folder, config, cells = planned
    write_sheet(folder, config, cells)
    found = yaml.safe_load((folder / "sweep.yaml").read_text())["configuration"]
    assert found["selection"] == "validation"
    assert found["task"]["classes"] == ["normal", "pneumonia", "covid19"]
    assert found["roi"]["fill"] == "black"
    assert "_target_" not in found["roi"]
    assert found["model"]["channels"] == 3
    assert "learning_rate" not in found
    assert not {"seed", "hydra", "sweep", "paths", "logger", "workers", "datamodule"} & set(found)
    write_sheet(folder, config, cells[:1])
    # The cells of the earlier launch are still there, and so is only what they share.
    again = read_sheet(folder)
    assert again.configuration == found
    assert [cell.folder for cell in again.cells] == FOLDERS


def test_what_is_written_is_read_back(planned):
    folder, config, cells = planned
    finish(folder / FOLDERS[0], cells[0].config_hash, score=None)
    write_sheet(folder, config, cells)
    read = read_sheet(folder)
    assert read == read_sheet(folder / "sweep.yaml")
    assert sheet_text(read) == (folder / "sweep.yaml").read_text()
    assert read.cells[0].outcome.score is None
    assert read.cells[1].outcome is None


def test_cells_of_other_launches_stay_and_are_brought_up_to_date(planned):
    folder, config, cells = planned
    write_sheet(folder, config, cells[:2])
    finish(folder / FOLDERS[0], cells[0].config_hash)
    write_sheet(folder, config, cells[2:])
    read = read_sheet(folder)
    assert [cell.folder for cell in read.cells] == FOLDERS
    assert [cell.outcome is not None for cell in read.cells] == [True, False, False]
    write_sheet(folder, config, cells)
    assert [cell.folder for cell in read_sheet(folder).cells] == FOLDERS


@pytest.mark.parametrize("content", ["", "[1, 2", "format: 1\n", "name: grid\ncells: []\n", "\x00"])
def test_a_damaged_file_is_replaced(content, planned):
    folder, config, cells = planned
    (folder / "sweep.yaml").write_text(content)
    write_sheet(folder, config, cells)
    assert [cell.folder for cell in read_sheet(folder).cells] == FOLDERS


def test_a_foreign_file_is_replaced(planned):
    folder, config, cells = planned
    write_sheet(folder, config, cells[:2])
    path = folder / "sweep.yaml"
    path.write_text(path.read_text().replace("name: grid", "name: other"))
    write_sheet(folder, config, cells[2:])
    assert [cell.folder for cell in read_sheet(folder).cells] == FOLDERS[2:]


def test_a_damaged_cell_counts_as_unfinished(planned):
    folder, config, cells = planned
    for name in FOLDERS[:2]:
        finish(folder / name, cells[FOLDERS.index(name)].config_hash)
    (folder / FOLDERS[0] / "predictions.csv").write_text("")
    write_sheet(folder, config, cells)
    assert [cell.outcome is not None for cell in read_sheet(folder).cells] == [False, True, False]
    finish(folder / FOLDERS[2], cells[2].config_hash)
    later = completed(read_sheet(folder), folder)
    assert [cell.outcome is not None for cell in later.cells] == [False, True, True]


def test_no_secret_is_written(sweep, tmp_path):
    context, config = sweep
    secrets = ["+data.source.api_key=hunter2", "+logger={token:hunter2}"]
    secrets += ["+model.PASSWORD=hunter2"]
    config.hydra.overrides.task = [*JOBS[0][:2], *secrets]
    job = [text for text in JOBS[0] if text != "logger=csv"] + secrets
    write_sheet(tmp_path, config, plan(context, config, [job], 0))
    text = (tmp_path / "sweep.yaml").read_text()
    assert "hunter2" not in text
    found = yaml.safe_load(text)
    hidden = ["+data.source.api_key='***'", "+logger='***'", "+model.PASSWORD='***'"]
    assert found["overrides"][-3:] == found["cells"][0]["overrides"][-3:] == hidden
    assert found["configuration"]["data"]["source"]["api_key"] == "***"
    assert found["configuration"]["model"]["PASSWORD"] == "***"


def test_the_code_hash_follows_code_and_configuration(tmp_path, monkeypatch):
    package = tmp_path / "hideseek"
    shutil.copytree(Path(module.__file__).parents[1], package)
    shutil.copytree(config_folder(), tmp_path / "conf")
    monkeypatch.setattr(module, "__file__", str(package / "sweep" / "sheet.py"))
    monkeypatch.setattr(module, "config_folder", lambda: tmp_path / "conf")
    before = code_hash()
    assert re.fullmatch("[0-9a-f]{16}", before)
    (package / "roi.pyc").write_text("x")
    assert code_hash() == before
    found = {before}
    for path in (package / "roi.py", tmp_path / "conf" / "roi" / "original.yaml"):
        path.write_text(path.read_text() + "\n")
        found.add(code_hash())
    (package / "roi.py").rename(package / "rois.py")
    assert len({*found, code_hash()}) == 4


@pytest.fixture
def content(planned):
    folder, config, cells = planned
    finish(folder / FOLDERS[0], cells[0].config_hash)
    write_sheet(folder, config, cells)
    return yaml.safe_load((folder / "sweep.yaml").read_text())


WRONG = [
    ("format", 2, "format"),
    ("format", None, "format"),
    ("name", 3, "name"),
    ("name", "a\x1b[2J", "name"),
    ("written", None, "written"),
    ("version", [], "version"),
    ("code", "x", "code"),
    ("code", {"git": 3, "hash": "h"}, "git"),
    ("code", {"git": None}, "hash"),
    ("packages", {"torch": 2.1}, "torch"),
    ("packages", {3: "x"}, "'3'"),
    ("overrides", "a=b", "overrides"),
    ("overrides", [1], "overrides"),
    ("configuration", [], "configuration"),
    ("cells", {}, "cells"),
    ("cells", [3], r"cells\[0\]"),
    ("cells", [{}], "folder"),
]
WRONG_CELL = [
    ("folder", "../../x"),
    ("folder", "/tmp/x"),
    ("folder", ".."),
    ("folder", ""),
    ("folder", "x" * 200),
    ("overrides", None),
    ("config_hash", 3),
    ("predictions_sha256", 3),
    ("manifest_hash", None),
    ("score", "high"),
    ("score", True),
    ("score", float("nan")),
    ("score", 1e300),
    ("metrics", None),
    ("metrics", {"accuracy": "high"}),
    ("metrics", {"accuracy": float("inf")}),
]


def refused(tmp_path: Path, content: object) -> str:
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError) as caught:
        read_sheet(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    return message


def test_every_field_is_checked(content, tmp_path):
    for name, value, told in WRONG:
        assert re.search(told, refused(tmp_path, {**content, name: value})), name
    for name, value in WRONG_CELL:
        cell = {**content["cells"][0], name: value}
        message = refused(tmp_path, {**content, "cells": [content["cells"][1], cell]})
        assert "cells[1]" in message
        assert f"'{name}'" in message or "accuracy" in message
    for name in content:
        lacking = {key: value for key, value in content.items() if key != name}
        assert f"'{name}'" in refused(tmp_path, lacking)
    cell = content["cells"][0]
    assert "twice" in refused(tmp_path, {**content, "cells": [cell, copy.deepcopy(cell)]})
    odd = {**content, "configuration": {"a": {"b": yaml.safe_load("2001-01-01")}}}
    assert "configuration.a.b is a date" in refused(tmp_path, odd)


MARKS = ("!!python/object/apply:os.system", "!!python/object/new:os.system")


@pytest.mark.parametrize("mark", MARKS)
def test_yaml_with_python_tags_runs_nothing(mark, tmp_path):
    touched = tmp_path / "touched"
    (tmp_path / "sweep.yaml").write_text(f"format: 1\nname: {mark} ['touch {touched}']\n")
    with pytest.raises(UserError, match="line 2"):
        read_sheet(tmp_path)
    assert not touched.exists()


def test_what_is_no_sheet_is_one_line(tmp_path, monkeypatch):
    for name, raw, told in [
        ("none.yaml", None, "no such file"),
        ("none.zip", None, "no such file"),
        ("a.yaml", b"\xff\xfe\x80", "cannot be read"),
        ("b.yaml", b"3\n", "not a mapping"),
        ("c.yaml", b"a" * 200, "MB"),
        ("d.zip", b"PK\x03\x04 no archive", "cannot be read"),
        ("e.zip", b"", "cannot be read"),
    ]:
        if raw is not None:
            (tmp_path / name).write_bytes(raw)
        monkeypatch.setattr(module, "LARGEST", 100)
        with pytest.raises(UserError, match=told) as caught:
            read_sheet(tmp_path / name)
        assert str(caught.value).startswith(str(tmp_path / name))
        assert str(caught.value).isprintable()


def zipped(path: Path, members: dict[str, bytes], mode: int = stat.S_IFREG | 0o644) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, raw in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, raw)
    return path


def test_hostile_archives_write_nothing_and_are_one_line(tmp_path, monkeypatch):
    inside = tmp_path / "in"
    inside.mkdir()
    monkeypatch.chdir(inside)
    bomb = zipped(inside / "bomb.zip", {"a/sweep.yaml": b" " * 300_000_000})
    assert bomb.stat().st_size < 1_000_000
    for path, told in [
        (bomb, "MB"),
        (zipped(inside / "up.zip", {"../sweep.yaml": b"x", "../../evil": b"x"}), "not a mapping"),
        (zipped(inside / "deep.zip", {"a/b/sweep.yaml": b"x"}), "0 files"),
        (zipped(inside / "two.zip", {"a/sweep.yaml": b"x", "b/sweep.yaml": b"x"}), "2 files"),
        (
            zipped(inside / "link.zip", {"a/sweep.yaml": b"/etc/passwd"}, stat.S_IFLNK | 0o777),
            "not a mapping",
        ),
        (zipped(inside / "tag.zip", {"a/sweep.yaml": MARKS[0].encode() + b" [ls]"}), "line 1"),
    ]:
        with pytest.raises(UserError, match=told) as caught:
            read_sheet(path)
        assert "\n" not in str(caught.value)
        assert "root:" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]
    assert all(path.suffix == ".zip" for path in inside.iterdir())


def test_a_size_that_lies_is_no_way_around_the_limit(tmp_path):
    path = zipped(tmp_path / "a.zip", {"a/sweep.yaml": b" " * 30_000_000})
    raw = path.read_bytes()
    true, lie = (30_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little")
    assert raw.count(true) == 2
    path.write_bytes(raw.replace(true, lie))
    with pytest.raises(UserError):
        read_sheet(path)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0), st.binary(min_size=1, max_size=3))
def test_any_damage_to_a_sheet_or_bundle_is_read_or_one_line(content, tmp_path, place, noise):
    text = yaml.safe_dump(content).encode()
    for path, raw in [(tmp_path / "a.yaml", text), (tmp_path / "a.zip", bundled(tmp_path, text))]:
        at = place % len(raw)
        path.write_bytes(raw[:at] + noise + raw[at + len(noise) :])
        try:
            read_sheet(path)
        except UserError as error:
            assert str(error).isprintable()


def bundled(tmp_path: Path, text: bytes) -> bytes:
    return zipped(tmp_path / "whole.zip", {"grid/sweep.yaml": text}).read_bytes()


def test_a_bundle_is_read_whatever_its_file_is_called(content, tmp_path):
    text = yaml.safe_dump(content).encode()
    read = read_sheet(zipped(tmp_path / "Other.ZIP", {"grid/sweep.yaml": text, "grid/x": b""}))
    assert [cell.folder for cell in read.cells] == FOLDERS
    assert replace(read, name="x") != read
