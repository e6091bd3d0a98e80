"""How long `prepare` takes: inspection, near-duplicates and cache of 1024 px images, on all cores.

    python benchmarks/prepare_images.py ../shared/data/manifest.csv 1400

Real radiographs, enlarged to 1024 px on the shorter side and stored as PNG, are inspected and
cached with ready masks (no segmentation); near-duplicates are searched among 14,000 random
thumbnails. Prints images per second and what 14,000 images would take.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import polars as pl

from hideseek.data.build import build_cache
from hideseek.data.cache import CacheRecipe
from hideseek.data.duplicates import near_duplicates
from hideseek.data.images import read_radiograph
from hideseek.data.inspection import inspect

PAPER = 14_000


def enlarge(manifest: Path, count: int, folder: Path) -> pl.DataFrame:
    """Write `count` radiographs of the manifest at 1024 px, with a mask each."""
    names = pl.read_csv(manifest, infer_schema=False).get_column("image").to_list()[:count]
    rows = []
    for number, name in enumerate(names):
        pixels = read_radiograph(manifest.parent / name).pixels
        scale = 1024 / min(pixels.shape)
        large = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        grain = np.random.default_rng(number).normal(0, 2, large.shape)
        cv2.imwrite(str(folder / f"{number}.png"), np.clip(large + grain, 0, 255).astype(np.uint8))
        mask = np.zeros(large.shape, np.uint8)
        mask[256:768, 256:768] = 255
        cv2.imwrite(str(folder / f"{number}_mask.png"), mask)
        rows.append({"path": f"{number}.png", "mask": f"{number}_mask.png", "split": "train"})
    text = ("image_id", "label", "source", "patient_id", "view")
    return pl.DataFrame(rows).with_columns(pl.col("path").alias(name) for name in text)


def main() -> None:
    """Measure each step once."""
    manifest, count = Path(sys.argv[1]), int(sys.argv[2])
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        table = enlarge(manifest, count, folder)
        size = sum(file.stat().st_size for file in folder.glob("*.png")) / 2**20 / count
        print(f"{table.height} images of 1024 px, {size:.2f} MiB each with its mask")
        total = 0.0
        for name in ("inspection", "cache"):
            start = time.perf_counter()
            if name == "inspection":
                inspect(table, folder, "minmax", folder / "shards")
            else:
                recipe = CacheRecipe("bench", "classify", 224, "paper", ("a",), "m", "s")
                build_cache(table, folder, recipe, folder / "bench.h5", lambda: sys.exit(1))
            seconds = time.perf_counter() - start
            total += seconds / table.height * PAPER
            print(f"{name}: {table.height / seconds:.0f} images/s")
        thumbnails = np.random.default_rng(0).integers(0, 256, (PAPER, 32, 32), dtype=np.uint8)
        start = time.perf_counter()
        near_duplicates(thumbnails)
        seconds = time.perf_counter() - start
        print(f"near-duplicates among {PAPER}: {seconds:.0f} s")
        print(f"{PAPER} images: {(total + seconds) / 60:.1f} min")


if __name__ == "__main__":
    main()
