from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hideseek.report.cell_files import (
    LARGEST,
    file_name,
    read_cell,
    representation_name,
    shown,
    without_places,
)
from tests.report.finished_cells import TOKEN, write_finished


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/home/jane doe/x y/cache.h5: no such cache", "x y/cache.h5: no such cache"),
        ("/mnt/data/cache.h5, sorry", "cache.h5, sorry"),
        ("~/w/a.ckpt", "a.ckpt"),
        ("~jane/w/a.ckpt", "a.ckpt"),
        (r"C:\Users\jane doe\w.pt", "w.pt"),
        ("../../etc/passwd", "passwd"),
        ("data.root=/srv/jane/x", "data.root=x"),
        ("https://jane:pw@host/x", "https:x"),
        ("val/accuracy and/or 1/2", "val/accuracy and/or 1/2"),
        ("cache/x.h5", "cache/x.h5"),
        ("<b>x</b></script>", "<b>x</b></script>"),
    ],
)
def test_paths_lose_their_places(text, left):
    assert without_places(text) == left


@given(st.text(st.sampled_from("ab /\\~.:'"), max_size=30))
def test_no_root_survives(text):
    assert not without_places(f"/home/jane/{text}").startswith("/home")


def test_values_are_a_short_line():
    assert shown(True) == "yes" and shown(None) == "none"
    assert shown(1e-4) == "0.0001" and shown([1.0, 4.0]) == "1, 4"
    assert shown("a\nb\x00c") == "a b c"
    assert len(shown("x" * 1000)) == 300 and len(shown("x" * 1000, 500)) == 500


def test_settings_come_without_secrets(tmp_path):
    cell = read_cell(write_finished(tmp_path))
    assert cell.setting("model.net.weights") == "imagenet"
    assert cell.setting("model.net.weights.deeper") is None and cell.setting("none") is None
    assert TOKEN not in str(cell.settings) and cell.problems == ()
    assert (cell.model, cell.representation, cell.seed) == ("resnet50", "original", 0)


@pytest.mark.parametrize(
    "content",
    ["- 1", "a: !!python/name:os.system", "a: &x 1\nb: *x", "a: [", "x" * (LARGEST + 1), "\x00"],
)
def test_odd_settings_are_a_problem_and_no_error(tmp_path, content):
    folder = write_finished(tmp_path)
    (folder / "config.yaml").write_text(content)
    cell = read_cell(folder)
    assert cell.settings == {} and len(cell.problems) == 1
    assert "config.yaml" in cell.problems[0] and str(tmp_path) not in cell.problems[0]


def test_representations_are_named_as_in_the_audit():
    named = {"roi": "lungs_removed", "fill": "mean", "margin": 10.0}
    assert representation_name(named) == "lungs_removed mean margin 10"
    assert representation_name({"roi": "original", "fill": None, "margin": "odd"}) == "original"


def test_names_of_files_are_safe():
    assert file_name("maps", 3, "../../<script>") == "maps_3_script"
    assert file_name("maps", 3, "//") == "maps_3"
