from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import polars as pl

from hideseek.data import inspection
from hideseek.data.duplicates import thumbnail
from hideseek.data.images import read_radiograph
from hideseek.data.inspection import SHARD, inspect

Folder = Callable[..., Path]


def listed(root: Path) -> pl.DataFrame:
    return pl.read_csv(root / "manifest.csv", infer_schema=False)


def test_facts_of_every_row_in_order(image_folder: Folder) -> None:
    root = image_folder(images=6)
    deep = np.arange(70 * 60, dtype=np.uint16).reshape(70, 60)
    cv2.imwrite(str(root / "1.png"), deep)
    (root / "2.png").unlink()
    (root / "3.png").write_bytes(b"")
    cv2.imwrite(str(root / "4_mask.png"), np.zeros((9, 9), np.uint8))
    cv2.imwrite(str(root / "5_mask.png"), np.zeros((70, 60), np.uint8))
    done: list[int] = []
    found = inspect(listed(root), root, "bits", root / "shards", done.append)
    rows = list(found.facts.iter_rows(named=True))
    assert sum(done) == 6
    assert [row["error"] for row in rows] == ["", "", "absent", "empty", "", ""]
    assert "no such file" in rows[2]["reason"]
    assert [(row["width"], row["height"], row["bit_depth"]) for row in rows[:3]] == [
        (60, 70, 8), (60, 70, 16), (0, 0, 0),
    ]  # fmt: skip
    assert (rows[0]["window"], rows[1]["window"]) == ("", "0..16383")
    assert dict(json.loads(rows[1]["notes"])).keys() == {"high_bit"}
    assert "9x9" in rows[4]["mask_error"]
    assert (rows[5]["mask_error"], rows[5]["mask_share"], rows[2]["mask_share"]) == ("", 0.0, -1.0)
    first = read_radiograph(root / "0.png")
    assert rows[0]["sha256"] == first.sha256
    assert abs(rows[0]["deviation"] - first.pixels.std()) < 1e-9
    np.testing.assert_array_equal(found.thumbnails[0], thumbnail(first.pixels))
    assert not found.thumbnails[2].any()


def test_a_second_inspection_opens_no_file(image_folder: Folder, monkeypatch) -> None:
    root = image_folder(images=3)
    table = listed(root)
    first = inspect(table, root, "minmax", root / "shards")
    monkeypatch.delattr(inspection, "read_radiograph")
    again = inspect(table, root, "minmax", root / "shards")
    assert first.facts.equals(again.facts)
    np.testing.assert_array_equal(first.thumbnails, again.thumbnails)


def test_no_rows_and_several_shards(image_folder: Folder) -> None:
    root = image_folder(images=3)
    table = listed(root)
    empty = inspect(table[:0], root, "minmax", root / "empty")
    assert empty.facts.is_empty() and empty.thumbnails.shape == (0, 32, 32)
    many = pl.concat([table] * (SHARD // 3 + 2))
    found = inspect(many, root, "minmax", root / "many")
    assert found.facts.height == many.height > SHARD
    assert found.facts["sha256"].to_list() == found.facts["sha256"].to_list()[:3] * (
        many.height // 3
    )
