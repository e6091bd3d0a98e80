from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import polars as pl
import pytest

from hideseek.data import survey as survey_module
from hideseek.data.manifest import COLUMNS, read_manifest
from hideseek.data.sources.listing import Listing
from hideseek.data.survey import SurveyRecipe, read_survey, survey, survey_folder

CLASSES = ("normal", "pneumonia", "covid19")
RECIPE = SurveyRecipe("classify", "minmax", 0.985, 0, None, 0)
Folder = Callable[..., Path]


@pytest.fixture
def root(image_folder: Folder) -> Path:
    """60 pictures of which the last is a copy of the first, and one is damaged."""
    folder = image_folder(images=60, splits=False)
    cv2.imwrite(str(folder / "59.png"), cv2.imread(str(folder / "0.png"), 0) // 2)
    (folder / "7.png").write_bytes((folder / "7.png").read_bytes()[:900])
    return folder


def listed(root: Path) -> Listing:
    return read_manifest(root / "manifest.csv", "classify", CLASSES)


def surveyed(root: Path, recipe: SurveyRecipe = RECIPE):
    found = listed(root)
    return survey(survey_folder(root / "cache", "s", found, root, recipe), found, root, recipe)


def test_what_a_survey_leaves(root: Path) -> None:
    found = surveyed(root)
    assert {entry.name for entry in found.folder.iterdir()} == {
        "manifest.csv", "problems.csv", "near_duplicates.csv",
    }  # fmt: skip
    kinds = {problem.file: problem.kind for problem in found.problems if problem.kind != "small"}
    assert kinds["7.png"] == "truncated"
    # Picture 0 is normal and its copy is covid19: nobody knows which, so neither is used.
    assert ("59.png", "label_conflict") in {(p.file, p.kind) for p in found.problems}
    paths = found.rows.get_column("path").to_list()
    assert not {"0.png", "7.png", "59.png"} & set(paths)
    assert found.rows.columns[: len(COLUMNS)] == list(COLUMNS)
    assert set(found.rows.get_column("split")) == {"train", "val", "test"}
    assert found.rows.row(0, named=True)["width"] == "60"
    pairs = pl.read_csv(found.folder / "near_duplicates.csv")
    assert ("0.png", "59.png") in set(pairs.select("image_a", "image_b").iter_rows())


def test_a_finished_survey_reads_back_as_it_was(root: Path) -> None:
    found = surveyed(root)
    again = read_survey(found.folder)
    assert again is not None
    assert again.rows.equals(found.rows)
    assert again.problems == found.problems
    assert read_survey(root / "cache/none") is None


def test_the_folder_stands_for_all_that_decides(root: Path) -> None:
    def folder(recipe: SurveyRecipe = RECIPE) -> Path:
        return survey_folder(root / "cache", "s", listed(root), root, recipe)

    first = folder()
    others = [
        folder(replace(RECIPE, **change))
        for change in (
            {"windowing": "bits"}, {"duplicates": 0.9}, {"split_seed": 1}, {"folds": 3},
            {"task": "segment"},
        )
    ]  # fmt: skip
    (root / "3.png").write_bytes(b"another size")
    others.append(folder())
    assert len({first, *others}) == 7


def test_other_splits_do_not_open_the_files_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = surveyed(root)
    monkeypatch.setattr("hideseek.data.inspection.read_radiograph", None)
    other = surveyed(root, replace(RECIPE, split_seed=5))
    assert other.folder != first.folder
    assert other.rows.get_column("path").to_list() == first.rows.get_column("path").to_list()
    assert not other.rows.get_column("split").equals(first.rows.get_column("split"))


def test_a_survey_that_fails_leaves_no_folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(table: pl.DataFrame, *rest: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(survey_module, "problem_table", full)
    with pytest.raises(OSError, match="no space"):
        surveyed(root)
    names = {entry.name.split("-")[0] for entry in (root / "cache").iterdir()}
    assert names == {"inspection"}
