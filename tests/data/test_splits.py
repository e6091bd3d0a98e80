from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import LinearConstraint, milp

from hideseek.data.copies import group_ids, straddlers
from hideseek.data.splits import check_disjoint, complete_splits
from hideseek.errors import UserError

CLASSES = ("normal", "pneumonia", "covid19")
SPLITS = ("train", "val", "test")
SINGLE = {"train": 0.72, "val": 0.08, "test": 0.2}
THIRDS = {"train": 0.6, "val": 0.2 / 3, "test": 1 / 3}


def table(
    patients: Sequence[str], labels: Sequence[str], splits: Sequence[str] | None = None
) -> pl.DataFrame:
    columns = {
        "image_id": [f"img{number}" for number in range(len(patients))],
        "label": labels,
        "patient_id": patients,
        "split": splits or [""] * len(patients),
    }
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))


def patients_of(completed: pl.DataFrame, split: str, group: str = "patient_id") -> set[str]:
    return set(completed.filter(pl.col("split") == split).get_column(group))


def classes_of(completed: pl.DataFrame, split: str) -> set[str]:
    return set(completed.filter(pl.col("split") == split).get_column("label"))


def worst_share(completed: pl.DataFrame, wanted: dict[str, float]) -> float:
    """Largest error of a class's share of a split, or of its share within one."""
    worst = 0.0
    for split, share in wanted.items():
        part = completed.filter(pl.col("split") == split).get_column("label")
        for name in CLASSES:
            ours, all_ = (part == name), (completed.get_column("label") == name)
            errors = (ours.sum() / all_.sum() - share, ours.sum() / len(ours) - all_.mean())
            worst = max(worst, *map(abs, errors))
    return worst


seeds = st.integers(0, 2**32 - 1)
cohorts = st.integers(40, 120).flatmap(
    lambda size: st.lists(
        st.tuples(st.integers(0, 40).map(str), st.sampled_from(CLASSES)),
        min_size=size,
        max_size=size,
    )
)
pure_groups = st.lists(
    st.tuples(st.integers(3, 9), st.lists(st.integers(1, 30), min_size=9, max_size=9)),
    min_size=1,
    max_size=5,
)
"""For each class the number of its patients, and how many images they have."""


def pure(classes: list[tuple[int, list[int]]]) -> pl.DataFrame:
    rows = [
        (f"c{number}p{patient}", f"c{number}")
        for number, (patients, images) in enumerate(classes)
        for patient in range(patients)
        for _ in range(images[patient])
    ]
    return table([patient for patient, _ in rows], [label for _, label in rows])


def divided(unsplit: pl.DataFrame, *arguments: int) -> pl.DataFrame:
    try:
        return complete_splits(unsplit, *arguments)
    except UserError as error:
        assert "too few" in str(error)
        assume(False)
        raise


@settings(max_examples=60, deadline=None)
@given(cohorts, seeds)
def test_patients_never_straddle_splits(cohort: list[tuple[str, str]], seed: int) -> None:
    given_table = table([patient for patient, _ in cohort], [label for _, label in cohort])
    completed = divided(given_table, seed)
    groups = [patients_of(completed, split) for split in SPLITS]
    assert all(groups)
    assert sum(map(len, groups)) == len(set.union(*groups)) == given_table["patient_id"].n_unique()
    assert completed.drop("split").equals(given_table.drop("split"))
    assert complete_splits(given_table, seed).equals(completed)
    backwards = complete_splits(given_table.reverse(), seed)
    assert backwards.reverse().equals(completed)


@settings(max_examples=60, deadline=None)
@given(cohorts, seeds)
def test_validation_comes_out_of_train_alone(cohort: list[tuple[str, str]], seed: int) -> None:
    before = ["test" if int(patient) % 4 == 0 else "train" for patient, _ in cohort]
    given_table = table([patient for patient, _ in cohort], [label for _, label in cohort], before)
    after = divided(given_table, seed).get_column("split").to_list()
    for was, now in zip(before, after, strict=True):
        assert now == "test" if was == "test" else now in ("train", "val")


@settings(max_examples=60, deadline=None)
@given(pure_groups, seeds)
def test_every_class_of_three_groups_is_in_every_split(
    classes: list[tuple[int, list[int]]], seed: int
) -> None:
    completed = divided(pure(classes), seed)
    for split in SPLITS:
        assert classes_of(completed, split) == {f"c{number}" for number in range(len(classes))}


@settings(max_examples=40, deadline=None)
@given(pure_groups, seeds, st.integers(3, 5), st.integers(0, 4))
def test_every_class_is_in_every_fold(
    classes: list[tuple[int, list[int]]], seed: int, folds: int, fold: int
) -> None:
    completed = divided(pure(classes), seed, folds, fold % folds)
    for number, (patients, _) in enumerate(classes):
        if patients >= folds:
            assert all(f"c{number}" in classes_of(completed, split) for split in SPLITS)


def can_cover(has: np.ndarray, parts: int) -> bool:
    """Ask an integer program whether every class of so many groups can be in every part."""
    groups, classes = has.shape
    one_part = np.kron(np.eye(groups), np.ones(parts))
    covered = [
        np.kron(has[:, each], np.eye(parts)[part])
        for each in range(classes)
        if has[:, each].sum() >= parts
        for part in range(parts)
    ]
    bounds = [LinearConstraint(one_part, 1, 1)]
    bounds += [LinearConstraint(np.array(covered), 1, np.inf)] if covered else []
    size = groups * parts
    answer = milp(np.zeros(size), integrality=np.ones(size), bounds=(0, 1), constraints=bounds)
    return answer.x is not None


@settings(max_examples=80, deadline=None)
@given(st.lists(st.sets(st.integers(0, 5), min_size=1, max_size=4), min_size=5, max_size=14), seeds)
def test_mixed_groups_cover_every_split_wherever_that_is_possible(
    groups: list[set[int]], seed: int
) -> None:
    groups = [*groups, *[{6}] * 12]  # enough images to be divided at all
    rows = [
        (f"p{number:02}", f"c{label}") for number, group in enumerate(groups) for label in group
    ]
    completed = complete_splits(table([row[0] for row in rows], [row[1] for row in rows]), seed)
    has = np.array([[label in group for label in range(7)] for group in groups])
    missing = [
        label
        for label in np.flatnonzero(has.sum(axis=0) >= 3)
        if any(f"c{label}" not in classes_of(completed, split) for split in SPLITS)
    ]
    assert not missing or not can_cover(has, 3)


def test_the_cover_of_three_classes_that_have_none() -> None:
    # Patients 1, 2, 3 and 1, 2, 4 force 3 and 4 into one split, which leaves 3, 4, 5 two of three.
    groups = {"c0": "123", "c1": "124", "c2": "345", "other": "abcdefghijkl"}
    rows = [(patient, label) for label, group in groups.items() for patient in group]
    completed = complete_splits(table([row[0] for row in rows], [row[1] for row in rows]), 0)
    absent = [name for split in SPLITS for name in groups.keys() - classes_of(completed, split)]
    assert len(absent) == 1 and absent != ["other"]


@settings(max_examples=40, deadline=None)
@given(cohorts, seeds, st.integers(2, 5))
def test_test_sets_of_folds_partition_the_images(
    cohort: list[tuple[str, str]], seed: int, folds: int
) -> None:
    given_table = table([patient for patient, _ in cohort], [label for _, label in cohort])
    completed = [divided(given_table, seed, folds, fold) for fold in range(folds)]
    tested = np.array([each["split"].to_numpy() == "test" for each in completed])
    assert (tested.sum(axis=0) == 1).all()
    assert tested.any(axis=1).all()
    for each in completed:
        assert (
            sum(len(patients_of(each, split)) for split in SPLITS) == each["patient_id"].n_unique()
        )


def test_a_giant_group_stays_whole_and_leaves_the_classes_in_balance() -> None:
    patients = ["giant" if number < 80 else f"p{number // 2}" for number in range(600)]
    labels = ["covid19"] * 200 + ["normal"] * 200 + ["pneumonia"] * 200
    completed = complete_splits(table(patients, labels), 0)
    assert worst_share(completed, SINGLE) < 0.015
    for fold in range(3):  # the giant is 40 % of a class where a third is due
        assert worst_share(complete_splits(table(patients, labels), 0, 3, fold), THIRDS) < 0.08


def test_a_giant_among_three_groups_goes_to_train() -> None:
    unsplit = pure([(3, [50, 1, 1] + [1] * 6), (9, [9] * 9)])
    for seed in range(5):
        completed = complete_splits(unsplit, seed)
        assert "c0p0" in patients_of(completed, "train")
        assert classes_of(completed, "val") == classes_of(completed, "test") == {"c0", "c1"}


def test_large_and_small_patients_are_in_every_split_alike() -> None:
    sizes = [1] * 200 + [2] * 100 + [5] * 50
    patients = [f"p{number}" for number, size in enumerate(sizes) for _ in range(size)]
    completed = complete_splits(table(patients, ["normal"] * len(patients)), 0)
    means = completed.group_by("split").agg(pl.len() / pl.col("patient_id").n_unique())
    for mean in means.get_column("len"):
        assert mean == pytest.approx(650 / 350, rel=0.1)


def test_shares_of_images_and_classes() -> None:
    patients = [f"p{number // 2}" for number in range(600)]
    labels = [CLASSES[number // 2 % 3 if number < 540 else 0] for number in range(600)]
    assert worst_share(complete_splits(table(patients, labels), seed=1), SINGLE) < 0.02


def test_unlabelled_rows_are_balanced_by_source() -> None:
    unsplit = table([f"p{number}" for number in range(200)], ["normal"] * 50 + [""] * 150)
    source = ["normal"] * 150 + ["montgomery"] * 50  # a source's name is no class
    completed = complete_splits(unsplit.with_columns(source=pl.Series(source)), 0)
    counts = completed.filter(pl.col("split") == "test").group_by("label", "source").len()
    assert sorted(counts.iter_rows()) == [
        ("", "montgomery", 10),
        ("", "normal", 20),
        ("normal", "normal", 10),
    ]


def test_given_splits_are_never_changed() -> None:
    patients = [str(number) for number in range(30)]
    splits = ["train"] * 20 + ["val"] * 5 + ["test"] * 5
    given_table = table(patients, ["normal"] * 30, splits)
    assert complete_splits(given_table, 0).equals(given_table)


def test_the_seed_decides() -> None:
    given_table = table([str(number) for number in range(60)], [CLASSES[n % 3] for n in range(60)])
    chosen = {tuple(complete_splits(given_table, seed).get_column("split")) for seed in range(5)}
    assert len(chosen) == 5


def test_refusals() -> None:
    with pytest.raises(UserError, match="'img1' has no split though others have"):
        complete_splits(table(["a", "b"], ["normal"] * 2, ["train", ""]), 0)
    with pytest.raises(UserError, match="too few"):
        complete_splits(table(["a", "b"], ["normal"] * 2), 0)
    with pytest.raises(UserError, match=r"^0 patients, 0 images .* too few"):
        complete_splits(table(["a", "b"], ["normal"] * 2, ["test"] * 2), 0)
    with pytest.raises(UserError, match="too few"):
        complete_splits(table([], []), 0)
    few_of_each = [CLASSES[number % 3] for number in range(12)]
    with pytest.raises(UserError, match="4 images at most of one class"):
        complete_splits(
            table([str(number) for number in range(12)], few_of_each, ["train"] * 12), 0
        )
    with pytest.raises(UserError, match="negative"):
        complete_splits(table([], []), -1)


def test_refusals_of_folds() -> None:
    unsplit = table([str(number) for number in range(60)], ["normal"] * 60)
    for folds, fold in ((3, 3), (3, -1), (1, 0), (0, 0), (None, 1)):
        with pytest.raises(UserError, match=f"fold {fold} of {folds} does not exist"):
            complete_splits(unsplit, 0, folds, fold)
    with pytest.raises(UserError, match=r"too few to set 33% apart"):
        complete_splits(unsplit[:2], 0, 3)
    listed = unsplit.with_columns(split=pl.Series(["", "train"] * 30))
    with pytest.raises(UserError, match="'img1' has a split already, and 3 folds would change it"):
        complete_splits(listed, 0, 3)


def test_patient_in_two_given_splits() -> None:
    given_table = table(["b", "a", "a", "b"], ["normal"] * 4, ["train", "val", "train", "test"])
    with pytest.raises(UserError, match=r"patient 'a' is in train and val \(2 such patients\)"):
        complete_splits(given_table, 0)
    check_disjoint(given_table.filter(pl.col("split") == "train"))
    joined = given_table.with_columns(group=pl.lit("a"))
    with pytest.raises(UserError, match=r"group 'a' is in test and train and val \(1 such groups"):
        complete_splits(joined, 0, group="group")


def test_near_duplicates_join_patients_through_others() -> None:
    rows = table(["b", "c", "a", "e", "d", "b"], ["normal"] * 6)
    assert group_ids(rows, []) == ["b", "c", "a", "e", "d", "b"]
    assert group_ids(rows, [(5, 1), (1, 3), (1, 3)]) == ["b", "b", "a", "b", "d", "b"]
    assert group_ids(rows, [(0, 5), (4, 2)]) == ["b", "c", "a", "e", "a", "b"]
    assert group_ids(rows[:0], []) == []


pairs_of_60 = st.lists(st.tuples(st.integers(0, 59), st.integers(0, 59)), max_size=40)


@settings(max_examples=40, deadline=None)
@given(pairs_of_60, seeds, st.sampled_from((None, 3)))
def test_near_duplicates_never_straddle_splits(
    pairs: list[tuple[int, int]], seed: int, folds: int | None
) -> None:
    rows = table([f"p{number // 2:02}" for number in range(60)], ["normal"] * 60)
    rows = rows.with_columns(group=pl.Series(group_ids(rows, pairs), dtype=pl.String))
    assert all(name <= own for name, own in rows.select("group", "patient_id").iter_rows())
    try:
        split = complete_splits(rows, seed, folds, group="group").get_column("split")
    except UserError as error:
        assert "too few" in str(error)
        return
    assert all(split[first] == split[second] for first, second in pairs)


def test_what_straddles_is_left_out_of_the_less_protected_split() -> None:
    splits = ["train", "test", "val", "train", "val", "", "train", ""]
    rows = table(["a", "a", "a", "b", "b", "b", "c", "d"], ["normal"] * 8, splits)
    assert straddlers(rows, "patient_id") == [
        (0, "test", "train"),
        (2, "test", "val"),
        (3, "val", "train"),
    ]


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from(SPLITS)), max_size=30))
def test_without_straddlers_the_splits_are_disjoint(rows: list[tuple[str, str]]) -> None:
    given_table = table([name for name, _ in rows], ["normal"] * len(rows), [s for _, s in rows])
    leave = {number for number, _, _ in straddlers(given_table, "patient_id")}
    kept = given_table[[number for number in range(len(rows)) if number not in leave]]
    check_disjoint(kept)
    assert set(kept["patient_id"]) == set(given_table["patient_id"])
    assert patients_of(kept, "test") == patients_of(given_table, "test")


def real_rows(pack: Path, task: str) -> pl.DataFrame:
    rows = pl.read_csv(pack / "manifest.csv", infer_schema=False).with_columns(
        pl.all().fill_null("")
    )
    used = rows.filter(pl.col("role").is_in([task, "both"]))
    return used.with_columns(pl.col("image").alias("image_id"), pl.lit("").alias("split"))


def test_the_real_splits(pack: Path) -> None:
    lists = pl.read_csv(pack / "splits.csv", infer_schema=False)
    for task in ("classify", "segment"):
        given_lists = lists.filter(pl.col("task") == task).select("image", "split")
        rows = real_rows(pack, task).drop("split").join(given_lists, on="image")
        assert rows.height > 200
        assert complete_splits(rows, 0).equals(rows)
        assert straddlers(rows, "patient_id") == []


def test_balance_on_the_real_manifest(pack: Path) -> None:
    rows = real_rows(pack, "classify")
    for seed in range(3):
        own = complete_splits(rows, seed)
        assert not patients_of(own, "train") & patients_of(own, "test")
        assert worst_share(own, SINGLE) < 0.01
        for fold in range(3):
            assert worst_share(complete_splits(rows, seed, 3, fold), THIRDS) < 0.01
