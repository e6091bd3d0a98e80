from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hideseek.data.preprocess import (
    WINDOWS,
    Window,
    letterbox_window,
    mask_from_square,
    mask_to_square,
    paper_window,
    to_square,
)

sides = st.integers(32, 90)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.mark.parametrize(
    ("height", "width", "top", "left", "side"),
    [
        (100, 80, 14, 0, 80),  # 8 rows off, 92 left, (92 - 80) / 2 = 6 more
        (100, 120, 8, 14, 92),
        (384, 410, 30, 28, 354),  # 30.72 -> 30
        (100, 92, 8, 0, 92),
        (101, 90, 9, 0, 90),  # 8.08 -> 8, 93 left, 3 / 2 -> 1
        (32, 32, 2, 1, 30),
    ],
)
def test_paper_window(height: int, width: int, top: int, left: int, side: int) -> None:
    assert paper_window(height, width) == Window(top, left, side, averaged=False)


@pytest.mark.parametrize(
    ("height", "width", "top", "left", "side"),
    [(100, 80, 0, -10, 100), (80, 100, -10, 0, 100), (81, 100, -10, 0, 100), (50, 50, 0, 0, 50)],
)
def test_letterbox_window(height: int, width: int, top: int, left: int, side: int) -> None:
    assert letterbox_window(height, width) == Window(top, left, side, averaged=True)


@given(st.integers(32, 5000), st.integers(32, 5000))
def test_windows_hold_what_they_promise(height: int, width: int) -> None:
    paper = paper_window(height, width)
    assert paper.top >= int(height * 0.08)
    assert paper.left >= 0
    assert paper.top + paper.side <= height
    assert paper.left + paper.side <= width
    assert paper.side == min(height - int(height * 0.08), width)
    box = letterbox_window(height, width)
    assert box.top <= 0 >= box.left
    assert box.top + box.side >= height
    assert box.left + box.side >= width


def test_paper_window_without_resizing_is_a_crop() -> None:
    image = np.random.default_rng(0).integers(0, 255, (100, 80), np.uint8)
    np.testing.assert_array_equal(to_square(image, paper_window(100, 80), 80), image[14:94])


def test_letterbox_adds_black() -> None:
    image = np.full((4, 2), 7, np.uint8)
    square = to_square(image, letterbox_window(4, 2), 4)
    assert square.tolist() == [[0, 7, 7, 0]] * 4


def test_letterbox_averages_areas() -> None:
    image = np.array([[0, 100], [60, 240], [8, 16], [24, 40]], np.uint8)
    square = to_square(image, letterbox_window(4, 2), 2)
    assert square.tolist() == [[15, 85], [8, 14]]  # (0 + 60) / 4, (100 + 240) / 4, 32 / 4, 56 / 4


def test_paper_samples_bilinearly_from_the_nearest_four() -> None:
    image = np.zeros((9, 8), np.uint8)  # 0.72 rows -> none cut; side 8
    image[1::4, 1::4] = 200
    square = to_square(image, Window(0, 0, 8, averaged=False), 2)
    # Centre of the first output pixel lies between rows 1 and 2, columns 1 and 2.
    assert square.tolist() == [[50, 50], [50, 50]]
    averaged = to_square(image, Window(0, 0, 8, averaged=True), 2)
    assert abs(int(averaged[0, 0]) - 200 / 16) <= 1


@pytest.mark.parametrize("preprocess", WINDOWS)
@settings(max_examples=40, deadline=None)
@given(sides, sides, st.integers(16, 64), st.integers(0, 99))
def test_image_and_mask_share_one_geometry(
    preprocess: str, height: int, width: int, size: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((height // 8 + 1, width // 8 + 1)) > 0.5
    mask = np.kron(mask, np.ones((8, 8), bool))[:height, :width]
    window = WINDOWS[preprocess](height, width)
    square = mask_to_square(mask, window, size)
    assert square.dtype == np.bool_
    assert square.shape == (size, size)
    image = mask.astype(np.uint8) * np.uint8(255)
    np.testing.assert_array_equal(square, to_square(image, window, size) > 127)


@settings(max_examples=40, deadline=None)
@given(sides, sides, st.integers(0, 99))
def test_mask_from_square_undoes_the_letterbox(height: int, width: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) > 0.5
    window = letterbox_window(height, width)
    square = mask_to_square(mask, window, window.side)
    np.testing.assert_array_equal(mask_from_square(square, window, mask.shape), mask)


@pytest.mark.parametrize("shape", [(200, 160), (160, 200), (171, 171), (301, 97)])
def test_lungs_survive_the_way_there_and_back(
    radiograph: Callable[..., tuple[np.ndarray, np.ndarray]], shape: tuple[int, int]
) -> None:
    _, lungs = radiograph(*shape)
    window = letterbox_window(*shape)
    back = mask_from_square(mask_to_square(lungs, window, 96), window, shape)
    assert back.shape == shape
    assert dice(back, lungs) > 0.94


def test_mask_from_square_is_empty_where_the_window_did_not_reach() -> None:
    window = paper_window(100, 120)
    back = mask_from_square(np.ones((32, 32), bool), window, (100, 120))
    assert back[8:, 14:106].all()
    assert back.sum() == 92 * 92
