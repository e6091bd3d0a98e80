"""The manifest: one table row per image, checked before any pixel is read.

A user's CSV becomes the canonical table that every later step works from; nothing downstream looks
at folders.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from hideseek.data.problems import Problem
from hideseek.data.sources.listing import Listing
from hideseek.errors import UserError

COLUMNS = ("image_id", "path", "label", "source", "patient_id", "split", "view", "mask")
"""The columns a row always has; any others of the user's file are kept behind them."""

SPLITS = ("train", "val", "test")


def read_manifest(path: Path, task: str, classes: Sequence[str]) -> Listing:
    """Read a manifest and keep the rows that a task can use.

    Classification uses rows with a label, segmentation rows with a mask. `image` is accepted for
    `path`; `image_id` defaults to the path, `source` to "unknown" and `patient_id` to the image
    itself (each image its own patient), where a column is absent as where a value is blank.

    Args:
        path: a CSV file with a header.
        task: "classify" or "segment".
        classes: the labels in the order of their numbers.

    Returns:
        Text columns, those of `COLUMNS` first; empty text where nothing is known. What is left out
        is among the problems, a line for each source and finding.

    Raises:
        UserError: the file is absent, is no CSV, lacks a column, has no usable row, names an image
            twice, has an unknown label or split, or a path that leaves the data root.
    """
    table = read_text_columns(path)
    if "path" not in table.columns and "image" in table.columns:
        table = table.rename({"image": "path"})
    if "path" not in table.columns:
        raise UserError(f"{path}: no column 'path' (or 'image'); it has {', '.join(table.columns)}")
    key = "label" if task == "classify" else "mask"
    if key not in table.columns:
        raise UserError(f"{path}: no column '{key}', which the task '{task}' needs")
    table = _with_defaults(table)
    problems = _left_out(table.filter(pl.col(key) == ""), key)
    table = table.filter(pl.col(key) != "")
    if table.is_empty():
        raise UserError(f"{path}: no row has a {key}, so there is nothing to {task}")
    _check(table, path, classes if task == "classify" else None)
    extra = [name for name in table.columns if name not in COLUMNS]
    return Listing(table.select(*COLUMNS, *extra), problems)


def _left_out(table: pl.DataFrame, key: str) -> list[Problem]:
    by = [name for name in ("source", "finding") if name in table.columns]
    counts = table.group_by(by).len().sort(by)
    problems = []
    for row in counts.iter_rows(named=True):
        finding = f" of finding '{row['finding']}'" if row.get("finding") else ""
        reason = f"{row['len']} images{finding} without a {key}"
        problems.append(Problem(row["source"], f"no_{key}", "info", reason, "left out"))
    return problems


def with_splits(table: pl.DataFrame, path: Path, task: str) -> pl.DataFrame:
    """Take the split of each image from a second file.

    Args:
        table: as `read_manifest` returns it.
        path: a CSV file with `path`, `image` or `image_id`, `split`, and, if it serves several
            tasks, `task`.
        task: "classify" or "segment".

    Returns:
        The table with `split` filled; empty for images that the file does not name.

    Raises:
        UserError: the file is absent, lacks a column, names an image twice, or names no image of
            the table.
    """
    given = read_text_columns(path)
    key = next((name for name in ("image_id", "path", "image") if name in given.columns), None)
    if key is None or "split" not in given.columns:
        raise UserError(f"{path}: needs the columns 'split' and 'image_id', 'path' or 'image'")
    if "task" in given.columns:
        given = given.filter(pl.col("task") == task)
    on = "image_id" if key == "image_id" else "path"
    given = given.select(pl.col(key).alias(on), "split")
    if given.get_column(on).is_duplicated().any():
        twice = given.filter(given.get_column(on).is_duplicated()).item(0, on)
        raise UserError(f"{path}: '{twice}' is given a split twice")
    joined = table.drop("split").join(given, on=on, how="left", maintain_order="left")
    joined = joined.with_columns(pl.col("split").fill_null("")).select(table.columns)
    if (joined.get_column("split") == "").all():
        raise UserError(f"{path}: names none of the manifest's images")
    _check_values(joined, path, "split", SPLITS)
    return joined


def table_hash(table: pl.DataFrame) -> str:
    """Hash the content of a table, rows in order.

    Args:
        table: text columns.

    Returns:
        64 hexadecimal digits (SHA-256).
    """
    return hashlib.sha256(table.write_csv().encode()).hexdigest()


def files_state(table: pl.DataFrame, root: Path) -> str:
    """Hash which files these are, here and now: folder, names, sizes and times of change.

    For what is kept on this machine alone; `files_hash` is the same on every machine.
    """
    state = hashlib.sha256(str(root.resolve()).encode())
    for name in (*table.get_column("path"), *table.get_column("mask")):
        try:
            known = (root / name).stat() if name else None
        except (OSError, ValueError):
            known = None
        text = "" if known is None else f"{known.st_size} {known.st_mtime_ns}"
        state.update(f"{name}\0{text}\n".encode())
    return state.hexdigest()


def files_hash(table: pl.DataFrame, root: Path) -> str:
    """Hash which files are there and how large, so that a replaced or added file is noticed.

    Sizes and not contents: 14,000 images are read in minutes, and asked for their size in a second.

    Args:
        table: canonical rows.
        root: folder that their paths are relative to.

    Returns:
        64 hexadecimal digits (SHA-256), the same on every machine with the same files.
    """
    sizes = hashlib.sha256()
    for name in (*table.get_column("path"), *table.get_column("mask")):
        try:
            size = (root / name).stat().st_size if name else 0
        except (OSError, ValueError):
            size = -1
        sizes.update(f"{name}\0{size}\n".encode())
    return sizes.hexdigest()


def read_text_columns(path: Path) -> pl.DataFrame:
    """Read a CSV file as text: names and values stripped, "" for what is missing.

    Raises:
        UserError: the file is absent or no UTF-8 CSV.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; give a CSV with one row per image")
    try:
        table = pl.read_csv(path, infer_schema=False, encoding="utf8", glob=False)
        table = table.rename({name: name.strip() for name in table.columns})
    except pl.exceptions.PolarsError as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "unreadable"
        raise UserError(f"{path}: not a UTF-8 CSV file ({reason})") from None
    return table.with_columns(pl.all().fill_null("").str.strip_chars())


def _with_defaults(table: pl.DataFrame) -> pl.DataFrame:
    defaults = {
        "image_id": pl.col("path"),
        "source": pl.lit("unknown"),
        "patient_id": pl.col("path"),
        "label": pl.lit(""),
        "split": pl.lit(""),
        "view": pl.lit(""),
        "mask": pl.lit(""),
    }
    absent = [pl.lit("").alias(name) for name in defaults if name not in table.columns]
    return table.with_columns(absent).with_columns(
        pl.when(pl.col(name) == "").then(value).otherwise(pl.col(name)).alias(name)
        for name, value in defaults.items()
    )


def _check(table: pl.DataFrame, path: Path, classes: Sequence[str] | None) -> None:
    if (table.get_column("path") == "").any():
        raise UserError(f"{path}: a row has no path; give each image its file")
    for column in ("path", "image_id"):
        repeated = table.filter(table.get_column(column).is_duplicated())
        if not repeated.is_empty():
            raise UserError(f"{path}: '{repeated.item(0, column)}' stands there twice ({column})")
    for column in ("path", "mask"):
        for value in table.get_column(column):
            if posixpath.isabs(value) or ".." in value.split("/"):
                raise UserError(f"{path}: '{value}' leaves the data root; paths are relative to it")
    if classes is not None:
        _check_values(table, path, "label", classes)
    _check_values(table, path, "split", (*SPLITS, ""))


def _check_values(table: pl.DataFrame, path: Path, column: str, allowed: Sequence[str]) -> None:
    allowed = (*allowed, "") if column == "split" else tuple(allowed)
    wrong = table.filter(~pl.col(column).is_in(allowed))
    if not wrong.is_empty():
        known = ", ".join(value for value in allowed if value)
        raise UserError(
            f"{path}: {column} '{wrong.item(0, column)}' of '{wrong.item(0, 'image_id')}' "
            f"is unknown; known are {known}"
        )
