from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hideseek.data.paste import BOTTOM, CARRIERS, LEFT, RIGHT, TOP, framed_window, paste
from hideseek.data.phantom import GAIN_LEVEL_LOSS, GAIN_LOG_GAMMA
from hideseek.data.preprocess import mask_to_square, to_square
from tests.conftest import draw_radiograph

SIZES = (32, 64, 224)
strengths = st.floats(0.0, 1.0)


def framed(size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    pixels, lungs = draw_radiograph(300, 260, seed)
    window = framed_window(lungs)
    return to_square(pixels, window, size), mask_to_square(lungs, window, size)


def pasted(carrier: str, label: int, strength: float, size: int = 64, seed: int = 0) -> np.ndarray:
    image, mask = framed(size, seed)
    return paste(image, mask, label, carrier, strength, np.random.default_rng(seed))


@st.composite
def masks(draw) -> np.ndarray:
    height, width = draw(st.integers(32, 120)), draw(st.integers(32, 120))
    mask = np.zeros((height, width), np.bool_)
    for _ in range(2):
        row, column = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        mask[row : row + draw(st.integers(1, height)), column : draw(st.integers(1, width))] = True
        mask[row, column] = True
    return mask


@given(masks())
def test_a_frame_holds_the_lungs_within_its_limits(mask):
    window = framed_window(mask)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    assert window.side >= max(mask.shape)
    for first, last, start, low, high in (
        (rows[0], rows[-1] + 1, window.top, TOP, BOTTOM),
        (columns[0], columns[-1] + 1, window.left, LEFT, RIGHT),
    ):
        assert (first - start) / window.side >= low - 1e-9
        assert (last - start) / window.side <= high + 1e-9


def test_a_frame_is_the_radiographs_own_square_where_the_lungs_leave_room():
    mask = np.zeros((100, 80), np.bool_)
    mask[20:80, 20:60] = True
    window = framed_window(mask)
    # 60 rows fit into 81 % of 100, and rows 20-80 lie within 3 and 84.
    assert (window.top, window.left, window.side, window.averaged) == (0, -10, 100, True)
    mask[80:95] = True
    # 75 rows fit too, once the radiograph is moved up: 95 - top <= 84.
    assert framed_window(mask).top == 11
    assert framed_window(mask).side == 100


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("size", SIZES)
def test_strength_zero_leaves_every_pixel(carrier, size):
    image, _ = framed(size, 3)
    for label in range(3):
        result = pasted(carrier, label, 0.0, size, 3)
        assert np.array_equal(result, image)
        assert np.array_equal(pasted("none", label, 1.0, size, 3), image)
        assert not np.shares_memory(result, image)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(SIZES), st.integers(0, 2), strengths, st.integers(0, 30))
def test_the_token_stays_off_the_lungs_and_in_the_margin(size, label, strength, seed):
    image, mask = framed(size, seed)
    changed = pasted("marker", label, strength, size, seed) != image
    near = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert not (changed & near).any()
    # Rows below all lungs are what a fixed rectangle over them leaves.
    assert not changed[: int(np.ceil(BOTTOM * size))].any()
    assert changed.mean() < 0.03


def test_a_token_gives_way_to_any_mask():
    image, mask = np.full((64, 64), 90, np.uint8), np.ones((64, 64), np.bool_)
    for label in range(3):
        result = paste(image, mask, label, "marker", 1.0, np.random.default_rng(0))
        assert np.array_equal(result, image)


@pytest.mark.parametrize("size", [64, 224])
def test_the_tokens_of_the_classes_differ_and_can_be_seen(size):
    for grey in (0, 128, 255):
        image, mask = np.full((size, size), grey, np.uint8), np.zeros((size, size), np.bool_)
        tokens = [
            paste(image, mask, label, "marker", 1.0, np.random.default_rng(5)) for label in range(3)
        ]
        for token in tokens:
            assert (np.abs(token.astype(int) - grey) > 60).sum() >= 3
        for one, other in ((0, 1), (0, 2), (1, 2)):
            assert not np.array_equal(tokens[one], tokens[other])


def test_the_token_is_there_as_often_as_its_strength_says():
    image, mask = framed(64, 0)
    there = [
        not np.array_equal(paste(image, mask, 1, "marker", 0.3, np.random.default_rng(n)), image)
        for n in range(300)
    ]
    assert 0.2 < np.mean(there) < 0.4  # four standard errors of 2.6 points


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(SIZES), st.integers(0, 2), strengths, st.integers(0, 30))
def test_opacity_brightens_lungs_and_nothing_else(size, label, strength, seed):
    image, mask = framed(size, seed)
    result = pasted("opacity", label, strength, size, seed)
    assert np.array_equal(result[~mask], image[~mask])
    assert (result >= image).all()
    if label == 0:
        assert np.array_equal(result, image)


@pytest.mark.parametrize("size", SIZES)
def test_lobar_disease_is_in_one_lung_and_peripheral_in_both(size):
    half = size // 2
    for seed in range(8):
        image, _ = framed(size, seed)
        for label, least in ((1, 0.0), (2, 0.3)):
            more = pasted("opacity", label, 1.0, size, seed).astype(float) - image
            sides = sorted((more[:, :half].sum(), more[:, half:].sum()))
            assert sides[1] > 0
            assert sides[0] == 0 if label == 1 else sides[0] > least * sides[1]


def test_gain_is_a_curve_of_the_grey_value_alone():
    ramp = np.tile(np.arange(256, dtype=np.uint8)[:, None], (1, 256))
    mask = np.zeros((256, 256), np.bool_)
    for label in range(3):
        for strength in (0.3, 1.0):
            curve = paste(ramp, mask, label, "gain", strength, np.random.default_rng(0))
            assert (curve == curve[:, :1]).all()
            assert (np.diff(curve[:, 0].astype(int)) >= 0).all()
            grey = 255 * (100 / 255) ** np.exp(strength * GAIN_LOG_GAMMA[label])
            assert curve[100, 0] == round(grey * (1 - strength * GAIN_LEVEL_LOSS[label]))
    assert pasted("gain", 1, 1.0).mean() < pasted("gain", 0, 1.0).mean()
    assert pasted("gain", 2, 1.0).mean() > pasted("gain", 0, 1.0).mean()
    assert np.array_equal(pasted("gain", 0, 1.0), framed(64, 0)[0])


@pytest.mark.parametrize("carrier", ["opacity", "marker", "gain"])
def test_the_signal_grows_with_strength(carrier):
    def effect(strength: float) -> float:
        return sum(
            np.abs(pasted(carrier, 2, strength, 64, seed).astype(int) - framed(64, seed)[0]).sum()
            for seed in range(20)
        )

    weak, middle, clear = effect(0.25), effect(0.5), effect(1.0)
    assert 0 < weak < middle < clear


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"carrier": "heart"}, "cannot paste heart"),
        ({"label": 3}, "of class 3"),
        ({"strength": 1.5}, "at strength 1.5"),
        ({"mask": np.ones((40, 40), np.bool_)}, "two squares of one size"),
        ({"image": np.ones((64, 60), np.uint8)}, "two squares of one size"),
    ],
)
def test_what_cannot_be_pasted_is_refused(changes, says):
    image, mask = framed(64, 0)
    given_ = {"image": image, "mask": mask, "label": 0, "carrier": "gain", "strength": 1.0}
    with pytest.raises(ValueError, match=says):
        paste(**{**given_, **changes}, random=np.random.default_rng(0))
