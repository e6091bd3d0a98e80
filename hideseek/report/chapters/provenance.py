"""Where the numbers come from: data, software and settings by hash, the paper's settings, limits.

    done.json, provenance.json, config.yaml, sweep.yaml, audit.json -> what may be told of them

Nothing private: of paths the last name, no user, no host, no value of a key that sounds secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import polars as pl

from hideseek.errors import UserError
from hideseek.report.cell_files import SENTENCE, CellFiles, in_order, read_cell, shown
from hideseek.report.chapter import Chapter, Table
from hideseek.report.evidence import Evidence
from hideseek.report.paper_settings import ALWAYS, COVIDNET, GRAPHS, NETWORKS, deviations
from hideseek.report.scores import number
from hideseek.sweep.sheet import read_sheet
from hideseek.sweep.trust import HIDDEN, is_local, masked

HASHES = ("config_hash", "recipe_hash", "manifest_hash", "segmenter_hash")
HASH = 16
"""Characters of a hash that are shown."""

_TOKEN = re.compile(r"(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9_+/-]{32,}")
"""What may be a key although its name does not say so."""

LIMITS = (
    "For research, not for diagnosis.",
    "Accuracy on a hidden representation shows that something outside the lungs carries the class "
    "in these data, not what it is.",
    "Masks carry the size and shape of the lungs; without the silhouettes nothing follows from "
    "lungs_removed.",
    "A test set from the same sources as the training set does not show what a network does in "
    "another hospital.",
    "Intervals are for other patients of the same sources, and for the seeds that were run; they "
    "say nothing of other training recipes.",
)


def chapter(evidence: Evidence) -> Chapter:
    """Say what would have to be known to get the same numbers again.

    Args:
        evidence: of the sweep.

    Returns:
        Tables of cells, software, settings of the audit, and settings beside the paper's.
    """
    cells = [read_cell(folder) for folder in in_order(evidence)]
    title = "Provenance and limits"
    if not cells:
        return Chapter("provenance", title, absent="No cell is finished; run the sweep.")
    differ = deviations(cells)
    sentences = (
        *_identity(evidence, cells),
        *_unlike_the_paper(cells, differ),
        *limits(cells),
        *dict.fromkeys(problem for cell in cells for problem in cell.problems),
    )
    tables = (_software(cells), _audit(evidence), _beside_the_paper(differ), _cells(cells),
              *_overrides(evidence))  # fmt: skip
    return Chapter(
        "provenance", title, sentences, tuple(table for table in tables if table.frame.height)
    )


def limits(cells: Sequence[CellFiles]) -> list[str]:
    """Say what the sweep cannot show, in plain sentences."""
    found = list(LIMITS)
    if any("PhantomSource" in str(cell.setting("data._target_")) for cell in cells):
        found.insert(0, "The images are synthetic: nothing here says anything about patients.")
    runs: dict[tuple[str, str], set[int]] = {}
    for cell in cells:
        runs.setdefault((cell.model, cell.representation), set()).add(cell.seed)
    if any(len(seeds) < 2 for seeds in runs.values()):
        found.append("Some cells were run with one seed, which says little of a second run.")
    return found


def _identity(evidence: Evidence, cells: Sequence[CellFiles]) -> list[str]:
    count = "One cell" if len(cells) == 1 else f"{len(cells)} cells"
    seeds = sorted({cell.seed for cell in cells})
    lines = [
        f"{count}; seeds {', '.join(map(str, seeds))}; audited with hideseek "
        f"{shown(evidence.audit.get('version'))} on {shown(evidence.audit.get('written'))}."
    ]
    for name, what in (("recipe_hash", "caches"), ("version", "versions of hideseek")):
        values = sorted({shown(cell.done.get(name))[:HASH] for cell in cells})
        if len(values) > 1:
            lines.append(f"The cells are of different {what}: {', '.join(values)}.")
    if any(shown(cell.provenance.get("git")).endswith("-dirty") for cell in cells):
        lines.append("Some cells ran with code that was changed and not committed.")
    return lines


def _unlike_the_paper(cells: Sequence[CellFiles], differ: pl.DataFrame) -> list[str]:
    models = dict.fromkeys(cell.model for cell in cells)
    others = [shown(model) for model in models if model not in NETWORKS]
    lines = [
        f"{row['setting']} {row['here']} (paper: {row['paper']}; {row['networks']})"
        for row in differ.filter(pl.col("same") == "no").to_dicts()
    ]
    told = "; ".join(lines)
    found = [f"Other settings than the paper's: {told}." if lines else
             "All settings that are compared are the paper's."]  # fmt: skip
    if others:
        found.append(f"Not among the paper's networks: {', '.join(others)}.")
    if any(model in COVIDNET for model in models):
        found.append(GRAPHS)
    return [*found, *ALWAYS]


def _software(cells: Sequence[CellFiles]) -> Table:
    rows: dict[tuple[str, str], int] = {}
    for cell in cells:
        packages = cell.provenance.get("packages")
        known = {"hideseek": cell.done.get("version"), "code (git)": cell.provenance.get("git"),
                 "python": cell.provenance.get("python"),
                 **(packages if isinstance(packages, Mapping) else {}),
                 "device": cell.provenance.get("device")}  # fmt: skip
        for name, version in known.items():
            key = shown(name), shown(version)
            rows[key] = rows.get(key, 0) + 1
    frame = pl.DataFrame(
        [(*key, count) for key, count in rows.items()],
        {"what": pl.String, "version": pl.String, "cells": pl.Int64},
        orient="row",
    )
    return Table("software", "What the cells ran with, and how many of them.", frame)


def _audit(evidence: Evidence) -> Table:
    settings = evidence.audit.get("settings")
    known = {
        "sweep": evidence.audit.get("sweep"),
        "data (hash of the cache)": evidence.audit.get("data"),
        **(settings if isinstance(settings, Mapping) else {}),
    }
    rows = [(shown(name), shown(value)) for name, value in known.items()]
    frame = pl.DataFrame(rows, {"setting": pl.String, "value": pl.String}, orient="row")
    caption = (
        "Settings of the audit, decided before looking: margin is the difference in accuracy that "
        "is negligible, least the AUC above chance that counts."
    )
    return Table("audit_settings", caption, frame)


def _beside_the_paper(differ: pl.DataFrame) -> Table:
    caption = (
        "A row is a setting and the networks that it holds for: here, and in the paper's code, "
        "which counts where the paper's text says something else."
    )
    return Table("paper_settings", caption, differ, {"same": "as in the paper"})


def _cells(cells: Sequence[CellFiles]) -> Table:
    rows = [
        {
            "model": shown(cell.model),
            "representation": shown(cell.representation),
            "seed": cell.seed,
            "labels": "shuffled" if cell.shuffled else "true",
            **{name: shown(cell.done.get(name))[:HASH] for name in HASHES},
            "seconds": number(cell.provenance.get("seconds")),
            "folder": shown(cell.folder),
        }
        for cell in cells
    ]
    headings = {name: name.replace("_hash", " (hash)") for name in HASHES}
    caption = "A row is a cell: hashes of all that decides its outcome."
    return Table("cells", caption, pl.DataFrame(rows), headings, {"seconds": 1})


def _overrides(evidence: Evidence) -> list[Table]:
    """Tell what was typed to start the sweep, without what is a matter of the machine."""
    try:
        given = read_sheet(evidence.sweep).overrides
    except UserError:
        return []
    kept = [
        _TOKEN.sub(HIDDEN, shown(masked(each), SENTENCE)) for each in given if not is_local(each)
    ]
    caption = "What the sweep was started with, besides places; hideseek rerun reads it, too."
    return [Table("overrides", caption, pl.DataFrame({"override": kept}, {"override": pl.String}))]
