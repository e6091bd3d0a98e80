from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from hideseek.data.build import BuildReport, build_cache
from hideseek.data.cache import Cache, CacheRecipe
from hideseek.data.images import read_mask, read_radiograph
from hideseek.data.lungs import FoundLungs
from hideseek.data.manifest import read_manifest
from hideseek.data.preprocess import WINDOWS, mask_to_square, to_square
from hideseek.data.problems import Problem
from hideseek.errors import UserError

CLASSES = ("normal", "pneumonia", "covid19")
Folder = Callable[..., Path]


class Thresholder:
    """Stands in for `LungSegmenter`: dark is lung."""

    def __init__(self) -> None:
        self.loads = 0
        self.seen: list[npt.NDArray[np.uint8]] = []

    def load(self) -> Thresholder:
        self.loads += 1
        return self

    def find(self, images: Sequence[npt.NDArray[np.uint8]]) -> list[FoundLungs]:
        self.seen += images
        return [FoundLungs(image < 105, 0.02) for image in images]


def built(
    root: Path, task: str = "classify", preprocess: str = "paper", segmenter: object = None
) -> tuple[Cache, BuildReport]:
    table = read_manifest(root / "manifest.csv", task, CLASSES).rows
    recipe = CacheRecipe("toy", task, 32, preprocess, CLASSES, "m", "s")
    load = segmenter or _not_needed
    report = build_cache(table, root, recipe, root / "a.h5", load)
    return Cache(root / "a.h5"), report


def _not_needed() -> None:
    raise AssertionError("every row has a mask, yet the segmenter was loaded")


def ids(cache: Cache) -> list[str]:
    return cache.table.get_column("image_id").to_list()


def only_problem(report: BuildReport) -> Problem:
    (problem,) = report.problems
    assert "\n" not in problem.reason
    return problem


@pytest.mark.parametrize("preprocess", WINDOWS)
def test_rows_become_squares_in_order(image_folder: Folder, preprocess: str) -> None:
    root = image_folder(images=20)  # more than one batch of decoding
    cache, report = built(root, preprocess=preprocess)
    assert ids(cache) == [f"{number}.png" for number in range(20)]
    assert report.problems == []
    window = WINDOWS[preprocess](70, 60)
    for number in (0, 7, 19):
        image, mask = cache[number]
        pixels = read_radiograph(root / f"{number}.png").pixels
        lungs = read_mask(root / f"{number}_mask.png", (70, 60))
        np.testing.assert_array_equal(image, to_square(pixels, window, 32))
        np.testing.assert_array_equal(mask, mask_to_square(lungs, window, 32))
    row = cache.table.row(4, named=True)
    assert (row["label"], row["patient_id"]) == ("pneumonia", "patient4")
    assert (row["split"], row["mask_from"], row["mask_state"]) == ("train", "manifest", "ok")


def test_report_holds_what_was_learned_of_each_file(image_folder: Folder) -> None:
    root = image_folder(images=3)
    cv2.imwrite(str(root / "1.png"), np.arange(70 * 60, dtype=np.uint16).reshape(70, 60) * 9)
    manifest, problems = built(root)[1].tables()
    assert problems.columns == list(Problem._fields)
    assert problems.is_empty()
    row = manifest.row(1, named=True)
    assert (row["width"], row["height"], row["bit_depth"]) == ("60", "70", "16")
    assert (row["format"], row["mask_from"]) == ("PNG", "manifest")
    assert row["sha256"] == read_radiograph(root / "1.png").sha256


def test_unreadable_images_are_listed_and_left_out(image_folder: Folder) -> None:
    root = image_folder(images=6)
    (root / "1.png").write_bytes((root / "1.png").read_bytes()[:2000])
    (root / "2.png").unlink()
    (root / "3.png").write_text("<html>")
    cache, report = built(root)
    assert ids(cache) == ["0.png", "4.png", "5.png"]
    assert [row["path"] for row in report.rows] == ids(cache)
    assert [problem.file for problem in report.problems] == ["1.png", "2.png", "3.png"]
    assert {problem.kind for problem in report.problems} == {"unreadable"}
    assert {problem.action for problem in report.problems} == {"left out"}
    words = zip(("damaged", "no such file", "no image"), report.problems, strict=True)
    assert all(word in problem.reason for word, problem in words)


def test_segmenter_sees_only_rows_without_a_mask(image_folder: Folder) -> None:
    root = image_folder(images=20)
    table = pl.read_csv(root / "manifest.csv", infer_schema=False)
    without = pl.col("path").is_in(["2.png", "5.png", "18.png"])
    masks = pl.when(without).then(pl.lit("")).otherwise(pl.col("mask")).alias("mask")
    table.with_columns(masks).write_csv(root / "manifest.csv")
    fake = Thresholder()
    cache, report = built(root, segmenter=fake.load)
    assert fake.loads == 1
    pixels = [read_radiograph(root / f"{number}.png").pixels for number in (2, 5, 18)]
    assert len(fake.seen) == 3
    for seen, expected in zip(fake.seen, pixels, strict=True):
        np.testing.assert_array_equal(seen, expected)
    made = cache.table.get_column("mask_from").to_list()
    assert [number for number, by in enumerate(made) if by == "segmenter"] == [2, 5, 18]
    for number in (2, 5, 18, 3):
        lungs = read_mask(root / f"{number}_mask.png", (70, 60))
        expected = mask_to_square(lungs, WINDOWS["paper"](70, 60), 32)
        assert (cache[number][1] == expected).mean() > 0.99
    assert report.problems == []


def test_unreadable_mask_is_made_anew_for_classification(image_folder: Folder) -> None:
    root = image_folder(images=4)
    cv2.imwrite(str(root / "1_mask.png"), np.zeros((60, 70), np.uint8))
    fake = Thresholder()
    cache, report = built(root, segmenter=fake.load)
    assert len(cache) == 4
    assert len(fake.seen) == 1
    assert cache.table.get_column("mask_from").to_list()[1] == "segmenter"
    problem = only_problem(report)
    assert (problem.file, problem.kind) == ("1_mask.png", "unreadable_mask")
    assert (problem.severity, problem.action) == ("warning", "mask made by the segmenter")
    assert "70x60 but its image is 60x70" in problem.reason


def test_row_with_a_bad_mask_is_no_use_for_segmentation(image_folder: Folder) -> None:
    root = image_folder(images=4)
    (root / "1_mask.png").write_bytes(b"")
    cache, report = built(root, task="segment")
    assert ids(cache) == ["0.png", "2.png", "3.png"]
    problem = only_problem(report)
    assert (problem.kind, problem.severity) == ("unreadable_mask", "error")
    assert problem.action == "left out"


def test_empty_mask_is_kept_and_listed(image_folder: Folder) -> None:
    root = image_folder(images=4)
    cv2.imwrite(str(root / "2_mask.png"), np.zeros((70, 60), np.uint8))
    cache, report = built(root)
    assert len(cache) == 4
    assert cache.table.get_column("mask_state").to_list()[2] == "empty"
    problem = only_problem(report)
    assert (problem.file, problem.kind, problem.action) == ("2.png", "empty_mask", "kept")


def test_classification_keeps_two_components_and_segmentation_all(image_folder: Folder) -> None:
    root = image_folder(images=3)
    mask = cv2.imread(str(root / "0_mask.png"), cv2.IMREAD_GRAYSCALE)
    assert mask is not None
    mask[60:66, 27:33] = 255
    cv2.imwrite(str(root / "0_mask.png"), mask)
    blob = (slice(23, 31), slice(14, 18))
    assert not built(root)[0][0][1][blob].any()
    assert built(root, task="segment")[0][0][1][blob].any()


def test_progress_counts_every_row(image_folder: Folder) -> None:
    root = image_folder(images=20)
    (root / "3.png").unlink()
    table = read_manifest(root / "manifest.csv", "classify", CLASSES).rows
    recipe = CacheRecipe("toy", "classify", 32, "paper", CLASSES, "m", "s")
    steps: list[int] = []
    build_cache(table, root, recipe, root / "a.h5", _not_needed, steps.append)
    assert sum(steps) == 20


def test_nothing_usable_leaves_no_cache(image_folder: Folder) -> None:
    root = image_folder(images=3)
    for number in range(3):
        (root / f"{number}.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"none of the 3 images can be used; .*0\.png.*empty"):
        built(root)
    assert not list(root.glob("*a.h5*"))


def test_segmenter_that_cannot_be_loaded_leaves_no_cache(image_folder: Folder) -> None:
    root = image_folder(images=3, masks=False)

    def load() -> None:
        raise UserError("weights.pt: no such checkpoint")

    with pytest.raises(UserError, match="no such checkpoint"):
        built(root, segmenter=load)
    assert not list(root.glob("*a.h5*"))
