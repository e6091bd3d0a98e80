from __future__ import annotations

import builtins
import json
from pathlib import Path

import polars as pl
import pytest

from hideseek.errors import UserError
from hideseek.report.dashboard import (
    as_json,
    build_report,
    dashboard,
    heat_map,
    metric_table,
    panel_names,
    read_results,
)

pytest.importorskip("wandb_workspaces")

MODELS = ("covidnet_cxr4a", "alexnet", "vgg11", "resnet50", "timm")
ROIS = ("original", "lungs_isolated", "lungs_removed", "lungs_framed", "lungs_boxed_out")
EVIL = "a|b*c_[x](y)<i>\n`$"


def results(seeds: int = 2) -> pl.DataFrame:
    """Accuracy 0.1 for a model's place and 0.02 for a representation's; 0.01 between seeds."""
    return pl.DataFrame(
        [
            {
                "model": model, "roi": roi, "seed": seed,
                "accuracy": 0.1 * row + 0.02 * column + 0.01 * seed,
                "sens_normal": 0.5 + 0.1 * seed, f"sens_{EVIL}": None if row else 0.25,
                "ppv_normal": 1.0,
            }
            for row, model in enumerate(MODELS)
            for column, roi in enumerate(ROIS)
            for seed in range(seeds)
        ]
    )  # fmt: skip


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split(" | ")]


@pytest.fixture
def sweep(tmp_path, monkeypatch) -> Path:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    folder = tmp_path / "it's = <grid>"
    picture = "tiny-original-s0/wandb/offline-run-20260101_000000-x/files/media/images/panels"
    (folder / picture).mkdir(parents=True)
    (folder / picture / "grad_cam_7_0a1b2c.png").touch()
    results().write_csv(folder / "results.csv")
    return folder


def test_the_heat_map_has_five_by_five_means_over_seeds():
    heading, rule, *lines = heat_map(results()).splitlines()
    assert cells(heading) == ["model", *(roi.replace("_", r"\_") for roi in ROIS)]
    assert set(rule) <= set("|- ")
    assert [cells(line)[0] for line in lines] == [model.replace("_", r"\_") for model in MODELS]
    for row, line in enumerate(lines):
        found = [float(cell.split()[1]) for cell in cells(line)[1:]]
        assert found == pytest.approx([0.1 * row + 0.02 * k + 0.005 for k in range(5)], abs=6e-4)


def test_shades_are_quarters_and_holes_are_shown():
    table = pl.DataFrame(
        {
            "model": ["a"] * 5 + ["b"] * 2,
            "roi": ["v", "w", "x", "y", "z", "v", "w"],
            "accuracy": [0.0, 0.25, 0.5, 0.75, 1.0, None, 0.2499],
        }
    )
    first, second = heat_map(table).splitlines()[2:]
    assert cells(first)[1:] == ["░ 0.000", "▒ 0.250", "▓ 0.500", "█ 0.750", "█ 1.000"]
    assert cells(second)[1:] == ["n/a", "░ 0.250", "-", "-", "-"]


def test_sensitivities_and_ppvs_are_means_and_class_names_cannot_break_the_table():
    columns = ["sens_normal", f"sens_{EVIL}", "ppv_normal"]
    heading, _, *lines = metric_table(results(), columns).splitlines()
    assert heading == (
        r"| model | roi | sens\_normal | sens\_a\|b\*c\_\[x\](y)\<i\> \`\$ | ppv\_normal |"
    )
    assert len(lines) == 25
    assert cells(lines[0])[1:] == ["original", "0.550", "0.250", "1.000"]
    assert cells(lines[-1]) == ["timm", r"lungs\_boxed\_out", "0.550", "n/a", "1.000"]


def grids(report) -> list[dict]:
    blocks = as_json(report)["spec"]["blocks"]
    return [block["metadata"] for block in blocks if block["type"] == "panel-grid"]


def filters(grid) -> list[tuple[str, str, str, object]]:
    (runs,) = grid["runSets"]
    return [
        (f["key"]["section"], f["key"]["name"], f["op"], f["value"])
        for f in runs["filters"]["filters"]
    ]


@pytest.mark.parametrize("name", ["2026-01-01_00-00-00", 'it\'s = <a> "b" \\ c', "x and y"])
def test_every_grid_shows_only_the_runs_of_the_sweep(name):
    found = grids(build_report(results(), name, ["grad_cam"], None, "hideseek"))
    assert len(found) == 1 + 5 + 1
    ours = ("run", "group", "=", name)
    assert [filters(grid)[0] for grid in found] == [ours] * 7
    by_model = [filters(grid)[1:] for grid in found]
    assert by_model[0] == by_model[-1] == []
    assert by_model[1:-1] == [[("run", "tags", "IN", [model])] for model in MODELS]


def test_curves_are_grouped_by_representation_and_panels_are_browsed():
    first, *_, last = grids(build_report(results(), "grid", ["grad_cam"], "us", "mine"))
    plots = [panel["config"] for panel in first["panelBankSectionConfig"]["panels"]]
    assert [plot["metrics"] for plot in plots] == [["val/accuracy"], ["val/loss"]]
    assert {(plot["xAxis"], plot["groupBy"], plot["groupAgg"]) for plot in plots} == {
        ("epoch", "roi_name.value", "mean")
    }
    (browser,) = last["panelBankSectionConfig"]["panels"]
    assert browser["viewType"] == "Media Browser"
    assert browser["config"]["mediaKeys"] == ["panels/grad_cam"]


def test_a_segmenters_sweep_has_no_table_of_classes_and_no_panels():
    table = results().select("model", "roi", "seed", "accuracy")
    report = build_report(table, "grid", [], None, "hideseek")
    headings = [
        block["children"][0]["text"]
        for block in as_json(report)["spec"]["blocks"]
        if block["type"] == "heading"
    ]
    assert headings == ["Accuracy: model x representation", "Validation curves by representation"]


def test_without_a_key_the_report_is_a_file(sweep, capsys):
    dashboard(sweep, None, "hideseek", upload=lambda *_: pytest.fail("uploaded"))
    content = json.loads((sweep / "dashboard.json").read_text())
    assert content["displayName"] == "hideseek: it's = <grid>"
    tables = [b["content"] for b in content["spec"]["blocks"] if b["type"] == "markdown-block"]
    assert tables[1] == heat_map(read_results(sweep / "results.csv"))
    assert "up to 2 cells each" in tables[0]
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert out.startswith("not uploaded, no W&B key")


def test_with_a_key_it_is_saved_and_the_address_printed(sweep, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    saved = []

    def upload(report, entity):
        saved.append((report.project, report.entity, entity))
        return "https://wandb.ai/us/mine/reports/x"

    dashboard(sweep, "us", "mine", upload)
    assert saved == [("mine", "us", "us")]
    assert capsys.readouterr().out == "dashboard: https://wandb.ai/us/mine/reports/x\n"


def test_a_server_that_fails_leaves_the_file_and_a_line(sweep, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)

    def upload(*_):
        raise ConnectionError("no route\nto host")

    dashboard(sweep, upload=upload)
    assert capsys.readouterr().out == f"not uploaded (no route): {sweep / 'dashboard.json'}\n"
    assert (sweep / "dashboard.json").exists()


def test_panels_are_known_from_the_pictures_on_disk(sweep):
    assert panel_names(sweep) == ["grad_cam"]


@pytest.mark.parametrize("content", [None, "", "model,roi\n", "model,roi,seed\ntiny,x,0\n",
                                     "a,b\n1,2\n", "model,roi,accuracy\nx,y,z\n"])  # fmt: skip
def test_damaged_results_are_one_line(sweep, content):
    (sweep / "results.csv").unlink()
    if content is not None:
        (sweep / "results.csv").write_text(content)
    with pytest.raises(UserError) as caught:
        dashboard(sweep)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(sweep / "results.csv"))


def test_a_missing_extra_is_named(sweep, monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **further):
        if name.startswith("wandb_workspaces"):
            raise ImportError(name)
        return real(name, *rest, **further)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"pip install 'hideseek\[dashboard\]'"):
        dashboard(sweep)
