from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hideseek.data.floor import (
    Floor,
    cell_floor,
    headline,
    metadata_floor,
    model_floor,
    usable_columns,
)
from hideseek.data.manifest import read_manifest, with_splits
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


@pytest.fixture(scope="module")
def covidx5(pack: Path) -> pl.DataFrame:
    """Both lists and the RSNA headers, read here and not by the package's reader."""
    with (pack / "rsna-pneumonia/dicom_headers_covidx5.csv").open() as lines:
        headers = {row.pop("PatientID"): row for row in csv.DictReader(lines)}
    rows = []
    for split in ("train", "test"):
        for line in (pack / f"COVID-Net/labels/{split}_COVIDx5.txt").read_text().splitlines():
            patient, file, label, *source = line.split(" ")
            header = headers.get(patient, {})
            rows.append(
                {
                    "patient_id": patient,
                    "label": label.lower().replace("-", ""),
                    "split": split,
                    # The test list leaves the source of some out: RSNA, or four times Cohen.
                    "source": source[0] if source else "rsna" if header else "cohen",
                    "view": header.get("ViewPosition", ""),
                    "sex": header.get("PatientSex", ""),
                    "age": header.get("PatientAge", ""),
                    "format": "PNG" if file.endswith(".png") else "JPEG",
                }
            )
    return pl.DataFrame(rows)


def parts(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    return rows.filter(pl.col("split") != "test"), rows.filter(pl.col("split") == "test")


def test_covidx_needs_no_pixel(covidx5: pl.DataFrame) -> None:
    """Audit specification, 0.1: 259 of the paper's 300 test images."""
    floor = cell_floor(*parts(covidx5), ["source", "view"], CLASSES)
    assert (floor.correct, floor.n, floor.fitted_on) == (259, 300, 13_958)
    assert floor.confusion == ((83, 17, 0), (20, 76, 4), (0, 0, 100))
    assert floor.sensitivity == pytest.approx((0.83, 0.76, 1.0))
    assert floor.ppv == pytest.approx((83 / 103, 76 / 93, 100 / 104))
    assert floor.validated == pytest.approx(0.861, abs=2e-3)


def test_covidx_all_columns(covidx5: pl.DataFrame) -> None:
    """More columns know no less, within the noise of cross-validation."""
    names = ["source", "view", "sex", "age", "format"]
    cells = cell_floor(*parts(covidx5), ["source", "view"], CLASSES)
    model = model_floor(*parts(covidx5), names, CLASSES)
    assert model.validated is not None and cells.validated is not None
    assert model.validated > cells.validated - 0.005
    assert model.correct >= cells.correct
    assert model.auc is not None and cells.auc is not None and model.auc >= cells.auc - 0.005


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
    assert floor.validated is not None  # 7 patients make 5 folds
    assert floor.auc is None  # no pneumonia is tested
    assert floor.fitted_on == 7


def test_auc_by_hand() -> None:
    """Shares of the cells: s 2/3 against 1/3, t 0 against 1."""
    rows = pl.DataFrame(
        [("a", "s"), ("a", "s"), ("b", "s"), ("b", "t")], schema=["label", "source"], orient="row"
    ).with_columns(pl.Series("patient_id", list("wxyz")))
    test = rows[[0, 2, 3]]
    floor = cell_floor(rows, test, ["source"])
    # b, t is above a, s; b, s is level with it: (1 + 1/2) / 2, for each class.
    assert floor.auc == pytest.approx(0.75)
    assert floor.validated is None
    assert floor.confusion == ((1, 0), (1, 1))


def test_a_column_that_is_the_label_gives_everything_away() -> None:
    rows = table(300)
    floors = metadata_floor(rows.with_columns(pl.col("label").alias("source")), CLASSES)
    assert floors[0].accuracy == 1.0
    assert floors[0].validated == 1.0
    assert floors[0].label_like


def test_the_test_rows_do_not_choose_the_headline() -> None:
    rows = table(200, source=["s", "t"] * 100, view=["AP", "AP", "PA", ""] * 50)
    floors = metadata_floor(rows, CLASSES)
    assert floors[0] == headline(floors)
    poor, good = floors[0], replace(floors[1], validated=0.9, correct=0, accuracy=0.0)
    assert headline([poor, good]) is good
    fewer = replace(good, columns=("a",))
    assert headline([replace(good, accuracy=1.0), fewer]) is fewer
    assert headline([replace(good, validated=None, accuracy=1.0), good]) is good


def test_independent_columns_are_at_chance() -> None:
    found = []
    for seed in range(4):
        rng = np.random.default_rng(100 + seed)
        columns = {
            "source": rng.choice(["a", "b", "c"], 600).tolist(),
            "view": rng.choice(["AP", "PA", ""], 600).tolist(),
            "age": [str(age) for age in rng.integers(18, 90, 600)],
            "width": [str(width) for width in rng.integers(500, 3000, 600)],
        }
        floors = metadata_floor(table(600, seed, **columns), CLASSES)
        assert named(floors)["all columns"].columns == ("source", "view", "age", "width")
        assert len(floors) == 6
        assert not any(floor.label_like for floor in floors)
        found += [(floor.correct, floor.n, floor.validated) for floor in floors]
        # Chosen among six, the headline is still at chance where it was not chosen.
        assert floors[0].accuracy == pytest.approx(1 / 3, abs=0.11)
    correct, n, validated = np.array(found, dtype=float).T
    assert correct.sum() / n.sum() == pytest.approx(1 / 3, abs=0.04)
    assert validated.mean() == pytest.approx(1 / 3, abs=0.03)


def test_permuted_labels_of_a_real_table_are_at_chance(covidx5: pl.DataFrame) -> None:
    """Labels exchanged between the rows of each split; classes as unequal as they are."""
    train, test = parts(covidx5.drop("age"))
    rng = np.random.default_rng(0)
    found = []
    for _ in range(6):
        some = train[rng.choice(train.height, 1500, replace=False)]
        shuffled = [
            part.with_columns(pl.Series("label", rng.permutation(part.get_column("label"))))
            for part in (some, test)
        ]
        found.append(model_floor(*shuffled, ["source", "view", "sex", "format"], CLASSES).accuracy)
    assert np.mean(found) == pytest.approx(1 / 3, abs=4 * np.sqrt(2 / 9 / (6 * 300)))


def test_columns() -> None:
    rows = table(
        40,
        source=["s", "t"] * 20,
        view=["PA"] * 40,
        finding=["x", "y"] * 20,
        name=[f"name{number}" for number in range(40)],
        age=[str(number // 2) for number in range(40)],
        age_group=["old", "young"] * 20,
        number=[str(number) for number in range(40)],
        spacing=[str(0.1 + number / 1000) for number in range(40)],
        nih_patient=["1", "2"] * 20,
        license=["a", "b"] * 20,
        **{"Lung mask": ["x", "y"] * 20},
    )
    assert usable_columns(rows) == ["source", "age", "age_group", "spacing"]


def test_numbers_with_gaps_are_used() -> None:
    rng = np.random.default_rng(0)
    rows = table(600)
    base = {"normal": 30, "pneumonia": 50, "covid19": 70}
    ages = [
        "" if rng.random() < 0.2 else str(base[label] + int(rng.integers(-8, 8)))
        for label in rows.get_column("label")
    ]
    floors = metadata_floor(rows.with_columns(pl.Series("age", ages)), CLASSES)
    assert [floor.name for floor in floors] == ["age"]
    assert floors[0].accuracy > 0.75
    odd = [age if number % 30 else "inf" for number, age in enumerate(ages)]
    odd[1] = "about 60"
    again = metadata_floor(rows.with_columns(pl.Series("age", odd)), CLASSES)
    assert again[0].accuracy > 0.7


def test_without_test_rows() -> None:
    rows = table(20).with_columns(pl.lit("train").alias("split"))
    with pytest.raises(UserError, match="needs training and test rows"):
        metadata_floor(rows, CLASSES)


def test_labels() -> None:
    rows = table(300, source=["s", "t"] * 150)
    unlabelled = rows.with_columns(pl.lit("").alias("label"))
    both = metadata_floor(pl.concat([rows, unlabelled]), CLASSES)
    assert both == metadata_floor(rows, CLASSES)
    with pytest.raises(UserError, match="is none of the classes a, b"):
        metadata_floor(rows, ["a", "b"])


def test_one_class_in_training() -> None:
    rows = table(60, age=[str(number // 2) for number in range(60)])
    rows = rows.with_columns(
        pl.when(pl.col("split") == "test").then("label").otherwise(pl.lit("normal")).alias("label")
    )
    floors = metadata_floor(rows, CLASSES)
    assert [sum(row[0] for row in floor.confusion) == floor.n for floor in floors] == [True]


@settings(deadline=None, max_examples=10)
@given(st.permutations(range(60)))
def test_order_does_not_matter(order: list[int]) -> None:
    rng = np.random.default_rng(1)
    rows = table(60, source=rng.choice(["a", "b"], 60).tolist())
    rows = rows.with_columns((pl.int_range(60) // 2).cast(pl.String).alias("patient_id"))
    assert metadata_floor(rows, CLASSES) == metadata_floor(rows[order], CLASSES)


def test_patients_are_not_divided() -> None:
    """A column that names the patient, and so his label, validates at chance."""
    rng = np.random.default_rng(0)
    patients = [f"p{number}" for number in range(100) for _ in range(6)]
    labels = dict(zip(dict.fromkeys(patients), rng.choice(CLASSES, 100), strict=True))
    rows = pl.DataFrame({"patient_id": patients, "label": [str(labels[each]) for each in patients]})
    rows = rows.with_columns(pl.col("patient_id").alias("room"))
    floor = cell_floor(rows, rows, ["room"], CLASSES)
    assert floor.accuracy == 1.0
    assert floor.validated is not None and floor.validated < 0.45


def test_real_manifest(pack: Path) -> None:
    rows = read_manifest(pack / "manifest.csv", "classify", CLASSES).rows
    rows = with_splits(rows, pack / "splits.csv", "classify")
    headers = []
    for path in rows.get_column("path"):
        with Image.open(pack / path) as image:
            headers.append((str(image.format), str(image.width), str(image.height)))
    facts = pl.DataFrame(headers, schema=["format", "width", "height"], orient="row")
    floors = metadata_floor(rows.hstack(facts), CLASSES)
    found = named(floors)
    assert set(found) == {
        *("source", "view", "format", "width", "height", "source, view", "all columns")
    }
    assert found["source"].n == 404
    assert found["source, view"].accuracy >= found["source"].accuracy - 0.01
    assert found["all columns"].accuracy >= found["source, view"].accuracy
    assert found["source"].sensitivity[2] == 1.0
    assert floors[0].name == "all columns"
    assert 0.65 < floors[0].accuracy < 0.8
