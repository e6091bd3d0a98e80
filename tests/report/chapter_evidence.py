"""An audited sweep of hand-written numbers."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from hideseek.report.evidence import Evidence

CLASSES = ["normal", "pneumonia", "covid19"]
HOSTILE = "<script>alert('$x_1$')</script>"


def evidence_of(tables=None, sweep="multirun/my grid", cells=(), **audit) -> Evidence:
    content = {"format": 1, "classes": CLASSES, "images": 300, "patients": 200,
               "settings": {"margin": 0.02, "least": 0.05}, **audit}  # fmt: skip
    return Evidence(Path(sweep), content, tables or {}, pl.DataFrame(), tuple(cells))


def metrics(scores: dict[tuple[str, str], tuple[float, float, float]], metric="accuracy", seeds=2):
    """Rows of metrics.csv from {(model, representation): (estimate, low, high)}."""
    return pl.DataFrame(
        [
            {"model": model, "representation": name, "seeds": seeds, "metric": metric,
             "estimate": estimate, "low": low, "high": high}
            for (model, name), (estimate, low, high) in scores.items()
        ]
    )  # fmt: skip
