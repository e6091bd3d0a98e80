from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hideseek.data.sources import folders
from hideseek.data.sources.listing import Listing
from hideseek.errors import UserError


def tree(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def column(listed: Listing, name: str) -> dict[str, str]:
    return dict(listed.rows.select("path", name).rows())


def test_kermany(pack: Path) -> None:
    listed = folders.read(pack, "chest_xray", patient=r"person(\d+)_", source="kermany")
    counts = Counter(listed.rows.select("split", "label").rows())
    assert counts == {
        ("train", "normal"): 320,
        ("train", "pneumonia"): len(list((pack / "chest_xray/train/PNEUMONIA").iterdir())),
        ("test", "pneumonia"): len(list((pack / "chest_xray/test/PNEUMONIA").iterdir())),
    }
    ids = column(listed, "patient_id")
    assert all(
        patient == f"kermany_{path.split('person')[1].split('_')[0]}"
        for path, patient in ids.items()
        if "person" in path
    )
    assert [(p.kind, p.reason.split()[-2]) for p in listed.problems] == [("no_patient", "320")]


@pytest.mark.parametrize(
    ("name", "label"),
    [
        *((name, "normal") for name in ("NORMAL", "Normal", "normal", "No Finding")),
        *((name, "covid19") for name in ("COVID", "COVID-19", "covid19", "Covid_19", "covid 19")),
        *((name, "pneumonia") for name in ("PNEUMONIA", "Viral Pneumonia", "viral_pneumonia")),
        *((name, None) for name in ("Lung_Opacity", "negative", "images", "", "pneumoniae", "no")),
    ],
)
def test_usual_spellings(name: str, label: str | None) -> None:
    assert folders.class_of(name, {}) == label


def test_given_classes_come_first() -> None:
    given = {"Viral Pneumonia": "viral", "COVID": "", "Lung_Opacity": "pneumonia"}
    assert folders.class_of("Viral Pneumonia", given) == "viral"
    assert folders.class_of("viral-pneumonia", given) == "viral"
    assert folders.class_of("COVID", given) == ""
    assert folders.class_of("lung opacity", given) == "pneumonia"
    assert folders.class_of("Normal", given) == "normal"


@pytest.mark.parametrize(
    ("name", "split"),
    [("train", "train"), ("Training", "train"), ("val", "val"), ("valid", "val"),
     ("VALIDATION", "val"), ("test", "test"), ("testing", "test")],
)  # fmt: skip
def test_splits(tmp_path: Path, name: str, split: str) -> None:
    root = tree(tmp_path, f"d/{name}/COVID/1.png", "d/normal/deep/er/2.JPEG", "d/normal/notes.txt")
    listed = folders.read(root, "d")
    assert column(listed, "split") == {
        f"d/{name}/COVID/1.png": split,
        "d/normal/deep/er/2.JPEG": "",
    }
    assert listed.rows["label"].to_list().count("covid19") == 1
    assert listed.problems == []


def test_masks_are_not_images(tmp_path: Path) -> None:
    kept = ("COVID/images/1.png", "Normal/2.png")
    root = tree(tmp_path, *kept, "COVID/masks/1.png", "masks/2.png", "Masks/deep/3.png")
    listed = folders.read(root)
    assert sorted(listed.rows["path"]) == sorted(kept)
    assert [(found.kind, found.reason) for found in listed.problems] == [
        ("masks", "3 files in folders named masks")
    ]


def test_unknown_folders_keep_their_rows(tmp_path: Path) -> None:
    root = tree(
        tmp_path, "x/COVID/1.png", "x/Lung_Opacity/2.png", "x/Lung_Opacity/3.png", "x/4.png"
    )
    listed = folders.read(root, "x")
    assert column(listed, "label")["x/Lung_Opacity/2.png"] == ""
    assert column(listed, "finding")["x/Lung_Opacity/2.png"] == "Lung_Opacity"
    assert [(found.file, found.kind, found.reason[:1]) for found in listed.problems] == [
        ("x", "unknown_class", "1"),
        ("x/Lung_Opacity", "unknown_class", "2"),
    ]
    assert folders.read(root, "x", {"Lung_Opacity": "pneumonia"}).rows["label"].to_list().count(
        "pneumonia") == 2  # fmt: skip


def test_patients(tmp_path: Path) -> None:
    root = tree(tmp_path, "COVID/p1_a.png", "COVID/p1_b.png", "Normal/scan.png")
    alone = folders.read(root).rows
    assert alone["patient_id"].to_list() == [f"folders_{path}" for path in alone["path"]]
    by_name = column(folders.read(root, patient=r"^p(\d+)_", source="s"), "patient_id")
    assert by_name == {
        "COVID/p1_a.png": "s_1",
        "COVID/p1_b.png": "s_1",
        "Normal/scan.png": "s_Normal/scan.png",
    }


def test_very_long_names_are_not_matched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "LONGEST_NAME", 8)
    root = tree(tmp_path, "COVID/p1_a.png", "COVID/p1_bb.png")
    listed = folders.read(root, patient=r"p(\d)")
    assert listed.rows["patient_id"].to_list() == ["folders_1", "folders_COVID/p1_bb.png"]


def test_source_from_the_folder_below_the_class(tmp_path: Path) -> None:
    root = tree(tmp_path, "set/COVID/north/p1.png", "set/COVID/south/p1.png", "set/NORMAL/p2.png")
    listed = folders.read(root, "set", source="parent", patient=r"p(\d)")
    assert column(listed, "source") == {
        "set/COVID/north/p1.png": "north",
        "set/COVID/south/p1.png": "south",
        "set/NORMAL/p2.png": "set",
    }
    assert column(listed, "patient_id")["set/COVID/south/p1.png"] == "set_1"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patient": "("}, "no regular expression"),
        ({"patient": "a{99999999999999999999}"}, "no regular expression"),
        ({"patient": "(" * 5000 + ")" * 5000}, r"no regular expression|groups"),
        ({"patient": r"\d+"}, "has 0 groups"),
        ({"patient": r"(\d)(\d)"}, "has 2 groups"),
        ({"folder": "none"}, r"expected a folder none .*; saw COVID/, other/"),
        ({"folder": "other"}, r"expected images .*; saw no image, only notes.txt"),
        ({"folder": "COVID/1.png"}, "saw no image"),
        ({"folder": "/etc"}, "leaves the data root"),
        ({"folder": ".."}, "leaves the data root"),
    ],
)
def test_mistakes_get_one_line(tmp_path: Path, options: dict[str, str], message: str) -> None:
    root = tree(tmp_path, "COVID/1.png", "other/notes.txt")
    with pytest.raises(UserError, match=message) as caught:
        folders.read(root, **options)
    assert "\n" not in str(caught.value)


def test_no_folder_names_a_class(tmp_path: Path) -> None:
    root = tree(tmp_path, "cats/1.png", "dogs/2.png", "dogs/3.png")
    with pytest.raises(UserError, match=r"saw cats \(1\), dogs \(2\); name their labels"):
        folders.read(root)
    listed = folders.read(root, classes={"cats": "cat", "dogs": "dog"})
    assert listed.rows["label"].to_list() == ["cat", "dog", "dog"]


@given(st.text(max_size=30))
def test_any_option_stays_inside_or_is_refused(folder: str) -> None:
    try:
        path = folders.inside(folder, "folder")
    except UserError:
        return
    inside = (Path("/root") / path).as_posix()
    assert inside == "/root" or inside.startswith("/root/")
    assert ".." not in path.split("/")
