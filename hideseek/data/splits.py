"""Train, validation and test: disjoint by patient, balanced by class, repeatable by seed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.model_selection import StratifiedGroupKFold

from hideseek.errors import UserError

VALIDATION_SHARE = 0.1
TEST_SHARE = 0.2


def complete_splits(table: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Fill in what a manifest leaves open, never touching what it gives.

    Without any split, a fifth of the patients becomes the test set. Without a validation set, a
    tenth of the training patients becomes one: validation is carved out of train, never of test.

    Args:
        table: rows with `label`, `patient_id` and `split` ("" where open).
        seed: for the choice of patients.

    Returns:
        The table with every `split` filled.

    Raises:
        UserError: only some rows have a split, a patient is in two, or too few patients are left.
    """
    split = table.get_column("split").to_numpy().astype(object)
    if (split == "").all():
        split[:] = "train"
        split[_carve(table, split, TEST_SHARE, seed)] = "test"
    if (split == "").any():
        image = table.item(int(np.flatnonzero(split == "")[0]), "image_id")
        raise UserError(f"'{image}' has no split though others have; give all images one, or none")
    if "val" not in split:
        split[_carve(table, split, VALIDATION_SHARE, seed)] = "val"
    completed = table.with_columns(pl.Series("split", split.tolist(), dtype=pl.String))
    check_disjoint(completed)
    return completed


def check_disjoint(table: pl.DataFrame) -> None:
    """Refuse a patient in two splits.

    Args:
        table: rows with `patient_id` and `split`.

    Raises:
        UserError: naming the first such patient.
    """
    per_patient = table.group_by("patient_id").agg(pl.col("split").unique().sort())
    shared = per_patient.filter(pl.col("split").list.len() > 1).sort("patient_id")
    if not shared.is_empty():
        where = " and ".join(shared.item(0, "split"))
        raise UserError(
            f"patient '{shared.item(0, 'patient_id')}' is in {where} "
            f"({shared.height} such patients); a patient belongs to one split"
        )


def _carve(
    table: pl.DataFrame, split: npt.NDArray[np.object_], share: float, seed: int
) -> npt.NDArray[np.intp]:
    """Choose rows of train, whole patients, about `share` of each class."""
    train = np.flatnonzero(split == "train")
    labels = table.get_column("label").to_numpy()[train]
    patients = table.get_column("patient_id").to_numpy()[train]
    folds = round(1 / share)
    most = max(np.unique(labels, return_counts=True)[1], default=0)
    if len(np.unique(patients)) < folds or most < folds:
        raise UserError(
            f"{len(np.unique(patients))} training patients, {most} images at most of one class, "
            f"are too few to set {share:.0%} apart; give the split in the manifest"
        )
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    _, chosen = next(splitter.split(train, labels, patients))
    return np.asarray(train[chosen], dtype=np.intp)
