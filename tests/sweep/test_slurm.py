from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from hideseek.errors import UserError
from hideseek.sweep import slurm
from hideseek.sweep.slurm import SlurmExecutor, job_states
from hydra_plugins.hideseek_slurm import SlurmLauncher

submitit = pytest.importorskip("submitit")


@pytest.fixture
def answer(monkeypatch):
    """Decide what Slurm's programs say; they need not be here."""
    said = {"code": 0, "out": "", "err": ""}

    def run(*command: str) -> subprocess.CompletedProcess[str] | None:
        if said["code"] is None:
            return None
        return subprocess.CompletedProcess(command, said["code"], said["out"], said["err"])

    monkeypatch.setattr(slurm, "_slurm", run)
    monkeypatch.setattr("shutil.which", lambda program: f"/bin/{program}")
    return said


@pytest.fixture
def executor(answer, tmp_path):
    """Make an executor that waits for one job of some ranks, which wrote these outcomes."""

    def make(*outcomes: str | None) -> SlurmExecutor:
        made = SlurmExecutor({}, seconds_between_queries=0)
        job = submitit.SlurmJob(tmp_path, "7_0", tasks=range(len(outcomes)))
        made.jobs["cell"] = job
        for rank, text in enumerate(outcomes):
            if text is not None:
                (tmp_path / f"7_0_{rank}_result.json").write_text(text)
        return made

    return make


WELL, BAD = "null", json.dumps("exit status 1")


@pytest.mark.parametrize(
    ("state", "outcomes", "reason"),
    [
        ("COMPLETED", [WELL], None),
        ("COMPLETED", [WELL, WELL], None),
        ("FAILED", [BAD], "exit status 1"),
        ("FAILED", [None, BAD], "rank 1: exit status 1"),
        ("FAILED", [None], "Slurm says FAILED; see {}/7_0_0_log.err"),
        ("FAILED", ['"exit sta'], "Slurm says FAILED; see {}/7_0_0_log.err"),
        ("OUT_OF_MEMORY", [BAD], "Slurm says OUT_OF_MEMORY; see {}/7_0_0_log.err"),
        ("NODE_FAIL", [None], "Slurm says NODE_FAIL; see {}/7_0_0_log.err"),
        ("TIMEOUT", [None, None], "Slurm says TIMEOUT; see {}/7_0_0_log.err"),
        ("CANCELLED", [None], "Slurm says CANCELLED; see {}/7_0_0_log.err"),
        (None, [WELL], None),
        (None, [BAD], "exit status 1"),
        (None, [WELL, None], "Slurm has forgotten the job; see {}/7_0_0_log.err"),
    ],
)
def test_a_job_that_ended(executor, answer, tmp_path, state, outcomes, reason):
    one = executor(*outcomes)
    answer["out"] = "" if state is None else f"7_0 {state}\n7_1 RUNNING\n"
    expected = reason.format(tmp_path) if reason else None
    assert one.poll() == {"cell": expected}
    assert one.poll() == {}


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "COMPLETING", "REQUEUED", "SUSPENDED"])
def test_a_job_that_comes_back_has_not_ended(executor, answer, state):
    one = executor(BAD)
    answer["out"] = f"7_0 {state}\n"
    assert one.poll() == {}
    assert one.running() == ({"cell"} if state == "RUNNING" else set())
    answer["out"] = "7_0 COMPLETED\n"
    (Path(one.jobs["cell"].paths.folder) / "7_0_0_result.json").write_text(WELL)
    assert one.poll() == {"cell": None}


@pytest.mark.parametrize("code", [1, None])
def test_a_controller_that_does_not_answer_ends_nothing(executor, answer, code):
    one = executor(BAD)
    answer.update(code=code, err="slurm_load_jobs error: Unable to contact slurm controller")
    assert one.poll() == {}
    assert "cell" in one.jobs


def test_states(answer):
    answer["out"] = "12_0 RUNNING\n12_1 COMPLETED\n\nodd\n"
    assert job_states(["12"]) == {"12_0": "RUNNING", "12_1": "COMPLETED"}
    answer.update(code=1, out="", err="slurm_load_jobs error: Invalid job id specified")
    assert job_states(["12"]) == {}


def test_what_is_missing_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="`sbatch`, which is not on PATH"):
        SlurmExecutor({})
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match=r"pip install 'hideseek\[slurm\]'"):
        SlurmExecutor({})


def test_submitit_knows_every_parameter(answer, tmp_path):
    given = {
        "partition": "p", "account": "a", "qos": "q", "constraint": "c", "nodes": 2,
        "tasks_per_node": 4, "gpus_per_node": "a100:4", "mem_gb": 1.5, "setup": ["module load x"],
        "srun_args": ["--cpu-bind=none"], "additional_parameters": {"mail-type": "FAIL"},
    }  # fmt: skip
    made = launcher(**given).executor()
    submitter = submitit.SlurmExecutor(tmp_path)
    submitter.update_parameters(**slurm._parameters(made.parameters))
    lines = submitter._make_submission_file_text("run", "uid").splitlines()
    flags = {line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH")}
    assert flags >= {
        "partition=p", "account=a", "qos=q", "constraint=c", "nodes=2", "ntasks-per-node=4",
        "cpus-per-task=4", "gpus-per-node=a100:4", "mem=1536M", "time=720", "signal=USR2@120",
        "requeue", "mail-type=FAIL",
    }  # fmt: skip
    assert "module load x" in lines
    (srun,) = [line for line in lines if line.startswith("srun")]
    for argument in ("--kill-on-bad-exit=1", "--cpus-per-task=4", "--cpu-bind=none"):
        assert argument in srun


def launcher(trainer=None, **given) -> SlurmLauncher:
    made = SlurmLauncher(**given)
    trainer = {"devices": given.get("tasks_per_node", 1), "num_nodes": given.get("nodes", 1),
               **(trainer or {})}  # fmt: skip
    made.config = OmegaConf.create({"trainer": trainer})
    return made


def test_ranks_that_cannot_meet_are_refused_before_they_queue(answer):
    with pytest.raises(UserError, match=r"tasks_per_node=2 needs trainer\.devices=2, not 1"):
        launcher({"devices": 1}, tasks_per_node=2).executor()
    with pytest.raises(UserError, match=r"launcher\.nodes=2 needs trainer\.num_nodes=2, not 1"):
        launcher({"num_nodes": 1}, nodes=2).executor()
    launcher({"devices": -1}, tasks_per_node=2).executor()
    # Lightning starts these ranks inside one task.
    launcher({"devices": 2}, tasks_per_node=1).executor()
