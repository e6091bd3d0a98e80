"""Distributions of mask area and quality, a box for each class and source."""

from __future__ import annotations

import polars as pl
from matplotlib.figure import Figure

from hideseek.report.drawing import drawn, legible
from hideseek.report.palette import network_colour
from hideseek.report.percentile_box import finish_boxes, percentile_box

MOST = 30
"""Groups that a picture has room for: the largest."""

MEASURES = {"area": "mask area, share of the image", "quality": "estimated quality"}


@drawn
def mask_panels(masks: pl.DataFrame) -> Figure:
    """Draw boxes of area and of quality.

    Args:
        masks: a row a mask: `label`, `source`, `area`, `quality`, the last two null where unknown.

    Returns:
        The figure: 5th, 25th, 50th, 75th and 95th percentile, and how many masks are in a group.
    """
    sizes = masks.group_by("label", "source").len().sort("len", descending=True).head(MOST)
    groups = sizes.sort("label", "source").rows()
    labels = list(dict.fromkeys(label for label, _, _ in groups))
    figure = Figure(figsize=(9, 1.2 + 0.34 * max(3, len(groups))), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, (measure, title) in zip(axes, MEASURES.items(), strict=True):
        for place, (label, source, _) in enumerate(groups):
            rows = masks.filter(pl.col("label") == label, pl.col("source") == source)
            values = rows.get_column(measure).drop_nulls().drop_nans()
            colour = network_colour(labels.index(label))
            percentile_box(axis, place, values.to_numpy(), colour, "unknown")
        finish_boxes(axis, title)
    names = [
        f"{legible(label)}, {legible(source) or 'no source'} ({n})" for label, source, n in groups
    ]
    axes[0].set_yticks(range(len(groups)), names)
    axes[0].set_ylim(len(groups) - 0.4, -0.6)
    return figure
