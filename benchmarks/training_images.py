"""Augmented training images at 224 px: from the cache, against the paper's way, one worker each.

The paper's way decodes, crops, resizes and augments every file in every epoch (its classification
code, Methods). Both ways go through a DataLoader with one worker, alternating in one process, and
the ratio of the medians is reported. Run: python benchmarks/training_images.py
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from hideseek import roi
from hideseek.data.augment import Augmentation
from hideseek.data.datamodule import CxrDataModule
from hideseek.data.phantom import PhantomRecipe, draw
from hideseek.data.source import ManifestSource

SIDE = 224
ROUNDS = 5


class FilesEachEpoch(Dataset[Tensor]):
    """Decode, cut the top 8 %, cut the central square, resize, augment, for every image anew."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files
        self.augment = transforms.Compose(
            [
                transforms.ColorJitter(brightness=0.1),
                transforms.RandomAffine(10, translate=(0.1, 0.1)),
                transforms.RandomResizedCrop(SIDE, scale=(0.85, 1.0), ratio=(1.0, 1.0)),
                transforms.ToTensor(),
            ]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        image = cv2.imread(str(self.files[index]))
        image = image[int(image.shape[0] * 0.08) :]
        height, width = image.shape[:2]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        square = cv2.resize(image[top : top + side, left : left + side], (SIDE, SIDE))
        if np.random.random() < 0.3:  # noqa: NPY002
            square = self._shrink_one_side(square)
        return self.augment(Image.fromarray(square))

    @staticmethod
    def _shrink_one_side(square: np.ndarray) -> np.ndarray:
        short = int(SIDE * np.random.uniform(0.9, 1.0))  # noqa: NPY002
        return cv2.copyMakeBorder(
            cv2.resize(square, (short, SIDE)), 0, 0, 0, SIDE - short, cv2.BORDER_CONSTANT
        )


def write_phantoms(folder: Path, count: int, side: int) -> pl.DataFrame:
    """Write radiographs as large as those of the RSNA challenge, and their manifest."""
    recipe = PhantomRecipe(size=side, images=count)
    rows = []
    for index in range(count):
        phantom = draw(recipe, index)
        for kind, pixels in (("image", phantom.image), ("mask", phantom.mask * np.uint8(255))):
            cv2.imwrite(str(folder / f"{kind}{index}.png"), pixels)
        row = {"path": f"image{index}.png", "mask": f"mask{index}.png", "label": index % 3}
        rows.append(
            {**row, "split": ("train", "val", "test")[(index >= count - 8) + (index >= count - 4)]}
        )
    labels = {"0": "normal", "1": "pneumonia", "2": "covid19"}
    table = pl.DataFrame(rows).with_columns(pl.col("label").cast(pl.String).replace(labels))
    table.write_csv(folder / "manifest.csv")
    return table


def images_per_second(loader: Iterable[object], images: int) -> float:
    """Read one epoch and count."""
    iterator = iter(loader)
    next(iterator)
    started, batches = time.perf_counter(), 0
    for _ in iterator:
        batches += 1
    return batches * 32 / (time.perf_counter() - started)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=320)
    parser.add_argument("--side", type=int, default=1024)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = write_phantoms(folder, arguments.count, arguments.side)
        files = [folder / path for path in table.filter(pl.col("split") == "train")["path"]]
        source = ManifestSource(
            name="benchmark", manifest=str(folder / "manifest.csv"), root=name, splits=None,
            cache=None, task="classify", classes=("normal", "pneumonia", "covid19"), size=SIDE,
            preprocess="paper", segmenter="packaged", split_seed=0, folder=name, build=True,
        )  # fmt: skip
        ways: dict[str, Iterable[object]] = {
            "files each epoch": DataLoader(FilesEachEpoch(files), 32, shuffle=True, num_workers=1)
        }
        for way in ("original", "lungs_removed", "lungs_boxed_out"):
            representation = partial(roi.REPRESENTATIONS[way], fill="black", margin=0.0)
            module = CxrDataModule(source, representation, Augmentation(), SIDE, 32, 0, workers=1)
            module.setup()
            ways[f"cache, {way}"] = module.train_dataloader()
        speeds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(ROUNDS):
            for way, loader in ways.items():
                speeds[way].append(images_per_second(loader, len(files)))
        slow = statistics.median(speeds["files each epoch"])
        print(f"{arguments.count} PNG files of {arguments.side} px; median of {ROUNDS} (min-max)")
        for way, values in speeds.items():
            middle, spread = statistics.median(values), f"({min(values):.0f}-{max(values):.0f})"
            print(f"{way:24} {middle:8.0f} images/s {spread:>14}  {middle / slow:5.1f}x")


if __name__ == "__main__":
    main()
