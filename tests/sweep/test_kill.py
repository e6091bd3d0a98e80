"""Kill -9 of a sweep or of anything it started, then the same command again.

HIDESEEK_KILLS sets the number of kills.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

KILLS = int(os.environ.get("HIDESEEK_KILLS", "4"))
ROOT = Path(__file__).parents[2]
DATA = ["data=phantom", "data.phantom.images=90", "data.phantom.size=64"]
CELLS = ["model=tiny", "logger=csv", "epochs=5", "ema_decay=0.9", "schedule=onecycle"]
GRIDS = {
    "two at once": ["roi=lungs_removed,original", "seed=0,1", "trainer=cpu",
                    "hydra.launcher.parallel=2"],
    "two ranks": ["roi=lungs_removed", "seed=0,1", "trainer=ddp_cpu"],
}  # fmt: skip


def start(folder: Path, sweep: str, grid: list[str]) -> subprocess.Popen[bytes]:
    words = [sys.executable, str(ROOT / "train.py"), "-m", *DATA, *CELLS, *grid, f"sweep={sweep}"]
    output = (folder / f"{sweep}.log").open("ab")
    return subprocess.Popen(words, cwd=folder, stdout=output, stderr=subprocess.STDOUT)


def results(folder: Path, sweep: str) -> dict[str, bytes]:
    found = folder / "multirun" / sweep
    names = ["results.csv", *(f"{cell.parent.name}/predictions.csv"
                              for cell in sorted(found.glob("*/done.json")))]  # fmt: skip
    return {name: (found / name).read_bytes() for name in names}


def descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def kill_one(sweep: subprocess.Popen[bytes], dice: random.Random) -> str:
    """Kill the sweep or one of its children; return which. Nothing may outlive the sweep."""
    children = descendants(sweep.pid)
    if not children or dice.random() < 0.5:
        sweep.kill()
        sweep.wait(60)
        deadline = time.monotonic() + 10
        while not all(gone(child) for child in children):
            assert time.monotonic() < deadline, f"orphans: {[c for c in children if not gone(c)]}"
            time.sleep(0.02)
        return "sweep"
    victim = dice.choice(children)
    try:
        victim.kill()
    except psutil.NoSuchProcess:
        return "nobody"
    sweep.wait(120)
    return "child"


@pytest.mark.slow
@pytest.mark.parametrize("kind", GRIDS)
def test_a_sweep_killed_at_any_moment_ends_as_if_it_never_was(kind, tmp_path):
    grid = GRIDS[kind]
    assert start(tmp_path, "whole", grid).wait(300) == 0
    begun = time.monotonic()
    assert start(tmp_path, "again", grid).wait(300) == 0
    seconds = time.monotonic() - begun
    expected = results(tmp_path, "whole")
    assert len(expected) > 2
    assert results(tmp_path, "again") == expected

    dice = random.Random(0)
    victims, sweep = [], "killed0"
    for number in range(KILLS if kind == "two at once" else max(1, KILLS // 2)):
        running = start(tmp_path, sweep, grid)
        try:
            running.wait(dice.uniform(0.1, seconds))
        except subprocess.TimeoutExpired:
            victims.append(kill_one(running, dice))
        # Some sweeps are killed more than once before they may end.
        if dice.random() < 0.3:
            continue
        assert start(tmp_path, sweep, grid).wait(300) == 0
        assert results(tmp_path, sweep) == expected, victims
        sweep = f"killed{number + 1}"
    print(f"{kind}: killed {victims}, uninterrupted {seconds:.1f} s")
    assert victims


FAILS_ONCE = """
import os, pathlib, sys
mark = pathlib.Path(os.environ["MARK"])
if "hydra.mode='RUN'" in sys.orig_argv and "LOCAL_RANK" not in os.environ and not mark.exists():
    mark.touch()
    sys.exit("no room on the device")
"""
RANK = re.compile(r"rank (\d) of 2 trains cell ([0-9a-f]{16})")


@pytest.mark.slow
def test_all_ranks_train_the_same_cell_even_after_rank_0_failed_once(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(FAILS_ONCE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("MARK", str(tmp_path / "mark"))
    grid = ["roi=lungs_removed,lungs_isolated", "trainer=ddp_cpu"]
    assert start(tmp_path, "ranks", grid).wait(300) == 1
    assert (tmp_path / "mark").exists()
    assert "no room on the device" in (tmp_path / "ranks.log").read_text()
    assert start(tmp_path, "ranks", grid).wait(300) == 0
    (sweep,) = (tmp_path / "multirun").iterdir()
    hashes = set()
    for cell in ("tiny-lungs_removed-s0", "tiny-lungs_isolated-s0"):
        told = RANK.findall((sweep / cell / "log.txt").read_text())
        own = json.loads((sweep / cell / "done.json").read_text())["config_hash"]
        assert sorted(told) == [("0", own), ("1", own)]
        hashes.add(own)
    assert len(hashes) == 2


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_sweep_leaves_a_checkpoint_and_no_rank(number, status, tmp_path):
    workers = f"workers={int(number == signal.SIGTERM)}"  # which die of the same signal
    grid = ["roi=lungs_removed", "trainer=ddp_cpu", "epochs=200", workers]
    running = start(tmp_path, "stopped", grid)
    cell = tmp_path / "multirun" / "stopped" / "tiny-lungs_removed-s0"
    deadline = time.monotonic() + 120
    while not (cell / "checkpoints" / "last.ckpt").exists():
        assert time.monotonic() < deadline and running.poll() is None
        time.sleep(0.05)
    children = descendants(running.pid)
    assert len(children) >= 2
    running.send_signal(number)
    assert running.wait(30) == status
    assert all(gone(child) for child in children)
    assert not list(cell.glob("*.json"))
    log = (cell / "log.txt").read_text()
    running = start(tmp_path, "stopped", grid)
    while (cell / "log.txt").read_text() == log:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    while "continued after epoch" not in (cell / "log.txt").read_text()[len(log) :]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    running.kill()
    running.wait(30)
