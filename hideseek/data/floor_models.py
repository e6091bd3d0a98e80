"""What the metadata floor fits: the majority of a cell, boosted trees, and folds by patient.

Called by `floor.py`, which chooses the columns and judges on the test rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from threadpoolctl import threadpool_limits

NUMERIC = 0.9
"""Share of a column's values that must be numbers for it to be taken as numeric."""

FOLDS = 5
"""Parts of the training rows in cross-validation."""

Labels = npt.NDArray[np.intp]
Scores = npt.NDArray[np.float64]


def is_numeric(column: pl.Series) -> bool:
    """Tell whether enough of a text column's known values, those that are not "", are numbers."""
    known = column.filter(column != "")
    return len(known) > 0 and known.cast(pl.Float64, strict=False).count() >= NUMERIC * len(known)


class CellMajority:
    """Majority class of each cell, classes weighted equally; fewer columns where a cell is new."""

    def __init__(self, columns: Sequence[str]) -> None:
        """Take the columns, the most telling first."""
        self.columns = tuple(columns)
        self.votes: dict[tuple[str, ...], Scores] = {}

    def fit(self, rows: pl.DataFrame, labels: Labels, classes: int) -> None:
        """Count the votes of each cell and of the levels that it falls back to.

        Args:
            rows: text in `columns`, without nulls.
            labels: class numbers [rows].
            classes: how many there are.
        """
        weight = 1 / np.bincount(labels, minlength=classes).clip(1)
        self.votes = {}
        for cell, label in zip(rows.select(self.columns).iter_rows(), labels, strict=True):
            for length in range(len(cell) + 1):
                votes = self.votes.setdefault(cell[:length], np.zeros(classes))
                votes[label] += weight[label]

    def scores(self, rows: pl.DataFrame) -> Scores:
        """Give each class's share of the weighted votes, [rows, classes]; rows sum to 1."""
        return np.array([self._share(cell) for cell in rows.select(self.columns).iter_rows()])

    def _share(self, cell: tuple[str, ...]) -> Scores:
        known = next(cell[:n] for n in range(len(cell), -1, -1) if cell[:n] in self.votes)
        votes = self.votes[known]
        return votes / float(votes.sum())


class Boosting:
    """Gradient boosting; categories one-hot, rare ones pooled, blanks a level.

    Four leaves and 60 rounds: in cross-validation by patient within the training rows of two real
    data sets, at 300 to 14,000 rows, no worse than larger models and better on few rows.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        """Take the columns, in any order."""
        self.columns = tuple(columns)

    def fit(self, rows: pl.DataFrame, labels: Labels, classes: int) -> None:
        """Fit on rows; where they are of one class, that is always predicted.

        Args:
            rows: text in `columns`, without nulls.
            labels: class numbers [rows].
            classes: how many there are; one without a row scores 0.
        """
        self.numeric = [name for name in self.columns if is_numeric(rows.get_column(name))]
        text = [index for index, name in enumerate(self.columns) if name not in self.numeric]
        encoder = OneHotEncoder(
            handle_unknown="infrequent_if_exist", min_frequency=5, sparse_output=False
        )
        boosting = HistGradientBoostingClassifier(
            max_iter=60, learning_rate=0.1, max_leaf_nodes=4, min_samples_leaf=10,
            l2_regularization=1.0, early_stopping=False, class_weight="balanced", random_state=0,
        )  # fmt: skip
        several = len(np.unique(labels)) > 1
        self.classes = classes
        self.pipeline = make_pipeline(
            make_column_transformer((encoder, text), remainder="passthrough"),
            boosting if several else DummyClassifier(),
        )
        with _one_thread():
            self.pipeline.fit(self._array(rows), labels)

    def scores(self, rows: pl.DataFrame) -> Scores:
        """Give the probabilities of the classes, [rows, classes]; rows sum to 1."""
        scores = np.zeros((rows.height, self.classes))
        with _one_thread():
            scores[:, self.pipeline.classes_] = self.pipeline.predict_proba(self._array(rows))
        return scores

    def _array(self, rows: pl.DataFrame) -> npt.NDArray[np.object_]:
        columns = [
            _numbers(rows.get_column(name))
            if name in self.numeric
            else rows.get_column(name).to_numpy()
            for name in self.columns
        ]
        return np.stack([column.astype(object) for column in columns], axis=1)


def _one_thread() -> threadpool_limits:
    # A few hundred rows need no more, and threads that wait by spinning stand still for minutes
    # where other processes hold the processors.
    return threadpool_limits(1, user_api="openmp")


def _numbers(column: pl.Series) -> Scores:
    numbers: Scores = column.cast(pl.Float64, strict=False).to_numpy().copy()
    numbers[~np.isfinite(numbers)] = np.nan
    return numbers


def predicted(scores: Scores) -> Labels:
    """Give the class of the greatest score in each row of [rows, classes]; ties go to the first."""
    # Rounded, so that a tie is a tie: the class with the smallest number wins.
    return np.asarray(scores.round(12).argmax(axis=1), dtype=np.intp)


def validate(
    model: CellMajority | Boosting, train: pl.DataFrame, labels: Labels, classes: int
) -> float | None:
    """Cross-validate by patient.

    Args:
        model: refitted on each fold; it is left fitted on the last.
        train: text columns without nulls, `patient_id` or `group` among them.
        labels: class numbers [rows].
        classes: how many there are.

    Returns:
        The balanced accuracy, 0 to 1, over all folds together; None where there are fewer patients
        than folds.
    """
    fold = grouped_folds(
        train.get_column("group" if "group" in train.columns else "patient_id"), labels
    )
    if fold.max() < FOLDS - 1:
        return None
    called = np.empty_like(labels)
    for number in range(FOLDS):
        fit, judge = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        model.fit(train[fit], labels[fit], classes)
        called[judge] = predicted(model.scores(train[judge]))
    present = np.unique(labels)
    return float(np.mean([(called[labels == label] == label).mean() for label in present]))


def grouped_folds(group: pl.Series, labels: Labels) -> Labels:
    """Deal the groups of each class out in turn, in an order by chance that no row order alters.

    Args:
        group: of each row; a group stays together, and counts as the least of its classes.
        labels: class numbers [rows].

    Returns:
        Fold numbers [rows], 0 to `FOLDS` - 1.
    """
    groups, member = np.unique(group.to_numpy().astype(str), return_inverse=True)
    label = np.full(len(groups), labels.max())
    np.minimum.at(label, member, labels)
    fold = np.empty(len(groups), np.intp)
    chance = np.random.default_rng(0).permutation(len(groups))
    fold[np.lexsort((chance, label))] = np.arange(len(groups)) % FOLDS
    return np.asarray(fold[member], dtype=np.intp)
