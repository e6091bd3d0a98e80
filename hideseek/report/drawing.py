"""From a matplotlib figure to a picture of a report: SVG and PNG of it, always the same bytes.

    @drawn                  fonts, sizes, and no mathematics in names such as "$x$"
    def some(...) -> Figure

    picture(some(...), name, caption, alternative)

Text stays text in the SVG, so that a browser can find it. The browser takes its own sans-serif
where it lacks the font; the usual ones are narrower, so nothing overlaps that does not here. The
SVG has no style sheet, no script, nothing from elsewhere, and no identifier that another picture on
the same page has; it can be put into a page as it is.
"""

from __future__ import annotations

import io
import re
import unicodedata
import warnings
from typing import Any

from matplotlib import colormaps, rc_context
from matplotlib.figure import Figure

from hideseek.report.chapter import Picture
from hideseek.report.palette import GRID, INK, PAPER_WHITE, SCALE

DPI = 130
LONGEST = 40
"""Characters of a name in a picture; the tables have it whole."""

STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": PAPER_WHITE,
    "savefig.facecolor": PAPER_WHITE,
    "svg.fonttype": "none",
}

drawn = rc_context(STYLE)  # a context manager, which also decorates
"""Draws what a function draws in the report's style."""

_SHEET = re.compile(r" *<defs>\s*<style[^>]*>[^<]*</style>\s*</defs>\n")
_TAG = re.compile(r"<[^<>]*>")
_IDENTIFIER = re.compile(r'(\bid="|"#|"url\(#)')
_JOINS = "stroke-linejoin: round; stroke-linecap: butt"
_NOTHING = dict.fromkeys(("Date", "Creator", "Format", "Type"))


def picture(
    figure: Figure,
    name: str,
    caption: str,
    alternative: str,
    model: str = "",
    representation: str = "",
) -> Picture:
    """Make a picture of a figure.

    Args:
        figure: drawn by a function that is `drawn`.
        name: of the files; letters, digits, "-" and "_", unique in a report.
        caption: one sentence.
        alternative: what someone who cannot see it has to know.
        model: network that it is about; empty for all.
        representation: the same of a representation.

    Returns:
        The picture, byte for byte the same for the same figure.
    """
    with rc_context({**STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        # A browser has the letters of most scripts; the PNG shows a box.
        warnings.filterwarnings("ignore", message="Glyph")
        as_png, as_svg = io.BytesIO(), io.StringIO()
        figure.savefig(as_png, format="png", dpi=DPI, metadata={"Software": None})
        figure.savefig(as_svg, format="svg", metadata=_NOTHING)
    svg = _alone(as_svg.getvalue(), name)
    return Picture(name, caption, alternative, as_png.getvalue(), svg, model, representation)


def _alone(svg: str, name: str) -> str:
    """Take from an SVG what would reach beyond it: prolog, style sheet, plain identifiers."""
    start = svg[svg.index("<svg") :]
    opened = start.replace("<svg", f'<svg style="{_JOINS}" role="img"', 1)
    # In tags alone: a network may be called 'id="'.
    return _TAG.sub(
        lambda tag: _IDENTIFIER.sub(rf"\g<1>{name}-", tag.group()), _SHEET.sub("", opened, count=1)
    )


def legible(name: object) -> str:
    """Prepare a name for a picture: no control characters, which no SVG can hold, and not endless.

    Args:
        name: of a network, a class, a source: a stranger's text.

    Returns:
        At most `LONGEST` characters.
    """
    shown = "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(sign) in ("Cc", "Cs", "Cn") else sign
        for sign in str(name)[: 2 * LONGEST]
    )
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + "…"


def stacked(name: object) -> str:
    """Break the name of a representation into lines at its underscores and spaces."""
    fill, _, margin = legible(name).partition(" margin ")
    lines = fill.replace("_", "\n").replace(" ", "\n")
    return f"{lines}\nmargin {margin}" if margin else lines


def ink_on(value: float, scale: str = SCALE) -> str:
    """Choose black or white text, whichever contrasts more with a colour of the scale.

    Args:
        value: place on the scale, 0..1.
        scale: name of a colour map.

    Returns:
        A colour, at least 4.5 to 1 against the background by WCAG 2.
    """
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in colormaps[scale](value)[:3]
    ]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "#ffffff"
