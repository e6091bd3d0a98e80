from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from hideseek.errors import UserError
from hideseek.sweep import process
from hideseek.sweep.executor import Job
from hideseek.sweep.pool import LocalPool, cell_environment, shares, visible_devices
from tests.sweep.test_process import alive, number_in, wait_for


@pytest.fixture(autouse=True)
def no_devices(monkeypatch):
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.3)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def job(folder: Path, name: str, script: str) -> Job:
    (folder / name).mkdir()
    return Job(name, ("sh", "-c", script), folder / name)


def drain(pool: LocalPool, seconds: float = 30) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    deadline = time.monotonic() + seconds
    while pool.running() or pool.waiting:
        found |= pool.poll()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def test_each_job_ends_in_its_own_way(tmp_path):
    pool = LocalPool(parallel=2, timeout=1.5)
    pool.submit(
        [
            job(tmp_path, "good", "echo said"),
            job(tmp_path, "bad", "exit 3"),
            job(tmp_path, "killed", "kill -9 $$"),
            job(tmp_path, "hangs", "sleep 60"),
            job(tmp_path, "last", "true"),
        ]
    )
    assert drain(pool) == {
        "good": None,
        "bad": "exit status 3",
        "killed": "killed by SIGKILL",
        "hangs": "still running after 1.5 s",
        "last": None,
    }
    assert (tmp_path / "good" / "log.txt").read_text() == "said\n"


def test_as_many_at_once_as_asked_for_and_no_more(tmp_path):
    count = f"cd {tmp_path}; mkdir on.$$; ls -d on.* | wc -l >> seen; sleep 0.4; rmdir on.$$"
    pool = LocalPool(parallel=3)
    pool.submit([job(tmp_path, f"cell{number}", count) for number in range(7)])
    assert len(pool.running()) == 3
    drain(pool)
    seen = [int(line) for line in (tmp_path / "seen").read_text().split()]
    assert len(seen) == 7
    assert max(seen) == 3


def test_closing_leaves_nothing_behind(tmp_path):
    pids = [tmp_path / f"pid{number}" for number in range(3)]
    pool = LocalPool(parallel=2)
    stubborn = "trap '' TERM; echo $$ > {}; sleep 60; sleep 60"
    pool.submit([job(tmp_path, pid.name + "x", stubborn.format(pid)) for pid in pids])
    found = [number_in(pid) for pid in pids[:2]]
    started = time.monotonic()
    pool.close()
    pool.close()
    assert time.monotonic() - started < 5
    wait_for(lambda: not any(alive(pid) for pid in found))
    assert not pids[2].exists()


def test_cells_share_processors_and_devices():
    assert shares(1, None, [], 8) == [{}]
    two = shares(2, None, [], 8)
    assert [place["OMP_NUM_THREADS"] for place in two] == ["4", "4"]
    assert "CUDA_VISIBLE_DEVICES" not in two[0]
    assert shares(16, None, [], 8)[0]["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize(
    ("parallel", "per_cell", "expected"),
    [
        (1, None, ["4,5,6,7"]),
        (1, 1, ["4"]),
        (2, None, ["4", "5"]),
        (2, 2, ["4,5", "6,7"]),
        (3, 2, ["4,5", "6,7", "4,5"]),
        (5, None, ["4", "5", "6", "7", "4"]),
        (2, 0, ["", ""]),
    ],
)
def test_devices_go_round(parallel, per_cell, expected):
    places = shares(parallel, per_cell, ["4", "5", "6", "7"], 8)
    assert [place["CUDA_VISIBLE_DEVICES"] for place in places] == expected


@pytest.mark.parametrize(
    "given",
    [
        {"parallel": 0}, {"parallel": -1}, {"parallel": "many"}, {"parallel": 1.5},
        {"parallel": True}, {"devices_per_cell": -1}, {"devices_per_cell": "two"},
        {"devices_per_cell": 3}, {"timeout": "abc"}, {"timeout": 0}, {"timeout": -1.0},
    ],
)  # fmt: skip
def test_numbers_that_cannot_work_are_named(given):
    ((name, value),) = given.items()
    with pytest.raises(UserError, match=rf"hydra\.launcher\.{name}={value}"):
        LocalPool(**given)


def test_visible_devices_are_those_of_the_environment(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-ab")
    assert visible_devices() == ["2", "GPU-ab"]
    for nothing in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", nothing)
        assert visible_devices() == []


def test_a_cell_sees_its_share_and_no_allocation():
    given = {"SLURM_NTASKS": "4", "PMI_RANK": "1", "LOCAL_RANK": "1", "OMP_NUM_THREADS": "3",
             "CUDA_VISIBLE_DEVICES": "0,1", "KEPT": "yes"}  # fmt: skip
    share = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "1"}
    assert cell_environment(given, share) == {
        "OMP_NUM_THREADS": "3",
        "MKL_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "1",
        "KEPT": "yes",
        "HIDESEEK_CELL": str(os.getpid()),
    }
