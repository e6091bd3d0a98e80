from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from hideseek.data.sources import rsna
from tests.data.sources.layout import by_path, files, kinds, refuses, survive_damage

CLASSES = (
    "patientId,class\na,Normal\nb,Lung Opacity\nb,Lung Opacity\n"
    "c,No Lung Opacity / Not Normal\nd,Normal\n"
)
BOXES = "patientId,x,y,width,height,Target\na,,,,,0\nb,1,2,3,4,1\nb,5,6,7,8,1\nc,,,,,0\nd,,,,,0\n"
JOIN = "rsna_patientId,nih_image,rsna_class\na,00000007_001.png,Normal\nd,00000007_002.png,Normal\n"
HEADERS = "PatientID,ViewPosition,PatientSex,PatientAge,PixelSpacing\na,AP,F,30,0.14\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "rsna-pneumonia"
    files(place, [f"stage_2_train_images/{name}.dcm" for name in "abc"])
    files(tmp_path, ["ChestX-ray14/images/00000007_002.png"])
    for name, content in ((rsna.CLASSES, CLASSES), (rsna.BOXES, BOXES),
                          ("rsna_to_nih.csv", JOIN), ("dicom_headers.csv", HEADERS)):  # fmt: skip
        (place / name).write_text(content)
    return tmp_path


def test_layout(root: Path) -> None:
    found = rsna.read(root)
    rows = {Path(path).name: row for path, row in by_path(found).items()}
    labels = {name: row["label"] for name, row in rows.items()}
    assert labels == {"a.dcm": "normal", "b.dcm": "pneumonia", "c.dcm": "",
                      "00000007_002.png": "normal"}  # fmt: skip
    assert rows["a.dcm"]["patient_id"] == rows["00000007_002.png"]["patient_id"] == "nih_7"
    assert rows["b.dcm"]["patient_id"] == "rsna_b"
    assert (rows["a.dcm"]["view"], rows["a.dcm"]["pixel_spacing"]) == ("AP", "0.14")
    assert rows["b.dcm"]["view"] == ""
    assert found.problems == []
    alone = rsna.read(root, nih="")
    assert len(alone.rows) == 3
    assert kinds(alone) == {"listed_absent": ["d"]}


def test_one_table_is_enough(root: Path) -> None:
    (root / "rsna-pneumonia" / rsna.CLASSES).unlink()
    rows = {Path(path).name: row["label"] for path, row in by_path(rsna.read(root)).items()}
    # Without its class, an image without an opacity may be normal or not.
    assert rows == {"a.dcm": "", "b.dcm": "pneumonia", "c.dcm": "", "00000007_002.png": ""}
    (root / "rsna-pneumonia" / rsna.BOXES).unlink()
    refuses(rsna.read, root, "expected stage_2_detailed_class_info.csv")


def test_damage(root: Path) -> None:
    for name in (rsna.CLASSES, "rsna_to_nih.csv", "dicom_headers.csv"):
        survive_damage(rsna.read, root, root / "rsna-pneumonia" / name, 60)
    (root / "rsna-pneumonia" / rsna.CLASSES).unlink()
    survive_damage(partial(rsna.read, nih=""), root, root / "rsna-pneumonia" / rsna.BOXES, 60)


def test_real_tables(pack: Path) -> None:
    found = rsna.read(pack)
    counts = dict(found.rows.group_by("finding").len().iter_rows())
    assert counts == {"Normal": 18, "Lung Opacity": 118, "No Lung Opacity / Not Normal": 68}
    assert found.problems[0].reason.startswith("26401 listed")
