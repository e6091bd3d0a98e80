"""What the source probe found, as a table and in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from hideseek.audit.probe import Probe

BEYOND, LIKE_LABEL = "beyond the label", "no more than the label"
_NUMBERS = ("chance", "balanced_accuracy", "low", "high", "label", "label_low", "label_high")
_SCHEMA = {
    **dict.fromkeys(
        ("column", "features", "model", "representation", "levels", "left_out"), pl.String
    ),
    **dict.fromkeys(("images", "patients"), pl.Int64),
    **dict.fromkeys(_NUMBERS, pl.Float64),
    "reading": pl.String,
}


@dataclass(frozen=True)
class Rung:
    """One probe.

    Attributes:
        column: that is predicted.
        kind: of features: "label", "pixels" or "network".
        model: of the network, "" for the others.
        representation: "" for the label.
        found: by the probe.
    """

    column: str
    kind: str
    model: str
    representation: str
    found: Probe


def reading(rung: Rung, label: Probe | None) -> str:
    """Say what a rung means.

    Args:
        rung: to read.
        label: the probe of the same column from the labels alone, or None.

    Returns:
        The probe's own verdict where it is not "above chance"; else "no more than the label", or
        "beyond the label" where its interval lies above that of the label. The two are judged on
        the same images, so this asks for more than a paired comparison would.
    """
    of_label = None if label is None else label.balanced_accuracy
    if rung.found.verdict != "above chance" or rung.kind == "label" or of_label is None:
        return rung.found.verdict
    low = rung.found.balanced_accuracy.low if rung.found.balanced_accuracy else None
    high = of_label.value if of_label.high is None else of_label.high
    return BEYOND if low is not None and high is not None and low > high else LIKE_LABEL


def ladder_table(rungs: Sequence[Rung]) -> pl.DataFrame:
    """Lay probes out: one row each, the label's own beside it; null where not defined."""
    labels = _labels(rungs)
    rows = []
    for rung in rungs:
        found, label = rung.found, labels.get(rung.column)
        left_out = "; ".join(f"{name} ({patients} patients)" for name, patients in found.left_out)
        rows.append(
            (rung.column, rung.kind, rung.model, rung.representation, ", ".join(found.levels),
             left_out, found.images, found.patients, found.chance, *_numbers(found),
             *_numbers(label), reading(rung, label))
        )  # fmt: skip
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")


def ladder_lines(rungs: Sequence[Rung]) -> list[str]:
    """Say from where each column can be read, and what follows for hiding regions."""
    labels = _labels(rungs)
    lines = []
    for column in dict.fromkeys(rung.column for rung in rungs):
        label = labels.get(column)
        kinds = [(each.kind, each.model) for each in rungs if each.column == column]
        for kind, model in dict.fromkeys(kinds):
            if kind == "label":
                continue
            ladder = {
                each.representation: each
                for each in rungs
                if (each.column, each.kind, each.model) == (column, kind, model)
            }
            lines += _ladder_lines(column, f"{model}'s features" if model else kind, ladder, label)
    return lines


def _ladder_lines(
    column: str, features: str, ladder: dict[str, Rung], label: Probe | None
) -> list[str]:
    first = next(iter(ladder.values())).found
    if first.chance is None:
        scarce = ", ".join(f"{name} {patients}" for name, patients in first.left_out)
        return [
            f"the {column} cannot be probed from {features}: not two of them have 10 patients in "
            f"training and in test ({scarce})"
        ]
    scores = ", ".join(f"{name} {_score(rung.found)}" for name, rung in ladder.items())
    beside = "" if label is None else f", from the label alone {_score(label)}"
    lines = [f"{column} from {features}: {scores}; by chance {first.chance:.3f}{beside}"]
    said = {name: reading(rung, label) for name, rung in ladder.items()}
    start = f"the {column} can be read from {features} of"
    shapes = [name for name in ("silhouette", "box_silhouette") if said.get(name) == BEYOND]
    if shapes:
        lines.append(
            f"{start} {' and '.join(shapes)}: the outline of the lungs gives it away, and what "
            "hides them keeps their outline"
        )
    if said.get("lungs_isolated") == BEYOND and not shapes:
        outline = "" if "silhouette" in said else ", unless their outline (silhouette) does it"
        lines.append(
            f"{start} lungs_isolated too: it is all over the image, lungs included, and hiding "
            f"regions cannot remove it{outline}"
        )
    elif said.get("original") == BEYOND and said.get("lungs_isolated", BEYOND) != BEYOND:
        lines.append(
            f"{start} original and is not shown to be in lungs_isolated: what is known to give it "
            "away lies outside the lungs"
        )
    return lines


def _labels(rungs: Sequence[Rung]) -> dict[str, Probe]:
    return {rung.column: rung.found for rung in rungs if rung.kind == "label"}


def _numbers(found: Probe | None) -> tuple[float | None, float | None, float | None]:
    score = None if found is None else found.balanced_accuracy
    return (None, None, None) if score is None else (score.value, score.low, score.high)


def _score(found: Probe) -> str:
    value, low, high = _numbers(found)
    if value is None:
        return "n/a"
    return f"{value:.3f}" if low is None else f"{value:.3f} ({low:.2f}-{high:.2f})"
