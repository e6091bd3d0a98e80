from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from hideseek.data.sources import nih
from tests.data.sources.layout import (
    agree,
    by_path,
    files,
    kinds,
    refuses,
    same_patients,
    survive_damage,
)

TABLE = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]\n"
    "00000001_000.png,No Finding,0,1,58,M,PA,2682,2749,0.143,0.143\n"
    "00000001_001.png,Effusion|Pneumonia,1,1,58,M,AP,2682,2749,0.143,0.143\n"
    "00000002_000.png,Hernia,0,2,60,F,PA,2682,2749,0.143,0.143\n"
    "00000003_000.png,No Finding,0,3,60,F,PA,2682,2749,0.143,0.143\n"
    "00000004_000.png,No Finding,0,4,60,F,PA,2682,2749,0.143,0.143\n"
)
CONFLICTS = (
    "nih_image,nih_class,rsna_patientId,rsna_class,nih_labels\n"
    "00000003_000.png,normal,x,Lung Opacity,No Finding\n"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "ChestX-ray14"
    files(place, [f"images_001/images/0000000{n}.png" for n in ("1_000", "1_001", "2_000")])
    files(place, ["images_002/images/00000003_000.png"])
    (place / "Data_Entry_2017.csv").write_text(TABLE)
    (place / nih.CONFLICTS).write_text(CONFLICTS)
    return tmp_path


def test_layout(root: Path) -> None:
    found = nih.read(root)
    rows = {Path(path).name: row for path, row in by_path(found).items()}
    labels = [rows[f"0000000{n}.png"]["label"] for n in ("1_000", "1_001", "2_000", "3_000")]
    assert labels == ["normal", "pneumonia", "", ""]
    first = rows["00000001_000.png"]
    assert (first["patient_id"], first["view"], first["age"]) == ("nih_1", "PA", "58")
    assert (first["pixel_spacing"], first["follow_up"]) == ("0.143", "0")
    assert first["path"].startswith("ChestX-ray14/images_001/images/")
    assert kinds(found) == {
        "label_doubted": ["00000003_000.png"],
        "listed_absent": ["00000004_000.png"],
    }
    kept = by_path(nih.read(root, conflicts="ignore"))
    assert kept["ChestX-ray14/images_002/images/00000003_000.png"]["label"] == "normal"


def test_damage(root: Path) -> None:
    place = root / "ChestX-ray14"
    survive_damage(nih.read, root, place / "Data_Entry_2017.csv")
    survive_damage(nih.read, root, place / nih.CONFLICTS, 40)
    refuses(partial(nih.read, conflicts="x"), root, "conflicts=x is unknown")
    (place / "Data_Entry_2017.csv").unlink()
    refuses(nih.read, root, "expected Data_Entry_2017*.csv and images/; saw images_001/")


def test_real_collection(pack: Path) -> None:
    found = nih.read(pack)
    columns = ["label", "source", "view", "patient_id"]
    same_patients(agree(pack, found, ["nih"], columns))
