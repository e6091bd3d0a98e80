"""What the sources part of an audit says in words: sentences that a reviewer can quote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hideseek.audit.conditional import ConditionalTest
from hideseek.audit.excess import Estimate, Excess
from hideseek.audit.paired import ALPHA
from hideseek.audit.strata import StratifiedPair
from hideseek.data.floor import Floor

JUDGED = "balanced_accuracy"
"""A network that is pushed to one class gains nothing by it."""

Cell = tuple[str, str]
"""Model and representation."""

Pairs = Mapping[tuple[Cell, tuple[str, ...]], Sequence[StratifiedPair]]
Tests = Mapping[tuple[Cell, tuple[str, ...]], ConditionalTest]


def floor_lines(
    floors: Sequence[Floor], best: Floor | None, excess: Mapping[Cell, Sequence[Excess]]
) -> list[str]:
    """Say what the metadata reach, and which networks are shown to be beyond that.

    Args:
        floors: those that were measured.
        best: of them, or None for guessing.
        excess: of each cell over the best.

    Returns:
        Sentences.
    """
    accuracy = next(iter(excess.values()))[0].floor.value
    if best is None:
        lines = [
            "metadata tell no more of these test images than guessing does, so guessing is the "
            f"floor: accuracy {accuracy:.3f}"
        ]
    else:
        given = ", ".join(best.columns)
        lines = [
            f"without a look at any pixel, {given} give an accuracy of {accuracy:.3f} on the "
            f"same {best.n} test images; a network that is not beyond that may have read no more"
        ]
    lines += [
        f"{each.name} alone all but names the label (validated {each.validated:.3f}): what tells "
        "the two apart has to come from other data"
        for each in floors
        if each.label_like
    ]
    for model in dict.fromkeys(of for of, _ in excess):
        above: list[str] = []
        others: list[str] = []
        for (of, representation), found in excess.items():
            if of == model:
                beyond = next(each for each in found if each.metric == JUDGED).difference
                shown = beyond.low is not None and beyond.low > 0
                (above if shown else others).append(f"{representation} {_signed(beyond)}")
        lines.append(
            f"{model}: balanced accuracy beyond that floor: {', '.join(above) or 'none'}; "
            f"not shown to be beyond it: {', '.join(others) or 'none'}"
        )
    return lines


def pair_lines(pairs: Pairs) -> list[str]:
    """Say which classes these images can tell apart at all, which is the same for every cell."""
    first = next(iter(pairs))[0]
    lines = []
    for (cell, by), found in pairs.items():
        shared = " and ".join(by)
        for pair in found if cell == first else ():
            one, other = pair.classes
            counted = zip(pair.classes, pair.overall.images, strict=True)
            absent = [name for name, images in counted if not images]
            if absent:
                if by == ("source",):
                    lines.append(f"{one} and {other}: n/a, no test image is {absent[0]}")
            elif pair.within is None:
                lines.append(
                    f"{one} and {other} share no {shared}: nothing in these images can tell the "
                    f"disease from the {shared} (not identifiable)"
                )
            elif pair.verdict == "weakly":
                a, b = pair.within.patients
                strata = ", ".join(name for name, _ in pair.strata)
                lines.append(
                    f"{one} and {other} share a {shared} for {a} and {b} patients only ({strata}): "
                    "weakly identifiable"
                )
    return lines


def within_lines(pairs: Pairs, tests: Tests) -> list[str]:
    """Say for each network that saw whole images what is left of it within sources."""
    lines = []
    for ((model, representation), by), found in pairs.items():
        if representation != "original":
            continue
        within = " and ".join(by)
        apart = [
            f"{pair.classes[0]} or {pair.classes[1]} {_interval(pair.within.auc)} instead of "
            f"{_interval(pair.overall.auc)}"
            for pair in found
            if pair.within is not None
        ]
        if apart:
            lines.append(f"{model}, original: AUC within {within}: {'; '.join(apart)}")
        test = tests[(model, representation), by]
        if test.log_loss is None:
            lines.append(
                f"{model}, original: no {within} holds two classes, so whether it reads more than "
                f"{within} cannot be tested"
            )
        else:
            goes = "goes" if test.log_loss.p <= ALPHA else "is not shown to go"
            lines.append(
                f"{model}, original: within {within}, its prediction {goes} with the label "
                f"(p = {test.log_loss.p:.2g}, {test.patients} patients)"
            )
    return lines


def _interval(found: Estimate) -> str:
    if found.value is None:
        return "n/a"
    limits = "" if found.low is None else f" ({found.low:.2f}-{found.high:.2f})"
    return f"{found.value:.3f}{limits}"


def _signed(found: Estimate) -> str:
    if found.value is None:
        return "n/a"
    limits = "" if found.low is None else f" ({found.low:+.2f} {found.high:+.2f})"
    return f"{found.value:+.3f}{limits}"
