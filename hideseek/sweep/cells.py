"""The cells of a sweep: composed, named and spelled as commands before any of them runs."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.types import HydraContext
from omegaconf import DictConfig, open_dict

from hideseek.config import config_hash
from hideseek.errors import UserError

LONGEST_NAME = 100
NAMED = ("model", "roi", "seed")
OWN_SOURCES = ("hydra", "main", "schema")
"""Where every start finds configuration; what the command line adds has to be handed on."""


@dataclass(frozen=True)
class Cell:
    """One planned cell.

    Attributes:
        overrides: of this cell, as given to Hydra.
        config: composed from them.
        folder: where it writes.
        config_hash: what a finished cell in that folder has to show to be kept.
    """

    overrides: tuple[str, ...]
    config: DictConfig
    folder: Path
    config_hash: str


def plan(
    context: HydraContext, config: DictConfig, job_overrides: Sequence[Sequence[str]], first: int
) -> list[Cell]:
    """Compose every cell before any runs, so that a wrong name stops the sweep at once.

    Args:
        context: of Hydra.
        config: of the sweep.
        job_overrides: one list per cell.
        first: number of the first cell.

    Returns:
        The cells in order, each with a folder of its own; one that is asked for twice is the same
        cell twice.

    Raises:
        UserError: two different cells would share a folder.
    """
    cells: list[Cell] = []
    seen: dict[Path, Cell] = {}
    fixed = fixed_overrides(config.hydra.overrides.task)
    for number, overrides in enumerate(job_overrides, start=first):
        composed = context.config_loader.load_sweep_config(config, list(overrides))
        with open_dict(composed):
            composed.hydra.job.id = str(number)
            composed.hydra.job.num = number
        HydraConfig.instance().set_config(composed)
        name = cell_name(str(composed.hydra.sweep.subdir), overrides, fixed)
        folder = Path(str(composed.hydra.sweep.dir)) / name
        cell = Cell(tuple(overrides), composed, folder, config_hash(composed))
        twin = seen.setdefault(folder, cell)
        if twin.config_hash != cell.config_hash:
            raise UserError(
                f"{folder.name}: {' '.join(twin.overrides)} and {' '.join(cell.overrides)} would "
                "share this folder; name them differently"
            )
        cells.append(twin)
    return cells


def fixed_overrides(given: Sequence[str]) -> set[str]:
    """Spell what the command line sets for all cells as Hydra's sweepers hand it to each.

    Args:
        given: overrides of the command line, sweeps among them.

    Returns:
        Those that are no sweep.
    """
    parsed = OverridesParser.create().parse_overrides(list(given))
    return {
        f"{override.get_key_element()}={override.get_value_element_as_str()}"
        for override in parsed
        if not override.is_sweep_override()
    }


def cell_name(subdir: str, overrides: Sequence[str], fixed: Collection[str]) -> str:
    """Name a cell's folder: model-roi-sSEED, then whatever else the sweep varies.

    Args:
        subdir: model-roi-sSEED.
        overrides: of this cell.
        fixed: overrides that are the same in all cells, whatever a sweeper asks for later.

    Returns:
        A name of letters, digits, dot, underscore and hyphen, at most 100 characters long.
    """
    further = [
        item for item in overrides
        if item not in fixed and item.lstrip("+").partition("=")[0] not in NAMED
    ]  # fmt: skip
    parts = [subdir, *(item.replace("=", "_", 1) for item in further)]
    slug = "-".join(re.sub(r"[^A-Za-z0-9._-]+", "_", part).strip("_") for part in parts)
    # Two values that differ in other characters only must not share a folder.
    if len(slug) > LONGEST_NAME or slug != "-".join(parts):
        digest = hashlib.sha256("\n".join(overrides).encode()).hexdigest()[:8]
        slug = f"{slug[: LONGEST_NAME - 9]}-{digest}"
    return slug


def command(cell: Cell, config: DictConfig) -> list[str]:
    """Spell a cell as a single run.

    Args:
        cell: to run.
        config: of the sweep.

    Returns:
        Program and arguments; an absolute interpreter, and no `-m` of Hydra's.
    """
    given = [item for item in cell.overrides if not item.startswith(("sweep=", "hydra"))]
    fixed = {
        "sweep": str(config.sweep),
        "hydra.mode": "RUN",
        "hydra.run.dir": str(cell.folder),
        "hydra/job_logging": "swept",
    }
    further = [
        quoted(f"{source.schema}://{source.path}")
        for source in config.hydra.runtime.config_sources
        if source.provider not in OWN_SOURCES and source.path
    ]
    return [
        sys.executable, "-m", "hideseek", "train", *given,
        *(f"{key}={quoted(value)}" for key, value in fixed.items()),
        *([f"hydra.searchpath=[{','.join(further)}]"] if further else []),
    ]  # fmt: skip


def quoted(value: str) -> str:
    """Spell a text so that Hydra's grammar reads it back."""
    # Hydra reads a backslash as itself unless it stands before a quote.
    return QuotedString(value, Quote.single).with_quotes()
