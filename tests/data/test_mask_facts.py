from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from sklearn.metrics import f1_score

from hideseek.data.images import read_mask
from hideseek.data.mask_facts import (
    MaskFacts,
    disagreement,
    estimated_quality,
    implausible,
    mask_facts,
)

MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=40))
FAIR = MaskFacts(0.3, 0.14, 0.16, 0.875, 2, 1.0, 0.0, 1.07, 0.45, 0.5)


def blocks(shape: tuple[int, int], *boxes: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    for top, left, bottom, right in boxes:
        mask[top:bottom, left:right] = True
    return mask


def test_two_rectangles_by_hand() -> None:
    facts = mask_facts(blocks((100, 200), (20, 20, 80, 60), (10, 120, 70, 150)))
    assert (facts.components, facts.largest_two, facts.border) == (2, 1.0, 0.0)
    assert facts.area == pytest.approx(4200 / 20000)
    assert (facts.left_area, facts.right_area) == pytest.approx((0.12, 0.09))
    assert facts.ratio == pytest.approx(0.75)
    assert facts.row == pytest.approx((2400 * 50 + 1800 * 40) / 4200 / 100)
    assert facts.col == pytest.approx((2400 * 40 + 1800 * 135) / 4200 / 200)
    assert facts.roughness == pytest.approx(1.0)


def test_hole_and_bite_roughen_the_outline() -> None:
    square = blocks((100, 100), (20, 20, 50, 50))
    holed = square & ~blocks((100, 100), (30, 30, 40, 40))
    # The outline runs through pixel centres: 4 x 29 outside, 40 steps around the hole of which the
    # four at the corners are diagonal.
    hole = 4 * 9 + 4 * 2**0.5
    assert mask_facts(holed).roughness == pytest.approx((116 + hole) / 116, abs=1e-6)
    bitten = square & ~blocks((100, 100), (30, 20, 40, 40))
    assert mask_facts(bitten).roughness == pytest.approx((116 + 2 * 20) / 116, abs=0.02)


def test_border_contact() -> None:
    assert mask_facts(blocks((40, 40), (0, 10, 10, 20))).border == pytest.approx(10 / 36)
    full = mask_facts(np.ones((30, 20), bool))
    assert (full.border, full.area) == (1.0, 1.0)


def test_specks_are_no_lungs() -> None:
    lung = (50, 30, 180, 90)
    with_speck = mask_facts(blocks((256, 256), lung, (200, 200, 205, 205)))
    assert (with_speck.components, with_speck.ratio, with_speck.right_area) == (1, 0.0, 0.0)
    assert with_speck.left_area > 0 and with_speck.largest_two == 1.0
    three = mask_facts(blocks((256, 256), lung, (50, 150, 180, 200), (200, 100, 220, 120)))
    assert three.components == 3
    assert three.largest_two == pytest.approx(130 * 110 / (130 * 110 + 400))


def test_an_empty_mask_is_all_zero() -> None:
    assert mask_facts(np.zeros((64, 64), bool)) == MaskFacts()


def test_large_masks_are_measured_at_256_pixels() -> None:
    small = blocks((256, 200), (40, 20, 180, 90), (60, 110, 180, 170))
    large = small.repeat(4, axis=0).repeat(4, axis=1)
    assert mask_facts(large) == mask_facts(small)
    assert mask_facts(blocks((1, 3000), (0, 0, 1, 1500))).area == pytest.approx(0.5)


def test_wrong_arrays_are_refused() -> None:
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros(4, bool), np.zeros((0, 4), bool)):
        with pytest.raises(ValueError, match="expected mask"):
            mask_facts(wrong)
    with pytest.raises(ValueError, match="differ in shape"):
        disagreement(np.zeros((4, 4), bool), np.zeros((4, 5), bool))


@settings(deadline=None)
@given(MASKS)
def test_facts_of_any_mask(mask: np.ndarray) -> None:
    facts = mask_facts(mask)
    for name in ("area", "left_area", "right_area", "ratio", "largest_two", "border", "row", "col"):
        assert 0 <= getattr(facts, name) <= 1 + 1e-9, name
    assert facts.left_area + facts.right_area <= facts.area + 1e-9
    assert facts.area == pytest.approx(mask.mean())
    mirrored = mask_facts(mask[:, ::-1])
    for name in ("area", "ratio", "components", "border", "row"):
        assert getattr(mirrored, name) == pytest.approx(getattr(facts, name)), name
    if mask.any():
        assert mirrored.col == pytest.approx(1 - facts.col)
    assert 0 <= estimated_quality(facts) <= 1
    assert (estimated_quality(facts) == 0) == ("empty" in implausible(facts)) == (not mask.any())


@given(MASKS, st.randoms(use_true_random=False))
def test_disagreement_is_one_minus_dice(one: np.ndarray, random) -> None:
    other = one ^ np.array([random.random() < 0.3 for _ in range(one.size)]).reshape(one.shape)
    expected = 1 - f1_score(one.ravel(), other.ravel(), zero_division=1.0)
    assert disagreement(one, other) == pytest.approx(expected)
    assert disagreement(one, one) == 0


@given(*[st.floats(0, 1)] * 4, st.floats(1, 3), st.floats(0, 2))
def test_quality_never_rises_with_what_is_wrong(
    ratio: float, less: float, apart: float, more: float, rough: float, rougher: float
) -> None:
    facts = replace(FAIR, ratio=ratio, roughness=rough)
    unequal, frayed = replace(facts, ratio=ratio * less), replace(facts, roughness=rough + rougher)
    assert estimated_quality(unequal) <= estimated_quality(facts) <= 1
    assert estimated_quality(frayed) <= estimated_quality(facts)
    assert 0 <= estimated_quality(unequal, apart) <= estimated_quality(facts, apart) <= 1
    assert estimated_quality(facts, max(apart, more)) <= estimated_quality(facts, min(apart, more))


def test_quality_by_hand() -> None:
    assert estimated_quality(FAIR, 0.0) == pytest.approx(1 / (1 + np.exp(-3.46)))
    assert estimated_quality(FAIR, 1.0) == 0
    lopsided = replace(FAIR, ratio=0.5)
    assert estimated_quality(lopsided, 0.1) == pytest.approx(0.9 / (1 + np.exp(2.72 * 0.3 - 3.46)))
    rough = -1.79 + 0.31 * np.log(0.2)
    assert estimated_quality(replace(FAIR, roughness=1.2)) == pytest.approx(1 / (1 + np.exp(rough)))
    plain = [replace(FAIR, area=area, roughness=r) for area in (0.1, 0.4) for r in (1.04, 1.08)]
    assert len({estimated_quality(facts) for facts in plain}) == 1


def test_reasons() -> None:
    assert implausible(FAIR) == implausible(FAIR, 0.05) == ()
    assert implausible(MaskFacts()) == ("empty",)
    for reason, change in {
        "one_lung": {"ratio": 0.0},
        "tiny": {"area": 0.07},
        "huge": {"area": 0.8},
        "many_components": {"components": 3},
        "lopsided": {"ratio": 0.4},
        "at_border": {"border": 0.6},
        "ragged": {"roughness": 1.3},
        "off_centre": {"col": 0.3},
    }.items():
        assert implausible(replace(FAIR, **change)) == (reason,)
    assert implausible(FAIR, 0.06) == ("unstable",)
    assert implausible(replace(FAIR, roughness=1.3, ratio=0.0), 0.2) == (
        "one_lung",
        "ragged",
        "unstable",
    )


def test_radiologists_masks_are_plausible_and_torn_ones_are_not(pack: Path) -> None:
    table = pl.read_csv(pack / "manifest.csv", infer_schema=False)
    chosen = table.filter(pl.col("source").is_in(["montgomery", "shenzhen"]))["mask"]
    assert len(chosen) == 278
    torn, blamed, qualities = 0, 0, []
    for number, path in enumerate(chosen):
        mask = read_mask(pack / path, (384, 384))
        facts = mask_facts(mask)
        blamed += bool(implausible(facts))
        qualities.append(estimated_quality(facts))
        noise = cv2.GaussianBlur(
            np.random.default_rng(number).standard_normal(mask.shape), (0, 0), 12
        )
        ragged = mask_facts(mask & (noise < 1.0 * noise.std()))
        torn += bool(implausible(ragged)) and estimated_quality(ragged) < qualities[-1]
    assert blamed <= 0.02 * len(chosen)
    assert np.quantile(qualities, 0.05) > 0.9
    assert torn >= 0.98 * len(chosen)
