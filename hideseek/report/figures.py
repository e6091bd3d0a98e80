"""Pictures: what the networks were shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hideseek.data.cache import Cache, training_rectangle
from hideseek.errors import UserError
from hideseek.fill import Image
from hideseek.report.drawing import drawn, legible
from hideseek.roi import PAPER, REPRESENTATIONS
from hideseek.seeds import image_key, stream

COLUMNS = 6
"""Of a panel, at most."""


@drawn
def representation_panel(cache: Cache, path: Path, representations: Sequence[str] = PAPER) -> Path:
    """Draw one radiograph of each class in several representations (the paper's Figure 2).

    Args:
        cache: where the images come from; the first test image of each class whose mask is not
            empty is shown.
        path: of the PNG file.
        representations: names of columns.

    Returns:
        The path.

    Raises:
        UserError: no test image has a mask.
    """
    shown = [(name, first_of_class(cache, name, ("test",))) for name in cache.recipe.classes]
    named = [(name, row) for name, row in shown if row is not None]
    if not named:
        raise UserError(f"{cache.path}: no test image has a lung mask, so there is none to show")
    columns = len(representations)
    figure = Figure(figsize=(2.2 * columns, 2.35 * len(named)), layout="constrained")
    axes = figure.subplots(len(named), columns, squeeze=False)
    for (label, row), line in zip(named, axes, strict=True):
        pictures = represented(cache, row, representations)
        for (name, picture), axis in zip(pictures.items(), line, strict=True):
            _show(axis, picture, name if axis.get_subplotspec().is_first_row() else "")
            if axis.get_subplotspec().is_first_col():
                axis.set_ylabel(legible(label), fontsize=9)
    figure.savefig(path, dpi=130)
    return path


@drawn
def image_panel(
    cache: Cache,
    rows: Sequence[int],
    path: Path,
    representations: Sequence[str] = tuple(REPRESENTATIONS),
    fill: str = "black",
    margin: float = 0.0,
    seed: int = 0,
) -> Path:
    """Draw whole images in representations; of many, the paper's in one line, the others below.

    Args:
        cache: where the images come from.
        rows: of the cache, one block of the picture each.
        path: of the picture; its extension decides the format.
        representations: what to draw of each image.
        fill: of hidden pixels.
        margin: growth of the lungs, % of their width.
        seed: of a cell; its random fills and boxes are shown.

    Returns:
        The path.
    """
    lines = _lines(representations)
    columns, height = max(map(len, lines)), 2.3 * len(lines) + 0.35
    figure = Figure(figsize=(2.1 * columns, height * len(rows)), layout="constrained")
    blocks = figure.subfigures(len(rows), 1, squeeze=False).flat
    for row, block in zip(rows, blocks, strict=True):
        block.suptitle(_title(cache, row, fill, margin), fontsize=9, x=0.01, ha="left")
        pictures = represented(cache, row, representations, fill, margin, seed)
        axes = block.subplots(len(lines), columns, squeeze=False)
        for names, line in zip(lines, axes, strict=True):
            for name, axis in zip(names, line, strict=False):
                _show(axis, pictures[name], name)
            for axis in line[len(names) :]:
                axis.set_axis_off()
    figure.savefig(path, dpi=130)
    return path


def _lines(representations: Sequence[str]) -> list[Sequence[str]]:
    if len(representations) <= COLUMNS:
        return [representations]
    paper = [name for name in representations if name in PAPER]
    others = [name for name in representations if name not in PAPER]
    starts = range(0, len(representations), COLUMNS)
    return [part for group in (paper, others) for i in starts if (part := group[i : i + COLUMNS])]


def represented(
    cache: Cache,
    row: int,
    representations: Sequence[str],
    fill: str = "black",
    margin: float = 0.0,
    seed: int = 0,
) -> dict[str, Image]:
    """Make the pictures that a cell's network is shown of one image, before augmentation.

    Args:
        cache: holds the image, at the size of the pictures.
        row: of the image.
        representations: their names.
        fill: of hidden pixels.
        margin: growth of the lungs, % of their width.
        seed: of the cell.

    Returns:
        A picture for each name. `fixed_box_out` hides the rectangle of the training images, or of
        all images where there are none to train on.
    """
    image, mask = cache[row]
    key = image_key(cache.table.get_column("image_id")[row])
    pictures = {}
    for name in representations:
        given = {"fill": fill, "margin": margin, "seed": stream(seed, "roi", key)}
        if name == "fixed_box_out":
            given["rectangle"] = training_rectangle(cache)
        pictures[name] = REPRESENTATIONS[name](image, mask, **given)
    return pictures


def first_of_class(cache: Cache, label: str, splits: Sequence[str]) -> int | None:
    """Find the first image of a class whose mask is not empty.

    Args:
        cache: to look in.
        label: of the class.
        splits: to look in, in this order.

    Returns:
        Its row, or None.
    """
    labels, states = (cache.table.get_column(name) for name in ("label", "mask_state"))
    fit = ((labels == label) & (states != "empty")).to_numpy()
    for split in splits:
        rows = cache.rows([split])
        if fit[rows].any():
            return int(rows[np.argmax(fit[rows])])
    return None


def _title(cache: Cache, row: int, fill: str, margin: float) -> str:
    text = cache.table.row(row, named=True)
    known = [text[name] for name in ("label", "source", "split") if text[name]]
    changed = [f"fill {fill}"] * (fill != "black") + [f"margin {margin:g} %"] * (margin != 0)
    name = text["image_id"].rpartition("/")[2]  # often a path
    return "   ".join([*(legible(each) for each in (*known, name)), *changed])


def _show(axis: Axes, picture: Image, title: str) -> None:
    axis.imshow(picture, cmap="gray", vmin=0, vmax=255)
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    axis.set_title(title, fontsize=9)
