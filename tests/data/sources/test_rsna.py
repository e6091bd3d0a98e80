from __future__ import annotations

import gzip
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hideseek.data.sources import nih, rsna
from tests.data.sources.layout import by_path, files, kinds, refuses, survive_damage

CLASSES = (
    "patientId,class\na,Normal\nb,Lung Opacity\nb,Lung Opacity\n"
    "c,No Lung Opacity / Not Normal\nd,Normal\n"
)
BOXES = "patientId,x,y,width,height,Target\na,,,,,0\nb,1,2,3,4,1\nb,5,6,7,8,1\nc,,,,,0\nd,,,,,0\n"
JOIN = "rsna_patientId,nih_image,rsna_class\na,00000007_001.png,Normal\nd,00000007_002.png,Normal\n"
HEADERS = "PatientID,ViewPosition,PatientSex,PatientAge,PixelSpacing\na,AP,F,30,0.14\n"
PLACE = "rsna-pneumonia"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / PLACE
    files(place, [f"stage_2_train_images/{name}.dcm" for name in "abc"])
    files(tmp_path, ["ChestX-ray14/images/00000007_002.png"])
    for name, content in ((rsna.CLASSES, CLASSES), (rsna.BOXES, BOXES),
                          ("rsna_to_nih.csv", JOIN), ("dicom_headers.csv", HEADERS)):  # fmt: skip
        (place / name).write_text(content)
    return tmp_path


def labels(root: Path) -> dict[str, str]:
    return {Path(path).name: row["label"] for path, row in by_path(rsna.read(root)).items()}


def test_layout(root: Path) -> None:
    found = rsna.read(root)
    rows = {Path(path).name: row for path, row in by_path(found).items()}
    assert labels(root) == {"a.dcm": "normal", "b.dcm": "pneumonia", "c.dcm": "",
                            "00000007_002.png": "normal"}  # fmt: skip
    assert rows["a.dcm"]["patient_id"] == rows["00000007_002.png"]["patient_id"] == "nih_7"
    assert rows["b.dcm"]["patient_id"] == "rsna_b"
    assert (rows["a.dcm"]["view"], rows["a.dcm"]["pixel_spacing"]) == ("AP", "0.14")
    assert (rows["b.dcm"]["view"], rows["b.dcm"]["age"]) == ("", "")
    assert rows["c.dcm"]["finding"] == "No Lung Opacity / Not Normal"
    assert found.problems == []
    alone = rsna.read(root, nih="")
    assert len(alone.rows) == 3
    assert kinds(alone) == {"listed_absent": ["d"]}


def test_one_table_is_enough(root: Path) -> None:
    (root / PLACE / rsna.BOXES).unlink()
    assert labels(root) == {"a.dcm": "normal", "b.dcm": "pneumonia", "c.dcm": "",
                            "00000007_002.png": "normal"}  # fmt: skip
    (root / PLACE / rsna.BOXES).write_text(BOXES)
    (root / PLACE / rsna.CLASSES).unlink()
    # Without its class, an image without an opacity may be normal or not.
    assert labels(root) == {"a.dcm": "", "b.dcm": "pneumonia", "c.dcm": "", "00000007_002.png": ""}
    refuses(partial(rsna.read, folder="../x"), root, "leaves the data root")
    refuses(partial(rsna.read, nih="../x"), root, "leaves the data root")
    (root / PLACE / rsna.BOXES).unlink()
    refuses(rsna.read, root, "expected stage_2_detailed_class_info.csv", "saw dicom_headers.csv")


@pytest.mark.parametrize(
    ("classes", "boxes", "said"),
    [
        ("a,Normal\na,Lung Opacity\n", "", "'Lung Opacity' and as 'Normal'"),
        ("a,Normal\n", "a,1,2,3,4,1\n", "'Lung Opacity' and as 'Normal'"),
        ("a,Lung Opacity\n", "a,,,,,0\n", "'Lung Opacity' and as 'No Lung Opacity'"),
        (None, "a,1,2,3,4,1\na,,,,,0\n", "'Lung Opacity' and as 'No Lung Opacity'"),
    ],
)
def test_contradictions(root: Path, classes: str | None, boxes: str, said: str) -> None:
    head, tail = "patientId,class\n", "b,Lung Opacity\n"
    (root / PLACE / rsna.CLASSES).write_text(f"{head}{classes}{tail}")
    if classes is None:
        (root / PLACE / rsna.CLASSES).unlink()
    (root / PLACE / rsna.BOXES).write_text(f"{BOXES.splitlines()[0]}\n{boxes}b,1,2,3,4,1\n")
    found = rsna.read(root)
    assert list(by_path(found)) == [f"{PLACE}/stage_2_train_images/b.dcm"]
    (conflict,) = (problem for problem in found.problems if problem.kind == "label_conflict")
    assert (conflict.severity, conflict.action) == ("error", "left out")
    assert conflict.file == f"{PLACE}/stage_2_train_images/a.dcm"
    assert conflict.reason == f"listed as {said}"


def test_converted_images(root: Path) -> None:
    files(root / PLACE, ["png/a.png", "png/d.jpg"])
    (root / PLACE / "stage_2_train_images/b.dcm").rename(root / PLACE / "png/b.PNG")
    found = rsna.images(root, PLACE, "ChestX-ray14")
    assert found == {
        "a": f"{PLACE}/stage_2_train_images/a.dcm",
        "b": f"{PLACE}/png/b.PNG",
        "c": f"{PLACE}/stage_2_train_images/c.dcm",
        "d": f"{PLACE}/png/d.jpg",
    }
    (root / PLACE / "png/d.jpg").unlink()
    stand_in = rsna.images(root, PLACE, "ChestX-ray14")
    assert stand_in["d"] == "ChestX-ray14/images/00000007_002.png"
    assert "d" not in rsna.images(root, PLACE, "")


def test_headers_in_any_table(root: Path) -> None:
    known = {"view": "AP", "sex": "F", "age": "30", "pixel_spacing": "0.14"}
    assert rsna.headers(root, PLACE) == {"a": known}
    packed = root / PLACE / "more_dicom_headers_2.csv.gz"
    packed.write_bytes(gzip.compress(HEADERS.replace("a,AP", "b,PA").encode()))
    assert rsna.headers(root, PLACE) == {"a": known, "b": {**known, "view": "PA"}}
    packed.write_bytes(gzip.compress(b"patient,view\nb,PA\n"))
    refuses(rsna.read, root, "more_dicom_headers_2.csv.gz: no column 'PatientID'")
    packed.write_bytes(gzip.compress(b'PatientID\n"b\n'))
    refuses(rsna.read, root, f"{packed}: not a CSV table")
    packed.write_bytes(b"no gzip file")
    refuses(rsna.read, root, f"{packed}: not a readable gzip file")
    packed.write_bytes(gzip.compress(bytes(rsna.LARGEST_TABLE + 1)))
    refuses(rsna.read, root, "so is no such table")


def test_damage(root: Path) -> None:
    for name in (rsna.CLASSES, rsna.BOXES, "rsna_to_nih.csv", "dicom_headers.csv"):
        survive_damage(rsna.read, root, root / PLACE / name, 60)
    (root / PLACE / rsna.CLASSES).unlink()
    survive_damage(partial(rsna.read, nih=""), root, root / PLACE / rsna.BOXES, 60)


def test_damaged_gzip_is_one_line(root: Path) -> None:
    packed = root / PLACE / "dicom_headers.csv.gz"
    whole = gzip.compress(HEADERS.encode())
    for seed in range(60):
        rng = np.random.default_rng(seed)
        at = int(rng.integers(10, len(whole)))  # past the header, whose time and name do not matter
        cut, flipped = whole[:at], whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]
        packed.write_bytes(cut if seed % 2 else flipped)
        # The checksum over the content leaves no damage unnoticed.
        refuses(rsna.read, root, "not a readable gzip file")


def test_real_tables(pack: Path) -> None:
    found = rsna.read(pack)
    counts = dict(found.rows.group_by("finding").len().iter_rows())
    assert counts == {"Normal": 18, "Lung Opacity": 118, "No Lung Opacity / Not Normal": 68}
    (absent,) = found.problems
    assert (absent.kind, absent.severity, absent.action) == ("listed_absent", "warning", "left out")
    assert absent.reason.startswith("26401 files listed in")  # of 26,605
    assert len(rsna.headers(pack, PLACE)) == 13_585


def test_real_stand_ins_are_the_patients_of_nih(pack: Path) -> None:
    both = rsna.read(pack).rows.join(nih.read(pack).rows, on="path", suffix="_nih")
    assert both.height == 204
    assert both.filter(pl.col("patient_id") != pl.col("patient_id_nih")).is_empty()
    classed = both.filter((pl.col("label") != "") & (pl.col("label_nih") != ""))
    # The images whose labels contradict were left out of the pack, so the rest has to agree.
    assert classed.filter(pl.col("label") != pl.col("label_nih")).is_empty()
