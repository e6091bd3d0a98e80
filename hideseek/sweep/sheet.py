"""The file sweep.yaml: what a sweep was and what came out, enough to run it again elsewhere.

Written at the start and at the end of every launch; read back from a sweep's folder, a file or a
bundle as untrusted input, because it is what collaborators send each other.
"""

from __future__ import annotations

import datetime
import hashlib
import lzma
import math
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from omegaconf import DictConfig

from hideseek import __version__
from hideseek.config import PLACE_KEYS, config_folder, plain
from hideseek.errors import UserError
from hideseek.record import PACKAGES, git_revision
from hideseek.sweep.cells import Cell
from hideseek.sweep.runs import CELL, cell_results, read_done
from hideseek.sweep.trust import masked, without_secrets
from hideseek.sweep.untrusted import Fields, check_plain, read_yaml, shown

FORMAT = 1
FILE = "sweep.yaml"
LARGEST = 10_000_000
"""Bytes that are read of a file; a thousand cells take one million."""

NO_METRICS = (*CELL, "epochs", "seconds", "fill", "margin", "data", "folder")
OUTCOME = ("manifest_hash", "recipe_hash", "segmenter_hash", "predictions_sha256")
_FOLDER = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,119}")
_NAMED = re.compile(r"([^/]+/)?sweep\.yaml")


@dataclass(frozen=True)
class Outcome:
    """What came out of a finished cell.

    Attributes:
        manifest_hash: of the rows of its data.
        recipe_hash: of its cache.
        segmenter_hash: of the weights that made missing masks.
        predictions_sha256: of predictions.csv.
        score: of the chosen epoch on the validation set, None where undefined.
        metrics: as in results.csv, None where undefined.
    """

    manifest_hash: str
    recipe_hash: str
    segmenter_hash: str
    predictions_sha256: str
    score: float | None
    metrics: Mapping[str, float | None]


@dataclass(frozen=True)
class SheetCell:
    """One cell of a sheet.

    Attributes:
        folder: name of its folder.
        overrides: all that were given to Hydra for it.
        config_hash: of its settings.
        outcome: None where it is not finished.
    """

    folder: str
    overrides: tuple[str, ...]
    config_hash: str
    outcome: Outcome | None = None


@dataclass(frozen=True)
class Sheet:
    """What a sweep.yaml says.

    Attributes:
        name: of the sweep.
        written: when, ISO 8601 in UTC.
        version: of hideseek.
        git: `git describe` of the code, None outside a checkout.
        code_hash: see `code_hash`.
        packages: versions of those that decide numbers.
        overrides: of the sweep, as typed.
        configuration: resolved settings that all cells share.
        cells: in the order of the last launch, then those of earlier ones.
    """

    name: str
    written: str
    version: str
    git: str | None
    code_hash: str
    packages: Mapping[str, str]
    overrides: tuple[str, ...]
    configuration: Mapping[str, Any]
    cells: tuple[SheetCell, ...]


def code_hash() -> str:
    """Hash the package's own code and configuration files: 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for root, pattern in ((Path(__file__).parents[1], "*.py"), (config_folder(), "*.yaml")):
        for path in sorted(root.rglob(pattern), key=lambda path: path.relative_to(root).as_posix()):
            content = path.read_bytes()
            digest.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode())
            digest.update(content)
    return digest.hexdigest()[:16]


def write_sheet(sweep: Path, config: DictConfig, cells: Sequence[Cell]) -> None:
    """Write sweep.yaml in one go, with the results of the cells that are finished by now.

    Cells of an earlier launch of the same sweep stay in it; a damaged or foreign file is replaced.

    Args:
        sweep: folder of the sweep.
        config: of the sweep.
        cells: of this launch.
    """
    now = [
        SheetCell(cell.folder.name, tuple(map(masked, cell.overrides)), cell.config_hash)
        for cell in cells
    ]
    shared: list[Any] = [
        without_secrets(plain(cell.config, (*PLACE_KEYS, "datamodule"))) for cell in cells
    ]
    names = {cell.folder for cell in now}
    try:
        before = read_sheet(sweep / FILE)
        earlier = [cell for cell in before.cells if cell.folder not in names]
    except UserError:
        before, earlier = None, []
    if before is not None and before.name == str(config.sweep) and earlier:
        # In the order in which they came, as an adaptive sweeper asks for one after the other.
        now = list({cell.folder: cell for cell in (*before.cells, *now)}.values())
        shared.append(before.configuration)
    sheet = Sheet(
        name=str(config.sweep),
        written=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        version=__version__,
        git=git_revision(),
        code_hash=code_hash(),
        packages={name: version(name) for name in PACKAGES},
        overrides=tuple(map(masked, config.hydra.overrides.task)),
        configuration=_common(shared) if shared else {},
        cells=tuple(now),
    )
    temporary = sweep / f".{FILE}"
    temporary.write_text(sheet_text(completed(sheet, sweep)), encoding="utf-8")
    temporary.replace(sweep / FILE)


def completed(sheet: Sheet, sweep: Path) -> Sheet:
    """Add the outcome of cells that have finished since a sheet was written.

    Args:
        sheet: of the sweep.
        sweep: its folder.

    Returns:
        A sheet with the outcome of every finished cell whose settings are those of the sheet.
    """
    cells = (
        cell if cell.outcome else replace(cell, outcome=_outcome(sweep / cell.folder, cell))
        for cell in sheet.cells
    )
    return replace(sheet, cells=tuple(cells))


def sheet_text(sheet: Sheet) -> str:
    """Spell a sheet as the text of a sweep.yaml."""
    content = {
        "format": FORMAT,
        "name": sheet.name,
        "written": sheet.written,
        "version": sheet.version,
        "code": {"git": sheet.git, "hash": sheet.code_hash},
        "packages": dict(sheet.packages),
        "overrides": list(sheet.overrides),
        "configuration": dict(sheet.configuration),
        "cells": [_cell_content(cell) for cell in sheet.cells],
    }
    return str(yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100))


def read_sheet(path: Path) -> Sheet:
    """Read a sheet that anybody may have written; nothing of it is run.

    Args:
        path: of a sweep.yaml, the folder of a sweep, or a bundle.

    Returns:
        The sheet, every field of the type that it has to be.

    Raises:
        UserError: naming the file and the field that is wrong.
    """
    where = path / FILE if path.is_dir() else path
    try:
        if where.suffix.lower() == ".zip":
            content = _from_bundle(where)
        else:
            with where.open("rb") as file:
                content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise UserError(f"{where}: the sheet has more than {LARGEST // 1_000_000} MB")
        text = content.decode("utf-8")
    except FileNotFoundError:
        raise UserError(f"{where}: no such file; give a sweep.yaml, a sweep's folder or a bundle") \
            from None  # fmt: skip
    except (OSError, EOFError, ValueError, RuntimeError, NotImplementedError,
            zipfile.BadZipFile, zlib.error, lzma.LZMAError) as error:  # fmt: skip
        reason = shown(str(error).partition("\n")[0] or type(error).__name__)
        raise UserError(f"{where}: cannot be read ({reason})") from None
    return _sheet(Fields(read_yaml(text, str(where)), str(where)))


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    def ignore_aliases(self, data: object) -> bool:
        return True


def _from_bundle(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        found = [info for info in archive.infolist() if _NAMED.fullmatch(info.filename)]
        if len(found) != 1:
            raise UserError(f"{path}: not a bundle of hideseek ({len(found)} files named {FILE})")
        with archive.open(found[0]) as file:
            # What the archive says of sizes may be a lie; this reads no more than asked for.
            return file.read(LARGEST + 1)


def _outcome(folder: Path, cell: SheetCell) -> Outcome | None:
    done = read_done(folder)
    if done.get("config_hash") != cell.config_hash:
        return None
    try:
        results = cell_results(folder)
        digest = hashlib.sha256((folder / "predictions.csv").read_bytes()).hexdigest()
    except (UserError, OSError):
        return None
    hashes = {name: str(done.get(name, "")) for name in OUTCOME}
    metrics = {name: _number(results[name]) for name in results if name not in NO_METRICS}
    score = _number(done.get("score"))
    return Outcome(**{**hashes, "predictions_sha256": digest}, score=score, metrics=metrics)


def _number(value: Any) -> float | None:  # noqa: ANN401
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def _common(values: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Reduce settings to the keys and values that all of them have."""
    first, *others = values
    common: dict[str, Any] = {}
    for key, value in first.items():
        if not all(key in other for other in others):
            continue
        same = [other[key] for other in others]
        if isinstance(value, Mapping) and all(isinstance(item, Mapping) for item in same):
            below = _common([value, *same])
            if below or not value:
                common[key] = below
        elif all(item == value for item in same):
            common[key] = value
    return common


def _cell_content(cell: SheetCell) -> dict[str, Any]:
    content: dict[str, Any] = {
        "folder": cell.folder,
        "overrides": list(cell.overrides),
        "config_hash": cell.config_hash,
    }
    if cell.outcome is not None:
        content |= {name: getattr(cell.outcome, name) for name in OUTCOME}
        content |= {"score": cell.outcome.score, "metrics": dict(cell.outcome.metrics)}
    return content


def _sheet(fields: Fields) -> Sheet:
    if fields.content.get("format") != FORMAT:
        found = shown(str(fields.content.get("format")))
        raise UserError(
            f"{fields.where}: the field 'format' is {found}, this version reads {FORMAT}; "
            "update hideseek, or make the file anew by running the sweep again"
        )
    code, packages = fields.below("code"), fields.below("packages")
    listed = fields.content.get("cells")
    if not isinstance(listed, list):
        raise fields.wrong("cells", "a list")
    cells = tuple(
        _cell(Fields(item, f"{fields.where}: cells[{number}]"))
        for number, item in enumerate(listed)
    )
    folders = [cell.folder.lower() for cell in cells]
    if len(set(folders)) < len(folders):
        raise UserError(f"{fields.where}: the field 'cells' names a folder twice")
    configuration = fields.below("configuration")
    check_plain(configuration.content, configuration.where)
    return Sheet(
        name=fields.text("name"),
        written=fields.text("written"),
        version=fields.text("version"),
        git=None if code.content.get("git") is None else code.text("git"),
        code_hash=code.text("hash"),
        packages={name: packages.text(name) for name in packages.names()},
        overrides=fields.texts("overrides"),
        configuration=configuration.content,
        cells=cells,
    )


def _cell(fields: Fields) -> SheetCell:
    if not _FOLDER.fullmatch(folder := fields.text("folder")):
        raise fields.wrong("folder", "the name of a folder")
    outcome = None
    if "predictions_sha256" in fields:
        metrics = fields.below("metrics")
        outcome = Outcome(
            **{name: fields.text(name) for name in OUTCOME},
            score=fields.number("score"),
            metrics={name: metrics.number(name) for name in metrics.names()},
        )
    return SheetCell(folder, fields.texts("overrides"), fields.text("config_hash"), outcome)
