"""Real radiographs with a planted class signal: a data set whose truth is known.

Their own labels are thrown away. Patients are dealt new ones at random, alike in every source, and
`paste` puts the signal of the new class on the image; so whatever a network then knows of the
class, it has from there. `write` leaves a folder that `source.py` reads like a user's own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from hideseek.data.deal import FEWEST_PATIENTS, deal
from hideseek.data.image_folder import image_folder, write_pair
from hideseek.data.images import MINIMUM_SIDE, read_mask, read_radiograph
from hideseek.data.manifest import COLUMNS, files_hash, read_manifest, table_hash
from hideseek.data.paste import CARRIERS, framed_window, paste
from hideseek.data.phantom import CLASSES
from hideseek.data.preprocess import Mask, Pixels, mask_to_square, to_square
from hideseek.data.samples import ImageError
from hideseek.data.source import ManifestSource, Prepared
from hideseek.errors import UserError
from hideseek.progress import progress
from hideseek.regions import MaskState, lung_components, mask_state
from hideseek.seeds import stream

VERSION = 1
"""Of the pasting; part of the name of a data set, so raise it with every change of pixels."""


@dataclass(frozen=True)
class PasteRecipe:
    """Everything that decides the images, with the files that the manifest names.

    Attributes:
        manifest: CSV file of the radiographs; rows without a mask are not used.
        root: folder that its paths are relative to; by default its own.
        source: the only source to take; None for all.
        carrier: one of `paste.CARRIERS`.
        strength: of the class signal, 0 none to 1 clear.
        size: side of the images in pixels, at least 32; best the network's own `image_size`, for
            resizing would spread a signal over the border of its place.
        images: at most so many are taken, patients at random.
        seed: of everything random.
    """

    manifest: str | None = None
    root: str | None = None
    source: str | None = None
    carrier: str = "marker"
    strength: float = 1.0
    size: int = 64
    images: int = 480
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UserError: naming the first wrong one.
        """
        if self.carrier not in CARRIERS:
            known = ", ".join(CARRIERS)
            raise UserError(f"pasted.carrier='{self.carrier}' is unknown; choose from {known}")
        if not 0 <= self.strength <= 1:
            raise UserError(f"pasted.strength={self.strength} is not within 0 .. 1")
        for name, least in (("size", MINIMUM_SIDE), ("images", FEWEST_PATIENTS), ("seed", 0)):
            if getattr(self, name) < least:
                raise UserError(f"pasted.{name}={getattr(self, name)} is below {least}")

    def folder(self) -> Path:
        """Return the folder that the manifest's paths are relative to."""
        return Path(self.root) if self.root else Path(self.manifest or "").parent


@dataclass(frozen=True)
class PastedSource:
    """Real radiographs with a planted signal, pasted and cached when first asked for.

    Attributes:
        pasted: what is pasted on what.
        source: how it is read back; its manifest and root are set from the pasting.
    """

    pasted: PasteRecipe
    source: ManifestSource

    def ready(self, image_size: int) -> Path:
        """Paste, cache at exactly the wanted size, and return the cache."""
        return self._written(image_size).ready(image_size)

    def prepare(self) -> Prepared:
        """Paste and cache at the configured size."""
        return self.list_files().prepare()

    def list_files(self) -> ManifestSource:
        """Paste, unless that was done before, and return the source that reads it back."""
        return self._written(self.source.size)

    def _written(self, image_size: int) -> ManifestSource:
        rows = backgrounds(self.pasted)
        name = f"{self.source.name}-{recipe_hash(self.pasted, rows)}"
        target = Path(self.source.folder) / name
        if not (target / "manifest.csv").is_file():
            bar, advance = progress("pasted", min(self.pasted.images, rows.height))
            with bar:
                write(self.pasted, rows, target, advance)
        return replace(
            self.source,
            name=name,
            manifest=str(target / "manifest.csv"),
            root=str(target),
            size=image_size,
            build=True,
        )


def backgrounds(recipe: PasteRecipe) -> pl.DataFrame:
    """List the rows of the manifest that have a mask, and are of the wanted source.

    Raises:
        UserError: there is no manifest, no mask or no such source.
    """
    if recipe.manifest is None:
        raise UserError("data.pasted.manifest is not set; give the CSV file of real radiographs")
    rows = read_manifest(Path(recipe.manifest), "segment", ()).rows
    if recipe.source is not None:
        known = ", ".join(sorted(set(rows.get_column("source"))))
        rows = rows.filter(pl.col("source") == recipe.source)
        if rows.is_empty():
            raise UserError(
                f"{recipe.manifest}: no row of source '{recipe.source}' has a mask; sources with "
                f"masks are {known}"
            )
    return rows


def recipe_hash(recipe: PasteRecipe, rows: pl.DataFrame) -> str:
    """Name a data set by 12 hexadecimal digits: its settings and the manifest's content."""
    content = {**asdict(recipe), "version": VERSION, "rows": rows_hash(recipe, rows)}
    del content["manifest"], content["root"]  # the same files elsewhere are the same data set
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def rows_hash(recipe: PasteRecipe, rows: pl.DataFrame) -> str:
    """Hash the rows of `backgrounds` and the sizes of their files: 64 hexadecimal digits."""
    content = table_hash(rows) + files_hash(rows, recipe.folder())
    return hashlib.sha256(content.encode()).hexdigest()


def write(
    recipe: PasteRecipe,
    rows: pl.DataFrame,
    folder: Path,
    advance: Callable[[int], None] = lambda count: None,
) -> Path:
    """Write images, masks and manifest; all or nothing.

    Args:
        recipe: what is pasted on what.
        rows: from `backgrounds`.
        folder: gets `images/`, `masks/`, `recipe.json` and `manifest.csv`, whose paths are relative
            to it; made beside it under another name and renamed when whole.
        advance: told how many images have become ready.

    Returns:
        Path of the manifest.

    Raises:
        UserError: too few radiographs can be used.
    """
    # The folder's name tells its content.
    with image_folder(folder, (folder / "manifest.csv").is_file) as partial:
        table = _write_images(recipe, rows, partial, advance)
        note = {**asdict(recipe), "version": VERSION, "used": table.height}
        (partial / "recipe.json").write_text(json.dumps(note, indent=2) + "\n")
        table.write_csv(partial / "manifest.csv")
    return folder / "manifest.csv"


def _write_images(
    recipe: PasteRecipe, rows: pl.DataFrame, folder: Path, advance: Callable[[int], None]
) -> pl.DataFrame:
    """Write what the patients are dealt; of a patient all images or none."""
    groups = rows.partition_by("patient_id", as_dict=True, maintain_order=True)
    order = sorted(groups)
    np.random.default_rng(stream(recipe.seed, "pasted-patients")).shuffle(order)
    squares: dict[str, tuple[Pixels, Mask]] = {}
    for key in order:
        found = {
            str(row["image_id"]): square
            for row in groups[key].iter_rows(named=True)
            if (square := _square(recipe, row)) is not None
        }
        if len(squares) + len(found) <= recipe.images:
            squares |= found
        if len(squares) >= recipe.images:
            break
    used = rows.filter(pl.col("image_id").is_in(list(squares)))
    # One patient may have been filmed in two places, and still has one class and one split.
    patients = used.group_by("patient_id").agg(pl.col("source").min(), pl.len().alias("images"))
    patients = patients.select("source", "patient_id", "images")
    if patients.height < FEWEST_PATIENTS:
        raise UserError(
            f"{recipe.manifest}: {patients.height} patients have a radiograph with two lungs, too "
            f"few to plant on; {FEWEST_PATIENTS} are needed"
        )
    dealt = deal(patients.rows(), np.random.default_rng(stream(recipe.seed, "pasted-labels")))
    written = []
    for number, row in enumerate(used.iter_rows(named=True)):
        label, split = dealt[row["patient_id"]]
        image, mask = squares[row["image_id"]]
        random = np.random.default_rng(stream(recipe.seed, "pasted-signal", number))
        image = paste(image, mask, label, recipe.carrier, recipe.strength, random)
        name = f"pasted-{number:05d}"
        path, mask_path = write_pair(folder, name, image, mask)
        written.append({"image_id": name, "path": path, "mask": mask_path})
        written[-1] |= {"label": CLASSES[label], "split": split, "background_path": row["path"]}
        written[-1] |= {key: row[key] for key in ("source", "patient_id", "view")}
        advance(1)
    return pl.DataFrame(written).select(*COLUMNS, "background_path")


def _square(recipe: PasteRecipe, row: dict[str, str]) -> tuple[Pixels, Mask] | None:
    """Read a radiograph and its mask into the frame; None where that shows no two lungs."""
    try:
        pixels = read_radiograph(recipe.folder() / row["path"]).pixels
        lungs = read_mask(recipe.folder() / row["mask"], (pixels.shape[0], pixels.shape[1]))
    except ImageError:
        return None
    lungs = lung_components(lungs)
    if mask_state(lungs) != MaskState.ok:
        return None
    window = framed_window(lungs)
    square = lung_components(mask_to_square(lungs, window, recipe.size))
    if mask_state(square) != MaskState.ok:
        return None
    return to_square(pixels, window, recipe.size), square
