"""`hideseek bundle`: a sweep as one file for a colleague or a paper's supplement, without images.

What goes in is named here, file by file; anything else in the folder (masks, caches, logs, W&B,
pictures) stays behind. Reading a bundle is `sheet.read_sheet`; it unpacks and runs nothing.
"""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import yaml  # type: ignore[import-untyped]
from rich.filesize import decimal

from hideseek.data.shards import temporary_path
from hideseek.errors import UserError
from hideseek.sweep.runs import read_done
from hideseek.sweep.sheet import FILE, Sheet, completed, read_sheet, sheet_text
from hideseek.sweep.trust import masked, without_secrets
from hideseek.sweep.untrusted import read_yaml

SWEEP_FILES = ("results.csv", "failures.csv", "comparison.csv")
CELL_FILES = (
    "config.yaml", "overrides.yaml", "provenance.json", "history.csv", "predictions.csv",
    "metrics.json", "done.json",
)  # fmt: skip
AUDIT = ("audit/*.json", "audit/*.csv")
WEIGHTS = "checkpoints/best.ckpt"
TOLD_APART = (".yaml", ".json", ".csv")
"""Files in which a person's home folder is hidden; but predictions.csv must keep its hash."""

SETTINGS = ("config.yaml", "overrides.yaml")

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of every file, so that the same sweep gives the same bundle."""


def read_options(words: Sequence[str]) -> tuple[Path | None, bool]:
    """Take apart what stands on the command line after the folder.

    Args:
        words: after the folder.

    Returns:
        `into` and `checkpoints` of `bundle`.

    Raises:
        UserError: an unknown word.
    """
    into, checkpoints = None, False
    for word in words:
        key, _, value = word.partition("=")
        if key == "into" and value:
            into = Path(value)
        elif key == "checkpoints" and value.lower() in ("true", "false"):
            checkpoints = value.lower() == "true"
        else:
            raise UserError(f"{word}: give into=FILE.zip or checkpoints=true")
    return into, checkpoints


def bundle(sweep: Path, into: Path | None = None, checkpoints: bool = False) -> Path:
    """Pack the finished cells of a sweep.

    Args:
        sweep: its folder.
        into: path of the bundle; by default the sweep's name in the current folder.
        checkpoints: whether to add each cell's best weights.

    Returns:
        The path of the bundle, written in one go.

    Raises:
        UserError: no sweep is there, or nothing of it is finished.
    """
    if not sweep.is_dir():
        raise UserError(f"{sweep}: is no folder of a sweep; name one, such as multirun/NAME")
    sweep = sweep.absolute()
    sheet = completed(read_sheet(sweep), sweep)
    finished = [cell.folder for cell in sheet.cells if read_done(sweep / cell.folder)]
    if not finished:
        raise UserError(f"{sweep}: no cell is finished; run the sweep first")
    into = Path(f"{sweep.name}.zip") if into is None else into
    if into.suffix.lower() != ".zip":
        raise UserError(f"into={into}: give a name that ends in .zip")
    paths = sorted(set(_members(sweep, finished, checkpoints)))
    try:
        _write(into, sweep, sheet, paths)
    except OSError as error:
        raise UserError(f"into={into}: {error.strerror}; give another place") from None
    size = decimal(into.stat().st_size)
    print(f"{into}: {len(finished)} cells, {len(paths) + 1} files, {size}")
    left = [cell.folder for cell in sheet.cells if cell.folder not in finished]
    if left:
        print(f"not finished and so without results: {', '.join(left)}")
    return into


def _write(into: Path, sweep: Path, sheet: Sheet, paths: Sequence[str]) -> None:
    into.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(into)
    home = str(Path.home())
    content = {FILE: sheet_text(_without_home(sheet, home)).encode()}
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in sorted([FILE, *paths]):
                _add(archive, sweep, name, content.get(name), home)
        temporary.replace(into)
    finally:
        temporary.unlink(missing_ok=True)


def hide_home(text: str, home: str) -> str:
    """Write "~" for a person's home folder.

    Args:
        text: any.
        home: absolute path.

    Returns:
        The text; a longer name that only begins like the home folder stays.
    """
    if len(home) < 2:
        return text
    found = re.compile(rf"(?<![\w.~-]){re.escape(home)}(?:/|(?![\w.-]))")
    # Never a lone "~", which YAML reads as null.
    return found.sub("~/", text)


def _members(sweep: Path, cells: Sequence[str], checkpoints: bool) -> Iterator[str]:
    wanted = [*SWEEP_FILES, *AUDIT]
    for cell in cells:
        names = (*CELL_FILES, *AUDIT, *([WEIGHTS] if checkpoints else []))
        wanted += [f"{cell}/{name}" for name in names]
    inside = sweep.resolve()
    for pattern in wanted:
        for path in sweep.glob(pattern) if "*" in pattern else [sweep / pattern]:
            # A link could lead to whatever the owner of the sweep can read.
            if path.is_file() and path.resolve().is_relative_to(inside):
                yield path.relative_to(sweep).as_posix()


def _add(
    archive: zipfile.ZipFile, sweep: Path, name: str, content: bytes | None, home: str
) -> None:
    info = zipfile.ZipInfo(f"{sweep.name}/{name}", EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.create_system, info.external_attr = 3, 0o100644 << 16
    path = sweep / name
    if content is None and path.suffix in TOLD_APART and path.name != "predictions.csv":
        text = path.read_text(encoding="utf-8", errors="replace")
        if path.name in SETTINGS:
            text = _without_secrets(text, name)
        content = hide_home(text, home).encode()
    source: BinaryIO = path.open("rb") if content is None else BytesIO(content)
    info.file_size = path.stat().st_size if content is None else len(content)
    with source, archive.open(info, "w") as target:
        shutil.copyfileobj(source, target)


def _without_secrets(text: str, name: str) -> str:
    """Hide secrets in a cell's settings as the sheet does."""
    content = read_yaml(text, name)
    if isinstance(content, list):
        content = [masked(str(override)) for override in content]
    return str(yaml.safe_dump(without_secrets(content), sort_keys=False, allow_unicode=True))


def _without_home(sheet: Sheet, home: str) -> Sheet:
    cells = tuple(replace(cell, overrides=_overrides(cell.overrides, home)) for cell in sheet.cells)
    return replace(
        sheet,
        overrides=_overrides(sheet.overrides, home),
        configuration=_hidden(sheet.configuration, home),
        cells=cells,
    )


def _overrides(overrides: Sequence[str], home: str) -> tuple[str, ...]:
    return tuple(hide_home(text, home) for text in overrides)


def _hidden(value: Any, home: str) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        return {key: _hidden(item, home) for key, item in value.items()}
    if isinstance(value, list):
        return [_hidden(item, home) for item in value]
    return hide_home(value, home) if isinstance(value, str) else value
