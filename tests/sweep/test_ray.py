from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hideseek.errors import UserError
from hideseek.sweep.executor import Job
from hydra_plugins.hideseek_ray import RayLauncher

pytest.importorskip("ray")

from hideseek.sweep.ray import RayExecutor

pytestmark = [
    pytest.mark.slow,  # a cluster takes seconds to start and to stop
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

CELL = """
import os, signal, sys, time
from pathlib import Path
from hideseek.sweep.process import die_with_parent
die_with_parent()
if "stubborn" in sys.argv: signal.signal(signal.SIGTERM, signal.SIG_IGN)
Path("pid").write_text(str(os.getpid()))
time.sleep(300)
"""


@pytest.fixture(scope="module")
def cluster():
    """Give a cluster of one node, with two GPUs that exist in Ray's books only."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    size = {"num_cpus": 2, "num_gpus": 2, "object_store_memory": 80 * 1024**2}
    made = Cluster(initialize_head=True, head_node_args={**size, "include_dashboard": False})
    yield made
    made.shutdown()


@pytest.fixture
def executor(cluster):
    """Make executors that are closed in the end."""
    made = []

    def make(**given) -> RayExecutor:
        made.append(RayExecutor(**{"address": cluster.address, **given}))
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


def wait_for(condition, what: str = "it", seconds: float = 40):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"nothing happened: {what}")


def collect(executor: RayExecutor, number: int) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    wait_for(lambda: found.update(executor.poll()) or len(found) >= number, "an end")
    assert len(found) == number
    return found


def status(pid: int) -> list[str]:
    """Read the fields of /proc/PID/stat behind the name: state, parent, ..."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ["Z", "0"]


def number_in(path: Path) -> int:
    return int(wait_for(lambda: path.exists() and path.read_text().strip(), str(path)))


def test_each_job_ends_in_its_own_way(executor, job, monkeypatch):
    one = executor(timeout=3)
    monkeypatch.setenv("LOCAL_RANK", "1")
    here = Path.cwd()
    jobs = [
        job("good", f'echo out; echo err >&2; [ "$OLDPWD" = "{here}" ]'),
        job("bad", "exit 3"),
        job("killed", "kill -SEGV $$"),
        job("slow", "sleep 100"),
        job("clean", '[ -z "$LOCAL_RANK$SLURM_NTASKS" ]'),
    ]  # fmt: skip
    one.submit(jobs)
    assert collect(one, 5) == {
        "good": None, "bad": "exit status 3", "killed": "killed by SIGSEGV",
        "slow": "still running after 3 s", "clean": None,
    }  # fmt: skip
    assert (jobs[0].folder / "log.txt").read_text() == "out\nerr\n"
    assert one.poll() == {}
    assert one.running() == set()


def test_cells_have_gpus_of_their_own(executor, job):
    one = executor(cpus_per_cell=0.5)
    script = 'echo "$CUDA_VISIBLE_DEVICES"; date +%s.%N; sleep 1; date +%s.%N'
    jobs = [job(name, script) for name in "abcd"]
    one.submit(jobs)
    assert collect(one, 4) == dict.fromkeys("abcd")
    spans: dict[str, list[list[float]]] = {"0": [], "1": []}
    for each in jobs:
        device, *times = (each.folder / "log.txt").read_text().split()
        spans[device].append([float(text) for text in times])
    for (_, end), (start, _) in map(sorted, spans.values()):
        assert end <= start


def test_two_cells_share_a_gpu(executor, job):
    one = executor(cpus_per_cell=0.5, devices_per_cell=0.5)
    jobs = [job(name, "echo $CUDA_VISIBLE_DEVICES; sleep 1") for name in "abcd"]
    one.submit(jobs)
    wait_for(lambda: len(one.running()) == 4, "all at once")
    collect(one, 4)
    devices = sorted((each.folder / "log.txt").read_text().strip() for each in jobs)
    assert devices == ["0", "0", "1", "1"]


def test_a_worker_that_dies_takes_its_cell_along_and_no_other(executor, job):
    one = executor()
    cell = job("cell", f"exec {sys.executable} -c '{CELL}'")
    one.submit([cell, job("other", "sleep 2")])
    pid = number_in(cell.folder / "pid")
    os.kill(int(status(pid)[1]), signal.SIGKILL)
    assert collect(one, 2) == {"cell": "the Ray worker that ran it died", "other": None}
    wait_for(lambda: status(pid)[0] == "Z", "the end of the cell")


def test_a_node_that_goes(executor, cluster, job):
    node = cluster.add_node(num_cpus=8)
    one = executor(cpus_per_cell=4, devices_per_cell=0)
    cell = job("cell", f"exec {sys.executable} -c '{CELL}'")
    one.submit([cell])
    pid = number_in(cell.folder / "pid")
    cluster.remove_node(node, allow_graceful=False)
    (reason,) = collect(one, 1).values()
    assert "Ray" in reason
    wait_for(lambda: status(pid)[0] == "Z", "the end of the cell")


@pytest.mark.parametrize("how", ["", "stubborn"])
def test_close_ends_what_runs_and_what_waits(executor, job, how, monkeypatch):
    one = executor(devices_per_cell=0)
    jobs = [job(name, f"exec {sys.executable} -c '{CELL}' {how}") for name in "abc"]
    one.submit(jobs)
    pids = wait_for(lambda: len(found := [*jobs[0].folder.parent.glob("*/pid")]) == 2 and found)
    numbers = [number_in(path) for path in pids]
    one.close()
    for number in numbers:
        assert status(number)[0] == "Z"
    assert len([*jobs[0].folder.parent.glob("*/pid")]) == 2
    one.close()
    assert one.poll() == {}


def test_what_cannot_work_is_one_line(executor, cluster, job, monkeypatch, caplog):
    with pytest.raises(UserError, match=r"^hydra\.launcher\.address=127\.0\.0\.1:1: .*refused"):
        executor(address="127.0.0.1:1").submit([job("a", "true")])
    executor(cpus_per_cell=100).submit([job("b", "true")])
    assert "no node of the Ray cluster has hydra.launcher.cpus_per_cell=100" in caplog.text
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'hideseek\[ray\]'"):
        RayLauncher().executor()


SWEEP = """
import sys, time
from pathlib import Path
from hideseek.sweep.executor import Job
from hideseek.sweep.process import ended_by_signals
from hydra_plugins.hideseek_ray import RayLauncher
folder = Path(sys.argv[1])
script = f"cd {folder}; exec {sys.executable} -c '{sys.argv[2]}'"
with ended_by_signals():
    executor = RayLauncher().executor()
    try:
        executor.submit([Job("cell", ("sh", "-c", script), folder)])
        while not executor.poll():
            time.sleep(0.1)
    finally:
        executor.close()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_sweep_that_is_ended_ends_its_cells_and_its_cluster(number, tmp_path):
    words = [sys.executable, "-c", SWEEP, str(tmp_path), CELL]
    sweep = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        pid = number_in(tmp_path / "pid")
        raylet = int(wait_for(lambda: parent_called("raylet", pid)))
        sweep.send_signal(number)
        output, _ = sweep.communicate(timeout=60)
    finally:
        sweep.kill()
    assert sweep.returncode == (143 if number == signal.SIGTERM else -number), output
    for process in (pid, raylet):
        wait_for(lambda process=process: status(process)[0] == "Z", "the end")
    if number == signal.SIGTERM:
        assert output == ""


def parent_called(name: str, pid: int) -> int:
    while pid > 1:
        if re.search(name, Path(f"/proc/{pid}/comm").read_text()):
            return pid
        pid = int(status(pid)[1])
    return 0
