"""Numbers that tell whether a mask can be a pair of lungs, without a truth to compare it with.

Comes after the segmenter (or a user's own masks) and before `trust.py`, which asks whether these
numbers depend on the class. Only the mask is looked at, never the image: a grey level would differ
between ill and healthy lungs whose masks are equally good.

The limits were chosen on human masks and on masks that the packaged segmenter found in degraded
training images. All reasons that need no second pass name 3 of 278 masks by radiologists
(Montgomery, Shenzhen) and 7 of 420 by annotators (v7labs), and 3 of 187 by lungVAE (Cohen). Of the
11 masks, out of 465, on which the segmenter's Dice is below 0.8, they name 8, and 10 with a
mirrored second pass, among 42 and 58 named in all; more than half of these are below 0.9.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, isnan, log

import cv2
import numpy as np
import numpy.typing as npt

from hideseek.fill import Mask

SIDE = 256
"""Pixels of the longer side to which larger masks are shrunk: how rough an outline looks depends on
the size of a pixel, and it bounds the time."""

SPECK = 0.001
"""Share of the image; a smaller component is no lung and does not count."""

TINY, HUGE = 0.08, 0.75
LOPSIDED = 0.5
MOST_COMPONENTS = 2
AT_BORDER = 0.5
RAGGED = 1.2
OFF_CENTRE = 0.14
UNSTABLE = 0.05

PLAIN_OUTLINE = 1.08
"""Half of the human masks are rougher; below, the estimate of the quality is flat."""
PLAIN_RATIO = 0.8
SHAPE_ONLY = (1.79, 1.67, 0.31)
TWO_PASSES = (3.46, 2.72)


@dataclass(frozen=True)
class MaskFacts:
    """What one mask looks like; all zero where it is empty.

    Attributes:
        area: share of the image.
        left_area: share of the image, of the lung on the image's left.
        right_area: of the one on its right; with a single lung, its side is that of its centre.
        ratio: smaller over larger lung, 0 to 1; 0 with one lung.
        components: 8-connected ones of at least `SPECK`.
        largest_two: share of the mask that lies in the two largest components.
        border: share of the mask's outline, in pixels, that lies on the image's border.
        roughness: length of all outlines, those of holes too, over that of the components' convex
            hulls; about 1.05 to 1.1 for lungs, more with bites, holes and frayed edges.
        row: of the centre of mass, as a share of the height.
        col: of the centre of mass, as a share of the width.
    """

    area: float = 0.0
    left_area: float = 0.0
    right_area: float = 0.0
    ratio: float = 0.0
    components: int = 0
    largest_two: float = 0.0
    border: float = 0.0
    roughness: float = 0.0
    row: float = 0.0
    col: float = 0.0


def mask_facts(mask: Mask) -> MaskFacts:
    """Measure a mask, bool [H, W]; takes about 0.4 ms at 256 x 256.

    Raises:
        ValueError: not bool [H, W] of at least one pixel.
    """
    if mask.dtype != np.bool_ or mask.ndim != 2 or mask.size == 0:
        raise ValueError(f"expected mask bool [H, W], got {mask.dtype} {mask.shape}")
    pixels = _shrink(np.ascontiguousarray(mask).view(np.uint8))
    _, _, stats, centres = cv2.connectedComponentsWithStats(pixels, connectivity=8)
    areas, centres = stats[1:, cv2.CC_STAT_AREA] / pixels.size, centres[1:]
    if len(areas) == 0:
        return MaskFacts()
    order = np.argsort(-areas, kind="stable")[:2]
    lungs = order[areas[order] >= SPECK]
    sides = _sides([(float(areas[i]), float(centres[i][0])) for i in lungs], pixels.shape[1])
    col, row = (centres * areas[:, None]).sum(axis=0) / areas.sum()
    border, roughness = _outline(pixels)
    return MaskFacts(
        area=float(areas.sum()),
        left_area=sides[0],
        right_area=sides[1],
        ratio=min(sides) / max(sides) if max(sides) > 0 else 0.0,
        components=int((areas >= SPECK).sum()),
        largest_two=float(areas[order].sum() / areas.sum()),
        border=border,
        roughness=roughness,
        row=(float(row) + 0.5) / pixels.shape[0],
        col=(float(col) + 0.5) / pixels.shape[1],
    )


def disagreement(one: Mask, other: Mask) -> float:
    """Compute 1 - Dice of two masks of one image, from two models or a mirrored second pass.

    Args:
        one: bool [H, W].
        other: bool [H, W].

    Returns:
        0 to 1; 0 where both are empty.

    Raises:
        ValueError: the shapes differ.
    """
    if one.shape != other.shape:
        raise ValueError(f"the masks differ in shape: {one.shape} and {other.shape}")
    total = np.count_nonzero(one) + np.count_nonzero(other)
    return 1.0 - 2.0 * np.count_nonzero(one & other) / total if total else 0.0


def estimated_quality(facts: MaskFacts, disagreement: float = float("nan")) -> float:
    """Estimate the Dice of a mask with the unknown truth.

    With two passes: their agreement times a logistic function of how much the lungs differ in size.
    Without: a logistic function of that and of the outline. Never rises with disagreement,
    roughness or inequality, and is flat over the plain half of human masks, so that lungs of
    another size or shape are not taken for errors.

    Fitted to the packaged segmenter on the 236 images it was trained and validated on, plain and
    with four degradations each. On Cohen (187 images, against lungVAE) the Spearman correlation
    with the Dice is 0.80 with a mirrored pass and 0.62 without, the mean error 0.027 and 0.043.
    The two versions have different scales (a fair mask gets about 0.96 and 0.93): do not mix them
    in one table.

    Args:
        facts: of the mask.
        disagreement: with a second pass, 0 to 1; NaN where there was none.

    Returns:
        0 to 1; 0 for an empty mask.
    """
    if facts.area == 0:
        return 0.0
    unequal = max(0.0, PLAIN_RATIO - facts.ratio)
    if isnan(disagreement):
        level, per_unequal, per_rough = SHAPE_ONLY
        rough = log(max(PLAIN_OUTLINE, facts.roughness) - 1.0)
        return _logistic(level - per_unequal * unequal - per_rough * rough)
    level, per_unequal = TWO_PASSES
    return (1.0 - disagreement) * _logistic(level - per_unequal * unequal)


def implausible(facts: MaskFacts, disagreement: float = float("nan")) -> tuple[str, ...]:
    """Name what no pair of lungs looks like.

    Args:
        facts: of the mask.
        disagreement: with a second pass, 0 to 1; NaN where there was none.

    Returns:
        Any of: empty; one_lung (or two grown together), tiny, huge, many_components, lopsided,
        at_border, ragged, off_centre (to a side), unstable (two passes disagree). Nothing where
        the mask may be trusted as far as its shape tells.
    """
    if facts.area == 0:
        return ("empty",)
    found = {
        "one_lung": facts.ratio == 0,
        "tiny": facts.area < TINY,
        "huge": facts.area > HUGE,
        "many_components": facts.components > MOST_COMPONENTS,
        "lopsided": 0 < facts.ratio < LOPSIDED,
        "at_border": facts.border > AT_BORDER,
        "ragged": facts.roughness > RAGGED,
        "off_centre": abs(facts.col - 0.5) > OFF_CENTRE,
        "unstable": disagreement > UNSTABLE,
    }
    return tuple(name for name, holds in found.items() if holds)


def _shrink(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    factor = max(pixels.shape) / SIDE
    if factor <= 1:
        return pixels
    height, width = (max(1, round(side / factor)) for side in pixels.shape)
    shares = cv2.resize(pixels * np.uint8(255), (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(shares > 127, dtype=np.uint8)


def _sides(lungs: list[tuple[float, float]], width: int) -> tuple[float, float]:
    """Return the areas of (area, column) on the image's left and right."""
    if len(lungs) == 2:
        left, right = sorted(lungs, key=lambda lung: lung[1])
        return left[0], right[0]
    area, column = lungs[0] if lungs else (0.0, 0.0)
    return (area, 0.0) if column + 0.5 < width / 2 else (0.0, area)


def _outline(pixels: npt.NDArray[np.uint8]) -> tuple[float, float]:
    """Return the share of outline pixels on the border, and the roughness."""
    outlines, tree = cv2.findContours(pixels, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    length = sum(cv2.arcLength(outline, True) for outline in outlines)
    outer = [outline for outline, (*_, parent) in zip(outlines, tree[0], strict=True) if parent < 0]
    hulls = sum(cv2.arcLength(cv2.convexHull(outline), True) for outline in outer)
    points = np.concatenate(outlines)[:, 0]
    last = np.array(pixels.shape[::-1]) - 1
    border = ((points == 0) | (points == last)).any(axis=1).mean()
    return float(border), float(length / hulls) if hulls > 0 else 1.0


def _logistic(value: float) -> float:
    return 1.0 / (1.0 + exp(-value))
