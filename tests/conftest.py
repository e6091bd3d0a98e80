from __future__ import annotations

import os

# Two workers with as many threads as processors each would wait for one another. Before torch.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import signal
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from hideseek.data.cache import CacheRecipe, Entry, write_cache

CLASSES = ("normal", "pneumonia", "covid19")
SPLITS = ("train", "train", "train", "val", "test", "test")  # of the patients of a class, in turn
Pixels = npt.NDArray[np.uint8]
Lungs = npt.NDArray[np.bool_]


def pytest_configure() -> None:
    """Let Ctrl-C reach the programs that tests start, also from a script's background job."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def pack() -> Path:
    """Find the real images, which lie beside the repository on some machines."""
    folder = Path(__file__).parents[1] / "../shared/data"
    if not folder.is_dir():
        pytest.skip("the real images (../shared/data beside the repository) are not here")
    return folder.resolve()


def draw_radiograph(height: int, width: int, seed: int = 0) -> tuple[Pixels, Lungs]:
    """Draw a noisy body with two darker lungs."""
    rng = np.random.default_rng(seed)
    lungs = np.zeros((height, width), np.uint8)
    for column in (0.28, 0.72):
        centre = (int(width * (column + rng.uniform(-0.04, 0.04))), int(height * 0.55))
        axes = (max(2, int(width * rng.uniform(0.11, 0.16))), max(3, int(height * 0.27)))
        cv2.ellipse(lungs, centre, axes, 0.0, 0.0, 360.0, 1, thickness=-1)
    noise = rng.integers(0, 60, (height, width))
    return (noise + 150 - 110 * lungs.astype(int)).astype(np.uint8), lungs.astype(bool)


@pytest.fixture
def radiograph() -> Callable[..., tuple[Pixels, Lungs]]:
    """(height, width, seed) to uint8 and bool [H, W]."""
    return draw_radiograph


@pytest.fixture
def small_cache(tmp_path: Path) -> Callable[..., Path]:
    """Make caches of 36 images: 3 classes, 18 patients, 3 sources; 18 train, 6 val, 12 test."""

    def make(
        name: str = "small",
        size: int = 48,
        images: int = 36,
        seed: int = 0,
        task: str = "classify",
        split: Callable[[int, str], str] = lambda number, given: given,
        shift: Callable[[str], int] = lambda split: 0,
    ) -> Path:
        recipe = CacheRecipe(name, task, size, "paper", CLASSES, "m" * 64, "s" * 16)

        def entry(number: int) -> Entry:
            image, lungs = draw_radiograph(size, size, seed * 1000 + number)
            patient = number // 2
            belongs = split(number, SPLITS[patient // len(CLASSES) % len(SPLITS)])
            rows = shift(belongs)
            text = {
                "image_id": f"img{number:03d}",
                "label": CLASSES[patient % len(CLASSES)],
                "source": f"hospital{patient % 5 % 3}",
                "patient_id": f"patient{patient}",
                "split": belongs,
                "view": "PA",
                "mask_from": "manifest",
            }
            return Entry(np.roll(image, rows, axis=0), np.roll(lungs, rows, axis=0), text)

        path = tmp_path / recipe.file_name()
        write_cache(path, recipe, (entry(number) for number in range(images)), images)
        return path

    return make


@pytest.fixture
def image_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write radiographs, masks and a `manifest.csv` that lists them."""

    def make(
        images: int = 12, shape: tuple[int, int] = (70, 60), splits: bool = True, masks: bool = True
    ) -> Path:
        root = tmp_path / "raw"
        root.mkdir()
        rows = []
        for number in range(images):
            image, lungs = draw_radiograph(*shape, seed=number)
            cv2.imwrite(str(root / f"{number}.png"), image)
            cv2.imwrite(str(root / f"{number}_mask.png"), lungs * np.uint8(255))
            rows.append(
                {
                    "path": f"{number}.png",
                    "label": CLASSES[number % 3],
                    "source": f"hospital{number % 2}",
                    "patient_id": f"patient{number}",
                    "split": ("train", "train", "val", "test")[number // 3 % 4] if splits else "",
                    "mask": f"{number}_mask.png" if masks else "",
                }
            )
        pl.DataFrame(rows).write_csv(root / "manifest.csv")
        return root

    return make
