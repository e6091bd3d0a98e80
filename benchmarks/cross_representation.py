"""Every network on every representation, against the forward passes alone.

    OMP_NUM_THREADS=1 python benchmarks/cross_representation.py [model] [images] [seeds]

Cells with random weights, the paper's five representations, images drawn at 224 px. The forward
passes read pictures that lie in memory. The goal is 1.1 of their time; the resamples, which cost
the same for any network, are listed apart.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import torch

from hideseek.audit import matrix, tester
from hideseek.audit.bootstrap import resample_counts
from hideseek.audit.grid import CellPredictions, Grid
from hideseek.checkpoint import NetworkCard, load_network, save_network
from hideseek.data.cache import Cache, CacheRecipe, Entry, write_cache
from hideseek.data.phantom import PhantomRecipe, draw
from hideseek.models.backbones import alexnet, resnet50, vgg11
from hideseek.models.inputs import normalize
from hideseek.roi import PAPER

SIDE, ROUNDS = 224, 3
CLASSES = ("normal", "pneumonia", "covid19")
BUILD = {"alexnet": alexnet, "resnet50": resnet50, "vgg11": vgg11}


def write_sweep(folder: Path, model: str, images: int, seeds: int) -> Grid:
    """Write a cache and cells as a sweep leaves them."""
    recipe = CacheRecipe("bench", "classify", SIDE, "paper", CLASSES, "m" * 64, "s" * 16)
    phantom, rows = PhantomRecipe(size=SIDE, images=images), []

    def entry(number: int) -> Entry:
        drawn = draw(phantom, number)
        row = {"image_id": f"i{number:05d}", "label": CLASSES[drawn.label], "split": "test"}
        rows.append({**row, "source": drawn.source, "patient_id": drawn.patient_id})
        return Entry(drawn.image, drawn.mask, rows[-1])

    cache = folder / recipe.file_name()
    write_cache(cache, recipe, (entry(number) for number in range(images)), images)
    cells = []
    for roi in PAPER:
        for seed in range(seeds):
            cell = folder / f"{model}-{roi}-s{seed}"
            (cell / "checkpoints").mkdir(parents=True)
            card = NetworkCard(
                "classify", model, f"hideseek.models.backbones.{model}", {}, SIDE, 3, "paper",
                CLASSES, roi,
            )  # fmt: skip
            save_network(cell / "checkpoints/best.ckpt", BUILD[model](weights="none"), card)
            done = {"model": model, "roi": roi, "seed": seed, "recipe_hash": recipe.digest()}
            (cell / "done.json").write_text(json.dumps(done))
            (cell / "provenance.json").write_text(json.dumps({"cache": str(cache)}))
            scores = np.full((images, 3), 1 / 3)
            nothing = np.zeros(images, np.int64)
            cells.append(
                CellPredictions(model, roi, "black", 0.0, seed, cell.name, nothing, scores)
            )
    table = pl.DataFrame(rows).select("image_id", "patient_id", "source", "label")
    labels = np.array([CLASSES.index(name) for name in table["label"]])
    return Grid(CLASSES, table, labels, tuple(cells), recipe.digest())


def forward_passes(folder: Path, grid: Grid) -> float:
    """Time what cannot be saved: each network on pictures that are there already."""
    cache = Cache(next(folder.glob("*.h5")))
    stack = torch.from_numpy(np.stack([cache[row][0] for row in range(len(cache))])).unsqueeze(1)
    batches = stack.split(tester.BATCH)
    seconds = 0.0
    for cell in grid.cells:
        net, card = load_network(folder / cell.folder / "checkpoints/best.ckpt")
        started = time.perf_counter()
        with torch.inference_mode():
            for _ in PAPER:
                for batch in batches:
                    net(normalize(batch, card.normalize, card.channels))
        seconds += time.perf_counter() - started
    return seconds


def main() -> None:
    """Measure in alternating rounds and print the ratio."""
    model, images, seeds = (*sys.argv[1:4], *("resnet50", "32", "1")[len(sys.argv) - 1 :])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        grid = write_sweep(folder, model, int(images), int(seeds))
        few = resample_counts(grid.labels, grid.patients.to_numpy(), 1, seed=0)
        many = resample_counts(grid.labels, grid.patients.to_numpy(), 10_000, seed=0)
        loading = time.perf_counter()
        for cell in grid.cells:
            load_network(folder / cell.folder / "checkpoints/best.ckpt")
        loading = time.perf_counter() - loading
        passes, whole = [], []
        for _ in range(ROUNDS):
            passes.append(forward_passes(folder, grid))
            started = time.perf_counter()
            section = matrix.matrix_section(folder, grid, few)
            whole.append(time.perf_counter() - started - loading)
        started = time.perf_counter()
        matrix.matrix_section(folder, grid, many)
        resampling = time.perf_counter() - started - loading - statistics.median(whole)
    if section.content["left_out"]:
        sys.exit(str(section.content["left_out"]))
    ratios = sorted(each / base for each, base in zip(whole, passes, strict=True))
    print(f"{model}, {len(grid.cells)} cells x {len(PAPER)} representations x {images} images")
    print(
        f"forward passes {statistics.median(passes):.2f} s, matrix {statistics.median(whole):.2f}"
        f" s: {statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"
    )
    print(f"besides: loading {loading:.2f} s, 10,000 resamples {resampling:.2f} s")


if __name__ == "__main__":
    main()
