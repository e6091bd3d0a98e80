"""How where a network looks goes along with severity, source and view."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl
from scipy.stats import spearmanr

from hideseek.audit.cached import described_rows
from hideseek.audit.gates import CELL
from hideseek.data.cache import Cache

FACTORS = ("severity", "source", "view")
CORRELATED = ("lung_enrichment", "artefact_enrichment", "border_share")


def factors_of(cache: Cache, image_ids: pl.Series) -> dict[str, pl.Series]:
    """Look up what the cache and the manifest beside it say of images; "" where they do not."""
    chosen = pl.DataFrame({"image_id": image_ids}).join(
        described_rows(cache), on="image_id", how="left", maintain_order="left"
    )
    there = [name for name in FACTORS if name in chosen.columns]
    return {name: chosen.get_column(name).fill_null("") for name in there}


def correlations(rows: pl.DataFrame) -> pl.DataFrame:
    """Correlate measures with what is known of the images, by ranks; texts level by level."""
    found = []
    for _, part in rows.group_by("folder", maintain_order=True):
        for factor in (name for name in FACTORS if name in part.columns):
            for level, values in _levels(part.get_column(factor)):
                for measure in CORRELATED:
                    pairs = pl.DataFrame([values.alias("x"), part.get_column(measure).alias("y")])
                    pairs = pairs.drop_nulls()
                    constant = pairs.height < 3 or min(pairs.n_unique("x"), pairs.n_unique("y")) < 2
                    rho = None if constant else float(spearmanr(pairs["x"], pairs["y"])[0])
                    name = part.select(*CELL).row(0)
                    found.append((*name, factor, level, measure, pairs.height, rho))
    texts = dict.fromkeys(("factor", "level", "measure"), pl.String)
    schema = {**CELL, **texts, "images": pl.Int64, "spearman": pl.Float64}
    return pl.DataFrame(found, schema, orient="row")


def _levels(column: pl.Series) -> Iterator[tuple[str, pl.Series]]:
    """Yield numbers as they are, and texts as one indicator a level; null where nothing is said."""
    known = column.replace("", None)
    numbers = known.cast(pl.Float64, strict=False)
    if numbers.null_count() == known.null_count():
        yield "", numbers
        return
    for level in known.drop_nulls().unique().sort():
        yield level, (known == level).cast(pl.Float64)
