"""What the caches on this machine say of a sweep's images: how many, from where, which split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from hideseek.audit.cached import cache_of
from hideseek.errors import UserError
from hideseek.report.cell_files import shown
from hideseek.report.evidence import Evidence

SPLITS = ("train", "val", "test")
NAMES = {"train": "training", "val": "validation", "test": "test"}
MOST = 12
"""Sources that a sentence names."""


@dataclass(frozen=True)
class SplitFacts:
    """Rows of the first cache: `image_id`, `label`, `source`, `patient_id`, `split`.

    Attributes:
        rows: text; only the classes of the sweep.
        complete: whether the training images are among them, or only the test images are known.
    """

    rows: pl.DataFrame
    complete: bool

    def counts(self) -> str:
        """Count images and patients of each split."""
        parts = []
        for split in SPLITS:
            rows = self.rows.filter(pl.col("split") == split)
            if rows.height:
                patients = rows.get_column("patient_id").n_unique()
                parts.append(f"{NAMES[split]} {rows.height} images of {patients} patients")
        return "; ".join(parts)

    def classes(self) -> str:
        """Count the images of each class in each split."""
        parts = []
        for split in SPLITS:
            rows = self.rows.filter(pl.col("split") == split)
            if rows.height:
                parts.append(f"{NAMES[split]}: {_counted(rows, 'label')}")
        return "; ".join(parts)

    def sources(self) -> str:
        """Count the test images of each source, and say whether training has them, too."""
        test, rest = self._sources("test"), self._sources("train")
        text = f"test images by source: {_counted(self._of('test'), 'source')}"
        if not self.complete:
            return text
        new = sorted(test - rest)
        if not new:
            return f"{text}; every one of these sources has training images, too"
        return f"{text}; without training images: {', '.join(map(_source, new))}"

    def shared_patients(self) -> int:
        """Count the patients that are in more than one split."""
        splits = self.rows.group_by("patient_id").agg(pl.col("split").n_unique())
        return splits.filter(pl.col("split") > 1).height

    def external(self) -> bool | None:
        """Whether all test images are of sources that training never saw; None if not known."""
        if not self.complete:
            return None
        return not (self._sources("test") & self._sources("train"))

    def _of(self, split: str) -> pl.DataFrame:
        return self.rows.filter(pl.col("split") == split)

    def _sources(self, split: str) -> set[str]:
        return set(self._of(split).get_column("source"))


def split_facts(evidence: Evidence) -> SplitFacts | None:
    """Look up the images of a sweep.

    Args:
        evidence: of the sweep.

    Returns:
        From the first cell's cache; where that is not on this machine, from its predictions, which
        know the test images alone; None where there are neither.
    """
    names = ["image_id", "label", "source", "patient_id", "split"]
    for folder in evidence.cells[:1]:
        try:
            cache = cache_of(evidence.sweep, folder.name)
            known = pl.col("label").is_in(list(cache.recipe.classes))
            return SplitFacts(cache.table.select(names).filter(known), True)
        except (UserError, OSError, KeyError, ValueError, pl.exceptions.PolarsError):
            pass
        try:
            path = folder / "predictions.csv"
            table = pl.read_csv(path, infer_schema=False, glob=False).select(names).fill_null("")
            return SplitFacts(table.with_columns(pl.lit("test").alias("split")), False)
        except (OSError, pl.exceptions.PolarsError):
            return None
    return None


def _counted(rows: pl.DataFrame, column: str) -> str:
    counts: Mapping[str, int] = dict(
        rows.group_by(column).len().sort("len", column, descending=[True, False]).iter_rows()
    )
    named = [f"{_source(name)} {count}" for name, count in list(counts.items())[:MOST]]
    more = len(counts) - len(named)
    return ", ".join([*named, f"and {more} more"] if more > 0 else named)


def _source(name: str) -> str:
    return shown(name) or "not named"
