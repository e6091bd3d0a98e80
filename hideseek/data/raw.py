"""Folders as their sources ship them: the readers' listings become one manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import polars as pl

from hideseek.data.problems import Problem
from hideseek.data.shards import temporary_path
from hideseek.data.source import ManifestSource
from hideseek.data.sources.listing import Listing
from hideseek.errors import UserError
from hideseek.progress import progress

Reader = Callable[[Path], Listing]


@dataclass(frozen=True)
class RawSource(ManifestSource):
    """Raw data of one or several public sources below one folder.

    Attributes:
        raw: the folder.
        readers: by name, each from the raw folder to its rows (`hideseek.data.sources`).
    """

    raw: str | None = None
    readers: Mapping[str, Reader] = field(default_factory=dict)

    def ready(self, image_size: int) -> Path:
        """Return the cache to read from, by the listing that `prepare` left where there is one.

        Raises:
            UserError: there is no such cache; the message holds the command that builds it.
        """
        if self.manifest is None and self.cache is None:
            there = self._listing().is_file()
            return (self._as_listed() if there else self.list_files()).ready(image_size)
        return super().ready(image_size)

    def list_files(self) -> ManifestSource:
        """Run the readers and write what they list as a manifest.

        Raises:
            UserError: `raw` is not set, no reader was chosen, or a reader finds nothing.
        """
        if self.raw is None:
            raise UserError("data.raw is not set; give the folder that holds the raw data")
        if not self.readers:
            raise UserError("no source is chosen; give data/source=NAME, or [NAME,NAME]")
        bar, advance = progress("listing sources", len(self.readers))
        listings = []
        with bar:
            for reader in self.readers.values():
                listings.append(reader(Path(self.raw)))
                advance(1)
        joined = join(listings)
        path = self._listing()
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_path(path)
        joined.rows.write_csv(temporary)
        temporary.replace(path)
        return replace(self._as_listed(), found=tuple(joined.problems))

    def _as_listed(self) -> RawSource:
        origin = ("data=raw", f"data/source=[{','.join(self.readers)}]", f"data.raw={self.raw}")
        return replace(self, manifest=str(self._listing()), root=self.raw, origin=origin)

    def _listing(self) -> Path:
        described = [str(Path(self.raw or "").resolve())]
        for name, reader in self.readers.items():
            chosen = reader.keywords if isinstance(reader, partial) else {}
            described.append(f"{name}{sorted(chosen.items())}")
        digest = hashlib.sha256("\0".join(described).encode()).hexdigest()[:12]
        return Path(self.folder) / f"{self.name}-listing-{digest}" / "manifest.csv"


def join(listings: list[Listing]) -> Listing:
    """Put listings below each other; a file that two readers list is one row.

    Args:
        listings: with the columns that they share and others; what a listing lacks becomes "".

    Returns:
        All rows and problems, each path once: the row that has a label, else the first. Two labels
        for one file leave it out.
    """
    tables = [listing.rows for listing in listings]
    rows = pl.concat(tables, how="diagonal").with_columns(pl.all().fill_null(""))
    problems = [problem for listing in listings for problem in listing.problems]
    labels = pl.col("label").filter(pl.col("label") != "").unique(maintain_order=True)
    by_path = rows.group_by("path", maintain_order=True).agg(labels, pl.col("source"), pl.len())
    conflicts = []
    for path, known, sources, count in by_path.filter(pl.col("len") > 1).iter_rows():
        listed = f"listed {count} times, as of {' and '.join(sources)}"
        if len(known) > 1:
            reason = f"{listed}, with the labels {' and '.join(known)}"
            problems.append(Problem(path, "label_conflict", "error", reason, "left out"))
            conflicts.append(path)
        else:
            problems.append(Problem(path, "listed_twice", "warning", listed, "one row kept"))
    rows = rows.filter(~pl.col("path").is_in(conflicts)).with_row_index("at")
    first = rows.sort(pl.col("label") == "", "at", maintain_order=True).filter(
        pl.col("path").is_first_distinct()
    )
    return Listing(first.sort("at").drop("at"), problems)
