from __future__ import annotations

from functools import partial
from pathlib import Path

import polars as pl
import pytest

from hideseek.data.sources import cohen
from tests.data.sources.layout import (
    agree,
    by_path,
    files,
    kinds,
    refuses,
    same_patients,
    survive_damage,
)

TABLES = {
    "oldest": (
        "Patientid,offset,sex,age,finding,view,date,filename,clinical notes\n"
        "2,0,M,65,COVID-19,CT,2020,a.jpeg,private words\n"
    ),
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
    assert (row["age"], row["sex"], row["offset"]) == ("65", "M", "0")
    assert row["view"] == ("CT" if version == "oldest" else "PA")
    assert row["mask"] == "covid-chestxray-dataset/annotations/lungVAE-masks/a_mask.png"
    assert row["modality"] == {"oldest": "CT", "new": "X-ray", "old": ""}[version]
    assert "private words" not in row.values()


def test_everything_listed_stays_but_what_cannot(root: Path) -> None:
    found = cohen.read(root)
    labels = {Path(path).name: row["label"] for path, row in by_path(found).items()}
    assert labels == {"a.jpeg": "covid19", "b.png": "pneumonia", "c.jpg": "covid19", "d.jpg": "",
                      "f.PNG": "normal"}  # fmt: skip
    place = "covid-chestxray-dataset/images"
    assert kinds(found) == {
        "volume": ["volume.nii.gz"],
        "duplicate_row": [f"{place}/b.png"],
        "label_conflict": [f"{place}/e.jpg"],
        "other_extension": [f"{place}/f.PNG"],
        "listed_absent": ["absent.jpg"],
        "unlisted": [f"{place}/poster.jpg"],
    }


def test_other_masks(root: Path) -> None:
    rows = by_path(cohen.read(root, masks="v7"))
    masks = {Path(path).name: row["mask"] for path, row in rows.items() if row["mask"]}
    assert masks == {"f.PNG": "v7/f.png"}
    rows = by_path(cohen.read(root, masks="annotations/lungVAE-masks"))
    assert len([row for row in rows.values() if row["mask"]]) == 1
    absent = cohen.read(root, masks="typo")
    assert kinds(absent)["missing_folder"] == ["typo"]
    assert not any(row["mask"] for row in by_path(absent).values())
    assert not any(row["mask"] for row in by_path(cohen.read(root, masks="")).values())


def test_masks_with_two_extensions(root: Path) -> None:
    place = "covid-chestxray-dataset/annotations/lungVAE-masks"
    files(root, [f"{place}/d_mask.png.png", f"{place}/nobody_mask.png"])
    rows = by_path(cohen.read(root))
    drawn = rows["covid-chestxray-dataset/images/d.jpg"]["mask"]
    assert drawn == f"{place}/d_mask.png.png"


def test_another_table(root: Path) -> None:
    (root / "versions").mkdir()
    (root / "versions/metadata_old.csv").write_text(TABLES["old"])
    found = cohen.read(root, metadata="versions/metadata_old.csv")
    assert list(by_path(found)) == ["covid-chestxray-dataset/images/a.jpeg"]
    assert found.problems[0].reason == "not in versions/metadata_old.csv"


@pytest.mark.parametrize("option", ["folder", "metadata", "masks"])
@pytest.mark.parametrize("place", ["../elsewhere", "/etc", "a/../../b"])
def test_no_option_leaves_the_root(root: Path, option: str, place: str) -> None:
    refuses(partial(cohen.read, **{option: place}), root, option, "leaves the data root")


def test_damage(root: Path) -> None:
    survive_damage(cohen.read, root, root / "covid-chestxray-dataset/metadata.csv")
    refuses(cohen.read, root / "v7", "expected metadata.csv and images/; saw f.png")


def test_real_collection(pack: Path) -> None:
    found = cohen.read(pack)
    joined = agree(pack, found, ["cohen"], ["label", "source", "view", "mask"])
    assert joined.height == 520
    same_patients(joined)
    # Merged by the pack, through a near-duplicate; ids are otherwise the table's.
    merged = joined.filter(pl.col("patient_id") != pl.col("patient_id_read"))
    assert merged.select("patient_id_read", "patient_id").rows() == [("cohen_201", "cohen_78")]
    on_disk = {path for path in (pack / "covid-chestxray-dataset/images").iterdir()}
    assert found.rows.height + 13 == len(on_disk) == 724
    assert found.rows.height + 21 + 14 + 5 == 751  # each row of the table, once
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
    slices = found.filter(pl.col("view").is_in(["CT", "Axial", "Coronal"]))
    assert slices.height > 0
    assert set(slices.get_column("modality")) == {"CT"}


def test_real_masks_of_v7labs(pack: Path) -> None:
    rows = cohen.read(pack, masks="semantic_masks_v7labs_lungs").rows.filter(pl.col("mask") != "")
    assert rows.height == 510
    known = pl.read_csv(pack / "manifest_v7labs_masks.csv", infer_schema=False)
    joined = known.join(rows, left_on="image", right_on="path", suffix="_read")
    assert joined.height == known.height == 420
    assert joined.filter(pl.col("mask") != pl.col("mask_read")).rows() == []
