"""Original against rerun, cell by cell, measured by how much the seed alone changes a result."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from rich import box
from rich.table import Table
from scipy.stats import t

from hideseek.sweep.sheet import Outcome, Sheet, SheetCell
from hideseek.sweep.trust import is_local, key_of

CONFIDENCE = 0.95
SCHEMA = {
    "cell": pl.String,
    "original": pl.Float64,
    "rerun": pl.Float64,
    "difference": pl.Float64,
    "n": pl.Int64,
    "verdict": pl.String,
}
ROUNDING = 1e-12


@dataclass(frozen=True)
class SeedNoise:
    """How much the accuracy of a cell changes with the seed alone.

    Attributes:
        deviation: pooled standard deviation of the accuracy between seeds.
        degrees: of freedom, the number of cells beyond the first of each group of seeds.
    """

    deviation: float
    degrees: int

    @property
    def widest(self) -> float:
        """Difference of two runs that seeds alone exceed once in twenty times."""
        quantile = float(t.ppf((1 + CONFIDENCE) / 2, self.degrees))
        return quantile * self.deviation * math.sqrt(2)


def seed_noise(sheet: Sheet) -> SeedNoise | None:
    """Estimate the noise from cells that differ in their seed only.

    Args:
        sheet: of the original sweep.

    Returns:
        Pooled over all such groups; None where no cell has a finished twin of another seed.
    """
    groups: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for cell in sheet.cells:
        if cell.outcome is not None and (accuracy := _accuracy(cell)) is not None:
            same = (o for o in cell.overrides if not is_local(o) and key_of(o) != "seed")
            groups[cell.outcome.manifest_hash, *sorted(same)].append(accuracy)
    groups = {key: values for key, values in groups.items() if len(values) > 1}
    degrees = sum(len(values) - 1 for values in groups.values())
    if degrees == 0:
        return None
    squares = sum(float(np.var(values) * len(values)) for values in groups.values())
    return SeedNoise(math.sqrt(squares / degrees), degrees)


def compare(original: Sheet, rerun: Mapping[str, SheetCell]) -> pl.DataFrame:
    """Compare every cell of a sweep with its rerun.

    Args:
        original: the sheet that was rerun.
        rerun: the cells that ran, by the original's folder.

    Returns:
        One row per cell: `cell`, `original` and `rerun` (accuracy, 0 to 1), `difference` (rerun
        less original), `n` (test images of the rerun) and `verdict`.
    """
    noise = seed_noise(original)
    rows = []
    for cell in original.cells:
        other = rerun.get(cell.folder)
        before, after = _accuracy(cell), _accuracy(other)
        difference = None if before is None or after is None else after - before
        verdict = _verdict(cell.outcome, other.outcome if other else None, difference, noise)
        rows.append((cell.folder, before, after, difference, _images(other or cell), verdict))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def comparison_table(compared: pl.DataFrame, title: str) -> Table:
    """Lay a comparison out for the terminal.

    Args:
        compared: as `compare` returns it.
        title: above the table.

    Returns:
        The table; fractions with three decimals, "n/a" where there is none.
    """
    table = Table(title=title, header_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name, kind in compared.schema.items():
        table.add_column(name, justify="left" if kind == pl.String else "right", no_wrap=True)
    for cell, before, after, difference, n, verdict in compared.iter_rows():
        texts = _shown(before, ".3f"), _shown(after, ".3f"), _shown(difference, "+.4f")
        table.add_row(cell, *texts, _shown(n, "d"), verdict)
    return table


def summary(compared: pl.DataFrame, noise: SeedNoise | None) -> str:
    """Count the verdicts in one line, and say what seed noise means here."""
    counts = Counter(compared.get_column("verdict"))
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    if noise is None:
        return f"{compared.height} cells: {told}; no two cells of the original differ in seed only"
    return (
        f"{compared.height} cells: {told}; seed noise: two runs of a cell differ by up to "
        f"{noise.widest:.4f} in 95 of 100 cases (deviation between seeds {noise.deviation:.4f}, "
        f"{noise.degrees} degrees of freedom)"
    )


def _shown(value: float | None, form: str) -> str:
    return "n/a" if value is None else format(value, form)


def _accuracy(cell: SheetCell | None) -> float | None:
    return None if cell is None or cell.outcome is None else cell.outcome.metrics.get("accuracy")


def _images(cell: SheetCell) -> int | None:
    metrics = {} if cell.outcome is None else cell.outcome.metrics
    count = metrics.get("n", metrics.get("images"))
    return None if count is None else int(count)


def _verdict(
    original: Outcome | None,
    rerun: Outcome | None,
    difference: float | None,
    noise: SeedNoise | None,
) -> str:
    if rerun is None:
        return "not rerun"
    if original is None or difference is None:
        return "no original"
    if rerun.predictions_sha256 == original.predictions_sha256:
        return "bitwise equal"
    if rerun.metrics == original.metrics:
        return "equal metrics"
    if noise is None:
        return "no noise estimate (one seed)"
    return f"{'within' if abs(difference) <= noise.widest + ROUNDING else 'beyond'} seed noise"
