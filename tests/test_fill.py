from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hideseek.errors import UserError
from hideseek.fill import FILLS, INDEPENDENT_FILLS, fill_hidden

IMAGE = np.array([[10, 20, 30, 40], [50, 60, 70, 80], [90, 100, 110, 121]], np.uint8)
HIDDEN = np.zeros((3, 4), bool)
HIDDEN[0, :2] = True


@st.composite
def cases(draw):
    shape = draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    hidden = rng.random(shape) < draw(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]))
    return rng.integers(0, 256, shape, dtype=np.uint8), hidden


def test_the_fills_have_the_documented_names():
    assert FILLS == ("black", "mean", "border_mean", "noise", "blur", "inpaint", "shuffle")
    assert set(FILLS) - set(INDEPENDENT_FILLS) == {"blur", "shuffle"}


@pytest.mark.parametrize("fill", FILLS)
@settings(max_examples=40, deadline=None)
@given(case=cases(), seed=st.integers(0, 3))
def test_visible_pixels_stay_and_the_input_is_untouched(fill, case, seed):
    image, hidden = case
    before = image.copy(), hidden.copy()
    result = fill_hidden(image, hidden, fill, seed)
    assert result.dtype == np.uint8
    assert result.shape == image.shape
    assert not np.shares_memory(result, image)
    np.testing.assert_array_equal(result[~hidden], image[~hidden])
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(hidden, before[1])
    np.testing.assert_array_equal(result, fill_hidden(image, hidden, fill, seed))


@pytest.mark.parametrize("fill", INDEPENDENT_FILLS)
@settings(max_examples=40, deadline=None)
@given(case=cases(), seed=st.integers(0, 3))
def test_independent_fills_ignore_hidden_pixels_and_are_idempotent(fill, case, seed):
    image, hidden = case
    other = np.where(hidden, 255 - image, image)
    result = fill_hidden(image, hidden, fill, seed)
    np.testing.assert_array_equal(result, fill_hidden(other, hidden, fill, seed))
    np.testing.assert_array_equal(result, fill_hidden(result, hidden, fill, seed))


@pytest.mark.parametrize("fill", INDEPENDENT_FILLS)
def test_independence_holds_where_fills_work_on_a_coarse_image(fill):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (201, 150), dtype=np.uint8)
    hidden = np.zeros(image.shape, bool)
    hidden[33:122, 17:71] = True
    other = np.where(hidden, rng.integers(0, 256, image.shape, dtype=np.uint8), image)
    for region in (hidden, ~hidden):
        changed = np.where(region, other[::-1], image)
        expected = fill_hidden(image, region, fill, 3)
        np.testing.assert_array_equal(expected, fill_hidden(changed, region, fill, 3))


@pytest.mark.parametrize("fill", ["blur", "shuffle"])
def test_blur_and_shuffle_keep_hidden_information(fill):
    bright = np.where(HIDDEN, np.uint8(255), IMAGE)
    assert not np.array_equal(fill_hidden(IMAGE, HIDDEN, fill), fill_hidden(bright, HIDDEN, fill))


@pytest.mark.parametrize("fill", INDEPENDENT_FILLS)
def test_nothing_visible_is_black(fill):
    assert not fill_hidden(np.full((9, 70), 200, np.uint8), np.ones((9, 70), bool), fill).any()


def test_black_and_mean_by_hand():
    assert fill_hidden(IMAGE, HIDDEN, "black")[HIDDEN].tolist() == [0, 0]
    # (30 + 40 + 50 + ... + 80 + 90 + 100 + 110 + 121) / 10 = 75.1
    assert fill_hidden(IMAGE, HIDDEN, "mean")[HIDDEN].tolist() == [75, 75]


def test_border_mean_takes_a_ring_of_three_pixels():
    image = np.full((15, 15), 250, np.uint8)
    image[4:11, 4:11] = 100  # exactly three pixels round the middle one
    image[4, 4] = 148  # a corner of the ring counts: mean of 48 pixels is 101
    hidden = np.zeros(image.shape, bool)
    hidden[7, 7] = True
    assert fill_hidden(image, hidden, "border_mean")[7, 7] == 101


def test_noise_has_the_moments_of_the_visible_pixels_and_follows_the_seed():
    rng = np.random.default_rng(1)
    image = np.clip(rng.normal(120, 15, (200, 200)), 0, 255).astype(np.uint8)
    hidden = np.zeros(image.shape, bool)
    hidden[:, 100:] = True
    image[hidden] = 255
    noise = fill_hidden(image, hidden, "noise", 5)[hidden]
    assert noise.mean() == pytest.approx(image[~hidden].mean(), abs=0.5)
    assert noise.std() == pytest.approx(image[~hidden].std(), abs=0.5)
    assert not np.array_equal(noise, fill_hidden(image, hidden, "noise", 6)[hidden])


def test_shuffle_permutes_and_follows_the_seed():
    image = np.arange(256, dtype=np.uint8).reshape(16, 16)
    hidden = image >= 100
    first, second = (fill_hidden(image, hidden, "shuffle", seed)[hidden] for seed in (0, 1))
    assert sorted(first) == list(range(100, 256))
    assert not np.array_equal(first, np.arange(100, 256))
    assert not np.array_equal(first, second)


def test_blur_keeps_a_constant_and_removes_texture():
    hidden = np.ones((224, 224), bool)
    constant = np.full(hidden.shape, 93, np.uint8)
    np.testing.assert_array_equal(fill_hidden(constant, hidden, "blur"), constant)
    board = (np.indices(hidden.shape).sum(axis=0) // 4 % 2 * 255).astype(np.uint8)
    blurred = fill_hidden(board, hidden, "blur")[40:-40, 40:-40]
    assert blurred.mean() == pytest.approx(127.5, abs=1)
    assert blurred.std() < 1


def test_inpaint_continues_the_surroundings():
    ramp = np.tile(np.arange(224, dtype=np.uint8), (224, 1))
    hidden = np.zeros(ramp.shape, bool)
    hidden[80:140, 80:140] = True
    painted = fill_hidden(np.where(hidden, np.uint8(0), ramp), hidden, "inpaint")
    error = np.abs(painted[hidden].astype(int) - ramp[hidden])
    assert error.mean() < 8  # the mean of the visible pixels is 15 away on average
    assert painted[110, 84] < painted[110, 134]


def test_inpaint_fills_from_the_inside_out_to_every_corner():
    image = np.zeros((100, 100), np.uint8)
    image[30:70, 30:70] = 180
    # OpenCV adds the gradient's direction, not the gradient, so a level drifts by a few greys.
    np.testing.assert_allclose(fill_hidden(image, image == 0, "inpaint"), 180.0, rtol=0, atol=6)


@pytest.mark.parametrize("fill", ["mean", "border_mean", "noise", "inpaint"])
def test_one_visible_pixel_is_enough(fill):
    image = np.zeros((224, 224), np.uint8)
    image[50, 93] = 140
    filled = fill_hidden(image, image == 0, fill)
    np.testing.assert_allclose(filled, 140.0, rtol=0, atol=12)


@pytest.mark.parametrize("shape", [(1, 3), (3, 1), (1, 40), (1, 200), (150, 1)])
def test_inpaint_of_a_line_reads_no_foreign_memory(shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    hidden = np.zeros(shape, bool)
    hidden.flat[image.size // 2 :] = True
    results = []
    for level in (0, 255, 77):
        # Leaves its level in freed memory, where a read beyond an array's end finds it.
        used = [np.full(size, level, np.uint8) for size in (3, 64, 128, 256, image.size)]
        del used
        results.append(fill_hidden(image, hidden, "inpaint").tobytes())
    assert len(set(results)) == 1


def test_unknown_fill_lists_the_seven():
    with pytest.raises(UserError) as caught:
        fill_hidden(IMAGE, HIDDEN, "grey")
    assert "'grey'" in str(caught.value)
    assert all(fill in str(caught.value) for fill in FILLS)


@pytest.mark.parametrize(
    ("image", "hidden"),
    [
        (IMAGE.astype(np.float32), HIDDEN),
        (IMAGE, HIDDEN.astype(np.uint8)),
        (IMAGE, HIDDEN.T),
        (IMAGE[np.newaxis], HIDDEN[np.newaxis]),
        (IMAGE[:0], HIDDEN[:0]),
    ],
)
def test_wrong_types_and_shapes_are_named(image, hidden):
    with pytest.raises(ValueError, match=r"image .*mask") as caught:
        fill_hidden(image, hidden)
    assert str(image.shape) in str(caught.value)
    assert str(hidden.shape) in str(caught.value)
