"""How the networks were trained: loss and score by epoch, and the epoch that was chosen.

every cell's history.csv -> curves -> a picture for each network, a table of chosen epochs
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from hideseek.errors import UserError
from hideseek.report.cell_files import (
    SENTENCE,
    CellFiles,
    file_name,
    in_order,
    read_cell,
    shown,
)
from hideseek.report.chapter import Chapter, Picture, Table
from hideseek.report.curve_panels import Line, curve_panels
from hideseek.report.drawing import picture
from hideseek.report.evidence import Evidence

LARGEST = 4_000_000
"""Bytes of a history.csv; ours have about 400 an epoch."""

SCORES = ("val/balanced_accuracy", "val/accuracy", "val/f1_lung")
SAME = 1e-6

COLUMNS = ("model", "representation", "seed", "epochs", "chosen", "score", "last", "folder")


@dataclass(frozen=True)
class Curve:
    """The epochs of one cell.

    Attributes:
        cell: it.
        history: `epoch` from 1, `train` and `val` (losses) and `score`; null where undefined.
        monitor: name of the score that chose the epoch.
    """

    cell: CellFiles
    history: pl.DataFrame
    monitor: str

    @property
    def name(self) -> str:
        """The representation, and whether labels were shuffled or the test set chose the epoch."""
        shuffled = " labels shuffled" if self.cell.shuffled else ""
        paper = " selection=paper" if self.cell.setting("selection") == "paper" else ""
        return f"{self.cell.representation}{shuffled}{paper}"

    @property
    def chosen(self) -> int | None:
        """The epoch that was kept: the first with the best score; None if done.json denies it."""
        score = self.history.get_column("score").fill_nan(None)
        best = score.arg_max()
        if best is None:
            return None
        kept = self.cell.done.get("score")
        if isinstance(kept, int | float) and abs(kept - score[best]) > SAME:
            return None
        return int(self.history.get_column("epoch")[best])


def chapter(evidence: Evidence) -> Chapter:
    """Show the training of every finished cell.

    Args:
        evidence: of the sweep.

    Returns:
        A picture for each network and the table of chosen epochs.
    """
    curves, damaged = [], []
    for folder in in_order(evidence):
        try:
            curves.append(read_curve(folder))
        except UserError as error:
            damaged.append(shown(error) + ".")
    title = "Training"
    if not curves:
        absent = "No finished cell has a readable history.csv; run the sweep (hideseek train -m)."
        return Chapter("training", title, tuple(damaged), absent=absent)
    models = dict.fromkeys(curve.cell.model for curve in curves)
    pictures = [
        _picture(number, model, [curve for curve in curves if curve.cell.model == model])
        for number, model in enumerate(models, start=1)
    ]
    worth = tuple(shown(line, SENTENCE) for line in evidence.lines("selection"))
    return Chapter(
        "training",
        title,
        (*_sentences(curves, damaged), *worth),
        (_table(curves),),
        tuple(pictures),
    )


def read_curve(folder: Path) -> Curve:
    """Read what a cell recorded of its epochs.

    Args:
        folder: of the cell.

    Returns:
        Its curve.

    Raises:
        UserError: history.csv is absent, damaged, or has no score.
    """
    where = f"{folder.name}/history.csv"
    cell = read_cell(folder)
    try:
        with (folder / "history.csv").open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise UserError(f"{where}: larger than {LARGEST // 1_000_000} MB, and so left out")
        table = pl.read_csv(io.BytesIO(content), infer_schema=False)
        numbers = table.select(pl.all().cast(pl.Float64))
    except (OSError, pl.exceptions.PolarsError):
        raise UserError(f"{where}: absent or damaged, and so left out") from None
    named = str(cell.setting("task.monitor") or "")
    monitor = next((name for name in (named, *SCORES) if name in numbers.columns), "")
    epoch = numbers.get_column("epoch").to_list() if "epoch" in numbers.columns else []
    if not monitor or not epoch or epoch != list(range(len(epoch))):
        raise UserError(f"{where}: not one row for each epoch with a score, and so left out")
    empty = pl.lit(None, pl.Float64)
    losses = {
        phase: pl.col(f"{phase}/loss") if f"{phase}/loss" in numbers.columns else empty
        for phase in ("train", "val")
    }
    history = numbers.select(
        (pl.col("epoch") + 1).cast(pl.Int64), **losses, score=pl.col(monitor)
    ).with_columns(pl.col("train", "val", "score").fill_nan(None))
    return Curve(cell, history, monitor)


def _sentences(curves: Sequence[Curve], damaged: Sequence[str]) -> tuple[str, ...]:
    count = "One cell" if len(curves) == 1 else f"{len(curves)} cells"
    lines = [
        f"{count} by epoch: the loss on the training images, and loss and score on the images that "
        "choose the epoch. Thin lines are seeds, a dot marks the chosen epoch of each, thick lines "
        "are means over seeds."
    ]
    paper = [c for c in curves if c.cell.setting("selection") == "paper"]
    if paper:
        some = "all cells" if len(paper) == len(curves) else f"{len(paper)} of {len(curves)} cells"
        lines.append(
            f"In {some} the test images chose the epoch, as in the paper (selection=paper); the "
            "score shown is theirs."
        )
    ends = [c for c in curves if c.history.height > 1 and c.chosen == c.history.height]
    if ends:
        lines.append(
            f"In {len(ends)} of {len(curves)} cells the last epoch was the best: more epochs might "
            "have given more."
        )
    unclear = [c.cell.folder for c in curves if c.chosen is None]
    if unclear:
        lines.append(
            "The chosen epoch cannot be told, because no epoch of history.csv has the score of "
            f"done.json: {', '.join(map(shown, unclear))}."
        )
    return (*lines, *damaged)


def _table(curves: Sequence[Curve]) -> Table:
    rows = []
    for curve in curves:
        cell, epochs, chosen = curve.cell, curve.history.height, curve.chosen
        score = curve.history.get_column("score")
        best = None if chosen is None else score[chosen - 1]
        named = shown(cell.model), shown(curve.name), cell.seed
        rows.append((*named, epochs, chosen, best, score[-1], cell.folder))
    types = {**dict.fromkeys(COLUMNS[:2], pl.String), **dict.fromkeys(COLUMNS[2:5], pl.Int64),
             **dict.fromkeys(COLUMNS[5:7], pl.Float64), "folder": pl.String}  # fmt: skip
    monitors = ", ".join(dict.fromkeys(shown(curve.monitor) for curve in curves))
    return Table(
        "chosen_epochs",
        f"A row is a cell. Tested was the first epoch with the best {monitors}.",
        pl.DataFrame(rows, types, orient="row"),
        {"chosen": "chosen epoch", "score": "its score", "last": "score of the last epoch"},
    )


def _picture(number: int, model: str, curves: Sequence[Curve]) -> Picture:
    names = list(dict.fromkeys(shown(curve.name) for curve in curves))
    epochs = sorted(curve.chosen for curve in curves if curve.chosen is not None)
    score = shown(curves[0].monitor)
    range_of = f"between {epochs[0]} and {epochs[-1]}" if epochs else "unknown"
    return picture(
        curve_panels([Line(c.name, c.history, c.chosen) for c in curves], score),
        file_name("training", number, model),
        f"{shown(model)}: loss and score by epoch; the dots are the chosen epochs.",
        f"Training loss, validation loss and validation score of {shown(model)} by epoch. "
        f"Representations: {', '.join(names)}; the chosen epochs are {range_of}. "
        "The table of chosen epochs has the numbers.",
        model=model,
    )
