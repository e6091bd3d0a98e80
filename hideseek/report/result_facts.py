"""Sentences on results and how they were obtained, from audit.json and its tables."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from hideseek.report.cell_files import shown
from hideseek.report.evidence import Evidence
from hideseek.report.scores import columns, groups, interval, mappings, number

PERFORMANCE = {"accuracy": "accuracy", "macro_auc": "macro AUC"}
PARTS = {
    "sources": "within sources and against guessing from metadata",
    "probe": "probes of the source",
    "cross_representation": "trained on one representation and tested on others",
}


def result_facts(evidence: Evidence) -> dict[str, str]:
    """State what the audit found and how.

    Args:
        evidence: of the sweep.

    Returns:
        Sentences by key; absent where the audit has nothing.
    """
    settings = evidence.audit.get("settings")
    known = settings if isinstance(settings, dict) else {}
    names = columns(evidence.table("metrics"), ("model", "representation", "metric"), ())
    metrics = ", ".join(map(shown, names.get_column("metric").unique(maintain_order=True)))
    facts = {
        "uncertainty": f"Patients were drawn with replacement within each class, "
        f"{shown(known.get('resamples'))} times, the same draws for every network: 95 % percentile "
        "intervals. Differences from the original: exact or permutation tests with Holm's "
        f"correction; equal means within {shown(known.get('margin'))} by two one-sided tests.",
        "verdicts": " ".join(
            shown(each.get("sentence")) for each in mappings(evidence.audit.get("verdicts"))
        ),
        "sample_size": _sample_size(evidence),
        "robustness": _robustness(evidence, names),
        "clusters": "Results within sources and source by source are in the chapter on sources."
        if evidence.section("sources")
        else "",
        "explainability": _explainability(evidence),
        "performance": _performance(evidence),
        "estimates": _estimates(evidence),
        "failures": "Which images were called wrongly, and as what, is in predictions.csv of each "
        "cell.",
    }
    if metrics:
        facts["metrics"] = f"Computed of every cell: {metrics}."
    return facts


def performance_of(
    evidence: Evidence, model: str, metrics: Sequence[str], representation: str = "original"
) -> dict[str, str]:
    """Spell metrics of a network with their 95 % intervals.

    Args:
        evidence: of the sweep.
        model: the network.
        metrics: names in the table of metrics; those that begin so count where they end with "_".
        representation: that it was trained and tested on.

    Returns:
        By the metric's name, in the table's order.
    """
    table = columns(
        evidence.table("metrics"),
        ("model", "representation", "metric"),
        ("estimate", "low", "high"),
    ).filter(pl.col("model") == model, pl.col("representation") == representation)
    wanted = tuple(metrics)
    return {
        shown(name): interval((estimate, low, high))
        for name, estimate, low, high in table.select("metric", "estimate", "low", "high").rows()
        if name in wanted or name.startswith(tuple(each for each in wanted if each.endswith("_")))
    }


def _models(evidence: Evidence) -> list[str]:
    names = columns(evidence.table("metrics"), ("model",), ())
    return list(names.get_column("model").unique(maintain_order=True))


def _performance(evidence: Evidence) -> str:
    parts = []
    for model in _models(evidence):
        found = performance_of(evidence, model, tuple(PERFORMANCE))
        told = ", ".join(f"{PERFORMANCE[name]} {text}" for name, text in found.items())
        if told:
            parts.append(f"{shown(model)}: {told}")
    return f"With nothing hidden, 95 % intervals: {'; '.join(parts)}." if parts else ""


def _estimates(evidence: Evidence) -> str:
    parts = []
    for model in _models(evidence):
        found = performance_of(evidence, model, ("sens_", "ppv_"))
        if found:
            told = ", ".join(f"{name} {text}" for name, text in found.items())
            parts.append(f"{shown(model)}: {told}")
    text = "; ".join(parts)
    return f"Sensitivity and positive predictive value with nothing hidden: {text}." if text else ""


def _sample_size(evidence: Evidence) -> str:
    images, patients = (number(evidence.audit.get(name)) for name in ("images", "patients"))
    if images is None or patients is None:
        return ""
    text = f"{images:.0f} test images of {patients:.0f} patients."
    found = columns(evidence.table("comparisons"), (), ("detectable",)).get_column("detectable")
    limits = sorted({f"{value:.3f}" for value in found if value is not None})
    if limits:
        text += (
            " Differences in accuracy that 80 of 100 such studies would find: "
            f"{' to '.join(dict.fromkeys((limits[0], limits[-1])))}."
        )
    return text


def _robustness(evidence: Evidence, names: pl.DataFrame) -> str:
    _, controls, _ = groups(names.get_column("representation"))
    done = [text for name, text in PARTS.items() if evidence.section(name)]
    parts = [f"controls {', '.join(controls)}"] if controls else []
    return "; ".join([*parts, *done]).capitalize() + "." if parts or done else ""


def _explainability(evidence: Evidence) -> str:
    content = evidence.section("attribution")
    if not content:
        return ""
    gates = columns(evidence.table("attribution_gates"), ("informative",), ())
    yes = gates.get_column("informative").str.to_lowercase().eq("true").sum()
    return (
        f"{shown(content.get('method'))}, on {shown(content.get('images'))} test images; gates of "
        "random weights and of chance say that the maps of "
        f"{yes} of {gates.height} networks may be read."
    )
