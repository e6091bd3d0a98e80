from __future__ import annotations

from pathlib import Path

import pytest

from hideseek.data.sources import cohen
from tests.data.sources.layout import agree, by_path, files, kinds, refuses, survive_damage

TABLES = {
    "new": (
        "patientid,offset,sex,age,finding,view,modality,folder,filename,license,clinical_notes,\n"
        "2,0,M,65,Pneumonia/Viral/COVID-19,PA,X-ray,images,a.jpeg,CC BY,private words,\n"
    ),
    "old": (
        "Patientid,offset,sex,age,finding,survival,view,date,filename,clinical notes\n"
        '2,0,M,65,"COVID-19, ARDS",Y,PA,2020,a.jpeg,private words\n'
    ),
}
MORE = (
    "patientid,finding,view,modality,filename\n"
    "2,COVID-19,PA,X-ray,a.jpeg\n"
    "3,Streptococcus,L,X-ray,b.png\n"
    "3,Streptococcus,L,X-ray,b.png\n"
    "4,COVID-19,Axial,CT,c.jpg\n"
    "5,todo,PA,X-ray,d.jpg\n"
    "6,COVID-19,PA,X-ray,absent.jpg\n"
    "7,COVID-19,Axial,CT,volume.nii.gz\n"
    "8,No Finding,PA,X-ray,e.jpg\n"
    "8,COVID-19,PA,X-ray,e.jpg\n"
    "9,No Finding,PA,X-ray,f.jpg\n"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    names = ("a.jpeg", "b.png", "c.jpg", "d.jpg", "e.jpg", "f.PNG", "poster.jpg")
    files(tmp_path, [f"covid-chestxray-dataset/images/{name}" for name in names])
    files(tmp_path, ["covid-chestxray-dataset/annotations/lungVAE-masks/a_mask.png"])
    files(tmp_path, ["v7/f.png"])
    (tmp_path / "covid-chestxray-dataset/metadata.csv").write_text(MORE)
    return tmp_path


@pytest.mark.parametrize("version", TABLES)
def test_versions_of_the_table(root: Path, version: str) -> None:
    (root / "covid-chestxray-dataset/metadata.csv").write_text(TABLES[version])
    (row,) = by_path(cohen.read(root)).values()
    assert row["path"] == "covid-chestxray-dataset/images/a.jpeg"
    assert (row["label"], row["source"], row["patient_id"]) == ("covid19", "cohen", "cohen_2")
    assert (row["view"], row["age"], row["sex"]) == ("PA", "65", "M")
    assert row["mask"] == "covid-chestxray-dataset/annotations/lungVAE-masks/a_mask.png"
    assert row["modality"] == ("X-ray" if version == "new" else "")
    assert "private words" not in row.values()


def test_everything_listed_stays_but_what_cannot(root: Path) -> None:
    found = cohen.read(root)
    labels = {Path(path).name: row["label"] for path, row in by_path(found).items()}
    assert labels == {"a.jpeg": "covid19", "b.png": "pneumonia", "c.jpg": "covid19", "d.jpg": "",
                      "f.PNG": "normal"}  # fmt: skip
    place = "covid-chestxray-dataset/images"
    assert kinds(found) == {
        "volume": ["volume.nii.gz"],
        "label_conflict": [f"{place}/e.jpg"],
        "other_extension": [f"{place}/f.PNG"],
        "listed_absent": ["absent.jpg"],
        "unlisted": [f"{place}/poster.jpg"],
    }


def test_other_masks(root: Path) -> None:
    rows = by_path(cohen.read(root, masks="v7"))
    masks = {Path(path).name: row["mask"] for path, row in rows.items() if row["mask"]}
    assert masks == {"f.PNG": "v7/f.png"}
    assert not any(row["mask"] for row in by_path(cohen.read(root, masks="")).values())


def test_damage(root: Path) -> None:
    survive_damage(cohen.read, root, root / "covid-chestxray-dataset/metadata.csv")
    refuses(cohen.read, root / "v7", "expected metadata.csv and images/; saw f.png")


def test_real_collection(pack: Path) -> None:
    found = cohen.read(pack)
    joined = agree(pack, found, ["cohen"], ["label", "source", "view", "mask"])
    assert joined.height == 520
    counts = {kind: len(names) for kind, names in kinds(found).items()}
    assert counts == {"volume": 21, "listed_absent": 14, "unlisted": 13, "duplicate_row": 5}


@pytest.mark.parametrize(
    ("version", "rows"),
    [
        ("2020-03-28", 142),
        ("2020-03_17-columns-no-modality", 115),
        ("2020-04-18", 301),
        ("2020-08-04", 701),
    ],
)
def test_real_versions(pack: Path, version: str, rows: int) -> None:
    table = f"covid-chestxray-dataset-metadata-versions/metadata_{version}.csv"
    found = cohen.read(pack, metadata=table).rows
    assert found.height == rows
    assert set(found.get_column("label")) == {"", "normal", "pneumonia", "covid19"}
