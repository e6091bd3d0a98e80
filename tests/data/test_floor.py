from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hideseek.data.floor import Floor, metadata_floor, usable_columns
from hideseek.data.manifest import read_manifest, with_splits
from hideseek.data.sources import covidx
from hideseek.errors import UserError

CLASSES = ("normal", "pneumonia", "covid19")


def table(count: int, seed: int = 0, **columns: list[str]) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    known = {
        "patient_id": [f"p{number}" for number in range(count)],
        "label": rng.choice(CLASSES, count).tolist(),
        "split": rng.choice(["train", "val", "test"], count, p=[0.5, 0.1, 0.4]).tolist(),
    }
    return pl.DataFrame({**known, **columns})


def named(floors: list[Floor]) -> dict[str, Floor]:
    return {floor.name: floor for floor in floors}


def test_covidx_needs_no_pixel(pack: Path) -> None:
    """Audit specification, 0.1: 259 of the paper's 300 test images."""
    rows = covidx.read(pack).rows
    floors = metadata_floor(rows.select("patient_id", "label", "split", "source", "view"), CLASSES)
    floor = named(floors)["source, view"]
    assert (floor.correct, floor.n) == (259, 300)
    assert floor.confusion == ((83, 17, 0), (20, 76, 4), (0, 0, 100))
    assert floor.sensitivity == pytest.approx((0.83, 0.76, 1.0))
    assert floor.ppv == pytest.approx((83 / 103, 76 / 93, 100 / 104))
    assert floors[0] is floor


def test_cells_by_hand() -> None:
    train = [
        ("normal", "s", "AP"),
        ("normal", "s", "AP"),
        ("normal", "s", "AP"),
        ("covid19", "s", "AP"),
        ("covid19", "t", "PA"),
        ("pneumonia", "t", "AP"),
        ("pneumonia", "t", "AP"),
    ]
    # Weights 1/3, 1/2 and 1/2: s AP is normal 1 against covid19 1/2; t AP pneumonia; t PA covid19.
    # A new view of s falls back to s; a new source to the whole, a tie, so to the first class.
    test = [("normal", "s", "AP"), ("covid19", "t", "PA"), ("normal", "s", "L"),
            ("normal", "u", "AP"), ("covid19", "t", "AP")]  # fmt: skip
    rows = pl.DataFrame([*train, *test], schema=["label", "source", "view"], orient="row")
    rows = rows.with_columns(
        pl.Series("split", ["train"] * len(train) + ["test"] * len(test)),
        pl.Series("patient_id", [str(number) for number in range(rows.height)]),
    )
    floor = named(metadata_floor(rows, CLASSES))["source, view"]
    assert floor.confusion == ((3, 0, 0), (0, 0, 0), (0, 1, 1))
    assert floor.sensitivity == (1.0, None, 0.5)
    assert floor.ppv == (1.0, 0.0, 1.0)
    assert floor.accuracy == pytest.approx(0.8)


def test_a_column_that_is_the_label_gives_everything_away() -> None:
    rows = table(300)
    floors = metadata_floor(rows.with_columns(pl.col("label").alias("source")), CLASSES)
    assert floors[0].accuracy == 1.0
    assert floors[0].validated == 1.0


def test_independent_columns_are_at_chance() -> None:
    found = []
    for seed in range(6):
        rng = np.random.default_rng(100 + seed)
        columns = {
            "source": rng.choice(["a", "b", "c"], 600).tolist(),
            "view": rng.choice(["AP", "PA", ""], 600).tolist(),
            "age": [str(age) for age in rng.integers(18, 90, 600)],
            "width": [str(width) for width in rng.integers(500, 3000, 600)],
        }
        floors = named(metadata_floor(table(600, seed, **columns), CLASSES))
        assert floors["all columns"].columns == ("source", "view", "age", "width")
        found += [(floor.correct, floor.n) for floor in floors.values()]
    correct, n = np.sum(found, axis=0)
    assert correct / n == pytest.approx(1 / 3, abs=0.03)


def test_columns() -> None:
    rows = table(
        40,
        source=["s", "t"] * 20,
        view=["PA"] * 40,
        finding=["x", "y"] * 20,
        name=[f"name{number}" for number in range(40)],
        age=[str(number) for number in range(40)],
    )
    assert usable_columns(rows) == ["source", "age"]


def test_numbers_with_gaps_are_used() -> None:
    rng = np.random.default_rng(0)
    rows = table(600)
    base = {"normal": 30, "pneumonia": 50, "covid19": 70}
    ages = [
        "" if rng.random() < 0.2 else str(base[label] + int(rng.integers(-8, 8)))
        for label in rows.get_column("label")
    ]
    floors = metadata_floor(rows.with_columns(pl.Series("age", ages)), CLASSES)
    assert floors[0].name == "all columns"
    assert floors[0].accuracy > 0.75


def test_without_test_rows() -> None:
    rows = table(20).with_columns(pl.lit("train").alias("split"))
    with pytest.raises(UserError, match="needs training and test rows"):
        metadata_floor(rows, CLASSES)


@settings(deadline=None, max_examples=5)
@given(st.permutations(range(60)))
def test_order_does_not_matter(order: list[int]) -> None:
    rng = np.random.default_rng(1)
    rows = table(60, source=rng.choice(["a", "b"], 60).tolist())
    one, other = (
        named(metadata_floor(each, CLASSES))["source"].confusion for each in (rows, rows[order])
    )
    assert one == other


def test_real_manifest(pack: Path) -> None:
    rows = read_manifest(pack / "manifest.csv", "classify", CLASSES).rows
    rows = with_splits(rows, pack / "splits.csv", "classify")
    floors = named(metadata_floor(rows, CLASSES))
    assert floors["source"].n == 404
    assert floors["source, view"].accuracy >= floors["source"].accuracy - 0.01
    assert floors["source"].sensitivity[2] == 1.0
