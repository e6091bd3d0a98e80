from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hideseek.data.manifest import read_manifest, with_splits
from hideseek.data.splits import check_disjoint, complete_splits
from hideseek.errors import UserError

CLASSES = ("normal", "pneumonia", "covid19")


def table(patients: list[str], labels: list[str], splits: list[str] | None = None) -> pl.DataFrame:
    columns = {
        "image_id": [f"img{number}" for number in range(len(patients))],
        "label": labels,
        "patient_id": patients,
        "split": splits or [""] * len(patients),
    }
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))


def patients_of(completed: pl.DataFrame, split: str) -> set[str]:
    return set(completed.filter(pl.col("split") == split).get_column("patient_id"))


cohorts = st.lists(
    st.tuples(st.integers(0, 40).map(str), st.sampled_from(CLASSES)), min_size=10, max_size=120
)


@pytest.mark.filterwarnings("ignore:The least populated class")
@settings(max_examples=60, deadline=None)
@given(cohorts, st.integers(0, 2**32 - 1))
def test_patients_never_straddle_splits(cohort: list[tuple[str, str]], seed: int) -> None:
    given_table = table([patient for patient, _ in cohort], [label for _, label in cohort])
    try:
        completed = complete_splits(given_table, seed)
    except UserError as error:
        assert "too few" in str(error)
        return
    groups = [patients_of(completed, split) for split in ("train", "val", "test")]
    assert all(groups)
    assert sum(map(len, groups)) == len(set.union(*groups)) == given_table["patient_id"].n_unique()
    assert completed.drop("split").equals(given_table.drop("split"))
    assert complete_splits(given_table, seed).equals(completed)


@pytest.mark.filterwarnings("ignore:The least populated class")
@settings(max_examples=60, deadline=None)
@given(cohorts, st.integers(0, 1000))
def test_validation_comes_out_of_train_alone(cohort: list[tuple[str, str]], seed: int) -> None:
    before = ["test" if int(patient) % 4 == 0 else "train" for patient, _ in cohort]
    given_table = table([patient for patient, _ in cohort], [label for _, label in cohort], before)
    try:
        after = complete_splits(given_table, seed).get_column("split").to_list()
    except UserError as error:
        assert "too few" in str(error)
        return
    for was, now in zip(before, after, strict=True):
        assert now == "test" if was == "test" else now in ("train", "val")


def test_shares_of_images_and_classes() -> None:
    patients = [f"p{number // 2}" for number in range(600)]
    labels = [CLASSES[number // 2 % 3 if number < 540 else 0] for number in range(600)]
    completed = complete_splits(table(patients, labels), seed=1)
    counts = dict(completed.get_column("split").value_counts().iter_rows())
    assert abs(counts["test"] / 600 - 0.2) < 0.03
    assert abs(counts["val"] / (600 - counts["test"]) - 0.1) < 0.03
    for label in CLASSES:
        of_class = completed.filter(pl.col("label") == label).get_column("split")
        assert abs((of_class == "test").sum() / len(of_class) - 0.2) < 0.05
        assert abs((of_class == "val").sum() / len(of_class) - 0.08) < 0.04


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
    with pytest.raises(UserError, match="0 training patients"):
        complete_splits(table(["a", "b"], ["normal"] * 2, ["test"] * 2), 0)
    few_of_each = [CLASSES[number % 3] for number in range(12)]
    with pytest.raises(UserError, match="4 images at most of one class"):
        complete_splits(
            table([str(number) for number in range(12)], few_of_each, ["train"] * 12), 0
        )


def test_patient_in_two_given_splits() -> None:
    given_table = table(["b", "a", "a", "b"], ["normal"] * 4, ["train", "val", "train", "test"])
    with pytest.raises(UserError, match=r"patient 'a' is in train and val \(2 such patients\)"):
        complete_splits(given_table, 0)
    check_disjoint(given_table.filter(pl.col("split") == "train"))


def test_the_real_splits(pack: Path) -> None:
    for task in ("classify", "segment"):
        manifest = read_manifest(pack / "manifest.csv", task, CLASSES)
        given_table = with_splits(manifest, pack / "splits.csv", task)
        assert complete_splits(given_table, 0).equals(given_table)
    own = complete_splits(read_manifest(pack / "manifest.csv", "classify", CLASSES), 0)
    assert not patients_of(own, "train") & patients_of(own, "test")
