from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import polars as pl
import pytest

from hideseek.data.findings import Judged, judge_files
from hideseek.data.inspection import Facts, Inspection

FINE = Facts(width=300, height=400, bit_depth=8, deviation=40.0, format="PNG", sha256="0" * 64)


def judged(fact: Facts, required: bool = False, **row: str) -> Judged:
    known = {"path": "a.png", "view": "PA", "mask": "", "label": "normal"}
    table = pl.DataFrame([{**known, **row}])
    picture = np.random.default_rng(0).integers(0, 255, (1, 32, 32), dtype=np.uint8)
    return judge_files(table, Inspection(pl.DataFrame([asdict(fact)]), picture), required)


def told(judgement: Judged) -> list[tuple[str, str, str]]:
    kinds = [(each.kind, each.severity, each.action) for each in judgement.problems]
    return [each for each in kinds if each[0] != "unlike"]  # noise is no chest


def change(**changes: object) -> Facts:
    return Facts(**{**asdict(FINE), **changes})  # type: ignore[arg-type]


def test_facts_become_columns() -> None:
    judgement = judged(change(window="3..900", bit_depth=16))
    assert told(judgement) == []
    row = judgement.rows.row(0, named=True)
    assert (row["width"], row["height"], row["bit_depth"]) == ("300", "400", "16")
    assert (row["format"], row["window"], row["sha256"]) == ("PNG", "3..900", "0" * 64)
    assert judgement.kept == [0]


@pytest.mark.parametrize(
    ("fact", "row", "finding"),
    [
        (Facts(error="truncated", reason="cut"), {}, ("truncated", "error")),
        (change(deviation=1.9), {}, ("flat", "error")),
        (FINE, {"view": "L"}, ("lateral", "info")),
        (FINE, {"view": "AP Lateral"}, ("lateral", "info")),
        (FINE, {"view": "Axial"}, ("not_radiograph", "info")),
        (FINE, {"modality": "CT"}, ("not_radiograph", "info")),
        (change(header=json.dumps({"modality": "MR"})), {}, ("not_radiograph", "info")),
        # What metadata rules out is not held against its file.
        (Facts(error="truncated", reason="cut"), {"view": "L"}, ("lateral", "info")),
    ],
)
def test_what_rules_a_row_out(fact: Facts, row: dict[str, str], finding: tuple[str, str]) -> None:
    judgement = judged(fact, **row)
    assert told(judgement) == [(*finding, "left out")]
    assert judgement.rows.is_empty()
    assert judgement.kept == []


@pytest.mark.parametrize("view", ["PA", "AP", "AP Supine", "AP erect", "", "?"])
@pytest.mark.parametrize("modality", ["X-ray", "CR", "DX", ""])
def test_frontal_radiographs_stay(view: str, modality: str) -> None:
    assert told(judged(FINE, view=view, modality=modality)) == []


def test_headers_fill_what_the_row_leaves_blank() -> None:
    header = json.dumps({"view": "AP", "sex": "F", "age": "58"})
    row = judged(change(header=header), view="", sex="M").rows.row(0, named=True)
    assert (row["view"], row["sex"], row["age"]) == ("AP", "M", "58")


def test_oddities_are_told_and_kept() -> None:
    notes = json.dumps([("palette", "a palette of 4 colours")])
    judgement = judged(change(width=150, notes=notes))
    assert told(judgement) == [("palette", "info", "decoded"), ("small", "warning", "kept")]
    assert judgement.rows.height == 1


@pytest.mark.parametrize("fact", [change(mask_error="wrong size"), change(mask_share=0.0)])
def test_unusable_masks(fact: Facts) -> None:
    kind = "unreadable_mask" if fact.mask_error else "empty_mask"
    judgement = judged(fact, mask="m.png")
    assert told(judgement) == [(kind, "warning", "mask made by the segmenter")]
    assert judgement.rows.item(0, "mask") == ""
    assert judgement.problems[0].file == "m.png"
    judgement = judged(fact, required=True, mask="m.png")
    assert told(judgement) == [(kind, "error", "left out")]
    assert judgement.rows.is_empty()


def test_noise_is_unlike_a_chest() -> None:
    assert [each.kind for each in judged(FINE).problems] == ["unlike"]
