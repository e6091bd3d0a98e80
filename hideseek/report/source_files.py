"""What the chapter on sources reads beside the audit: labels by source, and a source left out."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from hideseek.errors import UserError
from hideseek.report.evidence import Evidence
from hideseek.report.scores import texts
from hideseek.sweep.sheet import read_sheet


def class_by_source(evidence: Evidence) -> pl.DataFrame:
    """Count the test images of each class and source; they are the same for all cells.

    Args:
        evidence: an audited sweep.

    Returns:
        `source` and one column a class, the largest source first; empty where no cell's
        predictions can be read.
    """
    classes = texts(evidence.audit.get("classes"))
    for cell in evidence.cells:
        try:
            images = pl.read_csv(cell / "predictions.csv", infer_schema=False, glob=False)
            counted = images.select(pl.col("source").fill_null(""), pl.col("label"))
        except (OSError, pl.exceptions.PolarsError):
            continue
        counts = counted.group_by("source").agg(
            (pl.col("label") == name).sum().cast(pl.Int64).alias(f"{place} {name}")
            for place, name in enumerate(classes)
        )
        largest = pl.sum_horizontal(pl.exclude("source"))
        ordered = counts.sort(largest, "source", descending=[True, False])
        names = {f"{place} {name}": name for place, name in enumerate(classes) if name != "source"}
        return ordered.rename(names) if len(set(names.values())) == len(names) else ordered
    return pl.DataFrame()


def left_out_source(sweep: Path) -> str:
    """Name the source that a sweep was trained without and tested on; "" if there is none.

    Args:
        sweep: its folder, with the sweep.yaml that says how it was made.
    """
    try:
        data = read_sheet(sweep).configuration.get("data")
    except UserError:
        return ""
    source = data.get("leave_out") if isinstance(data, dict) else None
    return source if isinstance(source, str) else ""
