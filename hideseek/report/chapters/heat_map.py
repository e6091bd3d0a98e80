"""Chapter: what each network scores on each representation, as the paper's 5 x 5 and beyond it."""

from __future__ import annotations

import polars as pl

from hideseek.report.chapter import Chapter, Picture, Table
from hideseek.report.drawing import legible, picture, stacked
from hideseek.report.evidence import Evidence
from hideseek.report.heat import Heat, heat_figure
from hideseek.report.scores import LIMITS, audit_command, columns, groups, number, scores, texts

MARKS = {"equivalent": "=", "different": "≠", "inconclusive": "?"}
"""Of `decision` in comparisons.csv."""

COMPARED = ("difference", "difference_low", "difference_high", "p_holm")


def chapter(evidence: Evidence) -> Chapter:
    """Write the chapter.

    Args:
        evidence: an audited sweep.

    Returns:
        Heat maps of accuracy and macro AUC with 95 % intervals, and their tables.
    """
    accuracy, auc = accuracies(evidence), scores(evidence, "macro_auc").drop("seeds")
    title, key = "Networks and representations", "heat-map"
    if accuracy.is_empty():
        absent = f"This audit has no accuracies. To make them: {audit_command(evidence)}"
        return Chapter(key, title, absent=absent)
    classes = texts(evidence.audit.get("classes"))
    chance = 1 / max(2, len(classes))
    margin = _margin(evidence)
    below = "Each cell has the estimate and its 95 % interval over patients, seeds averaged."
    pictures = [
        _picture(accuracy, "accuracy", "Accuracy", chance, f"{below} Marks: see the text above.")
    ]
    tables = [
        Table(
            "accuracy",
            "Accuracy on the test set with its 95 % interval, and the difference from the original "
            "of the same network with its interval, Holm's p over all of them, and what it is "
            f"called at a margin of {margin}.",
            accuracy,
            {"p_holm": "p (Holm)", "difference_low": "from", "difference_high": "to"},
            {"p_holm": 4},
        )
    ]
    if not auc.is_empty():
        pictures.append(_picture(auc, "macro_auc", "Macro AUC", 0.5, below))
        tables.append(
            Table(
                "macro_auc",
                "Area under the ROC curve, each class against the rest, averaged over the classes, "
                "with its 95 % interval; 0.5 is chance.",
                auc,
            )
        )
    sentences = (
        f"= is equivalent to the original of the same network: the data exclude a difference of "
        f"{margin} or more. ≠ is different (p by Holm at most 0.05 over all comparisons). ? is "
        "neither: the data exclude neither a difference nor that there is none.",
        f"Chance is an AUC of 0.5, and an accuracy of {chance:.2f} where all classes have as many "
        "images. The verdicts rest on AUC.",
    )
    return Chapter(key, title, sentences, tuple(tables), tuple(pictures))


def accuracies(evidence: Evidence) -> pl.DataFrame:
    """Join accuracies to what is said of their differences from the original.

    Args:
        evidence: an audited sweep.

    Returns:
        `model, representation, estimate, low, high, difference, difference_low, difference_high,
        p_holm, decision`; of the original no difference and the decision "".
    """
    compared = columns(
        evidence.table("comparisons"),
        ("model", "representation", "decision"),
        ("difference", "low", "high", "p_holm"),
    ).rename({"low": "difference_low", "high": "difference_high"})
    names = ["model", "representation"]
    return (
        scores(evidence, "accuracy")
        .join(compared.unique(names, keep="first"), on=names, how="left", maintain_order="left")
        .select(*names, *LIMITS, *COMPARED, pl.col("decision").fill_null(""))
    )


def _margin(evidence: Evidence) -> str:
    settings = evidence.audit.get("settings")
    margin = number(settings.get("margin")) if isinstance(settings, dict) else None
    return "the margin" if margin is None else f"{100 * margin:g} points"


def _picture(frame: pl.DataFrame, name: str, what: str, chance: float, below: str) -> Picture:
    """Draw one metric of all networks; `frame` may have a `decision`."""
    models = list(dict.fromkeys(frame["model"]))
    grouped = groups(frame["representation"])
    representations = [each for group in grouped for each in group]
    first = len(grouped[0]), len(grouped[0]) + len(grouped[1])
    cells = {(row["model"], row["representation"]): row for row in frame.iter_rows(named=True)}
    found = [[cells.get((model, each)) for each in representations] for model in models]
    heat = Heat(
        [legible(model) for model in models],
        [stacked(each) for each in representations],
        [[None if cell is None else cell["estimate"] for cell in row] for row in found],
        [[_text(cell) for cell in row] for row in found],
        (chance, 1.0),
        what,
        column_starts=frozenset(first),
    )
    alternative = (
        f"Heat map of {what}: {len(models)} networks by {len(representations)} representations, "
        f"the paper's first, then controls; the numbers are in the table {name}."
    )
    caption = f"{what} of each network on each representation. {below}"
    return picture(heat_figure(heat), name, caption, alternative)


def _text(cell: dict[str, object] | None) -> str:
    if cell is None:
        return "not run"
    estimate, low, high = (number(cell[name]) for name in LIMITS)
    if estimate is None:
        return "n/a"
    mark = MARKS.get(str(cell.get("decision", "")), "")
    limits = "" if low is None or high is None else f"\n{low:.2f}-{high:.2f}"
    return f"{estimate:.3f} {mark}".rstrip() + limits
