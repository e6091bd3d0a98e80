from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from hideseek.checkpoint import NetworkCard
from hideseek.data.cache import Cache
from hideseek.data.datamodule import RepresentationDataset
from hideseek.errors import UserError
from hideseek.models.tiny import Tiny
from hideseek.report.attribution import attribution_panel
from hideseek.roi import REPRESENTATIONS

CLASSES = ("normal", "pneumonia", "covid19")
CARD = NetworkCard(
    "classify", "tiny", "hideseek.models.tiny.Tiny", {}, 48, 3, "paper", CLASSES, "lungs_removed"
)


@pytest.fixture
def figures(monkeypatch) -> list[Figure]:
    """Collect the figures that are saved, to look at what is in them."""
    saved: list[Figure] = []
    save = Figure.savefig

    def collect(self: Figure, *given, **named):
        saved.append(self)
        return save(self, *given, **named)

    monkeypatch.setattr(Figure, "savefig", collect)
    return saved


def dataset(cache: Cache, size: int = 48) -> RepresentationDataset:
    return RepresentationDataset(cache, REPRESENTATIONS["lungs_removed"], size)


def rows(figure: Figure) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Caption, picture and relative map of each row."""
    axes = [axis for axis in figure.axes if axis.images]
    return [
        (left.get_title(loc="left"), left.images[0].get_array(), right.images[1].get_array())
        for left, right in zip(axes[::2], axes[1::2], strict=True)
    ]


class Bright(nn.Module):
    """Says class 2 by the brightness of the right half of the image, on a map of 2x2."""

    cam_layer = "pool"

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.head = nn.Linear(4, 3)
        weights = [[0.0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]]
        self.head.load_state_dict({"weight": torch.tensor(weights), "bias": torch.zeros(3)})

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.pool(image[:, :1]).flatten(1))


def test_rows_are_the_first_test_images_of_each_class_as_the_network_saw_them(
    small_cache, tmp_path, figures
):
    cache = Cache(small_cache())
    # The other way round, so that the first by name are the last of the file.
    cache.table = cache.table.with_columns(cache.table["image_id"].reverse())
    path = attribution_panel(Tiny().eval(), CARD, dataset(cache), tmp_path / "a.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    shown = rows(figures[0])
    test = cache.table.with_row_index().filter(split="test")
    expected = [
        row
        for name in CLASSES
        for row in test.filter(label=name)["index"].sort(descending=True)[:2].to_list()
    ]
    for (caption, picture, _), row in zip(shown, expected, strict=True):
        assert caption.startswith(cache.table["label"][row] + " → ")
        image, mask = cache[row]
        assert np.array_equal(picture, np.where(mask, 0, image))


def test_one_colour_scale_and_the_probability_of_the_prediction(small_cache, tmp_path, figures):
    cache = Cache(small_cache())
    card = replace(CARD, cam_layer="pool", channels=1)
    attribution_panel(Bright().eval(), card, dataset(cache), tmp_path / "a.png", per_class=1)
    shown, means = rows(figures[0]), []
    for caption, picture, values in shown:
        pooled = np.asarray(picture, float).reshape(2, 24, 2, 24).mean(axis=(1, 3)) / 255
        p = np.exp(pooled.sum()) / (2 + np.exp(pooled.sum()))
        assert caption.endswith(f"→ covid19 ({p:.2f})")
        means.append(pooled)
        corners = values[[0, 0, -1, -1], [0, -1, 0, -1]].reshape(2, 2)
        np.testing.assert_allclose(corners / corners.max(), pooled / pooled.max(), rtol=1e-4)
    # dY/dA is 1 everywhere, so the map is A itself, and the scale is shared by the rows.
    most = [values.max() for _, _, values in shown]
    np.testing.assert_allclose(most, [m.max() / np.max(means) for m in means], rtol=1e-4)
    assert max(most) == pytest.approx(1)
    title = figures[0].get_suptitle()
    assert title.startswith("tiny, lungs_removed: Grad-CAM of the predicted class at pool\n")
    assert f"share of the panel's maximum, {np.max(means):.3g}" in title


def test_maps_without_evidence_are_drawn_as_nothing(small_cache, tmp_path, figures):
    net = Bright()
    nn.init.zeros_(net.head.weight)
    attribution_panel(net.eval(), CARD, dataset(Cache(small_cache())), tmp_path / "a.png")
    assert "no map above 0" in figures[0].get_suptitle()
    assert all(values.max() == 0 for _, _, values in rows(figures[0]))


def test_the_same_network_gives_the_same_file(small_cache, tmp_path):
    torch.manual_seed(0)
    net, cache = Tiny().eval(), Cache(small_cache())
    one = attribution_panel(net, CARD, dataset(cache), tmp_path / "1.png").read_bytes()
    two = attribution_panel(net, CARD, dataset(cache), tmp_path / "2.png").read_bytes()
    assert one == two


def test_classes_without_images_are_passed_over_and_none_at_all_is_one_line(small_cache, tmp_path):
    none = Cache(small_cache("none", split=lambda number, given: "train"))
    with pytest.raises(UserError, match="no labelled test image"):
        attribution_panel(Tiny().eval(), CARD, dataset(none), tmp_path / "a.png")
    one = Cache(small_cache("one", split=lambda number, _: "test" if number == 0 else "train"))
    assert attribution_panel(Tiny().eval(), CARD, dataset(one), tmp_path / "a.png").is_file()


def test_the_network_and_pyplot_are_left_alone_and_it_is_quick(small_cache, tmp_path):
    import matplotlib.pyplot

    net, data = Tiny().eval(), dataset(Cache(small_cache(size=64)), 64)
    attribution_panel(net, CARD, data, tmp_path / "a.png")
    started = time.perf_counter()
    attribution_panel(net, CARD, data, tmp_path / "a.png")
    assert time.perf_counter() - started < 5  # 0.6 s on the slowest machine at hand
    assert all(parameter.grad is None for parameter in net.parameters())
    assert matplotlib.pyplot.get_fignums() == []
