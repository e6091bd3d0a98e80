from __future__ import annotations

from pathlib import Path

import pytest

from hideseek.data.sources import actmed
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
    "patientid,offset,sex,age,finding,view,modality,imagename,notes\n"
    "ANON1,,,,,PA,X-ray,CR.1.2.840.1.png,Inconclusive\n"
    "ANON2,,,,No finding,PA,X-ray,DX.1.2.840.2.png,\n"
    "ANON2,,,,COVID-19,PA,X-ray,DX.1.2.840.3.png,\n"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "Actualmed-COVID-chestxray-dataset"
    files(place, ["images/CR.1.2.840.1.png", "images/DX.1.2.840.2.png"])
    (place / "metadata.csv").write_text(TABLE)
    return tmp_path


def test_layout(root: Path) -> None:
    found = actmed.read(root)
    rows = {Path(path).name: row for path, row in by_path(found).items()}
    assert rows["CR.1.2.840.1.png"]["label"] == ""
    assert rows["DX.1.2.840.2.png"]["label"] == "normal"
    assert rows["DX.1.2.840.2.png"]["patient_id"] == "actmed_ANON2"
    assert kinds(found) == {"listed_absent": ["DX.1.2.840.3.png"]}


def test_damage(root: Path) -> None:
    place = root / "Actualmed-COVID-chestxray-dataset"
    survive_damage(actmed.read, root, place / "metadata.csv")
    (place / "images/CR.1.2.840.1.png").unlink()
    (place / "images/DX.1.2.840.2.png").unlink()
    refuses(actmed.read, root, "none of its 3 images is in", "which holds 0 images")


def test_real_collection(pack: Path) -> None:
    found = actmed.read(pack)
    same_patients(agree(pack, found, ["actmed"], ["label", "source", "view"]))
    assert len(kinds(found)["listed_absent"]) == 238 - 54
