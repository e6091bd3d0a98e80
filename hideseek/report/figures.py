"""Pictures: what the networks were shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from hideseek.data.cache import Cache
from hideseek.errors import UserError
from hideseek.roi import PAPER, REPRESENTATIONS


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
    labels, rows = cache.labels(), cache.rows(["test"])
    shown = [
        _first(cache, rows[labels[rows] == number]) for number in range(len(cache.recipe.classes))
    ]
    named = [
        (name, row)
        for name, row in zip(cache.recipe.classes, shown, strict=True)
        if row is not None
    ]
    if not named:
        raise UserError(f"{cache.path}: no test image has a lung mask, so there is none to show")
    columns = len(representations)
    figure = Figure(figsize=(2.2 * columns, 2.35 * len(named)), layout="constrained")
    axes = figure.subplots(len(named), columns, squeeze=False)
    for (label, row), line in zip(named, axes, strict=True):
        image, mask = cache[row]
        for name, axis in zip(representations, line, strict=True):
            axis.imshow(REPRESENTATIONS[name](image, mask), cmap="gray", vmin=0, vmax=255)
            axis.set(xticks=[], yticks=[])
            if axis.get_subplotspec().is_first_row():
                axis.set_title(name, fontsize=9)
            if axis.get_subplotspec().is_first_col():
                axis.set_ylabel(label, fontsize=9)
    figure.savefig(path, dpi=130)
    return path


def _first(cache: Cache, rows: np.ndarray) -> int | None:
    states = cache.table.get_column("mask_state")
    return next((int(row) for row in rows if states[int(row)] != "empty"), None)
