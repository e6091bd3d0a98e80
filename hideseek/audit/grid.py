"""The predictions of a finished sweep, image by image, ready to be compared.

    multirun/NAME/*/{done.json, predictions.csv} -> Grid

Every comparison of the audit is paired, so all cells have to have predicted the same images. Cells
that answer another question, because the test set chose their epoch or because their labels were
shuffled, are set aside for the parts that ask it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from hideseek.audit.variants import once, one_line, told_apart
from hideseek.audit.verdict import ASKED
from hideseek.errors import UserError
from hideseek.roi import REPRESENTATIONS
from hideseek.sweep.runs import ORDINARY, Training, read_done, read_training

Integers = npt.NDArray[np.int64]
TABLE = ("image_id", "patient_id", "source", "label", "prediction")


@dataclass(frozen=True)
class CellPredictions:
    """What one cell says of the test images.

    Attributes:
        model: name of the network, and after a blank what else tells it from others of the sweep.
        roi: name of the representation.
        fill: how it hides.
        margin: growth of the lungs, % of their width.
        seed: of the training.
        folder: name of the cell.
        predictions: predicted class numbers [N].
        probabilities: float64 [N, K].
        training: which images chose its epoch, and whether its labels were shuffled.
        hidden: share of the image that a rectangle covers which is the same for all images, 0..1;
            None for other representations, and where it is not on record.
    """

    model: str
    roi: str
    fill: str
    margin: float
    seed: int
    folder: str
    predictions: Integers
    probabilities: npt.NDArray[np.float64]
    training: Training = ORDINARY
    hidden: float | None = None

    @property
    def network(self) -> str:
        """Name the network as `conf/model` does."""
        return self.model.partition(" ")[0]

    @property
    def representation(self) -> str:
        """Name what the network saw: the representation, and how it differs from the plain one."""
        fill = "" if self.fill in ("black", "") else f" {self.fill}"
        margin = f" margin {self.margin:g}" if self.margin else ""
        return f"{self.roi}{fill}{margin}"


@dataclass(frozen=True)
class Grid:
    """All cells of a sweep on one test set.

    Attributes:
        classes: names in the order of their numbers.
        images: `image_id`, `patient_id`, `source`, `label`, one row an image.
        labels: true class numbers [N].
        cells: in the order of models, representations and seeds; all of a model with the same
            choice of the epoch, by the validation set unless only the others show enough.
        data: hash of the cache's recipe that all cells read.
        aside: other cells, in the same order: with shuffled labels, or the other choice of the
            epoch.
    """

    classes: tuple[str, ...]
    images: pl.DataFrame
    labels: Integers
    cells: tuple[CellPredictions, ...]
    data: str
    aside: tuple[CellPredictions, ...] = ()

    @property
    def patients(self) -> pl.Series:
        """The patient of each image."""
        return self.images.get_column("patient_id")

    def models(self) -> list[str]:
        """Name the networks, in order."""
        return list(dict.fromkeys(cell.model for cell in self.cells))

    def representations(self, model: str) -> dict[str, list[CellPredictions]]:
        """Group a network's cells: the seeds of each representation, in the paper's order."""
        groups: dict[str, list[CellPredictions]] = {}
        for cell in self.cells:
            if cell.model == model:
                groups.setdefault(cell.representation, []).append(cell)
        return groups

    def hidden(self, model: str) -> float | None:
        """Give the share of the image that `fixed_box_out` hides from a network, 0..1, if known."""
        shares = [cell.hidden for cell in self.cells if cell.model == model and cell.hidden]
        return max(shares, default=None)

    def lowest_seeds(self) -> list[CellPredictions]:
        """Take of each network and representation the cell with the lowest seed."""
        return [
            cells[0] for model in self.models() for cells in self.representations(model).values()
        ]


def read_grid(sweep: Path) -> Grid:
    """Read the finished cells of a sweep.

    Args:
        sweep: its folder.

    Returns:
        The grid.

    Raises:
        UserError: no cell is finished, or the cells are of different images, classes or tasks, or
            a file is damaged.
    """
    if not sweep.is_dir():
        raise UserError(f"{sweep}: no such folder; name a sweep, such as multirun/NAME")
    cells = [(path.parent, read_done(path.parent)) for path in sorted(sweep.glob("*/done.json"))]
    cells = [(folder, done) for folder, done in cells if done.get("task") == "classify"]
    if not cells:
        raise UserError(f"{sweep}: no finished cell of a classifier; run the sweep first")
    first, classes = cells[0][0], _classes(*cells[0])
    data = str(cells[0][1].get("recipe_hash", ""))
    images = _read(first, classes).select(TABLE[:4])
    found = []
    for folder, done in once(cells):
        table = _read(folder, classes)
        if _classes(folder, done) != classes or not table.select(TABLE[:4]).equals(images):
            raise UserError(
                f"{folder}: its test images are not those of {first.name}; an audit compares cells "
                "on the same images"
            )
        found.append(_cell(folder, done, table, classes))
    found.sort(key=_order)
    judged, aside = _set_aside(told_apart(sweep, found))
    if not judged:
        raise UserError(f"{sweep}: all its labels are shuffled; run the cells of true labels, too")
    numbers = _numbers(images.get_column("label"), classes)
    return Grid(classes, images, numbers, judged, data, aside)


def _classes(folder: Path, done: Mapping[str, Any]) -> tuple[str, ...]:
    listed = done.get("classes")
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise UserError(f"{folder}/done.json: names no classes; delete the cell and run it again")
    return tuple(listed)


def _set_aside(
    cells: Sequence[CellPredictions],
) -> tuple[tuple[CellPredictions, ...], tuple[CellPredictions, ...]]:
    """Part the cells that a verdict is of from those that answer another question."""
    true = [cell for cell in cells if not cell.training.shuffled]
    flattered = {model: _flattered(true, model) for model in {cell.model for cell in true}}
    judged = tuple(cell for cell in true if cell.training.flattered == flattered[cell.model])
    folders = {cell.folder for cell in judged}
    return judged, tuple(cell for cell in cells if cell.folder not in folders)


def _flattered(cells: Sequence[CellPredictions], model: str) -> bool:
    """Tell whether a verdict has to rest on cells whose epoch the test set chose.

    A few others, to see what that choice adds, have not all that a verdict asks for.
    """
    paper, guarded = (
        {each.representation for each in cells
         if each.model == model and each.training.flattered == flattered}
        for flattered in (True, False)
    )  # fmt: skip
    return not guarded or paper & {*ASKED} > guarded & {*ASKED}


def _read(folder: Path, classes: Sequence[str]) -> pl.DataFrame:
    path = folder / "predictions.csv"
    columns = [*TABLE, *(f"p_{name}" for name in classes)]
    try:
        table = pl.read_csv(path, infer_schema=False, glob=False).select(columns)
        table = table.with_columns(pl.col("^p_.*$").cast(pl.Float64)).sort("image_id")
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path}: damaged ({reason}); delete the cell and run it again") from None
    scores = table.select(columns[len(TABLE) :]).to_numpy()
    known = table.get_column("label").is_in(classes) & table.get_column("prediction").is_in(classes)
    if table.is_empty() or table.null_count().pipe(lambda t: sum(t.row(0))) or not known.all():
        raise UserError(f"{path}: has empty values or unknown classes; run the cell again")
    if not np.isfinite(scores).all() or not np.allclose(scores.sum(axis=1), 1, atol=1e-6):
        raise UserError(f"{path}: its probabilities do not sum to 1; run the cell again")
    if table.get_column("image_id").is_duplicated().any():
        raise UserError(f"{path}: names an image twice; run the cell again")
    return table


def _cell(
    folder: Path, done: dict[str, Any], table: pl.DataFrame, classes: Sequence[str]
) -> CellPredictions:
    try:
        return CellPredictions(
            model=one_line(str(done["model"])),
            roi=one_line(str(done["roi"])),
            fill=one_line(str(done.get("fill", ""))),
            margin=float(done.get("margin", 0.0)),
            seed=int(done["seed"]),
            folder=folder.name,
            predictions=_numbers(table.get_column("prediction"), classes),
            probabilities=table.select(f"p_{name}" for name in classes).to_numpy(),
            training=read_training(folder),
            hidden=_share(done.get("hidden")),
        )
    except (KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(
            f"{folder}/done.json: damaged ({reason}); delete the cell and run it again"
        ) from None


def _share(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 <= value <= 1 else None


def _numbers(names: pl.Series, classes: Sequence[str]) -> Integers:
    return names.replace_strict(
        list(classes), range(len(classes)), return_dtype=pl.Int64
    ).to_numpy()


def _order(cell: CellPredictions) -> tuple[object, ...]:
    names = tuple(REPRESENTATIONS)
    place = names.index(cell.roi) if cell.roi in names else len(names)
    return cell.model, place, cell.roi, cell.fill, cell.margin, cell.seed
