"""Where images come from: a configuration's data group becomes the path of a cache.

A source knows the rows, the recipe and therefore the name of its cache, and either finds it,
builds it, or names the command that does.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import polars as pl
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hideseek.data import phantom
from hideseek.data.build import BuildReport, build_cache
from hideseek.data.cache import CacheRecipe
from hideseek.data.lungs import LungSegmenter, segmenter_hash
from hideseek.data.manifest import files_hash, read_manifest, table_hash, with_splits
from hideseek.data.splits import complete_splits
from hideseek.errors import UserError


class Source(Protocol):
    """Whatever can provide a cache of at least the wanted size."""

    def ready(self, image_size: int) -> Path:
        """Return the cache to read from, building it if the source may do so by itself."""


def progress(title: str, total: int) -> tuple[Progress, Callable[[int], None]]:
    """Make a progress bar with an estimate of the time left, and the function that moves it."""
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    )
    task = bar.add_task(title, total=total)
    return bar, lambda count: bar.advance(task, count)


@dataclass(frozen=True)
class ManifestSource:
    """Images that a manifest lists.

    Attributes:
        name: of the data set, part of file names.
        manifest: path of the CSV file.
        root: folder that its paths are relative to; by default the manifest's own.
        splits: a second CSV with the split of each image; "auto" takes `splits.csv` beside the
            manifest where there is one and the manifest itself gives no split.
        cache: path of a cache to use as it is, or None to find it by its recipe.
        task: "classify" or "segment".
        classes: labels in the order of their numbers.
        size: side of the squares that `hideseek prepare` stores.
        preprocess: "paper" or "letterbox".
        segmenter: "packaged" or a checkpoint, for images without a mask.
        split_seed: of the splits that are left open.
        folder: where caches lie.
        build: whether a missing cache is built without being asked.
    """

    name: str
    manifest: str | None
    root: str | None
    splits: str | None
    cache: str | None
    task: str
    classes: Sequence[str]
    size: int
    preprocess: str
    segmenter: str
    split_seed: int
    folder: str
    build: bool = False

    def ready(self, image_size: int) -> Path:
        """Find the smallest fitting cache; see `Source`.

        Raises:
            UserError: there is none; the message holds the command that builds it.
        """
        if self.cache is not None:
            if not Path(self.cache).is_file():
                command = self.command(image_size)
                raise UserError(
                    f"data.cache={self.cache} does not exist; build one with: {command}"
                )
            return Path(self.cache)
        table = self.table()
        for size in sorted({self.size, *self._sizes()}):
            path = Path(self.folder) / self.recipe(table, size).file_name()
            if size >= image_size and path.is_file():
                return path
        if self.build:
            return self.prepare()[0]
        raise UserError(
            f"no cache of {image_size} px or more for {self.manifest} in {self.folder}/; "
            f"build it with: {self.command(image_size)}"
        )

    def table(self) -> pl.DataFrame:
        """Read the manifest and complete its splits."""
        if self.manifest is None:
            raise UserError("data.manifest is not set; give the CSV file that lists the images")
        path = Path(self.manifest)
        table = read_manifest(path, self.task, self.classes)
        splits = self._splits_path(path, (table.get_column("split") != "").any())
        if splits is not None:
            table = with_splits(table, splits, self.task)
        return complete_splits(table, self.split_seed)

    def recipe(self, table: pl.DataFrame, size: int) -> CacheRecipe:
        """Describe the cache of the given rows at the given size."""
        return CacheRecipe(
            name=self.name,
            task=self.task,
            size=size,
            preprocess=self.preprocess,
            classes=tuple(self.classes),
            manifest_hash=table_hash(table),
            files_hash=files_hash(table, self._root()),
            segmenter_hash=segmenter_hash(self.segmenter) if self.task == "classify" else "",
            split_seed=self.split_seed,
        )

    def prepare(self) -> tuple[Path, BuildReport | None]:
        """Build the cache at `size`, with the manifest as used and the problems beside it.

        Returns:
            The cache and what became of the rows; None where the cache was there already.
        """
        table = self.table()
        recipe = self.recipe(table, self.size)
        path = Path(self.folder) / recipe.file_name()
        if path.is_file():
            return path, None
        bar, advance = progress(f"{self.name} at {self.size} px", table.height)
        with bar:
            report = build_cache(
                table,
                self._root(),
                recipe,
                path,
                lambda: LungSegmenter.load(self.segmenter),
                advance,
            )
        manifest, problems = report.tables()
        manifest.write_csv(path.with_suffix(".manifest.csv"))
        problems.write_csv(path.with_suffix(".problems.csv"))
        return path, report

    def command(self, image_size: int) -> str:
        """Spell the command that builds what is missing: what differs from `conf/data`."""
        kind = "manifest" if self.task == "classify" else "lungs"
        usual: dict[str, object] = {
            **dict.fromkeys(("manifest", "root")),
            **{"splits": "auto", "name": kind, "segmenter": "packaged", "split_seed": 0},
            "preprocess": "paper" if kind == "manifest" else "letterbox",
            "size": 224 if kind == "manifest" else 256,
            "classes": f"[{','.join(phantom.CLASSES)}]" if kind == "manifest" else "[]",
        }
        given = {key: getattr(self, key) for key in usual}
        given["size"] = max(self.size, image_size)
        given["classes"] = f"[{','.join(self.classes)}]"
        changed = (f"data.{key}={given[key]}" for key in usual if given[key] != usual[key])
        words = (word.replace("=None", "=null") for word in changed)
        return shlex.join(["hideseek", "prepare", f"data={kind}", *words])

    def _root(self) -> Path:
        return Path(self.root) if self.root else Path(self.manifest or "").parent

    def _splits_path(self, manifest: Path, has_splits: bool) -> Path | None:
        if self.splits == "auto":
            beside = manifest.with_name("splits.csv")
            return beside if beside.is_file() and not has_splits else None
        return Path(self.splits) if self.splits else None

    def _sizes(self) -> set[int]:
        names = Path(self.folder).glob(f"cache-{self.name}-*-*.h5")
        parts = (path.stem.removeprefix(f"cache-{self.name}-").split("-")[0] for path in names)
        return {int(part) for part in parts if part.isdigit()}


@dataclass(frozen=True)
class PhantomSource:
    """Synthetic radiographs with a known truth, drawn and cached when first asked for.

    Attributes:
        phantom: what is drawn.
        source: how it is read back; its manifest and root are set from the drawing.
    """

    phantom: phantom.PhantomRecipe
    source: ManifestSource

    def ready(self, image_size: int) -> Path:
        """Draw, cache at exactly the wanted size, and return the cache."""
        return self._drawn(image_size).ready(image_size)

    def prepare(self) -> tuple[Path, BuildReport | None]:
        """Draw and cache at the configured size."""
        return self._drawn(self.source.size).prepare()

    def _drawn(self, image_size: int) -> ManifestSource:
        name = f"{self.source.name}-{phantom.recipe_hash(self.phantom)}"
        target = Path(self.source.folder) / name
        manifest = target / "manifest.csv"
        if not manifest.is_file():
            bar, advance = progress("phantom", self.phantom.images)
            with bar:
                phantom.write(self.phantom, target, advance)
        return replace(
            self.source,
            name=name,
            manifest=str(manifest),
            root=str(target),
            size=image_size,
            build=True,
        )
