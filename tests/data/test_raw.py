from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import polars as pl
import pytest

from hideseek.data.cache import Cache
from hideseek.data.problems import Problem
from hideseek.data.raw import RawSource, join
from hideseek.data.sources.listing import Listing, listing
from hideseek.errors import UserError

Folder = Callable[..., Path]


def of_folder(root: Path, source: str = "a", skip: int = 0) -> Listing:
    """Read the manifest of the `image_folder` fixture as if it were a source of its own."""
    table = pl.read_csv(root / "manifest.csv", infer_schema=False).fill_null("")
    rows = [{**row, "source": source} for row in table.iter_rows(named=True)][skip:]
    return listing(rows, [Problem("manifest.csv", "note", "info", f"read as {source}", "kept")])


@pytest.fixture
def raw(image_folder: Folder, tmp_path: Path) -> RawSource:
    root = image_folder(images=24)
    return RawSource(
        **{"name": "raw", "manifest": None, "root": None, "splits": None, "cache": None},
        **{"task": "classify", "classes": ("normal", "pneumonia", "covid19"), "size": 48},
        **{"preprocess": "paper", "windowing": "minmax", "segmenter": "packaged"},
        **{"split_seed": 0, "folds": None, "fold": 0, "duplicates": 2.0, "strict": False},
        folder=str(tmp_path / "cache"),
        raw=str(root),
        readers={"a": of_folder},
    )  # type: ignore[arg-type]


def test_prepare_then_ready(raw: RawSource) -> None:
    prepared = raw.prepare()
    assert prepared.fresh
    assert prepared.problems[0].kind == "note"
    assert raw.ready(48) == raw.ready(32) == prepared.cache
    assert set(Cache(prepared.cache).table.get_column("source")) == {"a"}
    assert not raw.prepare().fresh


def test_ready_does_not_read_the_source_again(raw: RawSource) -> None:
    cache = raw.prepare().cache
    (Path(str(raw.raw)) / "manifest.csv").unlink()
    assert raw.ready(48) == cache


def test_without_a_cache_the_command_is_named(raw: RawSource) -> None:
    with pytest.raises(UserError, match=r"hideseek prepare data=raw 'data/source=\[a\]'") as caught:
        raw.ready(48)
    assert f"data.raw={raw.raw}" in str(caught.value)


def test_other_options_of_a_reader_are_other_listings(raw: RawSource) -> None:
    cache = raw.prepare().cache
    other = replace(raw, readers={"a": partial(of_folder, source="b")})
    with pytest.raises(UserError, match="build it with"):
        other.ready(48)
    assert other.prepare().cache != cache


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"raw": None}, "data.raw is not set"), ({"readers": {}}, "no source is chosen")],
)
def test_what_is_missing_is_named(raw: RawSource, changes: dict[str, None], words: str) -> None:
    with pytest.raises(UserError, match=words):
        replace(raw, **changes).prepare()  # type: ignore[arg-type]


def test_rows_known_to_be_absent_are_listed_but_not_opened(raw: RawSource) -> None:
    def reader(root: Path) -> Listing:
        found = of_folder(root)
        absent = {"path": "not/there.png", "label": "covid19", "on_disk": "no", "split": "test"}
        rows = [{**row, "on_disk": "yes"} for row in found.rows.iter_rows(named=True)]
        return listing([*rows, absent])

    source = replace(raw, readers={"a": reader})
    assert source.list_files().listed().rows.height == 25
    prepared = source.prepare()
    assert len(Cache(prepared.cache)) == 24
    assert not [problem for problem in prepared.problems if problem.severity == "error"]


def test_join_fills_columns_and_keeps_one_row_a_file() -> None:
    first = listing([{"path": "x.png", "age": "50"}, {"path": "y.png", "age": ""}])
    second = listing([{"path": "x.png", "label": "normal"}, {"path": "z.png", "sex": "F"}])
    for order in ([first, second], [second, first]):
        joined = join(order)
        rows = {row["path"]: row for row in joined.rows.iter_rows(named=True)}
        assert set(rows) == {"x.png", "y.png", "z.png"}
        assert rows["x.png"]["label"] == "normal"
        assert (rows["y.png"]["sex"], rows["z.png"]["sex"]) == ("", "F")
        (problem,) = joined.problems
        assert (problem.file, problem.kind) == ("x.png", "listed_twice")


def test_two_readers_that_disagree_on_a_label() -> None:
    one = listing([{"path": "x.png", "label": "normal", "source": "s"}, {"path": "y.png"}])
    other = listing([{"path": "x.png", "label": "covid19", "source": "t"}])
    joined = join([one, other])
    assert joined.rows.get_column("path").to_list() == ["y.png"]
    (problem,) = joined.problems
    assert (problem.kind, problem.severity, problem.action) == (
        "label_conflict",
        "error",
        "left out",
    )
    assert problem.reason == "listed 2 times, as of s and t, with the labels normal and covid19"
