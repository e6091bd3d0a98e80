from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from hideseek.data.sources import nlm
from tests.data.sources.layout import agree, by_path, files, kinds, refuses

IMAGE = "MontgomerySet/CXR_png/MCUCXR_0001_0.png"
LEFT = "MontgomerySet/ManualMask/leftMask/MCUCXR_0001_0.png"
RIGHT = "MontgomerySet/ManualMask/rightMask/MCUCXR_0001_0.png"
WHOLE = "MontgomerySet/masks/MCUCXR_0001_0.png"
montgomery = partial(nlm.read, folder="MontgomerySet")


def test_masks_beside_the_images(tmp_path: Path) -> None:
    files(tmp_path, ["CXR_png/CHNCXR_0001_0.png", "mask/CHNCXR_0001_0_mask.png"])
    files(tmp_path, ["CXR_png/CHNCXR_0002_1.png", "CXR_png/CHNCXR_0003_x.png", "other.png"])
    found = nlm.read(tmp_path)
    rows = {Path(path).name: row for path, row in by_path(found).items()}
    assert len(rows) == 3
    first, second = rows["CHNCXR_0001_0.png"], rows["CHNCXR_0002_1.png"]
    assert first["mask"] == "mask/CHNCXR_0001_0_mask.png"
    assert (first["label"], first["finding"]) == ("", "normal")
    assert (first["source"], first["patient_id"]) == ("shenzhen", "shenzhen_CHNCXR_0001")
    assert (second["mask"], second["finding"]) == ("", "tuberculosis")
    assert rows["CHNCXR_0003_x.png"]["finding"] == ""
    assert kinds(found) == {"unlisted": ["other.png"]}


def test_one_mask_for_each_lung(tmp_path: Path) -> None:
    files(tmp_path, [IMAGE, LEFT, RIGHT])
    found = montgomery(tmp_path)
    (row,) = by_path(found).values()
    assert (row["mask"], row["view"], row["source"]) == ("", "PA", "montgomery")
    assert kinds(found) == {"split_mask": [IMAGE]}
    # What the finding advises has to help, with the two halves still there.
    files(tmp_path, [WHOLE])
    merged = montgomery(tmp_path)
    assert by_path(merged)[IMAGE]["mask"] == WHOLE
    assert merged.problems == []


def test_half_a_mask_is_none(tmp_path: Path) -> None:
    files(tmp_path, [IMAGE, LEFT])
    found = montgomery(tmp_path)
    assert by_path(found)[IMAGE]["mask"] == ""
    assert kinds(found) == {"split_mask": [IMAGE]}


def test_two_whole_masks(tmp_path: Path) -> None:
    files(tmp_path, [IMAGE, WHOLE, "MontgomerySet/mask/MCUCXR_0001_0_mask.png"])
    found = montgomery(tmp_path)
    assert by_path(found)[IMAGE]["mask"] == ""
    assert kinds(found) == {"several_masks": [IMAGE]}


def test_a_source_folder_named_after_masks(tmp_path: Path) -> None:
    files(tmp_path, ["with_masks/CXR_png/MCUCXR_0001_0.png"])
    assert len(nlm.read(tmp_path, folder="with_masks").rows) == 1


def test_nothing_there(tmp_path: Path) -> None:
    files(tmp_path, ["a.png"])
    refuses(nlm.read, tmp_path, "expected MCUCXR_*.png", "saw 1 other images")
    refuses(nlm.read, tmp_path / "absent", "no such folder")
    refuses(partial(nlm.read, folder="../x"), tmp_path, "leaves the data root")


@pytest.mark.parametrize("seed", range(60))
def test_any_tree_of_names(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    folders = ("CXR_png", "mask", "masks", "leftMask", "ManualMask", "é")
    names = ("MCUCXR_0001_0", "CHNCXR_0001_1", "CHNCXR_0001_1_mask", "MCUCXR", "_", "mask")
    made = {
        "/".join((*rng.choice(folders, rng.integers(0, 3)), f"{rng.choice(names)}.png"))
        for _ in range(9)
    }
    files(tmp_path, (*made, "MCUCXR_0009_0.png"))
    rows = by_path(nlm.read(tmp_path))
    assert "MCUCXR_0009_0.png" in rows
    for path, row in rows.items():
        assert (tmp_path / path).is_file()
        assert not row["mask"] or (tmp_path / row["mask"]).is_file()
        assert "leftMask" not in row["mask"]


def test_real_collection(pack: Path) -> None:
    found = nlm.read(pack)
    columns = ["label", "source", "view", "mask", "patient_id"]
    joined = agree(pack, found, ["montgomery", "shenzhen"], columns)
    assert joined.height == found.rows.height == 278
    assert dict(found.rows["source"].value_counts().iter_rows()) == {
        "montgomery": 138,
        "shenzhen": 140,
    }
    assert found.problems == []
