"""The paper's settings, and where the cells of a sweep have others.

Sadre et al. 2021 and its published code; where the two disagree, the code's, for it made the
numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from hideseek.report.cell_files import CellFiles, shown

PRETRAINED = ("alexnet", "vgg11", "resnet50")
COVIDNET = ("covidnet_cxr3a", "covidnet_cxr4a")
NETWORKS = (*PRETRAINED, *COVIDNET)
"""The paper's five."""


@dataclass(frozen=True)
class Setting:
    """One setting of the paper.

    Attributes:
        name: shown.
        paths: in a cell's config.yaml; the first that is there counts.
        value: the paper's, for networks that `by_network` does not name; None there means that the
            setting is a matter of these networks only.
        by_network: the paper's value for some networks.
    """

    name: str
    paths: tuple[str, ...]
    value: object = None
    by_network: Mapping[str, object] | None = None

    def of(self, network: str) -> object:
        """Give the paper's value for a network; None where there is none."""
        return (self.by_network or {}).get(network, self.value)


def _each(pretrained: object, covidnet: object) -> dict[str, object]:
    return {**dict.fromkeys(PRETRAINED, pretrained), **dict.fromkeys(COVIDNET, covidnet)}


SETTINGS = (
    Setting("images that choose the epoch (selection)", ("selection",), "paper"),
    Setting("class weights of the loss", ("class_weights",), [1.0, 1.0, 4.0]),
    Setting("drawing of images (sampling)", ("sampling",), None, _each("balanced", "covidnet")),
    Setting("epochs", ("epochs",), None, _each(20, 10)),
    Setting("batch size", ("batch_size",), None, _each(32, 8)),
    Setting("learning rate", ("learning_rate",), None, _each(1e-4, 2e-4)),
    Setting("schedule", ("schedule",), "constant"),
    Setting("image size", ("image_size",), None, _each(224, 480)),
    Setting("grey values (normalize)", ("normalize",), "paper"),
    Setting("first weights", ("weights",), None, dict.fromkeys(PRETRAINED, "imagenet")),
    Setting("bn_mode", ("model.net.bn_mode",), None, dict.fromkeys(COVIDNET, "frozen_like_paper")),
    Setting("batch_norm", ("model.net.batch_norm",), None, {"vgg11": True}),
    Setting("augmentation", ("augment._target_",), "hideseek.data.augment.Augmentation"),
    Setting("mirroring in augmentation", ("augment.flip",), None, _each(0.0, 0.5)),
    Setting("average of weights (ema_decay)", ("ema_decay",), "none"),
    Setting("fill of what is hidden", ("roi.fill",), "black"),
    Setting("growth of the lungs, %", ("roi.margin",), 0.0),
    Setting("preprocessing", ("data.preprocess", "data.source.preprocess"), "paper"),
    Setting("pieces of a mask", ("data.masks.components", "data.source.masks.components"), 2),
)

ALWAYS = (
    "Rotation, shift and zoom are one bilinear warp; the paper's code makes several in a row, some "
    "by nearest neighbour.",
    "Boxes round the lungs are found after the crop of the top 8 %; the paper's before it.",
    "An empty lung mask is kept and marked; the paper's code stops.",
)
"""Where every sweep differs."""

GRAPHS = (
    "COVIDNet-CXR3-A and -CXR4-A are built from what is documented of them, for their graph is "
    "published as weights only; both are one graph here."
)


def deviations(cells: Sequence[CellFiles]) -> pl.DataFrame:
    """Set the cells' settings beside the paper's.

    Args:
        cells: of a sweep.

    Returns:
        A row for each setting and group of networks that share its values: `setting`, `networks`,
        `here`, `paper`, `same` ("yes" or "no"). Cells whose settings cannot be read are left out.
    """
    known = [cell for cell in cells if cell.settings]
    rows: dict[tuple[str, str, str], list[str]] = {}
    for setting in SETTINGS:
        for network in dict.fromkeys(cell.model for cell in known):
            if (paper := setting.of(network)) is None:
                continue
            values = [_value(cell, setting) for cell in known if cell.model == network]
            here = " and ".join(dict.fromkeys(values))
            rows.setdefault((setting.name, here, _text(paper)), []).append(shown(network))
    return pl.DataFrame(
        [
            (name, ", ".join(networks), here, paper, "yes" if here == paper else "no")
            for (name, here, paper), networks in rows.items()
        ],
        dict.fromkeys(("setting", "networks", "here", "paper", "same"), pl.String),
        orient="row",
    )


def _value(cell: CellFiles, setting: Setting) -> str:
    found = (cell.setting(path) for path in setting.paths)
    return _text(next((value for value in found if value is not None), None))


def _text(value: object) -> str:
    """Spell a value so that 2 and 2.0 are the same."""
    if isinstance(value, int) and not isinstance(value, bool):
        return shown(float(value))
    text = shown(value)
    return text.rpartition(".")[2] if text.startswith("hideseek.") else text
