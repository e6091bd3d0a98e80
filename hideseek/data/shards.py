"""Long work in parts on disk, so that a kill at any moment costs one part at most.

The one mechanism behind every step that takes minutes: a part's result is written under a temporary
name and renamed when whole, and a later run loads what is there and computes the rest. Several
processes may work in one folder; at worst they compute the same part twice.
"""

from __future__ import annotations

import os
import platform
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from hideseek.errors import UserError

T = TypeVar("T")
Shard: TypeAlias = dict[str, npt.NDArray[Any]]
"""The result of one part: arrays of numbers, truth values or text by name."""

KINDS = "biufcU"
RANGE = "__range__"

_SHARD = re.compile(r"\d{5,}\.npz")
_TEMPORARY = re.compile(r"\..+-(?P<host>\w*)-(?P<pid>\d{1,7})-\d+\.tmp")
_HOST = re.sub(r"\W", "", platform.node(), flags=re.ASCII)
_number = count()


def run_shards(
    folder: Path,
    items: Sequence[T],
    size: int,
    work: Callable[[Sequence[T]], Shard],
    advance: Callable[[int], None] = lambda count: None,
) -> Iterator[Shard]:
    """Work through items in parts, loading the parts that an earlier run finished.

    A part that cannot be read whole is computed again. Nothing happens before the first result is
    asked for.

    Args:
        folder: of the parts, made if absent. Its name has to be a hash of everything that the
            results depend on: a part on disk is checked for its place in `items`, not against them.
        items: what to work on.
        size: items a part, the last one may have fewer.
        work: gives a part's arrays, of any shapes, under any names but `RANGE`; the same for the
            same items.
        advance: told how many items are done with each part, loaded ones too.

    Yields:
        The arrays of each part, in order.

    Raises:
        UserError: the folder cannot be written to, as when the disk is full.
        TypeError: an array holds anything but numbers, truth values and text.
    """
    _remove(folder, is_abandoned)
    for index, start in enumerate(range(0, len(items), size)):
        part = items[start : start + size]
        place = np.array([start, start + len(part)])
        path = folder / f"{index:05}.npz"
        shard = _read(path, place)
        if shard is None:
            shard = {name: np.asarray(array) for name, array in work(part).items()}
            _write(path, shard, place)
        advance(len(part))
        yield shard


def discard(folder: Path) -> None:
    """Remove the parts in a folder, and the folder if nothing else is in it.

    A file that a running process is writing stays. An absent folder is no error.

    Raises:
        UserError: the parts cannot be removed.
    """
    _remove(folder, lambda name: bool(_SHARD.fullmatch(name)) or is_abandoned(name))
    with suppress(OSError):
        folder.rmdir()


def texts(values: Sequence[str]) -> npt.NDArray[np.str_]:
    """Lay text out as an array [N] that `tolist` turns back into the same text.

    Every element takes four bytes for each character of the longest.

    Raises:
        ValueError: a text ends in a NUL character, which numpy would drop; strip it where it is
            read.
    """
    for value in values:
        if value.endswith("\0"):
            raise ValueError(f"{value!r} ends in NUL, which an array of text cannot hold")
    return np.array(values, dtype=np.str_)


def _read(path: Path, place: npt.NDArray[Any]) -> Shard | None:
    try:
        with np.load(path, allow_pickle=False) as archive:
            shard = {name: archive[name] for name in archive.files}
        return shard if np.array_equal(shard.pop(RANGE), place) else None
    except Exception:  # damaged bytes can raise nearly anything, and all of it means: not usable
        return None


def _write(path: Path, shard: Shard, place: npt.NDArray[Any]) -> None:
    for name, array in shard.items():
        if array.dtype.kind not in KINDS or name == RANGE:
            raise TypeError(f"array '{name}' of type {array.dtype} cannot be kept in a shard")
    temporary = temporary_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Not np.savez: it reserves the name 'file', and dates the members.
            with zipfile.ZipFile(temporary, "w") as archive:
                for name, array in {**shard, RANGE: place}.items():
                    with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as to:
                        np.lib.format.write_array(to, array, allow_pickle=False)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"{path.parent}: cannot be written to ({error.strerror or error}); "
            "free some space or give a folder of yours, and run the command again"
        ) from None


def _remove(folder: Path, unwanted: Callable[[str], bool]) -> None:
    try:
        for path in folder.iterdir() if folder.is_dir() else ():
            if unwanted(path.name):
                path.unlink(missing_ok=True)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be cleaned up ({error.strerror or error}); remove it yourself"
        ) from None


def temporary_path(path: Path) -> Path:
    """Name the hidden file beside `path` under which this process writes it before renaming."""
    return path.with_name(f".{path.stem}-{_HOST}-{os.getpid()}-{next(_number)}.tmp")


def is_abandoned(name: str) -> bool:
    """Tell whether a name is by `temporary_path`, of a process of this machine that is gone."""
    match = _TEMPORARY.fullmatch(name)
    if match is None or match["host"] != _HOST:
        return False
    try:
        os.kill(int(match["pid"]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
