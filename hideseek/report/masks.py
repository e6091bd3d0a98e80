"""Whether masks can be trusted: the gate's table and sentences, and a picture of the worst."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import polars as pl
from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Table

from hideseek.data.cache import Cache
from hideseek.data.trust import Gate

SHOWN = ("n", "patients", "empty", "flagged", "area_mean", "quality_mean", "quality_p5")
SHEET = (5, 6)


def gate_table(masks: pl.DataFrame) -> pl.DataFrame:
    """Prepare the table of masks for the gate.

    Quality is estimated with the mirrored image where every mask has one, and from the shape alone
    otherwise: the two scales are not comparable.

    Args:
        masks: as `hideseek.data.build.mask_table` lays it out.

    Returns:
        Columns as `hideseek.data.trust.gate` takes them, and the others.
    """
    mirrored = not (masks.get_column("mask_disagreement") == "").any()
    quality = "mask_quality" if mirrored else "mask_shape_quality"
    return masks.with_columns(
        pl.col("mask_area").cast(pl.Float64).alias("area"),
        pl.col(quality).cast(pl.Float64, strict=False).alias("quality"),
        (pl.col("mask_flags") != "").alias("flagged"),
    )


def show_gate(console: Console, gate: Gate) -> None:
    """Print masks by class and by source, and an alarm for each that is raised."""
    table = Table(title="masks", header_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("label", "source", *SHOWN):
        table.add_column(name, justify="left" if name in ("label", "source") else "right")
    for row in gate.summary.iter_rows(named=True):
        numbers = (row[name] for name in SHOWN)
        text = (f"{value:.3f}" if isinstance(value, float) else str(value) for value in numbers)
        table.add_row(row["label"] or "all", row["source"] or "all", *text)
    console.print(table)
    for sentence in gate.sentences:
        console.print(f"[bold]ALARM[/bold] {sentence}", soft_wrap=True)
    if not gate.alarm:
        console.print("no alarm: neither masks nor their errors tell the class")


def contact_sheet(cache: Cache, worst: pl.DataFrame, path: Path) -> Path:
    """Draw the images to look at with the outlines of their masks, worst first.

    Args:
        cache: that holds them.
        worst: rows with `image_id`, `label`, `source`, `quality` and `mask_flags`, in order.
        path: of the PNG file.

    Returns:
        The path.
    """
    rows, columns = SHEET
    place = {name: number for number, name in enumerate(cache.table.get_column("image_id"))}
    shown = [row for row in worst.iter_rows(named=True) if row["image_id"] in place]
    figure = Figure(figsize=(2.1 * columns, 2.45 * rows), layout="constrained")
    for axis, row in zip(figure.subplots(rows, columns).flat, shown, strict=False):
        image, mask = cache[place[row["image_id"]]]
        colour = np.stack([image] * 3, axis=2)
        outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        axis.imshow(cv2.drawContours(colour, outlines, -1, (255, 200, 0), 1))
        quality = "n/a" if row["quality"] is None else f"{row['quality']:.2f}"
        axis.set_title(
            f"{row['label']} {row['source']} {quality}\n{row['mask_flags'][:28]}", fontsize=6
        )
    for axis in figure.axes:
        axis.set_axis_off()
    figure.savefig(path, dpi=120)
    return path
