"""Train, validation and test: disjoint by patient, balanced by class, repeatable by seed.

The step between the manifest's rows and the cache: it fills the `split` of every row. What belongs
together, beyond a patient's own images, is found in `copies`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import numpy as np
import numpy.typing as npt
import polars as pl

from hideseek.errors import UserError

VALIDATION_SHARE = 0.1
TEST_SHARE = 0.2
PARTS = ("test", "val", "train")

TRIES = 5
MOST_STEPS = 2_000

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.intp]


def complete_splits(
    table: pl.DataFrame,
    seed: int,
    folds: int | None = None,
    fold: int = 0,
    group: str = "patient_id",
) -> pl.DataFrame:
    """Fill in what a manifest leaves open, never touching what it gives.

    Without any split, a fifth of the images becomes the test set, or with `folds` one of as many
    equal parts, which together hold every image once. Without a validation set, a tenth of the
    training images becomes one: validation is carved out of train, never of test. Groups are never
    divided. Of several ways that `seed` leads to, the best balanced is taken; it depends on the
    rows alone and not on their order.

    A class with at least 3 groups (for folds: one per fold, 3 at least) is in every split, unless
    groups that mix classes make that impossible. A split that is carved out of given training
    images asks for 2, and with 2 folds only the test sets are sure of every class. Shares of a
    class, and of the classes in a split, are within 1 percentage point of the wanted ones on 2,000
    images of 1,400 patients, and further off where one group outweighs a split. Unlabelled rows
    are balanced by source, in place of class.

    Args:
        table: rows with `label`, `patient_id` and `split` ("" where open); `source` where a label
            is "".
        seed: for the choice of groups, 0 or more.
        folds: number of folds for cross-validation, 2 or more; None for a single split.
        fold: the one that is tested, 0 <= fold < folds.
        group: column of what stays together; see `copies.group_ids`.

    Returns:
        The table with every `split` filled.

    Raises:
        UserError: only some rows have a split, some have one and there are folds, a group is in
            two splits, there is no such fold or seed, or too few groups are left.
    """
    if seed < 0:
        raise UserError(f"split seed {seed} is negative; give 0 or more")
    split = table.get_column("split").to_numpy().astype(object)
    if folds is not None or fold != 0:
        folds = _check_folds(table, folds, fold)
        tested = _divide(table, np.full(folds, 1 / folds), seed, group) == fold
        split[:] = np.where(tested, "test", "train")
    elif (split == "").all():
        val = VALIDATION_SHARE * (1 - TEST_SHARE)
        shares = np.array([TEST_SHARE, val, 1 - TEST_SHARE - val])
        split[:] = np.array(PARTS, object)[_divide(table, shares, seed, group)]
    if (split == "").any():
        image = table.item(int(np.flatnonzero(split == "")[0]), "image_id")
        raise UserError(f"'{image}' has no split though others have; give all images one, or none")
    if "val" not in split:
        train = np.flatnonzero(split == "train")
        shares = np.array([VALIDATION_SHARE, 1 - VALIDATION_SHARE])
        split[train[_divide(table[train], shares, seed, group) == 0]] = "val"
    completed = table.with_columns(pl.Series("split", split.tolist(), dtype=pl.String))
    check_disjoint(completed, group)
    return completed


def check_disjoint(table: pl.DataFrame, group: str = "patient_id") -> None:
    """Refuse a patient in two splits.

    Args:
        table: rows with `split` and the column `group`.
        group: column of what stays together.

    Raises:
        UserError: naming the first such patient or group.
    """
    per_group = table.group_by(group).agg(pl.col("split").unique().sort())
    shared = per_group.filter(pl.col("split").list.len() > 1).sort(group)
    if not shared.is_empty():
        name = "patient" if group == "patient_id" else group
        where = " and ".join(shared.item(0, "split"))
        raise UserError(
            f"{name} '{shared.item(0, group)}' is in {where} "
            f"({shared.height} such {name}s); a {name} belongs to one split, "
            "so leave its images out of the others"
        )


def _check_folds(table: pl.DataFrame, folds: int | None, fold: int) -> int:
    if folds is None or folds < 2 or not 0 <= fold < folds:
        raise UserError(
            f"fold {fold} of {folds} does not exist; there are 2 folds or more, numbered from 0"
        )
    given = table.filter(pl.col("split") != "")
    if not given.is_empty():
        raise UserError(
            f"'{given.item(0, 'image_id')}' has a split already, and {folds} folds would change "
            "it; take the splits out (in the manifest, or data.splits=null) or do without folds"
        )
    return folds


def _divide(table: pl.DataFrame, shares: Floats, seed: int, group: str) -> Numbers:
    """Choose a part for each row, whole groups, about `shares` of each class."""
    member = _numbered(table.get_column(group))
    label = table.get_column("label")
    if (label == "").any():
        source = "unlabelled " + table.get_column("source")
        label = source.zip_with(label == "", "label " + label)
    stratum = _numbered(label)
    groups, strata = (int(numbers.max(initial=-1)) + 1 for numbers in (member, stratum))
    counts = np.zeros((groups, strata + 1))
    np.add.at(counts, (member, stratum), 1)
    counts[:, -1] = counts.sum(axis=1)  # all images, balanced and present like a class
    least = round(1 / shares.min())
    most = int(counts[:, :-1].sum(axis=0).max(initial=0))
    if groups < least or most < least:
        raise UserError(
            f"{groups} patients, {most} images at most of one class, are too few to set "
            f"{shares.min():.0%} apart; add images, or give the split in the manifest"
        )
    return _assign(counts, shares, seed)[member]


def _numbered(column: pl.Series) -> Numbers:
    return column.rank("dense").to_numpy().astype(np.intp) - 1


def _assign(counts: Floats, shares: Floats, seed: int) -> Numbers:
    """Choose a part [G] for groups of so many images a class [G, C], the best of several tries."""
    holders = (counts > 0).sum(axis=0)
    common = np.argsort(-holders, kind="stable")
    required = [int(each) for each in common if holders[each] >= len(shares)]

    def faults(parts: Numbers) -> tuple[int, float]:
        held = np.stack([counts[parts == part].sum(axis=0) for part in range(len(shares))])
        off = held / counts.sum(axis=0) - shares[:, None]
        return int((held[:, required] == 0).sum()), float((off**2 / shares[:, None]).sum())

    def deal(number: int, cover: bool) -> Numbers:
        rng = np.random.default_rng((seed, number))
        wanted = list(required)
        pinned = None
        while cover and (pinned := _cover(counts, wanted, len(shares), rng)) is None:
            wanted.pop()
        return _deal(counts, shares, rng, pinned or {})

    best = min((deal(number, False) for number in range(TRIES)), key=faults)
    if faults(best)[0] == 0:
        return best
    return min((best, *(deal(number, True) for number in range(TRIES))), key=faults)


def _deal(
    counts: Floats, shares: Floats, rng: np.random.Generator, pinned: dict[int, int]
) -> Numbers:
    """Deal groups out, large ones first, each to the part whose class shares it mends most."""
    portion = counts / counts.sum(axis=0)
    excess = np.repeat(-shares[:, None], counts.shape[1], axis=1)
    parts = np.empty(len(counts), np.intp)
    for number, part in pinned.items():
        parts[number] = part
        excess[part] += portion[number]
    # By powers of two, so that chance still orders groups of about one size.
    size = np.floor(np.log2(portion.max(axis=1)))
    for number in np.lexsort((rng.permutation(len(counts)), -size)):
        if int(number) not in pinned:
            more = portion[number]
            part = int(np.argmin(((2 * excess + more) * more).sum(axis=1) / shares))
            parts[number] = part
            excess[part] += more
    return parts


def _cover(
    counts: Floats, classes: Sequence[int], parts: int, rng: np.random.Generator
) -> dict[int, int] | None:
    """Find groups, small ones first, that bring each of the classes into each part.

    Groups with the same set of classes are alike, which keeps the search short. None where there
    is no way (or none in `MOST_STEPS`).
    """
    free: dict[frozenset[int], list[int]] = {}
    order = rng.permutation(len(counts))
    for number in order[np.argsort(-counts[order, -1], kind="stable")]:
        kind = frozenset(each for each in classes if counts[number, each])
        free.setdefault(kind, []).append(int(number))
    kinds = sorted(free, key=lambda kind: (len(kind), sorted(kind)))
    chosen: dict[int, int] = {}
    steps = count()

    def search(missing: frozenset[tuple[int, int]]) -> bool:
        if not missing:
            return True
        spare = {
            each: sum(len(free[kind]) for kind in kinds if each in kind)
            - sum(wanted == each for wanted, _ in missing)
            for each, _ in missing
        }
        scarce, part = min(missing, key=lambda want: (spare[want[0]], want))
        if spare[scarce] < 0 or next(steps) >= MOST_STEPS:
            return False
        for kind in kinds:
            if scarce in kind and free[kind]:
                number = free[kind].pop()
                chosen[number] = part
                if search(missing - {(each, part) for each in kind}):
                    return True
                free[kind].append(number)
                del chosen[number]
        return False

    everything = frozenset((each, part) for each in classes for part in range(parts))
    return chosen if search(everything) else None
