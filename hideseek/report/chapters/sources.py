"""Chapter: what the hospital explains, and what of a network is left within hospitals."""

from __future__ import annotations

import polars as pl

from hideseek.report.chapter import Chapter, Picture, Table
from hideseek.report.evidence import Evidence
from hideseek.report.scores import LIMITS, columns, scores, why_absent
from hideseek.report.source_files import class_by_source, left_out_source
from hideseek.report.source_pictures import (
    class_by_source_picture,
    excess_picture,
    probe_picture,
    within_picture,
)
from hideseek.report.source_sentences import (
    floor_sentences,
    left_out_sentence,
    pair_sentences,
    probe_sentences,
    within_sentences,
)

CELL = ("model", "representation")
JUDGED = "balanced_accuracy"
SUMMARIES = ("all images", "within strata")
PERMUTED = ("accuracy", "log_loss", "bits")


def chapter(evidence: Evidence) -> Chapter:
    """Write the chapter.

    Args:
        evidence: an audited sweep.

    Returns:
        Floor, strata, conditional test and probes, as far as they are there.
    """
    sentences, absent = [], []
    tables: list[Table] = []
    pictures: list[Picture] = []
    source = left_out_source(evidence.sweep)
    if source:
        sentences.append(left_out_sentence(source, scores(evidence, "macro_auc")))
    counts = class_by_source(evidence)
    if not counts.is_empty():
        caption = "Test images of each class by source."
        tables.append(Table("class_by_source", caption, counts))
        pictures.append(class_by_source_picture(counts))
    parts = (
        ("sources", "what the metadata alone tell, and of networks within sources", _sources),
        ("probe", "where the source can be read from", _probe),
    )
    for name, about, write in parts:
        if not evidence.section(name):
            absent.append(why_absent(evidence, name, about))
            continue
        said, shown, drawn = write(evidence)
        sentences += said
        tables += shown
        pictures += drawn
    return Chapter(
        "sources", "Sources", tuple(sentences), tuple(tables), tuple(pictures), " ".join(absent)
    )


Part = tuple[list[str], list[Table], list[Picture]]


def _sources(evidence: Evidence) -> Part:
    content = evidence.section("sources")
    floors = columns(
        evidence.table("floors"),
        ("floor", "columns", "best"),
        ("images", "fitted_on", "accuracy", "macro_auc", "validated"),
    )
    floors = _whole(floors, "images", "fitted_on")
    excess = columns(
        evidence.table("excess"), (*CELL, "metric", "floor_of"), ("network", "floor", "excess",
                                                                 "low", "high"),
    ).filter(pl.col("metric") == JUDGED).rename({"excess": "estimate"})  # fmt: skip
    strata = _strata(evidence)
    conditional = _conditional(evidence)
    sentences = [
        *floor_sentences(content, floors, excess),
        *pair_sentences(content),
        *within_sentences(conditional),
    ]
    pictures = [] if excess.is_empty() else [excess_picture(excess)]
    known = strata.filter(pl.col("stratum").is_in(SUMMARIES))
    for place, model in enumerate(dict.fromkeys(known["model"])):
        pictures.append(within_picture(model, place, known.filter(pl.col("model") == model)))
    tables = [
        Table("floors", "What columns beside the image reach on the same test images, fitted on "
              "training rows; validated: balanced accuracy in cross-validation there.", floors),
        Table("excess", "Balanced accuracy of each network less that of the best floor, paired "
              "image by image, with its 95 % interval. Other metrics: audit/excess.csv.",
              excess.drop("metric", "floor_of"), {"estimate": "excess"}),
        Table("strata", "Networks on the original: AUC of two classes over all images, within "
              "strata, and in each stratum that has both. Other representations: "
              "audit/strata.csv.", strata, {"estimate": "AUC"}),
        Table("conditional", "Whether predictions go with the label where the source is the same: "
              "labels permuted among the patients of a stratum; p counts permutations at least "
              "as good.", conditional),
    ]  # fmt: skip
    return sentences, [each for each in tables if not each.frame.is_empty()], pictures


def _strata(evidence: Evidence) -> pl.DataFrame:
    table = columns(
        evidence.table("strata"),
        (*CELL, "class_a", "class_b", "by", "verdict", "stratum"),
        ("patients_a", "patients_b", "auc", "auc_low", "auc_high"),
    )
    names = dict(zip(("auc", "auc_low", "auc_high"), LIMITS, strict=True))
    whole = table.filter(pl.col("representation") == "original").drop("representation")
    return _whole(whole.rename(names), "patients_a", "patients_b")


def _conditional(evidence: Evidence) -> pl.DataFrame:
    numbers = [f"{name}_{part}" for name in PERMUTED for part in ("value", "expected", "p")]
    counted = ("patients", "set_aside", "strata")
    return _whole(
        columns(evidence.table("conditional"), (*CELL, "by"), (*counted, *numbers)), *counted
    )


def _probe(evidence: Evidence) -> Part:
    probes = columns(
        evidence.table("probe"),
        ("column", "features", *CELL, "levels", "left_out", "reading"),
        ("images", "patients", "chance", JUDGED, "low", "high", "label"),
    ).rename({JUDGED: "estimate"})
    probes = _whole(probes, "images", "patients")
    pictures = [
        probe_picture(column, place, part)
        for place, column in enumerate(dict.fromkeys(probes["column"]))
        if (part := probes.filter(pl.col("column") == column, pl.col("features") != "label",
                                  pl.col("estimate").is_not_null())).height
    ]  # fmt: skip
    caption = (
        "Logistic regression from features to a column: balanced accuracy with its 95 % interval, "
        "by chance, and from the label alone."
    )
    tables = [Table("probe", caption, probes, {"estimate": "balanced accuracy"})]
    sentences = probe_sentences(evidence.section("probe"), probes)
    return sentences, tables if probes.height else [], pictures


def _whole(table: pl.DataFrame, *names: str) -> pl.DataFrame:
    """Show counts as whole numbers."""
    return table.with_columns(pl.col(names).cast(pl.Int64, strict=False))
