from __future__ import annotations

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hideseek.errors import UserError
from hideseek.sweep import sync as module
from hideseek.sweep.sync import is_synced, sync, unsynced_runs


def make_run(sweep: Path, cell: str, name: str, done: bool = True) -> Path:
    folder = sweep / cell / "wandb" / name
    folder.mkdir(parents=True)
    path = folder / f"run-{name.rsplit('-', 1)[-1]}.wandb"
    path.write_bytes(b":W&B\0\0\0" + b"record")
    if done:
        (sweep / cell / "done.json").write_text("{}")
    return path


def mark(run: Path, seconds: float = 1.0) -> None:
    path = run.with_suffix(".wandb.synced")
    path.touch()
    when = run.stat().st_mtime + seconds
    os.utime(path, (when, when))


class Runner:
    """Uploads as W&B does: a mark where it went well, exit status 0 always."""

    def __init__(self, failing: str = "") -> None:
        self.failing, self.commands, self.environments = failing, [], []

    def __call__(self, command, environment) -> str:
        self.commands.append(list(command))
        self.environments.append(dict(environment))
        if self.failing and self.failing in command[-1]:
            return "wandb: Syncing\nwandb: ERROR [red]404\n\n"
        (run,) = Path(command[-1]).glob("*.wandb")
        mark(run)
        return "wandb: Finished"


@pytest.fixture
def grid(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    sweep = tmp_path / "grid"
    make_run(sweep, "b", "offline-run-20260101_000000-b1")
    make_run(sweep, "a", "offline-run-20260101_000002-a0")
    make_run(sweep, "a", "run-20260101_000001-a1")
    return sweep


def test_runs_are_uploaded_by_cell_and_time_each_once(grid, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_RUN_ID", "x")
    runner = Runner()
    sync(grid, runner)
    assert [command[:4] for command in runner.commands] == [
        [sys.executable, "-m", "wandb", "sync"]
    ] * 3
    assert [Path(command[-1]).name[-2:] for command in runner.commands] == ["a1", "a0", "b1"]
    assert all(Path(command[-1]).is_absolute() for command in runner.commands)
    assert not {"WANDB_MODE", "WANDB_RUN_ID"} & set(runner.environments[0])
    assert runner.environments[0]["WANDB_API_KEY"] == "k" * 40
    assert "uploaded: 3 of 3 runs" in capsys.readouterr().out
    again = Runner()
    sync(grid, again)
    assert again.commands == []
    assert "nothing to upload" in capsys.readouterr().out


def test_failures_are_listed_by_cell_and_tried_again_next_time(grid, capsys):
    with pytest.raises(UserError, match="grid: 1 runs were not uploaded"):
        sync(grid, Runner(failing="b1"))
    assert "b: ERROR [red]404\n" in capsys.readouterr().out
    runner = Runner()
    sync(grid, runner)
    assert [Path(command[-1]).name[-2:] for command in runner.commands] == ["b1"]


def test_a_run_that_was_written_to_after_its_upload_is_uploaded_again(grid):
    sync(grid, Runner())
    (run,) = (grid / "b").glob("wandb/*/*.wandb")
    assert is_synced(run)
    mark(run, seconds=-5)
    assert unsynced_runs(grid) == [run]


def test_a_running_cell_is_left_alone_and_a_dead_one_is_not(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    running = make_run(tmp_path, "running", "run-20260101_000000-r", done=False)
    dead = make_run(tmp_path, "dead", "run-20260101_000000-d", done=False)
    before = time.time() - module.QUIET_SECONDS - 5
    os.utime(dead, (before, before))
    runner = Runner()
    sync(tmp_path, runner)
    assert [Path(command[-1]).name for command in runner.commands] == [dead.parent.name]
    assert "left out, still running: 1" in capsys.readouterr().out
    assert unsynced_runs(tmp_path) == [running]


def test_what_is_needed_is_said_in_a_line(grid, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"nowhere: no such folder"):
        sync(tmp_path / "nowhere", Runner())
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(UserError, match="wandb login"):
        sync(grid, Runner())


def test_the_link_to_the_latest_run_is_not_a_run_of_its_own(grid):
    (grid / "b" / "wandb" / "latest-run").symlink_to("offline-run-20260101_000000-b1")
    assert len(unsynced_runs(grid)) == 3


def test_a_run_that_was_killed_before_it_wrote_anything_is_nothing_to_upload(grid):
    (run,) = (grid / "b").glob("wandb/*/*.wandb")
    run.write_bytes(run.read_bytes()[:7])
    assert run not in unsynced_runs(grid)
    assert len(unsynced_runs(grid)) == 2


class Answer(BaseHTTPRequestHandler):
    """As much of W&B's server as an upload needs to be content."""

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode(
            errors="replace"
        )
        self.server.asked.append(text)
        data: dict[str, object] = {}
        if "upsertBucket" in text:
            project = {"id": "cA==", "name": "hideseek", "entity": {"id": "ZQ==", "name": "me"}}
            bucket = {"id": "aQ==", "name": json.loads(text)["variables"]["name"], "config": "{}",
                      "displayName": "n", "historyLineCount": 0, "project": project}  # fmt: skip
            data = {"data": {"upsertBucket": {"bucket": bucket, "inserted": True}}}
        elif "createRunFiles" in text:
            names = json.loads(text)["variables"]["files"]
            address = f"http://127.0.0.1:{self.server.server_address[1]}"
            files = [{"name": name, "uploadUrl": f"{address}/{name}"} for name in names]
            data = {"data": {"createRunFiles": {"runID": "", "uploadHeaders": [], "files": files}}}
        body = json.dumps(data or {"data": {}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST

    def log_message(self, *_) -> None:
        pass


def test_wandb_itself_uploads_to_a_server_and_fails_without_one(tmp_path, monkeypatch, capsys):
    import wandb

    from hideseek.wandb_run import wandb_logger

    wandb.teardown()
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    cell = tmp_path / "grid" / "tiny-original-s0"
    cell.mkdir(parents=True)
    logger = wandb_logger(str(cell), "grid", "tiny", "original", 0, "classify", project="mine")
    logger.log_metrics({"train/loss": 0.125})
    logger.finish({"accuracy": 0.75})
    wandb.teardown()
    (cell / "done.json").write_text("{}")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.daemon_threads, server.asked = True, []
    server.handle_error = lambda *_: None
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("WANDB_X_GRAPHQL_RETRY_MAX", "1")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    sync(tmp_path / "grid")
    server.shutdown()
    server.server_close()
    (run,) = [asked for asked in server.asked if "mutation UpsertBucket" in asked][:1]
    given = json.loads(run)["variables"]
    assert (given["project"], given["groupName"], given["jobType"]) == ("mine", "grid", "classify")
    assert (given["displayName"], sorted(given["tags"])) == (
        "tiny/original/0", ["original", "tiny"],
    )  # fmt: skip
    assert any("test/accuracy" in asked and "0.75" in asked for asked in server.asked)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    for mark_ in cell.rglob("*.synced"):
        mark_.unlink()
    with pytest.raises(UserError, match="1 runs were not uploaded"):
        sync(tmp_path / "grid")
    assert "tiny-original-s0: ERROR" in capsys.readouterr().out
