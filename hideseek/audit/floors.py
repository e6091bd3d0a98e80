"""The metadata floor on the very images that a sweep is judged on, with its predictions.

`hideseek.data.floor` measures floors; a paired comparison with a network needs the best one's
prediction for each image, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from hideseek.audit.excess import class_metrics
from hideseek.audit.grid import Grid, Integers
from hideseek.data.floor import Floor, cell_floor, headline, model_floor, usable_columns
from hideseek.data.floor_models import Boosting, CellMajority, predicted
from hideseek.errors import UserError

ALL = "all columns"


@dataclass(frozen=True)
class FloorsOnTest:
    """Metadata floors on the test images of a sweep.

    Attributes:
        floors: of source, of source and view, of all columns: those that the rows allow.
        best: that does best in cross-validation by patient among training rows, so that the test
            images have no say; None where guessing one class is as good there, or better on the
            test images, as with a source that training lacks.
        predictions: class numbers of the best floor for the images of the grid [N]; where that is
            guessing, of the class that most images have.
    """

    floors: tuple[Floor, ...]
    best: Floor | None
    predictions: Integers


def floors_on_test(rows: pl.DataFrame, grid: Grid) -> FloorsOnTest:
    """Fit the floors on training and validation rows and judge them on the sweep's test images.

    Args:
        rows: of all splits, text columns.
        grid: of the sweep.

    Returns:
        The floors.

    Raises:
        UserError: there is no training row.
    """
    labelled = rows.filter(pl.col("label").is_in(list(grid.classes)))
    train = labelled.filter(pl.col("split").is_in(["train", "val"]))
    test = grid.images.select("image_id").join(
        rows, on="image_id", how="left", maintain_order="left"
    )
    if train.is_empty():
        raise UserError("the cache has no training rows to fit a metadata floor on")
    columns = usable_columns(train)
    floors = []
    for names in (("source",), ("source", "view")):
        if set(names) <= set(columns):
            floors.append(cell_floor(train, test, names, grid.classes))
    if columns and columns != ["source"]:
        floors.append(model_floor(train, test, columns, grid.classes, ALL))
    best = headline(floors) if floors else None
    if best is not None:
        chance = 1 / train.get_column("label").n_unique()
        called = _predictions(best, train, test, grid)
        told = best.validated is None or best.validated > chance
        if told and _balanced(grid, called) >= 1 / len(np.unique(grid.labels)):
            return FloorsOnTest(tuple(floors), best, called)
    most = int(np.bincount(grid.labels).argmax())
    return FloorsOnTest(tuple(floors), None, np.full(len(grid.labels), most))


def _predictions(best: Floor, train: pl.DataFrame, test: pl.DataFrame, grid: Grid) -> Integers:
    """Fit a floor once more, since it keeps no predictions."""
    model = Boosting(best.columns) if best.name == ALL else CellMajority(best.columns)
    place = {name: number for number, name in enumerate(grid.classes)}
    model.fit(train, np.array([place[name] for name in train["label"]], np.intp), len(place))
    return predicted(model.scores(test)).astype(np.int64)


def _balanced(grid: Grid, predictions: Integers) -> float:
    return float(class_metrics(grid.labels, predictions, grid.classes)["balanced_accuracy"][0])
