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
    survive_damage,
)

TABLE = (
    "patientid,offset,sex,age,finding,view,modality,imagename,notes\n"
    "ANON1,,,,,PA,X-ray,CR.1.2.840.1.png,Inconclusive\n"
    "ANON2,,,,No finding,PA,X-ray,DX.1.2.840.2.png,\n"
    "ANON2,,,,COVID-19,PA,X-ray,DX.1.2.840.3.png,\n"
    "ANON3,,,,COVID-19,AP,X-ray,CR.1.2.840.4.png,\n"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "Actualmed-COVID-chestxray-dataset"
    files(place, ["images/CR.1.2.840.1.png", "images/DX.1.2.840.2.png"])
    files(place, ["images/CR.1.2.840.4.jpg"])
    (place / "metadata.csv").write_text(TABLE)
    return tmp_path


def test_layout(root: Path) -> None:
    found = actmed.read(root)
    rows = {Path(path).name: row for path, row in by_path(found).items()}
    assert rows["CR.1.2.840.1.png"]["label"] == ""
    assert rows["DX.1.2.840.2.png"]["label"] == "normal"
    assert rows["DX.1.2.840.2.png"]["patient_id"] == "actmed_ANON2"
    assert rows["CR.1.2.840.4.jpg"]["view"] == "AP"
    assert "Inconclusive" not in rows["CR.1.2.840.1.png"].values()
    assert kinds(found) == {
        "other_extension": ["Actualmed-COVID-chestxray-dataset/images/CR.1.2.840.4.jpg"],
        "listed_absent": ["DX.1.2.840.3.png"],
    }


def test_damage(root: Path) -> None:
    place = root / "Actualmed-COVID-chestxray-dataset"
    survive_damage(actmed.read, root, place / "metadata.csv")
    for image in (place / "images").iterdir():
        image.unlink()
    refuses(actmed.read, root, "none of its 4 images is in", "which holds 0 images")
    (place / "metadata.csv").unlink()
    refuses(actmed.read, root, "expected metadata.csv and images/; saw images/")


def test_real_collection(pack: Path) -> None:
    found = actmed.read(pack)
    agree(pack, found, ["actmed"], ["label", "source", "view", "patient_id"])
    assert found.rows.height == 54
    assert {kind: len(names) for kind, names in kinds(found).items()} == {"listed_absent": 238 - 54}
