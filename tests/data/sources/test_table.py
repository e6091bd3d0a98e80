from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np
import polars as pl
import pytest

from hideseek.data.sources import table
from hideseek.data.sources.listing import COLUMNS, Listing
from hideseek.errors import UserError


def write(root: Path, text: str, *files: str) -> Path:
    (root / "labels.csv").write_text(text)
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def kinds(listed: Listing) -> dict[str, str]:
    return {found.kind: found.reason for found in listed.problems}


def test_nih(pack: Path) -> None:
    listed = table.read(
        pack,
        folder="ChestX-ray14",
        file="Data_Entry_2017_v2020.csv",
        columns={"path": "Image Index", "label": "Finding Labels"},
        labels={"No Finding": "normal"},
        images="images",
        source="nih",
    )
    raw = pl.read_csv(pack / "ChestX-ray14/Data_Entry_2017_v2020.csv", infer_schema=False,
                      truncate_ragged_lines=True)  # fmt: skip
    assert listed.rows.height == raw.height == 600
    findings = raw["Finding Labels"].to_list()
    assert listed.rows["finding"].to_list() == findings
    assert listed.rows.filter(label="normal").height == findings.count("No Finding") == 300
    assert listed.rows.filter(label="pneumonia").height == findings.count("Pneumonia")
    assert listed.rows["patient_id"].to_list() == [f"nih_{number}" for number in raw["Patient ID"]]
    assert listed.rows["view"].to_list() == raw["View Position"].to_list()
    assert listed.rows["Patient Age"].to_list() == raw["Patient Age"].to_list()
    assert list(kinds(listed)) == ["unknown_class"]


def test_kermany_by_its_table(pack: Path) -> None:
    listed = table.read(
        pack,
        folder="chest_xray",
        file="Chest_xray_Corona_Metadata.csv",
        columns={"path": "X_ray_image_name"},
        labels={"Pnemonia": "pneumonia"},
    )
    for path, label, split in listed.rows.select("path", "label", "split").rows():
        assert path.split("/")[1:3] == [split, label.upper()]
    on_disk = {p.name for p in (pack / "chest_xray").rglob("*.jp*g")}
    assert {PurePosixPath(path).name for path in listed.rows["path"]} == on_disk
    assert kinds(listed)["listed_absent"].startswith(f"{5910 - len(on_disk)} rows")


def test_the_packs_own_manifest(pack: Path) -> None:
    listed = table.read(pack, file="manifest.csv", source="pack")
    raw = pl.read_csv(pack / "manifest.csv", infer_schema=False).fill_null("")
    assert listed.problems == []
    assert listed.rows["path"].to_list() == raw["image"].to_list()
    for name in ("label", "source", "view", "mask", "role"):
        assert listed.rows[name].to_list() == raw[name].to_list()
    assert listed.rows["patient_id"].to_list() == [f"pack_{p}" for p in raw["patient_id"]]


@pytest.mark.parametrize("path", ["path", "image", "File", "filename", "file_name", "imagename",
                                  "Image Index"])  # fmt: skip
@pytest.mark.parametrize("label", ["label", "Class", "finding", "category", "Diagnosis"])
def test_usual_columns(tmp_path: Path, path: str, label: str) -> None:
    root = write(tmp_path, f"{label},{path},Age\nCOVID-19,a.png,61\n", "deep/a.png")
    row = table.read(root).rows.row(0, named=True)
    assert (row["path"], row["label"], row["Age"]) == ("deep/a.png", "covid19", "61")
    assert row["finding"] == "COVID-19"
    assert row["patient_id"] == "table_deep/a.png"


@pytest.mark.parametrize(
    ("header", "name", "value", "expected"),
    [
        *((header, "patient_id", "5", "table_5") for header in (
            "patient_id", "patientid", "Patient ID", "subject_id")),
        *((header, "view", "AP", "AP") for header in ("view", "View Position", "projection")),
        *((header, "split", "TRAIN", "train") for header in ("split", "dataset_type")),
        ("split", "split", "valid", "val"),
        ("source", "source", "north", "north"),
        ("Modality", "modality", "CT", "CT"),
        ("mask", "mask", "m/a.png", "m/a.png"),
        ("mask", "mask", "", ""),
    ],
)  # fmt: skip
def test_more_columns(tmp_path: Path, header: str, name: str, value: str, expected: str) -> None:
    root = write(tmp_path, f"image,label,{header}\ni/a.png,normal,{value}\n", "i/a.png", "m/a.png")
    listed = table.read(root)
    assert listed.rows.row(0, named=True)[name] == expected
    assert listed.problems == []
    assert listed.rows.columns == list(COLUMNS)


def test_names_with_and_without_folders_and_extension(tmp_path: Path) -> None:
    names = ["train/1.png", "C:\\data\\test\\1.png", "./2", "3.PNG", "/abs/4.jpg", "../../5.png"]
    files = ["train/1.png", "test/1.png", "x/2.jpeg", "x/3.png", "y/4.jpg", "y/5.png"]
    text = "path,label\n" + "".join(f"{name},normal\n" for name in names)
    assert table.read(write(tmp_path, text, *files)).rows["path"].to_list() == files


def test_a_name_is_never_guessed(tmp_path: Path) -> None:
    text = "path,label\n1.png,normal\nother/1.png,normal\n2,normal\n3.png,normal\n"
    root = write(tmp_path, text, "a/1.png", "b/1.png", "a/2.png", "a/2.jpg", "a/3.png")
    listed = table.read(root)
    assert listed.rows["path"].to_list() == ["a/3.png"]
    assert kinds(listed)["ambiguous_name"].startswith("2 rows")
    assert kinds(listed)["listed_absent"].startswith("1 rows")


def test_what_rows_say_wrong_is_told(tmp_path: Path) -> None:
    text = (
        "path,label,split,mask\n1.png,normal,train,gone.png\n1.png,covid,test,\n"
        "2.png,cat,fold3,\n3.png,,,\nnone.png,normal,,\n"
    )
    listed = table.read(write(tmp_path, text, "1.png", "2.png", "3.png"))
    assert listed.rows.select("label", "split", "mask").rows() == [
        ("normal", "train", ""), ("", "", ""), ("", "", "")]  # fmt: skip
    assert list(kinds(listed)) == [
        *("listed_absent", "listed_twice", "unknown_class", "unknown_split", "absent_mask"),
    ]
    assert "'cat'" in kinds(listed)["unknown_class"]


def test_labels_are_translated(tmp_path: Path) -> None:
    text = "path,label\n1.png,0\n2.png,1\n3.png,bad film\n4.png,COVID\n"
    root = write(tmp_path, text, "1.png", "2.png", "3.png", "4.png")
    listed = table.read(root, labels={"0": "normal", "1": "pneumonia", "bad film": ""})
    assert listed.rows["label"].to_list() == ["normal", "pneumonia", "", "covid19"]
    assert listed.problems == []


def test_a_patient_keeps_one_id_across_sources(tmp_path: Path) -> None:
    text = "path,label,source,patient_id\n1.png,covid,north,7\n2.png,covid,south,7\n"
    listed = table.read(write(tmp_path, text, "1.png", "2.png"))
    assert listed.rows["patient_id"].to_list() == ["table_7"] * 2


def test_a_table_of_masks_needs_no_labels(tmp_path: Path) -> None:
    root = write(tmp_path, "image,mask\n1.png,1_mask.png\n", "1.png", "1_mask.png")
    row = table.read(root).rows.row(0, named=True)
    assert (row["path"], row["mask"], row["label"]) == ("1.png", "1_mask.png", "")


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("path,label\n1.png,a\n", {"file": "none.csv"}, r"expected a table none.csv; saw 1.png"),
        ("path,label\n1.png,a\n", {"columns": {"path": "Foo"}}, r"no column 'Foo'; it has path"),
        ("path,label\n1.png,a\n", {"columns": {"age": "Age"}}, "'age' is not one of path"),
        ("a,b\n1.png,a\n", {}, r"no column for 'path'; it has a, b; give columns=\{path: NAME\}"),
        ("path,b\n1.png,a\n", {}, "no column for 'label'"),
        ("path,label\n", {}, "no rows"),
        ("", {}, "labels.csv"),
        ("path,label\n9.png,a\n", {}, r"none of its 1 images .* the first is named '9.png'"),
        ("path,label\n1.png,a\n", {"images": "gone"}, "none of its 1 images"),
        ("path,label\n1.png,a\n", {"file": "/etc/passwd"}, "leaves the data root"),
        ("path,label\n1.png,a\n", {"images": "../.."}, "leaves the data root"),
        ("path,label\n1.png,a\n", {"folder": "/"}, "leaves the data root"),
    ],
)
def test_mistakes_get_one_line(
    tmp_path: Path, text: str, options: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        table.read(write(tmp_path, text, "1.png"), **options)
    assert "\n" not in str(caught.value)


def mutated(text: str, rng: np.random.Generator) -> bytes:
    """Damage a text in one to eight places: bytes changed, cut, doubled, or something put in."""
    data = bytearray(text.encode())
    poison = [b"../../", b"/", b"\0", b"\xff\xfe", b"\n", b"\r", b'"', b",", b"\\", b"\xe2\x80\xa8"]
    for _ in range(rng.integers(1, 9)):
        at = int(rng.integers(0, len(data) + 1))
        match rng.integers(0, 4):
            case 0:
                data[at : at + 1] = bytes([rng.integers(0, 256)])
            case 1:
                del data[at : at + int(rng.integers(1, 40))]
            case 2:
                data[at:at] = data[max(0, at - 30) : at]
            case _:
                data[at:at] = poison[rng.integers(0, len(poison))]
    return bytes(data)


@pytest.mark.parametrize("seed", range(100))
def test_damaged_tables(tmp_path: Path, seed: int) -> None:
    files = ("a/1.png", "a/2.png", "b/1.png", "b/3.jpeg", "m/1.png")
    root = write(tmp_path, "", *files)
    text = 'path,label,split,mask,note\na/1.png,normal,train,m/1.png,"x, y"\na/2.png,COVID,test,,\n'
    text += "b/1.png,pneumonia,val,,z\n3,normal,train,m/1.png,\n"
    (root / "labels.csv").write_bytes(mutated(text, np.random.default_rng(seed)))
    try:
        listed = table.read(root)
    except UserError as error:
        assert "\n" not in str(error)
        return
    assert set(listed.rows["path"]) <= set(files)
    assert set(listed.rows["mask"]) <= {*files, ""}
    assert set(listed.rows["split"]) <= {"train", "val", "test", ""}
    assert listed.rows["path"].is_unique().all()
    assert all("\n" not in problem.reason for problem in listed.problems)
