from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from hideseek.audit.bootstrap import resample_counts
from hideseek.audit.grid import Grid, read_grid
from hideseek.audit.matrix import matrix_section
from hideseek.audit.section import Section
from hideseek.checkpoint import NetworkCard, load_network, save_network
from hideseek.data.cache import Cache
from hideseek.data.datamodule import CxrDataModule
from hideseek.models.tiny import Tiny
from hideseek.roi import REPRESENTATIONS
from hideseek.tasks.evaluate import predict_classes
from hideseek.tasks.metrics import classification_metrics, confusion_matrix
from tests.conftest import CLASSES

SIDE = 32  # below the cache's 48, so that images and the fixed rectangle are scaled
CELLS = [
    ("original", "black", 0.0, 0, 0),
    ("original", "black", 0.0, 1, 0),
    ("lungs_removed", "noise", 10.0, 0, 0),
    ("lungs_removed", "noise", 10.0, 1, 0),
    ("fixed_box_out", "black", 0.0, 0, 0),
    ("random_box_out", "black", 0.0, 0, 3),
]


@dataclass(frozen=True)
class Ready:
    path: Path

    def ready(self, image_size: int) -> Path:
        return self.path


def predictions(
    folder: Path, cache: Path, roi: str, fill: str, margin: float, seed: int, draw: int
) -> pl.DataFrame:
    """Predict as a cell does: data module, test loader, best checkpoint."""
    extra = {"draw": draw} if roi == "random_box_out" else {}
    shown = partial(REPRESENTATIONS[roi], fill=fill, margin=margin, **extra)
    module = CxrDataModule(Ready(cache), shown, None, SIDE, batch_size=5, seed=seed)
    module.setup()
    assert module.cache is not None
    net, card = load_network(folder / "checkpoints" / "best.ckpt")
    return predict_classes(net, card, module.test_dataloader(), module.cache.table)


def write_cell(sweep: Path, cache: Path, cell: tuple[str, str, float, int, int]) -> Path:
    roi, fill, margin, seed, draw = cell
    folder = sweep / f"tiny-{roi}-s{seed}"
    (folder / "checkpoints").mkdir(parents=True)
    torch.manual_seed(CELLS.index(cell))
    net = Tiny()
    # Small weights would call all images alike, and large ones give the probabilities 0 and 1.
    torch.nn.init.normal_(net.head.weight, std=0.3)
    card = NetworkCard(
        "classify", "tiny", "hideseek.models.tiny.Tiny", {}, SIDE, 3, "standardize", CLASSES, roi
    )
    save_network(folder / "checkpoints" / "best.ckpt", net, card)
    predictions(folder, cache, *cell).write_csv(folder / "predictions.csv")
    done = {
        "model": "tiny", "roi": roi, "seed": seed, "task": "classify", "classes": CLASSES,
        "fill": fill, "margin": margin, "recipe_hash": Cache(cache).recipe.digest(),
    }  # fmt: skip
    (folder / "done.json").write_text(json.dumps(done))
    (folder / "provenance.json").write_text(json.dumps({"cache": f"caches/{cache.name}"}))
    hostile = f"roi:\n  _target_: os.abort\n  draw: {draw}\nmodel:\n  _target_: os.abort\n"
    (folder / "config.yaml").write_text(hostile)
    return folder


@pytest.fixture
def sweep(small_cache: Callable[..., Path], tmp_path: Path) -> Path:
    """Six cells, two of them a second seed; their cache lies where the sweep was run."""
    (tmp_path / "caches").mkdir()
    cache = small_cache(size=48, images=36)
    cache = cache.rename(tmp_path / "caches" / cache.name)
    for cell in CELLS:
        write_cell(tmp_path / "multirun" / "sweep", cache, cell)
    return tmp_path / "multirun" / "sweep"


def audited(sweep: Path, **settings: int) -> tuple[Grid, Section]:
    grid = read_grid(sweep)
    counts = resample_counts(grid.labels, grid.patients.to_numpy(), 200, seed=0)
    return grid, matrix_section(sweep, grid, counts, **settings)


def number(section: Section, trained: str, tested: str, metric: str) -> float:
    table = section.tables["cross_representation"]
    row = table.filter(
        pl.col("trained_on") == trained, pl.col("tested_on") == tested, pl.col("metric") == metric
    )
    return float(row.item(0, "estimate"))


def test_the_diagonal_is_what_the_cells_predicted(sweep: Path) -> None:
    grid, section = audited(sweep)
    scores = np.stack([cell.probabilities for cell in grid.cells])
    assert 0.01 < np.median(scores) < 0.99 and len({*scores.argmax(axis=2).ravel()}) == 3
    reproduced = section.content["reproduced"]
    assert set(reproduced) == {cell.folder for cell in grid.cells} and len(reproduced) == 6
    for facts in reproduced.values():
        assert facts["same"] and facts["largest_difference"] < 1e-6
    for representation, cells in grid.representations("tiny").items():
        own = [
            classification_metrics(confusion_matrix(grid.labels, cell.predictions, 3), CLASSES)
            for cell in cells
        ]
        for metric in ("accuracy", "balanced_accuracy"):
            found = number(section, representation, representation, metric)
            assert found == pytest.approx(np.mean([each[metric] for each in own]))
    table = section.tables["cross_representation"]
    assert table.height == 4 * 4 * 3
    diagonal = table.filter(pl.col("diagonal") == "yes")
    assert diagonal.height == 4 * 3 and (diagonal["drop"] == 0).all()
    assert table["drop"].abs().max() > 0.05
    for row in table.iter_rows(named=True):
        own = number(section, row["trained_on"], row["trained_on"], row["metric"])
        assert row["drop"] == pytest.approx(own - row["estimate"])
    assert section.content["left_out"] == {}
    assert "out of distribution" in section.lines[0]
    json.dumps(section.content, allow_nan=False)


def test_off_the_diagonal_a_cell_sees_anothers_representation(sweep: Path) -> None:
    # What the cell's own data module shows with the other representation and the cell's seed.
    (cache,) = (sweep.parents[1] / "caches").glob("*.h5")
    _, section = audited(sweep)
    for trained, name in ((CELLS[:2], "original"), (CELLS[4:5], "fixed_box_out")):
        for tested, to in ((CELLS[2], "lungs_removed noise margin 10"), (CELLS[4], CELLS[4][0])):
            right = [
                (table["prediction"] == table["label"]).mean()
                for cell in trained
                for folder in [sweep / f"tiny-{cell[0]}-s{cell[3]}"]
                for table in [predictions(folder, cache, *tested[:3], cell[3], 0)]
            ]
            assert number(section, name, to, "accuracy") == pytest.approx(np.mean(right))


def test_every_image_is_decoded_once(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    get = Cache.__getitem__
    monkeypatch.setattr(Cache, "__getitem__", lambda self, row: read.append(row) or get(self, row))
    grid, _ = audited(sweep)
    # Six cells; a second seed needs other noise, for which its images are read once more, and so
    # does the one random box of another draw.
    assert len(set(read)) == len(grid.labels) == 12
    assert len(read) == 3 * 12


def test_a_checkpoint_of_another_cell_is_named(sweep: Path) -> None:
    first, second = (sweep / f"tiny-original-s{seed}" / "checkpoints/best.ckpt" for seed in (0, 1))
    shutil.copy(second, first)
    _, section = audited(sweep)
    assert not section.content["reproduced"]["tiny-original-s0"]["same"]
    (line,) = [line for line in section.lines if "predictions.csv" in line]
    assert line.startswith("tiny-original-s0:")


def test_cells_that_cannot_be_rebuilt_are_left_out(sweep: Path) -> None:
    (sweep / "tiny-original-s0" / "checkpoints/best.ckpt").unlink()
    net, card = load_network(sweep / "tiny-original-s1" / "checkpoints/best.ckpt")
    theirs = NetworkCard(**{**card.plain(), "target": "os.abort", "classes": CLASSES})
    save_network(sweep / "tiny-original-s1" / "checkpoints/best.ckpt", net, theirs)
    (sweep / "tiny-fixed_box_out-s0" / "provenance.json").write_text('{"cache": "none.h5"}')
    done = sweep / "tiny-random_box_out-s0" / "done.json"
    done.write_text(done.read_text().replace('"recipe_hash": "', '"recipe_hash": "x'))
    _, section = audited(sweep)
    left_out = section.content["left_out"]
    assert set(section.content["reproduced"]) == {f"tiny-lungs_removed-s{s}" for s in (0, 1)}
    assert "no such checkpoint" in left_out["tiny-original-s0"]
    assert "os.abort" in left_out["tiny-original-s1"]
    assert "no such cache" in left_out["tiny-fixed_box_out-s0"]
    assert "not the cache" in left_out["tiny-random_box_out-s0"]
    assert sum("left out" in line for line in section.lines) == 4


def test_some_images_of_every_class(sweep: Path) -> None:
    grid, section = audited(sweep, images=6)
    assert section.content["images"] == 6
    assert any("of 6 of the 12 test images" in line for line in section.lines)
    assert all(facts["same"] for facts in section.content["reproduced"].values())
    assert np.bincount(grid.labels).tolist() == [4, 4, 4]


def test_a_representation_of_another_version_is_left_out(sweep: Path) -> None:
    done = sweep / "tiny-random_box_out-s0" / "done.json"
    done.write_text(done.read_text().replace("random_box_out", "lungs_mirrored"))
    _, section = audited(sweep)
    assert "lungs_mirrored" in section.content["left_out"]["tiny-random_box_out-s0"]
    assert len(section.content["reproduced"]) == 5
    assert len(section.content["representations"]) == 3
