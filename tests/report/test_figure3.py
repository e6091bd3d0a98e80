from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from matplotlib.figure import Figure

from hideseek.audit.grid import CellPredictions, Grid, read_grid
from hideseek.checkpoint import NetworkCard, save_network
from hideseek.data.cache import Cache
from hideseek.models.inputs import normalize
from hideseek.models.tiny import Tiny
from hideseek.report.figure3 import agreed_images, figure_3
from hideseek.roi import PAPER, REPRESENTATIONS

CLASSES = ("normal", "pneumonia", "covid19")


def write_cell(sweep: Path, cache: Cache, model: str, roi: str, start: int = 0) -> Path:
    """A cell of an untrained network."""
    torch.manual_seed(start)
    net, folder = Tiny().eval(), sweep / f"{model}-{roi}-s0"
    (folder / "checkpoints").mkdir(parents=True)
    target = "hideseek.models.tiny.Tiny"
    card = NetworkCard("classify", model, target, {}, 48, 3, "paper", CLASSES, roi)
    path = folder / "checkpoints" / "best.ckpt"
    save_network(path, net.half().float(), card)  # as it is read back
    rows = cache.rows(["test"])
    batch = torch.from_numpy(np.stack([REPRESENTATIONS[roi](*cache[row]) for row in rows]))[:, None]
    with torch.inference_mode():
        p = net(normalize(batch, "paper", 3)).double().softmax(dim=1).numpy()
    table = cache.table[rows].select("image_id", "patient_id", "source", "split", "label")
    table = table.with_columns(
        pl.Series("prediction", [CLASSES[k] for k in p.argmax(axis=1)]),
        *(pl.Series(f"p_{name}", p[:, k]) for k, name in enumerate(CLASSES)),
    )
    table.write_csv(folder / "predictions.csv")
    done = {"model": model, "roi": roi, "seed": 0, "task": "classify", "classes": CLASSES,
            "fill": "black", "margin": 0.0, "recipe_hash": cache.recipe.digest()}  # fmt: skip
    (folder / "done.json").write_text(json.dumps(done))
    (folder / "provenance.json").write_text(json.dumps({"cache": str(cache.path)}))
    return folder


@pytest.fixture
def sweep(tmp_path, small_cache) -> Path:
    cache = Cache(small_cache())
    for roi in PAPER:
        write_cell(tmp_path / "sweep", cache, "alexnet", roi)
        write_cell(tmp_path / "sweep", cache, "resnet50", roi)
    return tmp_path / "sweep"


@pytest.fixture
def figures(monkeypatch) -> list[Figure]:
    """Collect the figures that are saved, to look at what is in them."""
    saved: list[Figure] = []
    save = Figure.savefig

    def collect(self: Figure, *given, **named):
        saved.append(self)
        return save(self, *given, **named)

    monkeypatch.setattr(Figure, "savefig", collect)
    return saved


def hand_made(labels: list[int], *called: list[int], rois: tuple[str, ...] = ()) -> Grid:
    """A grid of one network for each list of predictions, without files; images a, b, c, ..."""
    names = [chr(ord("a") + place) for place in range(len(labels))]
    images = pl.DataFrame({"image_id": names, "patient_id": names})
    cells = tuple(
        CellPredictions(f"net{n}", roi, "black", 0.0, 0, "", np.array(numbers), np.eye(3)[numbers])
        for n, (numbers, roi) in enumerate(
            zip(called, rois or ("original",) * len(called), strict=True)
        )
    )
    return Grid(CLASSES, images, np.array(labels), cells, "")


def test_rows_are_images_on_which_all_agree_of_each_class_in_turn_the_right_ones_first():
    labels = [0, 0, 0, 0, 1, 1, 2, 2]
    one = [1, 0, 0, 0, 1, 0, 1, 1]
    other = [1, 0, 2, 0, 1, 1, 1, 1]
    grid = hand_made(labels, one, other)  # they disagree on 2 and 5
    assert agreed_images(grid, 3).tolist() == [1, 4, 6]
    assert agreed_images(grid, 4).tolist() == [1, 3, 4, 6]
    assert agreed_images(grid, 2).tolist() == [1, 4]
    assert agreed_images(grid, 99).tolist() == [1, 3, 0, 4, 6, 7]


def test_only_networks_that_saw_whole_images_have_to_agree():
    labels, one, other = [0, 1, 2], [0, 1, 2], [2, 2, 1]
    assert agreed_images(hand_made(labels, one, other), 4).tolist() == []
    hidden = hand_made(labels, one, other, rois=("original", "lungs_removed"))
    assert agreed_images(hidden, 4).tolist() == [0, 1, 2]
    assert agreed_images(hand_made(labels, other, rois=("lungs_removed",)), 4).tolist() == []


def test_the_figure_is_of_resnet50_under_the_five_representations(sweep, tmp_path, figures):
    grid = read_grid(sweep)
    path = figure_3(sweep, grid, tmp_path / "3.png", rows=3)
    assert path is not None and path.read_bytes().startswith(b"\x89PNG")
    axes = [axis for axis in figures[0].axes if axis.images]
    assert len(axes) == 3 * len(PAPER)
    assert [axis.get_title() for axis in axes[:5]] == list(PAPER)
    assert figures[0].get_suptitle().startswith("resnet50: all 2 networks agree on the images\n")
    cache = Cache(
        Path(json.loads((sweep / "alexnet-original-s0/provenance.json").read_text())["cache"])
    )
    test = cache.rows(["test"])
    for axis, place in zip(axes[::5], agreed_images(grid, 3), strict=True):
        assert axis.get_ylabel() == CLASSES[grid.labels[place]]
        name = grid.images["image_id"][int(place)]
        row = next(row for row in test if cache.table["image_id"][int(row)] == name)
        line = axes[axes.index(axis) :][:5]
        for roi, each in zip(PAPER, line, strict=True):
            expected = REPRESENTATIONS[roi](*cache[row])
            np.testing.assert_array_equal(each.images[0].get_array(), expected)
            cell = grid.representations("resnet50")[roi][0]
            called = cell.predictions[place]
            mark = "✓" if called == grid.labels[place] else "✗"
            p = cell.probabilities[place, called]
            assert each.get_xlabel() == f"{CLASSES[called]} {mark} ({p:.2f})"
    assert {axis.get_xlabel().split()[1] for axis in axes} == {"✓", "✗"}
    for column in range(5):  # its own scale each, or no map at all
        most = max(axis.images[1].get_array().max() for axis in axes[column::5])
        assert most == pytest.approx(1) or most == 0
    assert any(axis.images[1].get_array().max() == pytest.approx(1) for axis in axes)


def test_svg_and_the_same_file_twice(sweep, tmp_path):
    grid = read_grid(sweep)
    files = [figure_3(sweep, grid, tmp_path / name, rows=1) for name in ("1.svg", "2.svg")]
    one, two = (path.read_bytes() for path in files)
    assert b"<svg" in one and one == two


def test_a_model_by_name_and_a_representation_that_is_lacking(sweep, tmp_path, figures, caplog):
    (sweep / "alexnet-lungs_framed-s0" / "checkpoints" / "best.ckpt").unlink()
    figure_3(sweep, read_grid(sweep), tmp_path / "3.png", rows=1, model="alexnet")
    titles = [axis.get_title() for axis in figures[0].axes if axis.images]
    assert titles == [name for name in PAPER if name != "lungs_framed"]
    assert figures[0].get_suptitle().startswith("alexnet")
    assert "no column lungs_framed in Figure 3" in caplog.text
    assert "no such checkpoint" in caplog.text


def test_no_agreement_and_no_network_are_none_with_a_reason(sweep, tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    grid = hand_made([0, 1], [0, 1], [1, 0])
    assert figure_3(sweep, grid, tmp_path / "3.png") is None
    assert "no image on which all networks agree" in caplog.text
    for path in sweep.glob("resnet50-*/checkpoints/best.ckpt"):
        path.write_bytes(b"damaged")
    assert figure_3(sweep, read_grid(sweep), tmp_path / "3.png") is None
    assert "no network of resnet50 can be explained" in caplog.text
    assert not (tmp_path / "3.png").exists()


def test_a_checkpoint_that_does_not_predict_as_recorded_is_no_column(
    tmp_path, small_cache, figures, caplog
):
    cache = Cache(small_cache())
    for roi in PAPER[:2]:
        folder = write_cell(tmp_path / "s", cache, "tiny", roi)
    table = pl.read_csv(folder / "predictions.csv")
    turned = dict(zip(CLASSES, (*CLASSES[1:], CLASSES[0]), strict=True))
    table.with_columns(pl.col("prediction").replace(turned)).write_csv(folder / "predictions.csv")
    figure_3(tmp_path / "s", read_grid(tmp_path / "s"), tmp_path / "3.png", rows=2)
    titles = [axis.get_title() for axis in figures[0].axes if axis.images]
    assert titles == ["original", ""]  # one column of two rows
    assert "gives other predictions" in caplog.text
    assert figures[0].get_suptitle().startswith("tiny: the only network\n")
