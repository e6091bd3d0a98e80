from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hideseek.data.duplicates import thumbnail
from hideseek.data.images import read_radiograph
from hideseek.data.orientation import judge, standardized

KINDS = ("inverted", "upside_down", "unlike")


@pytest.fixture(scope="module")
def chests(pack: Path) -> npt.NDArray[np.uint8]:
    files = pl.read_csv(pack / "manifest.csv", infer_schema=False).get_column("image")[::5]
    return np.stack([thumbnail(read_radiograph(pack / file).pixels) for file in files])


def share(thumbnails: npt.NDArray[np.uint8], kind: str) -> float:
    return float(judge(thumbnails).get_column(kind).mean())  # type: ignore[arg-type]


def test_real_chests(chests: npt.NDArray[np.uint8]) -> None:
    assert share(chests, "inverted") <= 0.005
    assert share(chests, "upside_down") <= 0.005
    assert share(chests, "unlike") <= 0.02


def test_their_negatives_and_mirror_images(chests: npt.NDArray[np.uint8]) -> None:
    assert share(255 - chests, "inverted") >= 0.95
    assert share(chests[:, ::-1], "upside_down") >= 0.95
    assert share(255 - chests[:, ::-1], "upside_down") >= 0.9
    assert share(255 - chests[:, ::-1], "inverted") >= 0.9
    mirrored = chests[:, :, ::-1]
    assert share(mirrored, "upside_down") <= 0.02
    assert share(mirrored, "inverted") <= 0.02


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("made/inverted.png", "inverted"),
        ("00003490_011.png", "upside_down"),
        ("ryct.2020003.fig2-a.png", None),
    ],
)
def test_odd_files(pack: Path, file: str, kind: str | None) -> None:
    picture = thumbnail(read_radiograph(pack / "odd-files" / file).pixels)
    (row,) = judge(picture[None]).iter_rows(named=True)
    assert [name for name in KINDS if row[name]] == ([kind] if kind else [])


def test_nothing_to_see_is_unlike_a_chest() -> None:
    flat = np.zeros((2, 32, 32), np.uint8)
    flat[1] = 200
    assert judge(flat).get_column("unlike").to_list() == [True, True]
    assert judge(flat[:0]).height == 0


@given(arrays(np.uint8, (3, 32, 32)), st.integers(2, 5))
def test_contrast_and_brightness_do_not_matter(
    thumbnails: npt.NDArray[np.uint8], factor: int
) -> None:
    dark = thumbnails // 8
    np.testing.assert_allclose(
        standardized(dark), standardized(dark * np.uint8(factor) + np.uint8(7)), atol=1e-9
    )
    judged = judge(thumbnails)
    assert not (judged["unlike"] & (judged["inverted"] | judged["upside_down"])).any()
