"""A model card for each network: use, data, evaluation, verdict, limits, and how to load it.

evidence -> ModelCard -> a table on the page, or Markdown
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from hideseek.report.cell_files import SENTENCE, CellFiles, file_name, read_cell, shown
from hideseek.report.chapter import Chapter, Table
from hideseek.report.chapters.provenance import limits
from hideseek.report.evidence import Evidence
from hideseek.report.export import markdown
from hideseek.report.result_facts import performance_of
from hideseek.report.scores import interval, mappings, number, scores
from hideseek.report.sweep_facts import INTENDED_USE, network_facts, sweep_facts, values

EVALUATED = ("accuracy", "balanced_accuracy", "macro_auc", "sens_", "ppv_", "ece", "brier")
FROM_FACTS = {
    "data": ("labels", "classes", "sources", "disjoint", "preprocessing"),
    "metrics": ("uncertainty",),
}


@dataclass(frozen=True)
class ModelCard:
    """What should be known of a network before anybody uses it.

    Attributes:
        model: its name.
        fields: heading and text, plain; a heading may come several times.
    """

    model: str
    fields: tuple[tuple[str, str], ...]


def chapter(evidence: Evidence) -> Chapter:
    """Write a card for each network.

    Args:
        evidence: of the sweep.

    Returns:
        A table for each.
    """
    cards = model_cards(evidence)
    if not cards:
        return Chapter("model-cards", "Model cards", absent="No cell is finished; run the sweep.")
    tables = tuple(
        Table(
            file_name("model_card", number, card.model),
            f"Model card of {shown(card.model)}.",
            pl.DataFrame(card.fields, {"about": pl.String, "text": pl.String}, orient="row"),
        )
        for number, card in enumerate(cards, start=1)
    )
    return Chapter("model-cards", "Model cards", (), tables)


def model_cards(evidence: Evidence) -> list[ModelCard]:
    """Write the cards from an audited sweep.

    Args:
        evidence: of the sweep.

    Returns:
        One for each network with a finished cell, in the order of their names.
    """
    cells = [read_cell(folder) for folder in evidence.cells]
    facts = sweep_facts(evidence)
    by_model: dict[str, list[CellFiles]] = {}
    for cell in sorted(cells, key=lambda each: each.model):
        if not cell.shuffled:
            by_model.setdefault(cell.model, []).append(cell)
    return [_card(evidence, model, own, facts) for model, own in by_model.items()]


def as_markdown(card: ModelCard) -> str:
    """Write a card as Markdown, to go with the weights.

    Args:
        card: any; what it says is escaped.

    Returns:
        A document: headings, and an item for each text.
    """
    lines = [f"# Model card: {markdown(card.model)}"]
    last = ""
    for about, text in card.fields:
        if about != last:
            lines += ["", f"## {markdown(about)}", ""]
            last = about
        lines.append(f"- {markdown(text)}")
    return "\n".join(lines) + "\n"


def _card(
    evidence: Evidence, model: str, cells: Sequence[CellFiles], facts: dict[str, str]
) -> ModelCard:
    fields = [("intended use", INTENDED_USE), ("network", _network(cells))]
    own = network_facts(cells)
    fields += [("training", own[key]) for key in ("initialisation", "training", "selection")]
    for about, keys in FROM_FACTS.items():
        fields += [(about, facts[key]) for key in keys if key in facts]
    for name, text in performance_of(evidence, model, EVALUATED).items():
        fields.append(("evaluation, nothing hidden", f"{name} {text}"))
    fields += [("evaluation, macro AUC", text) for text in _hidden(evidence, model)]
    for verdict in mappings(evidence.audit.get("verdicts")):
        if verdict.get("model") == model:
            fields.append(("verdict", shown(verdict.get("sentence"), SENTENCE)))
            if verdict.get("failing"):
                fields.append(("verdict", f"What failed: {shown(verdict['failing'], SENTENCE)}"))
    fields += [("limits", text) for text in limits(cells)]
    fields += [("how to load", text) for text in _loading(cells)]
    return ModelCard(shown(model), tuple(fields))


def _network(cells: Sequence[CellFiles]) -> str:
    classes = cells[0].done.get("classes")
    named = ", ".join(map(shown, classes)) if isinstance(classes, list) else "not known"
    seeds = ", ".join(str(seed) for seed in sorted({cell.seed for cell in cells}))
    return (
        f"{values(cells, 'model.net._target_') or shown(cells[0].model)}; radiographs of "
        f"{values(cells, 'image_size') or '?'} px to {named}; "
        f"{len({cell.representation for cell in cells})} representations, seeds {seeds}."
    )


def _hidden(evidence: Evidence, model: str) -> list[str]:
    """Spell the score of every representation; see `hideseek.audit.verdict`."""
    table = scores(evidence, "macro_auc").filter(pl.col("model") == model)
    return [
        f"{shown(row['representation'])}: "
        + interval((number(row["estimate"]), number(row["low"]), number(row["high"])))
        for row in table.iter_rows(named=True)
    ]


def _loading(cells: Sequence[CellFiles]) -> list[str]:
    """Say how the network that saw everything is loaded: the lowest seed, else any cell."""
    plain = [cell for cell in cells if cell.representation == "original"] or list(cells)
    cell = min(plain, key=lambda each: (each.seed, each.folder))
    lines = [
        f"Weights of {shown(cell.representation)}, seed {cell.seed}: checkpoints/best.ckpt in the "
        f"folder {shown(cell.folder)} of the sweep.",
        "In Python: from pathlib import Path; from hideseek.checkpoint import load_network; "
        f"net, card = load_network(Path({f'{cell.folder}/checkpoints/best.ckpt'!r}))",
        "card says which images it takes: size, channels, normalisation and the order of classes. "
        "Nothing in the file is run; networks of other packages are not rebuilt from it.",
    ]
    target = str(cell.setting("model.net._target_"))
    if target.endswith(".external"):
        lines[1] = "It was imported from its owner's code; build it there, then load the weights."
    return lines
