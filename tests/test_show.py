from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import assume, given
from hypothesis import strategies as st

from hideseek.config import config_folder, register
from hideseek.data.cache import Cache, Entry, write_cache
from hideseek.errors import UserError
from hideseek.roi import PAPER, REPRESENTATIONS
from hideseek.show import chosen, description, images, overrides, show


def composed(words):
    register()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return compose("show", overrides(words))


@pytest.fixture
def cache(small_cache) -> Cache:
    return Cache(small_cache())


@pytest.fixture
def blind(cache, tmp_path) -> Cache:
    """The same images, img000 and all of covid19 without a mask."""
    path = tmp_path / "blind.h5"
    recipe = dataclasses.replace(cache.recipe, name="blind")
    entries = []
    for row, text in enumerate(cache.table.iter_rows(named=True)):
        image, mask = cache[row]
        without = row == 0 or text["label"] == "covid19"
        entries.append(Entry(image, np.zeros_like(mask) if without else mask, text))
    write_cache(path, recipe, entries, len(entries))
    return Cache(path)


def test_the_first_word_says_what_is_shown():
    assert overrides(["roi", "seed=1"]) == ["what='roi'", "seed=1"]
    assert overrides(["seed=1", "data=raw"]) == ["seed=1", "data=raw"]
    assert overrides(["--help"]) == ["--help"]
    assert overrides([]) == []
    assert composed(["roi"]).what == "roi"


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))
def test_any_name_can_be_typed_as_it_is(name):
    assume(len(name) == 1 or name[0] + name[-1] not in ("''", '""', "[]"))
    (word,) = overrides([f"image={name}"])
    value = OverridesParser.create().parse_override(word).value()
    if name == "null":
        assert value is None
    else:
        assert value == name


@pytest.mark.parametrize(
    "name", ["a (1).png", '"', "[a", "it's.png", r"C:\x\'y\\", "a,b=c", "${x}"]
)
def test_odd_names_reach_hydra_whole(name):
    (word,) = overrides([f"image={name}"])
    assert OverridesParser.create().parse_override(word).value() == name
    assert overrides([f"image='{'a'}'"]) == ["image='a'"]


def test_representations_are_all_the_papers_or_named():
    assert chosen(composed([])) == tuple(REPRESENTATIONS)
    assert chosen(composed(["representations=paper"])) == PAPER
    named = ["representations=[silhouette,original,silhouette]"]
    assert chosen(composed(named)) == ("silhouette", "original")
    assert chosen(composed(["representations=silhouette"])) == ("silhouette",)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["heatmap"], "'heatmap' cannot be shown; known is roi"),
        (["representations=lungs"], "representations=lungs: known are all, paper, original"),
        (["representations=[]"], "representations="),
        (["roi.fill=grey"], "roi.fill=grey: choose one of black"),
        (["out=panel"], "out=panel: give a file name that ends in .png"),
        (["out=panel.doc"], "ends in .png"),
        (["data=manifest", "data.cache=none.h5"], "none.h5 does not exist"),
        (["data=manifest"], "data.manifest is not set"),
    ],
)
def test_mistakes_are_one_line_and_draw_nothing(words, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        show(composed(words))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_an_image_by_name(cache):
    assert images(cache, "img007", None) == [7]
    assert images(cache, "img007", cache.table["label"][7]) == [7]


def test_without_a_name_one_of_each_class(cache):
    rows = images(cache, None, None)
    assert cache.table["label"].gather(rows).to_list() == list(cache.recipe.classes)
    assert set(cache.table["split"].gather(rows)) == {"test"}
    assert images(cache, None, "pneumonia") == [rows[1]]


@pytest.mark.parametrize(
    ("image", "label", "says"),
    [
        ("img07", None, "not among the 36 in .* close to it: img0"),
        ("mg007", None, "close to it: img007$"),
        ("xyz", None, "see its .manifest.csv"),
        (None, "covid", "class=covid: no such class in .* known are normal, pneumonia, covid19"),
        ("img000", "covid19", "image=img000 is of the class normal; leave out class=covid19"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(image, label, says, cache):
    with pytest.raises(UserError, match=says):
        images(cache, image, label)


def test_an_image_without_lungs_is_not_shown(blind):
    with pytest.raises(UserError, match="image=img000: its lung mask is empty"):
        images(blind, "img000", None)
    with pytest.raises(UserError, match="class=covid19: no image of it has a lung mask"):
        images(blind, None, "covid19")
    rows = images(blind, None, None)
    assert blind.table["label"].gather(rows).to_list() == ["normal", "pneumonia"]
    assert "img000" not in blind.table["image_id"].gather(rows).to_list()


def test_images_of_a_segmenter_have_no_class(cache, tmp_path):
    path = tmp_path / "lungs.h5"
    recipe = dataclasses.replace(cache.recipe, classes=(), task="segment")
    rows = [(cache[row], text) for row, text in enumerate(cache.table.iter_rows(named=True))]
    entries = [Entry(*pair, {**text, "label": ""}) for pair, text in rows]
    write_cache(path, recipe, entries, len(entries))
    (row,) = images(Cache(path), None, None)
    assert cache.table["split"][row] == "test"
    with pytest.raises(UserError, match="known are none"):
        images(Cache(path), None, "normal")


def test_a_description_says_what_is_known(cache):
    share = cache[7][1].mean()
    text = cache.table.row(7, named=True)
    assert description(cache, 7) == (
        f"img007: {text['label']}, {text['source']}, {text['split']}, PA, "
        f"patient {text['patient_id']}, lungs {share:.0%} of the square given"
    )


def test_a_picture_of_a_class_as_typed(cache, tmp_path):
    """One process, the verb's word, settings and names as a user types them."""
    words = ["roi", "data=manifest", f"data.cache={cache.path}", "class=covid19"]
    words += ["image_size=48", "roi.fill=noise", "roi.margin=10", "out=new folder/a (1).png"]
    done = subprocess.run(
        [sys.executable, "-m", "hideseek", "show", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "new folder/a (1).png").read_bytes().startswith(b"\x89PNG")
    first, last = done.stdout.splitlines()
    assert ": covid19, " in first
    assert last == f"picture: {Path('new folder/a (1).png')}"


def test_settings_reach_the_picture(cache, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(
        "hideseek.report.figures.image_panel", lambda *arguments: given.append(arguments)
    )
    words = ["data=manifest", f"data.cache={cache.path}", "image=img007", f"out={tmp_path}/a.svg"]
    show(composed([*words, "roi.fill=blur", "roi.margin=-5", "seed=3", "representations=paper"]))
    ((used, *rest),) = given
    assert used.path == cache.path
    assert rest == [[7], tmp_path / "a.svg", PAPER, "blur", -5, 3]
