"""Masks and data for all representations: `prepare`'s way against the paper's, with one U-Net.

    python benchmarks/masks.py ../shared/data/manifest.csv 64

The paper's way (its segmentation code): one image at a time, decode, U-Net, components, and four
re-encoded copies in full size beside the original. Ours: batches, and one cache of squares and
packed masks. The same packaged weights on both sides, without the mirrored pass; radiographs are
enlarged to 1024 px first. Rounds alternate; medians are compared.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from scipy import ndimage

from hideseek.checkpoint import load_network
from hideseek.data.build import build_cache
from hideseek.data.cache import CacheRecipe
from hideseek.data.images import read_radiograph
from hideseek.data.lungs import PACKAGED, load_segmenter
from hideseek.data.mask_rules import MaskRules
from hideseek.models.inputs import normalize

ROUNDS = 3


def enlarge(manifest: Path, count: int, folder: Path) -> pl.DataFrame:
    """Write `count` radiographs of the manifest at 1024 px on the shorter side, as PNG."""
    names = pl.read_csv(manifest, infer_schema=False).get_column("image")[:: 2259 // count]
    rows = []
    for number, name in enumerate(names[:count]):
        pixels = read_radiograph(manifest.parent / name).pixels
        scale = 1024 / min(pixels.shape)
        large = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{number}.png"), large)
        rows.append({"path": f"{number}.png", "mask": "", "split": "train"})
    text = ("image_id", "label", "source", "patient_id", "view")
    return pl.DataFrame(rows).with_columns(pl.col("path").alias(name) for name in text)


@torch.inference_mode()
def papers_way(table: pl.DataFrame, folder: Path) -> None:
    """Segment one image at a time and write four copies of it."""
    net, card = load_network(PACKAGED)
    net.eval()
    for name in table.get_column("path"):
        image = cv2.imread(str(folder / name), cv2.IMREAD_GRAYSCALE)
        side = max(image.shape)
        padded = np.zeros((side, side), np.uint8)
        padded[: image.shape[0], : image.shape[1]] = image
        square = torch.from_numpy(cv2.resize(padded, (card.image_size, card.image_size)))
        logits = net(normalize(square[None, None], card.normalize, card.channels))
        found = logits.argmax(dim=1)[0].numpy().astype(np.uint8)
        mask = cv2.resize(found, (side, side))[: image.shape[0], : image.shape[1]] > 0
        lungs, boxes = components(mask)
        copies = {
            "isolated": image * lungs, "removed": image * ~lungs,
            "framed": image * boxes, "boxed_out": image * ~boxes,
        }  # fmt: skip
        for kind, copy in copies.items():
            cv2.imwrite(str(folder / "copies" / f"{kind}-{name}"), copy)


def components(mask: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.bool_], ...]:
    """Keep the two largest components; return them and their boxes as masks."""
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    areas = ndimage.sum_labels(mask, labels, np.arange(1, count + 1))
    kept = np.argsort(areas)[::-1][:2] + 1
    boxes = np.zeros_like(mask)
    for number in kept:
        rows, columns = np.nonzero(labels == number)
        boxes[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    return np.isin(labels, kept), boxes


def our_way(table: pl.DataFrame, folder: Path, cache: Path, precision: str) -> None:
    """Build a cache as `prepare` does."""
    rules = MaskRules(mirrored=False, precision=precision)
    recipe = CacheRecipe("b", "classify", 224, "paper", ("a",), "m", "s", masks=rules)
    cache.unlink(missing_ok=True)
    build_cache(table, folder, recipe, cache, lambda: load_segmenter("packaged", False, precision))


def timed(work: Callable[[], None]) -> float:
    """Return seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Alternate the two ways and print rates, ratio and what lies on disk."""
    manifest, count = Path(sys.argv[1]), int(sys.argv[2])
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "copies").mkdir()
        table, cache = enlarge(manifest, count, folder), folder / "b.h5"
        ways: dict[str, Callable[[], None]] = {
            "the paper's way": lambda: papers_way(table, folder),
            "float32": lambda: our_way(table, folder, cache, "float32"),
            "bfloat16": lambda: our_way(table, folder, cache, "bfloat16"),
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, work in ways.items():
                times[name].append(timed(work))
        paper = statistics.median(times["the paper's way"])
        for name in ways:
            ours = statistics.median(times[name])
            print(f"{name:15} {count / ours:5.1f} images/s {paper / ours:4.1f}x")
        originals = sum(file.stat().st_size for file in folder.glob("*.png"))
        copies = sum(file.stat().st_size for file in (folder / "copies").iterdir())
        print(f"on disk: the paper's way {(originals + copies) / originals:.2f} of the files; ours "
              f"{cache.stat().st_size / (count * 224 * 224):.2f} of the squares")  # fmt: skip


if __name__ == "__main__":
    main()
