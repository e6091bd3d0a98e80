"""One decoded image to its entry in the cache: the mask judged, both cut to the square."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from hideseek.data.cache import CacheRecipe, Entry
from hideseek.data.images import Radiograph
from hideseek.data.lungs import FoundLungs
from hideseek.data.mask_facts import estimated_quality, implausible, mask_facts
from hideseek.data.preprocess import WINDOWS, mask_to_square, to_square
from hideseek.data.problems import Problem
from hideseek.regions import lung_components

Row = dict[str, str]

ACTIONS = {"keep": "kept", "exclude": "left out", "whole_image": "whole image taken"}


class Decoded(NamedTuple):
    """A row of the manifest after its files were read.

    Attributes:
        row: its columns.
        radiograph: None where it cannot be used.
        mask: bool [H, W], None where none is given.
        problems: met on the way.
    """

    row: Row
    radiograph: Radiograph | None
    mask: npt.NDArray[np.bool_] | None
    problems: list[Problem]


def make_entry(
    item: Decoded,
    found: FoundLungs,
    recipe: CacheRecipe,
    problems: list[Problem],
    export: Path | None,
) -> tuple[Entry, bool]:
    """Judge a mask and cut image and mask to the square.

    Args:
        item: a decoded row, its radiograph there.
        found: its mask, bool [H, W].
        recipe: of the cache.
        problems: findings are added to it.
        export: folder for the mask as a PNG file of the image's own size, or None.

    Returns:
        The entry, its text with the facts of file and mask, and whether it goes into the cache.
    """
    radiograph = item.radiograph
    assert radiograph is not None
    height, width = radiograph.pixels.shape
    window = WINDOWS[recipe.preprocess](height, width)
    mask, rules = found.mask, recipe.masks
    if recipe.task == "classify":
        mask = lung_components(mask, rules.components, rules.fill_holes, rules.least_area)
    square = mask_to_square(mask, window, recipe.size)
    facts, flags = _judged(mask, found)
    if mask.any() and not square.any():
        flags = ("outside_square", *flags)
    if flags:
        action = {"exclude": "left out", "whole_image": "whole image taken"}.get(
            rules.policy, "kept"
        )
        kind = "empty_mask" if "empty" in flags or not square.any() else "implausible_mask"
        problems.append(Problem(item.row["path"], kind, "warning", ", ".join(flags), action))
        if rules.policy == "whole_image":
            mask, square = np.ones_like(mask), np.ones_like(square)
    if export is not None:
        _export(mask, export / item.row["path"])
    known = {
        "width": str(width),
        "height": str(height),
        "bit_depth": str(radiograph.bit_depth),
        "format": radiograph.format,
        "sha256": radiograph.sha256,
        "mask_from": "segmenter" if item.mask is None else "manifest",
        **facts,
        "mask_flags": " ".join(flags),
    }
    image = to_square(radiograph.pixels, window, recipe.size)
    used = not (flags and rules.policy == "exclude")
    return Entry(image, square, {**item.row, **known}), used


def _judged(
    mask: npt.NDArray[np.bool_], found: FoundLungs
) -> tuple[dict[str, str], tuple[str, ...]]:
    facts = mask_facts(mask)
    numbers = {
        "area": facts.area,
        "ratio": facts.ratio,
        "components": mask_facts(found.mask).components,
        "border": facts.border,
        "roughness": facts.roughness,
        "disagreement": found.disagreement,
        "quality": estimated_quality(facts, found.disagreement),
        "shape_quality": estimated_quality(facts),
    }
    text = {
        f"mask_{name}": "" if value != value else f"{value:.5g}" for name, value in numbers.items()
    }
    return text, implausible(facts, found.disagreement)


def _export(mask: npt.NDArray[np.bool_], path: Path) -> None:
    path = path.with_name(f"{path.name}.png")  # two images may differ in their extension alone
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(path)
