"""Pictures of what the hospital explains: classes by source, the floor, strata, probes."""

from __future__ import annotations

import polars as pl

from hideseek.report.chapter import Picture
from hideseek.report.drawing import legible, picture
from hideseek.report.heat import Heat, heat_figure
from hideseek.report.palette import INK, network_colour
from hideseek.report.scores import LIMITS, Score, groups
from hideseek.report.whiskers import Series, whisker_figure

MOST_SOURCES = 30
"""Rows of the heat map of sources; the table has them all."""


def class_by_source_picture(counts: pl.DataFrame) -> Picture:
    """Draw how many test images each source has of each class.

    Args:
        counts: `source` and a column of counts for each class, the largest source first.
    """
    classes, shown = counts.columns[1:], counts.head(MOST_SOURCES)
    numbers = [list(row[1:]) for row in shown.iter_rows()]
    most = max(1, max(max(row) for row in numbers))
    heat = Heat(
        [legible(name) or "unknown" for name in shown["source"]],
        [legible(name) for name in classes],
        numbers,
        [[str(value) for value in row] for row in numbers],
        (0, most),
        "test images",
        across="class",
        down="source",
    )
    only = f" The {MOST_SOURCES} largest of {counts.height}." if counts.height > len(shown) else ""
    return picture(
        heat_figure(heat),
        "class_by_source",
        "Test images of each class by source. A class that has a source of its own cannot be told "
        f"from it.{only}",
        f"Heat map of {len(shown)} sources by {len(classes)} classes; the numbers are in the table "
        "class_by_source.",
    )


def excess_picture(excess: pl.DataFrame) -> Picture:
    """Draw balanced accuracies less that of the metadata floor.

    Args:
        excess: `model`, `representation` and `LIMITS`.
    """
    series = [
        Series(legible(model), network_colour(place), _scores(part, "representation"))
        for place, (model, part) in enumerate(_parts(excess, "model"))
    ]
    rows = [name for group in groups(excess["representation"]) for name in group]
    figure = whisker_figure(
        {name: legible(name) for name in rows},
        series,
        "balanced accuracy less that of the floor",
        {"the metadata floor": 0.0},
    )
    return picture(
        figure,
        "excess",
        "Balanced accuracy of each network beyond the metadata floor on the same images, with 95 % "
        "intervals. What is not clear of 0 may have been read from the source.",
        f"Dots with whiskers of {len(series)} networks on {len(rows)} representations against 0; "
        "the numbers are in the table excess.",
    )


def within_picture(model: str, place: int, strata: pl.DataFrame) -> Picture:
    """Draw how well a network tells two classes apart over all images and within strata.

    Args:
        model: name of the network.
        place: of the network, for the name of the picture.
        strata: `class_a`, `class_b`, `by`, `stratum` and `LIMITS` of the AUC, summaries only.
    """
    named = strata.with_columns(pair=pl.concat_str("class_a", pl.lit(" or "), "class_b"))
    everything = named.filter(pl.col("stratum") == "all images").unique("pair", keep="first")
    series = [Series("all images", INK, _scores(everything, "pair"))]
    inside = named.filter(pl.col("stratum") != "all images")
    series += [
        Series(f"within {legible(by)}", network_colour(number), _scores(part, "pair"))
        for number, (by, part) in enumerate(_parts(inside, "by"))
    ]
    rows = {name: legible(name) for name in dict.fromkeys(named["pair"])}
    return picture(
        whisker_figure(rows, series, f"AUC of {legible(model)}, original", {"chance": 0.5}),
        f"within_{place + 1}",
        f"{model} on the original: AUC of two classes over all images and where the source is the "
        "same for both, with 95 % intervals. No dot: no source has both classes.",
        f"Dots with whiskers for the pairs {', '.join(rows)} against chance at 0.5; the numbers "
        "are in the table strata.",
        model=model,
    )


def probe_picture(column: str, place: int, probes: pl.DataFrame) -> Picture:
    """Draw from which representations a column can be read.

    Args:
        column: that is predicted, "source" or "view".
        place: of the column, for the name of the picture.
        probes: `features`, `model`, `representation`, `LIMITS`, `chance` and `label`.
    """
    ladder = probes.filter(pl.col("features") != "label")
    series = [
        Series(
            legible(model) or "pixels",
            network_colour(number - 1) if model else INK,
            _scores(part, "representation"),
        )
        for number, (model, part) in enumerate(_parts(ladder, "model"))
    ]
    rows = [name for group in groups(ladder["representation"]) for name in group]
    known = {"chance": probes["chance"].max(), "the label alone": probes["label"].max()}
    lines = {name: value for name, value in known.items() if isinstance(value, float)}
    figure = whisker_figure(
        {name: legible(name) for name in rows},
        series,
        f"balanced accuracy of a probe for the {legible(column)}",
        lines,
    )
    return picture(
        figure,
        f"probe_{place + 1}",
        f"How well the {column} can be read from pixels and from what each network hands to its "
        "last layer, with 95 % intervals. Features that know the label reach the dashed line.",
        f"Dots with whiskers for {len(rows)} representations; the numbers are in the table probe.",
    )


def _parts(frame: pl.DataFrame, name: str) -> list[tuple[str, pl.DataFrame]]:
    return [(str(key[0]), part) for key, part in frame.partition_by(name, as_dict=True).items()]


def _scores(frame: pl.DataFrame, key: str) -> dict[str, Score]:
    rows = frame.select(key, *LIMITS).iter_rows()
    return {name: (estimate, low, high) for name, estimate, low, high in rows}
