"""The rule: from scores on what was shown and hidden to what a network reads, if one can tell.

    AUC of each representation, with intervals -> judge -> Verdict

A verdict follows from a few yes-or-no questions, each answered by an interval: a score is clearly
above chance, clearly near it, or neither, and neither ends in "inconclusive". How often the
rule is wrong is measured on planted truth by `hideseek selftest`.

The score is the area under the ROC curve, each class against the rest, averaged. A network that
training pushed to one class (the paper's loss weighs COVID-19 four times) has an accuracy of chance
whatever it sees; how it ranks the images still tells.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from hideseek.audit.bootstrap import Draws
from hideseek.audit.verdict import (
    AROUND,
    CHANCE,
    FIXED,
    MEANING,
    SILHOUETTES,
    UNION,
    Answer,
    Name,
    Rule,
    Step,
    Verdict,
)

Decision = tuple[Name, str, tuple[float, float] | None]
"""Verdict, failing precondition, share of the lungs."""

QUIET = 0.15
"""AUC above chance that nothing is left of: below it a network is said to have no signal."""

REDUNDANT = 1.25
"""Shares of the lungs alone and of the rest alone that sum to more are one signal twice, or two."""


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

    def far(self) -> tuple[Answer, str]:
        """Ask about what is far from the lungs; return the answer and which rectangle gave it.

        Where lungs fill the picture the fixed rectangle does, too. As the shape of the masks says
        nothing where this is asked, the rectangle round each image's own lungs takes its place.
        """
        answer = self.ask(FIXED)
        if answer == "down" and self.vast():
            return self.ask(UNION), UNION
        return answer, FIXED

    def weak(self, representation: str) -> bool:
        """Say whether a score is clearly below what stays when a share of `near` is lost."""
        above = self.scores[representation].interval().high - CHANCE
        return above < (1 - self.rule.near) * self.excess("original")

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
        if score is not None and math.isnan(score.estimate):
            return (
                "inconclusive",
                "all test images are of one class, so there is no AUC",
                None,
            )
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
        if isolated == "up" and asked.weak("lungs_isolated"):
            return "inconclusive", "the lungs alone carry clearly less than the original", None
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
    """Tell what is all over the image from signals that each suffice, one of them in the lungs.

    The first is next to the lungs and far from them, too. So are three signals, one in each place:
    these cannot be told from it.
    """
    around = asked.ask(AROUND)
    far, asked_of = asked.far()
    if around == "down":
        return "mixed", f"lungs and rest each suffice, but little is next to them ({AROUND})", share
    if around == "unclear":
        return "inconclusive", f"lungs and rest each suffice, and {AROUND} is not clear", share
    if far == "down":
        return "mixed", "lungs and rest each suffice, but little is far from them", share
    if around == "missing":
        return "global_acquisition", f"{AROUND}, which could tell these apart, was not run", share
    if far == "up":
        return "global_acquisition", "", share
    if far == "missing":
        return "inconclusive", _missing(asked_of), share
    return (
        "inconclusive",
        "lungs and rest each suffice, and what is far from them is not clear",
        share,
    )


def _outside(asked: _Questions) -> Decision:
    """Tell what touches the lungs from what does not, by a rectangle that holds them and more."""
    far, asked_of = asked.far()
    if far == "up":
        return "outside_marker", "", None
    if far == "down":
        return "adjacent_anatomy", "", None
    if asked_of == UNION:
        return (
            "inconclusive",
            f"it is outside the lungs, {asked.vast()}, and {UNION} is {far}",
            None,
        )
    if far == "missing":
        return "inconclusive", _missing(FIXED), None
    return "inconclusive", f"it is outside the lungs, and {FIXED} is not clear", None


def _missing(representation: str) -> str:
    return f"there is no cell of {representation}; add experiment=controls to the sweep"
