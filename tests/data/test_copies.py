from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from hideseek.data.copies import SAME, without_copies
from hideseek.data.problems import Problem


def rows(*each: tuple[str, str, str, str]) -> pl.DataFrame:
    columns = ("path", "label", "patient_id", "split")
    return pl.DataFrame(each, schema=dict.fromkeys(columns, pl.String), orient="row")


def left(table: pl.DataFrame) -> str:
    return "".join(table.get_column("path"))


def kinds(problems: Sequence[Problem]) -> list[tuple[str, str, str]]:
    return [(problem.file, problem.kind, problem.action) for problem in problems]


def test_second_row_of_one_picture_is_left_out() -> None:
    table = rows(("a", "normal", "p", ""), ("b", "normal", "p", ""), ("c", "normal", "q", ""))
    used, problems = without_copies(table, [(0, 1, 0.9995)])
    assert left(used) == "ac"
    assert used.get_column("group").to_list() == ["p", "q"]
    assert kinds(problems) == [("b", "duplicate", "left out")]
    assert "correlates 0.9995 with a" in problems[0].reason


def test_similar_pictures_stay_in_one_group() -> None:
    table = rows(("a", "normal", "q", ""), ("b", "normal", "p", ""))
    used, problems = without_copies(table, [(0, 1, 0.99)])
    assert left(used) == "ab"
    assert used.get_column("group").to_list() == ["p", "p"]
    assert kinds(problems) == [
        ("b", "near_duplicate", "kept, in one group"),
        ("b", "patient_conflict", "patients in one group"),
    ]


def test_one_picture_under_two_labels_is_not_used_at_all() -> None:
    table = rows(("a", "normal", "p", ""), ("b", "covid19", "p", ""), ("c", "normal", "q", ""))
    used, problems = without_copies(table, [(0, 1, SAME)])
    assert left(used) == "c"
    assert kinds(problems) == [("b", "label_conflict", "left out"),
                               ("a", "label_conflict", "left out")]  # fmt: skip
    assert problems[0].severity == "error"
    used, problems = without_copies(table, [(0, 1, SAME - 1e-6)])
    assert left(used) == "abc"
    assert problems[0].severity == "warning"


def test_a_given_test_list_stays_whole() -> None:
    table = rows(("a", "normal", "p", "test"), ("b", "normal", "p", "test"),
                 ("c", "covid19", "p", "test"), ("d", "covid19", "q", "train"))  # fmt: skip
    used, problems = without_copies(table, [(0, 1, 1.0), (0, 2, 1.0), (0, 3, 1.0)])
    assert left(used) == "abc"
    whole = "kept: the test list stays whole"
    assert kinds(problems) == [
        ("b", "duplicate", whole),
        ("c", "label_conflict", whole),
        ("d", "label_conflict", "kept, in one group"),
        ("d", "patient_conflict", "patients in one group"),
        ("d", "copy_in_two_splits", "left out of train"),
    ]
    assert problems[-1].reason == "a near-duplicate is in test, too: a"


def test_a_copy_in_two_given_splits_stays_in_the_test_set() -> None:
    table = rows(
        ("a", "normal", "p", "train"),
        ("b", "normal", "q", "test"),
        ("c", "normal", "r", "train"),
        ("d", "normal", "r", "val"),
    )
    used, problems = without_copies(table, [(0, 1, 0.9999)])
    assert left(used) == "bd"
    assert kinds(problems) == [
        ("b", "near_duplicate", "kept, in one group"),
        ("b", "patient_conflict", "patients in one group"),
        ("a", "copy_in_two_splits", "left out of train"),
        ("c", "patient_in_two_splits", "left out of train"),
    ]
    assert problems[-1].reason == "patient 'r' is in val, too: d"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["normal", "covid19"]),
            st.sampled_from("pqrs"),
            st.sampled_from(["train", "val", "test"]),
        ),
        min_size=2,
        max_size=10,
    ),
    st.data(),
)
def test_nothing_straddles_and_nothing_vanishes_unsaid(
    each: list[tuple[str, str, str]], data: st.DataObject
) -> None:
    table = rows(*((str(number), *row) for number, row in enumerate(each)))
    places = st.integers(0, len(each) - 1)
    pairs = [
        (min(pair), max(pair), alike)
        for *pair, alike in data.draw(
            st.lists(st.tuples(places, places, st.floats(0.985, 1.0)), max_size=6)
        )
        if pair[0] != pair[1]
    ]
    used, problems = without_copies(table, pairs)
    splits = used.group_by("group").agg(pl.col("split").n_unique())
    assert (splits.get_column("split") <= 1).all()
    gone = set(table.get_column("path")) - set(used.get_column("path"))
    told = {problem.file for problem in problems if problem.action.startswith("left out")}
    assert gone == told
    tests = table.filter(pl.col("split") == "test").get_column("path")
    assert set(tests) <= set(used.get_column("path"))
    assert used.get_column("path").is_sorted()
