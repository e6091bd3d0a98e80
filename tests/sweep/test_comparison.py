from __future__ import annotations

import math

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import t

from hideseek.sweep.comparison import compare, comparison_table, seed_noise, summary
from hideseek.sweep.sheet import Outcome, Sheet, SheetCell


def cell(name: str, accuracy: float | None, *overrides: str, sha: str = "", manifest: str = "m"):
    outcome = None
    if accuracy is not None:
        metrics = {"accuracy": accuracy, "sens_a": None, "n": 200}
        outcome = Outcome(manifest, "r", "s", sha or name, 0.5, metrics)
    return SheetCell(name, overrides, "c", outcome)


def sheet(*cells: SheetCell) -> Sheet:
    return Sheet("a", "now", "0", None, "h", {}, (), {}, cells)


GRID = [
    cell("a0", 0.80, "roi=x", "seed=0"),
    cell("a1", 0.84, "roi=x", "seed=1"),
    cell("b0", 0.70, "roi=y", "+seed=0", "sweep=first"),
    cell("b1", 0.73, "roi=y", "seed=1", "sweep=second", "logger=csv"),
    cell("b2", 0.76, "workers=2", "seed=2", "roi=y"),
    cell("c0", 0.10, "roi=z", "seed=0"),
    cell("d1", None, "roi=z", "seed=1"),
]
# Group x: mean 0.82, squares 0.0004 + 0.0004; group y: mean 0.73, squares 0.0009 + 0.0009;
# z has one finished seed. Together 0.0026 with 1 + 2 degrees of freedom.
DEVIATION = math.sqrt(0.0026 / 3)
# Student's t for 97.5 % and 3 degrees of freedom, from a printed table.
WIDEST = 3.182446 * DEVIATION * math.sqrt(2)


def test_seed_noise_is_pooled_over_cells_that_differ_in_seed_only():
    noise = seed_noise(sheet(*GRID))
    assert noise.degrees == 3
    assert noise.deviation == pytest.approx(DEVIATION)
    assert noise.widest == pytest.approx(WIDEST, rel=1e-6)
    assert pytest.approx(0.1325, abs=1e-4) == WIDEST


def test_other_data_are_no_other_seed():
    one, other = cell("a", 0.8, "seed=0"), cell("b", 0.9, "seed=1", manifest="other")
    assert seed_noise(sheet(one, other)) is None
    assert seed_noise(sheet(one)) is None


def test_a_row_for_every_cell_of_the_original():
    rerun = {
        "a0": cell("x", 0.80, sha="a0"),
        "a1": cell("y", 0.84, sha="other"),
        "b0": cell("z", 0.70 + WIDEST - 1e-6),
        "b1": cell("z", 0.73 - WIDEST - 1e-6),
        "b2": cell("z", None),
        "d1": cell("z", 0.5),
    }
    compared = compare(sheet(*GRID), rerun)
    assert compared.columns == ["cell", "original", "rerun", "difference", "n", "verdict"]
    assert compared["cell"].to_list() == [c.folder for c in GRID]
    assert compared["verdict"].to_list() == [
        "bitwise equal", "equal metrics", "within seed noise", "beyond seed noise", "not rerun",
        "not rerun", "no original",
    ]  # fmt: skip
    assert compared["original"].to_list() == [0.80, 0.84, 0.70, 0.73, 0.76, 0.10, None]
    assert compared["difference"].to_list()[:2] == [0, 0]
    assert compared["difference"][3] == pytest.approx(-WIDEST - 1e-6)
    assert compared["difference"].to_list()[4:] == [None] * 3
    assert compared["n"].to_list() == [200, 200, 200, 200, None, 200, 200]


def test_another_metric_alone_is_a_difference():
    original, again = cell("a", 0.8, sha="1"), cell("a", 0.8, sha="2")
    again.outcome.metrics["sens_a"] = 0.5
    compared = compare(sheet(original), {"a": again})
    assert compared["verdict"].item() == "no noise estimate (one seed)"


def test_without_any_noise_between_seeds_every_difference_is_beyond():
    same = [cell("a", 0.5, "seed=0"), cell("b", 0.5, "seed=1")]
    rerun = {"a": cell("a", 0.5 + 1e-3, sha="x"), "b": cell("b", 0.5, sha="b")}
    assert compare(sheet(*same), rerun)["verdict"].to_list() == [
        "beyond seed noise",
        "bitwise equal",
    ]


@pytest.mark.parametrize(("groups", "seeds"), [(5, 3), (10, 2)])
def test_noise_alone_stays_within_in_about_95_of_100_sweeps(groups, seeds):
    rng = np.random.default_rng(0)
    within = total = 0
    for _ in range(400):
        means = rng.uniform(0.5, 0.9, groups)
        first = means[:, None] + rng.normal(0, 0.02, (groups, seeds))
        again = means[:, None] + rng.normal(0, 0.02, (groups, seeds))
        cells = [
            cell(f"{g}-{s}", first[g, s], f"roi={g}", f"seed={s}")
            for g in range(groups)
            for s in range(seeds)
        ]
        noise = seed_noise(sheet(*cells))
        assert noise.degrees == groups * (seeds - 1)
        within += int((np.abs(again - first) <= noise.widest).sum())
        total += groups * seeds
    assert 0.935 < within / total < 0.965


def test_the_bound_is_students():
    one = [cell("a", 0.0, "seed=0"), cell("b", 0.2, "seed=1")]
    assert seed_noise(sheet(*one)).widest == pytest.approx(t.ppf(0.975, 1) * 0.2)


def test_what_is_shown():
    grid = sheet(*GRID)
    compared = compare(grid, {"a0": cell("x", 0.81, sha="x"), "a1": cell("y", 0.84, sha="a1")})
    console = Console(width=120, record=True, file=None, quiet=False)
    with console.capture() as capture:
        console.print(comparison_table(compared, "title"))
    lines = capture.get().splitlines()
    (row,) = [line.split() for line in lines if "a0" in line]
    assert row == ["a0", "0.800", "0.810", "+0.0100", "200", "within", "seed", "noise"]
    (row,) = [line.split() for line in lines if "d1" in line]
    assert row == ["d1", "n/a", "n/a", "n/a", "n/a", "not", "rerun"]
    text = summary(compared, seed_noise(grid))
    assert text.startswith("7 cells: 5 not rerun, 1 within seed noise, 1 bitwise equal; ")
    assert "0.1325 in 95 of 100" in text
    assert "differ in seed only" in summary(compared, None)
