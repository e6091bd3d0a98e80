"""Each check on machines that are made up; and the command on this one."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import namedtuple
from types import SimpleNamespace

import pytest

from hideseek import doctor as module
from hideseek.doctor import doctor, examine
from hideseek.errors import UserError
from hideseek.installed import Finding, extras, packages, python
from hideseek.machine import (
    devices,
    imagenet,
    place,
    shared_memory,
    shipped,
    threads,
    weights_and_biases,
)

NEEDS = [
    "numpy>=1.26",
    "pyyaml>=6",
    'timm>=1.0; extra == "timm"',
    "submitit>=1.5; extra == 'slurm'",
]


def packages_with(versions, modules=None):
    modules = modules or {}
    return {f.name: f for f in packages(NEEDS, versions.get, lambda n: modules.get(n, object()))}


def test_python_3_11_is_the_oldest():
    assert python((3, 11, 0)) == Finding("python", "ok", "3.11.0")
    assert python((4, 0, 0)).state == "ok"
    assert python((3, 10, 14)).state == "problem"


def test_packages_that_are_there_are_one_line():
    found = packages_with({"numpy": "2.0", "pyyaml": "6.0.1"})
    assert set(found) == {"hideseek", "packages"}
    assert found["packages"] == Finding("packages", "ok", "numpy 2.0, pyyaml 6.0.1")


def test_a_package_that_is_absent_old_or_broken_is_a_problem():
    found = packages_with({"numpy": "1.25"})
    assert found["numpy"].state == found["pyyaml"].state == "problem"
    assert "1.25, needed is >=1.26" in found["numpy"].detail
    assert found["pyyaml"].remedy == "pip install 'pyyaml>=6'"
    assert "packages" not in found
    failed = {"yaml": OSError("libc.so:\n  wrong version")}
    found = packages_with({"numpy": "2.0", "pyyaml": "6.0"}, failed)
    assert found["pyyaml"].detail == "cannot be used: libc.so: wrong version"


def test_a_release_that_steals_credentials_is_named():
    found = packages_with({"numpy": "2.0", "pyyaml": "6.0", "lightning": "2.6.3"})
    assert found["lightning"].state == "problem"
    fine = packages_with({"numpy": "2.0", "pyyaml": "6.0", "lightning": "2.6.4"})
    assert "lightning" not in fine


def test_a_checkout_that_is_not_installed_is_a_note():
    (found,) = packages([], {}.get, lambda name: object())
    assert (found.name, found.state) == ("hideseek", "note")


def test_an_extra_says_what_it_is_for():
    found = {each.name: each for each in extras(NEEDS, {"submitit": "1.5"}.get, None)}
    assert found["extra slurm"].state == "ok"
    assert found["extra timm"].state == "note"
    assert "model=timm" in found["extra timm"].detail
    assert found["extra timm"].remedy == "pip install 'hideseek[timm]'"
    assert found["Slurm"].state == "note"
    assert extras(NEEDS, {}.get, "/usr/bin/sbatch")[-1].state == "ok"


def machine(cards=(), mps=False, cuda="12.4", available=None):
    def properties(number):
        return SimpleNamespace(name=cards[number], total_memory=80 * 2**30)

    return SimpleNamespace(
        __version__="2.9",
        version=SimpleNamespace(cuda=cuda),
        cuda=SimpleNamespace(
            is_available=available or (lambda: bool(cards)),
            device_count=lambda: len(cards),
            get_device_properties=properties,
        ),
        backends=SimpleNamespace(mps=SimpleNamespace(is_available=lambda: mps)),
    )


def test_devices(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    two = devices(machine(["H100", "H200"]))
    assert two == [Finding("GPU 0", "ok", "H100, 80 GiB"), Finding("GPU 1", "ok", "H200, 80 GiB")]
    assert devices(machine(mps=True)) == [Finding("GPU", "ok", "Apple MPS, torch 2.9")]
    (none,) = devices(machine())
    assert none.state == "note" and "none" in none.detail
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/nvidia-smi")
    (cpu_build,) = devices(machine(cuda=None))
    assert cpu_build.state == "note" and "without CUDA" in cpu_build.detail

    def fails():
        raise RuntimeError("driver too old")

    (bad,) = devices(machine(available=fails))
    assert bad.state == "problem" and "driver too old" in bad.detail


@pytest.mark.parametrize(
    ("count", "cores", "state"), [(2, 2, "ok"), (1, 2, "ok"), (3, 2, "note"), (64, 4, "note")]
)
def test_more_threads_than_cores_are_a_note(count, cores, state):
    found = threads(count, cores, {"OMP_NUM_THREADS": "7"})
    assert found.state == state
    assert "OMP_NUM_THREADS=7" in found.detail
    assert found.remedy == (f"export OMP_NUM_THREADS={cores}" if state == "note" else "")
    assert "not set" in threads(1, 1, {}).detail


@pytest.mark.parametrize(
    ("environment", "key", "state", "says"),
    [
        ({}, True, "ok", "a key is there"),
        ({}, False, "note", "offline"),
        ({"WANDB_MODE": "offline"}, True, "note", "WANDB_MODE=offline"),
        ({"WANDB_MODE": "disabled"}, True, "note", "disabled"),
        ({"WANDB_DISABLED": "true"}, False, "note", "disabled"),
        ({}, ImportError("no wandb"), "problem", "no wandb"),
    ],
)
def test_what_wandb_will_do(environment, key, state, says):
    found = weights_and_biases(environment, lambda: key)
    assert found.state == state
    assert says in found.detail


Usage = namedtuple("Usage", "total used free")


def test_folders_are_tried_where_they_will_be(tmp_path, monkeypatch):
    found = place("cache", tmp_path / "not" / "there")
    assert found.state == "ok"
    assert re.search(r"not/there, \d+ GB free$", found.detail)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    assert place("cache", tmp_path / "file").state == "problem"
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(0, 0, 4.9e9))
    little = place("temp", tmp_path)
    assert little.state == "note" and "TMPDIR" in little.remedy

    def refused(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refused)
    bad = place("cache", tmp_path)
    assert bad.state == "problem" and "Permission denied" in bad.detail
    assert "HIDESEEK_CACHE" in bad.remedy


def test_little_shared_memory_is_a_note(tmp_path, monkeypatch):
    assert shared_memory(tmp_path / "none") == []
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(67e6, 0, 0))
    (found,) = shared_memory(tmp_path)
    assert found.state == "note" and "67 MB" in found.detail


def test_imagenet_weights_are_looked_for_in_the_hub_folder(tmp_path):
    from torchvision import models

    found = imagenet(tmp_path, models)
    assert found.state == "note"
    assert found.detail.startswith("alexnet, vgg11, resnet50: not in")
    for choice in (models.AlexNet_Weights, models.VGG11_BN_Weights):
        (tmp_path / choice.IMAGENET1K_V1.url.rpartition("/")[2]).touch()
    assert imagenet(tmp_path, models).detail.startswith("resnet50: not in")
    (tmp_path / models.ResNet50_Weights.IMAGENET1K_V1.url.rpartition("/")[2]).touch()
    assert imagenet(tmp_path, models).state == "ok"


def test_what_comes_along_is_there(monkeypatch, tmp_path):
    assert shipped().state == "ok"
    monkeypatch.setattr("hideseek.machine.config_folder", lambda: tmp_path)
    lacking = shipped()
    assert lacking.state == "problem" and "train.yaml" in lacking.detail


def test_the_status_and_the_last_lines_name_the_problems(monkeypatch, capsys):
    fine = Finding("CPU", "ok", "2 usable cores of 2")
    note = Finding("GPU", "note", "none [bold]")
    bad = Finding("numpy", "problem", "not installed", "pip install 'numpy>=1.26'")
    monkeypatch.setattr(module, "examine", lambda: [fine, note])
    assert doctor([]) == 0
    shown = capsys.readouterr().out
    assert "none [bold]" in shown and shown.endswith("training and auditing can work here\n")
    monkeypatch.setattr(module, "examine", lambda: [fine, bad, note])
    assert doctor([]) == 1
    shown = capsys.readouterr().out
    assert shown.endswith("problem: numpy: not installed; pip install 'numpy>=1.26'\n")
    with pytest.raises(UserError, match="doctor takes no settings"):
        doctor(["x=1"])
    assert doctor(["--help"]) == 0


@pytest.mark.slow
def test_a_broken_torch_is_a_row_and_no_traceback(tmp_path):
    (tmp_path / "torch.py").write_text("raise OSError('libcudart.so: cannot open')\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r});"
        "from hideseek.sweep.verbs import run; run('doctor', [])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=tmp_path
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("problem: ")]
    assert any("problem: torch: cannot be used: libcudart.so: cannot open" in li for li in lines)


@pytest.mark.slow
def test_on_this_machine_no_key_is_shown(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("WANDB_API_KEY", "a" * 38 + "zz")
    monkeypatch.setenv("HIDESEEK_CACHE", str(tmp_path / "elsewhere"))
    found = {each.name: each for each in examine()}
    assert not [each for each in found.values() if each.state == "problem"]
    assert found["W&B"].state in ("ok", "note")
    assert str(tmp_path / "elsewhere") in found["cache"].detail
    assert "aaaa" not in str(found)
    assert {"python", "hideseek", "packages", "CPU", "threads", "temp"} <= set(found)
