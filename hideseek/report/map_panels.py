"""Where the energy of attribution maps lies: boxes of each representation, against chance."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from matplotlib.figure import Figure

from hideseek.report.drawing import drawn, legible
from hideseek.report.palette import INK, representation_colour
from hideseek.report.percentile_box import finish_boxes, percentile_box

PANELS = {
    "lung_enrichment": "energy in the lungs, over their area",
    "border_share": "share of the energy at the border",
    "artefact_share": "share of the energy on bright artefacts",
}
"""Measures of `attribution_images` and what they are called."""

AREAS = {"border_share": "border_area", "artefact_share": "artefact_area"}
"""The share that a map which knows nothing gives: that of the area."""


@drawn
def map_panels(images: pl.DataFrame, names: Sequence[str]) -> Figure:
    """Draw a box of each measure for each representation.

    Args:
        images: rows of one network: `representation`, the measures of `PANELS` and the areas of
            `AREAS`, null where not defined.
        names: representations, from top to bottom.

    Returns:
        The figure: 5th, 25th, 50th, 75th and 95th percentile over images; a white diamond is what
        chance gives.
    """
    figure = Figure(figsize=(10.5, 1.3 + 0.34 * max(3, len(names))), layout="constrained")
    axes = figure.subplots(1, len(PANELS), sharey=True)
    for axis, (measure, title) in zip(axes, PANELS.items(), strict=True):
        for place, name in enumerate(names):
            rows = images.filter(pl.col("representation") == name)
            area = AREAS.get(measure)
            chance = 1.0 if area is None else rows.get_column(area).mean()
            values = rows.get_column(measure).drop_nulls().to_numpy()
            percentile_box(axis, place, values, representation_colour(name), "no map")
            if len(values) and isinstance(chance, float):
                axis.plot(chance, place, "D", color="white", markeredgecolor=INK, markersize=5,
                          zorder=5)  # fmt: skip
        finish_boxes(axis, title, 9)
    axes[0].set_yticks(range(len(names)), [legible(name) for name in names])
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    return figure
