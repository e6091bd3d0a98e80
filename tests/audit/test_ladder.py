"""Sources that give themselves away in a known place, and networks that were never trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from hideseek.audit.bootstrap import resample_counts
from hideseek.audit.grid import read_grid
from hideseek.audit.ladder import describe, draw_training, penultimate, probe_section
from hideseek.audit.ladder_lines import Rung, ladder_lines, reading
from hideseek.audit.probe import probe
from hideseek.audit.section import Section
from hideseek.checkpoint import NetworkCard, load_network, save_network
from hideseek.data.cache import CacheRecipe, Entry, write_cache
from hideseek.errors import UserError
from hideseek.models.inputs import normalize
from hideseek.models.tiny import Tiny
from tests.conftest import CLASSES, Lungs, Pixels, draw_radiograph

SIDE = 48
ROIS = ("original", "lungs_isolated", "silhouette")
CARD = NetworkCard("classify", "tiny", "hideseek.models.tiny.Tiny", {}, SIDE, 3, "paper", CLASSES)


def gain(image: Pixels, lungs: Lungs) -> Pixels:
    """Let one scanner be brighter everywhere."""
    return (image // 2 + 60).astype(np.uint8)


def marker(image: Pixels, lungs: Lungs) -> Pixels:
    """Let one hospital put a letter into the corner."""
    marked = image.copy()
    marked[:9, :9] = 255
    return marked


def write_sweep(folder: Path, mark: Callable[[Pixels, Lungs], Pixels]) -> Path:
    """Write 90 patients of two sources, which have as many of every class, and three cells."""
    entries, predictions = [], []
    for number in range(90):
        image, lungs = draw_radiograph(SIDE, SIDE, number)
        source = number // 3 % 2
        text = {
            "image_id": f"img{number:03}", "patient_id": f"patient{number}", "view": "PA",
            "label": CLASSES[number % 3], "source": f"hospital{source}",
            "split": "test" if number < 36 else "val" if number < 42 else "train",
        }  # fmt: skip
        entries.append(Entry(mark(image, lungs) if source else image, lungs, text))
        predictions.append(text)
    recipe = CacheRecipe("small", "classify", SIDE, "paper", CLASSES, "m" * 64, "s" * 16)
    write_cache(folder / recipe.file_name(), recipe, entries, len(entries))
    columns = ("image_id", "patient_id", "source", "split", "label")
    test = pl.DataFrame(predictions).select(columns).filter(pl.col("split") == "test")
    scores = {
        f"p_{name}": pl.lit(share) for name, share in zip(CLASSES, (0.5, 0.3, 0.2), strict=True)
    }
    for roi in ROIS:
        cell = folder / "sweep" / f"tiny-{roi}-s0"
        (cell / "checkpoints").mkdir(parents=True)
        torch.manual_seed(0)
        card = NetworkCard(**{**CARD.plain(), "roi": roi, "classes": CLASSES})
        save_network(cell / "checkpoints" / "best.ckpt", Tiny(), card)
        test.with_columns(prediction=pl.lit("normal"), **scores).write_csv(cell / "predictions.csv")
        done = {
            "model": "tiny", "roi": roi, "seed": 0, "task": "classify", "classes": CLASSES,
            "fill": "black", "margin": 0.0, "recipe_hash": recipe.digest(),
        }  # fmt: skip
        (cell / "done.json").write_text(json.dumps(done))
        (cell / "provenance.json").write_text(json.dumps({"cache": recipe.file_name()}))
    return folder / "sweep"


def probed(sweep: Path, **settings: int) -> Section:
    grid = read_grid(sweep)
    counts = resample_counts(grid.labels, grid.patients.to_numpy(), 500, seed=0)
    section = probe_section(sweep, grid, counts, **settings)
    json.dumps(section.content, allow_nan=False)
    return section


@pytest.fixture(scope="module")
def of_gain(tmp_path_factory: pytest.TempPathFactory) -> Section:
    return probed(write_sweep(tmp_path_factory.mktemp("gain"), gain))


@pytest.fixture(scope="module")
def of_marker(tmp_path_factory: pytest.TempPathFactory) -> Section:
    return probed(write_sweep(tmp_path_factory.mktemp("marker"), marker))


def rung(section: Section, features: str, representation: str) -> dict[str, object]:
    table = section.tables["probe"].filter(
        pl.col("features") == features, pl.col("representation") == representation
    )
    return table.row(0, named=True)


def test_a_gain_is_read_wherever_there_are_pixels(of_gain: Section) -> None:
    for features in ("pixels", "network"):
        for roi, least in (("original", 0.95), ("lungs_isolated", 0.75)):
            found = rung(of_gain, features, roi)
            assert found["balanced_accuracy"] >= least
            assert found["reading"] == "beyond the label"
    assert rung(of_gain, "pixels", "silhouette")["reading"] == "not above chance"
    (line,) = [line for line in of_gain.lines if "from pixels of lungs_isolated" in line]
    assert "all over the image" in line and "unless" not in line


def test_a_marker_is_read_outside_the_lungs_alone(of_marker: Section) -> None:
    assert rung(of_marker, "pixels", "original")["balanced_accuracy"] >= 0.95
    assert rung(of_marker, "pixels", "lungs_isolated")["reading"] == "not above chance"
    said = [line for line in of_marker.lines if "is not shown to be in lungs_isolated" in line]
    assert said[0].startswith("the source can be read from pixels of original")
    assert said[1].startswith("the source can be read from tiny's features of original")


def test_the_label_stands_beside(of_gain: Section) -> None:
    label = rung(of_gain, "label", "")
    assert label["reading"] == "not above chance"  # every class is in both sources alike
    assert label["chance"] == 0.5 and label["images"] == 36
    assert rung(of_gain, "network", "original")["label"] == label["balanced_accuracy"]
    assert set(of_gain.tables["probe"]["column"]) == {"source"}  # there is one view
    assert of_gain.content["left_out"] == {}


def test_what_cannot_be_rebuilt_is_left_out(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path, gain)
    (sweep / "tiny-original-s0" / "checkpoints" / "best.ckpt").unlink()
    theirs = sweep / "tiny-silhouette-s0" / "provenance.json"
    theirs.write_text('{"cache": "none.h5"}')
    section = probed(sweep, images=30)
    assert set(section.content["left_out"]) == {"tiny-original-s0", "tiny-silhouette-s0"}
    assert sum("left out of the probe" in line for line in section.lines) == 2
    assert set(section.tables["probe"]["representation"]) == {"", "lungs_isolated"}
    (line,) = [line for line in section.lines if "all over the image" in line and "pixels" in line]
    assert "unless their outline (silhouette) does it" in line
    assert rung(section, "label", "")["images"] == 30


def test_too_few_patients_are_not_identifiable(tmp_path: Path) -> None:
    section = probed(write_sweep(tmp_path, gain), images=15)
    assert set(section.tables["probe"]["reading"]) == {"not identifiable"}
    assert any("cannot be probed" in line for line in section.lines)


def test_features_are_the_input_of_the_last_layer() -> None:
    torch.manual_seed(0)
    net = Tiny().eval()
    images = torch.randint(0, 255, (5, 1, SIDE, SIDE), dtype=torch.uint8)
    features = penultimate(net, CARD, [images[:3], images[3:]])
    assert features.shape == (5, net.head.in_features)
    logits = net(normalize(images, "paper", 3)).detach()
    again = torch.from_numpy(features) @ net.head.weight.T + net.head.bias
    torch.testing.assert_close(again.detach(), logits, rtol=1e-4, atol=1e-5)
    assert not net.head._forward_pre_hooks


def test_many_features_become_random_directions() -> None:
    net = nn.Sequential(nn.Upsample(scale_factor=2), nn.Flatten(), nn.Linear(3 * 96 * 96, 3)).eval()
    images = torch.randint(0, 255, (6, 1, SIDE, SIDE), dtype=torch.uint8)
    features = penultimate(net, CARD, [images[:2], images[2:]])
    assert features.shape == (6, 4096)
    whole = nn.Upsample(scale_factor=2)(normalize(images, "paper", 3)).flatten(1).numpy()
    apart = [np.linalg.norm(each[0] - each[5]) for each in (features, whole)]
    assert apart[0] == pytest.approx(apart[1], rel=0.1)  # the same directions in both batches


def test_a_network_without_a_linear_layer_is_named() -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, SIDE), nn.Flatten())
    with pytest.raises(UserError, match="no linear layer"):
        penultimate(net, CARD, [torch.zeros(1, 1, SIDE, SIDE, dtype=torch.uint8)])


def test_a_picture_is_described_by_its_grey_levels_and_where_they_are() -> None:
    image = np.zeros((32, 32), np.uint8)
    image[:2, :4] = 255
    found = describe(image)
    assert found.shape == (16 * 16 + 32,)
    assert found[:3].tolist() == [1.0, 1.0, 0.0] and found[2:256].sum() == 0
    assert found[256] == pytest.approx(1 - 8 / 1024) and found[-1] == pytest.approx(8 / 1024)


def test_training_images_are_drawn_evenly_of_sources_whatever_the_order() -> None:
    table = pl.DataFrame(
        {
            "image_id": [f"img{n:03}" for n in range(100)],
            "source": ["large"] * 80 + ["small"] * 20,
            "split": ["train"] * 90 + ["test"] * 10,
        }
    )
    drawn = draw_training(table, 16)
    sources = table[drawn]["source"].to_list()
    assert (sources.count("large"), sources.count("small")) == (8, 8)
    assert set(draw_training(table, 1000)) == set(range(90))
    mixed = table.sample(fraction=1, shuffle=True, seed=1)
    assert set(mixed[draw_training(mixed, 16)]["image_id"]) == set(table[drawn]["image_id"])


@pytest.fixture(scope="module")
def probes() -> Iterator[Callable[[float], Rung]]:
    """Make rungs whose features know the level of so many images."""
    rng = np.random.default_rng(0)
    level = np.arange(200) % 2
    people = [str(n) for n in range(200)]
    counts = resample_counts(level, people, 300, 0)

    def make(known: float, kind: str = "pixels") -> Rung:
        told = np.where(rng.random(200) < known, level, 1 - level)
        found = probe(told[:, None].astype(float), level.astype(str), people, None, counts)
        return Rung("source", kind, "", "lungs_isolated", found)

    yield make


def test_what_the_label_explains_is_no_more_than_the_label(probes: Callable[..., Rung]) -> None:
    label = partial(probes, kind="label")(0.85)
    assert reading(probes(0.85), label.found) == "no more than the label"
    assert reading(probes(1.0), label.found) == "beyond the label"
    assert reading(probes(0.5), label.found) == "not above chance"
    assert reading(probes(0.85), None) == "above chance"
    assert not any("all over" in line for line in ladder_lines([label, probes(0.85)]))


def test_a_shape_that_tells_the_source_is_said_before_the_acquisition(
    probes: Callable[..., Rung],
) -> None:
    found = probes(1.0).found
    label = probes(0.5, kind="label")
    rungs = [label] + [Rung("source", "pixels", "", roi, found) for roi in ROIS]
    said = ladder_lines(rungs)
    assert any("the outline of the lungs gives it away" in line for line in said)
    assert not any("all over" in line for line in said)


def test_the_checkpoint_is_left_as_it_was(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path, gain)
    path = sweep / "tiny-original-s0" / "checkpoints" / "best.ckpt"
    before = path.read_bytes()
    probed(sweep, images=30)
    assert path.read_bytes() == before
    assert load_network(path)[1].roi == "original"
