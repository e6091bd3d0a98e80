"""The colours of a report: the same representation and the same network look alike in all chapters.

Based on the eight colours of Okabe and Ito, which people with any common colour blindness can tell
apart. Eleven representations need three more; a control is a paler or darker relative of what it
controls, and no picture relies on colour alone.
"""

from __future__ import annotations

SCALE = "cividis"
"""Of values, for heat maps: the same order for the colour-blind and in grey print."""

INK, PAPER_WHITE, GRID = "#1a1a1a", "#ffffff", "#d9d9d9"
"""Text, background, and lines that guide the eye."""

UNKNOWN = "#767676"
"""Of a name that this version does not know."""

_REPRESENTATIONS = {
    "original": "#000000",
    "lungs_isolated": "#0072b2",
    "lungs_framed": "#56b4e9",
    "lungs_removed": "#d55e00",
    "lungs_boxed_out": "#e69f00",
    "silhouette": "#009e73",
    "box_silhouette": "#7fceb9",
    "union_box_out": "#cc79a7",
    "around_lungs": "#8a6d00",
    "fixed_box_out": "#7b3f61",
    "random_box_out": "#999999",
}

_NETWORKS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#000000",
    "#7b3f61",
)


def representation_colour(name: str) -> str:
    """Give the colour of a representation.

    Args:
        name: as in the audit, for example "lungs_removed mean margin 10"; fill and margin do not
            change the colour.

    Returns:
        "#rrggbb"; grey for a name that is not known.
    """
    return _REPRESENTATIONS.get(name.partition(" ")[0], UNKNOWN)


def network_colour(position: int) -> str:
    """Give the colour of a network.

    Args:
        position: of the network in the order of the audit, from 0; after eight they repeat.

    Returns:
        "#rrggbb".
    """
    return _NETWORKS[position % len(_NETWORKS)]
