"""Grad-CAM of a network from elsewhere, on a network whose map is known by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hideseek.audit.bootstrap import resample_counts
from hideseek.audit.frozen import audit_frozen
from hideseek.audit.frozen_maps import maps_section
from hideseek.checkpoint import NetworkCard
from hideseek.data.cache import Cache, CacheRecipe, Entry, write_cache
from hideseek.data.datamodule import RepresentationDataset
from hideseek.roi import original
from tests.conftest import CLASSES, draw_radiograph

SIDE, IMAGES = 64, 12


class Brightness(nn.Module):
    """Class 1 is what is bright: its map is the image itself, for the layer copies it."""

    def __init__(self, layer: str = "pixels") -> None:
        super().__init__()
        self.pixels = nn.Conv2d(3, 1, 1, bias=False)
        nn.init.constant_(self.pixels.weight, 1 / 3)
        self.cam_layer = layer

    def forward(self, image: Tensor) -> Tensor:
        mean = self.pixels(image).mean(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(mean), mean + 1, torch.zeros_like(mean)], dim=1)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    recipe = CacheRecipe("maps", "classify", SIDE, "paper", CLASSES, "m" * 64, "s" * 16)

    def entry(number: int) -> Entry:
        image, lungs = draw_radiograph(SIDE, SIDE, number)
        text = {
            "image_id": f"img{number:03d}", "label": CLASSES[number % 3], "source": "a",
            "patient_id": f"p{number}", "split": "test",
        }  # fmt: skip
        return Entry(image, lungs, text)

    path = tmp_path_factory.mktemp("maps") / recipe.file_name()
    write_cache(path, recipe, (entry(number) for number in range(IMAGES)), IMAGES)
    return Cache(path)


def card(layer: str = "") -> NetworkCard:
    return NetworkCard(
        "classify", "bright", "x.y", {}, SIDE, 3, "paper", CLASSES, "original", layer
    )


def test_the_map_is_the_image_and_its_energy_is_counted_by_hand(cache: Cache) -> None:
    net = Brightness()
    sections = {s.name: s for s in audit_frozen(net, card(), cache, resamples=1000)}
    found = sections["attribution"]
    by_hand = []
    for row in range(IMAGES):
        image, mask = cache[row]
        by_hand.append(image[mask].sum(dtype=float) / image.sum(dtype=float) / mask.mean())
    assert found.content["gate"]["enrichment"] == pytest.approx(np.mean(by_hand), rel=1e-3)
    assert found.content["layer"] == "pixels"
    means = found.tables["attribution"]
    levels = {(row["group"], row["level"]) for row in means.iter_rows(named=True)}
    assert ("all", "") in levels and {("label", name) for name in CLASSES} <= levels
    assert {("correct", "true"), ("correct", "false")} <= levels
    assert "1 by chance" in found.lines[0]
    # The network that was handed in is as it was.
    assert torch.all(net.pixels.weight == 1 / 3)


@pytest.mark.parametrize(("layer", "words"), [("", "model.cam_layer"), ("nowhere", "nowhere")])
def test_without_a_layer_the_rest_of_the_audit_stands(cache: Cache, layer: str, words: str) -> None:
    net = Brightness(layer)
    sections = {s.name: s for s in audit_frozen(net, card(), cache, resamples=1000)}
    assert words in sections["attribution"].content["left_out"]
    assert words in sections["attribution"].lines[0]
    assert sections["hiding"].content["reading"]


def test_a_network_that_cannot_be_copied_costs_its_maps_and_nothing_else(cache: Cache) -> None:
    class Keeps(Brightness):
        def forward(self, image: Tensor) -> Tensor:
            self.kept = self.pixels(image)  # no leaf of the graph: deepcopy refuses it
            return super().forward(image)

    net = Keeps()
    net(torch.zeros(1, 3, SIDE, SIDE))
    sections = {s.name: s for s in audit_frozen(net, card(), cache, resamples=1000)}
    assert sections["hiding"].content["reading"]
    assert "left_out" in sections["attribution"].content


def test_some_images_balanced_by_class(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hideseek.audit.frozen_maps.IMAGES", 6)
    labels = np.arange(IMAGES) % 3
    counts = resample_counts(labels, np.arange(IMAGES), 100, 0)
    dataset = RepresentationDataset(cache, original, SIDE, with_mask=True)
    table = cache.table.with_columns(prediction=cache.table["label"])
    found = maps_section(Brightness(), card(), dataset, table, labels, list(range(IMAGES)), counts)
    shown = found.tables["attribution_images"]
    assert shown["label"].value_counts()["count"].to_list() == [2, 2, 2]
    assert shown["correct"].all()
