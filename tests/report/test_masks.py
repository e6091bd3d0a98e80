from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from hideseek.data.cache import Cache
from hideseek.data.trust import gate, worst
from hideseek.report.masks import contact_sheet, gate_table, show_gate

CLASSES = ("normal", "covid19")


def masks(lose: bool, mirrored: bool = True) -> pl.DataFrame:
    rows = []
    for number in range(120):
        ill = number % 2
        area = 0.25 + number % 7 / 100 - (0.1 if lose and ill else 0)
        rows.append(
            {
                "image_id": f"img{number:03d}", "label": CLASSES[ill], "source": "ab"[number // 60],
                "patient_id": f"p{number}", "mask_area": f"{area:.3f}",
                "mask_disagreement": "0.01" if mirrored or number else "",
                "mask_quality": f"{0.95 - number % 7 / 100 - (0.1 if lose and ill else 0):.3f}",
                "mask_shape_quality": "0.9", "mask_flags": "lopsided" if lose and ill else "",
            }
        )  # fmt: skip
    return pl.DataFrame(rows)


def said(table: pl.DataFrame) -> str:
    stream = io.StringIO()
    show_gate(Console(file=stream, width=150), gate(gate_table(table), CLASSES))
    return stream.getvalue()


def test_alarm_and_no_alarm() -> None:
    assert "no alarm" in said(masks(lose=False))
    text = said(masks(lose=True))
    assert "no alarm" not in text
    assert text.count("ALARM") == 3
    assert "failed masks: 100 points more in covid19 than in normal" in text


def test_scales_of_quality_are_not_mixed() -> None:
    assert gate_table(masks(False))["quality"].to_list()[:2] == [0.95, 0.94]
    assert set(gate_table(masks(False, mirrored=False))["quality"]) == {0.9}


def test_contact_sheet(small_cache: Callable[..., Path], tmp_path: Path) -> None:
    cache = Cache(small_cache())
    table = gate_table(masks(lose=True)).head(40)
    path = contact_sheet(cache, worst(table, 30), tmp_path / "sheet.png")
    assert path.read_bytes()[:4] == b"\x89PNG"
    empty = contact_sheet(cache, worst(table, 0), tmp_path / "none.png")
    assert empty.is_file()
    assert path.stat().st_size > 4 * empty.stat().st_size


@pytest.mark.parametrize("carrier", ["mask_error", "opacity"])
def test_the_gate_on_phantoms(carrier: str, tmp_path: Path) -> None:
    """The mask that misses the disease raises the alarm, the fair one does not."""
    from tests.test_prepare import run

    done = run(
        tmp_path, "prepare", "data=phantom", f"data.phantom.carriers=[{carrier}]",
        "data.phantom.images=240", "data.phantom.size=96", "data.source.size=64",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert ("ALARM" in done.stdout) == (carrier == "mask_error")
    assert list((tmp_path / "cache").glob("*.masks.png"))
