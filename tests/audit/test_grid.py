from __future__ import annotations

import pytest

from hideseek.audit.grid import read_grid
from hideseek.errors import UserError
from tests.audit.sweep_folder import CLASSES, write_cell


def test_cells_are_aligned_and_in_order(tmp_path):
    write_cell(tmp_path, "silhouette", 0.0)
    write_cell(tmp_path, "lungs_removed", 1.0, seed=1)
    write_cell(tmp_path, "lungs_removed", 1.0, margin=20.0)
    write_cell(tmp_path, "lungs_removed", 1.0)
    folder = write_cell(tmp_path, "original", 1.0)
    path = folder / "predictions.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *reversed(rows)]) + "\n")
    grid = read_grid(tmp_path)
    assert grid.classes == CLASSES
    assert grid.data == "data"
    assert grid.models() == ["tiny"]
    groups = grid.representations("tiny")
    assert {name: len(cells) for name, cells in groups.items()} == {
        "original": 1,
        "lungs_removed": 2,
        "lungs_removed margin 20": 1,
        "silhouette": 1,
    }
    assert next(iter(groups)) == "original"
    assert grid.labels[:4].tolist() == [0, 1, 2, 0]
    original = groups["original"][0]
    # The first image's row stood last.
    assert original.probabilities[0].tolist() == pytest.approx(
        [float(text) for text in rows[0].split(",")[-3:]]
    )
    assert (original.predictions == original.probabilities.argmax(axis=1)).all()
    assert grid.images.columns == ["image_id", "patient_id", "source", "label"]
    assert grid.patients.n_unique() == 20


def test_other_fills_are_representations_of_their_own(tmp_path):
    write_cell(tmp_path, "lungs_removed", 1.0, fill="noise", margin=5.0)
    assert list(read_grid(tmp_path).representations("tiny")) == ["lungs_removed noise margin 5"]


def test_unfinished_cells_and_segmenters_are_left_out(tmp_path):
    write_cell(tmp_path, "original", 1.0)
    (write_cell(tmp_path, "lungs_removed", 1.0) / "done.json").unlink()
    write_cell(tmp_path, "lungs_framed", 1.0, task="segment")
    assert [cell.roi for cell in read_grid(tmp_path).cells] == ["original"]


def test_nothing_to_audit(tmp_path):
    with pytest.raises(UserError, match="no finished cell of a classifier"):
        read_grid(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        read_grid(tmp_path / "x")


def test_other_images_are_refused(tmp_path):
    write_cell(tmp_path, "original", 1.0)
    write_cell(tmp_path, "lungs_removed", 1.0, images=117)
    with pytest.raises(UserError, match="not those of tiny-lungs_removed-s0"):
        read_grid(tmp_path)


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("img0003,", "img0004,", "twice"),
        ("p_normal", "p_flu", "damaged"),
        (",normal,", ",flu,", "unknown classes"),
        ("patient1,", ",", "empty values"),
    ],
)
def test_damaged_predictions_are_one_line(tmp_path, before, after, says):
    path = write_cell(tmp_path, "original", 1.0) / "predictions.csv"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    with pytest.raises(UserError, match=says) as caught:
        read_grid(tmp_path)
    assert "\n" not in str(caught.value)
    assert "tiny-original-s0" in str(caught.value)


def test_probabilities_are_probabilities(tmp_path):
    path = write_cell(tmp_path, "original", 1.0) / "predictions.csv"
    lines = path.read_text().splitlines()
    lines[1] = ",".join([*lines[1].split(",")[:-3], "0.5", "0.5", "0.5"])
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match="do not sum to 1"):
        read_grid(tmp_path)


def trained(folder, text: str) -> None:
    (folder / "config.yaml").write_text(text)


def test_shuffled_labels_are_set_aside(tmp_path):
    write_cell(tmp_path, "original", 1.0)
    shuffled = write_cell(tmp_path, "original", 0.0, seed=1)
    trained(shuffled, "selection: validation\ndatamodule: {shuffle_labels: true}\n")
    grid = read_grid(tmp_path)
    assert [cell.seed for cell in grid.cells] == [0]
    assert [(cell.seed, cell.training.shuffled) for cell in grid.aside] == [(1, True)]
    (tmp_path / "tiny-original-s0" / "done.json").unlink()
    with pytest.raises(UserError, match="all its labels are shuffled"):
        read_grid(tmp_path)


def test_one_model_is_never_judged_by_cells_of_both_selections(tmp_path):
    for model, roi, selection in (
        ("a", "original", "validation"), ("a", "lungs_removed", "paper"),
        ("b", "original", "paper"), ("b", "lungs_removed", "paper"),
    ):  # fmt: skip
        trained(write_cell(tmp_path, roi, 1.0, model=model), f"selection: {selection}\n")
    grid = read_grid(tmp_path)
    assert list(grid.representations("a")) == ["original"]
    assert list(grid.representations("b")) == ["original", "lungs_removed"]
    assert [(cell.model, cell.roi) for cell in grid.aside] == [("a", "lungs_removed")]


def test_a_few_guarded_cells_beside_a_flattered_grid_make_no_verdict(tmp_path):
    for roi in ("original", "lungs_removed", "lungs_isolated"):
        trained(write_cell(tmp_path, roi, 1.0), "selection: paper\n")
    for seed, roi in enumerate(("original", "lungs_removed", "lungs_isolated"), start=1):
        trained(write_cell(tmp_path, roi, 1.0, seed=seed), "selection: validation\n")
        grid = read_grid(tmp_path)
        chosen = {cell.training.selection for cell in grid.cells}
        assert chosen == ({"validation"} if seed == 3 else {"paper"})
        assert len(grid.cells) == 3 and len(grid.aside) == seed


def _varied(sweep, width: int, seed: int, strength: float):
    """Write a cell as a sweep over widths leaves it."""
    folder = write_cell(sweep, "original", strength, seed=seed)
    (folder / "overrides.yaml").write_text(
        f"- model=tiny\n- model.net.width={width}\n- seed={seed}\n- roi=original\n"
    )
    return folder.rename(folder.with_name(f"{folder.name}-model.net.width_{width}"))


def test_networks_that_differ_in_another_setting_are_not_averaged_as_seeds(tmp_path):
    for width in (8, 16):
        for seed in (0, 1):
            _varied(tmp_path, width, seed, 3.0)
    grid = read_grid(tmp_path)
    assert grid.models() == ["tiny model.net.width=16", "tiny model.net.width=8"]
    for model in grid.models():
        (cells,) = grid.representations(model).values()
        assert [cell.seed for cell in cells] == [0, 1]
        assert {cell.network for cell in cells} == {"tiny"}
        assert all(model.rpartition("=")[2] in cell.folder for cell in cells)


def test_draws_of_random_boxes_are_averaged(tmp_path):
    for draw in (0, 1):
        folder = write_cell(tmp_path, "random_box_out", 1.0)
        (folder / "overrides.yaml").write_text(f"- roi=random_box_out\n- roi.draw={draw}\n")
        folder.rename(folder.with_name(f"{folder.name}-roi.draw_{draw}"))
    grid = read_grid(tmp_path)
    assert grid.models() == ["tiny"]
    assert len(grid.representations("tiny")["random_box_out"]) == 2
