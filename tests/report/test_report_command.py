from __future__ import annotations

import json
import sys
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from rich.console import Console

from hideseek.errors import UserError
from hideseek.report import command
from hideseek.report.chapter import Chapter
from hideseek.report.chapters import order
from hideseek.sweep.verbs import run
from tests.audit.sweep_folder import write_cell
from tests.report.sample_chapters import sample_chapters

ROIS = ("original", "lungs_removed", "lungs_isolated", "silhouette", "box_silhouette")


@pytest.fixture
def audited(tmp_path):
    """An audit with as little in it as can be read."""
    sweep = tmp_path / "mine"
    (sweep / "audit").mkdir(parents=True)
    audit = {"format": 1, "sweep": "<b>mine</b>", "images": 12, "classes": ["normal", "ill"]}
    (sweep / "audit" / "audit.json").write_text(json.dumps(audit))
    (sweep / "results.csv").write_text("model,roi\ntiny,original\n")
    return sweep


def fake(monkeypatch, **functions):
    """Let some names be chapters, in this order."""
    monkeypatch.setattr(command, "CHAPTERS", tuple(functions))
    for name, function in functions.items():
        module = SimpleNamespace(chapter=function)
        monkeypatch.setitem(sys.modules, f"hideseek.report.chapters.{name}", module)


def lacking(evidence):
    raise UserError("no checkpoints; run hideseek audit [bold]x[/bold]")


def broken(evidence):
    return {}["key"]


def test_a_report_is_a_page_and_files(audited, monkeypatch, capsys):
    scores = sample_chapters()[1]
    fake(monkeypatch, one=lambda evidence: scores, heat_map=lacking)
    with pytest.raises(SystemExit) as caught:
        run("report", [str(audited)])
    assert caught.value.code == 0
    page = (audited / "report" / "index.html").read_text()
    assert "Hide-and-seek report: &lt;b&gt;mine&lt;/b&gt;" in page
    assert "12 test images" in page
    assert "classes: normal, ill" in page
    assert page.index("Networks and representations") < page.index("Heat map")
    assert (audited / "report" / "tables" / "scores.tex").is_file()
    assert [path.name for path in (audited / "report").glob(".*")] == []
    shown = capsys.readouterr().out
    assert "not in it: Heat map: no checkpoints; run hideseek audit [bold]x[/bold]" in shown
    assert f"report: {audited / 'report' / 'index.html'} (0.0 MB)" in shown


def test_a_chapter_that_fails_leaves_the_others_and_is_told(audited, monkeypatch):
    fake(monkeypatch, bad=broken, good=lambda evidence: Chapter("good", "Good", ("Fine.",)))
    assert command.report(audited) == 1
    page = (audited / "report" / "index.html").read_text()
    assert "It could not be written (KeyError: &#39;key&#39;)." in page
    assert "Fine." in page


def test_a_sweep_without_an_audit_is_audited_first(tmp_path, monkeypatch, capsys):
    for roi in ROIS:
        write_cell(tmp_path / "mine", roi, 2.0)
    (tmp_path / "mine" / "results.csv").write_text("model,roi\ntiny,original\n")
    monkeypatch.setattr(command, "FIRST_AUDIT", ("parts=none", "resamples=1000"))
    fake(monkeypatch, one=lambda evidence: Chapter("one", "One", (str(evidence.audit["images"]),)))
    assert command.report(tmp_path / "mine") == 0
    assert "no audit yet, so one runs first" in capsys.readouterr().out
    assert "<p>120</p>" in (tmp_path / "mine" / "report" / "index.html").read_text()
    monkeypatch.setattr(command, "_audit_first", lambda *given: pytest.fail("a second audit"))
    command.report(tmp_path / "mine")


def test_a_page_that_cannot_be_written_leaves_the_old_one(audited, monkeypatch):
    fake(monkeypatch, one=lambda evidence: Chapter("one", "One"))
    command.report(audited)
    page = audited / "report" / "index.html"
    before = page.read_text()
    monkeypatch.setattr(command, "build_page", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        command.report(audited)
    assert page.read_text() == before


def test_no_folder_and_no_settings_are_one_line(tmp_path, audited, capsys):
    for words, said in (([str(tmp_path / "nowhere")], "nowhere"), ([str(audited), "x=1"], "x=1")):
        with pytest.raises(SystemExit) as caught:
            run("report", words)
        assert caught.value.code == 2
        assert said in capsys.readouterr().err


def test_damaged_facts_are_shown_as_unknown():
    assert command.facts({"classes": 3})[:3] == [
        "? test images", "? patients", "classes: ?",
    ]  # fmt: skip


@pytest.mark.parametrize("name", order.CHAPTERS)
def test_every_chapter_has_its_function(name):
    assert callable(order.chapter_function(name))


@pytest.mark.slow
def test_five_networks_on_five_representations_take_a_minute_and_10_mb(tmp_path):
    sweep, rng = tmp_path / "mine", np.random.default_rng(0)
    epochs = "\n".join(f"{epoch},1.0,1.0,0.5" for epoch in range(60))
    for model in ("alexnet", "covidnet", "resnet18", "resnet50", "vgg11"):
        for roi in ROIS:
            folder = write_cell(sweep, roi, 2.0, model, images=300)
            head = "epoch,train/loss,val/loss,val/balanced_accuracy"
            (folder / "history.csv").write_text(f"{head}\n{epochs}\n")
            noise = rng.integers(0, 256, (400, 400), np.uint8)  # 160 kB, as what training draws
            cv2.imwrite(str(folder / "attribution.png"), noise)
    (sweep / "results.csv").write_text("model,roi\ntiny,original\n")
    command._audit_first(sweep, Console(quiet=True))
    start = time.perf_counter()
    command.report(sweep)
    seconds = time.perf_counter() - start
    page = sweep / "report" / "index.html"
    print(f"{seconds:.0f} s, {page.stat().st_size / 1e6:.1f} MB")
    assert page.read_text().count('class="plate"') >= 25
    assert seconds < 60
    assert page.stat().st_size < 10e6
