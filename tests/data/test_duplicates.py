from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hideseek.data import duplicates
from hideseek.data.duplicates import near_duplicates, thumbnail
from hideseek.data.images import read_radiograph


def noise(count: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(40, 180, (count, 32, 32), dtype=np.uint8)


def test_thumbnail_averages_areas() -> None:
    pixels = np.zeros((64, 96), np.uint8)
    pixels[0, 0:3] = 60  # a cell is 2 x 3 pixels
    small = thumbnail(pixels)
    assert small.shape == (32, 32)
    assert small[0, 0] == 30
    assert small.sum() == 30


def test_correlation_against_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "BLOCK", 3)  # several blocks, the last one short
    pictures = noise(8)
    pictures[6] = np.clip(pictures[1].astype(int) + noise(1, 1)[0] // 20, 0, 255)
    expected = np.corrcoef(pictures.reshape(8, -1))
    pairs = near_duplicates(pictures, threshold=-1.0)
    assert [pair[:2] for pair in pairs] == [(i, j) for i in range(8) for j in range(i + 1, 8)]
    np.testing.assert_allclose(
        [pair[2] for pair in pairs], [expected[i, j] for i, j, _ in pairs], atol=1e-5
    )
    assert [pair[:2] for pair in near_duplicates(pictures)] == [(1, 6)]


@given(st.integers(2, 20), st.integers(0, 30), st.integers(0, 5))
def test_brightness_and_contrast_hide_no_copy(contrast: int, brightness: int, copied: int) -> None:
    pictures = noise(6)
    changed = pictures[copied].astype(float) * contrast / 20 + brightness
    pictures = np.concatenate([pictures, changed.astype(np.uint8)[None]])
    assert [pair[:2] for pair in near_duplicates(pictures)] == [(copied, 6)]


def test_pictures_without_contrast_match_nothing() -> None:
    pictures = np.concatenate([np.zeros((2, 32, 32), np.uint8), noise(1)])
    assert near_duplicates(pictures) == []
    assert near_duplicates(pictures[:0]) == []


def test_every_known_pair_of_the_real_images(pack: Path) -> None:
    known = pl.read_csv(pack / "near_duplicates.csv")
    names = sorted({*known.get_column("image_a"), *known.get_column("image_b")})
    names = [name for name in names if (pack / name).is_file()]
    listed = pl.read_csv(pack / "manifest.csv", infer_schema=False).get_column("image")[::4]
    names += sorted(set(listed) - set(names))
    pictures = np.stack([thumbnail(read_radiograph(pack / name).pixels) for name in names])
    found = {frozenset((names[i], names[j])): alike for i, j, alike in near_duplicates(pictures)}
    expected = {
        frozenset((one, other)): alike
        for one, other, alike, _ in known.iter_rows()
        if (pack / one).is_file() and (pack / other).is_file()
    }
    assert len(expected) >= 15
    assert set(found) == set(expected)
    for pair, alike in expected.items():
        assert found[pair] == pytest.approx(alike, abs=0.003)
