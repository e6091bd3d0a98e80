"""Maps of a network against those of its twin with shuffled labels."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from scipy.stats import spearmanr

from hideseek.audit.grid import CellPredictions
from hideseek.audit.label_gate import (
    label_gate_content,
    label_gate_of,
    map_correlations,
    twins_of,
)
from hideseek.sweep.runs import Training
from tests.audit.test_explain import Looks, handmade, make_cache, section, write_cell

__all__ = ["handmade"]  # a fixture

COUNTS = np.random.default_rng(0).multinomial(40, np.full(40, 1 / 40), size=500)
RNG = np.random.default_rng(1)


def same(correlations) -> np.ndarray:
    """Give 40 images the same correlations between 4 networks, from those above the diagonal."""
    half = np.zeros((4, 4))
    half[np.triu_indices(4, 1)] = correlations
    return np.broadcast_to(half + half.T + np.eye(4), (40, 4, 4)).copy()


ALIKE = same([0.6] * 6)


def gate(energies, alike=ALIKE):
    return label_gate_of(np.broadcast_to(np.asarray(energies, float), (40, 4)), alike, COUNTS)


def test_energy_above_that_of_every_twin_passes():
    noise = RNG.normal(0, 0.1, 40)
    found = gate(np.stack([1.5 + noise, *np.ones((2, 40)), np.full(40, 1.2)], axis=1))
    assert found["enrichment"] == pytest.approx(1.5 + noise.mean())
    assert found["enrichment_shuffled"] == pytest.approx(1.2)
    assert found["difference"] == pytest.approx(0.3 + noise.mean())
    assert 0 < found["difference_low"] < found["difference"] < found["difference_high"]
    assert (found["passed"], found["images"], found["twins"]) == (True, 40, 3)
    assert gate([1.5, 1, 1, 1.6])["passed"] is False  # above two of three


@pytest.mark.parametrize(
    ("correlations", "own", "least", "passed"),
    [
        # of the network with each twin, then of the twins with each other
        ([0.1, 0.2, 0.3, 0.8, 0.8, 0.8], 0.2, 1.7 / 3, True),  # it looks elsewhere
        ([0.6, 0.6, 0.6, 0.6, 0.6, 0.6], 0.6, 0.6, False),
        ([0.0, 0.0, 0.0, 0.0, 0.0, 0.0], 0.0, 0.0, False),  # as twins do among themselves
        # Less alike than twins on average, 0.4 < 0.5, but the last twin is the odd one, 0.8 / 3.
        ([0.8, 0.5, -0.1, 0.6, 0.5, 0.4], 0.4, 0.8 / 3, False),
    ],
)
def test_else_its_maps_have_to_be_the_odd_ones(correlations, own, least, passed):
    found = gate([0.5, 1, 1, 1], same(correlations))
    assert found["correlation"] == pytest.approx(own)
    assert found["correlation_shuffled"] == pytest.approx(least)
    assert found["correlation_difference"] == pytest.approx(own - least)
    assert found["passed"] is passed


def test_two_twins_are_too_few_and_say_so_much():
    found = label_gate_of(np.tile([9.0, 1, 1], (40, 1)), ALIKE[:, :3, :3], COUNTS)
    assert (found["passed"], found["twins"], found["difference"]) == (None, 2, 8)


def test_images_without_a_map_of_all_are_not_compared():
    energies = np.tile([2.0, 1, 1, 1], (40, 1))
    energies[:5, 0], energies[3:10, 2], energies[5:10, 0] = np.nan, np.nan, 100
    found = gate(energies)
    assert (found["images"], found["enrichment"], found["difference"]) == (30, 2, 1)


def test_a_twin_without_any_map_does_not_count():
    alike = ALIKE.copy()
    alike[:, 3] = alike[:, :, 3] = np.nan
    found = gate([2, 1, 1, np.nan], alike)
    assert (found["twins"], found["passed"], found["difference"]) == (3, None, 1)
    assert gate(np.nan, np.full_like(ALIKE, np.nan))["passed"] is None


def simulated_maps(own: float, signal: float, rng: np.random.Generator) -> np.ndarray:
    """Draw maps of a network and 3 twins: of the images, of each network, and of what it learned.

    Returns:
        float32 [4, 40, 6, 6]; the first network looks at a corner, in addition.
    """
    images, networks, both = rng.normal(size=(1, 40, 6, 6)), rng.normal(size=(4, 1, 6, 6)), (4, 40)
    maps = images + own * networks + 0.5 * rng.normal(size=(*both, 6, 6))
    maps[0, :, :2, :2] += signal
    return np.maximum(maps, 0).astype(np.float32)


def share_passed(own: float, signal: float, repeats: int = 100) -> float:
    rng = np.random.default_rng(5)
    passed = 0
    for _ in range(repeats):
        maps = simulated_maps(own, signal, rng)
        energies = maps[..., 2:, 2:].sum(axis=(2, 3)) / maps.sum(axis=(2, 3)) * 36 / 16
        found = label_gate_of(energies.T.astype(float), map_correlations(list(maps)), COUNTS[:100])
        passed += found["passed"]
    return passed / repeats


def test_networks_that_learned_nothing_pass_seldom():
    """Either half of the rule has 1 in 4 at most; together they may reach 1 in 2, and do not."""
    assert share_passed(own=0.3, signal=0) <= 0.2
    assert share_passed(own=1, signal=0) <= 0.33


def test_a_network_that_looks_elsewhere_passes():
    assert share_passed(own=0.3, signal=3, repeats=20) == 1


def test_correlations_are_spearmans():
    one, other = (RNG.random((6, 4, 5)).astype(np.float32).round(1) for _ in range(2))
    expected = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(one, other, strict=True)]
    found = map_correlations([one, other, one**3, other[:, :3]])
    assert found.shape == (6, 4, 4)
    assert found[:, 0, 1] == pytest.approx(expected)
    assert found[:, 1, 0] == pytest.approx(expected)
    assert found[:, 0, 2] == pytest.approx(1)
    assert np.isnan(found[:, 0, 3]).all()
    one[2] = 0.5
    assert np.isnan(map_correlations([one, other])[:, 0, 1]).tolist() == [k == 2 for k in range(6)]


def cell(model="m", roi="original", seed=0, shuffled=False, fill="", margin=0.0):
    training = Training(shuffled=shuffled)
    name = f"{model}-{roi}-s{seed}{shuffled}"
    scores = np.full((1, 1), float(seed))
    return CellPredictions(model, roi, fill, margin, seed, name, np.zeros(1, int), scores, training)


def test_twins_are_all_of_the_same_network_whatever_their_seed():
    cells = [cell(), cell(seed=2), cell(roi="silhouette"), cell(model="n")]
    aside = [cell(seed=seed, shuffled=True) for seed in (3, 2, 1)]
    aside += [cell(model="n", seed=0)]  # set aside for another reason
    found = twins_of(cells, aside)
    assert {name: [twin.seed for twin in twins] for name, twins in found.items()} == {
        cells[0].folder: [3, 2, 1],
        cells[1].folder: [3, 2, 1],
    }


def test_a_copy_of_a_twin_does_not_count():
    aside = [cell(seed=seed, shuffled=True) for seed in (1, 1, 2)]
    (twins,) = twins_of([cell()], aside).values()
    assert [twin.seed for twin in twins] == [1, 2]


def test_the_command_names_each_network_once_and_further_settings_in_words(tmp_path):
    cells = [cell("tiny model.net.width=8"), cell("tiny model.net.width=16"),
             cell("alexnet", roi="silhouette", fill="mean", margin=5.0)]  # fmt: skip
    gates = pl.DataFrame({"twins": [], "folder": [], "passed": []})
    content = label_gate_content(tmp_path / "s", cells, gates)
    assert content["command"] == (
        "python train.py -m experiment=label_randomised sweep=s model=tiny,alexnet "
        "roi=original,silhouette seed=0,1,2"
    )
    assert content["settings"] == [
        "model.net.width=8", "model.net.width=16", "roi.fill=mean roi.margin=5",
    ]  # fmt: skip
    assert content["missing"][0] == "tiny model.net.width=8 on original"


def shuffled(folder):
    (folder / "config.yaml").write_text("datamodule: {shuffle_labels: true}\n")


def write_twins(folder, cache, nets):
    for seed, net in enumerate(nets, start=1):
        shuffled(write_cell(folder, cache, net, seed=seed))


def scaled(net: Looks, factor: float) -> Looks:
    """Change what a network says a little, and not where it looks."""
    with torch.no_grad():
        net.head.weight.mul_(factor)
    return net


def bright() -> Looks:
    """Look at whatever is bright, which lungs are not."""
    net = Looks()
    torch.nn.init.constant_(net.features[0].weight, 1)
    torch.nn.init.constant_(net.features[0].bias, 0)
    return net


@pytest.fixture
def sweep(tmp_path):
    """A network of the lungs, and three that look at whatever is bright."""
    cache = make_cache(tmp_path)
    write_cell(tmp_path / "s", cache, Looks())
    write_twins(tmp_path / "s", cache, [scaled(bright(), factor) for factor in (1, 0.9, 0.8)])
    return tmp_path / "s"


def test_a_network_of_the_lungs_is_told_from_its_twins(sweep):
    found = section(sweep)
    (row,) = found.tables["attribution_label_gates"].rows(named=True)
    (label,) = found.content["gates"]["label"]
    assert label == row
    assert row["enrichment"] > 1 > row["enrichment_shuffled"]
    assert (row["passed"], row["twins"]) == (True, 3)
    assert row["shuffled_folders"] == "looks-original-s1, looks-original-s2, looks-original-s3"
    assert found.content["label_gate"]["passed"] is True
    assert found.content["label_gate"]["command"] == ""
    assert found.tables["attribution_gates"]["informative"].to_list() == [True]
    # The twins are a control, not cells of the sweep.
    assert found.tables["attribution_images"]["folder"].unique().to_list() == ["looks-original-s0"]
    assert any(line.startswith("shuffled labels change the maps of looks") for line in found.lines)
    assert not any("missing" in line for line in found.lines)


def test_twins_that_look_alike_take_the_information_away(tmp_path):
    cache = make_cache(tmp_path)
    write_cell(tmp_path / "s", cache, Looks())
    write_twins(tmp_path / "s", cache, [scaled(Looks(), factor) for factor in (1.1, 0.9, 0.8)])
    found = section(tmp_path / "s")
    gates = found.tables["attribution_gates"].row(0, named=True)
    assert (gates["passed"], gates["above_chance"], gates["informative"]) == (True, True, False)
    assert found.content["label_gate"]["passed"] is False
    says = "attribution not informative for looks on original: it does not stand out among networks"
    (line,) = [line for line in found.lines if line.startswith(says)]
    assert "with the maps of the others 1.00" in line and "difference 0.00" in line


def test_without_three_twins_the_gate_is_not_run_and_the_command_is_named(tmp_path):
    cache = make_cache(tmp_path)
    write_cell(tmp_path / "s", cache, Looks())
    write_twins(tmp_path / "s", cache, [bright(), scaled(bright(), 0.9)])
    found = section(tmp_path / "s")
    assert found.content["label_gate"]["passed"] is None
    assert found.content["label_gate"]["missing"] == ["looks on original"]
    assert found.tables["attribution_gates"]["informative"].to_list() == [True]
    assert found.tables["attribution_label_gates"]["passed"].to_list() == [None]
    command = (
        "python train.py -m experiment=label_randomised sweep=s model=looks roi=original seed=0,1,2"
    )
    assert found.content["label_gate"]["command"] == command
    (line,) = [line for line in found.lines if command in line]
    assert "it was not run, for it needs 3" in line


def test_twins_without_any_map_say_nothing(tmp_path):
    cache = make_cache(tmp_path)
    write_cell(tmp_path / "s", cache, Looks())
    for seed, bias in enumerate((0.1, 0.2, 0.3), start=1):
        net = Looks()
        torch.nn.init.constant_(net.head.weight, 0)
        torch.nn.init.constant_(net.head.bias[:1], bias)
        shuffled(write_cell(tmp_path / "s", cache, net, seed=seed))
    found = section(tmp_path / "s")
    assert found.content["label_gate"]["passed"] is None
    assert found.tables["attribution_gates"]["informative"].to_list() == [True]
    assert any(line.startswith("shuffled labels say nothing of the maps") for line in found.lines)


def test_a_twin_that_cannot_be_opened_is_listed(sweep):
    (sweep / "looks-original-s1" / "checkpoints" / "best.ckpt").unlink()
    found = section(sweep)
    assert list(found.content["left_out"]) == ["looks-original-s1"]
    (label,) = found.content["gates"]["label"]
    assert (label["twins"], label["passed"]) == (2, None)
