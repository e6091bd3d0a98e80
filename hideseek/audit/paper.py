"""What the paper's own tables can carry: intervals, and the best case of each of its differences.

The paper publishes no predictions, so no paired test of it can be redone. But its sensitivities are
whole numbers of 100 images a class, and that bounds every test: of all ways in which two networks
can differ by d images, the one where no image is gained and d are lost has the smallest p-value.
"""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import polars as pl
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text
from scipy.stats import binomtest

from hideseek.audit.paired import holm, mcnemar
from hideseek.audit.power import mcnemar_power, provable_margin

ORIGINAL = "data"
PER_CLASS = 100
IMAGES = 3 * PER_CLASS
ALPHA = 0.05
OVERLAP = 0.5
"""Share of the errors of the better network that the other one makes too."""

DISCORDANCE = 0.08
"""Share of images where one of two networks alone is right, for the power (80 % where it is
equivalence) that is told."""

LOSS = 0.02
"""The true loss of accuracy whose power is told."""


def published_tables() -> pl.DataFrame:
    """Read the paper's Tables 3 to 7, as its repository prints them.

    Returns:
        One row per network and data set: `table`, `model`, `dataset`, `accuracy`, `sens_<class>`,
        `ppv_<class>` in 0..1 with three decimals at most, and `pred_<class>`, the number of
        images predicted so, which follows from the two before.
    """
    text = (files("hideseek.audit") / "paper_tables.csv").read_text(encoding="utf-8")
    return pl.read_csv(text.encode())


def paper_table() -> pl.DataFrame:
    """Compute what each of the paper's 25 accuracies, and each of its 20 differences, can show.

    Returns:
        One row per network and data set: `model`, `dataset`, `correct` (of 300), `accuracy`,
        `low` and `high` (Wilson, 95 %). Where the data set is not the original: `lost`, images by
        which it is below the original; `p_best`, the smallest p-value that exact McNemar can
        have; `holm_best`, adjusted over the 20; `p_overlap` and `holm_overlap`, the same if half
        of the errors of the better one are errors of both.
    """
    published = published_tables()
    sensitivities = published.select(pl.col("^sens_.*$")).to_numpy()
    correct = np.rint(sensitivities * PER_CLASS).astype(np.int64).sum(axis=1)
    whole = published.select("model", "dataset").with_columns(correct=pl.Series(correct))
    wilson = [binomtest(int(n), IMAGES).proportion_ci(method="wilson") for n in correct]
    whole = whole.with_columns(
        accuracy=pl.col("correct") / IMAGES,
        low=pl.Series([interval.low for interval in wilson]),
        high=pl.Series([interval.high for interval in wilson]),
    )
    references = whole.filter(dataset=ORIGINAL).select("model", reference="correct")
    others = whole.filter(pl.col("dataset") != ORIGINAL).join(references, on="model")
    pairs = others.select("reference", "correct").rows()
    bounds = others.select("model", "dataset", lost=pl.col("reference") - pl.col("correct"))
    for name, overlap in (("best", 1.0), ("overlap", OVERLAP)):
        p = [_p_at(overlap, IMAGES - before, IMAGES - after) for before, after in pairs]
        bounds = bounds.with_columns(pl.Series(f"p_{name}", p), pl.Series(f"holm_{name}", holm(p)))
    return whole.join(bounds, on=["model", "dataset"], how="left", maintain_order="left")


def paper_text() -> Group:
    """Lay the table out for the terminal, with what it means in words.

    Returns:
        A table and a few sentences.
    """
    rows = paper_table()
    table = Table(
        title="Tables 3 to 7 of the paper, 300 test images, one run each",
        header_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for name in ("model", "data set"):
        table.add_column(name, no_wrap=True)
    for name in ("accuracy", "95 % interval", "images lost", "best p", "Holm", "p", "Holm "):
        table.add_column(name, justify="right", no_wrap=True)
    for model, dataset, _, accuracy, low, high, lost, *p in rows.iter_rows():
        images = "" if lost is None else f"{lost:+d}"
        table.add_row(
            model, dataset, f"{accuracy:.3f}", f"{low:.3f}-{high:.3f}", images, *map(_shown, p)
        )
    return Group(table, *(Text(sentence) for sentence in _sentences(rows)))


def _sentences(rows: pl.DataFrame) -> list[str]:
    best = rows.filter(pl.col("holm_best") <= ALPHA).height
    overlap = rows.filter(pl.col("holm_overlap") <= ALPHA)
    differences = rows.get_column("lost").count()
    names = ", ".join(
        f"{model} {data}" for model, data in overlap.select("model", "dataset").rows()
    )
    power = mcnemar_power(IMAGES, LOSS, DISCORDANCE)
    margin = provable_margin(IMAGES, DISCORDANCE)
    return [
        f"Of {differences} differences from the original, at most {best} can survive Holm, if all "
        "images on which two networks differ point the same way (best p).",
        f"If {OVERLAP:.0%} of the errors are shared (last two columns), {overlap.height} survives"
        f"{': ' + names if names else ''}.",
        f"Power for a true loss of {LOSS:.0%} where {DISCORDANCE:.0%} of images differ: "
        f"{power:.0%}. Equivalence could be shown within +-{100 * margin:.1f} points, no closer.",
        "The paper chose each network's epoch by its accuracy on these test images.",
    ]


def _p_at(overlap: float, errors: int, other_errors: int) -> float:
    """McNemar's p if this share of the smaller number of errors is made by both networks."""
    shared = int(overlap * min(errors, other_errors))
    return mcnemar(other_errors - shared, errors - shared)


def _shown(p: float | None) -> str:
    return "" if p is None else f"{p:.4f}" if p >= 0.0001 else "<0.0001"
