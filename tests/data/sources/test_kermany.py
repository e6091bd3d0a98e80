from __future__ import annotations

from pathlib import Path

import pytest

from hideseek.data.sources import kermany
from tests.data.sources.layout import agree, by_path, files, refuses, same_patients

NAMES = (
    "train/NORMAL/IM-0115-0001.jpeg",
    "train/NORMAL/NORMAL2-IM-0115-0001.jpeg",
    "train/PNEUMONIA/person1_bacteria_1.jpeg",
    "train/PNEUMONIA/person1_bacteria_2.jpeg",
    "test/PNEUMONIA/person12_virus_46.jpeg",
    "test/OTHER/a.jpeg",
    "notes.png",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    files(tmp_path / "chest_xray", NAMES)
    return tmp_path


def test_layout(root: Path) -> None:
    rows = {Path(path).name: row for path, row in by_path(kermany.read(root)).items()}
    assert len(rows) == 5
    first, second = rows["person1_bacteria_1.jpeg"], rows["person1_bacteria_2.jpeg"]
    assert (first["label"], first["finding"], first["view"]) == ("pneumonia", "bacteria", "AP")
    assert first["patient_id"] == second["patient_id"] == "kermany_person1"
    assert rows["person12_virus_46.jpeg"]["finding"] == "virus"
    assert rows["IM-0115-0001.jpeg"]["patient_id"] == "kermany_IM-0115"
    assert rows["NORMAL2-IM-0115-0001.jpeg"]["patient_id"] == "kermany_NORMAL2-IM-0115"
    assert {row["split"] for row in rows.values()} == {""}
    splits = kermany.read(root, use_splits=True).rows.get_column("split")
    assert set(splits) == {"train", "test"}


def test_refusals(root: Path) -> None:
    refuses(kermany.read, root / "chest_xray/train", "expected train/NORMAL", "saw NORMAL/")
    for name in NAMES:
        (root / "chest_xray" / name).unlink()
    refuses(kermany.read, root, "saw no image in such folders")


def test_real_collection(pack: Path) -> None:
    found = kermany.read(pack)
    same_patients(agree(pack, found, ["kermany"], ["label", "source", "view", "patient_id"]))
