"""The metadata floor: how well the columns beside the image predict the label.

A classifier that is no better on the same test images may have learned nothing but the hospital.
Fitted on training rows, judged on test rows; no pixel is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder

from hideseek.errors import UserError

NOT_METADATA = (
    *("image_id", "path", "patient_id", "group", "label", "split", "source_split", "mask"),
    *("sha256", "finding", "on_disk", "listed_as", "url", "doi", "license", "role", "mask_from"),
    *("window", "nih_patient", "date", "location"),
)
"""Names, answers and bookkeeping: columns that no floor uses."""

NUMERIC = 0.9
"""Share of a column's values that must be numbers for it to be taken as numeric."""

FOLDS = 5

Labels = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Floor:
    """What a set of columns reaches.

    Attributes:
        name: "source, view" for the majority of each cell, "all columns" for the fitted model.
        columns: used.
        n: test images.
        correct: of them.
        accuracy: on the test images.
        confusion: rows true, columns predicted, in the order of the classes.
        sensitivity: per class, None where it has no test image.
        ppv: per class, None where it is never predicted.
        validated: balanced accuracy in cross-validation by patient within the training rows.
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


def metadata_floor(table: pl.DataFrame, classes: Sequence[str]) -> list[Floor]:
    """Measure each column alone, source and view together, and all columns.

    Args:
        table: text columns; `label`, `split`, `patient_id` and whatever else is known. Rows of the
            validation split are used for fitting, like those of the training split.
        classes: labels in the order of their numbers.

    Returns:
        The floors. The first is the one to report: the best in cross-validation within the training
        rows, so that the test rows did not choose it.

    Raises:
        UserError: there is no training or no test row.
    """
    train, test = (table.filter(pl.col("split").is_in(part)) for part in (["train", "val"],
                                                                          ["test"]))  # fmt: skip
    if train.is_empty() or test.is_empty():
        raise UserError("the metadata floor needs training and test rows; the table lacks one")
    names = usable_columns(table)
    sets: list[tuple[str, ...]] = [
        (name,) for name in names if name in ("source", "view", "format")
    ]
    if {"source", "view"} <= set(names):
        sets.append(("source", "view"))
    floors = [
        _floor(", ".join(columns), _Cells(columns, len(classes)), columns, train, test, classes)
        for columns in sets
    ]
    if names:
        model = _Model(names)
        floors.append(_floor("all columns", model, tuple(names), train, test, classes))
    return sorted(floors, key=lambda floor: -(floor.validated or 0.0))


def usable_columns(table: pl.DataFrame) -> list[str]:
    """List the columns that say something beside the image, and vary without naming each row."""
    names = [name for name in table.columns if name not in NOT_METADATA]
    return [name for name in names if _varies(table.get_column(name))]


def _varies(column: pl.Series) -> bool:
    levels = column.n_unique()
    return levels > 1 and (levels < 0.5 * len(column) or _is_numeric(column))


def _is_numeric(column: pl.Series) -> bool:
    known = column.filter(column != "")
    return len(known) > 0 and known.cast(pl.Float64, strict=False).count() >= NUMERIC * len(known)


class _Cells:
    """Majority class of each cell, classes weighted equally; fewer columns where a cell is new."""

    def __init__(self, columns: Sequence[str], classes: int) -> None:
        self.columns, self.classes = tuple(columns), classes
        self.votes: dict[tuple[str, ...], npt.NDArray[np.float64]] = {}

    def fit(self, rows: pl.DataFrame, labels: Labels) -> None:
        weight = 1 / np.bincount(labels, minlength=self.classes).clip(1)
        self.votes = {}
        for cell, label in zip(rows.select(self.columns).iter_rows(), labels, strict=True):
            for length in range(len(cell) + 1):
                votes = self.votes.setdefault(cell[:length], np.zeros(self.classes))
                votes[label] += weight[label]

    def predict(self, rows: pl.DataFrame) -> Labels:
        return np.array([self._vote(cell) for cell in rows.select(self.columns).iter_rows()])

    def _vote(self, cell: tuple[str, ...]) -> int:
        known = next(cell[:n] for n in range(len(cell), -1, -1) if cell[:n] in self.votes)
        # Rounded, so that a tie is a tie: the class with the smallest number wins.
        return int(np.argmax(self.votes[known].round(12)))


class _Model:
    """Gradient boosting on all columns; categories one-hot, rare ones pooled, blanks a level."""

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        self.pipeline: Pipeline | None = None
        self.numeric: list[str] = []

    def fit(self, rows: pl.DataFrame, labels: Labels) -> None:
        self.numeric = [name for name in self.columns if _is_numeric(rows.get_column(name))]
        text = [index for index, name in enumerate(self.columns) if name not in self.numeric]
        encoder = OneHotEncoder(
            handle_unknown="infrequent_if_exist", min_frequency=5, sparse_output=False
        )
        self.pipeline = make_pipeline(
            make_column_transformer((encoder, text), remainder="passthrough"),
            HistGradientBoostingClassifier(
                max_iter=100, learning_rate=0.1, min_samples_leaf=10, l2_regularization=1.0,
                early_stopping=False, class_weight="balanced", random_state=0,
            ),
        )  # fmt: skip
        self.pipeline.fit(self._array(rows), labels)

    def predict(self, rows: pl.DataFrame) -> Labels:
        assert self.pipeline is not None
        return np.asarray(self.pipeline.predict(self._array(rows)), dtype=np.intp)

    def _array(self, rows: pl.DataFrame) -> npt.NDArray[np.object_]:
        columns = [
            rows.get_column(name).cast(pl.Float64, strict=False).to_numpy()
            if name in self.numeric
            else rows.get_column(name).to_numpy()
            for name in self.columns
        ]
        return np.stack([column.astype(object) for column in columns], axis=1)


def _floor(
    name: str,
    model: _Cells | _Model,
    columns: Sequence[str],
    train: pl.DataFrame,
    test: pl.DataFrame,
    classes: Sequence[str],
) -> Floor:
    number = {label: index for index, label in enumerate(classes)}
    known, truth = (
        np.array([number[label] for label in rows.get_column("label")]) for rows in (train, test)
    )
    validated = _validated(model, train, known)
    model.fit(train, known)
    counts = confusion_matrix(truth, model.predict(test), labels=range(len(classes)))
    right, actual, called = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    return Floor(
        name,
        tuple(columns),
        len(truth),
        int(right.sum()),
        float(right.sum() / len(truth)),
        tuple(tuple(int(count) for count in row) for row in counts),
        tuple(_share(*pair) for pair in zip(right, actual, strict=True)),
        tuple(_share(*pair) for pair in zip(right, called, strict=True)),
        validated,
    )


def _share(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None


def _validated(model: _Cells | _Model, train: pl.DataFrame, labels: Labels) -> float | None:
    group = train.get_column("group" if "group" in train.columns else "patient_id").to_numpy()
    counts = np.bincount(labels)
    if len(np.unique(group)) < FOLDS or counts[counts > 0].max() < FOLDS:
        return None
    predicted = np.empty_like(labels)
    splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    for fit, judge in splitter.split(labels, labels, group):
        model.fit(train[fit], labels[fit])
        predicted[judge] = model.predict(train[judge])
    present = [label for label in range(len(counts)) if counts[label]]
    return float(np.mean([(predicted[labels == label] == label).mean() for label in present]))
