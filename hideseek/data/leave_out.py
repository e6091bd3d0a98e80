"""Leave one source out: train without a hospital, test on all of it.

    cache -> rows with other splits -> a second cache, of the same squares and masks

Nothing is decoded or segmented anew: the second cache is copied from the first in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import polars as pl

from hideseek.data.cache import Cache, Entry, write_cache
from hideseek.data.manifest import read_text_columns
from hideseek.data.shards import temporary_path
from hideseek.errors import UserError

CHANGED, SAME = (".manifest.csv", ".masks.csv"), (".problems.csv", ".built.csv")
"""Endings of what lies beside a cache: with a row an image, or a row a finding."""


def leave_source_out(rows: pl.DataFrame, source: str, classes: Sequence[str] = ()) -> pl.DataFrame:
    """Change splits so that a source is the test set.

    Every image of the source, whatever its split, is tested. Training and validation keep theirs of
    the other sources. Two kinds of images are in no split any more: tests of the other sources, so
    that what an ordinary test set holds is never trained on; and images of the other sources whose
    patient (or `group`, of near-duplicates) has images in the source, too.

    Args:
        rows: text columns `source, split, patient_id`, `label` where there are classes, perhaps
            `group`.
        source: one of them.
        classes: that training needs; a class that the source lacks is no error.

    Returns:
        The rows that are used, in order.

    Raises:
        UserError: there is no such source, or too little is left to train on.
    """
    known = sorted(set(rows.get_column("source")))
    if source not in known:
        raise UserError(f"data.leave_out={source}: no such source; there are {', '.join(known)}")
    left_out = pl.col("source") == source
    tied = pl.lit(False)
    for name in ("patient_id", "group"):
        if name in rows.columns:
            held = rows.filter(left_out).get_column(name).unique().to_list()
            tied = tied | pl.col(name).is_in([each for each in held if each]).fill_null(False)
    test = rows.with_columns(split=pl.when(left_out).then(pl.lit("test")).otherwise("split"))
    kept = test.filter(left_out | (~tied & (pl.col("split") != "test")))
    train = kept.filter(pl.col("split") == "train")
    lacking = [name for name in classes if name not in set(train.get_column("label"))]
    if lacking:
        raise UserError(
            f"data.leave_out={source}: no other source has training images of {lacking[0]}, which "
            "then cannot be learned; leave out another one"
        )
    for split in ("train", "val"):
        if split not in set(kept.get_column("split")):
            raise UserError(f"data.leave_out={source}: no image is left in the split '{split}'")
    return kept


def cache_without(base: Path, source: str, folder: Path) -> Path:
    """Copy what is used of a cache when a source is left out, unless that was done before.

    Args:
        base: a cache with its ordinary splits.
        source: that becomes the test set.
        folder: where the copy goes.

    Returns:
        Its path. Its recipe differs in the hash of the manifest's rows, which covers their splits.

    Raises:
        UserError: as `leave_source_out`.
    """
    cache = Cache(base)
    changed = sha256(f"{cache.recipe.manifest_hash}\0leave_out\0{source}".encode()).hexdigest()
    recipe = replace(cache.recipe, manifest_hash=changed)
    path = folder / recipe.file_name()
    if path.is_file():
        return path
    places = cache.table.with_row_index("place").join(
        _groups(base), on="image_id", how="left", maintain_order="left"
    )
    classes = recipe.classes if recipe.task == "classify" else ()
    rows = leave_source_out(places, source, classes)
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_beside(base, path, rows.select("image_id", "split"))
    write_cache(path, recipe, _entries(cache, rows), rows.height)
    cache.close()
    return path


def _entries(cache: Cache, rows: pl.DataFrame) -> Iterator[Entry]:
    for row in rows.iter_rows(named=True):
        image, mask = cache[row["place"]]
        yield Entry(image, mask, row)


def _groups(base: Path) -> pl.DataFrame:
    """Read which images belong together, from the manifest beside a cache where it says so."""
    beside = base.with_suffix(".manifest.csv")
    names = ["image_id", "group"]
    if beside.is_file() and set(names) <= set((table := read_text_columns(beside)).columns):
        return table.select(names).unique("image_id", keep="first")
    return pl.DataFrame(schema={"image_id": pl.String})


def _write_beside(base: Path, path: Path, rows: pl.DataFrame) -> None:
    """Copy the tables beside a cache, with the rows that are left and their new splits."""
    for ending in (*CHANGED, *SAME):
        if not base.with_suffix(ending).is_file():
            continue
        table = read_text_columns(base.with_suffix(ending))
        if ending in CHANGED:
            columns = table.columns
            table = table.drop("split").join(rows, on="image_id", maintain_order="left")
            table = table.select(columns)
        temporary = temporary_path(path.with_suffix(ending))
        table.write_csv(temporary)
        temporary.replace(path.with_suffix(ending))
