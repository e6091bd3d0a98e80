"""What a cell of a sweep costs beyond its training, and what two at once save.

    python benchmarks/sweep_cells.py [cells]

Runs a sweep of tiny cells on the phantom one after the other, then two at once, in one run of this
script, and says where the time of a cell goes.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
GRID = "roi=original,lungs_isolated,lungs_removed,lungs_framed,lungs_boxed_out"
TINY = ["data=phantom", "data.phantom.images=120", "data.phantom.size=64", "model=tiny",
        "epochs=3", "trainer=cpu"]  # fmt: skip


def sweep(folder: Path, name: str, seeds: int, *more: str) -> float:
    """Run a sweep of 5 x seeds cells; return its seconds."""
    axes = [GRID, f"seed={','.join(map(str, range(seeds)))}", f"sweep={name}", *more]
    words = [sys.executable, str(ROOT / "train.py"), "-m", *TINY, *axes]
    started = time.monotonic()
    subprocess.run(words, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


def training_seconds(cell: Path) -> float:
    """Sum the epochs of a cell."""
    with (cell / "history.csv").open() as file:
        return sum(float(row["seconds"]) for row in csv.DictReader(file))


def imports() -> float:
    """Time a process that imports what a cell imports."""
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", "import hideseek.train, wandb"], check=True)
    return time.monotonic() - started


def main() -> None:
    """Print the figures."""
    seeds = (int(sys.argv[1]) if len(sys.argv) > 1 else 25) // 5
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        sweep(folder, "warm_up", 1, "logger=csv")
        seconds = {
            "serial, csv": sweep(folder, "serial", seeds, "logger=csv"),
            "two at once, csv": sweep(folder, "two", seeds, "logger=csv",
                                      "hydra.launcher.parallel=2"),
            "serial, W&B offline": sweep(folder, "wandb", seeds),
        }  # fmt: skip
        cells = sorted((folder / "multirun" / "serial").glob("tiny-*"))
        training = sum(map(training_seconds, cells)) / len(cells)
        inside = sum(json.loads((c / "provenance.json").read_text())["seconds"] for c in cells)
        for name, total in seconds.items():
            print(f"{name}: {total:.1f} s, {total / len(cells):.2f} s a cell")
        print(f"two at once: {seconds['serial, csv'] / seconds['two at once, csv']:.2f} x faster")
        print(f"training: {training:.2f} s a cell")
        print(f"inside the cell, training and test included: {inside / len(cells):.2f} s")
        print(f"imports: {sorted(imports() for _ in range(3))[1]:.2f} s")


if __name__ == "__main__":
    main()
