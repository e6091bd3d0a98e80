from __future__ import annotations

from pathlib import Path

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
    assert first["split"] == "train"
    assert len({row["patient_id"] for row in rows.values() if row["split"] == "train"}) == 1
    test = rows["Lung_Segmentation_XLSor/NIH/images/00000041_000.png"]
    assert (test["split"], test["source"]) == ("test", "nih")
    assert test["mask"] == "Lung_Segmentation_XLSor/NIH/masks/00000041_000_mask.png"
    assert test["patient_id"] == "nih_00000041"
    assert kinds(found) == {"no_mask": ["Lung_Segmentation_XLSor/Augmentation/lonely9.png"]}


def test_tags_without_an_underscore(tmp_path: Path) -> None:
    files(tmp_path, ["ab0.png", "ab5.png", "abmask_x.png"])
    assert {row["mask"] for row in by_path(xlsor.read(tmp_path)).values()} == {"abmask_x.png"}


def test_nothing_there(tmp_path: Path) -> None:
    files(tmp_path, ["a.png"])
    refuses(xlsor.read, tmp_path, "expected TAG0.png", "saw 1 PNG files")
