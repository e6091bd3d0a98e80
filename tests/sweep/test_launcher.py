from __future__ import annotations

import csv
import json
import math
import multiprocessing

import pytest
from hydra.core.utils import JobStatus
from omegaconf import OmegaConf, open_dict

from hideseek import __version__
from hideseek.config import plain
from hideseek.errors import UserError
from hideseek.sweep import launcher
from hideseek.sweep.cells import Cell, plan
from hideseek.sweep.launcher import CellFailed, sole_owner
from tests.sweep.grid import FOLDERS, JOBS


def finish(cell: Cell) -> None:
    done = {
        "model": "tiny", "roi": cell.config.roi._target_, "seed": 0, "task": "classify",
        "classes": ["normal", "pneumonia", "covid19"], "score": 0.5, "version": __version__,
        "config_hash": cell.config_hash, "recipe_hash": "r",
    }  # fmt: skip
    (cell.folder / "config.yaml").write_text(OmegaConf.to_yaml(plain(cell.config)))
    (cell.folder / "done.json").write_text(json.dumps(done))
    (cell.folder / "predictions.csv").write_text("image_id,label,prediction\n1,normal,normal\n")
    (cell.folder / "history.csv").write_text("epoch,seconds\n0,1.5\n")


class Fake:
    """Runs nothing: every cell writes a result at once, but the second as often as asked."""

    def __init__(self, cells: list[Cell]) -> None:
        self.cells = {cell.folder.name: cell for cell in cells}
        self.ran: list[str] = []
        self.jobs: list = []
        self.outcome: dict[str, str | None] = {FOLDERS[1]: "exit status 1"}
        self.says: str | None = None
        self.without_result = False
        self.interrupt = False
        self.closed = 0

    def submit(self, jobs):
        self.jobs = list(jobs)

    def running(self):
        return {job.name for job in self.jobs[:1]}

    def poll(self):
        if self.interrupt:
            raise KeyboardInterrupt
        job = self.jobs.pop(0)
        self.ran.append(job.name)
        reason = self.outcome.get(job.name)
        if reason is not None:
            (job.folder / "log.txt").write_text("first\n[red]the end\n")
            if self.says:
                content = {"reason": self.says, "version": __version__}
                content["config_hash"] = self.cells[job.name].config_hash
                (job.folder / "failed.json").write_text(json.dumps(content))
        elif not self.without_result:
            finish(self.cells[job.name])
        return {job.name: reason}

    def close(self):
        self.closed += 1


@pytest.fixture
def fake(sweep, monkeypatch):
    made = Fake(plan(*sweep, JOBS, 0))
    made.recipe = "r"
    monkeypatch.setattr(launcher, "recipe_hashes", lambda cells: [made.recipe] * len(cells))
    return made


@pytest.fixture
def run(sweep, fake):
    def launch(jobs=JOBS, first=0, **options):
        fake.ran.clear()
        return launcher.launch(*sweep, jobs, first, lambda: fake, **options)

    return launch


def table(path):
    return list(csv.DictReader(path.open()))


def test_a_failing_cell_leaves_the_others_whole(run, fake, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        run()
    assert caught.value.code == 1
    assert fake.ran == FOLDERS
    assert fake.closed == 1
    folder = tmp_path / "m" / "grid"
    rows = table(folder / "results.csv")
    assert [row["folder"] for row in rows] == sorted([FOLDERS[0], FOLDERS[2]])
    failures = table(folder / "failures.csv")
    assert failures == [{"cell": FOLDERS[1], "reason": "exit status 1"}]
    assert "[red]the end" in capsys.readouterr().out
    written = OmegaConf.load(folder / "sweep.yaml")
    assert [cell.folder for cell in written.cells] == FOLDERS
    assert [list(cell.overrides) for cell in written.cells] == JOBS


def test_a_failure_is_told_in_the_cells_own_words(run, fake, tmp_path):
    fake.says = "OutOfMemoryError: CUDA out of memory"
    with pytest.raises(SystemExit):
        run()
    assert table(tmp_path / "m/grid/failures.csv")[0]["reason"] == fake.says


def test_what_failed_is_left_until_asked_for(run, fake, tmp_path, capsys):
    fake.says = "ValueError: no"
    with pytest.raises(SystemExit):
        run()
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        run()
    assert caught.value.code == 1
    assert fake.ran == []
    assert "retry_failed=true" in capsys.readouterr().out
    fake.outcome = {}
    results = run(retry_failed=True)
    assert fake.ran == [FOLDERS[1]]
    assert [result.return_value for result in results] == [0.5] * 3
    assert not (tmp_path / "m/grid/failures.csv").exists()
    assert not (tmp_path / "m/grid" / FOLDERS[1] / "failed.json").exists()


def test_what_was_killed_runs_again(run, fake):
    fake.outcome = {FOLDERS[1]: "killed by SIGKILL"}
    with pytest.raises(SystemExit):
        run()
    fake.outcome = {}
    run()
    assert fake.ran == [FOLDERS[1]]


def test_a_finished_cell_is_kept_and_another_is_run_again(run, fake, tmp_path, capsys):
    fake.outcome = {}
    results = run()
    assert [result.return_value for result in results] == [0.5, 0.5, 0.5]
    run()
    assert fake.ran == []
    other = tmp_path / "m" / "grid" / FOLDERS[0] / "done.json"
    other.write_text(other.read_text().replace(__version__, "0.0.0"))
    (tmp_path / "m" / "grid" / FOLDERS[2] / "done.json").write_text("{")
    capsys.readouterr()
    run()
    assert fake.ran == [FOLDERS[0], FOLDERS[2]]
    assert f"version was 0.0.0, is {__version__}" in capsys.readouterr().out
    fake.recipe = "other data"
    run()
    assert fake.ran == FOLDERS
    assert "recipe_hash was r, is other data" in capsys.readouterr().out


def test_a_cell_without_a_result_failed(run, fake, tmp_path):
    fake.outcome, fake.without_result = {}, True
    with pytest.raises(SystemExit):
        run(JOBS[:1])
    assert "ended without a result" in (tmp_path / "m/grid/failures.csv").read_text()


def test_a_damaged_cell_is_one_line_and_no_traceback(run, fake, tmp_path, capsys):
    fake.outcome = {}
    run()
    (tmp_path / "m" / "grid" / FOLDERS[0] / "predictions.csv").write_text("")
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        run()
    assert caught.value.code == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "damaged" in line]
    assert FOLDERS[0] in line


def test_an_interrupt_stops_what_runs(run, fake):
    fake.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        run()
    assert fake.closed == 1


def test_another_sweeper_gets_scores_and_failures_to_decide_on(sweep, run, fake, tmp_path):
    _, config = sweep
    with open_dict(config):
        config.hydra.sweeper._target_ = "somewhere.Halving"
    first = run(JOBS[:2])
    assert first[0].return_value == 0.5
    assert first[1].status == JobStatus.FAILED
    with pytest.raises(CellFailed, match="exit status 1"):
        _ = first[1].return_value
    second = run(JOBS[2:], first=2)
    assert second[0].return_value == 0.5
    assert [row["cell"] for row in table(tmp_path / "m/grid/failures.csv")] == [FOLDERS[1]]
    written = OmegaConf.load(tmp_path / "m/grid/sweep.yaml")
    assert [cell.folder for cell in written.cells] == FOLDERS


def test_a_score_that_is_undefined_is_no_number(run, fake, tmp_path):
    fake.outcome = {}
    run(JOBS[:1])
    done = tmp_path / "m" / "grid" / FOLDERS[0] / "done.json"
    done.write_text(done.read_text().replace("0.5", "null"))
    assert math.isnan(run(JOBS[:1])[0].return_value)


def _hold(path, ready, go):
    with sole_owner(path):
        ready.set()
        go.wait(30)


def test_a_sweep_runs_once_at_a_time(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, go = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path, ready, go))
    other.start()
    assert ready.wait(60)
    with pytest.raises(UserError, match="running already"), sole_owner(tmp_path):
        pass
    other.kill()
    other.join()
    with sole_owner(tmp_path):
        pass
