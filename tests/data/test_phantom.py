from __future__ import annotations

import json
import subprocess
import sys
import time
import zlib
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from hideseek.data import phantom
from hideseek.data.manifest import COLUMNS, read_manifest
from hideseek.data.phantom import CARRIERS, CLASSES, PhantomRecipe, draw, recipe_hash, write
from hideseek.data.preprocess import paper_window
from hideseek.data.splits import check_disjoint
from hideseek.errors import UserError

SMALL = PhantomRecipe(size=96, images=24, seed=5)
INDICES = (1, 5, 8, 60, 247)


def carried_by(name: str, **changes) -> PhantomRecipe:
    return replace(SMALL, carriers=(name,), **changes)


def as_classes(recipe: PhantomRecipe, index: int) -> list[phantom.Phantom]:
    return [draw(recipe, index, label) for label in range(3)]


def box_union(mask: np.ndarray) -> np.ndarray:
    """Each component's bounding box, filled."""
    boxes = np.zeros_like(mask)
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    for left, top, width, height, _ in stats[1:]:
        boxes[top : top + height, left : left + width] = True
    return boxes


def same(a: phantom.Phantom, b: phantom.Phantom) -> bool:
    arrays = ("image", "mask", "truth_mask")
    rest = ("label", "source", "patient_id", "split", "view")
    return all(np.array_equal(getattr(a, n), getattr(b, n)) for n in arrays) and all(
        getattr(a, n) == getattr(b, n) for n in rest
    )


def test_an_image_depends_on_seed_and_index_only() -> None:
    for index in INDICES:
        assert same(draw(SMALL, index), draw(replace(SMALL, images=7), index))
    first = draw(SMALL, 3)
    assert not np.array_equal(first.image, draw(replace(SMALL, seed=6), 3).image)
    assert not np.array_equal(first.image, draw(SMALL, 6).image)


def test_another_process_draws_the_same_pixels() -> None:
    program = (
        "import zlib; from hideseek.data.phantom import PhantomRecipe, draw; "
        "print(zlib.crc32(draw(PhantomRecipe(size=96, seed=5), 4).image.tobytes()))"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert int(said.stdout) == zlib.crc32(draw(SMALL, 4).image.tobytes())


@pytest.mark.parametrize("size", [32, 96, 200, 256])
def test_shapes_types_and_plausible_anatomy(size: int) -> None:
    drawn = draw(replace(SMALL, size=size), 10)
    assert drawn.image.dtype == np.uint8
    assert drawn.image.shape == drawn.mask.shape == drawn.truth_mask.shape == (size, size)
    assert drawn.mask.dtype == drawn.truth_mask.dtype == np.bool_
    assert 0.15 < drawn.truth_mask.mean() < 0.40
    spine = drawn.image[size // 3 : size // 2, size // 2 - 2 : size // 2 + 2].mean()
    lungs = draw(replace(SMALL, size=size), 9)
    assert spine > lungs.image[lungs.truth_mask].mean() + 40


def test_two_lungs_inside_their_limits_for_every_patient() -> None:
    recipe = replace(SMALL, size=64)
    for index in range(100):
        for carrier in ("none", "lung_size"):
            lungs = draw(replace(recipe, carriers=(carrier,)), index, 2).truth_mask
            count, _, stats, _ = cv2.connectedComponentsWithStats(lungs.astype(np.uint8))
            assert count == 3, "background and two lungs"
            assert stats[1:, cv2.CC_STAT_AREA].min() > 0.03 * 64 * 64
            rows, columns = np.flatnonzero(lungs.any(1)), np.flatnonzero(lungs.any(0))
            assert rows[0] > 0.09 * 64
            assert rows[-1] < 0.89 * 64
            assert columns[0] > 0.09 * 64
            assert columns[-1] < 0.91 * 64


@cache
def rows_of(count: int) -> pl.DataFrame:
    drawn = [draw(replace(SMALL, size=32, carriers=("none",)), index) for index in range(count)]
    names = ("label", "source", "patient_id", "split", "view")
    return pl.DataFrame([{name: getattr(item, name) for name in names} for item in drawn])


def test_patients_have_one_or_two_images_of_one_class_source_and_split() -> None:
    rows = rows_of(360)
    check_disjoint(rows)
    per_patient = rows.group_by("patient_id").agg(
        pl.len(), pl.col("label").n_unique(), pl.col("source").n_unique().alias("sources")
    )
    assert set(per_patient["len"]) == {1, 2}
    assert per_patient["label"].max() == per_patient["sources"].max() == 1


@pytest.mark.parametrize("count", [9, 100, 301, 360])
def test_classes_are_balanced_and_every_split_is_there(count: int) -> None:
    rows = rows_of(360).head(count)
    labels = Counter(rows["label"])
    assert max(labels.values()) - min(labels.values()) <= 1
    assert set(rows["split"]) == {"train", "val", "test"}


def test_split_shares() -> None:
    counts = Counter(zip(rows_of(360)["split"], rows_of(360)["label"], strict=True))
    for split, share in (("train", 0.60), ("val", 0.15), ("test", 0.25)):
        assert [counts[split, label] for label in range(3)] == [120 * share] * 3


def test_source_and_view_tell_nothing_of_the_class_unless_confounded() -> None:
    # Chi-squared of 3 x 3 and 3 x 2 tables: the .999 quantiles are 18.5 and 13.8.
    for column, limit in (("source", 18.5), ("view", 13.8)):
        table = rows_of(360).group_by("label", column).len().pivot(column, index="label")
        observed = table.drop("label").to_numpy().astype(float)
        expected = observed.sum(1, keepdims=True) * observed.sum(0) / observed.sum()
        assert observed.shape[0] == 3
        assert ((observed - expected) ** 2 / expected).sum() < limit
    tied = replace(SMALL, size=32, source_confounding=1.0)
    assert [draw(tied, i).source for i in range(6)] == ["device0", "device1", "device2"] * 2
    half = replace(tied, source_confounding=0.5)
    agree = np.mean([draw(half, i).source == f"device{i % 3}" for i in range(300)])
    assert 0.55 < agree < 0.78  # 1/2 + 1/2 * 1/3, give or take 4 standard errors


@pytest.mark.parametrize("carrier", CARRIERS)
def test_strength_zero_is_identical_whatever_the_class(carrier: str) -> None:
    for index in INDICES:
        a, b, c = as_classes(carried_by(carrier, strength=0.0), index)
        for other in (b, c):
            assert np.array_equal(a.image, other.image)
            assert np.array_equal(a.mask, other.mask)
            assert np.array_equal(a.truth_mask, other.truth_mask)
        assert (a.label, b.label, c.label) == (0, 1, 2)


def test_none_is_identical_whatever_the_class_at_any_strength() -> None:
    a, b, c = as_classes(carried_by("none"), 4)
    assert np.array_equal(a.image, b.image)
    assert np.array_equal(a.image, c.image)
    assert np.array_equal(a.mask, a.truth_mask)


@pytest.mark.parametrize("carrier", [name for name in CARRIERS if name != "none"])
def test_the_signal_grows_with_strength(carrier: str) -> None:
    def effect(strength: float) -> float:
        total = 0.0
        for index in range(12):
            a, _, c = as_classes(carried_by(carrier, strength=strength), index)
            total += np.abs(a.image.astype(float) - c.image).mean()
            total += 10.0 * (a.mask != c.mask).mean()
        return total

    weak, middle, clear = effect(0.25), effect(0.5), effect(1.0)
    assert 0 < weak < middle < clear


def test_opacity_changes_only_lungs() -> None:
    for index in INDICES:
        normal, *diseased = as_classes(carried_by("opacity"), index)
        for ill in diseased:
            changed = normal.image != ill.image
            assert not changed[~normal.truth_mask].any()
            assert np.array_equal(ill.mask, normal.mask)
            assert changed.sum() > 0.1 * normal.mask.sum()
            darkest = (ill.image.astype(int) - normal.image)[changed].min()
            assert darkest >= -3


def test_pneumonia_is_in_one_lung_and_covid19_at_the_edges_of_both() -> None:
    for index in range(12):
        normal, pneumonia, covid = as_classes(carried_by("opacity"), index)
        half = SMALL.size // 2
        amounts = []
        for ill in (pneumonia, covid):
            more = ill.image.astype(float) - normal.image
            amounts.append((more[:, :half].sum(), more[:, half:].sum()))
        assert min(amounts[0]) == 0 < max(amounts[0])
        assert min(amounts[1]) > 0.3 * max(amounts[1])
        columns = np.flatnonzero(normal.truth_mask.any(0))
        left, right = columns[0], columns[-1]
        more = (covid.image.astype(float) - normal.image).sum(0)
        outwards = np.abs(np.arange(SMALL.size) - (left + right) / 2) / ((right - left) / 2)
        assert (more * outwards).sum() / more.sum() > 0.62


def test_marker_is_outside_the_lung_boxes_and_survives_the_crop() -> None:
    window = paper_window(256, 256)
    for index in range(12):
        drawn = as_classes(carried_by("marker", size=256), index)
        for a, b in ((0, 1), (0, 2), (1, 2)):
            changed = drawn[a].image != drawn[b].image
            assert changed.sum() > 200
            assert not changed[box_union(drawn[a].truth_mask)].any()
            rows, columns = np.nonzero(changed)
            assert rows.min() >= window.top
            assert rows.max() < window.top + window.side
            assert columns.min() >= window.left
            assert columns.max() < window.left + window.side
        assert np.array_equal(drawn[0].mask, drawn[2].mask)


def test_marker_lies_below_every_patients_lungs() -> None:
    recipe = carried_by("marker", size=128)
    tops, floors = [], []
    for index in range(40):
        a, b, _ = as_classes(recipe, index)
        tops.append(np.nonzero(a.image != b.image)[0].min())
        floors.append(np.nonzero(a.truth_mask)[0].max())
    assert max(floors) < min(tops)


def test_marker_follows_the_class_with_probability_strength() -> None:
    recipe = carried_by("marker", strength=0.5, size=32)
    differs = [
        not np.array_equal(draw(recipe, i, 0).image, draw(recipe, i, 1).image) for i in range(200)
    ]
    assert 0.38 < np.mean(differs) < 0.62


def test_gain_changes_the_image_everywhere_but_no_mask() -> None:
    for index in INDICES:
        drawn = as_classes(carried_by("gain"), index)
        body = drawn[0].image > 25
        for a, b in ((0, 1), (0, 2), (1, 2)):
            changed = drawn[a].image != drawn[b].image
            assert changed[body & drawn[a].mask].mean() > 0.9
            assert changed[body & ~drawn[a].mask].mean() > 0.9
            assert np.array_equal(drawn[a].mask, drawn[b].mask)


def test_lung_size_changes_the_area_and_little_outside() -> None:
    for index in INDICES:
        drawn = as_classes(carried_by("lung_size"), index)
        areas = [item.mask.sum() for item in drawn]
        assert areas[0] > 1.08 * areas[1] > 1.08**2 * areas[2]
        assert not (drawn[2].mask & ~drawn[0].mask).any()
        far = cv2.dilate(drawn[0].mask.astype(np.uint8), np.ones((5, 5))) == 0
        assert np.array_equal(drawn[0].image[far], drawn[2].image[far])


def test_heart_changes_only_what_is_outside_the_lungs() -> None:
    for index in INDICES:
        drawn = as_classes(carried_by("heart"), index)
        for a, b in ((0, 1), (0, 2), (1, 2)):
            changed = drawn[a].image != drawn[b].image
            assert changed.sum() > 100
            assert not changed[drawn[a].truth_mask].any()
            assert np.array_equal(drawn[a].mask, drawn[b].mask)
        # The patient's left is on the right of the image, and most of the heart lies there.
        more = drawn[2].image.astype(float) - drawn[0].image
        assert more[:, SMALL.size // 2 :].sum() > more[:, : SMALL.size // 2].sum()


def test_mask_error_removes_the_disease_from_the_mask_alone() -> None:
    for index in range(12):
        normal, *diseased = as_classes(carried_by("mask_error"), index)
        assert np.array_equal(normal.mask, normal.truth_mask)
        for label, ill in enumerate(diseased, start=1):
            assert np.array_equal(ill.truth_mask, normal.truth_mask)
            missed = ill.truth_mask & ~ill.mask
            assert not (ill.mask & ~ill.truth_mask).any()
            assert 0.05 < missed.sum() / ill.truth_mask.sum() < 0.75
            more = ill.image.astype(float) - normal.image
            assert more[missed].mean() > 4 * max(more[ill.mask].mean(), 1.0)
            assert np.array_equal(ill.image, draw(carried_by("opacity"), index, label).image)


def test_carriers_combine() -> None:
    both = replace(SMALL, carriers=("opacity", "marker"))
    changed = draw(both, 0, 0).image != draw(both, 0, 1).image
    lungs = draw(both, 0).truth_mask
    assert changed[lungs].any()
    assert changed[int(0.88 * SMALL.size) :].any()


def test_write_makes_a_folder_that_the_manifest_reader_accepts(tmp_path: Path) -> None:
    recipe = carried_by("mask_error", images=12)
    told: list[int] = []
    manifest = write(recipe, tmp_path / "new" / "set", told.append)
    assert manifest == tmp_path / "new" / "set" / "manifest.csv"
    assert sum(told) == 12
    table = read_manifest(manifest, "classify", CLASSES).rows
    assert table.columns == list(COLUMNS)
    for index, row in enumerate(table.iter_rows(named=True)):
        drawn = draw(recipe, index)
        image = cv2.imread(str(manifest.parent / row["path"]), cv2.IMREAD_UNCHANGED)
        mask = cv2.imread(str(manifest.parent / row["mask"]), cv2.IMREAD_UNCHANGED)
        assert row["path"] == f"images/{row['image_id']}.png"
        assert np.array_equal(image, drawn.image)
        assert np.array_equal(mask, np.where(drawn.mask, 255, 0))
        expected = (CLASSES[drawn.label], drawn.source, drawn.patient_id, drawn.split, drawn.view)
        assert tuple(row[name] for name in COLUMNS[2:7]) == expected
    assert [path.name for path in manifest.parent.parent.iterdir()] == ["set"]


def test_write_twice_draws_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(SMALL, images=3, size=32)
    first = write(recipe, tmp_path / "set")
    content = first.read_bytes()

    def forbidden(*_: object) -> None:
        raise AssertionError("drawn again")

    monkeypatch.setattr(phantom, "draw", forbidden)
    told: list[int] = []
    assert write(recipe, tmp_path / "set", told.append) == first
    assert told == [3]
    assert first.read_bytes() == content


def test_write_refuses_a_folder_with_something_else(tmp_path: Path) -> None:
    write(replace(SMALL, images=3, size=32), tmp_path / "set")
    with pytest.raises(UserError, match="something else"):
        write(replace(SMALL, images=3, size=32, seed=9), tmp_path / "set")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("do not lose")
    with pytest.raises(UserError, match="mine holds something else"):
        write(SMALL, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "do not lose"
    (tmp_path / "empty").mkdir()
    assert write(replace(SMALL, images=3, size=32), tmp_path / "empty").is_file()


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(SMALL, tmp_path / "set", interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_write_leaves_no_complete_folder(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from hideseek.data.phantom import *\n"
        "recipe = PhantomRecipe(size=32, images=10**6)\n"
        "write(recipe, Path(sys.argv[1]), lambda n: print(n, flush=True))"
    )
    folder = tmp_path / "set"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        writer.kill()
    assert not folder.exists()
    assert write(replace(SMALL, images=3, size=32), folder).is_file()


def test_a_folder_finished_by_another_process_meanwhile_is_taken(tmp_path: Path) -> None:
    recipe, folder = replace(SMALL, images=3, size=32), tmp_path / "set"

    def overtake(_: int) -> None:
        if not folder.exists():
            other = write(recipe, tmp_path / "other").parent
            other.rename(folder)

    assert write(recipe, folder, overtake).is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_recipe_hash() -> None:
    assert recipe_hash(SMALL) == recipe_hash(PhantomRecipe(("opacity",), 1.0, 96, 24, seed=5))
    changes = [
        *({"carriers": ("gain",)}, {"strength": 0.5}, {"size": 97}, {"images": 25}),
        *({"sources": 2}, {"source_confounding": 0.1}, {"seed": 6}),
    ]
    hashes = {recipe_hash(SMALL), *(recipe_hash(replace(SMALL, **change)) for change in changes)}
    assert len(hashes) == 8
    assert all(len(name) == 12 and int(name, 16) >= 0 for name in hashes)


def test_recipe_takes_any_sequence_of_carriers() -> None:
    listed = PhantomRecipe(carriers=["gain", "heart"])  # type: ignore[arg-type]
    assert listed.carriers == ("gain", "heart")
    assert recipe_hash(listed) == recipe_hash(PhantomRecipe(("gain", "heart")))
    json.dumps(listed.carriers)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"carriers": ("opacity", "colour")}, "'colour'; choose from opacity, marker"),
        ({"carriers": ()}, "an empty list"),
        ({"strength": 1.5}, "strength=1.5"),
        ({"source_confounding": -0.1}, "source_confounding=-0.1"),
        ({"size": 16}, "size=16 is below 32"),
        ({"images": 0}, "images=0"),
        ({"sources": 0}, "sources=0"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_wrong_recipes_say_what_is_wrong(change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(SMALL, **change)


@settings(max_examples=25, deadline=None)
@given(
    carriers=st.sets(st.sampled_from(CARRIERS), min_size=1).map(tuple),
    strength=st.floats(0, 1),
    size=st.integers(32, 100),
    index=st.integers(0, 10**6),
    seed=st.integers(0, 2**32),
)
def test_any_recipe_draws_a_usable_image(
    carriers: tuple[str, ...], strength: float, size: int, index: int, seed: int
) -> None:
    recipe = PhantomRecipe(carriers, strength, size, seed=seed)
    drawn = draw(recipe, index)
    assert drawn.label == index % 3
    assert drawn.image.std() > 20
    assert drawn.mask.any()
    assert not (drawn.mask & ~drawn.truth_mask).any()


def lung_accuracy(carrier: str, images: int = 300) -> float:
    """PCA + SVM on the lungs at 32 x 32, trained on train and val, scored on test."""
    drawn = [draw(carried_by(carrier, size=64), index) for index in range(images)]
    inputs = [
        cv2.resize(item.image * item.mask, (32, 32), interpolation=cv2.INTER_AREA).ravel() / 255
        for item in drawn
    ]
    x, y = np.array(inputs), np.array([item.label for item in drawn])
    test = np.array([item.split == "test" for item in drawn])
    model = make_pipeline(PCA(40, random_state=0), SVC(C=10.0))
    return float(model.fit(x[~test], y[~test]).score(x[test], y[test]))


def test_opacity_can_be_learnt_from_the_lungs_and_none_cannot() -> None:
    assert lung_accuracy("opacity") > 0.70
    # 75 test images at chance: 1/3 plus 3.5 standard errors.
    assert lung_accuracy("none") < 0.53


@pytest.mark.slow
def test_speed() -> None:
    recipe = PhantomRecipe()
    draw(recipe, 0)
    start = time.process_time()
    for index in range(30):
        draw(recipe, index)
    assert (time.process_time() - start) / 30 < 0.030  # 11 ms measured; room for slow machines
