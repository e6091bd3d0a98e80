"""The cache: every image and its lung mask in one HDF5 file, read at random, one image a time.

One cache serves every representation, because hiding happens on read. It is written under a
temporary name and renamed when whole, and opened lazily in each process, so that it works with
forked and spawned workers and on shared file systems.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import polars as pl

from hideseek.data.mask_rules import MaskRules
from hideseek.data.shards import is_abandoned, temporary_path
from hideseek.errors import UserError
from hideseek.regions import Rectangle, fixed_rectangle, lung_boxes, mask_state

FORMAT_VERSION = 1
RECIPE_CODE_VERSION = 1
"""Raised whenever the same recipe would give other pixels or masks."""

TEXT = ("image_id", "label", "source", "patient_id", "split", "view", "mask_from", "mask_state")


@dataclass(frozen=True)
class CacheRecipe:
    """Everything that decides what a cache holds.

    Attributes:
        name: of the data set, part of the file's name.
        task: "classify" or "segment".
        size: side of the stored squares, pixels.
        preprocess: "paper" or "letterbox".
        windowing: of samples of more than 8 bits.
        classes: labels in the order of their numbers.
        manifest_hash: of the manifest's rows with their splits.
        segmenter_hash: of the weights that make missing masks.
        masks: what becomes of a mask.
        files_hash: of the sizes of the files that the rows name.
        code_version: of the steps themselves.
    """

    name: str
    task: str
    size: int
    preprocess: str
    classes: tuple[str, ...]
    manifest_hash: str
    segmenter_hash: str
    windowing: str = "minmax"
    masks: MaskRules = field(default_factory=MaskRules)
    files_hash: str = ""
    code_version: int = RECIPE_CODE_VERSION

    def digest(self) -> str:
        """Hash the recipe: 12 hexadecimal digits, part of the file's name."""
        text = json.dumps(asdict(self), sort_keys=True)
        return sha256(text.encode()).hexdigest()[:12]

    def file_name(self) -> str:
        """Name the cache file of this recipe."""
        return f"cache-{self.name}-{self.size}-{self.digest()}.h5"


@dataclass(frozen=True)
class Entry:
    """One image on its way into the cache: pixels, mask, and what the manifest says of it."""

    image: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.bool_]
    text: dict[str, str]


def write_cache(path: Path, recipe: CacheRecipe, entries: Iterable[Entry], capacity: int) -> int:
    """Write a cache in one go; a killed run leaves nothing under the final name.

    Args:
        path: of the finished file.
        recipe: stored as attributes.
        entries: squares of the recipe's size, in order.
        capacity: at least the number of entries.

    Returns:
        How many entries were written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{path.stem}-*.tmp"):
        if is_abandoned(left.name):
            left.unlink(missing_ok=True)
    temporary = temporary_path(path)
    size, text, count = recipe.size, {name: [] for name in TEXT}, 0  # type: ignore[var-annotated]
    packed = (size * size + 7) // 8
    try:
        with h5py.File(temporary, "w") as file:
            shapes = {"image": ((size, size), "u1"), "mask": ((packed,), "u1")}
            shapes["boxes"] = ((2, 4), "i2")
            for name, (shape, kind) in shapes.items():
                file.create_dataset(name, (capacity, *shape), kind, chunks=(1, *shape),
                                    maxshape=(capacity, *shape))  # fmt: skip
            for count, entry in enumerate(entries, start=1):
                file["image"][count - 1] = entry.image
                file["mask"][count - 1] = np.packbits(entry.mask)
                file["boxes"][count - 1] = lung_boxes(entry.mask)
                for name in TEXT[:-1]:
                    text[name].append(entry.text.get(name, ""))
                text["mask_state"].append(str(mask_state(entry.mask)))
            for name in shapes:
                file[name].resize(count, axis=0)
            _write_labels(file, recipe, text)
            file.attrs["complete"] = True
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return count


def _write_labels(file: h5py.File, recipe: CacheRecipe, text: dict[str, list[str]]) -> None:
    for name, values in text.items():
        file.create_dataset(name, data=values, dtype=h5py.string_dtype())
    file.attrs["format_version"] = FORMAT_VERSION
    file.attrs["recipe"] = json.dumps(asdict(recipe), sort_keys=True)
    file.attrs["recipe_hash"] = recipe.digest()
    file.attrs["manifest_hash"] = recipe.manifest_hash
    file.attrs["segmenter_hash"] = recipe.segmenter_hash


class Cache:
    """Random access to a cache file; cheap to send to another process.

    Attributes:
        path: the file.
        recipe: the recipe as it was stored.
        table: one row per image, the text columns of `TEXT`.
        boxes: int16 [N, 2, 4], the lungs' boxes at the cache's size.
    """

    def __init__(self, path: Path) -> None:
        """Read everything but pixels and masks.

        Args:
            path: a file that `write_cache` made.

        Raises:
            UserError: the file is absent, incomplete or of another format version.
        """
        self.path = path
        if not path.is_file():
            raise UserError(f"{path}: no such cache")
        self._file: h5py.File | None = None
        self._pixels: tuple[h5py.Dataset, h5py.Dataset] | None = None
        self._process = -1
        try:
            file = self._opened()
            if not file.attrs.get("complete", False):
                raise UserError(f"{path}: the cache is incomplete; delete it and prepare again")
            if file.attrs["format_version"] != FORMAT_VERSION:
                raise UserError(f"{path}: made by another version; delete it and prepare again")
            stored: dict[str, Any] = json.loads(file.attrs["recipe"])
            stored["classes"] = tuple(stored["classes"])
            stored["masks"] = MaskRules(**stored["masks"])
            self.recipe = CacheRecipe(**stored)
            columns = {name: file[name].asstr()[:].tolist() for name in TEXT}
            self.table = pl.DataFrame(columns, schema=dict.fromkeys(TEXT, pl.String))
            self.boxes: npt.NDArray[np.int16] = file["boxes"][:]
        except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise UserError(f"{path}: not a readable cache ({error})") from None
        finally:
            self.close()

    def __len__(self) -> int:
        """Count the images."""
        return self.table.height

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """Read one image and its mask: uint8 and bool, both [size, size]."""
        file, size = self._opened(), self.recipe.size
        if self._pixels is None:
            # Looking a data set up by its name takes as long as reading an image.
            self._pixels = file["image"], file["mask"]
        images, masks = self._pixels
        bits = np.unpackbits(masks[index], count=size * size)
        return images[index], bits.reshape(size, size).astype(bool)

    def rows(self, splits: Sequence[str]) -> npt.NDArray[np.intp]:
        """Return the positions of the images of the given splits, in order."""
        return np.flatnonzero(self.table.get_column("split").is_in(list(splits)).to_numpy())

    def labels(self) -> npt.NDArray[np.int64]:
        """Return the class number of each image, -1 where it has no label."""
        number = {name: index for index, name in enumerate(self.recipe.classes)}
        return np.array([number.get(label, -1) for label in self.table.get_column("label")])

    def close(self) -> None:
        """Close this process's handle, if it has one."""
        if self._file is not None and self._process == os.getpid():
            self._file.close()
        self._file = self._pixels = None

    def _opened(self) -> h5py.File:
        if self._file is not None and self._process != os.getpid():
            # A handle inherited by a forked worker shares its file position with the parent, and
            # HDF5 would hand it out again if it were still open.
            self._file.close()
            self._file = self._pixels = None
        if self._file is None:
            self._file = h5py.File(self.path, "r", locking=False)
            self._process = os.getpid()
        return self._file

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open handle behind when sent to a spawned worker."""
        return {**self.__dict__, "_file": None, "_pixels": None, "_process": -1}


def training_rectangle(cache: Cache) -> Rectangle:
    """Find the rectangle of `fixed_box_out`, the same for every image, at the cache's size.

    Args:
        cache: whose training images' lungs it holds; all images' where there are none to train on.

    Returns:
        See `hideseek.regions.fixed_rectangle`.

    Raises:
        UserError: no such image has lungs.
    """
    training = cache.rows(["train"])
    return fixed_rectangle(cache.boxes[training] if len(training) else cache.boxes)
