"""What a finished network loses when a region is hidden, beyond what chance hides of its size cost.

    image, mask -> pictures with a region hidden, and with as large a region at random places
    score of each -> drop beyond that of random hides, with paired intervals -> a reading

Nothing is trained. A picture with a hole is unlike all that the network was trained on, so the
drop alone says little. It is read against random hides: the same region, moved by a random offset
and wrapped round the edges, which keeps its area exactly and hides every pixel with the same
probability. Where even random hides leave a score near chance there is no room for a difference,
and such a fill says nothing. What is read is the macro AUC: a network that a hole pushes to one
class has the accuracy of chance, and may rank the images as before.

Lungs are dark, so a black hole in them is less strange than elsewhere, and a grey one stranger; and
fills other than black take their level from what stays visible, and can carry a little of it. So
only what several fills agree on is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hideseek.audit.bootstrap import Draws, Interval, mean_draws
from hideseek.errors import UserError
from hideseek.fill import INDEPENDENT_FILLS, Image, Mask, fill_hidden
from hideseek.regions import box_region, grow_mask, grown_boxes
from hideseek.seeds import stream

State = Literal["more", "no more", "no room", "cannot tell"]
Word = Literal["lungs", "outside", "both", "neither", "cannot tell"]

REGIONS = ("lungs", "boxes", "outside")
LEAST_FILLS = 3
LEAST_DRAWS = 3
LEAST_AGREEING = 2
ROOM = 1 / 3
"""Share of the excess over chance that random hides have to leave; below it any hole breaks the
network."""

RULE_OF_THREE = 3
"""Of n patients none of whom differs, up to 3 / n may (95 %)."""

LIMITS = (
    "This mode trains nothing, so it has no accuracy on removed lungs and cannot say what another "
    "network would find outside the lungs; hidden images are unlike any that this network was "
    "trained on, so a drop is not proof of use and no drop is not proof of innocence, and a drop "
    "where the outside is hidden is not yet a shortcut. Only drops beyond those of random hides "
    "of the same area are read."
)


@dataclass(frozen=True)
class HidingSettings:
    """How to hide.

    Attributes:
        fills: at least three of `INDEPENDENT_FILLS`; the others keep hidden information.
        margins: growth of the lungs, % of their width.
        draws: random hides of each region, at least three.
        tolerance: the largest loss beyond random hides that is negligible, in AUC.
        seed: of the random places and fills.

    Raises:
        UserError: one of them is out of range.
    """

    fills: tuple[str, ...] = ("black", "mean", "noise")
    margins: tuple[float, ...] = (0.0, 10.0)
    draws: int = LEAST_DRAWS
    tolerance: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        if not set(self.fills) <= set(INDEPENDENT_FILLS) or len(set(self.fills)) < LEAST_FILLS:
            known = ", ".join(INDEPENDENT_FILLS)
            raise UserError(f"fills={list(self.fills)}: give {LEAST_FILLS} or more of {known}")
        if not self.margins or not np.isfinite(self.margins).all():
            raise UserError(
                f"margins={list(self.margins)}: give one or more numbers, such as 0, 10"
            )
        if self.draws < LEAST_DRAWS:
            raise UserError(f"draws={self.draws}: give {LEAST_DRAWS} or more random hides")
        if not 0 < self.tolerance < 1 or self.seed < 0:
            raise UserError("give a tolerance between 0 and 1, and a seed of 0 or more")


@dataclass(frozen=True)
class Hide:
    """One way to hide: a region, or with `draw` the same region at a random place."""

    region: str
    margin: float
    fill: str
    draw: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What hiding a region in one way does to a score.

    Attributes:
        measure: the score, "macro_auc" or "balanced_accuracy".
        region: one of `REGIONS`.
        margin: growth of the lungs, % of their width.
        fill: what takes the place of hidden pixels.
        hidden: with the region hidden.
        random: with as large a region hidden at random, mean over the draws.
        drop: as they are, less `hidden`.
        beyond: `random` less `hidden`, paired image by image; above 0 the region matters more
            than a random one.
        state: of `beyond`.
    """

    measure: str
    region: str
    margin: float
    fill: str
    hidden: Interval
    random: Interval
    drop: Interval
    beyond: Interval
    state: State


def plan(settings: HidingSettings) -> list[Hide]:
    """List all hides; after each region come its random draws."""
    return [
        Hide(region, margin, fill, draw)
        for region in REGIONS
        for margin in settings.margins
        for fill in settings.fills
        for draw in (None, *range(settings.draws))
    ]


def region_of(name: str, mask: Mask, margin: float) -> Mask:
    """Find the pixels of a region, bool [H, W]; "outside" is what grown lungs leave."""
    if name == "boxes":
        return box_region(grown_boxes(mask, margin), mask.shape)
    lungs = grow_mask(mask, margin)
    return lungs if name == "lungs" else ~lungs


def moved(region: Mask, seed: int, draw: int) -> Mask:
    """Move a region by a uniform random offset, wrapped round the edges; the area stays."""
    offset = np.random.default_rng(stream(seed, "move", draw)).integers(0, region.shape)
    return np.roll(region, offset, axis=(0, 1))


def hidden_pictures(image: Image, mask: Mask, hides: Sequence[Hide], seed: int) -> list[Image]:
    """Make every picture of one image.

    Args:
        image: uint8 [H, W].
        mask: bool [H, W], True = lung.
        hides: as `plan` lists them.
        seed: of this image; draws of one number are at one offset for all regions and fills.

    Returns:
        uint8 [H, W] for each hide.
    """
    places: dict[tuple[str, float, int | None], Mask] = {}
    pictures = []
    for hide in hides:
        place = (hide.region, hide.margin, hide.draw)
        if place not in places:
            at_home = (hide.region, hide.margin, None)
            if at_home not in places:
                places[at_home] = region_of(hide.region, mask, hide.margin)
            if hide.draw is not None:
                places[place] = moved(places[at_home], seed, hide.draw)
        pictures.append(fill_hidden(image, places[place], hide.fill, seed))
    return pictures


def outcomes(
    measure: str,
    hides: Sequence[Hide],
    draws: Sequence[Draws],
    chance: float,
    tolerance: float,
    patients: int,
) -> list[Outcome]:
    """Compare each region with its random hides.

    Args:
        measure: name of the score.
        hides: as `plan` lists them.
        draws: of the score on the images as they are, then under each hide, from the same counts.
        chance: the score of guessing.
        tolerance: the largest loss beyond random hides that is negligible.
        patients: how many there are.

    Returns:
        An outcome for each region, margin and fill. "more": the interval of `beyond` lies above 0.
        "no more": it lies below 0; or below the tolerance, where random hides leave more than that
        above chance, and more than `ROOM`. "no room": they do not. Else "cannot tell".
    """
    groups: dict[tuple[str, float, str], list[Draws]] = {}
    for hide, values in zip(hides, draws[1:], strict=True):
        groups.setdefault((hide.region, hide.margin, hide.fill), []).append(values)
    results = []
    for place, (hidden, *others) in groups.items():
        random = mean_draws(others)
        drop, beyond = (draws[0] - hidden).interval(), (random - hidden).interval()
        left = random.interval()
        room = left.low - chance > tolerance and left.estimate - chance > ROOM * (
            draws[0].estimate - chance
        )
        # Where no patient differs, the resamples do not either, and know too little.
        small = max(beyond.high, RULE_OF_THREE / patients) < tolerance
        state: State = "cannot tell" if room else "no room"
        if beyond.low > 0:
            state = "more"
        elif beyond.high < 0 or (room and small):
            state = "no more"
        found = hidden.interval(), left, drop, beyond
        results.append(Outcome(measure, *place, *found, state))
    return results


def agreed(found: Sequence[Outcome], region: str) -> State:
    """Say what fills and margins agree on, those without room aside; two fills have to say it."""
    telling = [each for each in found if each.region == region and each.state != "no room"]
    states = {outcome.state for outcome in telling}
    if len(states) != 1 or len({outcome.fill for outcome in telling}) < LEAST_AGREEING:
        return "cannot tell"
    return states.pop()


def reading(found: Sequence[Outcome], original: Interval, chance: float) -> tuple[Word, str]:
    """Read all outcomes together.

    Args:
        found: by `outcomes`, of one score.
        original: the score on the images as they are.
        chance: the score of guessing.

    Returns:
        A word, and the sentence that it stands for. "lungs" and "outside" claim no more than that
        this region matters more than a random one.
    """
    if not original.low > chance:
        return "cannot tell", (
            f"Cannot tell: on the images as they are the network scores {original.estimate:.3f} "
            f"({original.low:.3f} to {original.high:.3f}), not above chance ({chance:.3f}), so it "
            "has nothing to lose."
        )
    states = {name: agreed(found, name) for name in ("lungs", "outside")}
    unsure = "may or may not cost more (fills or margins disagree, or say too little)"
    says = {
        "more": "costs more than hiding as much at random",
        "no more": "costs no more than hiding as much at random",
    }
    sentence = "; ".join(
        f"hiding the {name} {says.get(state, unsure)}" for name, state in states.items()
    )
    matters = [name for name, state in states.items() if state == "more"]
    word: Word = "cannot tell"
    if len(matters) == 2:
        word, start = "both", "The lungs and the outside both matter more than chance"
    elif matters == ["lungs"]:
        word, start = "lungs", "The lungs matter more than chance"
    elif matters == ["outside"]:
        word, start = "outside", "The outside of the lungs matters more than chance"
    elif set(states.values()) == {"no more"}:
        word, start = "neither", "Neither the lungs nor the outside matter more than chance"
    else:
        start = "Cannot tell"
    return word, f"{start}: {sentence}."
