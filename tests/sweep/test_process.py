from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hideseek.sweep import process
from hideseek.sweep.process import clean_environment, die_with_parent, run_logged

STUBBORN = """(trap '' TERM; sh -c 'echo $$ > "$0"; exec sleep 60' {pid}) & """
"""A grandchild that ignores SIGTERM (as exec keeps it) and writes its number."""


def alive(pid: int) -> bool:
    try:
        # Whoever adopts an orphan may be slow to collect it, and a zombie is dead.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(condition, seconds: float = 20):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError("nothing happened")


def number_in(path: Path) -> int:
    return int(wait_for(lambda: path.exists() and path.read_text().strip()))


@pytest.fixture(autouse=True)
def short_grace(monkeypatch):
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.3)


def run(script: str, log: Path, timeout: float | None = 30) -> str | None:
    return run_logged(["sh", "-c", script], log, timeout, look_every=0.05)


def test_success_and_its_output(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("of an earlier attempt\n")
    assert run("echo out; echo err >&2", log) is None
    assert log.read_text() == "of an earlier attempt\nout\nerr\n"


def test_exit_status(tmp_path):
    assert run("echo said before; exit 3", tmp_path / "log") == "exit status 3"
    assert (tmp_path / "log").read_text() == "said before\n"


def test_killed(tmp_path):
    assert run("kill -KILL $$", tmp_path / "log") == "killed by SIGKILL"
    assert run("kill -SEGV $$", tmp_path / "log") == "killed by SIGSEGV"


def test_nobody_is_asked(tmp_path):
    assert run("if read line; then exit 1; fi", tmp_path / "log") is None


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("child", ["sleep 60", "trap '' TERM; sleep 60; sleep 60"])
def test_a_timeout_ends_the_whole_group(child, tmp_path):
    pid = tmp_path / "pid"
    started = time.monotonic()
    reason = run(STUBBORN.format(pid=pid) + child, tmp_path / "log", timeout=1)
    assert reason == "still running after 1 s"
    assert time.monotonic() - started < 10
    grandchild = number_in(pid)
    wait_for(lambda: not alive(grandchild))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("end", ["exit 0", "exit 1", "kill -KILL $$"])
def test_no_grandchild_outlives_its_cell(end, tmp_path):
    pid = tmp_path / "pid"
    script = STUBBORN.format(pid=pid) + f"while [ ! -s {pid} ]; do sleep 0.02; done; {end}"
    run(script, tmp_path / "log")
    grandchild = number_in(pid)
    wait_for(lambda: not alive(grandchild))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_error_while_waiting_ends_the_group(tmp_path):
    pid = tmp_path / "pid"

    def interrupt() -> None:
        number_in(pid)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        run(STUBBORN.format(pid=pid) + "sleep 60", tmp_path / "log")
    grandchild = number_in(pid)
    wait_for(lambda: not alive(grandchild))


DISTRIBUTED = (
    "LOCAL_RANK", "RANK", "GROUP_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE",
    "MASTER_ADDR", "MASTER_PORT", "PL_GLOBAL_SEED", "PL_SEED_WORKERS", "WANDB_RUN_ID",
    "WANDB_SERVICE",
)  # fmt: skip


def test_the_environment_is_clean(tmp_path, monkeypatch):
    for name in DISTRIBUTED:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("KEPT", "yes")
    assert run("env", tmp_path / "log") is None
    lines = (tmp_path / "log").read_text().splitlines()
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    assert not found.keys() & set(DISTRIBUTED)
    assert found["KEPT"] == "yes"
    assert found["HIDESEEK_CELL"] == str(os.getpid())
    assert os.environ["LOCAL_RANK"] == "1"


def test_cleaning_copies():
    given = {"RANK": "0", "A": "b"}
    assert clean_environment(given) == {"A": "b", "HIDESEEK_CELL": str(os.getpid())}
    assert given == {"RANK": "0", "A": "b"}


PARENT = """
import signal
import sys
from pathlib import Path
from hideseek.sweep import process
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as in a terminal, whatever runs the tests
process.GRACE_SECONDS = 0.3
with process.ended_by_signals():
    process.run_logged(["sh", "-c", sys.argv[1]], Path(sys.argv[2]), None, 0.05)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_to_the_sweep_leaves_no_orphan(number, tmp_path):
    pid, own = tmp_path / "grandchild", tmp_path / "child"
    script = STUBBORN.format(pid=pid) + f"echo $$ > {own}; sleep 60"
    arguments = [sys.executable, "-c", PARENT, script, str(tmp_path / "log")]
    parent = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
    try:
        processes = [number_in(pid), number_in(own)]
        parent.send_signal(number)
        status = parent.wait(20)
    finally:
        parent.kill()
    assert status in ((128 + number,) if number != signal.SIGINT else (1, -signal.SIGINT))
    for child in processes:
        wait_for(lambda child=child: not alive(child))


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)
    with contextlib.suppress(SystemExit), process.ended_by_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
        raise AssertionError("SIGTERM had no effect")
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)) == before


CELL = """
import sys, time
from pathlib import Path
from hideseek.sweep.process import die_with_parent
die_with_parent()
Path(sys.argv[1]).write_text(str(__import__("os").getpid()))
time.sleep(60)
"""
SWEEP = """
import os, subprocess, sys, time
environment = dict(os.environ)
if sys.argv[3] == "True":
    environment["HIDESEEK_CELL"] = str(os.getpid())
subprocess.Popen([sys.executable, "-c", sys.argv[1], sys.argv[2]], env=environment)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's PR_SET_PDEATHSIG")
def test_a_cell_dies_with_a_killed_sweep_and_nothing_else_does(tmp_path, monkeypatch):
    for cell in (True, False):
        monkeypatch.delenv("HIDESEEK_CELL", raising=False)
        file = tmp_path / f"pid-{cell}"
        parent = subprocess.Popen([sys.executable, "-c", SWEEP, CELL, str(file), str(cell)])
        child = number_in(file)
        parent.kill()
        parent.wait()
        if cell:
            wait_for(lambda child=child: not alive(child))
        else:
            time.sleep(0.2)
            assert alive(child)
            os.kill(child, signal.SIGKILL)


def test_die_with_parent_leaves_an_ordinary_process_alone(monkeypatch):
    monkeypatch.delenv("HIDESEEK_CELL", raising=False)
    monkeypatch.setattr(process.ctypes, "CDLL", None)
    die_with_parent()


def test_a_cell_that_starts_after_its_sweep_died_ends_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("HIDESEEK_CELL", "1234567")
    file = tmp_path / "pid"
    cell = subprocess.run([sys.executable, "-c", CELL, str(file)], capture_output=True, text=True)
    assert cell.returncode == 1
    assert "ended already" in cell.stderr
    assert not file.exists()


RANKS = """
import os, subprocess, sys, time
from hideseek.sweep.process import die_with_parent
die_with_parent()
subprocess.Popen([sys.executable, "-c", sys.argv[1], sys.argv[2]])
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's PR_SET_PDEATHSIG")
def test_ranks_die_with_their_rank_0(tmp_path):
    file = tmp_path / "pid"
    environment = clean_environment(os.environ)
    command = [sys.executable, "-c", RANKS, CELL, str(file)]
    leader = subprocess.Popen(command, env=environment)
    rank = number_in(file)
    leader.kill()
    leader.wait()
    wait_for(lambda: not alive(rank))


def test_what_is_ignored_stays_ignored(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with process.ended_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.05)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
