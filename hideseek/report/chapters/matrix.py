"""Chapter: every network tested on every representation, also on those it was not trained on."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from hideseek.report.chapter import Chapter, Picture, Table
from hideseek.report.drawing import legible, picture, stacked
from hideseek.report.evidence import Evidence
from hideseek.report.heat import Heat, heat_figure
from hideseek.report.scores import LIMITS, Score, columns, groups, number, why_absent

NAME, SHOWN = "cross_representation", "macro_auc"
WARNING = (
    "Off the diagonal a network sees pictures unlike any that it was trained on (out of "
    "distribution). A low value there says that this network does not cope with them, not that "
    "they hold no information about the classes."
)
Matrix = Mapping[tuple[str, str], Score]
"""Score by (trained on, tested on)."""


def chapter(evidence: Evidence) -> Chapter:
    """Write the chapter.

    Args:
        evidence: an audited sweep.

    Returns:
        A heat map for each network, trained on x tested on, and the table.
    """
    key, title = "matrix", "Trained on one, tested on another"
    content, table = evidence.section(NAME), matrix_table(evidence)
    if not content or table.is_empty():
        about = "networks tested on other representations than their own"
        return Chapter(key, title, absent=why_absent(evidence, NAME, about))
    sentences = [WARNING, *_images(content, evidence), *_faults(content)]
    shown = table.filter(pl.col("metric") == SHOWN)
    models = dict.fromkeys(shown["model"])
    pictures = [
        _picture(model, place, shown.filter(pl.col("model") == model))
        for place, model in enumerate(models)
    ]
    caption = (
        "Macro AUC with its 95 % interval, seeds averaged; drop is by how much it is lower than on "
        "what the network was trained on, paired image by image. Accuracies: "
        f"audit/{NAME}.csv."
    )
    tables = (Table(NAME, caption, shown.drop("metric")),)
    return Chapter(key, title, tuple(sentences), tables, tuple(pictures))


def matrix_table(evidence: Evidence) -> pl.DataFrame:
    """Read the matrix.

    Args:
        evidence: an audited sweep.

    Returns:
        `model, trained_on, tested_on, metric`, `LIMITS`, `drop, drop_low, drop_high`.
    """
    return columns(
        evidence.table(NAME),
        ("model", "trained_on", "tested_on", "metric"),
        (*LIMITS, "drop", "drop_low", "drop_high"),
    )


def _images(content: Mapping[str, object], evidence: Evidence) -> list[str]:
    """Say of how many images it is, where that is not all."""
    some, all_of = number(content.get("images")), number(evidence.audit.get("images"))
    if some is None or all_of is None or some == all_of:
        return []
    return [f"Of {some:.0f} of the {all_of:.0f} test images."]


def _faults(content: Mapping[str, object]) -> list[str]:
    """Say which cells are not in the matrix, or not to be trusted there."""
    again, left_out = content.get("reproduced"), content.get("left_out")
    reproduced = again if isinstance(again, dict) else {}
    unlike = [
        f"{folder}: its checkpoint does not give its predictions again; do not read its row, and "
        "run the cell again."
        for folder, facts in reproduced.items()
        if isinstance(facts, dict) and facts.get("same") is False
    ]
    lacking = left_out.items() if isinstance(left_out, dict) else ()
    return [*unlike, *(f"{folder} is not in the matrix: {reason}" for folder, reason in lacking)]


def _picture(model: str, place: int, rows: pl.DataFrame) -> Picture:
    found: Matrix = {
        (trained, tested): (estimate, low, high)
        for trained, tested, estimate, low, high in rows.select(
            "trained_on", "tested_on", *LIMITS
        ).iter_rows()
    }
    trained, tested = (_grouped(rows[name]) for name in ("trained_on", "tested_on"))
    heat = Heat(
        [legible(name) for name in trained[0]],
        [stacked(name) for name in tested[0]],
        [[found.get((row, column), (None,))[0] for column in tested[0]] for row in trained[0]],
        [[_text(found.get((row, column))) for column in tested[0]] for row in trained[0]],
        (0.5, 1.0),
        "macro AUC",
        trained[1],
        tested[1],
        frozenset(
            (row, tested[0].index(name)) for row, name in enumerate(trained[0]) if name in tested[0]
        ),
        "tested on",
        "trained on",
    )
    return picture(
        heat_figure(heat),
        f"matrix_{place + 1}",
        f"{model}: macro AUC of the networks trained on one representation (row) and tested on "
        "another (column), with 95 % intervals; framed: the same. Off the diagonal is out of "
        "distribution.",
        f"Heat map for {model}, {len(trained[0])} representations trained on by {len(tested[0])} "
        f"tested on; the numbers are in the table {NAME}.",
        model=model,
    )


def _grouped(names: pl.Series) -> tuple[list[str], frozenset[int]]:
    paper, controls, others = groups(names)
    starts = frozenset((len(paper), len(paper) + len(controls)))
    return [*paper, *controls, *others], starts


def _text(score: Score | None) -> str:
    if score is None or score[0] is None:
        return "n/a"
    estimate, low, high = score
    return f"{estimate:.3f}" + ("" if low is None or high is None else f"\n{low:.2f}-{high:.2f}")
