"""What can be said of a network: the verdicts, what they mean, and the lines they are drawn by.

`hideseek.audit.judgement` is the rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from hideseek.audit.bootstrap import Interval

Name = Literal[
    "no_signal", "lungs", "outside_marker", "adjacent_anatomy", "global_acquisition",
    "mask_confounded", "mixed", "inconclusive",
]  # fmt: skip
Answer = Literal["up", "down", "unclear", "missing"]

SILHOUETTES = ("silhouette", "box_silhouette")
FIXED, UNION, AROUND = "fixed_box_out", "union_box_out", "around_lungs"
ASKED = ("original", "lungs_removed", "lungs_isolated", *SILHOUETTES, AROUND, FIXED, UNION)
"""Representations that a verdict may ask for."""

CHANCE = 0.5
EXIT_STATUS = {"lungs": 0, "no_signal": 4, "inconclusive": 4}
SHORTCUT_STATUS = 3

MEANING: Mapping[str, str] = {
    "no_signal": "tells the classes apart nowhere",
    "lungs": "reads the lungs: hidden, they take its accuracy with them; alone, they carry it",
    "outside_marker": "reads something outside the lungs and away from them, such as a letter, a "
    "tube or the border",
    "adjacent_anatomy": "reads what lies next to the lungs, such as heart or mediastinum",
    "global_acquisition": "reads something that is all over the image, such as exposure or "
    "processing, or signals inside and outside the lungs that each suffice",
    "mask_confounded": "can be explained by the size and shape of the mask alone",
    "mixed": "reads more than one thing",
    "inconclusive": "cannot be told from these images",
}


@dataclass(frozen=True)
class Rule:
    """Where the lines are drawn, before looking.

    Attributes:
        least: AUC above chance that counts, 0..0.5.
        near: share of the original's excess over chance below which hiding counts as complete, and
            that the lungs alone may lack.
        most: share of the image, 0..1, beyond which the fixed rectangle leaves too little to be
            read for "nothing is left" to mean anything.
    """

    least: float = 0.05
    near: float = 1 / 3
    most: float = 0.8


@dataclass(frozen=True)
class Step:
    """One question and its answer.

    Attributes:
        representation: asked about.
        answer: "up", "down", "unclear" or "missing".
        score: AUC with its 95 % interval; None where missing.
    """

    representation: str
    answer: Answer
    score: Interval | None


@dataclass(frozen=True)
class Verdict:
    """The verdict on one network.

    Attributes:
        model: name of the network.
        name: one of `MEANING`.
        sentence: to quote.
        failing: the first precondition that failed; empty if none did.
        steps: what was asked, in order.
        share: of the lungs in the original's excess over chance, least and most; None where the
            verdict does not depend on it.
        hidden: share of the image that the rectangle of `fixed_box_out` covers, 0..1, if known.
    """

    model: str
    name: Name
    sentence: str
    failing: str
    steps: tuple[Step, ...]
    share: tuple[float, float] | None = None
    hidden: float | None = None

    @property
    def status(self) -> int:
        """Exit status: 0 for lungs, 3 for a shortcut, 4 where nothing can be said."""
        return EXIT_STATUS.get(self.name, SHORTCUT_STATUS)
