"""What the test set's choice of the epoch is worth, against simulated epochs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom

from hideseek.audit.bootstrap import resample_counts
from hideseek.audit.command import audit
from hideseek.audit.grid import CellPredictions, Grid, read_grid
from hideseek.audit.selection import late_spread, optimism_table, selection_section
from hideseek.sweep.runs import Training
from tests.audit.sweep_folder import write_cell

IMAGES, EPOCHS = 300, 20
NOWHERE = Path("nowhere")
"""No file is read of cells without random boxes."""


def cell(right: np.ndarray, seed: int, selection: str) -> CellPredictions:
    """A cell of two classes; all images are of class 0."""
    predictions = np.where(right, 0, 1)
    return CellPredictions(
        "tiny", "original", "black", 0.0, seed, f"{selection}-{seed}", predictions,
        np.eye(2)[predictions], Training(selection),
    )  # fmt: skip


def grid(cells: list[CellPredictions]) -> Grid:
    names = [f"p{number}" for number in range(IMAGES)]
    images = pl.DataFrame({"image_id": names, "patient_id": names})
    guarded = tuple(each for each in cells if each.training.selection == "validation")
    aside = tuple(each for each in cells if each.training.selection == "paper")
    return Grid(("a", "b"), images, np.zeros(IMAGES, np.int64), guarded, "", aside)


def counts(resamples: int = 400) -> np.ndarray:
    return resample_counts(np.zeros(IMAGES, int), np.arange(IMAGES), resamples, 0)


def simulated(chance: np.ndarray, cells: int) -> pl.DataFrame:
    """Pair the best of 20 epochs with one that something else chose."""
    rng = np.random.default_rng(3)
    made = []
    for seed in range(cells):
        epochs = rng.random((EPOCHS, IMAGES)) < chance
        made.append(cell(epochs[epochs.mean(axis=1).argmax()], seed, "paper"))
        made.append(cell(epochs[0], seed, "validation"))
    return optimism_table(NOWHERE, grid(made), counts())


def test_the_best_of_20_independent_epochs_is_too_good_by_3_points():
    # The mean of the greatest of 20 binomial counts: sum over k of P(greatest > k).
    below = binom.cdf(np.arange(IMAGES), IMAGES, 0.9) ** EPOCHS
    expected = (1 - below).sum() / IMAGES - 0.9
    assert expected == pytest.approx(0.031, abs=0.001)
    found = simulated(np.full(IMAGES, 0.9), 200).row(-1, named=True)
    assert found["optimism"] == pytest.approx(expected, abs=0.004)


def test_where_most_images_are_easy_it_is_2_points():
    """Epochs of one training agree on easy images, so that less is left to chance."""
    easy = np.where(np.arange(IMAGES) < 240, 1, 0.5)
    assert easy.mean() == pytest.approx(0.9)
    found = simulated(easy, 200).row(-1, named=True)
    assert 0.02 < found["optimism"] < 0.027
    assert (found["model"], found["seed"]) == ("all", None)


def test_a_pair_is_compared_image_by_image():
    one, other = np.ones(IMAGES, bool), np.ones(IMAGES, bool)
    one[:10], other[:40] = False, False
    made = [cell(one, 0, "paper"), cell(other, 0, "validation")]
    table = optimism_table(NOWHERE, grid(made), counts())
    pair, everything = table.rows(named=True)
    assert pair["accuracy_paper"] == pytest.approx(290 / 300)
    assert pair["accuracy_validation"] == pytest.approx(260 / 300)
    assert pair["optimism"] == everything["optimism"] == pytest.approx(0.1)
    # 30 of 300 images differ, all one way: sd = sqrt(0.1 * 0.9 / 300) = 0.0173.
    assert pair["high"] - pair["low"] == pytest.approx(4 * 0.0173, rel=0.15)
    assert (pair["folder_paper"], pair["folder_validation"]) == ("paper-0", "validation-0")


def test_seeds_without_a_partner_and_shuffled_labels_are_no_pair():
    right = np.ones(IMAGES, bool)
    made = [cell(right, 0, "paper"), cell(right, 1, "validation")]
    assert optimism_table(NOWHERE, grid(made), counts()).is_empty()


def test_random_boxes_are_compared_with_the_same_random_boxes(tmp_path):
    for selection, draws in (("validation", (0, 1, 2)), ("paper", (2, 1))):
        for draw in draws:
            name = f"{selection}{draw}"
            folder = trained(write_cell(tmp_path, "random_box_out", float(draw)), selection, name)
            with (folder / "config.yaml").open("a") as config:
                config.write(f"roi: {{draw: {draw}}}\n")
            (folder / "overrides.yaml").write_text(f"- roi.draw={draw}\n")
    trained(write_cell(tmp_path, "random_box_out", 1.0), "paper", "unknown")
    found = read_grid(tmp_path)
    drawn = resample_counts(found.labels, found.patients.to_numpy(), 100, 0)
    table = optimism_table(tmp_path, found, drawn)
    pairs = table.head(-1).select("folder_paper", "folder_validation").rows()
    assert sorted(pairs) == [("paper1", "validation1"), ("paper2", "validation2")]


def test_the_spread_is_of_the_later_half():
    assert late_spread([0.1, 0.2, 0.9, 0.8, 0.7, 0.6]) == (3, 0.8, 0.7)
    assert late_spread([0.5]) == (1, 0.5, 0.5)
    assert late_spread([0.1, 0.4, 0.5]) == (2, 0.5, 0.45)


def trained(folder, selection: str, name: str, scores: list[float] | None = None, **text):
    """Rename a cell, and say how it was trained."""
    folder = folder.rename(folder.with_name(name))
    (folder / "config.yaml").write_text(f"selection: {selection}\n")
    if scores is not None:
        pl.DataFrame({"epoch": range(len(scores)), "val/balanced_accuracy": scores}).write_csv(
            folder / "history.csv"
        )
    return folder


def section(sweep):
    found = read_grid(sweep)
    drawn = resample_counts(found.labels, found.patients.to_numpy(), 200, 0)
    return selection_section(sweep, found, drawn)


def test_a_sweep_of_both_is_judged_by_validation_and_says_what_the_other_adds(tmp_path):
    trained(write_cell(tmp_path, "original", 3.0), "paper", "flattered", [0.5])
    trained(write_cell(tmp_path, "original", 1.0), "validation", "guarded")
    found = section(tmp_path)
    assert [each.folder for each in read_grid(tmp_path).cells] == ["guarded"]
    assert found.content["chosen_by"] == {"validation": "validation"}
    assert (found.content["pairs"], found.content["set_aside"]) == (1, ["flattered"])
    both = read_grid(tmp_path)
    accuracies = [(each.predictions == both.labels).mean() for each in (*both.aside, *both.cells)]
    assert found.content["optimism"]["optimism"] == pytest.approx(accuracies[0] - accuracies[1])
    assert "(selection=paper) adds +" in found.lines[0]
    assert "1 of selection=paper are set aside" in found.lines[1]
    assert json.dumps(found.content)


def test_a_guarded_cell_beside_a_grid_of_the_papers_way_is_said_to_be_set_aside(tmp_path):
    for roi in ("original", "lungs_removed"):
        trained(write_cell(tmp_path, roi, 3.0), "paper", roi, [0.5])
    trained(write_cell(tmp_path, "original", 1.0), "validation", "guarded")
    found = section(tmp_path)
    assert (found.content["pairs"], found.content["set_aside"]) == (1, ["guarded"])
    assert found.lines[-1].startswith("1 of selection=validation are set aside: they show less")


def test_a_sweep_of_the_papers_way_alone_says_so_with_a_scale(tmp_path):
    scores = [0.2, 0.3, 0.9, 0.9, 0.93, 0.91]
    trained(write_cell(tmp_path, "original", 3.0), "paper", "a", scores)
    trained(write_cell(tmp_path, "lungs_removed", 3.0), "paper", "b")
    found = section(tmp_path)
    (line,) = found.lines
    assert "chose the epoch (selection=paper) of 2 of 2 cells" in line
    assert "is 2.0 points above the median" in line  # 0.93 of 0.90, 0.93, 0.91
    table = found.tables["selection"]
    assert table["spread"].to_list() == [pytest.approx(0.02), None]
    assert table["last"].to_list() == [3, None]
    assert table["score"].to_list() == ["val/balanced_accuracy", None]
    assert "(of val/balanced_accuracy)" in line and "stands in" not in line


def test_the_spread_is_of_the_score_that_chose_the_epoch(tmp_path):
    history = pl.DataFrame(
        {"val/accuracy": [0.5, 0.7], "val/balanced_accuracy": [0.5, 0.6], "val/f1": [0.5, 0.9]}
    )
    for number, monitor in enumerate(("", "val/f1", "val/gone")):
        folder = trained(write_cell(tmp_path, "original", 3.0, seed=number), "paper", f"c{number}")
        history.write_csv(folder / "history.csv")
        if monitor:
            with (folder / "config.yaml").open("a") as config:
                config.write(f"task: {{monitor: {monitor}}}\n")
    found = section(tmp_path)
    table = found.tables["selection"]
    assert table["score"].to_list() == ["val/balanced_accuracy", "val/f1", "val/accuracy"]
    assert table["best"].to_list() == [0.6, 0.9, 0.7]
    assert found.content["other_score"] == ["c2"]
    (line,) = found.lines
    assert "(of val/accuracy, val/balanced_accuracy, val/f1)" in line
    assert "history.csv of 1 of them lacks the score" in line
    assert json.dumps(found.content)


def test_a_damaged_history_is_not_known(tmp_path):
    for number, text in enumerate(["", "x\n1\n", "epoch,val/balanced_accuracy\n0,much\n"]):
        folder = trained(write_cell(tmp_path, "original", 3.0, seed=number), "paper", f"c{number}")
        (folder / "history.csv").write_text(text)
    found = section(tmp_path)
    assert found.content["spread"] is None
    assert "by an unknown amount. selection=validation,paper" in found.lines[0]


def test_where_validation_chose_there_is_nothing_to_say(tmp_path):
    write_cell(tmp_path, "original", 3.0)
    assert section(tmp_path).lines == ()
    audit(tmp_path, ["resamples=1000"])
    content = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert content["sections"]["selection"]["chosen_by"] == {"validation": "validation"}
    assert content["sections"]["selection"]["lines"] == []
    assert not (tmp_path / "audit" / "optimism.csv").exists()
