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
    "00000004_000.png,normal,y,Lung Opacity,No Finding\n"
)
DOUBTED = "ChestX-ray14/images_002/images/00000003_000.png"


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
    assert (first["sex"], first["pixel_spacing"], first["follow_up"]) == ("M", "0.143", "0")
    assert first["path"].startswith("ChestX-ray14/images_001/images/")
    assert rows["00000001_001.png"]["finding"] == "Effusion|Pneumonia"


def test_contradicted_labels(root: Path) -> None:
    found = nih.read(root)
    # The second contradicted image is not on disk, which says enough.
    assert kinds(found) == {"label_conflict": [DOUBTED], "listed_absent": ["00000004_000.png"]}
    assert by_path(found)[DOUBTED]["finding"] == "No Finding"
    conflict = found.problems[0]
    assert (conflict.severity, conflict.action) == ("warning", "kept without a label")
    ignored = nih.read(root, conflicts="ignore")
    assert by_path(ignored)[DOUBTED]["label"] == "normal"
    assert kinds(ignored) == {"listed_absent": ["00000004_000.png"]}


def test_the_newest_table_counts(root: Path) -> None:
    place = root / "ChestX-ray14"
    newer = TABLE.replace("Patient Gender", "Patient Sex").replace("1,58,M,PA", "1,57,M,PA")
    (place / nih.NEWEST).write_text(newer)
    found = nih.read(root)
    first = by_path(found)["ChestX-ray14/images_001/images/00000001_000.png"]
    assert (first["age"], first["sex"]) == ("57", "M")
    assert kinds(found)["older_table"] == ["ChestX-ray14/Data_Entry_2017.csv"]


def test_table_beside_a_folder_of_that_name(root: Path) -> None:
    place = root / "ChestX-ray14"
    (place / "Data_Entry_2017.csv").rename(root / nih.NEWEST)
    assert nih.read(root).rows.height == 4


def test_rows_listed_twice(root: Path) -> None:
    again = "00000001_000.png,No Finding,0,1,58,M,PA,2682,2749,0.143,0.143\n"
    other = "00000001_001.png,No Finding,1,1,58,M,AP,2682,2749,0.143,0.143\n"
    (root / "ChestX-ray14/Data_Entry_2017.csv").write_text(TABLE + again + other)
    found = nih.read(root, conflicts="ignore")
    place = "ChestX-ray14/images_001/images"
    assert kinds(found)["duplicate_row"] == [f"{place}/00000001_000.png"]
    assert kinds(found)["label_conflict"] == [f"{place}/00000001_001.png"]
    assert f"{place}/00000001_000.png" in by_path(found)
    assert f"{place}/00000001_001.png" not in by_path(found)


def test_damage(root: Path) -> None:
    place = root / "ChestX-ray14"
    survive_damage(nih.read, root, place / "Data_Entry_2017.csv")
    survive_damage(nih.read, root, place / nih.CONFLICTS, 60)
    refuses(partial(nih.read, conflicts="x"), root, "conflicts=x is unknown")
    refuses(partial(nih.read, folder="../x"), root, "leaves the data root")
    (place / "Data_Entry_2017.csv").unlink()
    refuses(nih.read, root, "expected Data_Entry_2017*.csv and images/; saw images_001/")


def test_real_collection(pack: Path) -> None:
    found = nih.read(pack)
    columns = ["label", "source", "view", "mask", "patient_id"]
    same_patients(agree(pack, found, ["nih"], columns))
    # None of the 62 contradicted images is in the pack, so no label was taken away.
    assert found.problems == []
    assert len(nih._doubted(pack / "ChestX-ray14" / nih.CONFLICTS)) == 62
