from __future__ import annotations

from pathlib import Path

from hideseek.data.sources import nlm
from tests.data.sources.layout import agree, by_path, files, kinds, refuses


def test_masks_beside_the_images(tmp_path: Path) -> None:
    files(tmp_path, ["CXR_png/CHNCXR_0001_0.png", "mask/CHNCXR_0001_0_mask.png"])
    files(tmp_path, ["CXR_png/CHNCXR_0002_1.png", "other.png"])
    rows = by_path(nlm.read(tmp_path))
    assert len(rows) == 2
    first, second = rows["CXR_png/CHNCXR_0001_0.png"], rows["CXR_png/CHNCXR_0002_1.png"]
    assert first["mask"] == "mask/CHNCXR_0001_0_mask.png"
    assert (first["label"], first["finding"]) == ("", "normal")
    assert (first["source"], first["patient_id"]) == ("shenzhen", "shenzhen_CHNCXR_0001")
    assert (second["mask"], second["finding"]) == ("", "tuberculosis")


def test_one_mask_for_each_lung(tmp_path: Path) -> None:
    place = "MontgomerySet"
    files(tmp_path / place, ["CXR_png/MCUCXR_0001_0.png"])
    files(tmp_path / place, [f"ManualMask/{side}Mask/MCUCXR_0001_0.png" for side in
                             ("left", "right")])  # fmt: skip
    found = nlm.read(tmp_path, folder=place)
    (row,) = by_path(found).values()
    assert (row["mask"], row["view"]) == ("", "PA")
    assert kinds(found) == {"split_mask": ["MontgomerySet/CXR_png/MCUCXR_0001_0.png"]}


def test_nothing_there(tmp_path: Path) -> None:
    files(tmp_path, ["a.png"])
    refuses(nlm.read, tmp_path, "expected MCUCXR_*.png", "saw 1 other images")


def test_real_collection(pack: Path) -> None:
    found = nlm.read(pack)
    columns = ["source", "view", "mask", "patient_id"]
    joined = agree(pack, found, ["montgomery", "shenzhen"], columns)
    assert joined.height == 278
