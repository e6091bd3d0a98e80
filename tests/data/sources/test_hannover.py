from __future__ import annotations

from functools import partial
from pathlib import Path, PurePosixPath

import polars as pl
import pytest

from hideseek.data.sources import cohen, hannover
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
    "patient_id,image_id,sex,age,admission_offset,modality,projection\n"
    "024e7871,fff13f3a,f,,0,CR,pa\n"
    "024e7871,b343e657,f,,-2,CR,ap\n"
    "a1,ab12.png,m,61,3,DX,ap\n"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "covid-19-image-repository"
    files(place, ["png/fff13f3a.png", "png/0000.png", "png/AB12.jpg"])
    (place / "data.csv").write_text(TABLE)
    return tmp_path


def test_layout(root: Path) -> None:
    found = hannover.read(root)
    row, other = by_path(found).values()
    assert other["path"] == "covid-19-image-repository/png/AB12.jpg"
    assert (other["age"], other["sex"], other["offset"]) == ("61", "m", "3")
    assert row["path"] == "covid-19-image-repository/png/fff13f3a.png"
    assert (row["label"], row["view"], row["modality"]) == ("covid19", "PA", "CR")
    assert (row["patient_id"], row["offset"]) == ("hannover_024e7871", "0")
    assert kinds(found) == {
        "other_extension": ["covid-19-image-repository/png/AB12.jpg"],
        "listed_absent": ["b343e657"],
        "unlisted": ["covid-19-image-repository/png/0000.png"],
    }


def test_damage(root: Path) -> None:
    place = root / "covid-19-image-repository"
    survive_damage(hannover.read, root, place / "data.csv")
    (place / "data.csv").unlink()
    refuses(hannover.read, root, "expected data.csv and png/; saw png/")
    refuses(partial(hannover.read, folder="../x"), root, "leaves the data root")


def test_real_collection(pack: Path) -> None:
    found = hannover.read(pack)
    joined = agree(pack, found, ["hannover"], ["label", "source", "view"])
    same_patients(joined)
    merged = joined.filter(pl.col("patient_id") != pl.col("patient_id_read"))
    assert merged.get_column("patient_id").str.starts_with("cohen_").all()
    assert merged.get_column("patient_id_read").n_unique() == 14
    assert found.rows.height == 161 + 6
    assert {kind: len(names) for kind, names in kinds(found).items()} == {"listed_absent": 76}


def test_five_images_are_normal_in_cohen_alone(pack: Path) -> None:
    listed = (pack / "covid-19-image-repository/data.csv").read_text()
    rows = cohen.read(pack).rows.filter(pl.col("finding") == "No Finding")
    names = [PurePosixPath(path).stem for path in rows.get_column("path")]
    assert sum(f",{name}," in listed for name in names) == 5
