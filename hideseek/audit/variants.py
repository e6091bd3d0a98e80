"""Cells that would pass for seeds of one network and are not: told apart, or left out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hideseek.errors import UserError
from hideseek.sweep.trust import is_local, masked
from hideseek.sweep.untrusted import read_yaml

if TYPE_CHECKING:
    from hideseek.audit.grid import CellPredictions

KNOWN = ("roi", "seed", "selection", "trainer", "datamodule.shuffle_labels")
"""How the keys start that a grid is laid out by, or that are to change no result."""

LONGEST = 60
"""Characters of a name that a stranger may give."""


def once(cells: Sequence[tuple[Path, dict[str, Any]]]) -> list[tuple[Path, dict[str, Any]]]:
    """Leave out what is there twice, as `...-s0` and as `...-s0-selection_validation`: no seeds.

    Args:
        cells: folders, and what their done.json holds.

    Returns:
        The first of each configuration and data, and all whose configuration is not on record.
    """
    seen: set[tuple[object, object]] = set()
    kept = []
    for folder, done in cells:
        name = done.get("config_hash"), done.get("recipe_hash")
        if name[0] is None or name not in seen:
            kept.append((folder, done))
            seen.add(name)
    return kept


def told_apart(sweep: Path, cells: Sequence[CellPredictions]) -> list[CellPredictions]:
    """Name networks by what else the sweep varied, such as a width, where they share a cell.

    Averaged as if they were seeds, two networks would pass for one. Draws of random boxes are
    averaged, and who chose the epoch is told apart elsewhere.

    Args:
        sweep: folder of the cells.
        cells: finished ones.

    Returns:
        The cells, with what tells a network from others of its name after that name.

    Raises:
        UserError: two cells are of the same network, and nothing says how they differ.
    """
    given = {cell.folder: _overrides(sweep / cell.folder) for cell in cells}
    places: dict[tuple[object, ...], list[CellPredictions]] = {}
    for cell in cells:
        place = cell.model, cell.representation, cell.seed, cell.training
        places.setdefault((*place, given[cell.folder].get("roi.draw", "0")), []).append(cell)
    varied: dict[str, set[str]] = {}
    for shared in (each for each in places.values() if len(each) > 1):
        settings = [given[cell.folder] for cell in shared]
        keys = {key for each in settings for key in each if not _is_known(key)}
        found = {key for key in keys if len({each.get(key) for each in settings}) > 1}
        if not found:
            raise UserError(
                f"{sweep}: {shared[0].folder} and {shared[1].folder} are of the same network, "
                "representation and seed, and nothing says how they differ; move one elsewhere"
            )
        varied.setdefault(shared[0].model, set()).update(found)
    return [
        replace(
            cell, model=" ".join([cell.model, *_further(given[cell.folder], varied[cell.model])])
        )
        if cell.model in varied
        else cell
        for cell in cells
    ]


def _is_known(key: str) -> bool:
    """Tell whether a grid is laid out by a setting, or whether it changes no result."""
    return key == "model" or key.startswith(KNOWN) or is_local(key)


def _further(overrides: Mapping[str, str], varied: Collection[str]) -> list[str]:
    """Spell settings for a name: a stranger's, so secrets are hidden and it is one short line."""
    spelt = (masked(f"{key}={overrides.get(key, 'default')}") for key in sorted(varied))
    return [one_line(text) for text in spelt]


def one_line(text: str) -> str:
    """Make a stranger's text one short line of printable signs."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)[:LONGEST]


def _overrides(folder: Path) -> dict[str, str]:
    """Read a cell's overrides.yaml by key; without one, or with a strange one, none."""
    path = folder / "overrides.yaml"
    try:
        listed = read_yaml(path.read_text(), str(path))
    except (OSError, ValueError, UserError):
        return {}
    texts = [str(each).partition("=") for each in listed] if isinstance(listed, list) else []
    return {key.lstrip("+"): value for key, _, value in texts}
