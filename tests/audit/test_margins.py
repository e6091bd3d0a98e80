"""Where half of the signal is gone: by hand, and on curves of which it is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hideseek.audit.audit import Settings, audit_grid, resamples_of
from hideseek.audit.bootstrap import Draws
from hideseek.audit.grid import read_grid
from hideseek.audit.margins import Half, half_margin
from tests.audit.sweep_folder import write_cell


def _draws(auc: float, spread: float = 0.0, seed: int = 0) -> Draws:
    noise = np.random.default_rng(seed).normal(0, spread, 2000) if spread else np.zeros(2000)
    return Draws(auc, auc + noise)


def test_half_by_hand():
    # Excess .4, .3, .1: half is .2, midway between the margins 10 and 20.
    half = half_margin({0: _draws(0.9), 10: _draws(0.8), 20: _draws(0.6)})
    assert isinstance(half, Half)
    assert (half.estimate, half.low, half.high) == pytest.approx((15, 15, 15))
    assert str(half) == "15 % (15 to 15)"


def test_a_marker_stays_beyond_the_largest_margin():
    half = half_margin({0: _draws(0.9), 10: _draws(0.9), 30: _draws(0.88)})
    assert isinstance(half, Half)
    assert (half.estimate, half.low, half.high, half.largest) == (None, None, None, 30)
    assert str(half) == "> 30 % (> 30 to > 30)"


def test_an_interval_may_be_open_at_the_top():
    curve = {0: _draws(0.9), 10: _draws(0.85), 20: _draws(0.69, 0.03)}
    half = half_margin(curve)
    assert isinstance(half, Half) and half.estimate is not None and half.low is not None
    assert half.low < half.estimate < 20
    assert half.high is None


@pytest.mark.parametrize(
    "curve",
    [
        {0: _draws(0.9), 10: _draws(0.6)},
        {5: _draws(0.9), 10: _draws(0.6), 20: _draws(0.5)},
        {0: _draws(0.54), 10: _draws(0.5), 20: _draws(0.5)},
        {-5: _draws(0.9), 0: _draws(0.9), 10: _draws(0.5)},
    ],
    ids=["two margins", "no margin of 0", "no signal", "a negative one does not count"],
)
def test_nothing_to_say(curve):
    assert isinstance(half_margin(curve), str)


def test_the_section_is_of_what_hides_the_lungs(tmp_path):
    for roi in ("lungs_removed", "lungs_isolated"):
        for margin, strength in ((0, 3.0), (10, 2.0), (20, 0.0)):
            write_cell(tmp_path, roi, strength, margin=margin)
    grid, settings = read_grid(tmp_path), Settings(resamples=1000)
    (section,) = audit_grid(grid, settings, resamples_of(grid, settings)).sections
    assert section.tables["margins"]["margin"].to_list() == [0, 10, 20]
    assert set(section.tables["margins"]["roi"]) == {"lungs_removed"}
    (half,) = section.content["half"]
    assert 10 < half["half"]["estimate"] < 20
    assert section.lines[0].startswith("margins: tiny lungs_removed black: half of its signal")


@settings(max_examples=50, deadline=None)
@given(scale=st.floats(5, 30), excess=st.floats(0.2, 0.5))
def test_a_straight_fall_is_halved_where_it_is_half(scale, excess):
    margins = [0, 10, 20, 40]
    fall = {m: _draws(0.5 + excess * max(0.0, 1 - m / (2 * scale))) for m in margins}
    half = half_margin(fall)
    assert isinstance(half, Half)
    if half.estimate is None:
        assert scale > 40
    else:
        # Interpolation is exact until the line reaches chance within a step.
        around = next(m for m in margins if m > scale)
        assert half.estimate <= around
        if 2 * scale >= around:
            assert half.estimate == pytest.approx(scale)
