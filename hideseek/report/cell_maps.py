"""Pictures that the cells and the audit drew of where networks look, small enough for one page."""

from __future__ import annotations

from hideseek.errors import UserError
from hideseek.report.cell_files import file_name, in_order, read_cell, shown
from hideseek.report.chapter import Picture
from hideseek.report.evidence import Evidence
from hideseek.report.photograph import photograph

ALL_MAPS = 5_500_000
"""Bytes of the pictures of all cells together."""

MOST_BYTES, LEAST_BYTES = 240_000, 40_000
"""Of one cell's picture; with less there is nothing to be seen, and cells are left out."""

FIGURE_3 = 700_000


def figure_3(evidence: Evidence, problems: list[str]) -> list[Picture]:
    """Read the Figure 3 that the audit drew.

    Args:
        evidence: of the sweep.
        problems: gets a sentence where the file is damaged.

    Returns:
        The picture, if there is one.
    """
    path = evidence.sweep / "audit" / "figure3.png"
    if not path.is_file():
        return []
    caption = "Images that all networks call the same, as in the paper's Figure 3."
    alternative = (
        "Radiographs in rows and representations in columns, with Grad-CAM of the predicted class "
        "over what the network saw."
    )
    try:
        return [photograph(path, FIGURE_3, "figure_3", caption, alternative)]
    except UserError as error:
        problems.append(f"Not shown: {shown(error)}.")
        return []


def cell_maps(evidence: Evidence, problems: list[str]) -> list[Picture]:
    """Read every cell's own picture.

    Args:
        evidence: of the sweep.
        problems: gets a sentence for each damaged file, and where there are too many.

    Returns:
        Pictures that together have about `ALL_MAPS` bytes at most.
    """
    paths = [folder / "attribution.png" for folder in in_order(evidence)]
    paths = [path for path in paths if path.is_file()]
    kept = paths[: ALL_MAPS // LEAST_BYTES]
    if len(paths) > len(kept):
        problems.append(f"Of {len(paths)} cells' pictures, the first {len(kept)} are shown.")
    pictures = []
    for number, path in enumerate(kept, start=1):
        cell = read_cell(path.parent)
        name = f"{shown(cell.model)} on {shown(cell.representation)}, seed {cell.seed}"
        if cell.shuffled:
            name += ", trained on shuffled labels"
        try:
            made = photograph(
                path,
                min(MOST_BYTES, ALL_MAPS // len(kept)),
                file_name("maps", number, cell.folder),
                f"{name}: what it saw of test images, and Grad-CAM of the predicted class.",
                f"Two test images of each class as {name} saw them, each beside the same image "
                "with the map over it.",
                model=cell.model,
                representation=cell.representation,
            )
        except UserError as error:
            problems.append(f"Not shown: {shown(error)}.")
            continue
        pictures.append(made)
    return pictures
