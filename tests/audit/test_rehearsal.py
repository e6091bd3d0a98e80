from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import psutil
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from hideseek.audit.grid import read_grid
from hideseek.audit.judgement import judge
from hideseek.audit.planted import (
    REAL_SETTINGS,
    SETTINGS,
    SHOWN,
    Background,
    Planted,
    train_cell,
)
from hideseek.audit.rehearsal import rehearse, rehearse_one
from hideseek.errors import UserError
from hideseek.sweep.runs import read_done

TINY = (*SETTINGS, "epochs=1")
NAMES = [
    "tiny-original-s100", "tiny-lungs_isolated-s100", "tiny-lungs_removed-s100",
    "tiny-silhouette-s100", "tiny-box_silhouette-s100", "tiny-fixed_box_out-s100",
    "tiny-around_lungs-s100",
]  # fmt: skip
MARKER = Planted("marker", 1.0, 60, 100)
DRAWING = 2532867621


def state() -> tuple[object, ...]:
    """Everything global that a training could change and a later one could see."""
    return (
        dict(os.environ), Path.cwd(), sys.argv[:], sys.stdout, sys.stderr,
        logging.getLogger().handlers[:], logging.getLogger().level,
        {number: signal.getsignal(number) for number in signal.valid_signals()},
        GlobalHydra.instance().is_initialized(), HydraConfig.instance().cfg,
        torch.are_deterministic_algorithms_enabled(), torch.get_num_threads(),
        torch.get_default_dtype(), torch.is_grad_enabled(), torch.is_inference_mode_enabled(),
        torch.get_float32_matmul_precision(), warnings.filters[:],
    )  # fmt: skip


def test_names_and_seeds():
    planted = Planted("lung_size", 0.25, 240, 7)
    assert planted.name == "lung_size-0.25-n240-s7"
    others = [
        Planted("heart", 0.25, 240, 7), Planted("lung_size", 0.5, 240, 7),
        Planted("lung_size", 0.25, 480, 7), Planted("lung_size", 0.25, 240, 8),
    ]  # fmt: skip
    assert len({each.drawing for each in [planted, *others]}) == 5
    assert planted.drawing == Planted("lung_size", 0.25, 240, 7).drawing


def test_phantoms_keep_their_names_seeds_and_settings():
    """What was trained before there were real radiographs is still known as the same."""
    assert Planted("marker", 1.0, 480, 100).drawing == DRAWING
    films = Background("m.csv", "r", None, "0a1b2c3d")
    real = Planted("marker", 1.0, 480, 100, films)
    assert real.name == "marker-1-n480-s100-real-0a1b2c3d"
    assert real.drawing != DRAWING
    assert set(Planted("marker", 1.0, 480, 100).words()) == {
        "epochs=12", "data.phantom.strength=1.0", "data.phantom.images=480",
        f"data.phantom.seed={DRAWING}", "data.phantom.carriers=[marker]",
    }  # fmt: skip
    assert set(real.words()) == {
        "epochs=24", "data.pasted.strength=1.0", "data.pasted.images=480",
        f"data.pasted.seed={real.drawing}", "data.pasted.carrier=marker",
        "data.pasted.manifest='m.csv'", "data.pasted.root='r'", "data.pasted.source=null",
    }  # fmt: skip


@pytest.mark.slow
def test_real_radiographs_are_trained_on_and_audited(pack, tmp_path):
    from hideseek.audit.selftest import background_of, read_options

    films = background_of(read_options([f"real={pack / 'manifest.csv'}", "source=montgomery"]))
    planted = Planted("marker", 1.0, 60, 300, films)
    found = rehearse_one(planted, tmp_path, (*REAL_SETTINGS, "epochs=1"))
    assert found.planted == planted
    sweep = tmp_path / planted.name
    names = [name.replace("s100", "s300") for name in NAMES]
    assert sorted(path.name for path in sweep.iterdir()) == sorted(names)
    grid = read_grid(sweep)
    assert 12 <= grid.images.height <= 18
    assert set(grid.images["source"]) == {"montgomery"}


def test_a_verdict_can_be_reached_with_what_is_shown():
    """No verdict of the rule misses a representation that is never trained."""
    from tests.audit.test_judgement import PLANTED, draws, scores

    for expected, aucs in PLANTED.items():
        given = {name: each for name, each in scores(aucs).items() if name in SHOWN}
        if expected == "global_acquisition":
            given["around_lungs"] = draws(0.97)
        verdict = judge("tiny", given, 0.5)
        assert verdict.name == expected
        assert "missing" not in {step.answer for step in verdict.steps}


@pytest.mark.slow
def test_a_data_set_is_trained_audited_and_kept(tmp_path):
    found = rehearse_one(MARKER, tmp_path, TINY)
    sweep = tmp_path / "marker-1-n60-s100"
    assert sorted(path.name for path in sweep.iterdir()) == sorted(NAMES)
    grid = read_grid(sweep)
    assert [cell.representation for cell in grid.cells] == [
        "original", "lungs_isolated", "lungs_removed", "silhouette", "box_silhouette",
        "around_lungs", "fixed_box_out",
    ]  # fmt: skip
    assert grid.images.height == 15
    assert found.planted == MARKER
    assert found.scores.keys() == {
        f"{key}_{cell.representation.replace(' ', '_')}"
        for cell in grid.cells
        for key in ("ba", "auc", "low", "high")
    }
    original = next(cell for cell in grid.cells if cell.representation == "original")
    shares = [(original.predictions[grid.labels == k] == k).mean() for k in range(3)]
    assert found.scores["ba_original"] == pytest.approx(sum(shares) / 3)
    for name in NAMES:
        assert "done in" in (sweep / name / "log.txt").read_text()
    stamps = {name: (sweep / name / "done.json").stat().st_mtime_ns for name in NAMES}
    assert rehearse_one(MARKER, tmp_path, TINY) == found
    assert stamps == {name: (sweep / name / "done.json").stat().st_mtime_ns for name in NAMES}
    # Other settings, and what a kill left unfinished, are trained again.
    (sweep / NAMES[1] / "done.json").unlink()
    assert rehearse_one(MARKER, tmp_path, TINY) == found
    for name in NAMES:
        same = stamps[name] == (sweep / name / "done.json").stat().st_mtime_ns
        assert same == (name != NAMES[1])


@pytest.mark.slow
def test_a_cell_is_the_one_that_the_command_trains(tmp_path):
    """Also where others were trained before it in the same process."""
    other = Planted("gain", 1.0, 60, 3)
    train_cell(other, "lungs_isolated", tmp_path / "other", TINY)
    # From here on nothing is imported any more that sets variables.
    before = state()
    folder = train_cell(MARKER, "lungs_removed", tmp_path / "here", TINY)
    assert state() == before
    words = [
        *TINY, "data.phantom.carriers=[marker]", "data.phantom.strength=1.0",
        "data.phantom.images=60", f"data.phantom.seed={MARKER.drawing}", "roi=lungs_removed",
        "seed=100", f"paths.cache={tmp_path}/c", f"hydra.run.dir={tmp_path}/cell",
    ]  # fmt: skip
    command = [sys.executable, "-m", "hideseek", "train", *words]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    alone = tmp_path / "cell"
    names = {path.name for path in alone.iterdir()}
    assert {path.name for path in folder.iterdir()} == names
    assert read_done(folder) == read_done(alone)
    assert (folder / "predictions.csv").read_bytes() == (alone / "predictions.csv").read_bytes()


@pytest.mark.slow
def test_workers_train_several_data_sets(tmp_path):
    planted = [MARKER, Planted("none", 0.0, 60, 100), Planted("heart", 0.5, 60, 101)]
    before, count = dict(os.environ), []
    found = rehearse(planted, tmp_path, 2, count.append, TINY)
    assert dict(os.environ) == before
    assert [each.planted for each in found] == planted
    assert sum(count) == 3
    assert len(list(tmp_path.glob("*/*/done.json"))) == 3 * len(SHOWN)
    provenance = json.loads((tmp_path / MARKER.name / NAMES[0] / "provenance.json").read_text())
    assert provenance["device"].startswith("cpu")
    # Neither the number of workers nor what a worker did before changes a number.
    assert rehearse(planted[::-1], tmp_path / "again", 1, settings=TINY) == found[::-1]


@pytest.mark.slow
def test_a_mistake_names_the_data_set_and_ends_the_others(tmp_path):
    with pytest.raises(UserError, match=r"marker-1-n60-s100: epochs=0 cannot work"):
        rehearse([MARKER], tmp_path, 1, settings=(*SETTINGS, "epochs=0"))


KILLED = """
import sys
from pathlib import Path
from hideseek.audit.planted import SETTINGS, Planted
from hideseek.audit.rehearsal import rehearse
from hideseek.errors import UserError
if __name__ == "__main__":
    try:
        rehearse([Planted("marker", 1.0, 60, s) for s in (1, 2, 3)], Path("f"), 2,
                 settings=(*SETTINGS, "epochs=500"))
    except UserError as error:
        sys.exit(f"told: {error}")
"""


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["parent", "worker"])
def test_a_kill_leaves_no_process_and_is_told(victim, tmp_path):
    (tmp_path / "run.py").write_text(KILLED)
    command = [sys.executable, "run.py"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as parent:
        deadline = time.monotonic() + 120
        while len(list(tmp_path.glob("f/*/*/history.csv"))) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        children = psutil.Process(parent.pid).children(recursive=True)
        workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        assert len(workers) == 2
        (psutil.Process(parent.pid) if victim == "parent" else workers[0]).kill()
        parent.wait(60)
        assert parent.stderr is not None
        told = parent.stderr.read() if victim == "worker" else ""
    gone, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    assert len(gone) == len(children)
    if victim == "worker":
        assert "told: f: a worker was killed" in told
