from __future__ import annotations

from pathlib import Path

import pytest

from hideseek.data.sources import hannover
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
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "covid-19-image-repository"
    files(place, ["png/fff13f3a.png", "png/0000.png"])
    (place / "data.csv").write_text(TABLE)
    return tmp_path


def test_layout(root: Path) -> None:
    found = hannover.read(root)
    (row,) = by_path(found).values()
    assert row["path"] == "covid-19-image-repository/png/fff13f3a.png"
    assert (row["label"], row["view"], row["modality"]) == ("covid19", "PA", "CR")
    assert (row["patient_id"], row["offset"]) == ("hannover_024e7871", "0")
    assert kinds(found) == {
        "listed_absent": ["b343e657"],
        "unlisted": ["covid-19-image-repository/png/0000.png"],
    }


def test_damage(root: Path) -> None:
    place = root / "covid-19-image-repository"
    survive_damage(hannover.read, root, place / "data.csv")
    (place / "data.csv").unlink()
    refuses(hannover.read, root, "data.csv: cannot be read")


def test_real_collection(pack: Path) -> None:
    found = hannover.read(pack)
    same_patients(agree(pack, found, ["hannover"], ["label", "source", "view"]))
    assert found.rows.height == 167
