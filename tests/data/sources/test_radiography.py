from __future__ import annotations

from pathlib import Path

import openpyxl
import pytest

from hideseek.data.sources import radiography
from tests.data.sources.layout import by_path, files, kinds, refuses, survive_damage

PLACE = "COVID-19-Radiography-Database"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / PLACE
    files(place, ["COVID-19/COVID-19 (12).png", "NORMAL/NORMAL (1).png"])
    files(place, ["Viral Pneumonia/images/Viral Pneumonia-3.png", "Lung_Opacity/images/x.png"])
    files(place, ["Viral Pneumonia/masks/Viral Pneumonia-3.png", "Other/y.png"])
    book = openpyxl.Workbook()
    book.active.append(["FILE NAME", "FORMAT", "SIZE", "URL"])
    book.active.append(["COVID-19(12)", "PNG", "1024*1024", "https://sirm.org/12"])
    book.save(place / "COVID-19.metadata.xlsx")
    return tmp_path


def test_layout(root: Path) -> None:
    rows = {Path(path).name: row for path, row in by_path(radiography.read(root)).items()}
    assert {name: row["label"] for name, row in rows.items()} == {
        "COVID-19 (12).png": "covid19",
        "NORMAL (1).png": "normal",
        "Viral Pneumonia-3.png": "pneumonia",
        "x.png": "",
    }
    assert rows["COVID-19 (12).png"]["url"] == "https://sirm.org/12"
    mask = f"{PLACE}/Viral Pneumonia/masks/Viral Pneumonia-3.png"
    assert rows["Viral Pneumonia-3.png"]["mask"] == mask


def test_damage(root: Path) -> None:
    survive_damage(radiography.read, root, root / PLACE / "COVID-19.metadata.xlsx", 60)
    (root / PLACE / "COVID-19.metadata.xlsx").write_bytes(b"not a zip file")
    assert kinds(radiography.read(root)) == {"table": [f"{PLACE}/COVID-19.metadata.xlsx"]}


def test_real_workbooks(pack: Path) -> None:
    refuses(radiography.read, pack, "with images; saw COVID-19.metadata.xlsx")
    urls = radiography._urls(pack / PLACE / "NORMAL.metadata.xlsx")
    assert len(urls) == 1341
    assert urls["normal-1"].startswith("https://www.kaggle.com/")
