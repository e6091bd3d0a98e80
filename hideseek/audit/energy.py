"""Where the energy of attribution maps lies: in the lungs, their boxes, at the border, on markers.

From raw maps (`hideseek.attribution`, enlarged to the image) to a row of numbers an image, and to
means with intervals. Every share is set against the share of the image's area, which is what a map
that knows nothing gives: lungs that fill a third of the image hold a third of such a map.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import numpy.typing as npt
import polars as pl

from hideseek.audit.excess import Counts, divide, estimate, weighted_sums
from hideseek.fill import Image, Mask
from hideseek.regions import Boxes, box_region, grow_mask, lung_boxes

REGIONS = ("lung", "dilated", "boxes", "outside", "artefact", "border")
MEASURES = (
    *(f"{region}_{kind}" for region in REGIONS for kind in ("share", "area", "enrichment", "hit")),
    *("across", "down"),
)

BORDER = 0.05
"""Width of the border at each edge, as a share of the side."""

BRIGHT = 99.5
"""Percentile of the top-hat above which a pixel may belong to an artefact."""

ARTEFACT_PIXELS = (10, 2000)
"""Least and greatest area of an artefact in an image of 512 x 512."""

ARTEFACT_WIDTH = 33
"""Of the top-hat's square in such an image: narrower structures stand out, lungs do not. A disc
would leave the corners of large bright rectangles, which collimators and labels make."""

Maps = npt.NDArray[np.float32]
Numbers = dict[str, float | None]


def measure_maps(
    maps: Maps,
    masks: npt.NDArray[np.bool_],
    images: npt.NDArray[np.uint8],
    margin: float = 10,
    reach: float = 15,
) -> pl.DataFrame:
    """Measure where each map's energy lies.

    A region's `share` is that of the map's energy, its `area` that of the image's pixels, both 0 to
    1; `enrichment` is share / area, 1 by chance; `hit` is the share of the map's highest pixels
    (one, unless several are equal) that lie in the region, minus `area`: 0 by chance, -1 to 1.

    Args:
        maps: float32 [B, H, W], finite, 0 or more, on any scale.
        masks: bool [B, H, W], True = lung.
        images: uint8 [B, H, W], as the radiographs were before any lung was hidden.
        margin: of the dilated lung, in % of the lung width. A map of 7 x 7 values spills over the
            lung's edge, so that the lung alone is too strict.
        reach: by which artefacts are grown for the same reason, in px at 512 x 512; half a cell of
            a map of 7 x 7 is 37. What they weigh by chance grows along.

    Returns:
        One row an image: `state` ("ok", "no energy" or "no lung"), `artefacts` (how many) and
        `MEASURES`: four for each region, and `across` and `down`, the centre of mass in the box
        round both lungs (0 at its left and upper edge, 1 at the others). Null where not defined:
        all where there is no energy, all but those of the border where there is no lung,
        enrichment where the region is empty.

    Raises:
        ValueError: shapes or types do not fit, or a map has a value below 0 or not finite.
    """
    if not maps.shape == masks.shape == images.shape or maps.ndim != 3:
        raise ValueError(f"maps {maps.shape}, masks {masks.shape} and images {images.shape}")
    if not (np.isfinite(maps).all() and (maps >= 0).all()):
        raise ValueError("a map has a value below 0 or not finite; take raw maps after the ReLU")
    rows = [_row(*each, margin, reach) for each in zip(maps, masks, images, strict=True)]
    schema = {"state": pl.String, "artefacts": pl.Int64, **dict.fromkeys(MEASURES, pl.Float64)}
    return pl.DataFrame(rows, schema=schema, orient="row")


def mean_by_group(
    rows: pl.DataFrame, groups: Sequence[str], counts: Counts | None = None
) -> pl.DataFrame:
    """Average the measures within groups, such as class or right and wrong.

    Args:
        rows: as `measure_maps` returns them, with one or more columns that make the groups.
        groups: those columns; none for all images together.
        counts: [R, N] of a resampling of patients; None for no intervals.

    Returns:
        One row for each group, sorted, and measure: the columns of `groups`, `measure`, `images`,
        `no_energy`, `no_lung`, `defined` (images averaged), `mean`, `low`, `high`.
    """
    values = rows.select(MEASURES).to_numpy().astype(np.float64)
    defined = ~np.isnan(values)
    filled = np.nan_to_num(values)
    results = []
    for level, places in _levels(rows, groups):
        chosen = None if counts is None else counts[:, places]
        sums = weighted_sums(chosen, np.concatenate([filled[places], defined[places]], axis=1))
        means = divide(sums[:, : len(MEASURES)], sums[:, len(MEASURES) :])
        state = rows.get_column("state").gather(places)
        known = [len(places), *((state == name).sum() for name in ("no energy", "no lung"))]
        for number, measure in enumerate(MEASURES):
            found = estimate(means[:, number])
            averaged = int(defined[places, number].sum())
            results.append((*level, measure, *known, averaged, found.value, found.low, found.high))
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        **{name: rows.schema[name] for name in groups},
        "measure": pl.String,
        **dict.fromkeys(("images", "no_energy", "no_lung", "defined"), pl.Int64),
        **dict.fromkeys(("mean", "low", "high"), pl.Float64),
    }
    return pl.DataFrame(results, schema=schema, orient="row")


def bright_artefacts(image: Image, lungs: Mask, reach: float = 0) -> tuple[Mask, int]:
    """Find small bright structures outside the lungs: candidates for markers, wires and text.

    They are where the white top-hat reaches its 99.5th percentile, in 8-connected pieces of 10 to
    2,000 px (at 512 x 512). Half a per cent of any image reaches it, so an image without a marker
    has candidates too, such as edges of bones; the area says what they weigh by chance.

    Args:
        image: uint8 [H, W].
        lungs: bool [H, W].
        reach: by which the pieces are grown afterwards, outside the lungs, in px at 512 x 512.

    Returns:
        bool [H, W] and the number of pieces.
    """
    scale = (image.size / 512**2) ** 0.5
    width = max(3, 2 * round(ARTEFACT_WIDTH * scale / 2) + 1)
    bright = cv2.morphologyEx(image, cv2.MORPH_TOPHAT, np.ones((width, width), np.uint8))
    # Not above it: white text on black has one value, which may fill more than that share.
    candidates = (bright >= max(1.0, float(np.percentile(bright, BRIGHT)))) & ~lungs
    _, labels, stats, _ = cv2.connectedComponentsWithStats(candidates.view(np.uint8))
    least, most = (area * scale**2 for area in ARTEFACT_PIXELS)
    areas = stats[:, cv2.CC_STAT_AREA]
    kept = (areas >= least) & (areas <= most)
    kept[0] = False  # the background
    pieces = kept[labels]
    if reach and kept.any():
        elsewhere = (~pieces).view(np.uint8)
        distance = cv2.distanceTransform(elsewhere, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        pieces = (distance <= reach * scale) & ~lungs
    return pieces, int(kept.sum())


def _row(
    heat: npt.NDArray[np.float32], lungs: Mask, image: Image, margin: float, reach: float
) -> dict[str, float | str | None]:
    if not heat.any():
        return {"state": "no energy"}
    # A map's own scale is arbitrary; divided by its maximum, no sum is too small or too large.
    energy = heat.astype(np.float64) / float(heat.max())
    energy /= energy.sum()
    border = _border(heat.shape)
    if not lungs.any():
        return {"state": "no lung", **_region("border", energy, border)}
    boxes = lung_boxes(lungs)
    artefacts, number = bright_artefacts(image, lungs, reach)
    regions = {
        "lung": lungs,
        "dilated": grow_mask(lungs, margin),
        "boxes": box_region(boxes, lungs.shape),
        "outside": ~lungs,
        "artefact": artefacts,
        "border": border,
    }
    measured = {k: v for name in REGIONS for k, v in _region(name, energy, regions[name]).items()}
    return {"state": "ok", "artefacts": number, **measured, **_centre(energy, boxes)}


def _region(name: str, energy: npt.NDArray[np.float64], region: Mask) -> Numbers:
    share, area = min(1.0, float(energy[region].sum())), float(region.mean())
    return {
        f"{name}_share": share,
        f"{name}_area": area,
        f"{name}_enrichment": share / area if area else None,
        f"{name}_hit": float(region[energy == energy.max()].mean()) - area,
    }


def _centre(energy: npt.NDArray[np.float64], boxes: Boxes) -> Numbers:
    """Give the centre of mass in the box round the boxes; pixels count at their centres."""
    there = boxes[boxes[:, 0] >= 0]
    (top, left), (bottom, right) = there[:, :2].min(axis=0), there[:, 2:].max(axis=0)
    height, width = energy.shape
    column = energy.sum(axis=0) @ (np.arange(width) + 0.5)
    row = energy.sum(axis=1) @ (np.arange(height) + 0.5)
    return {
        "across": float((column - left) / (right - left)),
        "down": float((row - top) / (bottom - top)),
    }


def _border(shape: tuple[int, ...]) -> Mask:
    """Mark the outer 5 % of the sides, at least a pixel."""
    region = np.ones(shape, np.bool_)
    rows, columns = (max(1, round(BORDER * side)) for side in shape)
    region[rows:-rows, columns:-columns] = False
    return region


def _levels(
    rows: pl.DataFrame, groups: Sequence[str]
) -> Iterator[tuple[tuple[object, ...], npt.NDArray[np.intp]]]:
    """Yield each group's level and the places of its rows."""
    if not groups:
        yield (), np.arange(rows.height)
        return
    placed = rows.select(*groups, pl.int_range(pl.len()).alias("place"))
    for row in placed.group_by(groups).agg("place").sort(groups).iter_rows():
        yield row[:-1], np.array(row[-1], np.intp)
