"""Planted data sets, and the cells that are trained on them in this process.

A process for each cell would spend most of its time on imports. These cells are small, on the CPU
and undistributed, so one process can train them one after the other, each in the folder and with
the configuration that `hideseek train` would give it.
"""

from __future__ import annotations

import gc
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hideseek import __version__
from hideseek.audit.verdict import ASKED, UNION
from hideseek.seeds import stream
from hideseek.sweep.runs import read_done

if TYPE_CHECKING:
    from omegaconf import DictConfig

NETWORK = (
    "model=tiny", "model.net.width=8", "batch_size=16", "schedule=onecycle", "learning_rate=5e-3",
    "class_weights=[1,1,1]", "augment=none", "trainer=cpu", "logger=csv", "model.cam_layer=head",
)  # fmt: skip
"""Of every cell: small, for there are hundreds. With the task's own class weights such a network
says one class only; and the head has no map to draw, so no time goes into attribution.png."""

SETTINGS = ("data=phantom", "data.phantom.size=64", *NETWORK)

REAL_SETTINGS = ("data=pasted", "data.pasted.size=64", "normalize=imagenet", *NETWORK)
"""On real radiographs. The network's GroupNorm divides any brightness out of an image that is not
centred first, and there a tone curve is hard to tell without it: AUC 0.81 on the tuning seed, 0.88
centred."""

DRAWN = 5760
"""Images times epochs of every training, 12 epochs of 480: with fewer steps for fewer images one
would see networks that have not learned, where the question is what the audit says of them."""

REAL_DRAWN = 11520
"""The same on real radiographs, which differ more among themselves; 13 epochs of 900."""

SHOWN = tuple(name for name in ASKED if name != UNION)
"""Trained for a verdict; it asks for `union_box_out` only where the fixed rectangle hides nearly
all, which it does not here."""


@dataclass(frozen=True)
class Background:
    """Real radiographs to plant on.

    Attributes:
        manifest: CSV file that lists them, with masks.
        root: folder that its paths are relative to; None for its own.
        source: the only source to take; None for all.
        digest: 8 hexadecimal digits, of the rows and the files' sizes.
    """

    manifest: str
    root: str | None
    source: str | None
    digest: str


@dataclass(frozen=True)
class Planted:
    """A data set whose truth is known: a phantom, or a signal on real radiographs.

    Attributes:
        carrier: one of `hideseek.data.phantom.CARRIERS`, or some joined by "+"; with a background,
            one of `hideseek.data.paste.CARRIERS`.
        strength: of the class signal, 0..1.
        images: of all splits; a quarter are test images. With a background, at most so many.
        seed: of drawing and training.
        background: radiographs to plant on; None for a phantom.
    """

    carrier: str
    strength: float
    images: int
    seed: int
    background: Background | None = None

    @property
    def name(self) -> str:
        """Name the folder of its sweep."""
        name = f"{self.carrier}-{self.strength:g}-n{self.images}-s{self.seed}"
        return f"{name}-real-{self.background.digest}" if self.background else name

    @property
    def on(self) -> str:
        """Name what it is planted on, "phantom" or "real"."""
        return "real" if self.background else "phantom"

    @property
    def drawing(self) -> int:
        """Seed of the drawing.

        No two phantom data sets share patients, so that rates can be counted. On real radiographs
        each draws classes and places of its own, for the same patients.
        """
        kind = "selftest-real" if self.background else "selftest"
        return stream(self.seed, f"{kind}-{self.carrier}", self.images, round(1e6 * self.strength))

    @property
    def settings(self) -> tuple[str, ...]:
        """Overrides of all cells on what it is planted on."""
        return REAL_SETTINGS if self.background else SETTINGS

    def words(self) -> list[str]:
        """Return the overrides that make these data."""
        from hideseek.sweep.cells import quoted

        steps = REAL_DRAWN if self.background else DRAWN
        words = [f"epochs={math.ceil(steps / self.images)}"]
        drawn: dict[str, object] = {
            "strength": self.strength, "images": self.images, "seed": self.drawing,
        }  # fmt: skip
        if self.background is None:
            drawn["carriers"] = f"[{self.carrier.replace('+', ',')}]"
            return words + [f"data.phantom.{key}={value}" for key, value in drawn.items()]
        drawn["carrier"] = self.carrier
        for key in ("manifest", "root", "source"):
            given = getattr(self.background, key)
            drawn[key] = "null" if given is None else quoted(given)
        return words + [f"data.pasted.{key}={value}" for key, value in drawn.items()]


def train_cell(
    planted: Planted,
    roi: str,
    sweep: Path,
    settings: Sequence[str] | None = None,
) -> Path:
    """Train one cell in this process, unless it is finished; what it says goes to its log.txt.

    Args:
        planted: what to draw.
        roi: name of the representation.
        sweep: folder that gets the cell.
        settings: overrides of the cell; `Planted.settings` if None.

    Returns:
        Folder of the cell.

    Raises:
        UserError: settings that cannot work.
    """
    from hideseek.config import config_hash

    # Those of the data come first, for tests shorten the training.
    words = [*planted.words(), *(planted.settings if settings is None else settings)]
    words += [f"roi={roi}", f"seed={planted.seed}"]
    with _composed(words, sweep) as config:
        cell, done = Path(str(config.hydra.runtime.output_dir)), config_hash(config)
        found = read_done(cell)
        if (found.get("config_hash"), found.get("version")) != (done, __version__):
            cell.mkdir(parents=True, exist_ok=True)
            with _logged(cell / "log.txt"):
                from hideseek.train import train

                train(config)
    # Lightning's trainer and module refer to each other, and would stay for several cells.
    gc.collect()
    return cell


@contextmanager
def _composed(words: Sequence[str], sweep: Path) -> Iterator[DictConfig]:
    """Compose as `hideseek train` does in a sweep, and leave Hydra as it was."""
    from hydra import compose, initialize_config_dir
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import open_dict

    from hideseek.config import config_folder, register
    from hideseek.sweep.cells import quoted

    register()
    places = {"sweep": sweep.name, "paths.multirun": str(sweep.parent)}
    places["paths.cache"] = str(sweep / "cache")
    given = [*words, *(f"{key}={quoted(value)}" for key, value in places.items())]
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = compose("train", given, return_hydra_config=True)
    chosen = config.hydra.runtime.choices
    with open_dict(config):
        name = f"{chosen['model']}-{chosen['roi']}-s{config.seed}"
        config.hydra.runtime.output_dir = str(sweep / name)
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(config)
    try:
        yield config
    finally:
        HydraConfig.instance().cfg = before


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Send prints, bars and log lines to a file; Lightning draws no bar where there is no tty."""
    root = logging.getLogger()
    level = root.level
    with path.open("a") as file, redirect_stdout(file), redirect_stderr(file):
        handler = logging.StreamHandler(file)
        handler.setFormatter(logging.Formatter("[%(asctime)s] %(message)s"))
        root.addHandler(handler)
        root.setLevel(logging.INFO)
        try:
            yield
        finally:
            root.removeHandler(handler)
            root.setLevel(level)
