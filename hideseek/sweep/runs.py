"""Reading finished cells back: done.json, predictions, and the table over a sweep."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from hideseek.errors import UserError
from hideseek.roi import REPRESENTATIONS
from hideseek.sweep.untrusted import read_fields
from hideseek.tasks.evaluate import metrics_of_predictions, table_2

CELL = ("model", "roi", "seed")


@dataclass(frozen=True)
class Training:
    """How a cell was trained, as far as cells of one model, representation and seed may differ.

    Attributes:
        selection: which images chose the epoch, "validation" or "paper" (the test set).
        shuffled: whether the training labels were exchanged between patients.
    """

    selection: str = "validation"
    shuffled: bool = False

    @property
    def flattered(self) -> bool:
        """Whether the test images chose the epoch, so that scores on them are too good."""
        return self.selection == "paper"

    @property
    def labels(self) -> str:
        """Name the labels: "true" or "shuffled"."""
        return "shuffled" if self.shuffled else "true"


ORDINARY = Training()


def read_training(folder: Path) -> Training:
    """Read how a cell was trained from its config.yaml, which may be anybody's.

    Args:
        folder: of the cell.

    Returns:
        What it says; the ordinary way where there is no such file.

    Raises:
        UserError: the file cannot be read.
    """
    path = folder / "config.yaml"
    try:
        config = read_fields(path)
    except FileNotFoundError:
        return ORDINARY
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); run the cell again") from None
    shuffled = "datamodule" in config and config.below("datamodule").content.get("shuffle_labels")
    selection = config.text("selection") if "selection" in config else "validation"
    return Training(selection, shuffled is True)


def read_done(folder: Path) -> dict[str, Any]:
    """Read what a finished cell says of itself.

    Args:
        folder: of the cell.

    Returns:
        The content of done.json; empty where the cell is unfinished or the file is damaged.
    """
    try:
        content = json.loads((folder / "done.json").read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) and _is_sound(content) else {}


def cell_results(folder: Path) -> dict[str, Any]:
    """Compute a finished cell's row of results.csv from its predictions.csv.

    Args:
        folder: of a cell with a done.json.

    Returns:
        `model`, `roi`, `seed`, the metrics in the paper's order, then `epochs`, `fill`, `margin`,
        `data` (the hash of the cache's recipe) and `folder`. Nothing that two runs of the same
        cell could differ in, such as seconds.

    Raises:
        UserError: the cell is unfinished or its predictions are damaged.
    """
    done = read_done(folder)
    if not done:
        raise UserError(f"{folder}: the cell is not finished; run the sweep again")
    try:
        predictions = pl.read_csv(folder / "predictions.csv", infer_schema=False, glob=False)
        if done["task"] == "segment":
            numbers = predictions.with_columns(
                pl.col("^.*_(background|lung)|accuracy$").cast(pl.Float64)
            )
            metrics = table_2(numbers).drop("source").row(-1, named=True)
        else:
            metrics = metrics_of_predictions(predictions, done["classes"])
        history = pl.read_csv(folder / "history.csv", glob=False)
    except UserError as error:
        raise UserError(f"{folder}: {error}") from None
    except (OSError, pl.exceptions.PolarsError, KeyError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{folder}: damaged cell ({reason}); delete it and run again") from None
    ours = {
        "epochs": history.height,
        "fill": done.get("fill", ""),
        "margin": done.get("margin", 0.0),
        "data": str(done.get("recipe_hash", "")),
        "folder": folder.name,
    }
    return {**{key: done[key] for key in CELL}, **metrics, **ours}


def sweep_results(folder: Path) -> pl.DataFrame:
    """Collect the finished cells of a sweep.

    Args:
        folder: of the sweep.

    Returns:
        One row per finished cell, by model, then representation in the paper's order, then seed;
        null where a metric is not defined; empty where no cell is finished. Before `data` and
        `folder` come `selection` (which images chose the epoch) and `labels` ("true", or
        "shuffled" of experiment=label_randomised), in which cells of one name may differ.
    """
    cells = sorted(path.parent for path in folder.glob("*/done.json"))
    rows = [{**cell_results(cell), **_varied(cell)} for cell in cells if read_done(cell)]
    rows.sort(key=lambda row: (row["model"], _place(row["roi"]), row["seed"], row["folder"]))
    table = pl.DataFrame(rows)
    if table.is_empty():
        return table
    last = ("selection", "labels", "data", "folder")
    return table.select(pl.exclude(last), *last).with_columns(pl.col(pl.Float64).fill_nan(None))


def _varied(cell: Path) -> dict[str, str]:
    training = read_training(cell)
    return {"selection": training.selection, "labels": training.labels}


def _is_sound(content: dict[str, Any]) -> bool:
    """Tell whether what names a cell has the types that readers rely on."""
    classes, seed = content.get("classes", []), content.get("seed")
    if not isinstance(classes, list) or not isinstance(seed, int):
        return False
    return all(
        isinstance(name, str) for name in (content.get("model"), content.get("roi"), *classes)
    )


def _place(roi: str) -> int:
    names = tuple(REPRESENTATIONS)
    return names.index(roi) if roi in names else len(names)
