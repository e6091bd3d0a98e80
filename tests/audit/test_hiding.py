from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hideseek.audit.bootstrap import Draws, Interval
from hideseek.audit.hiding import (
    REGIONS,
    Hide,
    HidingSettings,
    Outcome,
    State,
    agreed,
    hidden_pictures,
    moved,
    outcomes,
    plan,
    reading,
    region_of,
)
from hideseek.errors import UserError

HIDES = [Hide("lungs", 0.0, "black", draw) for draw in (None, 0, 1, 2)]


def lungs(side: int = 40) -> np.ndarray:
    mask = np.zeros((side, side), np.bool_)
    mask[10:30, 5:15] = mask[12:28, 24:36] = True
    return mask


def draws(value: float, spread: float = 0.01) -> Draws:
    return Draws(value, value + spread * np.linspace(-1, 1, 201))


def judged(original: float, hidden: float, random: float, spread: float = 0.01) -> State:
    scores = [draws(original), draws(hidden, spread), *[draws(random, -spread)] * 3]
    (outcome,) = outcomes("macro_auc", HIDES, scores, 0.5, 0.05, patients=200)
    assert outcome.hidden.estimate == hidden and outcome.random.estimate == pytest.approx(random)
    assert outcome.drop.estimate == pytest.approx(original - hidden)
    assert outcome.beyond.estimate == pytest.approx(random - hidden)
    return outcome.state


def found(**states: str) -> list[Outcome]:
    """Outcomes of three fills for each region, from 'more,more,no room'."""
    nothing = Interval(0.0, 0.0, 0.0)
    fills = ("black", "mean", "noise")
    return [
        Outcome("macro_auc", region, 0.0, fill, *[nothing] * 4, state)  # type: ignore[arg-type]
        for region, text in states.items()
        for fill, state in zip(fills, text.split(","), strict=True)
    ]


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"fills": ("black", "mean")}, "fills"),
        ({"fills": ("black", "mean", "shuffle")}, "fills"),  # keeps hidden information
        ({"margins": ()}, "margins"),
        ({"margins": (float("nan"),)}, "margins"),
        ({"draws": 2}, "draws"),
        ({"tolerance": 0.0}, "tolerance"),
    ],
)
def test_settings_that_cannot_be_read(wrong: dict, word: str) -> None:
    with pytest.raises(UserError, match=word):
        HidingSettings(**wrong)


def test_every_way_has_its_random_hides() -> None:
    hides = plan(HidingSettings(margins=(0.0, 10.0), draws=4))
    ways = {(hide.region, hide.margin, hide.fill) for hide in hides}
    assert ways == set(product(REGIONS, (0.0, 10.0), ("black", "mean", "noise")))
    assert len(hides) == len(set(hides)) == 18 * 5
    assert [hide.draw for hide in hides[:5]] == [None, 0, 1, 2, 3]


@given(st.integers(0, 2**32 - 1), st.integers(0, 9))
def test_a_moved_region_is_the_region_elsewhere(seed: int, draw: int) -> None:
    mask = lungs(12)
    elsewhere = moved(mask, seed, draw)
    shifts = product(range(12), range(12))
    assert any(np.array_equal(np.roll(mask, shift, (0, 1)), elsewhere) for shift in shifts)
    assert np.array_equal(elsewhere, moved(mask, seed, draw))


def test_random_hides_hide_every_pixel_equally_often() -> None:
    mask = lungs(8) | (np.arange(64).reshape(8, 8) == 9)
    share = np.mean([moved(mask, seed, 0) for seed in range(6000)], axis=0)
    # Six standard errors of a proportion of 6000.
    assert np.abs(share - mask.mean()).max() < 6 * np.sqrt(0.25 / 6000)


def test_regions() -> None:
    mask = lungs()
    mask[10, 5] = False  # a box has corners that its lung lacks
    assert np.array_equal(region_of("lungs", mask, 0.0), mask)
    assert np.array_equal(region_of("outside", mask, 0.0), ~mask)
    assert region_of("boxes", mask, 0.0).sum() == mask.sum() + 1
    # Mean lung width 11 pixels: 10 % are 1.1, so each box grows by one pixel on every side.
    assert region_of("boxes", mask, 10.0).sum() == 22 * 12 + 18 * 14
    assert np.array_equal(region_of("outside", mask, 10.0), ~region_of("lungs", mask, 10.0))


def test_pictures_hide_what_they_say() -> None:
    rng = np.random.default_rng(0)
    image, mask = rng.integers(1, 255, (40, 40)).astype(np.uint8), lungs()
    hides = plan(HidingSettings())
    pictures = hidden_pictures(image, mask, hides, seed=3)
    for hide, picture in zip(hides, pictures, strict=True):
        region = region_of(hide.region, mask, hide.margin)
        region = region if hide.draw is None else moved(region, 3, hide.draw)
        assert np.array_equal(picture[~region], image[~region])
        if hide.fill == "black":
            assert (picture == 0).sum() == region.sum()
    drawn = {h: p for h, p in zip(hides, pictures, strict=True) if h.draw is not None}
    assert not np.array_equal(drawn[HIDES[1]], drawn[HIDES[2]])
    other = hidden_pictures(image, mask, hides, seed=4)
    assert any(not np.array_equal(a, b) for a, b in zip(pictures, other, strict=True))


@pytest.mark.parametrize("mask", [np.zeros((9, 9), np.bool_), np.ones((9, 9), np.bool_)])
def test_without_a_lung_or_an_outside(mask: np.ndarray) -> None:
    image = np.full((9, 9), 100, np.uint8)
    hides = plan(HidingSettings())
    pictures = hidden_pictures(image, mask, hides, seed=0)
    for hide, picture in zip(hides, pictures, strict=True):
        if hide.fill == "black":
            hidden = mask.all() != (hide.region == "outside")
            assert (picture == (0 if hidden else 100)).all()


def test_states() -> None:
    assert judged(1.0, hidden=0.5, random=0.9) == "more"
    assert judged(1.0, hidden=1.0, random=0.8) == "no more"  # costs less
    assert judged(1.0, hidden=0.90, random=0.90) == "no more"  # surely within .05
    assert judged(1.0, hidden=0.90, random=0.90, spread=0.1) == "cannot tell"
    # Random hides leave the network near chance: nothing more could be lost.
    assert judged(1.0, hidden=0.54, random=0.54) == "no room"
    assert judged(1.0, hidden=0.65, random=0.65) == "no room"  # less than a third of .5 is left
    assert judged(0.9, hidden=0.65, random=0.65) == "no more"
    assert judged(1.0, hidden=0.80, random=0.54) == "no more"  # no room, and still costs less
    assert judged(1.0, hidden=0.50, random=0.62) == "more"  # little room, and still clear


def test_few_patients_without_a_difference_prove_nothing() -> None:
    same = [draws(1.0, 0.0)] * 5
    for patients, state in ((59, "cannot tell"), (61, "no more")):  # 3 / 60 is the tolerance
        (outcome,) = outcomes("macro_auc", HIDES, same, 0.5, 0.05, patients)
        assert outcome.state == state


def test_agreement() -> None:
    assert agreed(found(lungs="more,more,more"), "lungs") == "more"
    assert agreed(found(lungs="more,more,no room"), "lungs") == "more"
    assert agreed(found(lungs="more,no room,no room"), "lungs") == "cannot tell"
    assert agreed(found(lungs="more,no more,more"), "lungs") == "cannot tell"
    assert agreed(found(lungs="no room,no room,no room"), "lungs") == "cannot tell"
    assert agreed(found(lungs="cannot tell,more,more"), "lungs") == "cannot tell"


@pytest.mark.parametrize(
    ("inside", "outside", "word"),
    [
        ("more", "no more", "lungs"),
        ("no more", "more", "outside"),
        ("more", "more", "both"),
        ("no more", "no more", "neither"),
        ("cannot tell", "more", "outside"),
        ("cannot tell", "no more", "cannot tell"),
    ],
)
def test_readings(inside: str, outside: str, word: str) -> None:
    states = {"lungs": f"{inside},{inside},{inside}", "outside": f"{outside},{outside},{outside}"}
    given = found(**states)
    assert reading(given, Interval(0.9, 0.8, 1.0), 0.5)[0] == word
    said, sentence = reading(given, Interval(0.6, 0.5, 0.7), 0.5)
    assert said == "cannot tell" and "chance" in sentence
