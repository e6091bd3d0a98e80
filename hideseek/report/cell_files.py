"""What a report reads in the folders of finished cells, fit to be shown to strangers.

A sweep may come from somebody else and a report may go to anybody: settings are read as plain
values, secrets are left out, and of a path only the last name stays.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hideseek.audit.grid import CellPredictions
from hideseek.errors import UserError
from hideseek.report.evidence import Evidence
from hideseek.sweep.runs import read_done
from hideseek.sweep.trust import without_secrets
from hideseek.sweep.untrusted import read_yaml

LARGEST = 1_000_000
"""Bytes of a settings file; ours have about 4,000."""

SHOWN, SENTENCE = 300, 1000
"""Characters of a text that was read, and of a sentence."""

_NAME = r"[^\s/\\:;,'\"()<>]+"
_HOME = re.compile(r"[/\\](?:home|Users)[/\\][^/\\:'\"]+[/\\]")
"""Names of people may have spaces."""

_USER = re.compile(r"//[^/@\s]+@")
"""Name and password in an address."""

_PATH = re.compile(
    rf"(?<![\w.<~])(?:~[\w.-]*|[A-Za-z]:|\.{{1,2}})?(?=[/\\]+{_NAME})[/\\]+(?:{_NAME}[/\\]+)*({_NAME})?"
)


@dataclass(frozen=True)
class CellFiles:
    """A finished cell.

    Attributes:
        folder: its name.
        done: content of done.json.
        settings: content of config.yaml without secrets; empty where it cannot be read.
        provenance: content of provenance.json; empty where it cannot be read.
        problems: a sentence for each file that could not be read.
    """

    folder: str
    done: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def model(self) -> str:
        """Name of the network."""
        return str(self.done.get("model", ""))

    @property
    def representation(self) -> str:
        """What the network saw, named as in the audit."""
        return representation_name(self.done)

    @property
    def shuffled(self) -> bool:
        """Whether the training labels were shuffled, which the network's maps are set against."""
        return self.setting("datamodule.shuffle_labels") is True

    @property
    def seed(self) -> int:
        """Seed of the training."""
        return int(self.done.get("seed", 0))

    def setting(self, path: str) -> object:
        """Look up a setting such as "model.net.bn_mode"; None where there is none."""
        value: object = self.settings
        for name in path.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        return value


def read_cell(folder: Path) -> CellFiles:
    """Read a finished cell.

    Args:
        folder: of the cell.

    Returns:
        What can be read of it; what cannot is named in `problems`.
    """
    problems: list[str] = []
    settings = _mapping(folder / "config.yaml", problems)
    provenance = _mapping(folder / "provenance.json", problems)
    done = read_done(folder)
    return CellFiles(folder.name, done, settings, provenance, tuple(problems))


def in_order(evidence: Evidence) -> list[Path]:
    """Sort the folders of cells as results.csv has them; those that it lacks come last."""
    names = evidence.results["folder"] if "folder" in evidence.results.columns else ()
    place = {str(name): number for number, name in enumerate(names)}
    return sorted(evidence.cells, key=lambda each: (place.get(each.name, len(place)), each.name))


def representation_name(done: Mapping[str, Any]) -> str:
    """Name the representation of a done.json or a row of results.csv as the audit does."""
    margin = done.get("margin")
    known = isinstance(margin, int | float) and math.isfinite(margin)
    none: Any = None  # what the name does not depend on
    cell = CellPredictions(
        "", str(done.get("roi", "")), str(done.get("fill") or ""),
        float(margin) if known and margin is not None else 0.0, 0, "", none, none,
    )  # fmt: skip
    return cell.representation


def shown(value: object, longest: int = SHOWN) -> str:
    """Spell a value that was read for a report.

    Args:
        value: a plain value; of a path, the last name stays.
        longest: characters; more are cut off.

    Returns:
        A line of printable text.
    """
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(shown(item) for item in value)[:longest]
    text = "".join(sign if sign.isprintable() else " " for sign in str(value))
    return without_places(text)[:longest]


def without_places(text: str) -> str:
    """Shorten every path that starts at a root, a home or an upper folder to its last name."""
    return _PATH.sub(r"\1", _HOME.sub("/", _USER.sub("//", text)))


def _mapping(path: Path, problems: list[str]) -> Mapping[str, Any]:
    """Read a mapping from YAML or JSON, without secrets; empty with a problem where that fails."""
    name = f"{path.parent.name}/{path.name}"
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise UserError(f"{name}: larger than {LARGEST // 1_000_000} MB")
        text = content.decode()
        read = json.loads(text) if path.suffix == ".json" else read_yaml(text, name)
    except (OSError, ValueError, RecursionError, UserError):
        problems.append(f"{name} is not there or cannot be read, so what it says is missing here.")
        return {}
    if not isinstance(read, dict):
        problems.append(f"{name} is no file of settings, so what it says is missing here.")
        return {}
    found = without_secrets(read)
    assert isinstance(found, dict)
    return found


def file_name(kind: str, number: int, name: str) -> str:
    """Name the files of a table or picture: safe on every system, and unique by its number."""
    return f"{kind}_{number}_{re.sub(r'[^A-Za-z0-9]+', '_', name)[:40].strip('_')}".rstrip("_")
