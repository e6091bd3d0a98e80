from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hideseek.data.cache import Cache
from hideseek.sweep.process import clean_environment
from tests.data.sources.layout import files

Folder = Callable[..., Path]


def start(place: Path, *words: str) -> subprocess.Popen[str]:
    environment = {**clean_environment(os.environ), "HIDESEEK_CACHE": str(place / "cache")}
    return subprocess.Popen(
        [sys.executable, "-m", "hideseek", *words],
        cwd=place, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def run(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    process = start(place, *words)
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def test_folders_with_odd_names_from_the_outside(image_folder: Folder, tmp_path: Path) -> None:
    root = image_folder(images=48)
    place = tmp_path / "Röntgen 胸 1"
    for label, number in (("NORMAL", 0), ("PNEUMONIA", 1), ("COVID-19", 2)):
        for image in range(number, 48, 3):
            target = place / "raw data" / label / f"bild {image} ü.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            if image % 2:
                (root / f"{image}.png").rename(target)
            else:
                target.symlink_to(root / f"{image}.png")
    done = run(
        place, "prepare", "data=raw", "data/source=folders", "data.raw=raw data", "data.size=48",
        "data.duplicates=0.9999",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "metadata floor" in done.stdout
    (cache,) = (place / "cache").glob("*.h5")
    assert len(Cache(cache)) == 48
    again = run(
        place, "prepare", "data=raw", "data/source=folders", "data.raw=raw data", "data.size=48",
        "data.duplicates=0.9999",
    )  # fmt: skip
    assert again.returncode == 0 and "was there already" in again.stdout
    assert "inspecting" not in again.stdout


def test_check_opens_no_image(tmp_path: Path) -> None:
    rows = ["path,label,source,patient_id,split"]
    for number in range(60):
        label = ("normal", "pneumonia", "covid19")[number % 3]
        split = "test" if number % 5 == 0 else "train"
        rows.append(f"{number}.png,{label},{'ab'[number % 3 == 2]},p{number},{split}")
    (tmp_path / "m.csv").write_text("\n".join(rows))
    done = run(tmp_path, "check", "data=manifest", "data.manifest=m.csv")
    assert done.returncode == 0, done.stderr
    assert "not identifiable: covid19 and normal by source" in done.stdout
    report = json.loads((tmp_path / "cache/manifest.check.json").read_text())
    floor = report["floors"][0]
    # Source b is covid19; source a is normal or pneumonia, a tie that the first class wins.
    assert (floor["name"], floor["correct"], floor["n"]) == ("source", 8, 12)


def test_check_before_anything_is_downloaded(tmp_path: Path) -> None:
    lists = tmp_path / "raw/COVID-Net/labels"
    lists.mkdir(parents=True)
    for split, count in (("train", 90), ("test", 30)):
        lines = []
        for number in range(count):
            if number % 3 == 2:
                lines.append(f"{split}{number} {split}{number}.jpg COVID-19 cohen")
            else:
                label = ("normal", "pneumonia")[number % 3]
                lines.append(f"{split}{number} {split}{number}.png {label} rsna")
        (lists / f"{split}_COVIDx5.txt").write_text("\n".join(lines))
    done = run(tmp_path, "check", "data=covidx", "data.raw=raw")
    assert done.returncode == 0, done.stderr
    assert "0 of 120 listed images are on disk" in done.stdout
    assert "20/30" in done.stdout  # every COVID-19 image, and one of the other two classes
    done = run(tmp_path, "prepare", "data=covidx", "data.raw=raw")
    assert done.returncode == 2 and "none of the 120 images" in done.stderr


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    files(tmp_path, ["some/thing.png"])
    done = run(tmp_path, "prepare", "data=raw", "data/source=cohen", "data.raw=.")
    assert done.returncode == 2
    assert "expected metadata.csv and images/; saw some/" in done.stderr
    assert "Traceback" not in done.stderr
    done = run(tmp_path, "prepare", "data=raw", "data.raw=.")
    assert done.returncode == 2 and "no source is chosen" in done.stderr


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_to_the_same_cache(
    image_folder: Folder, tmp_path: Path
) -> None:
    root = image_folder(images=400, shape=(300, 280))
    words = ("prepare", "data=manifest", f"data.manifest={root}/manifest.csv", "data.size=64",
             "data.duplicates=0.99999")  # fmt: skip
    whole = tmp_path / "whole"
    whole.mkdir()
    begun = time.monotonic()
    assert run(whole, *words).returncode == 0
    lasted = time.monotonic() - begun
    killed = tmp_path / "killed"
    killed.mkdir()
    chance = random.Random(0)
    for _ in range(12):
        process = start(killed, *words)
        time.sleep(chance.uniform(0.3, 0.9) * lasted)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for cache in (killed / "cache").glob("*.h5"):
            assert len(Cache(cache)) == 400  # whole, or not there
            cache.unlink()  # a finished one would spare the later runs their deaths
    assert run(killed, *words).returncode == 0
    (one,), (other,) = (list((place / "cache").glob("*.h5")) for place in (whole, killed))
    assert one.name == other.name
    first, second = Cache(one), Cache(other)
    assert first.table.equals(second.table)
    for row in range(0, 400, 37):
        for a, b in zip(first[row], second[row], strict=True):
            assert (a == b).all()
    for suffix in (".manifest.csv", ".problems.csv", ".masks.csv", ".built.csv"):
        assert other.with_suffix(suffix).read_text() == one.with_suffix(suffix).read_text()
    left = [entry.name for entry in (killed / "cache").rglob("*") if entry.name.startswith(".")]
    assert left == []
