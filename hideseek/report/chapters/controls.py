"""Chapter: what the controls score, whether the masks leak the class, and margins and fills."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from hideseek.audit.verdict import CHANCE, FIXED, SILHOUETTES, Rule
from hideseek.report.cell_files import SENTENCE, shown
from hideseek.report.chapter import Chapter, Picture, Table
from hideseek.report.drawing import legible, picture
from hideseek.report.evidence import Evidence
from hideseek.report.margins import margin_pictures, margin_table
from hideseek.report.palette import network_colour
from hideseek.report.scores import Score, by_model, groups, interval, mappings, number, scores
from hideseek.report.whiskers import Series, whisker_figure

KEY, TITLE = "controls", "Controls"
BESIDE = ("original", "lungs_removed")
"""Shown beside the controls in the picture, for comparison."""


def chapter(evidence: Evidence) -> Chapter:
    """Write the chapter.

    Args:
        evidence: an audited sweep.

    Returns:
        AUC of the controls and what the rule says of the masks; accuracy by margin and fill where
        the sweep has them.
    """
    auc = scores(evidence, "macro_auc")
    controls = groups(auc["representation"])[1]
    least = _least(evidence)
    sentences, tables, pictures, absent = [_about(least)], [], [], ""
    if controls:
        hidden = {
            str(each.get("model")): number(each.get("hidden"))
            for each in mappings(evidence.audit.get("verdicts"))
        }
        sentences += [
            leak(model, part, least, hidden.get(model)) for model, part in by_model(auc).items()
        ]
        listed = auc.filter(pl.col("representation").is_in(controls)).drop("seeds")
        tables.append(
            Table(
                "controls",
                "Macro AUC of each network on each control with its 95 % interval; 0.5 is chance.",
                listed,
            )
        )
        pictures.append(_picture(auc, controls, least))
    else:
        sentences = []
        absent = (
            "This sweep has no controls, so nothing tells whether the masks leak the class. To "
            "train them: repeat the sweep's command with experiment=controls, then audit it again."
        )
    curves = margin_table(scores(evidence, "accuracy"))
    if not curves.is_empty():
        sentences.append(
            "What lies next to the lungs goes with a growing margin, a marker far away stays; what "
            "differs between fills at the same margin is the fills' own work."
        )
        tables.append(
            Table(
                "margins",
                "Accuracy by margin (% of the lung width) and fill with its 95 % interval.",
                curves,
                {"estimate": "accuracy"},
                {"margin": 0},
            )
        )
        sentences += [shown(line, SENTENCE) for line in evidence.lines("margins")]
        pictures += margin_pictures(curves)
    return Chapter(KEY, TITLE, tuple(sentences), tuple(tables), tuple(pictures), absent)


def leak(model: str, auc: Mapping[str, Score], least: float, hidden: float | None = None) -> str:
    """Say in words whether the shape of the masks tells the classes apart for a network.

    The answers are those of `hideseek.audit.verdict`, here for both silhouettes whatever the
    verdict asked for.

    Args:
        model: name of the network.
        auc: estimate, low and high of each representation.
        least: AUC above chance that counts.
        hidden: share of the image that the fixed rectangle covers, 0..1, if known.

    Returns:
        A sentence or two.
    """
    original = auc.get("original", (None, None, None))[0]
    complete = max(2 * least, Rule().near * ((original or CHANCE) - CHANCE))
    found = {name: _answer(auc[name], least, complete) for name in SILHOUETTES if name in auc}
    said = "; ".join(f"{name} {interval(auc[name])}, {found[name]}" for name in found)
    if not found:
        return f"{model}: neither silhouette was run, so whether the masks leak is not known."
    if LEAKS in found.values():
        fixed = (
            f"{FIXED} {interval(auc[FIXED])}, {_answer(auc[FIXED], least, complete)}"
            if FIXED in auc
            else f"{FIXED} was not run"
        )
        return (
            f"{model}: the masks leak the class ({said}), so lungs_removed and lungs_boxed_out "
            f"prove nothing; the rectangle that is the same for all images decides ({fixed})"
            + ("." if hidden is None or hidden <= Rule().most else _vast(hidden))
        )
    if set(found.values()) == {QUIET} and len(found) == len(SILHOUETTES):
        return f"{model}: the masks are not seen to leak the class ({said})."
    lacking = [f"{name} was not run" for name in SILHOUETTES if name not in found]
    said = "; ".join([said, *lacking])
    return f"{model}: whether the masks leak the class is not clear ({said})."


def _vast(hidden: float) -> str:
    return f", but it hides {hidden:.0%} of the image, so a fall to chance says nothing."


LEAKS, QUIET, UNCLEAR = "clearly above chance", "near chance", "neither clearly"


def _answer(score: Score, least: float, complete: float) -> str:
    _, low, high = score
    if low is None or high is None:
        return UNCLEAR
    if low - CHANCE > least:
        return LEAKS
    return QUIET if high - CHANCE < complete else UNCLEAR


def _least(evidence: Evidence) -> float:
    settings = evidence.audit.get("settings")
    given = number(settings.get("least")) if isinstance(settings, dict) else None
    return Rule().least if given is None else given


def _about(least: float) -> str:
    return (
        "A silhouette shows the shape of the mask and no pixel of the image. As in the verdicts, "
        f"an AUC is clearly above chance if its interval lies above {CHANCE + least:g}, and near "
        f"chance if it lies below {CHANCE + 2 * least:g}, or within a third of what the original "
        "has above chance; else it is neither."
    )


def _picture(auc: pl.DataFrame, controls: list[str], least: float) -> Picture:
    rows = [*(name for name in BESIDE if name in set(auc["representation"])), *controls]
    series = [
        Series(
            legible(model),
            network_colour(place),
            found,
        )
        for place, (model, found) in enumerate(by_model(auc).items())
    ]
    lines = {"chance": CHANCE, f"counts above {CHANCE + least:g}": CHANCE + least}
    figure = whisker_figure({name: name for name in rows}, series, "macro AUC", lines)
    return picture(
        figure,
        "controls",
        "Macro AUC of each network on the controls, with 95 % intervals, beside what it has on the "
        "original and without lungs.",
        f"Dots with whiskers of {len(series)} networks on {', '.join(rows)}, against chance at "
        "0.5; the numbers are in the tables controls and macro_auc.",
    )
