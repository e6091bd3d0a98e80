"""Chapter: what each network reads, with the numbers behind it, on one screen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hideseek.audit.verdict import SHORTCUT_STATUS
from hideseek.report.chapter import Card, Chapter
from hideseek.report.evidence import Evidence
from hideseek.report.scores import LIMITS, audit_command, interval, mappings, number, texts

ANSWERS = {
    "up": "clearly above chance",
    "down": "near chance",
    "unclear": "neither clearly above nor near chance",
    "missing": "not run",
}
"""Of `hideseek.audit.verdict.Step`."""

STATUS = {
    0: "every network reads the lungs",
    SHORTCUT_STATUS: "at least one network reads a shortcut",
    4: "no network is shown to read a shortcut, and of one at least nothing can be said",
}
"""Of the audit as a whole."""

UNKNOWN = 4
"""Status of a verdict that has none: nothing can be said."""

CANNOT = (
    "A verdict is about these test images and about where a network reads, not what: lungs differ "
    "between hospitals too, so one that reads the lungs need not read the disease."
)


def chapter(evidence: Evidence) -> Chapter:
    """Write the chapter.

    Args:
        evidence: an audited sweep.

    Returns:
        A card for each network, and what exit status the audit has.
    """
    cards = tuple(_card(each) for each in mappings(evidence.audit.get("verdicts")))
    title, absent = "Verdicts", ""
    if not cards:
        absent = f"This audit has no verdicts. To make them: {audit_command(evidence)}"
    status = number(evidence.audit.get("status"))
    said = []
    if status is not None:
        meaning = STATUS.get(int(status), "not known to this version")
        said = [f"Exit status of the audit: {status:.0f}, that is: {meaning}."]
    return Chapter("verdicts", title, (*_data(evidence), *said, CANNOT), (), (), absent, cards)


def _data(evidence: Evidence) -> list[str]:
    """Say on what the verdicts rest."""
    images, patients = (number(evidence.audit.get(name)) for name in ("images", "patients"))
    if images is None or patients is None:
        return []
    names = ", ".join(texts(evidence.audit.get("classes")))
    return [
        f"{images:.0f} test images of {patients:.0f} patients; classes: {names}. The numbers are "
        "macro AUC with 95 % intervals over patients, seeds averaged; 0.5 is chance."
    ]


def _card(verdict: Mapping[str, Any]) -> Card:
    status = number(verdict.get("status"))
    return Card(
        str(verdict.get("model", "")),
        str(verdict.get("name", "")),
        str(verdict.get("sentence", "")),
        UNKNOWN if status is None else int(status),
        tuple(_line(step) for step in mappings(verdict.get("steps"))),
    )


def _line(step: Mapping[str, Any]) -> str:
    """Write one question and its answer, such as "AUC original 0.91 (0.88-0.94), ..."."""
    score = step.get("score")
    values = score if isinstance(score, dict) else {}
    answer = str(step.get("answer", ""))
    said = ANSWERS.get(answer, answer)
    if not values:
        return f"{step.get('representation', '')}: {said}"
    estimate, low, high = (number(values.get(name)) for name in LIMITS)
    shown = interval((estimate, low, high))
    return f"AUC {step.get('representation', '')} {shown}: {said}"
