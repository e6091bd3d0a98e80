"""The cache that a finished cell read, found again from where the audit runs."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from hideseek.data.cache import Cache
from hideseek.data.manifest import read_text_columns
from hideseek.errors import UserError
from hideseek.sweep.runs import read_done


def cache_of(sweep: Path, folder: str) -> Cache:
    """Open the cache of a cell.

    Args:
        sweep: folder of the sweep.
        folder: name of the cell.

    Returns:
        The cache, which is that of the recipe in the cell's done.json.

    Raises:
        UserError: the cell names no cache, or it is not on this machine, unreadable or another one.
    """
    where = sweep / folder / "provenance.json"
    try:
        named = Path(str(json.loads(where.read_text())["cache"]))
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{where}: names no cache; run the cell again") from None
    # Relative to the folder that the sweep was started in, which is one of those above it.
    places = [place / named for place in (Path(), *sweep.resolve().parents)]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise UserError(
            f"{named}: no such cache ({named.name} is not on this machine); prepare it, or audit "
            "in the folder that the sweep was started in"
        )
    cache = Cache(found)
    if cache.recipe.digest() != read_done(sweep / folder).get("recipe_hash"):
        raise UserError(f"{found}: not the cache that {folder} read; build that one")
    return cache


def described_rows(cache: Cache) -> pl.DataFrame:
    """Return the rows of a cache with what else the manifest beside it says of them.

    What was measured on a mask is left out: it is of the picture, not beside it.

    Args:
        cache: with or without its manifest.

    Returns:
        Text columns, those of `cache.table` first, in its order; "" where nothing is said.
    """
    rows = cache.table.select(name for name in cache.table.columns if name[:5] != "mask_")
    beside = cache.path.with_suffix(".manifest.csv")
    if not beside.is_file():
        return rows
    further = read_text_columns(beside)
    if "image_id" not in further.columns:
        return rows
    new = [name for name in further.columns if name not in rows.columns and name[:5] != "mask_"]
    further = further.select("image_id", *new).unique("image_id", keep="first")
    joined = rows.join(further, on="image_id", how="left", maintain_order="left")
    return joined.with_columns(pl.all().fill_null(""))
