from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hideseek.data.cache import Cache
from hideseek.data.leave_out import cache_without, leave_source_out
from hideseek.data.splits import check_disjoint
from hideseek.errors import UserError

ROW = st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.integers(0, 4), st.sampled_from("xy"))


def table(*rows: tuple[str, str, str, str]) -> pl.DataFrame:
    """Rows of source, split, patient and label."""
    schema = ["source", "split", "patient_id", "label"]
    return pl.DataFrame(rows, schema=schema, orient="row").with_row_index("at")


def test_a_source_becomes_the_test_set() -> None:
    rows = table(
        ("a", "train", "1", "x"),
        ("a", "val", "2", "y"),
        ("a", "test", "3", "x"),
        ("b", "train", "4", "x"),
        ("b", "train", "5", "y"),
        ("b", "val", "6", "x"),
        ("b", "test", "7", "y"),  # never trained on, and not of the source: unused
        ("b", "train", "1", "x"),  # has an image in the source
    )
    found = leave_source_out(rows, "a", ("x", "y"))
    assert found["at"].to_list() == [0, 1, 2, 3, 4, 5]
    assert found["split"].to_list() == ["test", "test", "test", "train", "train", "val"]


def test_near_duplicates_of_the_source_are_not_trained_on() -> None:
    rows = table(
        ("a", "test", "1", "x"),
        ("b", "train", "2", "x"),
        ("b", "train", "3", "x"),
        ("b", "val", "4", "x"),
        ("b", "train", "5", "x"),
    )
    rows = rows.with_columns(group=pl.Series(["g", "g", "other", "", None]))
    assert leave_source_out(rows, "a")["at"].to_list() == [0, 2, 3, 4]


def test_an_unknown_source_is_told_the_known_ones() -> None:
    rows = table(("b", "train", "1", "x"), ("a", "test", "2", "x"))
    with pytest.raises(UserError, match=r"data\.leave_out=c: no such source; there are a, b"):
        leave_source_out(rows, "c")


def test_a_class_that_training_then_lacks_is_refused_and_one_that_the_test_lacks_is_not() -> None:
    rows = table(
        ("a", "train", "1", "x"),
        ("b", "train", "2", "y"),
        ("b", "train", "3", "x"),
        ("b", "val", "4", "x"),
        ("a", "val", "5", "x"),
    )
    with pytest.raises(UserError, match="no other source has training images of y"):
        leave_source_out(rows, "b", ("x", "y"))
    found = leave_source_out(rows, "a", ("x", "y"))
    assert set(found.filter(pl.col("split") == "test")["label"]) == {"x"}


@pytest.mark.parametrize("gone", ["train", "val"])
def test_an_empty_split_is_named(gone: str) -> None:
    other = "val" if gone == "train" else "train"
    rows = table(("a", gone, "1", ""), ("a", "test", "2", ""), ("b", other, "3", ""))
    with pytest.raises(UserError, match=f"no image is left in the split '{gone}'"):
        leave_source_out(rows, "a")


@given(st.lists(ROW, min_size=1, max_size=40))
def test_nothing_leaks(drawn: list[tuple[str, int, int, str]]) -> None:
    # The split goes by the patient, as everywhere.
    split = ("train", "train", "train", "val", "test")
    rows = table(*((source, split[p % 5], str(p), label) for source, p, _, label in drawn))
    rows = rows.with_columns(group=pl.Series([f"g{number}" for _, _, number, _ in drawn]))
    try:
        found = leave_source_out(rows, "a")
    except UserError:
        return
    check_disjoint(found)
    test = found.filter(pl.col("split") == "test")
    fitted = found.filter(pl.col("split") != "test")
    assert test["at"].to_list() == rows.filter(pl.col("source") == "a")["at"].to_list()
    assert not set(test["group"]) & set(fitted["group"])
    before = rows["split"].gather(fitted["at"])
    assert before.to_list() == fitted["split"].to_list()
    assert "test" not in set(before)


def test_the_copy_holds_the_same_squares_and_masks(
    small_cache: Callable[..., Path], tmp_path: Path
) -> None:
    base = small_cache(images=90)
    path = cache_without(base, "hospital1", tmp_path / "other")
    whole, copy = Cache(base), Cache(path)
    assert path.parent == tmp_path / "other"
    assert copy.recipe.manifest_hash != whole.recipe.manifest_hash
    assert copy.recipe.name == whole.recipe.name and copy.recipe.classes == whole.recipe.classes
    place = {name: row for row, name in enumerate(whole.table["image_id"])}
    same = [name for name in whole.table.columns if name != "split"]
    for row, name in enumerate(copy.table["image_id"]):
        for one, other in zip(copy[row], whole[place[name]], strict=True):
            assert np.array_equal(one, other)
        assert (copy.boxes[row] == whole.boxes[place[name]]).all()
        assert copy.table.select(same).row(row) == whole.table.select(same).row(place[name])
    test = copy.table.filter(pl.col("split") == "test")
    assert set(test["source"]) == {"hospital1"}
    assert len(test) == (whole.table["source"] == "hospital1").sum()
    other = cache_without(base, "hospital0", tmp_path / "other")
    assert other != path
    written = path.stat().st_mtime_ns
    assert cache_without(base, "hospital1", tmp_path / "other").stat().st_mtime_ns == written


def test_a_refused_source_leaves_nothing(small_cache: Callable[..., Path], tmp_path: Path) -> None:
    base = small_cache()
    with pytest.raises(UserError, match="there are hospital0, hospital1, hospital2"):
        cache_without(base, "mine", tmp_path / "other")
    assert not (tmp_path / "other").exists()
