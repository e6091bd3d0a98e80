"""What the chapter on sources says in words, from the audit's tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from hideseek.audit.ladder_lines import BEYOND
from hideseek.audit.paired import ALPHA
from hideseek.report.scores import LIMITS, interval, mappings, texts


def left_out_sentence(source: str, auc: pl.DataFrame) -> str:
    """Say that a source was left out of training, and what the networks reach on it.

    Args:
        source: its name.
        auc: of all networks and representations.
    """
    whole = auc.filter(pl.col("representation") == "original").select("model", *LIMITS)
    reached = "; ".join(f"{model} {interval((a, b, c))}" for model, a, b, c in whole.iter_rows())
    return (
        f"These networks were trained without the source {source} and tested on all of it, the "
        f"nearest to a new hospital that one data set has. Macro AUC on the original: "
        f"{reached or 'n/a'}."
    )


def floor_sentences(
    content: Mapping[str, Any], floors: pl.DataFrame, excess: pl.DataFrame
) -> list[str]:
    """Say what metadata reach, and which networks are shown to be beyond that.

    Args:
        content: of the section.
        floors: `columns`, `best`, `accuracy` and `images`.
        excess: `model`, `representation` and `LIMITS` of balanced accuracy.
    """
    sentences = []
    best = floors.filter(pl.col("best") == "yes", pl.col("accuracy").is_not_null())
    if best.height:
        names, accuracy, images = best.select("columns", "accuracy", "images").row(0)
        on = "" if images is None else f" {images:.0f}"
        sentences.append(
            f"Without a look at any pixel, {names} alone gives an accuracy of {accuracy:.3f} on "
            f"the same{on} test images. A network that is not beyond that may have read no more."
        )
    elif content.get("best_floor") == "guessing":
        sentences.append(
            "Metadata tell no more of these test images than guessing does, so guessing is the "
            "floor."
        )
    for model in dict.fromkeys(excess["model"]):
        part = excess.filter(pl.col("model") == model)
        shown = part.filter(pl.col("low") > 0)["representation"].to_list()
        others = [name for name in part["representation"] if name not in shown]
        sentences.append(
            f"{model}: balanced accuracy shown to be beyond the floor on "
            f"{', '.join(shown) or 'nothing'}; not shown on {', '.join(others) or 'nothing'}."
        )
    lacking = content.get("not_available")
    reasons = lacking.items() if isinstance(lacking, dict) else ()
    return [*sentences, *(f"Not available: {name}, because: {why}." for name, why in reasons)]


def pair_sentences(content: Mapping[str, Any]) -> list[str]:
    """Say which classes these images can tell apart from their sources at all."""
    sentences = []
    for pair in mappings(content.get("identifiable")):
        both, by = " and ".join(texts(pair.get("classes"))), " and ".join(texts(pair.get("by")))
        if pair.get("verdict") == "not":
            sentences.append(
                f"{both} share no {by}: nothing in these images can tell the disease from the {by} "
                "(not identifiable)."
            )
        elif pair.get("verdict") == "weakly":
            sentences.append(
                f"{both} share a {by} for few patients only "
                f"({', '.join(texts(pair.get('strata')))}): weakly identifiable."
            )
    return sentences


def within_sentences(conditional: pl.DataFrame) -> list[str]:
    """Say whether predictions on the original go with the label within sources.

    Args:
        conditional: `model, representation, by, patients, log_loss_p`.
    """
    sentences = []
    whole = conditional.filter(pl.col("representation") == "original")
    chosen = whole.select("model", "by", "patients", "log_loss_p")
    for model, names, patients, p in chosen.iter_rows():
        by = names.replace(", ", " and ")
        if p is None:
            sentences.append(
                f"{model}, original: no {by} holds two classes, so whether it reads more than the "
                f"{by} cannot be tested."
            )
        else:
            goes = "goes" if p <= ALPHA else "is not shown to go"
            sentences.append(
                f"{model}, original: within {by}, its prediction {goes} with the label "
                f"(p = {p:.2g}, {patients or 0} patients)."
            )
    return sentences


def probe_sentences(content: Mapping[str, Any], probes: pl.DataFrame) -> list[str]:
    """Say from which representations a column can be read beyond what the label tells.

    Args:
        content: of the section.
        probes: `column, features, model, representation, reading`.
    """
    if probes.is_empty():
        return ["All images are of one source and of one view, so there is none to read."]
    sentences = []
    ladder = probes.filter(pl.col("features") != "label")
    for (column, model), part in ladder.partition_by("column", "model", as_dict=True).items():
        features = f"the features of {model}" if model else "the pixels"
        beyond = part.filter(pl.col("reading") == BEYOND)["representation"].to_list()
        sentences.append(
            f"From {features}, the {column} can be read beyond what the label tells of it on: "
            f"{', '.join(beyond) or 'no representation'}."
        )
    sentences.append("That it can be read does not say that a network uses it.")
    lacking = content.get("left_out")
    cells = lacking.items() if isinstance(lacking, dict) else ()
    return [*sentences, *(f"{folder} is not in the probe: {why}" for folder, why in cells)]
