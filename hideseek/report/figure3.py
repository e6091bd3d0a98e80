"""The paper's Figure 3 from a sweep: where one network looks under each representation.

Rows are test images that all networks call the same without anything hidden, columns the
representations, each seen by the network that was trained on it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hideseek.attribution import Maps, enlarged
from hideseek.audit.explain import explain
from hideseek.audit.grid import CellPredictions, Grid
from hideseek.audit.reopen import reopen
from hideseek.errors import UserError
from hideseek.report.attribution import COLOURS
from hideseek.roi import PAPER

log = logging.getLogger(__name__)
PREFERRED = "resnet50"
"""The network of the paper's figure."""

RIGHT, WRONG = "\N{CHECK MARK}", "\N{BALLOT X}"


@dataclass(frozen=True)
class Column:
    """One representation: the cell, what its network saw, its maps, enlarged, and their captions.

    Attributes:
        cell: of the network.
        pictures: uint8 [rows, S, S].
        maps: float32 [rows, S, S].
        captions: the predicted class, right or wrong, and its probability.
    """

    cell: CellPredictions
    pictures: npt.NDArray[np.uint8]
    maps: Maps
    captions: tuple[str, ...]


def figure_3(
    sweep: Path,
    grid: Grid,
    path: Path,
    rows: int = 4,
    model: str | None = None,
    device: str | torch.device = "cpu",
) -> Path | None:
    """Draw Figure 3 of the paper from a sweep.

    Args:
        sweep: its folder.
        grid: as `read_grid` returns it.
        path: of the picture; its ending says whether SVG or PNG.
        rows: at most so many images: of each class in turn, those called rightly first.
        model: the network; by default ResNet-50 as in the paper, else the first.
        device: where the network runs.

    Returns:
        The path; None, with a warning that says why, where there is nothing to draw.
    """
    shown = agreed_images(grid, rows)
    if not len(shown):
        log.warning("no Figure 3: there is no image on which all networks agree")
        return None
    models = grid.models()
    model = model or (PREFERRED if PREFERRED in models else models[0])
    cells = _by_roi(grid, model)
    columns = []
    for cell in (cells[name] for name in PAPER if name in cells):
        try:
            columns.append(_column(sweep, grid, cell, shown.tolist(), device))
        except (UserError, RuntimeError, ValueError) as error:  # torch's, of an odd network
            log.warning("no column %s in Figure 3: %s", cell.roi, str(error).partition("\n")[0])
    if not columns:
        log.warning("no Figure 3: no network of %s can be explained", model)
        return None
    labels = [grid.classes[number] for number in grid.labels[shown]]
    networks = len(_called(grid))
    agreed = "the only network" if networks == 1 else f"all {networks} networks agree on the images"
    _draw(path, f"{model}: {agreed}", labels, columns)
    return path


def agreed_images(grid: Grid, rows: int) -> npt.NDArray[np.intp]:
    """Choose images that all networks call the same with nothing hidden, the first seed of each.

    Args:
        grid: of the sweep.
        rows: how many.

    Returns:
        Their places in the grid by class: of each class in turn one, called rightly if there is
        any such, by `image_id`. Empty where no network saw the original.
    """
    called = _called(grid)
    if not called:
        return np.array([], np.intp)
    agreed = np.flatnonzero((np.stack(called) == called[0]).all(axis=0))
    wrong = called[0][agreed] != grid.labels[agreed]
    order = agreed[np.lexsort((grid.images.get_column("image_id").to_numpy()[agreed], wrong))]
    turn = np.empty(len(order), np.intp)
    for number in np.unique(grid.labels):
        members = grid.labels[order] == number
        turn[members] = np.arange(members.sum())
    chosen = order[np.lexsort((grid.labels[order], turn))][:rows]
    return chosen[np.argsort(grid.labels[chosen], kind="stable")]


def _called(grid: Grid) -> list[npt.NDArray[np.int64]]:
    """Give what each network that saw the original calls the images."""
    cells = [_by_roi(grid, model).get("original") for model in grid.models()]
    return [cell.predictions for cell in cells if cell is not None]


def _by_roi(grid: Grid, model: str) -> dict[str, CellPredictions]:
    """Find a network's cell of each representation: the plain one if there is, the lowest seed."""
    found: dict[str, CellPredictions] = {}
    cells = [cell for cell in grid.cells if cell.model == model]
    for cell in sorted(cells, key=lambda each: each.representation != each.roi):
        found.setdefault(cell.roi, cell)
    return found


def _column(
    sweep: Path, grid: Grid, cell: CellPredictions, shown: list[int], device: str | torch.device
) -> Column:
    opened = reopen(sweep, cell, grid)
    images = opened.images(shown)
    predictions, maps = explain(opened.net, opened.card, opened.layer, images, device)
    if (predictions != cell.predictions[shown]).any():
        raise UserError(f"{cell.folder}: its checkpoint gives other predictions than its table")
    captions = [
        f"{grid.classes[called]} {RIGHT if called == grid.labels[place] else WRONG} "
        f"({cell.probabilities[place, called]:.2f})"
        for place, called in zip(shown, predictions, strict=True)
    ]
    pictures = images[:, 0].numpy()
    return Column(cell, pictures, enlarged(maps, pictures.shape[1:]), tuple(captions))


def _draw(path: Path, title: str, labels: list[str], columns: list[Column]) -> None:
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(
        figsize=(2.1 * len(columns) + 0.9, 2.35 * len(labels) + 1), layout="constrained"
    )
    legend = f"Grad-CAM of the predicted class; {RIGHT} right, {WRONG} wrong (probability)"
    figure.suptitle(f"{title}\n{legend}", fontsize=9)
    axes = figure.subplots(len(labels), len(columns), squeeze=False)
    for column, line in zip(columns, axes.T, strict=True):
        # Logits of two networks share no scale.
        most = float(column.maps.max())
        line[0].set_title(column.cell.representation, fontsize=9)
        for row, axis in enumerate(line):
            axis.imshow(column.pictures[row], cmap="gray", vmin=0, vmax=255)
            relative = column.maps[row] / most if most > 0 else column.maps[row]
            colours = axis.imshow(relative, cmap=COLOURS, vmin=0, vmax=1, alpha=0.5)
            axis.set(xticks=[], yticks=[])
            axis.set_xlabel(column.captions[row], fontsize=9)
    for label, axis in zip(labels, axes[:, 0], strict=True):
        axis.set_ylabel(label, fontsize=9)
    bar = figure.colorbar(colours, ax=axes, shrink=min(1.0, 2.0 / len(labels)), aspect=15)
    bar.set_label("share of the column's maximum", fontsize=8)
    svg: dict[str, Any] = {"metadata": {"Date": None}} if path.suffix == ".svg" else {}
    # Without salt and date the same sweep gives the same file.
    with matplotlib.rc_context({"svg.hashsalt": "hideseek"}):
        figure.savefig(path, dpi=130, **svg)
