from __future__ import annotations

import json
import os
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest
import yaml

from hideseek.errors import UserError
from hideseek.sweep.bundle import bundle, hide_home, read_options
from hideseek.sweep.sheet import Sheet, SheetCell, read_sheet, sheet_text

PREDICTIONS = "image_id,label,prediction\n/home/anna/1,a,a\n2,a,b\n3,b,b\n4,b,b\n"
HOME = "/home/anna"


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """A sweep of two finished cells and an open one, among all that must not leave the house."""
    monkeypatch.setenv("HOME", HOME)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "multirun" / "first"
    cells = []
    for name in ("a-s0", "a-s1", "b-s0"):
        overrides = (f"data.root={HOME}/data", f"seed={name[-1]}", "roi=original")
        cells.append(SheetCell(name, overrides, f"hash of {name}"))
        write(folder / name / "log.txt", "text")
        write(folder / name / "wandb" / "run" / "config.yaml", "a: 1")
        write(folder / name / "masks" / "1.png", "image")
        write(folder / name / "grad_cam.png", "image")
        write(folder / name / "cache.h5", "cache")
        write(folder / name / "config.yaml", f"data:\n  root: {HOME}\n  raw: {HOME}/x\n")
    for name in ("a-s0", "a-s1"):
        done = {
            "model": "tiny", "roi": "original", "seed": 0, "task": "classify", "score": 0.5,
            "classes": ["a", "b"], "config_hash": f"hash of {name}",
        }  # fmt: skip
        write(folder / name / "done.json", json.dumps(done))
        write(folder / name / "predictions.csv", PREDICTIONS)
        write(folder / name / "history.csv", "epoch,seconds\n0,1.5\n")
        write(folder / name / "metrics.json", "{}")
        write(folder / name / "overrides.yaml", "- seed=0\n")
        write(folder / name / "provenance.json", json.dumps({"cache": f"{HOME}/c/a.h5"}))
        write(folder / name / "audit" / "controls.json", "{}")
        write(folder / name / "audit" / "maps.npy", "array")
        write(folder / name / "checkpoints" / "best.ckpt", "best weights")
        write(folder / name / "checkpoints" / "last.ckpt", "last weights")
    write(folder / "results.csv", "x\n")
    write(folder / "representations.png", "image")
    write(folder / "audit" / "audit.json", "{}")
    write(folder / "audit" / "table.csv", "x\n")
    configuration = {"data": {"root": HOME, "names": [f"{HOME}/a", "b"]}, "epochs": 2}
    sheet = Sheet("first", "now", "0", None, "h", {}, (f"data.root={HOME}/data",), configuration,
                  tuple(cells))  # fmt: skip
    write(folder / "sweep.yaml", sheet_text(sheet))
    return folder


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


CELL = [
    "audit/controls.json", "config.yaml", "done.json", "history.csv", "metrics.json",
    "overrides.yaml", "predictions.csv", "provenance.json",
]  # fmt: skip
TOP = ["audit/audit.json", "audit/table.csv", "results.csv", "sweep.yaml"]
EXPECTED = sorted(
    f"first/{name}"
    for name in [*TOP, *(f"{cell}/{name}" for cell in ("a-s0", "a-s1") for name in CELL)]
)


def test_only_what_is_named_goes_in(sweep, tmp_path, capsys):
    path = bundle(sweep)
    assert path.absolute() == tmp_path / "first.zip"
    assert names(path) == EXPECTED
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []
    out = capsys.readouterr().out
    assert "2 cells, 20 files" in out
    assert "not finished and so without results: b-s0" in out


def test_checkpoints_on_request(sweep, tmp_path):
    path = bundle(sweep, tmp_path / "new" / "x.zip", checkpoints=True)
    assert path == tmp_path / "new" / "x.zip"
    added = {f"first/{cell}/checkpoints/best.ckpt" for cell in ("a-s0", "a-s1")}
    assert set(names(path)) == {*EXPECTED, *added}
    with zipfile.ZipFile(path) as archive:
        assert archive.read("first/a-s0/checkpoints/best.ckpt") == b"best weights"


def test_a_bundle_is_read_as_the_sweep_that_it_was(sweep, tmp_path):
    read = read_sheet(bundle(sweep))
    assert [cell.folder for cell in read.cells] == ["a-s0", "a-s1", "b-s0"]
    first, _, open_ = read.cells
    # The sheet in the folder was written before the cells were finished.
    assert first.outcome.metrics["accuracy"] == 0.75
    assert first.outcome.predictions_sha256 == sha256(PREDICTIONS.encode()).hexdigest()
    assert open_.outcome is None
    with zipfile.ZipFile(tmp_path / "first.zip") as archive:
        assert archive.read("first/a-s0/predictions.csv") == PREDICTIONS.encode()


def test_the_home_folder_is_hidden(sweep):
    path = bundle(sweep)
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if not name.endswith("predictions.csv"):
                assert b"anna" not in archive.read(name), name
        config = archive.read("first/a-s0/config.yaml").decode()
        assert config == "data:\n  root: ~/\n  raw: ~/x\n"
        assert json.loads(archive.read("first/a-s0/provenance.json")) == {"cache": "~/c/a.h5"}
    read = read_sheet(path)
    assert read.overrides == ("data.root=~/data",)
    assert read.configuration == {"data": {"root": "~/", "names": ["~/a", "b"]}, "epochs": 2}
    assert read.cells[1].overrides == ("data.root=~/data", "seed=1", "roi=original")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/anna", "~/"),
        ("/home/anna/x", "~/x"),
        ('"/home/anna/x y": /home/anna', '"~/x y": ~/'),
        ("a=/home/anna,/home/anna/b", "a=~/,~/b"),
        ("/home/annabel/x", "/home/annabel/x"),
        ("/home/anna-2", "/home/anna-2"),
        ("/home/anna.old", "/home/anna.old"),
        ("/backup/home/anna/x", "/backup/home/anna/x"),
    ],
)
def test_only_the_home_folder_itself_is_hidden(text, expected):
    assert hide_home(text, HOME) == expected
    assert hide_home(text, "/") == text


def test_the_same_sweep_gives_the_same_bytes(sweep, tmp_path):
    one = bundle(sweep, tmp_path / "1.zip").read_bytes()
    for path in sweep.rglob("*"):
        os.utime(path, (1e9, 1e9))
    assert bundle(sweep, tmp_path / "2.zip").read_bytes() == one


def test_links_do_not_lead_out_of_the_sweep(sweep, tmp_path):
    write(tmp_path / "outside" / "secret.json", "hunter2")
    write(tmp_path / "outside" / "done.json", "hunter2")
    metrics = sweep / "a-s0" / "metrics.json"
    metrics.unlink()
    metrics.symlink_to(tmp_path / "outside" / "secret.json")
    (sweep / "audit" / "more.json").symlink_to(tmp_path / "outside" / "secret.json")
    (sweep / "a-s1" / "audit" / "controls.json").unlink()
    (sweep / "a-s1" / "audit").rename(sweep / "a-s1" / "old")
    (sweep / "a-s1" / "audit").symlink_to(tmp_path / "outside")
    (sweep / "results.csv").unlink()
    os.mkfifo(sweep / "results.csv")
    (sweep / "failures.csv").symlink_to(sweep / "a-s0" / "history.csv")
    path = bundle(sweep)
    left = {"a-s0/metrics.json", "a-s1/audit/controls.json", "results.csv"}
    expected = (set(EXPECTED) - {f"first/{name}" for name in left}) | {"first/failures.csv"}
    assert set(names(path)) == expected
    with zipfile.ZipFile(path) as archive:
        assert not any(b"hunter2" in archive.read(name) for name in archive.namelist())


def test_what_cannot_be_bundled_is_one_line(sweep, tmp_path):
    with pytest.raises(UserError, match="no folder of a sweep"):
        bundle(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"\.zip"):
        bundle(sweep, tmp_path / "x.tar")
    for name in ("a-s0", "a-s1"):
        (sweep / name / "done.json").unlink()
    with pytest.raises(UserError, match="no cell is finished"):
        bundle(sweep)
    (sweep / "sweep.yaml").write_text("name: old\ncells: []\n")
    with pytest.raises(UserError, match="format"):
        bundle(sweep)
    assert list(tmp_path.glob("*.zip")) == []


def test_options():
    assert read_options([]) == (None, False)
    assert read_options(["into=a b.zip", "checkpoints=True"]) == (Path("a b.zip"), True)
    for word in ("into=", "checkpoints=yes", "x", "--help"):
        with pytest.raises(UserError, match=word):
            read_options([word])


def test_what_the_sheet_hides_the_settings_hide_too(sweep, tmp_path):
    (sweep / "a-s0" / "config.yaml").write_text("paths:\n  api_key: SECRET123\nseed: 0\n")
    (sweep / "a-s0" / "overrides.yaml").write_text("- +paths.api_key=SECRET123\n- seed=0\n")
    (sweep / "failures.csv").write_text(f"cell,reason\nx,{HOME}/data is not there\n")
    path = bundle(sweep, tmp_path / "out.zip")
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    assert not any(b"SECRET123" in text for text in content.values())
    (name,) = [name for name in content if name.endswith("a-s0/config.yaml")]
    assert yaml.safe_load(content[name]) == {"paths": {"api_key": "***"}, "seed": 0}
    (name,) = [name for name in content if name.endswith("failures.csv")]
    assert b"~/data is not there" in content[name]


def test_a_place_that_cannot_be_written_is_one_line(sweep, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="give another place"):
        bundle(sweep, tmp_path / "file" / "out.zip")
    with pytest.raises(UserError, match="no folder of a sweep"):
        bundle(sweep / "sweep.yaml")
