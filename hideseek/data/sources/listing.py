"""What every reader of a public source shares: its table, its files, its answer.

A reader turns one folder, laid out as its source ships it, into the rows of a manifest. It decides
nothing about pixels and leaves out nothing that later steps can judge: lateral views, CT slices and
rows without a class stay in, marked by `view`, `modality` and an empty `label`.
"""

from __future__ import annotations

import csv
import io
import os
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import polars as pl

from hideseek.data.problems import Problem, Severity
from hideseek.errors import UserError

COLUMNS = ("path", "label", "source", "patient_id", "split", "view", "modality", "mask", "finding")
"""The columns a listing always has, text; a reader adds what its source knows (age, sex ...)."""

MANY = 1000
"""Absent or unlisted files of one table above which one finding counts them all."""

END = "\0end of table"
"""A last row of `read_rows` alone: where it is not one of its own, a quote is still open."""

SHOWN = 300
"""Characters of a table's header that an error message shows."""

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".dcm")


@dataclass
class Listing:
    """What a reader found.

    Attributes:
        rows: text columns, `COLUMNS` first; `path` and `mask` relative to the data root with
            forward slashes; empty text where nothing is known.
        problems: findings about rows and files, in order.
    """

    rows: pl.DataFrame
    problems: list[Problem] = field(default_factory=list)


def listing(rows: Sequence[dict[str, str]], problems: Iterable[Problem] = ()) -> Listing:
    """Lay rows out as a listing: missing columns are empty, the readers' own follow in order."""
    extra = dict.fromkeys(name for row in rows for name in row if name not in COLUMNS)
    names = (*COLUMNS, *extra)
    table = {name: [row.get(name, "") for row in rows] for name in names}
    return Listing(pl.DataFrame(table, schema=dict.fromkeys(names, pl.String)), list(problems))


def source_folder(root: Path, folder: str, marker: str, expected: str) -> str:
    """Find the folder of a source: `root/folder`, or `root` itself.

    Args:
        root: the data root.
        folder: the name that the source's own repository or archive has.
        marker: a file or folder, relative to the source's folder, that must be there.
        expected: what the layout looks like, for the error message.

    Returns:
        The folder relative to `root`, "" where it is `root` itself.

    Raises:
        UserError: neither holds the marker, and the message says what was expected and what is
            there; or `folder` leaves the root.
    """
    pure = PurePosixPath(folder)
    if pure.is_absolute() or ".." in pure.parts or "\0" in folder:
        raise UserError(f"folder={folder!r} leaves the data root; give a path relative to it")
    for place in dict.fromkeys((folder, "")):
        if (root / place / marker).exists():
            return place
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; data.raw names the folder of the raw data")
    looked = root / folder if (root / folder).is_dir() else root
    entries = sorted(entry.name + "/" * entry.is_dir() for entry in looked.iterdir())
    seen = ", ".join(entries[:8]) + (f" and {len(entries) - 8} more" if len(entries) > 8 else "")
    raise UserError(f"{looked}: expected {expected}; saw {seen or 'an empty folder'}")


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read a source's CSV as text, whatever its encoding.

    UTF-8 (with or without byte order mark) is tried first, then Windows-1252, which decodes
    anything. Names and values are stripped, and line breaks in them become blanks; rows may be
    shorter or longer than the header; rows without any value are skipped; a column without a name
    is dropped; of two columns with one name the first counts.

    Raises:
        UserError: the file is absent, empty or no table, or a quote in it is never closed.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    try:
        cells = list(csv.reader(io.StringIO(f"{text}\n{END}", newline="")))
    except csv.Error as error:
        raise UserError(f"{path}: not a CSV table ({error})") from None
    if cells.pop() != [END]:  # rows swallowed without a word, otherwise
        raise UserError(f"{path}: not a CSV table (a quote is never closed)")
    clean = [[" ".join(cell.splitlines()).strip() for cell in row] for row in cells]
    header, *body = [row for row in clean if any(row)] or [[]]
    if not header:
        raise UserError(f"{path}: not a CSV table (it is empty)")
    places: dict[str, int] = {}
    for at, name in enumerate(header):
        if name:
            places.setdefault(name, at)
    return [{name: row[at] if at < len(row) else "" for name, at in places.items()} for row in body]


def column(rows: Sequence[dict[str, str]], names: Sequence[str], path: Path) -> str:
    """Choose the column that a version of a source has, ignoring case, blanks and underscores.

    Args:
        rows: as `read_rows` returns them.
        names: spellings, the preferred first.
        path: of the table, for the error message.

    Returns:
        The column's name as the table spells it.

    Raises:
        UserError: there is none.
    """
    present = {_bare(name): name for name in reversed(list(rows[0] if rows else ()))}
    for name in names:
        if _bare(name) in present:
            return present[_bare(name)]
    seen = textwrap.shorten(", ".join(rows[0]), SHOWN, placeholder=" ...") if rows else "no rows"
    raise UserError(f"{path}: no column '{names[0]}'; it has {seen}")


def optional(rows: Sequence[dict[str, str]], name: str) -> str:
    """Find a column as `column` does; "" where there is none."""
    present = {_bare(each): each for each in reversed(list(rows[0] if rows else ()))}
    return present.get(_bare(name), "")


def spellings(rows: Sequence[dict[str, str]], names: Sequence[str]) -> dict[str, str]:
    """Map those of `names` that a table has to the table's own spelling of them."""
    return {name: spelled for name in names if (spelled := optional(rows, name))}


def _bare(name: str) -> str:
    return name.lower().replace("_", "").replace(" ", "")


class FileIndex:
    """The files below a folder, found by the names that a source's table gives them.

    Only what was seen on disk is ever returned, so a table cannot name a file outside the folder.
    """

    def __init__(self, root: Path, folder: str, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> None:
        """List the files of `root/folder`, links followed, with one of the suffixes (any case)."""
        self.files: list[str] = []
        visited: set[str] = set()
        for place, folders, names in os.walk(root / folder, followlinks=True):
            if os.path.realpath(place) in visited:  # a link back to a folder above
                folders.clear()
                continue
            visited.add(os.path.realpath(place))
            folders.sort()
            inside = Path(place).relative_to(root).as_posix()
            self.files += [
                name if inside == "." else f"{inside}/{name}"
                for name in sorted(names)
                if name.lower().endswith(tuple(suffixes))
            ]
        self._exact: dict[str, str] = {}
        self._lower: dict[str, list[str]] = {}
        self._stem: dict[str, list[str]] = {}
        for file in self.files:
            pure = PurePosixPath(file)
            self._exact.setdefault(pure.name, file)
            self._lower.setdefault(pure.name.lower(), []).append(file)
            self._stem.setdefault(_stem(pure.name), []).append(file)

    def find(self, name: str) -> str | None:
        """Find a file by its name: exactly, or as the only one in another case or extension.

        Args:
            name: file name without folders, with or without extension.

        Returns:
            The path relative to the root, or None.
        """
        if name in self._exact:
            return self._exact[name]
        alike = self._lower.get(name.lower()) or self._stem.get(_stem(name), [])
        return alike[0] if len(alike) == 1 else None


class Matcher:
    """Joins the rows of a source's table to its files, and reports what does not fit.

    Attributes:
        problems: findings so far.
    """

    def __init__(self, index: FileIndex, table: str) -> None:
        """Take the files and the table's path, which findings name."""
        self.index, self.table = index, table
        self.problems: list[Problem] = []
        self._absent: list[str] = []
        self._rows: dict[str, dict[str, str]] = {}
        self._conflicts: set[str] = set()

    def add(self, name: str, row: dict[str, str]) -> None:
        """Take one row of the table: the file that it names, and its columns but for `path`."""
        self.add_file(self.index.find(name), name, row)

    def add_file(self, path: str | None, name: str, row: dict[str, str]) -> None:
        """Take one row whose file was found elsewhere, or not at all; see `add`."""
        if path is None:
            self._absent.append(name)
            return
        if PurePosixPath(path).name != name and PurePosixPath(path).stem != name:
            reason = f"listed as '{name}'"
            self.problems.append(Problem(path, "other_extension", "info", reason, "taken"))
        if path not in self._rows:
            self._rows[path] = {"path": path, **row}
            return
        known = self._rows[path]
        if known["label"] == row["label"]:
            same = known == {"path": path, **row}
            reason = "listed again, " + ("alike" if same else "with other columns")
            self.problems.append(Problem(path, "duplicate_row", "info", reason, "first kept"))
        elif path not in self._conflicts:
            reason = f"listed as '{known['finding']}' and as '{row['finding']}'"
            self.problems.append(Problem(path, "label_conflict", "error", reason, "left out"))
            self._conflicts.add(path)

    def listing(self, expected: str) -> Listing:
        """Finish: report absent files and files that no row names.

        Args:
            expected: where the images were looked for, for the error message.

        Raises:
            UserError: not one listed file is there.
        """
        if not self._rows:
            first = f"; the first is named '{self._absent[0]}'" if self._absent else ""
            raise UserError(
                f"{self.table}: none of its {len(self._absent)} images is in {expected}, "
                f"which holds {len(self.index.files)} images{first}"
            )
        unlisted = [file for file in self.index.files if file not in self._rows]
        self._report(self._absent, "listed_absent", "warning", f"listed in {self.table}")
        self._report(unlisted, "unlisted", "info", f"not in {self.table}")
        rows = [row for path, row in self._rows.items() if path not in self._conflicts]
        return listing(rows, self.problems)

    def _report(self, files: Sequence[str], kind: str, severity: Severity, reason: str) -> None:
        """Add a finding for each file, or one with their number where they are many."""
        if len(files) > MANY:
            counted = f"{len(files)} files {reason}, '{files[0]}' first"
            self.problems.append(Problem(self.table, kind, severity, counted, "left out"))
        else:
            self.problems += [Problem(file, kind, severity, reason, "left out") for file in files]


def _stem(name: str) -> str:
    lower = name.lower()
    suffix = PurePosixPath(lower).suffix
    return lower.removesuffix(suffix) if suffix in IMAGE_SUFFIXES else lower
