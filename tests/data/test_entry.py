from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hideseek.data.cache import CacheRecipe, Entry
from hideseek.data.entry import Decoded, make_entry
from hideseek.data.images import Radiograph
from hideseek.data.lungs import FoundLungs
from hideseek.data.mask_rules import MaskRules
from hideseek.data.problems import Problem

RECIPE = CacheRecipe("toy", "classify", 64, "letterbox", ("a",), "m", "s")
ROW = {"path": "some folder/x.jpg", "image_id": "x"}
LUNGS = np.zeros((128, 128), bool)
LUNGS[30:100, 20:56] = LUNGS[30:100, 72:108] = True
HALF = np.zeros((128, 128), bool)
HALF[30:100, 20:56] = True


def made(
    mask: np.ndarray, apart: float = 0.0, recipe: CacheRecipe = RECIPE, export: Path | None = None,
    given: bool = False,
) -> tuple[Entry, bool, list[Problem]]:  # fmt: skip
    pixels = np.full((128, 128), 90, np.uint8)
    item = Decoded(ROW, Radiograph(pixels, 8, "PNG", "f" * 64), mask if given else None, [])
    problems: list[Problem] = []
    entry, used = make_entry(item, FoundLungs(mask, apart), recipe, problems, export)
    return entry, used, problems


def under(policy: str) -> CacheRecipe:
    return replace(RECIPE, masks=MaskRules(policy=policy))


def test_facts_of_a_good_mask() -> None:
    entry, used, problems = made(LUNGS, 0.01)
    assert used and problems == []
    assert entry.text["mask_from"] == "segmenter"
    assert float(entry.text["mask_area"]) == pytest.approx(2 * 70 * 36 / 128**2, abs=1e-4)
    assert (entry.text["mask_ratio"], entry.text["mask_components"]) == ("1", "2")
    assert entry.text["mask_disagreement"] == "0.01"
    assert entry.text["mask_flags"] == ""
    assert entry.mask.sum() == LUNGS.sum() / 4
    assert made(LUNGS, np.nan, given=True)[0].text["mask_from"] == "manifest"
    assert made(LUNGS, np.nan)[0].text["mask_disagreement"] == ""


def test_specks_count_as_components_and_are_cut_off() -> None:
    speckled = LUNGS.copy()
    speckled[5:12, 60:67] = True
    entry, _, _ = made(speckled)
    assert entry.text["mask_components"] == "3"
    assert entry.mask.sum() == LUNGS.sum() / 4


@pytest.mark.parametrize(
    ("policy", "action"),
    [("keep", "kept"), ("exclude", "left out"), ("whole_image", "whole image taken")],
)
@pytest.mark.parametrize(
    ("mask", "kind"), [(HALF, "implausible_mask"), (HALF & False, "empty_mask")]
)
def test_policies(policy: str, action: str, mask: np.ndarray, kind: str) -> None:
    entry, used, (problem,) = made(mask, recipe=under(policy))
    assert (problem.kind, problem.severity, problem.action) == (kind, "warning", action)
    assert entry.text["mask_flags"] == problem.reason.replace(", ", " ")
    assert used == (policy != "exclude")
    assert entry.mask.all() == (policy == "whole_image")


def test_an_unstable_mask_is_flagged() -> None:
    _, _, (problem,) = made(LUNGS, 0.3)
    assert "unstable" in problem.reason


def test_lungs_that_the_crop_cuts_off() -> None:
    wide = np.zeros((128, 512), bool)
    wide[40:110, 5:60] = wide[40:110, 450:507] = True
    pixels = np.full(wide.shape, 90, np.uint8)
    item = Decoded(ROW, Radiograph(pixels, 8, "PNG", "f"), None, [])
    problems: list[Problem] = []
    recipe = replace(RECIPE, preprocess="paper")
    entry, used = make_entry(item, FoundLungs(wide, 0.0), recipe, problems, None)
    assert used and not entry.mask.any()
    assert problems[0].kind == "empty_mask" and "outside_square" in problems[0].reason


def test_holes_and_small_components_by_choice() -> None:
    holed = LUNGS.copy()
    holed[60:64, 30:34] = False
    assert made(holed)[0].mask.sum() < LUNGS.sum() / 4
    filled = replace(RECIPE, masks=MaskRules(fill_holes=True, components=3, least_area=0.01))
    holed[5:12, 60:67] = True
    assert made(holed, recipe=filled)[0].mask.sum() == LUNGS.sum() / 4


def test_export_keeps_the_image_s_size(tmp_path: Path) -> None:
    made(LUNGS, export=tmp_path)
    stored = np.asarray(Image.open(tmp_path / "some folder/x.jpg.png"))
    np.testing.assert_array_equal(stored, LUNGS * np.uint8(255))
