"""Where images come from: a configuration's data group becomes the path of a cache.

A source knows the rows, the recipe and therefore the name of its cache, and either finds it,
builds it, or names the command that does.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import polars as pl

from hideseek.data.build import build_cache, mask_table
from hideseek.data.cache import CacheRecipe
from hideseek.data.command import command
from hideseek.data.images import MINIMUM_SIDE
from hideseek.data.leave_out import cache_without
from hideseek.data.lungs import load_segmenter, segmenter_hash
from hideseek.data.manifest import (
    files_hash,
    read_manifest,
    read_text_columns,
    table_hash,
    with_splits,
)
from hideseek.data.mask_rules import MaskRules
from hideseek.data.problems import Problem, problem_table
from hideseek.data.sources.listing import Listing
from hideseek.data.splits import complete_splits
from hideseek.data.survey import Survey, SurveyRecipe, read_survey, survey, survey_folder
from hideseek.errors import UserError
from hideseek.progress import progress

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
"""It becomes part of paths, and may come from somebody else's sweep."""


class Source(Protocol):
    """Whatever can provide a cache of at least the wanted size."""

    def ready(self, image_size: int) -> Path:
        """Return the cache to read from, building it if the source may do so by itself."""


@dataclass(frozen=True)
class Prepared:
    """What `prepare` made or found.

    Attributes:
        cache: its path.
        problems: all findings, from the listing of the files to their masks.
        survey: of the files, None for synthetic ones.
        fresh: whether the cache was built just now.
    """

    cache: Path
    problems: list[Problem]
    survey: Survey | None
    fresh: bool


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
        windowing: of samples of more than 8 bits, one of `samples.WINDOWINGS`.
        segmenter: "packaged", "torchxrayvision" or a checkpoint, for images without a mask.
        split_seed: of the splits that are left open.
        folds: number of folds that the patients are split into, or None for one split.
        fold: which fold is the test set.
        duplicates: correlation of 32x32 thumbnails from which two images are near-duplicates.
        strict: whether a warning or an error stops `prepare`.
        masks: what becomes of a mask.
        export_masks: folder for the masks as PNG files, for which the cache is built anew; or None.
        leave_out: a source that becomes the test set, and is not trained on; or None.
        folder: where caches lie.
        build: whether a missing cache is built without being asked.
        inspect: whether every file is inspected first; needless for synthetic images.
        origin: the overrides that name these rows, where a manifest does not.
        found: what was met when the rows were listed.
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
    windowing: str
    segmenter: str
    split_seed: int
    folds: int | None
    fold: int
    duplicates: float
    strict: bool
    folder: str
    masks: MaskRules = field(default_factory=MaskRules)
    export_masks: str | None = None
    leave_out: str | None = None
    build: bool = False
    inspect: bool = True
    origin: Sequence[str] = ()
    found: Sequence[Problem] = ()

    def ready(self, image_size: int) -> Path:
        """Find the smallest fitting cache; see `Source`.

        Raises:
            UserError: there is none; the message holds the command that builds it.
        """
        if self.leave_out is not None:
            whole = replace(self, leave_out=None).ready(image_size)
            return cache_without(whole, str(self.leave_out), Path(self.folder))
        if self.cache is not None:
            if not Path(self.cache).is_file():
                raise UserError(
                    f"data.cache={self.cache} does not exist; build one with: "
                    f"{command(self, image_size)}"
                )
            return Path(self.cache)
        listed = self.listed()
        table = self.surveyed(listed) if self.inspect else self._split(self.present(listed))
        if table is not None:
            recipe = self._recipe(table)
            for size in sorted({self.size, *self._sizes()}):
                path = Path(self.folder) / replace(recipe, size=size).file_name()
                if size >= image_size and path.is_file():
                    return path
        if self.build:
            return self.prepare().cache
        why = ", whose files were not inspected or have changed since," if table is None else ""
        raise UserError(
            f"no cache of {image_size} px or more for {self.manifest}{why} in {self.folder}/; "
            f"build it with: {command(self, image_size)}"
        )

    def __post_init__(self) -> None:
        """Refuse a size that no network reads, and a name that would lead to other folders."""
        if not NAME.fullmatch(self.name):
            raise UserError(f"data.name={self.name!r}: give letters, digits, '.', '_' and '-' only")
        if self.size < MINIMUM_SIDE:
            raise UserError(f"data.size={self.size} is too small; give {MINIMUM_SIDE} or more")

    def list_files(self) -> ManifestSource:
        """Return the source with its manifest: itself, unless readers have to list files first."""
        return self

    def listed(self) -> Listing:
        """Read the manifest and the given splits, before any file is opened."""
        if self.manifest is None:
            raise UserError("data.manifest is not set; give the CSV file that lists the images")
        path = Path(self.manifest)
        listed = read_manifest(path, self.task, self.classes)
        table = listed.rows
        splits = self._splits_path(path, (table.get_column("split") != "").any())
        if splits is not None:
            table = with_splits(table, splits, self.task)
        given = set(table.get_column("split")) - {""}
        if given and not {"train", "test"} <= given:
            lacks = "test" if "test" not in given else "train"
            raise UserError(
                f"{splits or path}: no image is in the split '{lacks}'; give it some, or leave the "
                "split of all images empty (data.splits=null)"
            )
        return Listing(table, [*self.found, *listed.problems])

    def present(self, listed: Listing) -> Listing:
        """Leave out the rows that the reader of a source already knows to be absent."""
        if "on_disk" not in listed.rows.columns:
            return listed
        there = listed.rows.filter(pl.col("on_disk") != "no")
        if there.is_empty():
            raise UserError(
                f"none of the {listed.rows.height} images that {self.name} lists is in "
                f"{self._root()}; 'hideseek check' says which are expected where"
            )
        return Listing(there, listed.problems)

    def prepare(self) -> Prepared:
        """Survey the files, then build the cache at `size`, each unless it is there already.

        Raises:
            UserError: the manifest cannot be used, or `strict` and something was found.
        """
        if self.leave_out is not None:
            prepared = replace(self, leave_out=None).prepare()
            cache = cache_without(prepared.cache, str(self.leave_out), Path(self.folder))
            return replace(prepared, cache=cache)
        if self.manifest is None:
            source = self.list_files()
            if source is not self:
                return source.prepare()
        listed = self.present(self.listed())
        found = self.survey(listed) if self.inspect else None
        table = self._split(listed) if found is None else found.rows
        problems = listed.problems if found is None else found.problems
        if self.strict:
            self._refuse(problems, None if found is None else found.folder / "problems.csv")
        if table.is_empty():
            counts = Counter(each.kind for each in problems if each.action == "left out")
            why = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
            raise UserError(f"none of the {listed.rows.height} images can be used: {why}")
        recipe = self._recipe(table)
        path = Path(self.folder) / recipe.file_name()
        fresh = not path.is_file() or self.export_masks is not None
        if fresh:
            self._build(table, recipe, path)
        built = read_text_columns(path.with_suffix(".built.csv")).iter_rows()
        problems = [*problems, *(Problem(*values) for values in built)]
        problem_table(problems).write_csv(path.with_suffix(".problems.csv"))
        if self.strict:
            self._refuse(problems, path.with_suffix(".problems.csv"))
        return Prepared(path, problems, found, fresh)

    def _build(self, table: pl.DataFrame, recipe: CacheRecipe, path: Path) -> None:
        """Build the cache; it appears last, so that nothing beside it is missing after a kill."""
        hidden = path.with_name(f".{path.name}")
        bar, advance = progress(f"{self.name} at {self.size} px", table.height)
        with bar:
            report = build_cache(
                table,
                self._root(),
                recipe,
                hidden,
                lambda: load_segmenter(self.segmenter, self.masks.mirrored, self.masks.precision),
                advance,
                None if self.export_masks is None else Path(self.export_masks),
            )
        manifest, problems = report.tables()
        manifest.write_csv(path.with_suffix(".manifest.csv"))
        problems.write_csv(path.with_suffix(".built.csv"))
        mask_table(report.judged).write_csv(path.with_suffix(".masks.csv"))
        hidden.replace(path)

    def survey(self, listed: Listing) -> Survey:
        """Inspect the files of the listed rows, or read what an earlier inspection found."""
        folder = self._survey_folder(listed)
        return read_survey(folder) or survey(folder, listed, self._root(), self._survey_recipe())

    def surveyed(self, listed: Listing) -> pl.DataFrame | None:
        """Return the rows that an earlier survey left in; None where there was none."""
        if "on_disk" in listed.rows.columns and not (listed.rows["on_disk"] != "no").any():
            return None
        found = read_survey(self._survey_folder(self.present(listed)))
        return None if found is None else found.rows

    def _refuse(self, problems: Sequence[Problem], where: Path | None) -> None:
        counts = Counter(problem.kind for problem in problems if problem.severity != "info")
        if counts:
            listed = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
            raise UserError(f"strict=true: {listed}; every finding is in {where}")

    def _split(self, listed: Listing) -> pl.DataFrame:
        return complete_splits(listed.rows, self.split_seed, self.folds, self.fold)

    def _survey_recipe(self) -> SurveyRecipe:
        return SurveyRecipe(
            self.task, self.windowing, self.duplicates, self.split_seed, self.folds, self.fold
        )

    def _survey_folder(self, listed: Listing) -> Path:
        return survey_folder(
            Path(self.folder), self.name, listed, self._root(), self._survey_recipe()
        )

    def _recipe(self, table: pl.DataFrame) -> CacheRecipe:
        return CacheRecipe(
            name=self.name,
            task=self.task,
            size=self.size,
            preprocess=self.preprocess,
            windowing=self.windowing,
            masks=self.masks,
            classes=tuple(self.classes),
            manifest_hash=table_hash(table),
            files_hash=files_hash(table, self._root()),
            segmenter_hash=segmenter_hash(self.segmenter) if self.task == "classify" else "",
        )

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
