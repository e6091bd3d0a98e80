"""Which cells of a sweep have to run: the finished are kept, the failed are left, if unchanged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from hideseek import __version__
from hideseek.config import plain
from hideseek.data.cache import Cache
from hideseek.data.source import Source
from hideseek.errors import UserError
from hideseek.sweep.cells import Cell
from hideseek.sweep.runs import read_done

RESULTS = ("done.json", "failed.json", "history.csv", "predictions.csv", "metrics.json",
           "provenance.json", "log.txt")  # fmt: skip
NAMED_CHANGES = 3
Verdict = Literal["run", "keep", "failed"]


@dataclass(frozen=True)
class Decision:
    """What to do with a cell.

    Attributes:
        verdict: "run", "keep" what is finished, or leave it "failed".
        why: in words; empty for a cell that is simply run.
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
        key = f"{cell.config.image_size} {OmegaConf.to_yaml(cell.config.data, resolve=True)}"
        keys.append(key)
        if key not in known:
            try:
                known[key] = _recipe_hash(cell.config)
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
        A decision. A finished cell is kept if settings, data and version are the same; one that
        failed by itself, not by a kill, is left until it is asked for or its settings change.
    """
    now = {
        "config_hash": cell.config_hash,
        "recipe_hash": str(recipe_hash),
        "version": __version__,
    }
    done = read_done(cell.folder)
    if done:
        changes = [
            f"{name} was {done.get(name)}, is {value}"
            for name, value in now.items()
            if done.get(name) != value
        ]
        if not changes:
            return Decision("keep")
        settings = changed_settings(cell.folder / "config.yaml", cell.config)
        return Decision("run", "; ".join([*changes, *settings]))
    failed = _read_json(cell.folder / "failed.json")
    same = all(failed.get(name) == now[name] for name in ("config_hash", "version"))
    if failed and same and not retry_failed:
        return Decision("failed", str(failed.get("reason", "")))
    return Decision("run")


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


def clear(folder: Path) -> None:
    """Remove what an earlier cell of other settings left, so that nothing of it is read again."""
    for name in RESULTS:
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def failure(folder: Path) -> str | None:
    """Return why a cell says that it failed, if it says so."""
    reason = _read_json(folder / "failed.json").get("reason")
    return None if reason is None else str(reason)


def _recipe_hash(config: DictConfig) -> str:
    source: Source = instantiate(config.data, _convert_="all")
    return str(Cache(source.ready(config.image_size)).recipe.digest())


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
