"""SVG and PNG of one figure, and the numbers' way into a report."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import colormaps

from hideseek.report.drawing import LONGEST, ink_on, legible, picture, stacked
from hideseek.report.heat import Heat, heat_figure
from hideseek.report.palette import network_colour, representation_colour
from hideseek.report.scores import columns, groups, number, parts_of, why_absent
from hideseek.roi import REPRESENTATIONS
from tests.report.chapter_evidence import HOSTILE, evidence_of


def heat(name: str = HOSTILE) -> Heat:
    return Heat(
        [name], ["original", "lungs\nremoved"], [[0.9, None]], [["0.9 ≠", "n/a"]],
        (0.5, 1.0), "AUC",
        column_starts=frozenset([1]), outlined=frozenset([(0, 0)]),
    )  # fmt: skip


def test_the_same_figure_gives_the_same_bytes():
    assert picture(heat_figure(heat()), "one", "c", "a") == picture(
        heat_figure(heat()), "one", "c", "a"
    )


def test_an_svg_has_its_text_and_nothing_from_elsewhere():
    found = picture(heat_figure(heat()), "one", "c", "a")
    root = ElementTree.fromstring(found.svg)
    assert [each for each in root.iter() if each.text and each.text.strip() == HOSTILE]
    assert "0.9 ≠" in found.svg
    assert found.svg.startswith("<svg") and "<style" not in found.svg and "<script" not in found.svg
    assert "<metadata" not in found.svg and "Matplotlib v" not in found.svg
    links = [value for each in root.iter() for key, value in each.items() if key.endswith("href")]
    assert links and all(link.startswith(("#one-", "data:image/png;base64,")) for link in links)
    assert found.png.startswith(b"\x89PNG") and b"Software" not in found.png[:300]


def test_no_two_pictures_share_an_identifier():
    both = [picture(heat_figure(heat()), name, "c", "a").svg for name in ("one", "two")]
    marks = [
        {e.get("id") for e in ElementTree.fromstring(svg).iter() if e.get("id")} for svg in both
    ]
    assert marks[0] and not marks[0] & marks[1]


@given(st.text(max_size=200))
def test_any_name_can_be_drawn(name):
    shown = legible(name)
    assert len(shown) <= LONGEST
    assert not any(ord(sign) < 32 or 0xD800 <= ord(sign) <= 0xDFFF for sign in shown)


@pytest.mark.parametrize("name", ["\x00\x1b[31m", "\ud800", 'id="#x"', "$\\frac{", "]]>&amp;", ""])
def test_an_odd_name_gives_a_sound_svg(name):
    root = ElementTree.fromstring(picture(heat_figure(heat(legible(name))), "odd", "c", "a").svg)
    if legible(name):
        assert legible(name) in [each.text for each in root.iter()]


@given(st.floats(0, 1))
def test_text_in_a_cell_has_contrast(value):
    def luminance(colour):
        parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    background = luminance(colormaps["cividis"](value)[:3])
    ink = 0.0 if ink_on(value) == "#000000" else 1.0
    assert (max(ink, background) + 0.05) / (min(ink, background) + 0.05) >= 4.5


def test_colours_are_fixed_and_different():
    assert len({representation_colour(name) for name in REPRESENTATIONS}) == len(REPRESENTATIONS)
    assert representation_colour("lungs_removed mean margin 5") == representation_colour(
        "lungs_removed"
    )
    assert len({network_colour(place) for place in range(8)}) == 8
    assert network_colour(8) == network_colour(0)


def test_names_of_representations():
    assert parts_of("lungs_removed") == ("lungs_removed", "black", 0.0)
    assert parts_of("lungs_removed mean margin -5") == ("lungs_removed", "mean", -5.0)
    assert parts_of("lungs_removed margin 12.5") == ("lungs_removed", "black", 12.5)
    assert stacked("lungs_removed mean margin 5") == "lungs\nremoved\nmean\nmargin 5"
    met = ["silhouette", "lungs_removed", "odd", "original", "lungs_removed mean", "odd"]
    assert groups(met) == (
        ["original", "lungs_removed"], ["silhouette"], ["odd", "lungs_removed mean"],
    )  # fmt: skip


def test_a_strangers_columns():
    frame = pl.DataFrame({"model": [1, None], "low": ["0.5", "inf"], "high": ["x", None]})
    assert columns(frame, ("model", "name"), ("low", "high", "no")).rows() == [
        ("1", "", 0.5, None, None), ("", "", None, None, None),
    ]  # fmt: skip


def test_what_is_a_number():
    assert (number("0.5"), number(2), number(0.25)) == (0.5, 2.0, 0.25)
    for wrong in (None, True, math.nan, math.inf, "x", [], {}, 10**400):
        assert number(wrong) is None


def test_what_lacks_and_the_command_that_keeps_the_rest():
    sections = {"sources": {"floors": []}, "probe": {"left_out": {"cell": "why"}, "rungs": []},
                "matrix": {"left_out": "no checkpoint"}}  # fmt: skip
    evidence = evidence_of(sections=sections)
    assert evidence.section("probe") and not evidence.section("cross_representation")
    said = why_absent(evidence, "cross_representation", "that")
    assert "no checkpoint" in said
    assert said.endswith("hideseek audit 'multirun/my grid' parts=sources,probe,matrix")
    for odd in ([], "x", None, {"probe": 3}):
        assert evidence_of(sections=odd).section("probe") == {}
        assert "not asked for" in why_absent(evidence_of(sections=odd), "probe", "that")
