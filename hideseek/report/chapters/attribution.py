"""Where the networks look: Figure 3, every cell's maps, and where their energy lies, with gates.

The gates come first: maps no better than those of a network that knows nothing say nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from hideseek.audit.label_gate import RULE
from hideseek.report.cell_files import SENTENCE, file_name, shown
from hideseek.report.cell_maps import cell_maps, figure_3
from hideseek.report.chapter import Chapter, Picture, Table
from hideseek.report.drawing import picture
from hideseek.report.evidence import Evidence
from hideseek.report.map_panels import AREAS, map_panels
from hideseek.report.scores import columns, texts, why_absent
from hideseek.sweep.bundle import hide_home

TITLE = "Where the networks look"
CELL = ("model", "representation", "folder")
GATE = ("enrichment", "low", "high", "far", "far_random", "lowered_low", "auc", "auc_low")
LABEL = (
    "enrichment_shuffled", "difference", "difference_low", "difference_high",
    "correlation", "correlation_shuffled", "correlation_difference_high",
)  # fmt: skip
MEANS = ("lung_enrichment", "border_share", "border_area", "artefact_share", "artefact_area")


def chapter(evidence: Evidence) -> Chapter:
    """Show where the networks look and whether that may be read.

    Args:
        evidence: of the sweep; what the part "attribution" of the audit measured may be absent.

    Returns:
        The chapter; the cells' own pictures are there without the audit, too.
    """
    content = evidence.section("attribution")
    problems: list[str] = []
    pictures = [*figure_3(evidence, problems), *cell_maps(evidence, problems)]
    if not content:
        absent = _absent(evidence)
        return Chapter("attribution", TITLE, tuple(problems), (), tuple(pictures), absent)
    images = columns(evidence.table("attribution_images"), CELL, MEANS)
    panels = _panels(images)
    tables = [_gates(evidence), _means(evidence)]
    sentences = [*_introduction(content, tables[0].frame), *_labels(content), *_left_out(content)]
    tables = [table for table in tables if table.frame.height]
    return Chapter(
        "attribution", TITLE, (*sentences, *problems), tuple(tables), (*panels, *pictures)
    )


def _absent(evidence: Evidence) -> str:
    """Say why the part is not there; of places, only the sweep's, for the command needs it."""
    reason, then, command = why_absent(
        evidence, "attribution", "where the networks look"
    ).rpartition(" To add it: ")
    return shown(reason, SENTENCE) + then + hide_home(command, str(Path.home()))


def _introduction(content: Mapping[str, Any], gates: pl.DataFrame) -> list[str]:
    lines = [
        f"{shown(content.get('method'))}, on {shown(content.get('images'))} of "
        f"{shown(content.get('of'))} test images ({shown(content.get('drawn'))}); seeds: "
        f"{shown(content.get('seeds'))}. E is the share of a map's energy in the lungs over their "
        "share of the image: 1 by chance, more if the network looks at the lungs.",
        "Maps may be read only where the network is shown to be above chance and its E lies "
        "farther from 1 than that of the same network with random weights.",
    ]
    informative = gates.filter(pl.col("informative") == "yes")
    if not gates.height:
        return lines
    lines.append(f"That holds for {informative.height} of {gates.height} networks.")
    for model, part in gates.filter(pl.col("informative") != "yes").group_by(
        "model", maintain_order=True
    ):
        names = ", ".join(f"{row['representation']} ({_why(row)})" for row in part.to_dicts())
        lines.append(f"Maps of {shown(model[0])} say nothing for: {shown(names, SENTENCE)}.")
    return lines


def _why(gate: Mapping[str, Any]) -> str:
    if gate["above_chance"] != "yes":
        return "not above chance"
    if gate["passed"] != "yes":
        return "no farther than random weights"
    return "no other than with shuffled labels"


def _labels(content: Mapping[str, Any]) -> list[str]:
    """Say what networks trained on shuffled labels tell, if there are any."""
    gate = content.get("label_gate")
    if not isinstance(gate, dict):
        return ["This audit has no gate of networks trained on shuffled labels."]
    lines = []
    if isinstance(passed := gate.get("passed"), bool):
        outcome = "All networks that have enough of them passed" if passed else "Not all passed"
        lines.append(f"Gate of networks trained on shuffled labels: {outcome} ({RULE}).")
    if missing := texts(gate.get("missing")):
        settings = "; ".join(texts(gate.get("settings")))
        further = f" (of these, each in a command of its own: {settings})" if settings else ""
        names = shown(", ".join(missing), SENTENCE)
        lines.append(
            f"The gate of networks trained on shuffled labels was not run for {names}: too few "
            "were trained. This trains them, with the sweep's own data and settings added"
            f"{shown(further, SENTENCE)}: {shown(gate.get('command'), SENTENCE)}"
        )
    return lines


def _left_out(content: Mapping[str, Any]) -> list[str]:
    left = content.get("left_out")
    pairs = left.items() if isinstance(left, dict) else ()
    return [f"Not explained: {shown(name)}: {shown(reason)}" for name, reason in pairs]


def _gates(evidence: Evidence) -> Table:
    gates = evidence.table("attribution_gates")
    words = ("passed", "above_chance", "informative")
    frame = columns(gates, (*CELL, *words), GATE)
    labels = columns(evidence.table("attribution_label_gates"), ("folder", "passed"), LABEL)
    added = LABEL if labels.height and gates.height else ()
    if added:
        renamed = labels.rename({"passed": "labels_passed"}).unique("folder", keep="first")
        frame = frame.join(renamed, on="folder", how="left", maintain_order="left")
    answers = {"true": "yes", "false": "no", "True": "yes", "False": "no"}
    answered = "^(passed|above_chance|informative|labels_passed)$"
    frame = frame.with_columns(pl.col(answered).replace(answers))
    said = [name for name in ("informative", *words[:2], "labels_passed") if name in frame.columns]
    return Table(
        "attribution_gates",
        "A row is a network: E with its 95 % interval, how far it is from 1 and the farthest with "
        "random weights, the lower limit of the difference, macro AUC, and what the gates say.",
        frame.select("model", "representation", *said, *GATE, *added),
        {"enrichment": "E", "far": "|E - 1|", "far_random": "random weights", "auc": "macro AUC",
         "lowered_low": "difference, low", "auc_low": "AUC, low", "above_chance": "above chance",
         "passed": "farther than random", "labels_passed": "other than with shuffled labels",
         "enrichment_shuffled": "greatest E, labels shuffled",
         "correlation": "map correlation",
         "correlation_shuffled": "least map correlation, labels shuffled",
         "correlation_difference_high": "difference of map correlation, high"},
    )  # fmt: skip


def _means(evidence: Evidence) -> Table:
    names = ("model", "representation", "group", "measure")
    frame = columns(evidence.table("attribution"), names, ("seed", "mean", "low", "high"))
    rows = frame.filter(pl.col("group") == "all").with_columns(pl.col("seed").cast(pl.Int64))
    cells = rows.select("model", "representation", "seed").unique(maintain_order=True)
    for measure in MEANS:
        part = rows.filter(pl.col("measure") == measure).select(
            "model", "representation", "seed",
            pl.col("mean").alias(measure),
            pl.col("low").alias(f"{measure}_low"),
            pl.col("high").alias(f"{measure}_high"),
        ).unique(("model", "representation", "seed"), keep="first")  # fmt: skip
        if measure in AREAS.values():
            part = part.drop(f"{measure}_low", f"{measure}_high")
        cells = cells.join(part, on=["model", "representation", "seed"], how="left",
                           nulls_equal=True, maintain_order="left")  # fmt: skip
    return Table(
        "attribution_means",
        "A row is a network: means over images with 95 % intervals; a share is to be compared with "
        "the area of its region, which a map that knows nothing gives.",
        cells,
        {"lung_enrichment": "E", "lung_enrichment_low": "E low", "lung_enrichment_high": "E high"},
    )


def _panels(images: pl.DataFrame) -> list[Picture]:
    found = []
    for number, model in enumerate(images.get_column("model").unique(maintain_order=True), start=1):
        rows = images.filter(pl.col("model") == model)
        names = list(rows.get_column("representation").unique(maintain_order=True))
        medians = (
            (name, rows.filter(pl.col("representation") == name)["lung_enrichment"].median())
            for name in names
        )
        told = ", ".join(f"{shown(name)} {m:.2f}" for name, m in medians if isinstance(m, float))
        found.append(
            picture(
                map_panels(rows, names),
                file_name("attribution", number, model),
                f"{shown(model)}: where the energy of the maps lies; boxes are percentiles over "
                "images, white diamonds what chance gives.",
                f"Boxes of lung enrichment, border share and artefact share of {shown(model)} for "
                f"each representation. Median lung enrichment: {told}.",
                model=model,
            )
        )
    return found
