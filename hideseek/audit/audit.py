"""`hideseek audit`: from the predictions of a sweep to verdicts with error bars.

read_grid -> one set of resamples -> metrics, paired comparisons, verdicts -> audit.json, *.csv
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from hideseek import __version__
from hideseek.audit.bootstrap import Draws, mean_draws, metric_draws, resample_counts
from hideseek.audit.grid import CellPredictions, Grid
from hideseek.audit.judgement import judge
from hideseek.audit.margins import margins_section
from hideseek.audit.paired import (
    Comparison,
    compare,
    decide,
    holm,
)
from hideseek.audit.power import detectable_difference, mcnemar_power
from hideseek.audit.section import Section
from hideseek.audit.verdict import SHORTCUT_STATUS, Rule, Verdict
from hideseek.errors import UserError
from hideseek.record import write_json

FORMAT = 1
Counts = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Settings:
    """What is decided before looking.

    Attributes:
        margin: the largest difference in accuracy that is negligible, 0..1.
        resamples: of the bootstrap.
        least: AUC above chance that counts; see `hideseek.audit.verdict.Rule`.
        seed: of everything random.
    """

    margin: float = 0.02
    resamples: int = 10_000
    least: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UserError: naming the first wrong one.
        """
        if not 0 < self.margin < 1 or not 0 <= self.least < 1:
            raise UserError(f"margin={self.margin}, least={self.least}: give numbers in 0..1")
        if self.resamples < 1000:
            raise UserError(f"resamples={self.resamples} is too few for an interval; give 1000")


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        grid: that was audited.
        settings: of the audit.
        metrics: one row per model, representation and metric: estimate, low, high.
        comparisons: one row per model and representation against the original.
        verdicts: one per model.
        sections: further parts.
    """

    grid: Grid
    settings: Settings
    metrics: pl.DataFrame
    comparisons: pl.DataFrame
    verdicts: tuple[Verdict, ...]
    sections: tuple[Section, ...] = ()

    @property
    def status(self) -> int:
        """Exit status: 3 if any model reads a shortcut, else 4 if any cannot be told, else 0."""
        found = {verdict.status for verdict in self.verdicts}
        return SHORTCUT_STATUS if SHORTCUT_STATUS in found else max(found, default=4)


def resamples_of(grid: Grid, settings: Settings) -> Counts:
    """Draw the resamples that every number of one audit shares."""
    patients = grid.patients.to_numpy()
    return resample_counts(grid.labels, patients, settings.resamples, settings.seed)


def audit_grid(grid: Grid, settings: Settings, counts: Counts) -> Audit:
    """Compute metrics, comparisons and verdicts.

    Args:
        grid: predictions of a sweep.
        settings: decided before.
        counts: as `resamples_of` draws them.

    Returns:
        The audit; of the sections only `margins`, which needs nothing but the predictions.
    """
    scores: dict[tuple[str, str], dict[str, Draws]] = {}
    seeds: dict[tuple[str, str], int] = {}
    for model in grid.models():
        for representation, cells in grid.representations(model).items():
            drawn = [
                metric_draws(
                    grid.labels, cell.predictions, cell.probabilities, counts, grid.classes
                )
                for cell in cells
            ]
            key = model, representation
            scores[key] = {name: mean_draws([each[name] for each in drawn]) for name in drawn[0]}
            seeds[key] = len(cells)
    verdicts = []
    for model in grid.models():
        ranked = {
            representation: draws["macro_auc"]
            for (of, representation), draws in scores.items()
            if of == model
        }
        verdicts.append(judge(model, ranked, grid.hidden(model), Rule(least=settings.least)))
    return Audit(
        grid,
        settings,
        _metrics_table(scores, seeds),
        _comparisons_table(grid, settings, counts),
        tuple(verdicts),
        () if (margins := margins_section(grid, scores, settings.least)) is None else (margins,),
    )


def _metrics_table(
    scores: Mapping[tuple[str, str], Mapping[str, Draws]], seeds: Mapping[tuple[str, str], int]
) -> pl.DataFrame:
    rows = [
        {
            "model": model,
            "representation": representation,
            "seeds": seeds[model, representation],
            "metric": name,
            **asdict(draws.interval()),
        }
        for (model, representation), metrics in scores.items()
        for name, draws in metrics.items()
    ]
    return pl.DataFrame(rows).with_columns(pl.col(pl.Float64).fill_nan(None))


def _comparisons_table(grid: Grid, settings: Settings, counts: Counts) -> pl.DataFrame:
    """Compare every representation with the original of the same model: the declared family."""
    names, family = [], []
    for model in grid.models():
        representations = grid.representations(model)
        if "original" not in representations:
            continue
        original = _correct(grid, representations["original"])
        for representation, cells in representations.items():
            if representation == "original":
                continue
            names.append((model, representation))
            given = grid.patients.to_numpy(), counts, settings.margin, settings.seed
            family.append(compare(original, _correct(grid, cells), *given))
    if not family:
        return pl.DataFrame()
    adjusted, decisions = holm([each.p for each in family]), decide(family)
    rows = [
        _comparison_row(name, each, float(p), decision, settings.margin)
        for name, each, p, decision in zip(names, family, adjusted, decisions, strict=True)
    ]
    return pl.DataFrame(rows).with_columns(pl.col(pl.Float64).fill_nan(None))


def _comparison_row(
    cell: tuple[str, str], found: Comparison, adjusted: float, decision: str, margin: float
) -> dict[str, Any]:
    model, representation = cell
    discordance = (found.better + found.worse) / found.images
    known = discordance >= margin > 0
    return {
        "model": model,
        "representation": representation,
        "difference": found.difference.estimate,
        "low": found.difference.low,
        "high": found.difference.high,
        "low_90": found.within.low,
        "high_90": found.within.high,
        "p": found.p,
        "p_holm": adjusted,
        "test": found.test,
        "p_equivalent": found.p_equivalent,
        "decision": decision,
        "better": found.better,
        "worse": found.worse,
        "images": found.images,
        "power_at_margin": mcnemar_power(found.images, margin, discordance) if known else None,
        "detectable": detectable_difference(found.images, discordance) if discordance else None,
    }


def _correct(grid: Grid, cells: list[CellPredictions]) -> npt.NDArray[np.bool_]:
    return np.stack([cell.predictions == grid.labels for cell in cells])


def write_audit(audit: Audit, sweep: Path) -> Path:
    """Write audit.json and the tables.

    Args:
        audit: to write.
        sweep: folder of the sweep; they go to `audit/` in it.

    Returns:
        The folder.
    """
    folder = sweep / "audit"
    folder.mkdir(exist_ok=True)
    tables = {"metrics": audit.metrics, "comparisons": audit.comparisons}
    for section in audit.sections:
        tables |= dict(section.tables)
    for name, table in tables.items():
        if not table.is_empty():
            table.write_csv(folder / f"{name}.csv")
    content = {
        "format": FORMAT,
        "sweep": sweep.name,
        "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "data": audit.grid.data,
        "classes": list(audit.grid.classes),
        "images": audit.grid.images.height,
        "patients": audit.grid.patients.n_unique(),
        "settings": asdict(audit.settings),
        "verdicts": [{**asdict(verdict), "status": verdict.status} for verdict in audit.verdicts],
        "comparisons": audit.comparisons.to_dicts(),
        "sections": {
            section.name: {**section.content, "lines": section.lines} for section in audit.sections
        },
        "status": audit.status,
    }
    write_json(folder / "audit.json", content)
    return folder
