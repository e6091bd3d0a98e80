from __future__ import annotations

import io
import json

import polars as pl
import pytest
from rich.console import Console

from hideseek.audit.audit import Settings, audit_grid, resamples_of, write_audit
from hideseek.audit.command import audit, read_settings
from hideseek.audit.grid import read_grid
from hideseek.audit.power import detectable_difference, mcnemar_power
from hideseek.errors import UserError
from hideseek.report.audit import print_audit
from tests.audit.sweep_folder import write_cell

QUICK = Settings(resamples=1000)


@pytest.fixture
def sweep(tmp_path):
    """One network that reads the lungs, and one that reads something far from them."""
    lungs = {"original": 3, "lungs_isolated": 3, "lungs_removed": 0}
    marker = {"original": 3, "lungs_isolated": 0, "lungs_removed": 3, "silhouette": 0,
              "box_silhouette": 0, "fixed_box_out": 3}  # fmt: skip
    folder = tmp_path / "grid"
    for model, strengths in (("good", lungs), ("bad", marker)):
        for roi, strength in strengths.items():
            for seed in (0, 1):
                write_cell(folder, roi, strength, model=model, seed=seed)
    return folder


def test_metrics_comparisons_and_verdicts(sweep):
    grid = read_grid(sweep)
    found = audit_grid(grid, QUICK, resamples_of(grid, QUICK))
    assert [(verdict.model, verdict.name) for verdict in found.verdicts] == [
        ("bad", "outside_marker"), ("good", "lungs"),
    ]  # fmt: skip
    assert found.status == 3
    row = found.metrics.filter(
        pl.col("model") == "good", pl.col("representation") == "original",
        pl.col("metric") == "accuracy",
    ).row(0, named=True)  # fmt: skip
    cells = grid.representations("good")["original"]
    by_hand = sum((cell.predictions == grid.labels).mean() for cell in cells) / 2
    assert row["estimate"] == pytest.approx(by_hand)
    assert row["low"] < by_hand < row["high"]
    assert row["seeds"] == 2
    compared = found.comparisons
    assert compared.height == 2 + 5
    assert "original" not in compared["representation"].to_list()
    removed = compared.filter(
        pl.col("model") == "good", pl.col("representation") == "lungs_removed"
    ).row(0, named=True)
    assert removed["decision"] == "different"
    assert removed["difference"] < -0.3
    assert removed["p_holm"] >= removed["p"]


def test_the_file_holds_all_and_the_exit_status_gates(sweep, capsys):
    assert audit(sweep, ["resamples=1000"]) == 3
    shown = capsys.readouterr().out
    assert "outside_marker: bad reads something outside the lungs" in shown
    content = json.loads((sweep / "audit" / "audit.json").read_text())
    assert (content["format"], content["sweep"], content["status"]) == (1, "grid", 3)
    assert (content["images"], content["patients"]) == (120, 20)
    assert content["settings"]["margin"] == 0.02
    assert [verdict["status"] for verdict in content["verdicts"]] == [3, 0]
    assert content["verdicts"][1]["steps"][0]["score"].keys() == {"estimate", "low", "high"}
    assert pl.read_csv(sweep / "audit" / "metrics.csv").height > 100
    again = audit(sweep, ["resamples=1000"])
    assert again == 3
    second = json.loads((sweep / "audit" / "audit.json").read_text())
    assert second | {"written": ""} == content | {"written": ""}


def test_lungs_alone_is_exit_status_0_and_nothing_to_say_is_4(tmp_path):
    for roi, strength in {"original": 3, "lungs_isolated": 3, "lungs_removed": 0}.items():
        write_cell(tmp_path / "lungs", roi, strength)
        write_cell(tmp_path / "none", roi, 0.0)
    assert audit(tmp_path / "lungs", ["resamples=1000"]) == 0
    assert audit(tmp_path / "none", ["resamples=1000"]) == 4


def test_a_sweep_without_the_original_is_still_written(tmp_path):
    write_cell(tmp_path, "lungs_removed", 1.0)
    assert audit(tmp_path, ["resamples=1000"]) == 4
    assert not (tmp_path / "audit" / "comparisons.csv").exists()


def test_settings_are_checked():
    assert read_settings(["margin=0.05", "seed=3"]) == Settings(margin=0.05, seed=3)
    for word, says in (
        ("margins=1", "known are margin"),
        ("margin=x", "not a number"),
        ("resamples=1e4", "not a whole number"),
        ("resamples=10", "too few"),
        ("margin=0", "numbers in 0..1"),
    ):
        with pytest.raises(UserError, match=says):
            read_settings([word])


def test_names_are_shown_as_they_are(tmp_path):
    write_cell(tmp_path, "original", 1.0, model="[red]x")
    grid = read_grid(tmp_path)
    output = io.StringIO()
    found = audit_grid(grid, QUICK, resamples_of(grid, QUICK))
    print_audit(found, Console(file=output, width=200))
    assert "[red]x" in output.getvalue()
    write_audit(found, tmp_path)


def test_power_follows_from_the_share_of_images_on_which_two_cells_disagree(tmp_path):
    write_cell(tmp_path, "original", 3.0)
    write_cell(tmp_path, "lungs_framed", 2.5)
    write_cell(tmp_path, "lungs_removed", 0.0)
    grid, settings = read_grid(tmp_path), Settings(resamples=1000)
    rows = audit_grid(grid, settings, resamples_of(grid, settings)).comparisons
    few, many = rows.sort("detectable").iter_rows(named=True)
    for row in (few, many):
        share = (row["better"] + row["worse"]) / row["images"]
        assert 0 < share < 1
        assert row["detectable"] == pytest.approx(detectable_difference(120, share))
        assert row["power_at_margin"] == pytest.approx(mcnemar_power(120, 0.02, share))
    # The more they disagree, the more noise, and the less can be seen.
    assert few["better"] + few["worse"] < many["better"] + many["worse"]
    assert few["detectable"] < many["detectable"]
