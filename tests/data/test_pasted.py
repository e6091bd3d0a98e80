from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hideseek.data import pasted
from hideseek.data.cache import Cache
from hideseek.data.deal import PLACES, deal
from hideseek.data.manifest import COLUMNS, read_manifest
from hideseek.data.paste import framed_window
from hideseek.data.pasted import PastedSource, PasteRecipe, backgrounds, recipe_hash
from hideseek.data.phantom import CLASSES
from hideseek.data.preprocess import to_square
from hideseek.data.source import ManifestSource
from hideseek.data.splits import check_disjoint
from hideseek.errors import UserError
from tests.conftest import draw_radiograph

SOURCES = {"north": 21, "south": 15, "west": 9}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """45 patients of three sources; every fifth has two images. Their labels tell the source."""
    root = tmp_path_factory.mktemp("films")
    rows = []

    def add(source: str, patient: str, mask: str | None, image: str = "") -> None:
        number = len(rows)
        name = f"{number:03d}.png"
        pixels, lungs = draw_radiograph(90 + number % 20, 80 + number % 13, number)
        if mask == "one lung":
            lungs[:, : lungs.shape[1] // 2] = False
        cv2.imwrite(str(root / name), pixels)
        cv2.imwrite(str(root / f"m{name}"), lungs * np.uint8(255))
        if image:
            (root / name).write_text(image)
        given_mask = "" if mask is None else f"m{name}"
        label = {"north": "tuberculosis", "south": "covid19"}.get(source, "normal")
        rows.append((name, label, source, patient, "PA", given_mask))

    for source, count in SOURCES.items():
        for number in range(count):
            for _ in range(1 + (number % 5 == 0)):
                add(source, f"{source}_{number}", "two lungs")
    add("west", "north_0", "two lungs")
    add("north", "no_mask", None)
    add("north", "one_lung", "one lung")
    add("north", "damaged", "two lungs", "no image")
    add("east", "only_without_mask", None)
    names = ["image", "label", "source", "patient_id", "view", "mask"]
    pl.DataFrame(rows, schema=names, orient="row").write_csv(root / "manifest.csv")
    return root / "manifest.csv"


def reader(folder: Path) -> ManifestSource:
    return ManifestSource(
        name="pasted", manifest=None, root=None, splits=None, cache=None, task="classify",
        classes=CLASSES, size=48, preprocess="letterbox", windowing="minmax",
        segmenter="packaged", split_seed=0, folds=None, fold=0, duplicates=0.985, strict=False,
        folder=str(folder), build=True, inspect=False,
    )  # fmt: skip


def written(films: Path, folder: Path, **changes) -> tuple[Path, pl.DataFrame]:
    recipe = replace(PasteRecipe(str(films), size=48), **changes)
    manifest = pasted.write(recipe, backgrounds(recipe), folder)
    return folder, pl.read_csv(manifest)


def pixels_of(folder: Path, table: pl.DataFrame, column: str = "path") -> list[np.ndarray]:
    return [cv2.imread(str(folder / name), cv2.IMREAD_UNCHANGED) for name in table[column]]


patients = st.dictionaries(
    st.integers(0, 300).map(str), st.tuples(st.sampled_from("abc"), st.integers(1, 4)), min_size=1
)


@settings(deadline=None)
@given(patients, st.integers(0, 2**32))
def test_classes_are_dealt_alike_in_every_source(counts, seed):
    rows = [(source, patient, images) for patient, (source, images) in counts.items()]
    dealt = deal(rows, np.random.default_rng(seed))
    assert dealt.keys() == counts.keys()
    for source in {source for source, _ in counts.values()}:
        labels = Counter(dealt[name].label for name in counts if counts[name][0] == source)
        assert max(labels.values()) - min(labels[label] for label in range(3)) <= 2
    assert deal(rows[::-1], np.random.default_rng(seed)) == dealt


def test_splits_have_their_shares_and_every_class():
    assert Counter(PLACES) == {"train": 12, "val": 3, "test": 5}
    dealt = deal([("a", str(n), 1) for n in range(120)], np.random.default_rng(0))
    counts = Counter((each.split, each.label) for each in dealt.values())
    for split, count in (("train", 24), ("val", 6), ("test", 10)):
        assert [counts[split, label] for label in range(3)] == [count] * 3
    for seed in range(20):
        few = deal([("a", str(n), 1) for n in range(30)], np.random.default_rng(seed))
        assert len({(each.split, each.label) for each in few.values()}) == 9


def test_a_patients_class_is_a_matter_of_chance():
    rows = [("a", str(n), 1) for n in range(6)]
    labels = [deal(rows, np.random.default_rng(seed))["0"].label for seed in range(600)]
    # 200 each, give or take four standard deviations of 11.5
    assert all(154 < count < 246 for count in Counter(labels).values())


def test_own_labels_are_thrown_away_and_new_ones_are_balanced(films, tmp_path):
    folder, table = written(films, tmp_path / "set")
    assert table.columns == [*COLUMNS, "background_path"]
    assert read_manifest(folder / "manifest.csv", "classify", CLASSES).rows.height == 56
    check_disjoint(table)
    people = table.unique("patient_id", keep="first", maintain_order=True)
    assert people.height == 45
    assert set(table.filter(pl.col("patient_id") == "north_0")["source"]) == {"north", "west"}
    assert not {"no_mask", "one_lung", "damaged"} & set(people["patient_id"])
    assert table.group_by("patient_id").agg(pl.col("label").n_unique())["label"].max() == 1
    for source, count in SOURCES.items():
        labels = Counter(people.filter(pl.col("source") == source)["label"])
        assert [labels[name] for name in CLASSES] == [count / 3] * 3
    assert set(table["split"]) == {"train", "val", "test"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]


def test_at_strength_0_the_films_are_as_they_were(films, tmp_path):
    folder, table = written(films, tmp_path / "a", strength=0.0, carrier="opacity")
    masks = pixels_of(folder, table, "mask")
    for image, mask, name in zip(
        pixels_of(folder, table), masks, table["background_path"], strict=True
    ):
        film = cv2.imread(str(films.parent / name), cv2.IMREAD_UNCHANGED)
        lungs = cv2.imread(str(films.parent / f"m{name}"), cv2.IMREAD_UNCHANGED) > 0
        assert np.array_equal(image, to_square(film, framed_window(lungs), 48))
        assert set(np.unique(mask)) == {0, 255}
    other, again = written(films, tmp_path / "b", strength=0.0, carrier="marker")
    assert again.equals(table)
    for one, two in zip(pixels_of(folder, table), pixels_of(other, again), strict=True):
        assert np.array_equal(one, two)


def test_another_seed_deals_other_classes_and_fewer_images_are_whole_patients(films, tmp_path):
    _, first = written(films, tmp_path / "a", strength=0.0)
    _, second = written(films, tmp_path / "b", strength=0.0, seed=1)
    assert first["label"].to_list() != second["label"].to_list()
    _, few = written(films, tmp_path / "c", images=40)
    assert 38 <= few.height <= 40
    whole = first.group_by("patient_id").len().rows()
    assert set(few.group_by("patient_id").len().rows()) <= set(whole)
    _, others = written(films, tmp_path / "d", images=40, seed=1)
    assert set(few["background_path"]) != set(others["background_path"])


def test_the_cache_holds_what_was_written(films, tmp_path):
    recipe = PasteRecipe(str(films), size=48, carrier="opacity")
    source = PastedSource(recipe, reader(tmp_path))
    cache = Cache(source.ready(48))
    assert cache.recipe.name == f"pasted-{recipe_hash(recipe, backgrounds(recipe))}"
    folder = tmp_path / cache.recipe.name
    table = pl.read_csv(folder / "manifest.csv")
    assert cache.table["label"].to_list() == table["label"].to_list()
    images, masks = pixels_of(folder, table), pixels_of(folder, table, "mask")
    for number, (image, mask) in enumerate(zip(images, masks, strict=True)):
        kept, lungs = cache[number]
        assert np.array_equal(kept, image)
        assert np.array_equal(lungs, mask > 0)
    assert source.list_files().manifest == str(folder / "manifest.csv")


def test_what_is_written_is_not_written_again(films, tmp_path, monkeypatch):
    source = PastedSource(PasteRecipe(str(films), size=48), reader(tmp_path))
    cache = source.ready(48)

    def forbidden(*_: object) -> None:
        raise AssertionError("pasted again")

    monkeypatch.setattr(pasted, "write", forbidden)
    assert source.ready(48) == cache
    assert source.prepare().cache == cache


def test_the_name_is_of_settings_and_content_not_of_the_place(films, tmp_path):
    def name(manifest: Path, **changes) -> str:
        recipe = replace(PasteRecipe(str(manifest)), **changes)
        return recipe_hash(recipe, backgrounds(recipe))

    copy = Path(shutil.copytree(films.parent, tmp_path / "copy")) / films.name
    first = name(films)
    assert name(copy) == first
    changes = {"carrier": "gain", "strength": 0.5, "size": 96, "images": 60, "seed": 1}
    names = {name(films, **{key: value}) for key, value in changes.items()}
    names |= {name(films, source="north")}
    table = pl.read_csv(copy)
    table.head(50).write_csv(copy)
    names |= {name(copy)}
    table.write_csv(copy)
    (copy.parent / "000.png").write_bytes(b"replaced")
    names |= {name(copy)}
    assert len(names) == 8
    assert first not in names


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"manifest": None}, r"data.pasted.manifest is not set"),
        ({"source": "east"}, r"no row of source 'east' has a mask; .* are north, south, west"),
        ({"source": "west"}, r"10 patients have a radiograph with two lungs, too few"),
        ({"carrier": "heart"}, r"pasted.carrier='heart' is unknown; choose from opacity"),
        ({"strength": 2}, r"pasted.strength=2 is not within 0 .. 1"),
        ({"size": 16}, r"pasted.size=16 is below 32"),
        ({"images": 3}, r"pasted.images=3 is below 30"),
        ({"manifest": "absent.csv"}, r"absent.csv: no such file"),
    ],
)
def test_mistakes_are_told_in_a_line(changes, says, films, tmp_path):
    with pytest.raises(UserError, match=says):
        written(films, tmp_path / "set", **changes)
    assert not list(tmp_path.iterdir())


def test_real_radiographs(pack, tmp_path):
    given_ = {"size": 64, "images": 60, "source": "montgomery", "carrier": "marker"}
    folder, table = written(pack / "manifest.csv", tmp_path / "set", **given_)
    assert table.height == 60
    assert set(table["source"]) == {"montgomery"}
    assert all(count == 20 for count in Counter(table["label"]).values())
    plain, same = written(pack / "manifest.csv", tmp_path / "plain", **given_, strength=0.0)
    assert same.equals(table)
    rows = zip(
        pixels_of(folder, table), pixels_of(plain, same), pixels_of(folder, table, "mask"),
        strict=True,
    )  # fmt: skip
    for marked, image, mask in rows:
        changed = marked != image
        assert changed.any()
        assert not (changed & (mask > 0)).any()
        assert np.flatnonzero(changed.any(1))[0] > np.flatnonzero(mask.any(1))[-1]
