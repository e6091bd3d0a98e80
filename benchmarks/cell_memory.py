"""Resident memory of a cell on 14,000 cached images at 224 px, on the CPU.

Writes such a cache (0.8 GB, random pixels), trains the smallest network on it for one epoch as the
command line does, and prints the greatest resident size of the process, which includes Python, the
libraries and the network. Run: python benchmarks/cell_memory.py
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hideseek.data.cache import CacheRecipe, Entry, write_cache

IMAGES, SIDE = 14_000, 224
CLASSES = ("normal", "pneumonia", "covid19")


def entries() -> Iterator[Entry]:
    """Yield random radiographs with two round lungs."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    lungs = [(rows - 110) ** 2 + (columns - centre) ** 2 < 45**2 for centre in (60, 165)]
    for index in range(IMAGES):
        image = rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
        split = "test" if index % 50 == 0 else "val" if index % 50 == 1 else "train"
        text = {"image_id": str(index), "patient_id": str(index), "source": "random"}
        text |= {"label": CLASSES[index % 3], "split": split, "mask_from": "manifest"}
        yield Entry(image, lungs[0] | lungs[1], text)


def main() -> None:
    """Measure and print one line."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.h5"
        recipe = CacheRecipe("random", "classify", SIDE, "paper", CLASSES, "", "")
        write_cache(path, recipe, entries(), IMAGES)
        command = [
            sys.executable, "-m", "hideseek", "train", "data=manifest", f"data.cache={path}",
            "model=tiny", "image_size=224", "epochs=1", "roi=lungs_removed", "trainer=cpu",
            "logger=csv", f"paths.multirun={folder}",
        ]  # fmt: skip
        subprocess.run(command, check=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"{IMAGES} images at {SIDE} px: {peak:.2f} GiB resident at most")


if __name__ == "__main__":
    main()
