from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from hideseek.data.manifest import COLUMNS, read_manifest, table_hash, with_splits
from hideseek.errors import UserError

CLASSES = ("normal", "pneumonia", "covid19")


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(tmp_path: Path, content: str | bytes, task: str = "classify") -> pl.DataFrame:
    return read_manifest(write(tmp_path / "m.csv", content), task, CLASSES).rows


def refused(tmp_path: Path, content: str | bytes, task: str = "classify") -> str:
    with pytest.raises(UserError) as caught:
        read(tmp_path, content, task)
    assert "m.csv" in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_defaults(tmp_path: Path) -> None:
    table = read(tmp_path, "path,label\na.png,normal\nsub/b.png,covid19\n")
    assert tuple(table.columns) == COLUMNS
    assert table.row(1, named=True) == {
        "image_id": "sub/b.png",
        "path": "sub/b.png",
        "label": "covid19",
        "source": "unknown",
        "patient_id": "sub/b.png",
        "split": "",
        "view": "",
        "mask": "",
    }


def test_blanks_get_the_defaults_too(tmp_path: Path) -> None:
    content = "path,label,patient_id,source,image_id\na.png,normal,,,\nb.png,normal, ,nih,x\n"
    table = read(tmp_path, content)
    assert table.get_column("patient_id").to_list() == ["a.png", "b.png"]
    assert table.get_column("source").to_list() == ["unknown", "nih"]
    assert table.get_column("image_id").to_list() == ["a.png", "x"]


def test_image_is_an_alias_of_path(tmp_path: Path) -> None:
    assert read(tmp_path, "image,label\na.png,normal\n").item(0, "path") == "a.png"
    table = read(tmp_path, "path,image,label\na.png,other,normal\n")
    assert (table.item(0, "path"), table.item(0, "image")) == ("a.png", "other")


def test_other_columns_are_kept_as_text_behind(tmp_path: Path) -> None:
    table = read(tmp_path, "age,path,label\n007,a.png,normal\n")
    assert tuple(table.columns) == (*COLUMNS, "age")
    assert table.item(0, "age") == "007"


def test_blanks_unicode_byte_order_mark_and_line_ends(tmp_path: Path) -> None:
    content = "\ufeff path , label,source\r\n Thorax ä/肺 1.png , normal ,Köln\r\n\r\n"
    row = read(tmp_path, content).row(0, named=True)
    assert (row["path"], row["label"], row["source"]) == ("Thorax ä/肺 1.png", "normal", "Köln")


def test_each_task_takes_its_rows(tmp_path: Path) -> None:
    content = "path,label,mask\na.png,normal,\nb.png,,b_mask.png\nc.png,tumour?,c_mask.png\n"
    assert read(tmp_path, content, "segment").get_column("path").to_list() == ["b.png", "c.png"]
    assert "label 'tumour?' of 'c.png' is unknown" in refused(tmp_path, content)
    without = content.replace("tumour?", "pneumonia")
    assert read(tmp_path, without).get_column("path").to_list() == ["a.png", "c.png"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path,label\na.png,normal\na.png,normal\n", "'a.png' stands there twice (path)"),
        ("path,image_id,label\na,x,normal\nb,x,normal\n", "'x' stands there twice (image_id)"),
        ("path,label,split\na,normal,Train\n", "split 'Train' of 'a' is unknown; known are train"),
        ("path,label\n/etc/a.png,normal\n", "'/etc/a.png' leaves the data root"),
        ("path,label\n../a.png,normal\n", "'../a.png' leaves the data root"),
        ("path,label\n..,normal\n", "'..' leaves the data root"),
        ("path,label\nx/../../a.png,normal\n", "'x/../../a.png' leaves the data root"),
        ("path,label,mask\na,normal,../m.png\n", "'../m.png' leaves the data root"),
        ("path,label\n,normal\n", "a row has no path"),
        ("label\nnormal\n", "no column 'path'"),
        ("path\na.png\n", "no column 'label'"),
        ("path,label\n", "no row has a label"),
        ("", "not a UTF-8 CSV file"),
        ("path,label\na.png,normal,3\n", "not a UTF-8 CSV file"),
        ('path,label\n"a.png,normal\n', "not a UTF-8 CSV file"),
        ("path, path,label\na,b,normal\n", "not a UTF-8 CSV file"),
        (b"path,label\nK\xf6ln.png,normal\n", "not a UTF-8 CSV file"),
    ],
)
def test_refusals(tmp_path: Path, content: str | bytes, message: str) -> None:
    assert message in refused(tmp_path, content)


def test_absent_file_and_absent_mask_column(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_manifest(tmp_path / "absent.csv", "classify", CLASSES)
    assert "no column 'mask'" in refused(tmp_path, "path,label\na.png,normal\n", "segment")


def test_dots_in_names_are_no_offence(tmp_path: Path) -> None:
    assert read(tmp_path, "path,label\n..a.png,normal\nx/.b./c..png,normal\n").height == 2


def test_steps_back_are_refused_even_inside(tmp_path: Path) -> None:
    # Behind a link, x/.. is not where it seems to be.
    with pytest.raises(UserError, match="leaves the data root"):
        read(tmp_path, "path,label\nx/../b.png,normal\n")


TABLE = "path,image_id,label\na.png,A,normal\nb.png,B,normal\nc.png,C,covid19\n"


@pytest.mark.parametrize(
    "content",
    [
        "path,split\nb.png,test\na.png,train\n",
        "image,split\na.png,train\nb.png,test\nz.png,val\n",
        "image_id,split\nA,train\nB,test\n",
        "path,task,split\na.png,classify,train\na.png,segment,test\nb.png,classify,test\n",
    ],
)
def test_with_splits(tmp_path: Path, content: str) -> None:
    table = read(tmp_path, TABLE)
    joined = with_splits(table, write(tmp_path / "s.csv", content), "classify")
    assert joined.get_column("split").to_list() == ["train", "test", ""]
    assert joined.drop("split").equals(table.drop("split"))
    assert joined.columns == table.columns


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path\na.png\n", "needs the columns 'split'"),
        ("name,split\na.png,train\n", "needs the columns 'split'"),
        ("path,split\na.png,train\na.png,val\n", "'a.png' is given a split twice"),
        ("path,split\nz.png,train\n", "names none of the manifest's images"),
        ("path,task,split\na.png,segment,train\n", "names none of the manifest's images"),
        ("path,split\na.png,holdout\n", "split 'holdout' of 'A' is unknown"),
    ],
)
def test_with_splits_refusals(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(UserError, match=r"s\.csv") as caught:
        with_splits(read(tmp_path, TABLE), write(tmp_path / "s.csv", content), "classify")
    assert message in str(caught.value)


def test_hash_changes_with_any_value(tmp_path: Path) -> None:
    table = read(tmp_path, TABLE)
    hashes = {table_hash(table), table_hash(table[::-1])}
    for column in COLUMNS:
        hashes.add(table_hash(table.with_columns(pl.lit("other").alias(column))))
    assert len(hashes) == 2 + len(COLUMNS)
    assert table_hash(read(tmp_path, TABLE)) == table_hash(table)


def test_the_real_manifest(pack: Path) -> None:
    for task, rows in (("classify", 1977), ("segment", 138 + 140 + 187)):
        table = read_manifest(pack / "manifest.csv", task, CLASSES).rows
        assert table.height == rows
        joined = with_splits(table, pack / "splits.csv", task)
        assert (joined.get_column("split") != "").all()
        assert all((pack / path).is_file() for path in table.get_column("path").head(50))
