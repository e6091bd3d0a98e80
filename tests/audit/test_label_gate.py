"""Maps of a network against those of its twin with shuffled labels."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from scipy.stats import spearmanr

from hideseek.audit.grid import CellPredictions
from hideseek.audit.label_gate import (
    ALIKE,
    label_gate_of,
    map_correlations,
    twins_of,
)
from hideseek.sweep.runs import Training
from tests.audit.test_explain import Looks, handmade, make_cache, section, write_cell

__all__ = ["handmade"]  # a fixture

COUNTS = np.random.default_rng(0).multinomial(40, np.full(40, 1 / 40), size=500)
RNG = np.random.default_rng(1)


def gate(true, shuffled, alike):
    values = (np.broadcast_to(np.asarray(each, float), 40) for each in (true, shuffled, alike))
    return label_gate_of(*values, COUNTS)


def test_energy_that_falls_passes():
    noise = RNG.normal(0, 0.1, 40)
    found = gate(1.5 + noise, 1.0, 0.9)
    assert found["enrichment"] == pytest.approx(1.5 + noise.mean())
    assert found["difference"] == pytest.approx(0.5 + noise.mean())
    assert 0 < found["difference_low"] < found["difference"] < found["difference_high"]
    assert (found["passed"], found["images"]) == (True, 40)


@pytest.mark.parametrize(
    ("true", "shuffled", "alike", "passed"),
    [
        (1.0, 1.0, 0.9, False),
        (0.8, 1.0, 0.9, False),  # it looks at the lungs less, along the same map
        (0.2, 1.0, 0.1, True),  # at a marker, and its maps are others
        (1.0, 1.0, ALIKE - 0.01, True),
        (1.0, 1.0, ALIKE, False),
        (np.nan, 1.0, np.nan, None),
        (1.0, np.nan, np.nan, None),
    ],
)
def test_else_the_maps_have_to_differ(true, shuffled, alike, passed):
    assert gate(true, shuffled, alike)["passed"] is passed


def test_images_without_a_map_of_both_are_not_compared():
    true, shuffled = np.full(40, 2.0), np.full(40, 1.0)
    true[:5], shuffled[3:10] = np.nan, np.nan
    true[5:10] = 100
    found = gate(true, shuffled, 0.9)
    assert (found["images"], found["enrichment"], found["difference"]) == (30, 2, 1)


def test_correlations_are_spearmans():
    one, other = (RNG.random((6, 4, 5)).astype(np.float32).round(1) for _ in range(2))
    expected = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(one, other, strict=True)]
    assert map_correlations(one, other) == pytest.approx(expected)
    assert map_correlations(one, one**3) == pytest.approx(1)
    one[2] = 0.5
    assert np.isnan(map_correlations(one, other)).tolist() == [k == 2 for k in range(6)]
    assert np.isnan(map_correlations(one, other[:, :3])).all()


def cell(model="m", roi="original", seed=0, shuffled=False) -> CellPredictions:
    training = Training(shuffled=shuffled)
    name = f"{model}-{roi}-s{seed}{shuffled}"
    return CellPredictions(model, roi, "", 0, seed, name, np.zeros(1, int), np.eye(1), training)


def test_a_twin_is_of_the_same_network_and_if_possible_seed():
    cells = [cell(), cell(seed=2), cell(roi="silhouette"), cell(model="n")]
    aside = [cell(seed=seed, shuffled=True) for seed in (3, 2, 1)]
    aside += [cell(model="n", seed=0)]  # set aside for another reason
    found = twins_of(cells, aside)
    assert {name: twin.seed for name, twin in found.items()} == {
        cells[0].folder: 1,
        cells[1].folder: 2,
    }


def shuffled(folder):
    (folder / "config.yaml").write_text("datamodule: {shuffle_labels: true}\n")


@pytest.fixture
def sweep(tmp_path):
    """A network of the lungs, and one that looks at whatever is bright, which lungs are not."""
    cache = make_cache(tmp_path)
    write_cell(tmp_path / "s", cache, Looks())
    net = Looks()
    torch.nn.init.constant_(net.features[0].weight, 1)
    torch.nn.init.constant_(net.features[0].bias, 0)
    shuffled(write_cell(tmp_path / "s", cache, net, seed=1))
    return tmp_path / "s"


def test_a_network_of_the_lungs_is_told_from_its_twin(sweep):
    found = section(sweep)
    (row,) = found.tables["attribution_label_gates"].rows(named=True)
    (label,) = found.content["gates"]["label"]
    assert label == row
    assert row["enrichment"] > 1 > row["enrichment_shuffled"]
    assert (row["passed"], row["shuffled_folder"]) == (True, "looks-original-s1")
    assert found.content["label_gate"]["passed"] is True
    assert found.content["label_gate"]["command"] == ""
    assert found.tables["attribution_gates"]["informative"].to_list() == [True]
    # The twin is a control, not a cell of the sweep.
    assert found.tables["attribution_images"]["folder"].unique().to_list() == ["looks-original-s0"]
    assert any(line.startswith("shuffled labels change the maps of looks") for line in found.lines)
    assert not any("missing" in line for line in found.lines)


def test_a_twin_that_looks_alike_takes_the_information_away(tmp_path):
    cache = make_cache(tmp_path)
    write_cell(tmp_path / "s", cache, Looks())
    shuffled(write_cell(tmp_path / "s", cache, Looks(), seed=1))
    found = section(tmp_path / "s")
    gates = found.tables["attribution_gates"].row(0, named=True)
    assert (gates["passed"], gates["above_chance"], gates["informative"]) == (True, True, False)
    assert found.content["label_gate"]["passed"] is False
    says = "attribution not informative for looks on original: a network trained on shuffled labels"
    (line,) = [line for line in found.lines if line.startswith(says)]
    assert "looks at the lungs as much" in line and "difference 0.00" in line
    assert "rank correlation of the maps 1.00" in line


def test_without_a_twin_the_command_is_named(tmp_path):
    write_cell(tmp_path / "s", make_cache(tmp_path), Looks())
    found = section(tmp_path / "s")
    assert found.content["label_gate"]["passed"] is None
    command = "python train.py -m experiment=label_randomised sweep=s model=looks"
    assert found.content["label_gate"]["command"] == command
    assert any(command in line for line in found.lines)
    assert isinstance(found.tables["attribution_label_gates"], pl.DataFrame)


def test_a_twin_without_any_map_says_nothing(tmp_path):
    cache = make_cache(tmp_path)
    write_cell(tmp_path / "s", cache, Looks())
    net = Looks()
    torch.nn.init.constant_(net.head.weight, 0)
    shuffled(write_cell(tmp_path / "s", cache, net, seed=1))
    found = section(tmp_path / "s")
    assert found.content["label_gate"]["passed"] is None
    assert found.tables["attribution_gates"]["informative"].to_list() == [True]
    assert any(line.startswith("shuffled labels say nothing of the maps") for line in found.lines)


def test_a_twin_that_cannot_be_opened_is_listed(sweep):
    (sweep / "looks-original-s1" / "checkpoints" / "best.ckpt").unlink()
    found = section(sweep)
    assert list(found.content["left_out"]) == ["looks-original-s1"]
    assert found.content["gates"]["label"] is None
