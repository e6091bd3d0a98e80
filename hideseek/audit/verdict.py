"""What a network reads, from its scores on what was shown and hidden, or that nobody can tell.

    AUC of each representation, with intervals -> judge -> Verdict

A verdict follows from a few yes-or-no questions, each answered by an interval: a score is clearly
above chance, clearly near it, or neither, and neither ends in "inconclusive". How often the
rule is wrong is measured on planted truth by `hideseek selftest`.

The score is the area under the ROC curve, each class against the rest, averaged. A network that
training pushed to one class (the paper's loss weighs COVID-19 four times) has an accuracy of chance
whatever it sees; how it ranks the images still tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from hideseek.audit.bootstrap import Draws, Interval

Name = Literal[
    "no_signal", "lungs", "outside_marker", "adjacent_anatomy", "global_acquisition",
    "mask_confounded", "mixed", "inconclusive",
]  # fmt: skip
Answer = Literal["up", "down", "unclear", "missing"]
Decision = tuple[Name, str, tuple[float, float] | None]
"""Verdict, failing precondition, share of the lungs."""

SILHOUETTES = ("silhouette", "box_silhouette")
FIXED, UNION, AROUND = "fixed_box_out", "union_box_out", "around_lungs"
CHANCE = 0.5
QUIET = 0.15
"""AUC above chance that nothing is left of: below it a network is said to have no signal."""

REDUNDANT = 1.25
"""Shares of the lungs alone and of the rest alone that sum to more are one signal twice."""

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
        near: share of the original's excess over chance below which hiding counts as complete.
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


class _Questions:
    """Answers about one network, written down as they are asked."""

    def __init__(self, scores: Mapping[str, Draws], rule: Rule, hidden: float | None) -> None:
        self.scores, self.rule, self.hidden = scores, rule, hidden
        self.steps: list[Step] = []
        self.complete = 2 * rule.least

    def ask(self, representation: str) -> Answer:
        draws = self.scores.get(representation)
        score = None if draws is None else draws.interval()
        answer: Answer = "missing"
        if score is not None:
            above, below = score.low - CHANCE, score.high - CHANCE
            near = below < self.complete
            answer = "up" if above > self.rule.least else "down" if near else "unclear"
        self.steps.append(Step(representation, answer, score))
        return answer

    def vast(self) -> str:
        """Say why a fixed rectangle after which nothing is left proves nothing; "" if it does."""
        if self.hidden is None:
            return (
                f"how much {FIXED} hides is not on record; delete its cells and run the sweep again"
            )
        if self.hidden <= self.rule.most:
            return ""
        return f"{FIXED} hides {self.hidden:.0%} of the image, so it cannot decide"

    def excess(self, representation: str) -> float:
        return self.scores[representation].estimate - CHANCE


def judge(
    model: str,
    scores: Mapping[str, Draws],
    hidden: float | None,
    rule: Rule | None = None,
) -> Verdict:
    """Judge one network.

    Args:
        model: its name.
        scores: AUC of each representation on the same resamples, seeds averaged; see
            `hideseek.audit.grid.CellPredictions.representation` for the names.
        hidden: share of the image that the rectangle of `fixed_box_out` covers, 0..1; None where
            that is not known.
        rule: where the lines are; the default if None.

    Returns:
        The verdict.
    """
    asked = _Questions(scores, rule or Rule(), hidden)
    name, failing, share = _decide(asked)
    sentence = f"{model} {MEANING[name]}"
    sentence += f": {failing}." if failing else "."
    return Verdict(model, name, sentence, failing, tuple(asked.steps), share, hidden)


def _decide(asked: _Questions) -> Decision:
    original = asked.ask("original")
    if original == "missing":
        return "inconclusive", _missing("original"), None
    if original != "up":
        score = asked.steps[0].score
        for other in ("lungs_removed", "lungs_isolated", *SILHOUETTES):
            if other in asked.scores and asked.ask(other) == "up":
                return "inconclusive", f"{other} is learned and the original is not", None
        if score is not None and score.high < CHANCE + QUIET:
            return "no_signal", "", None
        return "inconclusive", "the original is not clearly above chance: too few images", None
    asked.complete = max(asked.complete, asked.rule.near * asked.excess("original"))
    removed, isolated = asked.ask("lungs_removed"), asked.ask("lungs_isolated")
    for name, answer in (("lungs_removed", removed), ("lungs_isolated", isolated)):
        if answer == "missing":
            return "inconclusive", _missing(name), None
    if removed == "down":
        if isolated == "up":
            return "lungs", "", None
        return "inconclusive", "neither the lungs alone nor the rest alone carry the classes", None
    leaks = [asked.ask(name) for name in SILHOUETTES]
    if "up" in leaks:
        return _of_the_mask(asked)
    if "missing" in leaks:
        return "inconclusive", _missing(SILHOUETTES[leaks.index("missing")]), None
    if "unclear" in leaks:
        unclear = SILHOUETTES[leaks.index("unclear")]
        return "inconclusive", f"{unclear} is neither clearly at chance nor above it", None
    if removed == "unclear":
        return "inconclusive", "lungs_removed is neither clearly at chance nor above it", None
    if isolated == "up":
        return _inside_and_outside(asked)
    if isolated == "unclear":
        return "inconclusive", "lungs_isolated is neither clearly at chance nor above it", None
    return _outside(asked)


def _of_the_mask(asked: _Questions) -> Decision:
    """Decide where the shape alone tells the classes apart: by a hole that is the same for all."""
    fixed = asked.ask(FIXED)
    if fixed == "down" and (why := asked.vast()):
        return "inconclusive", f"the masks leak the class, and {why}", None
    if fixed == "down":
        return "mask_confounded", "", None
    if fixed == "up":
        why = "the mask's shape tells the classes apart, and so does what no mask reaches"
        return "mixed", why, None
    if fixed == "missing":
        return "inconclusive", _missing(FIXED), None
    return "inconclusive", f"the masks leak the class, and {FIXED} is not clear", None


def _inside_and_outside(asked: _Questions) -> Decision:
    whole = asked.excess("original")
    inside, outside = (
        min(1.0, asked.excess(name) / whole) for name in ("lungs_isolated", "lungs_removed")
    )
    share = (max(0.0, 1 - outside), inside)
    if inside + outside < REDUNDANT:
        why = f"of its AUC above chance {share[0]:.0%} to {share[1]:.0%} may be lungs"
        return "mixed", why, share
    return _twice(asked, share)


def _twice(asked: _Questions, share: tuple[float, float]) -> Decision:
    """Tell one signal that is all over the image from two that each suffice.

    The first is beside the lungs and beyond the fixed rectangle, too. Sweeps that lack
    `around_lungs` cannot tell, and `MEANING` says so.
    """
    for name, place in ((AROUND, "next to them"), (FIXED, "far from them")):
        answer = asked.ask(name)
        if name == FIXED and asked.vast():
            continue
        if answer == "down":
            return "mixed", f"lungs and rest each suffice, but nothing is {place} ({name})", share
        if answer == "unclear":
            return "inconclusive", f"lungs and rest each suffice, and {name} is not clear", share
    return "global_acquisition", "", share


def _outside(asked: _Questions) -> Decision:
    """Tell what touches the lungs from what does not, by a rectangle that holds them and more.

    Where lungs fill the picture the fixed rectangle does, too. As the shape of the masks says
    nothing here, the rectangle round each image's own lungs may take its place.
    """
    fixed = asked.ask(FIXED)
    if fixed == "down" and (why := asked.vast()):
        own = asked.ask(UNION)
        if own == "up":
            return "outside_marker", "", None
        if own == "down":
            return "adjacent_anatomy", "", None
        return "inconclusive", f"it is outside the lungs, {why}, and {UNION} is {own}", None
    if fixed == "up":
        return "outside_marker", "", None
    if fixed == "down":
        return "adjacent_anatomy", "", None
    if fixed == "missing":
        return "inconclusive", _missing(FIXED), None
    return "inconclusive", f"it is outside the lungs, and {FIXED} is not clear", None


def _missing(representation: str) -> str:
    return f"there is no cell of {representation}; add experiment=controls to the sweep"
