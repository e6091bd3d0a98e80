"""Draw docs/pipeline.svg and docs/pipeline.png: what hideseek does, from a radiograph to a verdict.

    python docs/pipeline.py [FOLDER]

Radiograph, mask and representations are real: phantom 5, the U-Net that comes with the package, and
the functions of `hideseek.roi`. The same machine draws the same bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from hideseek.data.lungs import load_segmenter
from hideseek.data.phantom import PhantomRecipe, draw
from hideseek.fill import Image, Mask
from hideseek.regions import fixed_rectangle, lung_boxes, lung_components
from hideseek.report.palette import GRID, INK, UNKNOWN, representation_colour
from hideseek.roi import PAPER, REPRESENTATIONS

WIDTH, HEIGHT = 10.6, 4.75
"""Inches."""

SHOWN, TRAINING = 5, range(12)
"""The phantom that is drawn, and those whose lungs the fixed rectangle covers."""

PIXELS_PER_INCH = 135
"""Of a picture in the files."""

STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "text.color": INK,
    "svg.fonttype": "path",
    "svg.hashsalt": "pipeline",
}

SCORES = {
    "original": (0.964, 0.937, 0.985),
    "lungs_isolated": (1.000, 1.000, 1.000),
    "lungs_removed": (0.505, 0.424, 0.587),
    "lungs_framed": (0.999, 0.997, 1.000),
    "lungs_boxed_out": (0.514, 0.445, 0.586),
    "silhouette": (0.401, 0.324, 0.482),
    "box_silhouette": (0.405, 0.329, 0.485),
    "union_box_out": (0.492, 0.408, 0.577),
    "around_lungs": (0.490, 0.407, 0.577),
    "fixed_box_out": (0.499, 0.424, 0.578),
    "random_box_out": (0.608, 0.540, 0.677),
}
"""Macro AUC and its 95 % interval: `hideseek train experiment=controls data=phantom logger=csv
trainer=cpu sweep=figure`, then `hideseek audit multirun/figure`."""

VERDICT = "lungs"
"""What that audit says of the small network of `model=tiny`."""

Place = tuple[float, float, float, float]
"""Left, bottom, width and height, inches."""


def pieces() -> tuple[Image, Mask, dict[str, Image]]:
    """Make what the figure shows: a radiograph, its mask, and its representations."""
    recipe = PhantomRecipe(size=256)
    segmenter = load_segmenter("packaged", mirrored=True)
    image = draw(recipe, SHOWN).image
    found = segmenter.find([image, *(draw(recipe, number).image for number in TRAINING)])
    mask, *training = (lung_components(each.mask) for each in found)
    made: dict[str, Callable[..., Image]] = dict(REPRESENTATIONS)
    rectangle = fixed_rectangle(np.stack([lung_boxes(each) for each in training]))
    made["fixed_box_out"] = partial(made["fixed_box_out"], rectangle=rectangle)
    return image, mask, {name: function(image, mask, seed=3) for name, function in made.items()}


def pipeline(image: Image, mask: Mask, representations: dict[str, Image]) -> Figure:
    """Draw the figure.

    Args:
        image: uint8 [S, S].
        mask: bool [S, S].
        representations: pictures by name, uint8 [S, S].
    """
    figure = Figure(figsize=(WIDTH, HEIGHT), facecolor="white")
    left, side = 0.25, 1.3
    _picture(figure, (left, 3.2, side, side), image, "radiograph", INK)
    _network(figure, (left + 0.15, 2.0, 1.0, 0.62), "U-Net")
    _picture(figure, (left, 0.25, side, side), mask * np.uint8(255), "lung mask", INK)
    _arrow(figure, (left + side / 2, 3.18), (left + side / 2, 2.84))
    _arrow(figure, (left + side / 2, 1.98), (left + side / 2, 1.77))
    _arrow(figure, (left + side + 0.06, 0.9), (2.05, 1.6))
    _arrow(figure, (left + side + 0.06, 3.85), (2.05, 3.3))
    _grid(figure, representations)
    _arrow(figure, (7.3, 3.4), (7.62, 3.75))
    _networks(figure, (7.7, 3.45, 2.65, 0.85))
    _arrow(figure, (9.0, 3.46), (9.0, 3.2))
    _text(figure, 9.12, 3.26, "predictions")
    _forest(figure, (8.82, 1.22, 1.5, 1.68))
    _arrow(figure, (9.0, 0.92), (9.0, 0.72))
    _verdict(figure, (7.7, 0.28, 2.65, 0.42))
    words = "here: a small network on synthetic radiographs"
    _text(figure, 9.03, 0.06, words, size=7, ha="center")
    return figure


def _grid(figure: Figure, representations: dict[str, Image]) -> None:
    left, width = 2.12, 5.2
    controls = [name for name in representations if name not in PAPER]
    for names, bottom, heading in (
        (PAPER, 2.62, "five representations: hide the lungs, or keep them"),
        (controls, 0.98, "controls: what the way of hiding gives away by itself"),
    ):
        step = width / len(names)
        side = step - 0.06
        _text(figure, left, bottom + side + 0.27, heading, size=8.5, weight="bold")
        for number, name in enumerate(names):
            place = (left + number * step, bottom, side, side)
            _picture(figure, place, representations[name], name, representation_colour(name), 6.4)
    words = "A network that still knows the disease without the lungs reads something else."
    _text(figure, left, 0.42, words, size=8.5, style="italic")


def _forest(figure: Figure, place: Place) -> None:
    axes = _axes(figure, place)
    _text(figure, 7.7, place[1] + place[3] + 0.12, "audit: macro AUC, 95 % interval", 8.5, "bold")
    axes.axvline(0.5, color=UNKNOWN, linewidth=0.8, linestyle=(0, (4, 3)))
    for number, (name, (score, low, high)) in enumerate(SCORES.items()):
        colour = representation_colour(name)
        axes.plot([low, high], [-number] * 2, color=colour, linewidth=1.6, solid_capstyle="butt")
        axes.plot([score], [-number], "o", color=colour, markersize=4)
    axes.set(xlim=(0.28, 1.02), ylim=(-len(SCORES) + 0.4, 0.6))
    axes.set_xticks([0.5, 0.75, 1.0], ["0.5\n(chance)", "0.75", "1"])
    axes.set_yticks([-number for number in range(len(SCORES))], list(SCORES), fontsize=6.9)
    axes.tick_params(length=0, pad=3, labelsize=6.9)
    axes.grid(axis="x", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _networks(figure: Figure, place: Place) -> None:
    left, bottom, width, height = place
    _text(figure, left, bottom + height + 0.1, "a network for each of them", 8.5, "bold")
    axes = _axes(figure, place)
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    for number in range(3):
        at = (0.02 + 0.1 * (2 - number), 0.42 - 0.14 * number)
        box = FancyBboxPatch(at, 0.85, 0.32, "round,pad=0,rounding_size=0.05")
        box.set(facecolor="white", edgecolor=INK, linewidth=1)
        axes.add_patch(box)
    axes.text(at[0] + 0.425, at[1] + 0.15, "network", ha="center", va="center")
    axes.text(1.22, 0.45, "AlexNet, VGG-11,\nResNet-50, COVID-Net,\nor your own", va="center")


def _verdict(figure: Figure, place: Place) -> None:
    axes = _axes(figure, place)
    axes.set(xlim=(0, place[2]), ylim=(0, place[3]))
    axes.set_axis_off()
    box = FancyBboxPatch(
        (0.02, 0.02), place[2] - 0.04, place[3] - 0.04, "round,pad=0,rounding_size=0.08"
    )
    box.set(facecolor=representation_colour("lungs_isolated"), edgecolor="none")
    axes.add_patch(box)
    text = f"verdict: {VERDICT}"
    axes.text(
        place[2] / 2,
        place[3] / 2,
        text,
        color="white",
        weight="bold",
        fontsize=10,
        ha="center",
        va="center",
    )


def _network(figure: Figure, place: Place, name: str) -> None:
    """Draw an encoder and a decoder as bars."""
    axes = _axes(figure, place)
    axes.set_axis_off()
    for number, tall in enumerate((1.0, 0.72, 0.46, 0.26, 0.46, 0.72, 1.0)):
        axes.add_patch(Rectangle((number - 0.28, -tall / 2), 0.56, tall, facecolor=UNKNOWN))
    axes.set(xlim=(-0.5, 6.5), ylim=(-0.55, 0.55))
    _text(figure, place[0] + place[2] / 2, place[1] + place[3] + 0.04, name, ha="center")


def _picture(
    figure: Figure, place: Place, image: Image, name: str, colour: str, size: float = 8
) -> None:
    axes = _axes(figure, place)
    side = round(PIXELS_PER_INCH * place[2])
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    axes.imshow(small, cmap="gray", vmin=0, vmax=255, interpolation="none", aspect="auto")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=2.2)
    left, bottom, width, height = place
    _text(figure, left + width / 2, bottom + height + 0.05, name, size, ha="center")


def _axes(figure: Figure, place: Place) -> Axes:
    left, bottom, width, height = place
    return figure.add_axes((left / WIDTH, bottom / HEIGHT, width / WIDTH, height / HEIGHT))


def _text(
    figure: Figure, x: float, y: float, text: str, size: float = 8, weight: str = "normal",
    style: str = "normal", ha: str = "left",
) -> None:  # fmt: skip
    figure.text(
        x / WIDTH, y / HEIGHT, text, fontsize=size, weight=weight, style=style, ha=ha, va="bottom"
    )


def _arrow(figure: Figure, start: tuple[float, float], end: tuple[float, float]) -> None:
    points = [(x / WIDTH, y / HEIGHT) for x, y in (start, end)]
    arrow = FancyArrowPatch(*points, arrowstyle="-|>", mutation_scale=11, color=INK, linewidth=1.3)
    arrow.set_transform(figure.transFigure)
    figure.add_artist(arrow)


def main(folder: Path) -> None:
    """Write both files."""
    with rc_context(STYLE):
        figure = pipeline(*pieces())
        figure.savefig(folder / "pipeline.svg", metadata={"Date": None, "Creator": None})
        figure.savefig(folder / "pipeline.png", dpi=150, metadata={"Software": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
