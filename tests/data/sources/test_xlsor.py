from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from hideseek.data.sources import xlsor
from tests.data.sources.layout import by_path, files, kinds, refuses


def test_layout(tmp_path: Path) -> None:
    place = tmp_path / "Lung_Segmentation_XLSor"
    files(place, [f"Augmentation/case7_{number}.png" for number in range(6)])
    files(place, ["Augmentation/case7_mask.png", "Augmentation/lonely9.png"])
    files(place, ["NIH/images/00000041_000.png", "NIH/masks/00000041_000_mask.png"])
    found = xlsor.read(tmp_path)
    rows = by_path(found)
    assert len(rows) == 7
    first = rows["Lung_Segmentation_XLSor/Augmentation/case7_0.png"]
    assert first["mask"] == "Lung_Segmentation_XLSor/Augmentation/case7_mask.png"
    assert (first["split"], first["label"], first["source"]) == ("train", "", "xlsor")
    assert {row["patient_id"] for row in rows.values() if row["split"] == "train"} == {
        "xlsor_case7_"
    }
    test = rows["Lung_Segmentation_XLSor/NIH/images/00000041_000.png"]
    assert (test["split"], test["source"]) == ("test", "nih")
    assert test["mask"] == "Lung_Segmentation_XLSor/NIH/masks/00000041_000_mask.png"
    assert kinds(found) == {"no_mask": ["Lung_Segmentation_XLSor/Augmentation/lonely9.png"]}


def test_patients_are_those_of_the_nih_reader(tmp_path: Path) -> None:
    # "nih_00000041" here and "nih_41" there would put one patient on both sides of a split.
    files(tmp_path, ["images/00000041_000.png", "masks/00000041_000_mask.png"])
    assert set(xlsor.read(tmp_path).rows["patient_id"]) == {"nih_41"}


def test_tags_without_an_underscore(tmp_path: Path) -> None:
    files(tmp_path, ["ab0.png", "ab5.png", "abmask_x.png"])
    assert {row["mask"] for row in by_path(xlsor.read(tmp_path)).values()} == {"abmask_x.png"}


def test_two_masks_of_one_tag(tmp_path: Path) -> None:
    files(tmp_path, ["ab0.png", "abmask.png", "abmask2.png", "cd0.png", "cdmask.png"])
    found = xlsor.read(tmp_path)
    assert list(by_path(found)) == ["cd0.png"]
    assert kinds(found) == {"several_masks": ["ab0.png"]}


def test_nothing_there(tmp_path: Path) -> None:
    files(tmp_path, ["a.png"])
    refuses(xlsor.read, tmp_path, "expected TAG0.png", "saw 1 PNG files")
    refuses(partial(xlsor.read, folder="../x"), tmp_path, "leaves the data root")


@pytest.mark.parametrize("seed", range(60))
def test_any_tree_of_names(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = ("a0", "a7", "amask", "a_mask", "0", "mask", "masks0", "é5", "a0_mask")
    made = {
        "/".join((*rng.choice(("images", "masks", "x"), rng.integers(0, 3)), rng.choice(names)))
        for _ in range(9)
    }
    files(tmp_path, (*(f"{name}.png" for name in made), "pair/z3.png", "pair/zmask.png"))
    rows = by_path(xlsor.read(tmp_path))
    assert rows["pair/z3.png"]["mask"] == "pair/zmask.png"
    for path, row in rows.items():
        assert (tmp_path / path).is_file()
        assert (tmp_path / row["mask"]).is_file()
        assert path != row["mask"]
