from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from hideseek.attribution import enlarged
from hideseek.audit.energy import (
    MEASURES,
    REGIONS,
    bright_artefacts,
    mean_by_group,
    measure_maps,
)

Map = npt.NDArray[np.float32]
SIDE = 100

LUNGS = np.zeros((SIDE, SIDE), np.bool_)
LUNGS[30:70, 20:40] = LUNGS[30:70, 60:80] = True  # 1600 of 10,000 pixels
LUNGS[30:40, 20:30] = False  # and so 1500, in boxes of 1600
BLACK = np.zeros((SIDE, SIDE), np.uint8)


def marked() -> npt.NDArray[np.uint8]:
    """A marker of 3 x 4 pixels at the upper right."""
    image = BLACK.copy()
    image[8:11, 85:89] = 255
    return image


def measure(heat: Map, **options: float) -> dict[str, float]:
    return measure_maps(heat[None], LUNGS[None], marked()[None], **options).row(0, named=True)


def test_a_uniform_map_is_chance_everywhere() -> None:
    row = measure(np.full((SIDE, SIDE), 0.3, np.float32), reach=0)
    areas = {"lung": 0.15, "boxes": 0.16, "outside": 0.85, "artefact": 0.0012, "border": 0.19}
    for region in REGIONS:
        assert row[f"{region}_enrichment"] == pytest.approx(1)
        assert row[f"{region}_hit"] == pytest.approx(0)  # all pixels are the highest
        assert row[f"{region}_share"] == pytest.approx(row[f"{region}_area"])
    assert {name: row[f"{name}_area"] for name in areas} == pytest.approx(areas)
    # The middle of the image in the box of columns 20 to 80 and rows 30 to 70.
    assert (row["across"], row["down"]) == pytest.approx((0.5, 0.5))
    assert (row["state"], row["artefacts"]) == ("ok", 1)


def test_all_energy_in_the_lung() -> None:
    row = measure(LUNGS.astype(np.float32))
    assert row["lung_enrichment"] == pytest.approx(1 / 0.15)
    assert row["lung_hit"] == pytest.approx(0.85)
    assert row["boxes_enrichment"] == pytest.approx(1 / 0.16)
    assert (row["outside_enrichment"], row["outside_hit"]) == (0, pytest.approx(-0.85))
    assert row["artefact_share"] == row["border_share"] == 0


def test_energy_just_outside_the_lung_is_in_the_dilated_one() -> None:
    heat = np.zeros((SIDE, SIDE), np.float32)
    heat[50, 41] = 1  # two pixels right of the left lung, which is 20 wide
    near, far = measure(heat, margin=10), measure(heat, margin=5)
    assert near["lung_share"] == 0
    assert near["dilated_share"] == 1
    assert near["dilated_enrichment"] == pytest.approx(1 / near["dilated_area"])
    assert far["dilated_share"] == 0


def test_all_energy_on_the_marker() -> None:
    heat = np.zeros((SIDE, SIDE), np.float32)
    heat[8:11, 85:89] = 1
    row = measure(heat, reach=0)
    assert row["artefact_enrichment"] == pytest.approx(1 / 0.0012)
    assert row["artefact_hit"] == pytest.approx(1 - 0.0012)
    assert row["lung_enrichment"] == 0
    # Centre at row 9.5, column 87: above the box and right of it.
    assert row["across"] == pytest.approx((87 - 20) / 60)
    assert row["down"] == pytest.approx((9.5 - 30) / 40)


def test_a_coarse_map_hits_the_marker_within_reach() -> None:
    coarse = np.zeros((1, 7, 7), np.float32)
    coarse[0, 0, 6] = 1  # the marker's cell; from its centre at 7, 93 to the corner all is equal
    heat = enlarged(coarse, (SIDE, SIDE))[0]
    strict, within = measure(heat, reach=0), measure(heat, reach=75)  # a cell of 14.6 px
    assert strict["artefact_hit"] == pytest.approx(-0.0012)
    assert within["artefact_hit"] == pytest.approx(1 - within["artefact_area"])
    assert within["artefact_area"] > strict["artefact_area"]
    assert within["artefact_enrichment"] > 3
    assert within["lung_enrichment"] < 0.01


def test_centre_of_mass_in_the_lungs_box() -> None:
    heat = np.zeros((SIDE, SIDE), np.float32)
    heat[39:41, 34:36] = 1  # the corner of pixels 39|40 and 34|35
    row = measure(heat)
    assert row["across"] == pytest.approx((35 - 20) / 60)
    assert row["down"] == pytest.approx((40 - 30) / 40)


def test_border() -> None:
    heat = np.zeros((SIDE, SIDE), np.float32)
    heat[4, 50], heat[5, 50] = 3, 1
    row = measure(heat)
    assert row["border_share"] == pytest.approx(0.75)
    assert row["border_hit"] == pytest.approx(1 - 0.19)


def test_no_energy_and_no_lung_are_null_and_counted() -> None:
    heat = np.ones((3, SIDE, SIDE), np.float32)
    heat[1] = 0
    masks = np.stack([LUNGS, LUNGS, np.zeros_like(LUNGS)])
    rows = measure_maps(heat, masks, np.stack([marked()] * 3))
    assert rows["state"].to_list() == ["ok", "no energy", "no lung"]
    assert rows.row(1)[1:] == (None,) * (1 + len(MEASURES))
    known = [name for name in MEASURES if rows[name][2] is not None]
    assert known == ["border_share", "border_area", "border_enrichment", "border_hit"]
    means = mean_by_group(rows, ()).filter(pl.col("measure") == "lung_enrichment")
    assert means.row(0) == ("lung_enrichment", 3, 1, 1, 1, pytest.approx(1), None, None)


def test_a_mask_of_the_whole_image_leaves_no_outside() -> None:
    full = np.ones((1, SIDE, SIDE), np.bool_)
    rows = measure_maps(np.ones((1, SIDE, SIDE), np.float32), full, marked()[None])
    row = rows.row(0, named=True)
    assert row["lung_enrichment"] == pytest.approx(1)
    assert (row["outside_enrichment"], row["artefact_enrichment"]) == (None, None)
    assert (row["outside_share"], row["outside_area"]) == (0, 0)


@given(
    st.integers(0, 2**16), st.floats(1e-30, 1e30), st.floats(0, 0.95), st.integers(20, 60)
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_scale_does_not_matter_and_shares_are_shares(
    seed: int, scale: float, empty: float, side: int
) -> None:
    rng = np.random.default_rng(seed)
    heat = (rng.random((side, side + 3)) * (rng.random((side, side + 3)) > empty)).astype(
        np.float32
    )
    mask = rng.random((1, *heat.shape)) > rng.random()
    image = rng.integers(0, 256, mask.shape, np.uint8)
    both = np.stack([heat, heat * np.float32(scale)])
    one, other = measure_maps(both, mask.repeat(2, axis=0), image.repeat(2, axis=0)).rows(
        named=True
    )
    for name in MEASURES:
        expected = other[name]
        if expected is not None:
            expected = pytest.approx(expected, rel=1e-5, abs=1e-6)
        assert one[name] == expected
    if one["state"] == "ok":
        assert one["lung_share"] + one["outside_share"] == pytest.approx(1)
        assert one["lung_area"] + one["outside_area"] == pytest.approx(1)
        assert one["lung_share"] <= one["dilated_share"] + 1e-12
        for region in REGIONS:
            assert 0 <= one[f"{region}_share"] <= 1
            assert -1 <= one[f"{region}_hit"] <= 1


@pytest.mark.parametrize("side", [224, 512])
def test_artefacts_of_a_radiograph(
    side: int, radiograph: Callable[..., tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]]
) -> None:
    _, lungs = radiograph(side, side)
    image = np.where(lungs, 40, 120).astype(np.uint8)
    unit = side / 512

    def paint(row: int, column: int, height: int, width: int) -> npt.NDArray[np.bool_]:
        region = np.zeros(image.shape, np.bool_)
        ends = [round(edge * unit) for edge in (row, row + height, column, column + width)]
        region[ends[0] : ends[1], ends[2] : ends[3]] = True
        image[region] = 250
        return region

    marker, wire = paint(40, 60, 12, 20), paint(470, 100, 5, 150)
    beside = paint(280, 240, 10, 10)  # the lung is near
    paint(20, 300, 90, 90)  # too wide
    paint(495, 20, 5, 450)  # too long: 2,250 px
    paint(440, 400, 2, 2)  # too small: 4 px, or 1 at 224
    inside = paint(280, 130, 12, 12)
    assert (inside & lungs).sum() == inside.sum()
    found, number = bright_artefacts(image, lungs)
    assert number == 3
    np.testing.assert_array_equal(found, marker | wire | beside)
    grown, _ = bright_artefacts(image, lungs, reach=60)
    near = distance_transform_edt(~found) <= 60 * unit
    assert (near & lungs).any()
    assert ((near & ~lungs) != grown).sum() < 5  # OpenCV rounds distances to 1e-3


def test_a_flat_image_has_no_artefact() -> None:
    found, number = bright_artefacts(np.full((64, 64), 99, np.uint8), np.zeros((64, 64), np.bool_))
    assert (found.any(), number) == (False, 0)


def test_means_by_group() -> None:
    rows = pl.DataFrame(
        {"label": ["a", "b", "a", "b"], "right": [True, True, True, False], "state": ["ok"] * 4}
        | {name: [0.0, 0.0, 0.0, 0.0] for name in MEASURES}
    ).with_columns(pl.Series("lung_enrichment", [1.0, 5.0, 2.0, None]))
    counts = np.array([[2, 1, 0, 1], [0, 1, 2, 1], [1, 1, 1, 1]], np.uint16)
    means = mean_by_group(rows, ["label"], counts).filter(pl.col("measure") == "lung_enrichment")
    # a: 1.5 itself, 1, 2 and 1.5 in the resamples; percentiles 2.5 and 97.5 of those.
    assert means.rows()[0] == (
        ("a", "lung_enrichment", 2, 0, 0, 2, 1.5, pytest.approx(1.025), pytest.approx(1.975))
    )
    assert means.rows()[1] == ("b", "lung_enrichment", 2, 0, 0, 1, 5.0, 5.0, 5.0)
    both = mean_by_group(rows, ["label", "right"])
    assert both.select("label", "right").unique().height == 3
    assert both.height == 3 * len(MEASURES)
    empty = both.filter((pl.col("measure") == "lung_enrichment") & ~pl.col("right"))
    assert empty.select("defined", "mean", "low").row(0) == (0, None, None)


@pytest.mark.parametrize("value", [-1e-6, np.nan, np.inf])
def test_a_map_that_is_none(value: float) -> None:
    heat = np.ones((1, SIDE, SIDE), np.float32)
    heat[0, 3, 4] = value
    with pytest.raises(ValueError, match="raw maps"):
        measure_maps(heat, LUNGS[None], BLACK[None])
    with pytest.raises(ValueError, match="masks"):
        measure_maps(np.ones((2, SIDE, SIDE), np.float32), LUNGS[None], BLACK[None])


def test_no_image_is_an_empty_table() -> None:
    none = np.zeros((0, 8, 8))
    rows = measure_maps(none.astype(np.float32), none.astype(np.bool_), none.astype(np.uint8))
    assert rows.columns == ["state", "artefacts", *MEASURES]
    assert rows.height == 0
