"""Which cells of a sweep have to run: the finished are kept, the failed are left, if unchanged."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from hideseek import __version__
from hideseek.config import plain
from hideseek.data.cache import Cache, CacheRecipe
from hideseek.data.source import Source
from hideseek.errors import UserError
from hideseek.resume import read_identity
from hideseek.sweep.cells import Cell
from hideseek.sweep.runs import read_done

REPLACED = ".replaced"
"""Where a cell goes whose settings have changed."""

NAMED_CHANGES = 3
Verdict = Literal["run", "replace", "keep", "failed"]


@dataclass(frozen=True)
class Decision:
    """What to do with a cell.

    Attributes:
        verdict: "run", "replace" what another cell left, "keep" what is finished, or leave it
            "failed".
        why: in words; may be empty.
    """

    verdict: Verdict
    why: str = ""


def recipe_hashes(cells: Sequence[Cell]) -> list[str | None]:
    """Find or make the data of every cell once, before several cells would at the same time.

    Args:
        cells: of a sweep.

    Returns:
        The hash of each cell's cache, None where it is not there.

    Raises:
        UserError: no cell has its data.
    """
    known: dict[str, str | UserError] = {}
    keys = []
    for cell in cells:
        key = data_key(cell.config)
        keys.append(key)
        if key not in known:
            try:
                known[key] = str(cell_recipe(cell.config).digest())
            except UserError as error:
                known[key] = error
    found = [known[key] for key in keys]
    errors = [item for item in found if isinstance(item, UserError)]
    if errors and len(errors) == len(found):
        raise errors[0]
    return [item if isinstance(item, str) else None for item in found]


def decide(cell: Cell, recipe_hash: str | None, retry_failed: bool) -> Decision:
    """Compare what is in a cell's folder with what it is to be now.

    Args:
        cell: planned.
        recipe_hash: of its cache; None where it is not there.
        retry_failed: whether to run again what failed.

    Returns:
        A decision. What is finished is kept, and what was interrupted goes on, if settings, data
        and version are the same; what failed by itself, not by a kill, is left until it is asked
        for or its settings change. Without data nothing that is there is touched.
    """
    now = {
        "config_hash": cell.config_hash,
        "recipe_hash": str(recipe_hash),
        "version": __version__,
    }
    done, last = read_done(cell.folder), cell.folder / "checkpoints" / "last.ckpt"
    if done:
        changes = _changes(done, now, recipe_hash)
        if not changes:
            return Decision("keep", "" if recipe_hash else "its data are not here to compare")
        if recipe_hash is None:
            return Decision("failed", f"no data, so what is there is left ({'; '.join(changes)})")
        return Decision("replace", "; ".join([*changes, *_settings(cell)]))
    failed = _read_json(cell.folder / "failed.json")
    if failed and not _changes(failed, now, None) and not retry_failed:
        return Decision("failed", str(failed.get("reason", "")))
    if recipe_hash is None or not last.is_file():
        return Decision("run")
    found = read_identity(last)
    if found is None:
        return Decision("run", "its last.ckpt is incomplete, so it starts anew")
    changes = _changes(found[0], now, recipe_hash)
    if changes:
        return Decision("replace", "; ".join([*changes, *_settings(cell)]))
    if not cell.config.resume:
        return Decision("run", "resume=false, so it starts anew")
    return Decision("run", f"interrupted after epoch {found[1]}, goes on")


def _changes(
    before: Mapping[str, Any], now: Mapping[str, str], recipe_hash: str | None
) -> list[str]:
    names = [name for name in now if name != "recipe_hash" or recipe_hash is not None]
    return [
        f"{name} was {before.get(name)}, is {now[name]}"
        for name in names
        if before.get(name) != now[name]
    ]


def _settings(cell: Cell) -> list[str]:
    return changed_settings(cell.folder / "config.yaml", cell.config)


def changed_settings(path: Path, config: DictConfig) -> list[str]:
    """Name settings that differ from those a cell was run with.

    Args:
        path: of the cell's config.yaml.
        config: of the planned cell.

    Returns:
        At most one text, such as "epochs was 2, is 3"; none where the file does not tell.
    """
    try:
        stored = OmegaConf.to_container(OmegaConf.load(path))
    except Exception:  # a damaged file explains nothing, and is no reason to stop
        return []
    before, after = _flat(stored), _flat(plain(config))
    names = sorted(
        name
        for name in before.keys() | after.keys()
        if before.get(name) != after.get(name)
        and name.partition(".")[0] not in ("datamodule", "sweep", "paths", "logger")
    )
    told = [f"{name} was {before.get(name)}, is {after.get(name)}" for name in names]
    more = f" and {len(told) - NAMED_CHANGES} more" if len(told) > NAMED_CHANGES else ""
    return [", ".join(told[:NAMED_CHANGES]) + more] if told else []


def replace(folder: Path) -> Path:
    """Move a cell aside, so that nothing of it is read again and nothing is lost.

    Args:
        folder: of the cell.

    Returns:
        Where it is now: a folder of `.replaced` in the sweep's.
    """
    place = folder.parent / REPLACED
    place.mkdir(exist_ok=True)
    number = 1
    while (place / f"{folder.name}-{number}").exists():
        number += 1
    return folder.rename(place / f"{folder.name}-{number}")


def failure(folder: Path) -> str | None:
    """Return why a cell says that it failed, if it says so."""
    reason = _read_json(folder / "failed.json").get("reason")
    return None if reason is None else str(reason)


def data_key(config: DictConfig) -> str:
    """Name the data of a cell: cells with the same key read the same cache."""
    return f"{config.image_size} {OmegaConf.to_yaml(config.data, resolve=True)}"


def cell_recipe(config: DictConfig) -> CacheRecipe:
    """Find or make the data of a cell.

    Args:
        config: of the cell.

    Returns:
        The recipe of its cache.

    Raises:
        UserError: the data are not there, or their settings cannot work.
    """
    try:
        source: Source = instantiate(config.data, _convert_="all")
    except InstantiationException as error:  # Hydra wraps what a constructor raises
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise
    return Cache(source.ready(config.image_size)).recipe


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _flat(value: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(value, dict):
        return {prefix: value}
    found: dict[str, object] = {}
    for key, item in value.items():
        found |= _flat(item, f"{prefix}.{key}" if prefix else str(key))
    return found
