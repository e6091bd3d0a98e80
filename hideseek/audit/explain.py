"""Where one classifier looks: Grad-CAM, measured, beside networks that know nothing.

cell -> checkpoint, cache -> what evaluation saw -> maps -> energy in the lungs
the same with random weights
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor, nn

from hideseek.attribution import Maps, enlarged, raw_maps
from hideseek.audit.correlation import factors_of
from hideseek.audit.energy import measure_maps
from hideseek.audit.grid import CellPredictions, Grid, Integers
from hideseek.audit.reopen import BATCH, REPRODUCED, Reopened, reopen
from hideseek.checkpoint import NetworkCard
from hideseek.errors import UserError
from hideseek.models.inputs import normalize
from hideseek.seeds import stream

ENERGY = "lung_enrichment"
RANDOM = 3
"""Networks with random weights that a trained one is set against."""


@dataclass(frozen=True)
class Explained:
    """What one cell gives on the drawn images.

    Attributes:
        layer: that Grad-CAM looked at.
        predictions: class numbers [B].
        reproduced: how many are those of predictions.csv.
        maps: raw, float32 [B, h, w].
        measured: a row an image, as `measure_maps` returns it.
        factors: what is known of the images, by name.
        random: E of each network with random weights, NaN where not defined [B, 0 or RANDOM].
    """

    layer: str
    predictions: Integers
    reproduced: int
    maps: Maps
    measured: pl.DataFrame
    factors: dict[str, pl.Series]
    random: npt.NDArray[np.float64]

    @property
    def energy(self) -> npt.NDArray[np.float64]:
        """E of each image, NaN where not defined [B]."""
        return energy_of(self.measured)


def explain(
    net: nn.Module, card: NetworkCard, layer: str, images: Tensor, device: str | torch.device
) -> tuple[Integers, Maps]:
    """Predict images and map what speaks for the predicted class, a few at a time.

    Args:
        net: in evaluation mode; it is moved to the device.
        card: of the network.
        layer: for Grad-CAM.
        images: uint8 [B, 1, S, S].
        device: where the network runs.

    Returns:
        Predicted class numbers [B], and raw maps float32 [B, h, w].
    """
    net.to(device)
    predictions, maps = [], []
    for batch in torch.split(images, BATCH):
        inputs = normalize(batch.to(device), card.normalize, card.channels)
        with torch.inference_mode():
            predicted = net(inputs).argmax(dim=1).cpu().numpy()
        maps.append(raw_maps(net, layer, inputs, predicted.tolist()))
        predictions.append(predicted)
    return np.concatenate(predictions), np.concatenate(maps)


def randomise(net: nn.Module, seed: int) -> None:
    """Draw all weights of a network anew: He's normal distribution, biases 0, no statistics.

    A network just built has random weights as well, but not if building it loads trained ones, and
    PyTorch's own choice of biases makes deep networks blind to the image.

    Args:
        net: changed in place, and left on the CPU.
        seed: of the weights.
    """
    generator = torch.Generator().manual_seed(seed)
    net.cpu()
    for module in net.modules():
        reset = getattr(module, "reset_running_stats", None)
        if reset is not None:
            reset()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if parameter.ndim > 1:
                nn.init.kaiming_normal_(parameter, nonlinearity="relu", generator=generator)
            else:
                parameter.fill_(float(not name.endswith("bias")))


def balanced_draw(labels: Integers, images: int | None, seed: int = 0) -> Integers:
    """Draw images at random, as many of each class as there are or as are needed.

    Args:
        labels: class numbers [N].
        images: how many, at least 1; None for all.
        seed: of the draw.

    Returns:
        Their places, ascending.
    """
    if images is None or images >= len(labels):
        return np.arange(len(labels))
    mixed = np.random.default_rng(stream(seed, "attribution")).permutation(len(labels))
    turn = np.empty(len(labels), np.int64)
    for number in np.unique(labels):
        members = mixed[labels[mixed] == number]
        turn[members] = np.arange(len(members))
    # The first of every class, then the second of every class, as long as there are any.
    return np.sort(mixed[np.argsort(turn[mixed], kind="stable")][:images])


class Shown:
    """The drawn images, read once for each representation and once as radiographs."""

    def __init__(self, chosen: Integers) -> None:
        """Remember which images of the grid were drawn."""
        self.chosen = chosen
        self._roi: object = None
        self._images: dict[object, Tensor] = {}
        self._radiographs: dict[object, Any] = {}

    def images(self, opened: Reopened) -> Tensor:
        """Read what the network saw, unless another one of this representation saw the same."""
        roi = opened.dataset.roi
        assert isinstance(roi, partial)
        named = roi.func, tuple(roi.keywords.items())
        if self._roi != named:
            self._roi, self._images = named, {}
        key = self._place(opened), opened.dataset.seed
        if key not in self._images:
            self._images[key] = opened.images(self.chosen.tolist())
        return self._images[key]

    def radiographs(self, opened: Reopened) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """Read the images with nothing hidden, and the lungs."""
        key = self._place(opened)
        if key not in self._radiographs:
            self._radiographs[key] = opened.radiographs(self.chosen.tolist())
        pictures, masks = self._radiographs[key]
        return pictures, masks

    def _place(self, opened: Reopened) -> tuple[Path, int]:
        return opened.dataset.cache.path, opened.card.image_size


def explain_cell(
    sweep: Path,
    cell: CellPredictions,
    grid: Grid,
    shown: Shown,
    device: str | torch.device,
    random: int = RANDOM,
) -> Explained:
    """Explain a finished cell, and as many networks with random weights.

    Args:
        sweep: its folder.
        cell: of the grid, or set aside from it.
        grid: of the sweep.
        shown: the images.
        device: where the networks run.
        random: how many with random weights.

    Returns:
        What was seen.

    Raises:
        UserError: the cell cannot be opened again, or its checkpoint predicts something else.
    """
    opened = reopen(sweep, cell, grid)
    images = shown.images(opened)
    radiographs, masks = shown.radiographs(opened)
    about = opened.net, opened.card, opened.layer, images, device
    predictions, maps = explain(*about)
    reproduced = int((predictions == cell.predictions[shown.chosen]).sum())
    if reproduced < REPRODUCED * len(shown.chosen):
        raise UserError(
            f"{cell.folder}: its checkpoint gives {reproduced} of {len(shown.chosen)} predictions "
            "of its predictions.csv; run the cell again"
        )
    return Explained(
        opened.layer,
        predictions,
        reproduced,
        maps,
        measured(maps, masks, radiographs),
        factors_of(opened.dataset.cache, grid.images.get_column("image_id")[shown.chosen]),
        random_energy(about, masks, radiographs, random),
    )


def random_energy(
    about: tuple[nn.Module, NetworkCard, str, Tensor, str | torch.device],
    masks: npt.NDArray[np.bool_],
    radiographs: npt.NDArray[np.uint8],
    random: int = RANDOM,
) -> npt.NDArray[np.float64]:
    """Measure networks with random weights on the same images.

    Args:
        about: as `explain` takes it; its network loses its weights.
        masks: bool [B, S, S], the lungs.
        radiographs: uint8 [B, S, S].
        random: how many networks.

    Returns:
        E of each, NaN where not defined [B, random].
    """
    energies = []
    for number in range(random):
        randomise(about[0], stream(number, "random weights"))
        energies.append(energy_of(measured(explain(*about)[1], masks, radiographs)))
    return np.stack(energies, axis=1) if energies else np.empty((len(masks), 0))


def measured(
    maps: Maps, masks: npt.NDArray[np.bool_], radiographs: npt.NDArray[np.uint8]
) -> pl.DataFrame:
    """Enlarge and measure a few maps at a time: enlarged, those of a test set take gigabytes.

    Args:
        maps: raw, float32 [B, h, w].
        masks: bool [B, S, S], the lungs.
        radiographs: uint8 [B, S, S].

    Returns:
        A row an image, as `measure_maps` gives it.
    """
    parts = [slice(start, start + BATCH) for start in range(0, len(maps), BATCH)]
    return pl.concat(
        measure_maps(enlarged(maps[part], masks.shape[1:]), masks[part], radiographs[part])
        for part in parts
    )


def energy_of(rows: pl.DataFrame) -> npt.NDArray[np.float64]:
    """Take E of each image, NaN where not defined [B]."""
    return rows.get_column(ENERGY).cast(pl.Float64).fill_null(float("nan")).to_numpy()
