"""Verdicts held against the planted truth, and counted: pure functions.

Rehearsal -> outcome -> Rate, with an interval -> goals and power
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hideseek.audit.planted import Planted
from hideseek.audit.rehearsal import Rehearsal

EXPECTED: Mapping[str, str] = {
    "none": "no_signal",
    "opacity": "lungs",
    "marker": "outside_marker",
    "heart": "adjacent_anatomy",
    "gain": "global_acquisition",
    "lung_size": "mask_confounded",
    "mask_error": "mask_confounded",
    "opacity+marker": "mixed",
    "opacity+heart": "mixed",
}
OUTCOMES = ("correct", "inconclusive", "missed", "wrong", "false_alarm")
MOST_FALSE_ALARMS, LEAST_CORRECT = 0.05, 0.95


@dataclass(frozen=True)
class Rate:
    """A share with its 95 % Wilson interval, all of it in 0..1; 0 to 1 where there is no case."""

    hits: int
    cases: int
    low: float
    high: float

    def __str__(self) -> str:
        """Write it out."""
        share = f"{100 * self.hits / self.cases:.0f} %" if self.cases else "no case"
        return f"{self.hits}/{self.cases}  {share} ({100 * self.low:.0f}-{100 * self.high:.0f})"


def expected(planted: Planted) -> str:
    """Name the verdict that the truth asks for."""
    return EXPECTED["none" if planted.strength == 0 else planted.carrier]


def outcome(planted: Planted, verdict: str) -> str:
    """Hold a verdict against the truth.

    Returns:
        One of `OUTCOMES`: "false_alarm" is a claim where there is nothing; "missed", no signal
        seen where there is one; "wrong", another claim than the truth.
    """
    if verdict == expected(planted):
        return "correct"
    if verdict == "inconclusive":
        return "inconclusive"
    if planted.strength == 0:
        return "false_alarm"
    return "missed" if verdict == "no_signal" else "wrong"


def rate(found: Sequence[Rehearsal], counted: str) -> Rate:
    """Count one outcome."""
    from scipy.stats import binomtest

    hits = sum(outcome(each.planted, each.verdict) == counted for each in found)
    if not found:
        return Rate(0, 0, 0.0, 1.0)
    limits = binomtest(hits, len(found)).proportion_ci(method="wilson")
    return Rate(hits, len(found), float(limits.low), float(limits.high))


def summarize(found: Sequence[Rehearsal]) -> dict[str, Any]:
    """Compute the rates that the audit is held to, and its power, as plain values."""
    nothing = [each for each in found if each.planted.strength == 0]
    full = [each for each in found if each.planted.strength == 1]
    alarms, correct = rate(nothing, "false_alarm"), rate(full, "correct")
    goals = {
        "false alarms at strength 0, at most 5 %": (
            alarms, alarms.hits <= MOST_FALSE_ALARMS * alarms.cases,
        ),
        "correct at full strength, at least 95 %": (
            correct, correct.hits >= LEAST_CORRECT * correct.cases,
        ),
    }  # fmt: skip
    return {
        "goals": {
            name: {**asdict(value), "met": met, "text": str(value)}
            for name, (value, met) in goals.items()
        },
        "power": [
            {
                "background": on, "carrier": carrier, "strength": strength, "images": images,
                **asdict(rate(group, "correct")),
                **Counter(outcome(each.planted, each.verdict) for each in group),
            }
            for (on, carrier, strength, images), group in groups(found).items()
        ],
    }  # fmt: skip


def groups(found: Sequence[Rehearsal]) -> dict[tuple[str, str, float, int], list[Rehearsal]]:
    """Group by background, carrier, strength and images; at strength 0 all carriers are `none`."""
    grouped: dict[tuple[str, str, float, int], list[Rehearsal]] = {}
    for each in found:
        drawn = each.planted
        carrier = "none" if drawn.strength == 0 else drawn.carrier
        key = drawn.on, carrier, drawn.strength, drawn.images
        grouped.setdefault(key, []).append(each)
    return grouped
