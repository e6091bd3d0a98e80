"""COVID-19 Radiography Database (Kaggle): a folder per class, and `CLASS.metadata.xlsx` beside it.

One of the readers between raw data and the manifest. The layout changed from version to version:
images lie in the class folder or in `images/` below it, `masks/` came later, and the same image is
"COVID-19 (12).png" on disk and "COVID-19(12)" in the workbook, or "NORMAL-1" and "NORMAL (1)".
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import openpyxl

from hideseek.data.problems import Problem
from hideseek.data.sources.labels import COVID19, NORMAL, PNEUMONIA
from hideseek.data.sources.listing import (
    IMAGE_SUFFIXES,
    MANY,
    FileIndex,
    Listing,
    column,
    listing,
    source_folder,
)
from hideseek.errors import UserError

LABELS = {
    "covid-19": COVID19,
    "covid": COVID19,
    "normal": NORMAL,
    "viral pneumonia": PNEUMONIA,
    "lung opacity": "",
}
EXPECTED = "folders COVID-19 (or COVID), NORMAL and Viral Pneumonia with images"
LARGEST_TABLE = 20_000_000
"""Bytes; a workbook that unpacks to more is refused. The real ones unpack to 0.3 MB."""

MOST_ROWS, MOST_COLUMNS = 100_000, 32
"""A few bytes can claim a million rows of 16,384 cells, which openpyxl would all make."""

Key = tuple[str, ...]


def read(root: Path, folder: str = "COVID-19-Radiography-Database") -> Listing:
    """List the images of the class folders.

    Args:
        root: the data root.
        folder: of the archive, relative to the root; the root itself is tried as well.

    Returns:
        Every image in a class folder, its own patient (the source names none); `url` from the
        workbook where it has the name. "Lung_Opacity" has no label. The folders alone give the
        labels, so a workbook that cannot be read is a finding and no reason to stop.

    Raises:
        UserError: no image in a class folder, or `folder` leaves the root.
    """
    place = source_folder(root, folder, ".", EXPECTED)
    files = [PurePosixPath(file) for file in FileIndex(root, place).files]
    masks = {
        (file.parent.parent, file.stem): file.as_posix()
        for file in files
        if file.parent.name.lower() == "masks"
    }
    names, urls, problems = _tables(root, place)
    rows: list[dict[str, str]] = []
    for file in files:
        below = file.parent.parent if file.parent.name.lower() == "images" else file.parent
        label = LABELS.get(below.name.lower().replace("_", " "))
        if below.parent != PurePosixPath(place) or label is None:
            if file.parent.name.lower() != "masks":
                reason = "in no folder of a class"
                problems.append(Problem(file.as_posix(), "unlisted", "info", reason, "left out"))
            continue
        rows.append(
            {
                "path": file.as_posix(),
                "label": label,
                "source": "radiography",
                "patient_id": f"radiography_{file.stem}",
                "mask": masks.get((below, file.stem), ""),
                "finding": below.name,
                "url": urls.get(_key(file.name), ""),
            }
        )
    if not rows:
        entries = sorted(entry.name for entry in (root / place).iterdir())[:8]
        seen = ", ".join(entries) or "an empty folder"
        raise UserError(f"{root / place}: expected {EXPECTED}; saw {seen}")
    return listing(rows, [*problems, *_unmatched(names, rows)])


def read_workbook(path: Path) -> list[dict[str, str]]:
    """Read the first sheet of an untrusted workbook, a zip file with XML, as text.

    Returns:
        A row each, by the names in the first; rows without a value are left out.

    Raises:
        UserError: it is damaged, or unpacks to or claims more than a table of names can hold.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > LARGEST_TABLE:
            raise UserError(f"{path}: unpacks to {size} bytes; no table of names is that large")
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        try:
            return _sheet(book.worksheets[0].iter_rows(
                max_row=MOST_ROWS + 1, max_col=MOST_COLUMNS, values_only=True), path)  # fmt: skip
        finally:
            book.close()
    except UserError:
        raise
    except Exception as error:
        # openpyxl raises anything from KeyError to zlib.error on damaged workbooks.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: not a readable workbook ({reason[:200]})") from None


def _sheet(cells: Iterable[tuple[object, ...]], path: Path) -> list[dict[str, str]]:
    header: list[str] = []
    rows = []
    for number, values in enumerate(cells):
        if number >= MOST_ROWS:
            raise UserError(f"{path}: more than {MOST_ROWS} rows; no table of names is that large")
        row = [" ".join(str("" if value is None else value).split()) for value in values]
        if header and any(row):
            rows.append({name: cell for name, cell in zip(header, row, strict=False) if name})
        header = header or (row if any(row) else [])
    return rows


def _tables(
    root: Path, place: str
) -> tuple[dict[Key, tuple[str, str]], dict[Key, str], list[Problem]]:
    """Read the workbooks: which names stand in which, and their URLs."""
    names: dict[Key, tuple[str, str]] = {}
    urls: dict[Key, str] = {}
    problems = []
    for path in sorted((root / place).glob("*.metadata.xlsx")):
        table = PurePosixPath(place, path.name).as_posix()
        try:
            rows = read_workbook(path)
            name, url = (column(rows, (each,), path) for each in ("FILE NAME", "URL"))
        except UserError as error:
            problems.append(Problem(table, "table", "warning", str(error), "left out"))
            continue
        for row in rows:
            key = _key(row.get(name, ""))
            if key in names:
                reason = f"'{row[name]}' is listed again"
                problems.append(Problem(table, "duplicate_row", "info", reason, "first kept"))
            elif key:
                names[key] = (row[name], table)
                urls[key] = row.get(url, "")
    return names, urls, problems


def _unmatched(names: dict[Key, tuple[str, str]], rows: list[dict[str, str]]) -> list[Problem]:
    """Compare the workbooks' names to the images, both ways."""
    there = {_key(PurePosixPath(row["path"]).name): row["path"] for row in rows}
    absent: dict[str, list[str]] = {}
    for key, (name, table) in names.items():
        if key not in there:
            absent.setdefault(table, []).append(name)
    problems = []
    for table, missing in absent.items():
        if len(missing) > MANY:
            reason = f"{len(missing)} listed files are not there, '{missing[0]}' first"
            problems.append(Problem(table, "listed_absent", "warning", reason, "left out"))
            continue
        problems += [
            Problem(name, "listed_absent", "warning", f"listed in {table}", "left out")
            for name in missing
        ]
    if names:
        problems += [
            Problem(path, "unlisted", "info", "in no workbook", "kept, with its folder's class")
            for key, path in there.items()
            if key not in names
        ]
    return problems


def _key(name: str) -> Key:
    """Reduce a name to its words and numbers, so that blanks, brackets and hyphens do not count."""
    stem = name.rsplit(".", 1)[0] if name.lower().endswith(IMAGE_SUFFIXES) else name
    return tuple(re.findall(r"[a-z]+|\d+", stem.lower()))
