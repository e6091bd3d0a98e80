"""The metadata floor: how well the columns beside the image predict the label.

A classifier that is no better on the same test images may have learned nothing but the hospital.
Fitted on training rows, judged on test rows; no pixel is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from sklearn.metrics import confusion_matrix, roc_auc_score

from hideseek.data.floor_models import (
    Boosting,
    CellMajority,
    Labels,
    Scores,
    is_numeric,
    predicted,
    validate,
)
from hideseek.errors import UserError

NOT_METADATA = (
    *("id", "image_id", "patient_id", "patientid", "patient", "study_uid", "uid", "group", "image"),
    *("path", "file", "filename", "file_name", "folder", "mask", "sha256", "mask_sha256", "hash"),
    *("label", "labels", "class", "finding", "findings", "diagnosis", "pcr", "target"),
    *("split", "source_split", "fold", "role", "on_disk", "listed_as", "nih_patient", "window"),
    *("url", "doi", "license", "notes", "clinical_notes", "date", "study_date", "location"),
)
"""Names of columns that no floor uses: rows, answers, bookkeeping and origins."""

FILES = ("path", "file", "filename", "mask", "uid")
"""Last words of names of columns that no floor uses either."""

UNIQUE = 0.95
"""Share of different values at which a column of whole numbers is taken for an identifier."""

LABEL_LIKE = 0.995
"""Balanced accuracy of a single column at which it is suspected of being the label."""


@dataclass(frozen=True)
class Floor:
    """What a set of columns reaches.

    Attributes:
        name: "source, view" for the columns used, "all columns" for the model on all of them.
        columns: used.
        n: test images.
        correct: of them.
        accuracy: on the test images.
        confusion: rows true, columns predicted, in the order of the classes.
        sensitivity: per class, None where it has no test image.
        ppv: per class, None where it is never predicted.
        validated: balanced accuracy in cross-validation by patient within the training rows; None
            where they are too few.
        auc: mean over the classes of the area under the ROC curve of one against the rest, on the
            test images; None where a class has none of them, or all.
        fitted_on: training images.
        label_like: a single column that validates at 99.5 % or more. It may be the label under
            another name, which has to be left out, or a data set in which a source is a class.
    """

    name: str
    columns: tuple[str, ...]
    n: int
    correct: int
    accuracy: float
    confusion: tuple[tuple[int, ...], ...]
    sensitivity: tuple[float | None, ...]
    ppv: tuple[float | None, ...]
    validated: float | None
    auc: float | None
    fitted_on: int
    label_like: bool


def metadata_floor(table: pl.DataFrame, classes: Sequence[str]) -> list[Floor]:
    """Measure each column alone, source and view together, and all columns.

    Args:
        table: text columns; `label`, `split`, `patient_id` (or `group`) and whatever else is known.
            Rows of the validation split are used for fitting, like those of the training split;
            rows without a label are ignored.
        classes: labels in the order of their numbers.

    Returns:
        The floors, the one to report first; see `headline`.

    Raises:
        UserError: there is no training or no test row, or a label is none of the classes.
    """
    labelled = table.filter(pl.col("label") != "")
    train = labelled.filter(pl.col("split").is_in(["train", "val"]))
    test = labelled.filter(pl.col("split") == "test")
    if train.is_empty() or test.is_empty():
        raise UserError(
            "the metadata floor needs training and test rows; the table lacks one, so fill `split`"
        )
    names = usable_columns(train)
    floors = [
        model_floor(train, test, [name], classes)
        if is_numeric(train.get_column(name))
        else cell_floor(train, test, [name], classes)
        for name in names
    ]
    if {"source", "view"} <= set(names):
        floors.append(cell_floor(train, test, ("source", "view"), classes))
    if len(names) > 1:
        floors.append(model_floor(train, test, names, classes, "all columns"))
    first = [headline(floors)] if floors else []
    return first + sorted((each for each in floors if each not in first), key=_order)


def headline(floors: Sequence[Floor]) -> Floor:
    """Choose the floor to report, by cross-validation within the training rows.

    The test rows have no say, so the number reported is not the best of several on the test rows.
    Among equals the one with the fewest columns wins, then the first.
    """
    return min(floors, key=_order)


def _order(floor: Floor) -> tuple[float, int]:
    return -round(floor.validated or 0.0, 12), len(floor.columns)


def cell_floor(
    train: pl.DataFrame, test: pl.DataFrame, columns: Sequence[str],
    classes: Sequence[str] | None = None,
) -> Floor:  # fmt: skip
    """Predict the majority class of each joint level, every class weighing the same.

    A training row weighs 1 / (rows of its class). A level that training lacks falls back to the
    columns without the last one, and so on, at the end to all rows, which is a tie; of tied classes
    the first wins.

    Args:
        train: text columns, `label` and `patient_id` (or `group`) among them.
        test: likewise.
        columns: the most telling first.
        classes: labels in order; by default those of `train`, sorted.

    Raises:
        UserError: a label is none of the classes.
    """
    return _floor(CellMajority(columns), train, test, classes)


def model_floor(
    train: pl.DataFrame, test: pl.DataFrame, columns: Sequence[str],
    classes: Sequence[str] | None = None, name: str | None = None,
) -> Floor:  # fmt: skip
    """Predict by gradient boosting of small trees, every class weighing the same.

    A column is numeric where 90 % of its known values are numbers, text otherwise. Of text, levels
    with less than 5 rows are one level and "" is one; of numbers, what is none is missing.

    Arguments and errors are those of `cell_floor`; the order of the columns does not matter, and
    `name` is that of the floor, by default its columns.
    """
    return _floor(Boosting(columns), train, test, classes, name)


def usable_columns(table: pl.DataFrame) -> list[str]:
    """List the columns that say something beside the image, and vary without naming each row.

    Left out are answers, identifiers, files, dates and licences by name, text with a value for
    every other row or more, and whole numbers that hardly ever repeat.
    """
    return [
        name
        for name in table.columns
        if (bare := name.lower().replace(" ", "_")) not in NOT_METADATA
        and bare.split("_")[-1] not in FILES
        and _varies(table.get_column(name).fill_null(""))
    ]


def _varies(column: pl.Series) -> bool:
    levels = column.n_unique()
    if not is_numeric(column):
        return 1 < levels < 0.5 * len(column)
    known = column.filter(column != "")
    whole = known.str.contains(r"^[+-]?\d+$").all()
    return levels > 1 and not (whole and known.n_unique() > UNIQUE * len(known))


def _floor(
    model: CellMajority | Boosting, train: pl.DataFrame, test: pl.DataFrame,
    classes: Sequence[str] | None, name: str | None = None,
) -> Floor:  # fmt: skip
    classes = classes or sorted(train.get_column("label").unique())
    train, test = (rows.with_columns(pl.col(model.columns).fill_null("")) for rows in (train, test))
    known, truth = (_labels(rows, classes) for rows in (train, test))
    validated = validate(model, train, known, len(classes))
    model.fit(train, known, len(classes))
    scores = model.scores(test)
    counts = confusion_matrix(truth, predicted(scores), labels=range(len(classes)))
    right, actual, called = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    return Floor(
        name or ", ".join(model.columns),
        model.columns,
        len(truth),
        int(right.sum()),
        float(right.sum() / len(truth)),
        tuple(tuple(int(count) for count in row) for row in counts),
        tuple(_share(*pair) for pair in zip(right, actual, strict=True)),
        tuple(_share(*pair) for pair in zip(right, called, strict=True)),
        validated,
        _macro_auc(truth, scores),
        len(known),
        len(model.columns) == 1 and (validated or 0.0) >= LABEL_LIKE,
    )


def _labels(rows: pl.DataFrame, classes: Sequence[str]) -> Labels:
    labels = rows.get_column("label")
    strange = labels.filter(~labels.is_in(list(classes)))
    if len(strange):
        raise UserError(f"label '{strange[0]}' is none of the classes {', '.join(classes)}")
    number = {label: index for index, label in enumerate(classes)}
    return np.array([number[label] for label in labels], np.intp)


def _share(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None


def _macro_auc(truth: Labels, scores: Scores) -> float | None:
    one = [truth == label for label in range(scores.shape[1])]
    if not all(0 < each.sum() < len(truth) for each in one):
        return None
    areas = [roc_auc_score(each, scores[:, label]) for label, each in enumerate(one)]
    return float(np.mean(areas))
