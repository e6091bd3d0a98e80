"""What the facts of an inspection mean: which rows are used, which not, and why.

Pure: tables and arrays in, tables and findings out. Nothing is dropped without a `Problem`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from hideseek.data.inspection import Inspection
from hideseek.data.orientation import judge
from hideseek.data.problems import Problem, Severity

SMALL = 200
"""Pixels; a radiograph whose shorter side is below was cut from a page or a slide."""

FLAT = 2.0
"""Grey levels; an image whose standard deviation is below shows nothing."""

OTHER_MODALITIES = ("ct", "ct scan", "mr", "mri", "us", "ultrasound", "pt", "pet", "nm", "mg")
CT_VIEWS = ("ct", "axial", "coronal", "sagittal")
LATERAL_VIEWS = ("l", "ll", "rl", "lat")
FACTS = ("width", "height", "bit_depth", "format", "sha256", "window", "mask_sha256")
HEADER = ("view", "age", "sex", "pixel_spacing", "modality")

_SUSPICIONS = {
    "inverted": "looks like its own negative: bright lungs, dark bones",
    "upside_down": "looks like a chest upside down",
    "unlike": "does not look like a frontal chest radiograph",
}


@dataclass(frozen=True)
class Judged:
    """Rows that can be used, and what was found on the way.

    Attributes:
        rows: the used rows of the table, in order, with the columns of `FACTS`.
        kept: their positions in the table.
        problems: findings, in the order of the table.
    """

    rows: pl.DataFrame
    kept: list[int]
    problems: list[Problem]


def judge_files(table: pl.DataFrame, inspection: Inspection, masks_required: bool) -> Judged:
    """Decide row by row from what its own files and its metadata say.

    Args:
        table: canonical rows, text.
        inspection: of the same rows, in order.
        masks_required: whether a row without a usable mask is left out (segmentation).

    Returns:
        Rows with their facts; blank `view`, `age`, `sex` and `modality` filled from DICOM headers.
    """
    problems: list[Problem] = []
    kept, rows = [], []
    likeness = judge(inspection.thumbnails)
    facts = inspection.facts.iter_rows(named=True)
    suspicions = likeness.iter_rows(named=True)
    for number, (row, fact, suspicion) in enumerate(
        zip(table.iter_rows(named=True), facts, suspicions, strict=True)
    ):
        row = _with_facts(row, fact)
        found = _unusable(row, fact)
        if found is None:
            mask = _mask_problem(row, fact, masks_required)
            problems += [] if mask is None else [mask]
            if mask is not None and masks_required:
                continue
            problems += _oddities(row, fact, suspicion)
            kept.append(number)
            rows.append(row if mask is None else {**row, "mask": ""})
        else:
            problems.append(found)
    names = dict.fromkeys((*table.columns, *FACTS, *(name for row in rows for name in row)))
    columns = {name: [row.get(name, "") for row in rows] for name in names}
    used = pl.DataFrame(columns, schema=dict.fromkeys(names, pl.String))
    return Judged(used, kept, problems)


def _with_facts(row: dict[str, str], fact: dict[str, object]) -> dict[str, str]:
    header = json.loads(str(fact["header"]))
    known = {name: str(header[name]) for name in HEADER if header.get(name) and not row.get(name)}
    return {**row, **known, **{name: str(fact[name]) for name in FACTS}}


def _unusable(row: dict[str, str], fact: dict[str, object]) -> Problem | None:
    """Return the first reason that rules a row out."""
    file, view, modality = row["path"], row["view"].lower(), row.get("modality", "").lower()
    out: Callable[[str, str, Severity], Problem] = lambda kind, reason, severity: Problem(  # noqa: E731
        file, kind, severity, reason, "left out"
    )
    if modality in OTHER_MODALITIES or view in CT_VIEWS:
        return out("not_radiograph", f"modality '{row.get('modality', '')}', view '{row['view']}'",
                   "info")  # fmt: skip
    if view in LATERAL_VIEWS or "lateral" in view:
        return out("lateral", f"view '{row['view']}'", "info")
    if fact["error"]:
        return out(str(fact["error"]), str(fact["reason"]), "error")
    if float(str(fact["deviation"])) < FLAT:
        reason = f"grey values deviate by {fact['deviation']:.1f} levels: the image shows nothing"
        return out("flat", reason, "error")
    return None


def _mask_problem(row: dict[str, str], fact: dict[str, object], required: bool) -> Problem | None:
    severity: Severity = "error" if required else "warning"
    action = "left out" if required else "mask made by the segmenter"
    if fact["mask_error"]:
        return Problem(row["mask"], "unreadable_mask", severity, str(fact["mask_error"]), action)
    if row["mask"] and fact["mask_share"] == 0:
        return Problem(row["mask"], "empty_mask", severity, "the mask marks no pixel", action)
    return None


def _oddities(
    row: dict[str, str], fact: dict[str, object], suspicion: dict[str, object]
) -> list[Problem]:
    file = row["path"]
    notes = json.loads(str(fact["notes"]))
    found = [Problem(file, kind, "info", reason, "decoded") for kind, reason in notes]
    width, height = int(row["width"]), int(row["height"])
    if min(width, height) < SMALL:
        reason = f"{width}x{height} pixels, below {SMALL}: cut from a page or a slide"
        found.append(Problem(file, "small", "warning", reason, "kept"))
    for kind, reason in _SUSPICIONS.items():
        if suspicion[kind]:
            found.append(Problem(file, kind, "warning", reason, "kept"))
    return found
