from __future__ import annotations

import itertools
import json
import os
import re
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest
from cluster import command, wait_for

from hideseek.errors import UserError
from hideseek.sweep.executor import Job
from hideseek.sweep.slurm import ENDED, SlurmExecutor, job_states

AGAIN = "if [ -e again ]; then echo second; else touch again; echo first; sleep 300; fi"
"""Of a cell that ends by itself only where it is started a second time."""

pytestmark = pytest.mark.slow  # a cluster takes seconds to start and to stop


CELL = """
import os, signal, time
from pathlib import Path
from hideseek.sweep.process import die_with_parent
die_with_parent()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
Path("pid").write_text(str(os.getpid()))
time.sleep(300)
"""


@pytest.fixture
def executor(slurm, tmp_path):
    """Make executors that are closed in the end."""
    made = []

    def make(timeout=None, max_num_timeout=3, **parameters) -> SlurmExecutor:
        given = {"timeout_min": 30, "cpus_per_task": 1, **parameters}
        made.append(SlurmExecutor(given, timeout, max_num_timeout, seconds_between_queries=0.2))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def job(tmp_path):
    """Make a job of a shell script that runs in its own folder."""

    def make(name: str, script: str) -> Job:
        folder = tmp_path / name
        folder.mkdir()
        return Job(name, ("sh", "-c", f"cd {folder}; {script}"), folder)

    return make


def collect(executor: SlurmExecutor, number: int, seconds: float = 60) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    wait_for(lambda: found.update(executor.poll()) or len(found) >= number, "an end", seconds)
    assert len(found) == number
    return found


def number_of(executor: SlurmExecutor, name: str) -> str:
    return executor.jobs[name].job_id


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def number_in(path: Path) -> int:
    return int(wait_for(lambda: path.exists() and path.read_text().strip(), str(path)))


def test_each_job_ends_in_its_own_way(executor, job):
    one = executor()
    jobs = [
        job("good", "echo out; echo err >&2"),
        job("bad", "echo said before; exit 3"),
        job("killed", "kill -SEGV $$"),
        job("slow", "sleep 2"),
    ]
    one.submit(jobs)
    assert collect(one, 4) == {
        "good": None, "bad": "exit status 3", "killed": "killed by SIGSEGV", "slow": None,
    }  # fmt: skip
    assert (jobs[0].folder / "log.txt").read_text() == "out\nerr\n"
    assert (jobs[1].folder / "log.txt").read_text() == "said before\n"
    assert one.poll() == {}
    assert one.running() == set()


def test_no_noise_without_accounting(executor, job, capfd):
    one = executor()
    one.submit([job("a", "exit 1"), job("b", "true")])
    collect(one, 2)
    one.close()
    assert capfd.readouterr() == ("", "")


def test_a_lone_job_with_a_time_limit_of_its_own(executor, job):
    one = executor(timeout=1)
    one.submit([job("lone", "sleep 100")])
    assert collect(one, 1) == {"lone": "still running after 1 s"}


def test_array_parallelism_holds(executor, job, tmp_path):
    one = executor(array_parallelism=1)
    one.submit([job(name, "date +%s.%N; sleep 1; date +%s.%N") for name in "abc"])
    assert collect(one, 3) == dict.fromkeys("abc")
    spans = sorted(
        tuple(map(float, (tmp_path / name / "log.txt").read_text().split())) for name in "abc"
    )
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


def test_one_cancelled_by_hand_leaves_the_others(executor, job):
    one = executor()
    endless, other = job("endless", "touch runs; sleep 300"), job("other", "touch runs; sleep 5")
    one.submit([endless, other])
    wait_for(lambda: all((each.folder / "runs").exists() for each in (endless, other)), "runs")
    assert one.poll() == {}
    assert one.running() == {"endless", "other"}
    assert command("scancel", number_of(one, "endless")).returncode == 0
    found = collect(one, 2)
    assert found["other"] is None
    assert re.fullmatch(r"Slurm says CANCELLED; see /.*_0_log\.err", found["endless"])


def test_close_ends_what_runs_and_what_waits(executor, job):
    one = executor(array_parallelism=2)
    jobs = [job(name, f"exec {sys.executable} -c '{CELL}'") for name in "abc"]
    one.submit(jobs)
    wait_for(lambda: sum((one_job.folder / "pid").exists() for one_job in jobs) == 2, "two run")
    array = number_of(one, "a").partition("_")[0]
    pids = [number_in(path) for path in (item.folder / "pid" for item in jobs) if path.exists()]
    started = time.monotonic()
    one.close()
    assert time.monotonic() - started < 12
    assert ENDED.issuperset(job_states([array]).values())
    for pid in pids:
        wait_for(lambda pid=pid: not alive(pid), "the end of a cell", 5)
    assert sum((item.folder / "pid").exists() for item in jobs) == 2
    one.close()
    assert one.poll() == {}


def test_a_requeued_job_runs_again(executor, job):
    one = executor()
    again = job("again", AGAIN)
    one.submit([again, job("other", "true")])
    wait_for(lambda: (again.folder / "again").exists(), "the first attempt")
    found = {}
    assert command("scontrol", "requeue", number_of(one, "again")).returncode == 0
    wait_for(lambda: found.update(one.poll()) or len(found) == 2, "the second attempt", 120)
    assert found == {"again": None, "other": None}
    assert (again.folder / "log.txt").read_text().split() == ["first", "second"]


def pre_empt(number: str, *signals: str) -> None:
    for name in signals:
        assert command("scancel", f"--signal={name}", number).returncode == 0


@pytest.mark.parametrize("signals", [["USR2"], ["TERM", "USR2"]])
def test_a_pre_empted_job_requeues_itself(executor, job, signals):
    one = executor()
    again = job("again", AGAIN)
    one.submit([again])
    wait_for(lambda: (again.folder / "again").exists(), "the first attempt")
    pre_empt(number_of(one, "again"), *signals)
    assert collect(one, 1, 120) == {"again": None}
    assert (again.folder / "log.txt").read_text().split() == ["first", "second"]


def test_the_time_limit_is_met_only_so_often(executor, job):
    one = executor(timeout_min=1, max_num_timeout=0, signal_delay_s=10)
    endless = job("endless", "touch runs; sleep 300")
    one.submit([endless])
    wait_for(lambda: (endless.folder / "runs").exists(), "the start")
    pre_empt(number_of(one, "endless"), "USR2")
    (reason,) = collect(one, 1).values()
    assert reason == "Job not requeued because: timed-out too many times."


def test_slurms_own_time_limit(executor, job):
    one = executor(timeout_min=1, signal_delay_s=50)
    again = job("again", AGAIN)
    one.submit([again])
    assert collect(one, 1, 240) == {"again": None}
    assert (again.folder / "log.txt").read_text().split() == ["first", "second"]


def test_a_task_that_dies_without_a_word(executor, job):
    one = executor()
    one.submit([job("a", "kill -KILL $PPID; sleep 10")])
    (reason,) = collect(one, 1).values()
    assert reason.startswith("Slurm says FAILED; see ")
    assert Path(reason.partition("see ")[2]).is_file()


def test_ranks_are_tasks(executor, job):
    one = executor(tasks_per_node=2)
    script = "echo $SLURM_PROCID $SLURM_NTASKS $SLURM_JOB_NAME $CUDA_VISIBLE_DEVICES"
    two = job("two", script)
    one.submit([two, job("three", "[ $SLURM_PROCID = 0 ] && sleep 300; exit 4")])
    started = time.monotonic()
    assert collect(one, 2) == {"two": None, "three": "rank 1: exit status 4"}
    # A rank that waits for one that failed is not waited for.
    assert time.monotonic() - started < 30
    assert (two.folder / "log.txt").read_text().split()[:2] == ["0", "2"]
    assert (two.folder / "log-rank1.txt").read_text().split()[:2] == ["1", "2"]
    assert "interactive" not in (two.folder / "log.txt").read_text()


def test_jobs_of_a_killed_sweep_are_not_joined(executor, job):
    first, second = executor(), executor()
    first.submit([job("a", "sleep 300")])
    number = number_of(first, "a")
    with pytest.raises(UserError, match=f"scancel {number}$"):
        second.submit([job("b", "true")])
    first.close()
    second.submit([job("c", "true")])
    assert collect(second, 1) == {"c": None}


def test_what_slurm_refuses_is_one_line(executor, job, capfd):
    with pytest.raises(UserError, match=r"^hydra/launcher=slurm: .*invalid partition.*$"):
        executor(partition="nowhere").submit([job("a", "true")])
    with pytest.raises(UserError, match=r"Unavailable parameter.*'colour'"):
        executor(colour="red").submit([job("b", "true")])
    assert capfd.readouterr() == ("", "")


def cell(folder: Path, *overrides: str) -> Job:
    folder.mkdir()
    words = [
        sys.executable, "-m", "hideseek", "train", "model=tiny", "roi=lungs_removed",
        "data=phantom", "data.phantom.images=60", "data.phantom.size=64", "epochs=2", "logger=csv",
        f"paths.cache={CACHE}", "hydra.mode=RUN", f"hydra.run.dir={folder}",
        "hydra/job_logging=swept", *overrides,
    ]  # fmt: skip
    return Job(folder.name, tuple(words), folder)


CACHE = Path(tempfile.gettempdir()) / "slurm_cache"


def test_the_ranks_of_a_real_cell_train_together(executor, tmp_path):
    tasks = cell(tmp_path / "tasks", "trainer=ddp_cpu")
    lightnings = cell(tmp_path / "lightnings", "trainer=ddp_cpu")
    one, other = executor(tasks_per_node=2), executor(cpus_per_task=2)
    other.submit([lightnings])
    assert collect(other, 1, 200) == {"lightnings": None}
    one.submit([tasks])
    assert collect(one, 1, 200) == {"tasks": None}
    logs = [(tasks.folder / name).read_text() for name in ("log.txt", "log-rank1.txt")]
    found = [re.search(r"rank (\d) of 2 trains cell (\w+)", text).groups() for text in logs]
    assert [rank for rank, _ in found] == ["0", "1"]
    assert found[0][1] == found[1][1]
    read = [(job.folder / "predictions.csv").read_text() for job in (tasks, lightnings)]
    assert read[0] == read[1]
    assert json.loads((tasks.folder / "done.json").read_text())["roi"] == "lungs_removed"


def test_a_pre_empted_cell_goes_on_as_if_nothing_had_been(executor, tmp_path):
    words = "trainer=ddp_cpu", "epochs=25"
    whole, broken = cell(tmp_path / "whole", *words), cell(tmp_path / "broken", *words)
    one = executor(tasks_per_node=2)
    one.submit([broken])
    history = broken.folder / "history.csv"
    wait_for(lambda: history.exists() and len(history.read_text().splitlines()) > 5, "epochs", 90)
    ranks = command("pgrep", "-f", f"hydra.run.dir={broken.folder} ").stdout.split()
    assert len(ranks) == 2
    for rank in ranks:
        # Lightning, asked by this signal, would requeue the job as well.
        os.kill(int(rank), signal.SIGUSR1)
    pre_empt(number_of(one, "broken"), "TERM", "USR2")
    assert collect(one, 1, 200) == {"broken": None}
    assert "continued after epoch" in (broken.folder / "log.txt").read_text()
    assert not list(broken.folder.rglob("hpc_*"))
    one.submit([whole])
    assert collect(one, 1, 200) == {"whole": None}
    read = [(job.folder / "predictions.csv").read_text() for job in (whole, broken)]
    assert read[0] == read[1]
