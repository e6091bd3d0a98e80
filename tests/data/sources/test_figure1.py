from __future__ import annotations

from pathlib import Path

import pytest

from hideseek.data.sources import figure1
from tests.data.sources.layout import (
    agree,
    by_path,
    files,
    kinds,
    refuses,
    survive_damage,
)

TABLE = (
    "patientid,offset,sex,age,finding,view,modality,notes\n"
    "COVID-00001,13,M,33,COVID-19,AP erect,X-ray,fi\xe8vre\n"
    "COVID-00003a,8,M,28,,AP,X-ray,\n"
    "COVID-00003b,9,M,28,No finding,AP,X-ray,\n"
    "COVID-00009,9,M,28,COVID-19,AP,X-ray,\n"
    "COVID-00010,,F,50+,Pneumonia,,X-ray,\n"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "Figure1-COVID-chestxray-dataset"
    files(place, ["images/COVID-00001.jpg", "images/COVID-00003a.png", "images/COVID-00003b.png"])
    files(place, ["images/covid-00010.JPG"])
    (place / "metadata.csv").write_bytes(TABLE.encode("latin-1"))
    return tmp_path


def test_layout(root: Path) -> None:
    found = figure1.read(root)
    rows = {Path(path).name: row for path, row in by_path(found).items()}
    assert {name: row["label"] for name, row in rows.items()} == {
        "COVID-00001.jpg": "covid19",
        "COVID-00003a.png": "",
        "COVID-00003b.png": "normal",
        "covid-00010.JPG": "pneumonia",
    }
    assert rows["COVID-00003a.png"]["patient_id"] == "fig1_COVID-00003"
    assert rows["COVID-00001.jpg"]["view"] == "AP erect"
    assert "notes" not in found.rows.columns
    assert (rows["covid-00010.JPG"]["age"], rows["covid-00010.JPG"]["sex"]) == ("50+", "F")
    assert kinds(found) == {
        "other_extension": ["Figure1-COVID-chestxray-dataset/images/covid-00010.JPG"],
        "listed_absent": ["COVID-00009"],
    }


def test_damage(root: Path) -> None:
    place = root / "Figure1-COVID-chestxray-dataset"
    survive_damage(figure1.read, root, place / "metadata.csv")
    refuses(figure1.read, place / "images", "expected metadata.csv and images/")


def test_real_collection(pack: Path) -> None:
    found = figure1.read(pack)
    agree(pack, found, ["fig1"], ["label", "source", "view", "patient_id"])
    assert (found.rows.height, found.problems) == (55, [])
