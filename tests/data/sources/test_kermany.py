from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hideseek.data.sources import kermany
from tests.data.sources.layout import agree, by_path, files, kinds, refuses, same_patients

NAMES = (
    "train/NORMAL/IM-0115-0001.jpeg",
    "train/NORMAL/NORMAL2-IM-0115-0001.jpeg",
    "train/PNEUMONIA/person1_bacteria_1.jpeg",
    "train/PNEUMONIA/person1_bacteria_2.jpeg",
    "test/PNEUMONIA/person12_virus_46.jpeg",
)
OTHERS = (
    "__MACOSX/train/NORMAL/IM-0115-0001.jpeg",
    "chest_xray/train/NORMAL/IM-0115-0001.jpeg",
    "notes.png",
    "other/NORMAL/c.jpeg",
    "test/OTHER/a.jpeg",
    "train/NORMAL/._IM-0115-0001.jpeg",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    files(tmp_path / "chest_xray", (*NAMES, *OTHERS))
    return tmp_path


def test_layout(root: Path) -> None:
    found = kermany.read(root)
    rows = {Path(path).name: row for path, row in by_path(found).items()}
    assert {row["path"] for row in rows.values()} == {f"chest_xray/{name}" for name in NAMES}
    first, second = rows["person1_bacteria_1.jpeg"], rows["person1_bacteria_2.jpeg"]
    assert (first["label"], first["finding"], first["view"]) == ("pneumonia", "bacteria", "AP")
    assert first["patient_id"] == second["patient_id"] == "kermany_person1"
    assert rows["person12_virus_46.jpeg"]["finding"] == "virus"
    assert rows["IM-0115-0001.jpeg"]["patient_id"] == "kermany_IM-0115"
    assert rows["IM-0115-0001.jpeg"]["label"] == "normal"
    assert rows["NORMAL2-IM-0115-0001.jpeg"]["patient_id"] == "kermany_NORMAL2-IM-0115"
    assert {row["age_group"] for row in rows.values()} == {"paediatric"}
    assert sorted(kinds(found)["unlisted"]) == [f"chest_xray/{name}" for name in OTHERS]


def test_splits_count_where_asked(root: Path) -> None:
    rows = kermany.read(root).rows
    assert set(rows["split"]) == {""}
    given = kermany.read(root, use_splits=True).rows
    assert given["split"].to_list() == given["source_split"].to_list()
    assert set(given["split"]) == {"train", "test"}


def test_the_root_itself(tmp_path: Path) -> None:
    files(tmp_path, NAMES)
    assert set(by_path(kermany.read(tmp_path))) == set(NAMES)


def test_refusals(root: Path) -> None:
    refuses(kermany.read, root / "chest_xray/train", "expected train/NORMAL", "saw NORMAL/")
    refuses(partial(kermany.read, folder="../x"), root, "leaves the data root")
    for name in NAMES:
        (root / "chest_xray" / name).unlink()
    refuses(kermany.read, root, "expected images in train/NORMAL", "saw 6 images, none of them")


@pytest.mark.parametrize("seed", range(60))
def test_any_tree_of_names(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts = ("train", "NORMAL", "PNEUMONIA", "val", "IM-1", "person_", "person2_virus", "é", " ")
    names = {
        "/".join((*rng.choice(parts, rng.integers(0, 4)), f"{rng.choice(parts)}.jpeg"))
        for _ in range(8)
    }
    files(tmp_path, (*names, "train/NORMAL/IM-0001-0001.jpeg"))
    found = kermany.read(tmp_path)
    rows, left = list(by_path(found)), [problem.file for problem in found.problems]
    on_disk = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.jpeg")}
    assert sorted(rows + left) == sorted(on_disk)


def test_real_collection(pack: Path) -> None:
    found = kermany.read(pack)
    columns = ["label", "source", "view", "mask", "patient_id"]
    joined = agree(pack, found, ["kermany"], columns)
    same_patients(joined)
    # The manifest leaves out one image of each pair of near-duplicates; the reader lists both.
    beyond = found.rows.join(joined, left_on="path", right_on="image", how="anti")
    copies = pl.read_csv(pack / "near_duplicates.csv")
    listed = pl.concat([copies["image_a"], copies["image_b"]])
    assert beyond.height == 3
    assert beyond.filter(~pl.col("path").is_in(listed.implode())).is_empty()
    assert found.problems == []
