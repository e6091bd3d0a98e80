from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hideseek.audit.bootstrap import resample_counts
from hideseek.audit.cached import cache_of, described_rows
from hideseek.audit.floors import floors_on_test
from hideseek.audit.grid import Grid, read_grid
from hideseek.audit.section import Section
from hideseek.audit.sources import averaged, sources_section
from hideseek.data.cache import Cache, CacheRecipe, Entry, write_cache
from hideseek.errors import UserError
from tests.audit import sweep_folder
from tests.conftest import CLASSES

SIDE = 8
# Of each class 20 patients in training and 10 in test, as in COVIDx: all normals and pneumonias are
# of one source, where the view tells them apart in 8 of 10, and all COVID-19 is of another.
VIEWS = {"normal": "PPPPPPPPAA", "pneumonia": "AAAAAAAAPP", "covid19": "PPPPPAAAAA"}


def rows() -> list[dict[str, str]]:
    found = []
    for split, times in (("train", 2), ("test", 1)):
        for label in CLASSES:
            for number, view in enumerate(VIEWS[label] * times):
                name = f"{split}-{label}-{number}"
                found.append(
                    {
                        "image_id": name, "label": label, "patient_id": name, "split": split,
                        "source": "cohen" if label == "covid19" else "rsna", "view": f"{view}A",
                    }
                )  # fmt: skip
    return found


def judged_rows() -> pl.DataFrame:
    return pl.DataFrame(rows()).filter(pl.col("split") == "test")


def one_hot(labels: pl.Series) -> np.ndarray:
    """Certain and right."""
    return np.stack([(labels == name).to_numpy() for name in CLASSES], axis=1) * 0.97 + 0.01


def by_source(test: pl.DataFrame) -> np.ndarray:
    """Know the source and nothing else."""
    cohen = (test["source"] == "cohen").to_numpy()
    return np.where(cohen[:, None], [0.1, 0.1, 0.8], [0.5, 0.4, 0.1])


def write_sweep(folder: Path, cells: dict[str, list[np.ndarray]]) -> Path:
    """Write a cache and, by representation, cells whose probabilities are given, one a seed."""
    recipe = CacheRecipe("small", "classify", SIDE, "paper", CLASSES, "m" * 64, "s" * 16)
    blank = np.zeros((SIDE, SIDE), np.uint8)
    cache = folder / "caches" / recipe.file_name()
    entries = [Entry(blank, blank.astype(bool), row) for row in rows()]
    write_cache(cache, recipe, entries, len(entries))
    test = judged_rows()
    for roi, seeds in cells.items():
        for seed, scores in enumerate(seeds):
            cell = folder / "multirun" / "sweep" / f"tiny-{roi}-s{seed}"
            cell.mkdir(parents=True)
            names = pl.Series("prediction", [CLASSES[k] for k in scores.argmax(axis=1)])
            test.select("image_id", "patient_id", "source", "split", "label").with_columns(
                names, *(pl.Series(f"p_{name}", scores[:, k]) for k, name in enumerate(CLASSES))
            ).write_csv(cell / "predictions.csv")
            done = {
                "model": "tiny", "roi": roi, "seed": seed, "task": "classify", "classes": CLASSES,
                "fill": "black", "margin": 0.0, "recipe_hash": recipe.digest(),
            }  # fmt: skip
            (cell / "done.json").write_text(json.dumps(done))
            (cell / "provenance.json").write_text(json.dumps({"cache": f"caches/{cache.name}"}))
    return folder / "multirun" / "sweep"


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    test = judged_rows()
    return write_sweep(
        tmp_path, {"original": [one_hot(test["label"])], "lungs_removed": [by_source(test)]}
    )


def audited(sweep: Path) -> tuple[Grid, Section]:
    grid = read_grid(sweep)
    counts = resample_counts(grid.labels, grid.patients.to_numpy(), 200, seed=0)
    section = sources_section(sweep, grid, counts)
    json.dumps(section.content, allow_nan=False)
    return grid, section


def test_floors_are_those_worked_out_by_hand(sweep: Path) -> None:
    grid = read_grid(sweep)
    found = floors_on_test(described_rows(cache_of(sweep, "tiny-original-s0")), grid)
    correct = {floor.name: floor.correct for floor in found.floors}
    # The source calls every RSNA image normal; with the view 8 + 8 of 20 are right.
    assert correct["source"] == 20
    assert correct["source, view"] == 26
    assert found.best is not None and found.best.correct == 26
    assert found.best.fitted_on == 60
    truth = pl.Series(grid.images.get_column("label"))
    called = pl.Series([CLASSES[number] for number in found.predictions])
    assert (truth == called).sum() == found.best.correct


def test_excess_is_over_the_best_floor(sweep: Path) -> None:
    _, section = audited(sweep)
    table = section.tables["excess"]
    row = {
        roi: table.filter(
            pl.col("representation") == roi, pl.col("metric") == "balanced_accuracy"
        ).row(0, named=True)
        for roi in ("original", "lungs_removed")
    }
    assert row["original"]["excess"] == pytest.approx(1 - 26 / 30)
    assert row["lungs_removed"]["excess"] == pytest.approx(20 / 30 - 26 / 30)
    assert row["original"]["low"] > 0 > row["lungs_removed"]["high"]
    (line,) = [line for line in section.lines if line.startswith("tiny: balanced accuracy")]
    above, _, others = line.partition("; not shown")
    assert "original +0.133" in above and "lungs_removed -0.200" in others


def test_classes_without_a_shared_source_are_not_identifiable(sweep: Path) -> None:
    _, section = audited(sweep)
    for other in ("normal", "pneumonia"):
        assert any(
            line.startswith(f"{other} and covid19 share no source: nothing in these images can")
            for line in section.lines
        )
    verdicts = {
        (*each["classes"], *each["by"]): each["verdict"] for each in section.content["identifiable"]
    }
    assert verdicts["normal", "pneumonia", "source"] == "identifiable"
    assert verdicts["normal", "covid19", "source"] == "not"
    assert len(verdicts) == 6  # by source, and by source and view
    within = section.tables["strata"].filter(
        pl.col("stratum") == "within strata", pl.col("by") == "source"
    )
    for roi, auc in (("original", 1.0), ("lungs_removed", 0.5)):
        of = within.filter(pl.col("representation") == roi)
        assert of.filter(pl.col("class_b") == "pneumonia")["auc"].to_list() == [auc]
        assert of.filter(pl.col("class_b") == "covid19")["auc"].to_list() == [None, None]


def test_what_a_network_knows_beyond_the_source(sweep: Path) -> None:
    _, section = audited(sweep)
    table = section.tables["conditional"].filter(pl.col("by") == "source")
    original, removed = (table.row(place, named=True) for place in (0, 1))
    assert original["log_loss_p"] == 1 / 2001
    assert removed["log_loss_p"] == 1.0  # the same scores for all of a source: nothing to permute
    assert removed["bits_value"] == 0
    assert (original["patients"], original["set_aside"]) == (20, 10)
    assert any("within source, its prediction goes with the label" in e for e in section.lines)


def test_seeds_are_averaged_in_probability(tmp_path: Path) -> None:
    test = judged_rows()
    sure, wrong = one_hot(test["label"]), np.tile([0.2, 0.4, 0.4], (30, 1))
    sweep = write_sweep(tmp_path, {"original": [sure, wrong]})
    grid = read_grid(sweep)
    shown = averaged(grid, None)["tiny", "original"]
    covid = shown.filter(pl.col("label") == "covid19").row(0, named=True)
    assert covid["p_covid19"] == pytest.approx((0.98 + 0.4) / 2)
    assert covid["p_normal"] == pytest.approx((0.01 + 0.2) / 2)
    _, section = audited(sweep)
    accuracy = section.tables["excess"].filter(pl.col("metric") == "accuracy")
    assert accuracy["network"].to_list() == [1.0]


def test_metadata_that_tell_nothing_leave_guessing_as_the_floor(tmp_path: Path) -> None:
    sweep_folder.write_cell(tmp_path / "sweep", "original", 3.0)
    grid = read_grid(tmp_path / "sweep")
    # As many of each source and view in every class.
    names = grid.images.get_column("image_id").to_list()
    table = pl.DataFrame(
        {
            "image_id": [*names, *(f"train{n}" for n in range(120))],
            "patient_id": [*names, *(f"train{n}" for n in range(120))],
            "label": [*grid.images["label"], *(CLASSES[n % 3] for n in range(120))],
            "split": ["test"] * 120 + ["train"] * 120,
            "source": [f"hospital{n // 3 % 2}" for n in range(240)],
            "view": ["AP" if n // 6 % 2 else "PA" for n in range(240)],
        }
    )
    found = floors_on_test(table, grid)
    assert found.best is None
    assert (found.predictions == 0).all()
    assert [floor.name for floor in found.floors] == ["source", "source, view", "all columns"]


def test_a_floor_that_fails_on_a_new_source_is_replaced_by_guessing(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path, {"original": [by_source(judged_rows())]})
    grid = read_grid(sweep)
    table = pl.DataFrame(rows())
    found = floors_on_test(table, grid)
    assert found.best is not None
    # In the hospital that is tested the views are used the other way round, and cohen is rsna.
    is_test = pl.col("split") == "test"
    swapped = pl.when(pl.col("view") == "AA").then(pl.lit("PA")).otherwise(pl.lit("AA"))
    other = pl.when(pl.col("source") == "rsna").then(pl.lit("cohen")).otherwise(pl.lit("rsna"))
    changed = table.with_columns(
        view=pl.when(is_test).then(swapped).otherwise("view"),
        source=pl.when(is_test).then(other).otherwise("source"),
    )
    assert floors_on_test(changed, grid).best is None


def test_without_the_cache_what_needs_none_is_still_said(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    for roi, strength in (("original", 3.0), ("lungs_removed", 0.0)):
        sweep_folder.write_cell(sweep, roi, strength)
    _, section = audited(sweep)
    assert set(section.tables) == {"strata", "conditional"}
    assert set(section.content["not_available"]) == {"floor", "view"}
    assert "provenance.json" in section.content["not_available"]["floor"]
    assert sum("not available" in line for line in section.lines) == 2
    p = section.tables["conditional"]["log_loss_p"].to_list()
    assert p[0] == 1 / 2001 and p[1] > 0.01


def test_a_class_that_the_test_images_lack_is_not_applicable(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    folder = sweep_folder.write_cell(sweep, "original", 1.0)
    table = pl.read_csv(folder / "predictions.csv").filter(pl.col("label") != "pneumonia")
    table.write_csv(folder / "predictions.csv")
    _, section = audited(sweep)
    said = [line for line in section.lines if "n/a" in line]
    assert said == [
        "normal and pneumonia: n/a, no test image is pneumonia",
        "pneumonia and covid19: n/a, no test image is pneumonia",
    ]
    assert not any("share no" in line for line in section.lines)


def test_another_cache_is_refused(sweep: Path) -> None:
    done = sweep / "tiny-original-s0" / "done.json"
    done.write_text(done.read_text().replace('"recipe_hash": "', '"recipe_hash": "x'))
    with pytest.raises(UserError, match="not the cache that tiny-original-s0 read"):
        cache_of(sweep, "tiny-original-s0")
    provenance = sweep / "tiny-lungs_removed-s0" / "provenance.json"
    provenance.write_text('{"cache": "gone.h5"}')
    with pytest.raises(UserError, match=r"gone\.h5 is not on this machine"):
        cache_of(sweep, "tiny-lungs_removed-s0")
    _, section = audited(sweep)
    assert section.content["best_floor"] is None


def test_rows_are_described_by_the_manifest_beside_the_cache(sweep: Path) -> None:
    cache = cache_of(sweep, "tiny-original-s0")
    assert described_rows(cache).columns == [
        name for name in Cache(cache.path).table.columns if not name.startswith("mask_")
    ]
    manifest = pl.DataFrame(rows()).reverse().tail(80)  # not in order, and some rows are missing
    manifest = manifest.with_columns(
        age=pl.col("image_id").str.len_chars().cast(pl.String), mask_area=pl.lit("0.2")
    )
    manifest.write_csv(cache.path.with_suffix(".manifest.csv"))
    found = described_rows(cache)
    assert found["image_id"].to_list() == cache.table["image_id"].to_list()
    assert "mask_area" not in found.columns
    first = found.row(0, named=True)
    assert first["image_id"] == "train-normal-0" and first["age"] == "14"
    assert found["age"].to_list().count("") == 10
