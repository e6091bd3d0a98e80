"""Chapter: the paper's Tables 3 to 7 beside the same numbers of this sweep."""

from __future__ import annotations

import polars as pl

from hideseek.audit.paper import ORIGINAL, paper_table, published_tables
from hideseek.report.chapter import Chapter, Picture, Table
from hideseek.report.drawing import picture
from hideseek.report.evidence import Evidence
from hideseek.report.palette import INK, network_colour
from hideseek.report.scores import LIMITS, Score, number, scores, texts
from hideseek.report.whiskers import Series, whisker_figure
from hideseek.roi import PAPER

NETWORKS = {
    "covidnet_cxr3a": "CXR3-A",
    "covidnet_cxr4a": "CXR4-A",
    "alexnet": "AlexNet",
    "vgg11": "VGG-11(bn)",
    "resnet50": "ResNet-50",
}
"""The paper's names of our networks."""

METRICS = ("accuracy", *(f"{kind}_{name}" for kind in ("sens", "ppv")
                         for name in ("normal", "pneumonia", "covid")))  # fmt: skip
"""Columns of the paper's tables."""

PUBLISHED, OURS = "paper", "this sweep"
LETTERS = str.maketrans("", "", " -_.")


def chapter(evidence: Evidence) -> Chapter:
    """Write the chapter.

    Args:
        evidence: an audited sweep.

    Returns:
        A table for each network that the paper has, and a picture of the accuracies.
    """
    key, title = "paper-tables", "Beside the paper"
    models = dict.fromkeys(scores(evidence, "accuracy")["model"])
    known = [name for name in NETWORKS if name in models]
    if not known:
        return Chapter(key, title, ("None of these networks is in the paper.",))
    both = beside(evidence)
    numbers = dict(published_tables().select("model", "table").unique().rows())
    tables = [_table(both, name, numbers[NETWORKS[name]]) for name in known]
    tables.append(_intervals(both))
    images = number(evidence.audit.get("images"))
    others = "other" if images is None else f"{images:.0f}"
    sentences = [
        "The paper's numbers are of 300 test images, 100 a class, one run each, at the epoch that "
        f"did best on these very images; those of this sweep are of {others} images. Where images, "
        "training or choice of the epoch differ, so may the numbers.",
    ]
    rest = [name for name in models if name not in NETWORKS]
    if rest:
        sentences.append(f"Not in the paper: {', '.join(rest)}.")
    pictures = [_picture(both, name) for name in known]
    return Chapter(key, title, tuple(sentences), tuple(tables), tuple(pictures))


def beside(evidence: Evidence) -> pl.DataFrame:
    """Put what the paper has beside what the sweep has.

    Args:
        evidence: an audited sweep.

    Returns:
        `model`, `representation`, `metric`, `of` (`PUBLISHED` or `OURS`) and `LIMITS`. Of the
        published numbers accuracy alone has an interval (Wilson's, of 300 images): the paper gives
        none. Networks that the paper lacks are left out, and metrics of classes that it lacks.
    """
    ours = {
        f"{metric}_{name}" if name else metric: f"{metric}_{given}" if given else metric
        for metric, name, given in _our_names(texts(evidence.audit.get("classes")))
    }
    limits = {
        (model, dataset): (low, high)
        for model, dataset, low, high in paper_table()
        .select("model", "dataset", "low", "high")
        .iter_rows()
    }
    published = {(row["model"], row["dataset"]): row for row in published_tables().to_dicts()}
    rows: list[tuple[object, ...]] = []
    for metric in METRICS:
        found = scores(evidence, ours[metric]) if metric in ours else pl.DataFrame()
        for row in found.iter_rows(named=True):
            model, shown = row["model"], row["representation"]
            if model not in NETWORKS or shown not in PAPER:
                continue
            cell = NETWORKS[model], ORIGINAL if shown == "original" else f"{ORIGINAL}_{shown}"
            given = limits[cell] if metric == "accuracy" else (None, None)
            rows.append((model, shown, metric, PUBLISHED, published[cell][metric], *given))
            rows.append((model, shown, metric, OURS, *(row[name] for name in LIMITS)))
    names = dict.fromkeys(("model", "representation", "metric", "of"), pl.String)
    return pl.DataFrame(rows, {**names, **dict.fromkeys(LIMITS, pl.Float64)}, orient="row")


def _our_names(classes: list[str]) -> list[tuple[str, str, str]]:
    """Give metric, the paper's class and ours, for each of the paper's metrics that we have."""
    given = {}
    for name in classes:
        plain = name.lower().translate(LETTERS)
        given["covid" if plain.startswith("covid") else plain] = name
    pairs = (metric.partition("_") for metric in METRICS[1:])
    return [
        ("accuracy", "", ""),
        *((kind, name, given[name]) for kind, _, name in pairs if name in given),
    ]


def _table(both: pl.DataFrame, model: str, table: int) -> Table:
    """Lay one network out as the paper does: two rows a representation, a column a metric."""
    rows = both.filter(pl.col("model") == model)
    wide: list[dict[str, object]] = []
    for shown in (name for name in PAPER if name in set(rows["representation"])):
        for of in (PUBLISHED, OURS):
            part = rows.filter(pl.col("representation") == shown, pl.col("of") == of)
            line: dict[str, object] = {"representation": shown, "of": of}
            for metric, *score in part.select("metric", *LIMITS).iter_rows():
                line[metric] = score[0]
                if metric == "accuracy":
                    line |= {"low": score[1], "high": score[2]}
            wide.append(line)
    return Table(
        f"paper_table_{table}",
        f"Table {table} of the paper ({NETWORKS[model]}) and {model} of this sweep, with the 95 % "
        "interval of the accuracy, Wilson's of 300 images for the paper.",
        pl.DataFrame(wide, infer_schema_length=None),
    )


def _intervals(both: pl.DataFrame) -> Table:
    """Lay all our numbers out with their intervals, one a row, the paper's beside."""
    names = ["model", "representation", "metric"]
    published = both.filter(pl.col("of") == PUBLISHED).select(*names, paper="estimate")
    ours = both.filter(pl.col("of") == OURS).select(*names, *LIMITS)
    return Table(
        "paper_intervals",
        "Each number of this sweep with its 95 % interval over patients, beside the paper's.",
        published.join(ours, on=names, maintain_order="left"),
    )


def _picture(both: pl.DataFrame, model: str) -> Picture:
    rows = both.filter(pl.col("model") == model, pl.col("metric") == "accuracy")
    series = []
    for of, colour in ((PUBLISHED, INK), (OURS, network_colour(0))):
        found: dict[str, Score] = {
            shown: (estimate, low, high)
            for shown, estimate, low, high in rows.filter(pl.col("of") == of)
            .select("representation", *LIMITS)
            .iter_rows()
        }
        series.append(Series(of, colour, found))
    shown = [name for name in PAPER if name in set(rows["representation"])]
    return picture(
        whisker_figure(dict(zip(shown, shown, strict=True)), series, f"accuracy of {model}", {}),
        f"paper_{model}",
        f"Accuracy of {model}: the paper's with Wilson's 95 % interval, and this sweep's.",
        f"Dots with whiskers for {', '.join(shown)}; the numbers are in the table of the paper "
        f"for {NETWORKS[model]}.",
        model=model,
    )
