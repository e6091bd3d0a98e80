from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from torch import Tensor, nn

from hideseek.audit.frozen import audit_frozen, frozen
from hideseek.audit.hiding import LIMITS
from hideseek.audit.section import Section
from hideseek.checkpoint import NetworkCard, save_network
from hideseek.config import config_folder, register
from hideseek.data.cache import Cache, CacheRecipe, Entry, write_cache
from hideseek.errors import UserError
from hideseek.models.tiny import Tiny
from tests.conftest import CLASSES, draw_radiograph

SIDE = 64
MARKER = (slice(59, 63), slice(28, 36))  # below all lungs
CENTRES = (slice(32, 38), [16, 17, 18, 19, 44, 45, 46, 47])  # inside all lungs


class Reads(nn.Module):
    """Classify by the mean of some pixels alone: the nearest of three levels."""

    def __init__(self, rows: slice, columns: object, levels: tuple[float, ...]) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns
        self.levels = nn.Parameter(torch.tensor(levels) / 255)

    def forward(self, image: Tensor) -> Tensor:
        mean = image[:, 0, self.rows][:, :, self.columns].mean(dim=(1, 2))
        return -50 * (mean[:, None] - self.levels) ** 2


def reads_marker() -> nn.Module:
    """What somebody's own package would have; the levels come from the weights file."""
    return Reads(*MARKER, levels=(0.0, 0.0, 0.0))


def reads_lungs() -> nn.Module:
    return Reads(*CENTRES, levels=(70.0, 110.0, 150.0))


MARKER_LEVELS = (60.0, 130.0, 240.0)


def plant(folder: Path, cue: str) -> Cache:
    """Draw 120 test images of 90 patients whose class is in the marker or in the lungs."""
    recipe = CacheRecipe(cue, "classify", SIDE, "paper", CLASSES, "m" * 64, "s" * 16)

    def entry(number: int) -> Entry:
        image, lungs = draw_radiograph(SIDE, SIDE, number)
        pixels, label = image.astype(int), number % 3
        if cue == "marker":
            pixels[MARKER] = MARKER_LEVELS[label]
        else:
            pixels += 40 * label * lungs
        patient = number if number < 60 else 60 + (number - 60) // 6 * 3 + label
        text = {
            "image_id": f"img{number:03d}",
            "label": CLASSES[label],
            "source": f"hospital{number // 3 % 2}",
            "patient_id": f"p{patient}",
            "split": "test" if number < 120 else "train",
        }
        return Entry(pixels.clip(0, 255).astype(np.uint8), lungs, text)

    path = folder / recipe.file_name()
    write_cache(path, recipe, (entry(number) for number in range(126)), 126)
    return Cache(path)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return plant(tmp_path_factory.mktemp("marker"), "marker")


@pytest.fixture(scope="module")
def lung_cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return plant(tmp_path_factory.mktemp("lungs"), "lungs")


def card(**changes: object) -> NetworkCard:
    values = {
        "task": "classify", "model": "planted", "target": "x.y", "arguments": {},
        "image_size": SIDE, "channels": 3, "normalize": "paper", "classes": CLASSES,
    }  # fmt: skip
    return NetworkCard(**{**values, **changes})  # type: ignore[arg-type]


def by_name(sections: tuple[Section, ...]) -> dict[str, Section]:
    return {section.name: section for section in sections}


def hiding(section: Section, region: str) -> pl.DataFrame:
    return section.tables["hiding"].filter(
        pl.col("region") == region, pl.col("measure") == "balanced_accuracy"
    )


def test_a_network_that_reads_the_marker_alone(cache: Cache) -> None:
    net = Reads(*MARKER, levels=MARKER_LEVELS)
    sections = by_name(audit_frozen(net, card(), cache, resamples=1000))
    metrics = {row["metric"]: row["estimate"] for row in sections["original"].content["metrics"]}
    assert metrics["accuracy"] == 1.0
    assert sections["original"].content["images"] == 120
    assert sections["original"].content["patients"] == 90
    assert sections["hiding"].content["reading"] == "outside"
    inside, outside = (hiding(sections["hiding"], name) for name in ("lungs", "outside"))
    assert (inside["hidden"] == 1.0).all() and (inside["drop"] == 0.0).all()
    assert (inside["random"] < 1.0).all()  # they hit the marker now and then
    assert outside["hidden"].to_numpy() == pytest.approx(1 / 3, abs=0.06)
    assert LIMITS in sections["hiding"].lines


def test_a_network_that_reads_the_lungs_alone(lung_cache: Cache) -> None:
    sections = by_name(audit_frozen(reads_lungs(), card(), lung_cache, resamples=1000))
    assert sections["hiding"].content["reading"] == "lungs"
    inside, outside = (hiding(sections["hiding"], name) for name in ("lungs", "outside"))
    assert (outside["drop"] == 0.0).all()
    assert (inside["beyond_low"] > 0).all()
    assert inside["hidden"].to_numpy() == pytest.approx(1 / 3, abs=0.15)
    (pair, *_) = sections["within_sources"].content["pairs"]
    assert pair["verdict"] == "identifiable" and pair["within"]["auc"]["value"] == 1.0


def test_a_network_that_reads_nothing(cache: Cache) -> None:
    net = Reads(slice(0, 1), slice(0, 1), levels=MARKER_LEVELS)  # a corner of noise
    sections = by_name(audit_frozen(net, card(), cache, resamples=1000))
    assert sections["hiding"].content["reading"] == "cannot tell"
    assert any("not above chance" in line for line in sections["hiding"].lines)


@pytest.mark.parametrize(
    ("net", "changes", "words"),
    [
        (nn.Flatten(), {}, "logits [2, 3] are needed"),
        (nn.Linear(7, 3), {}, "fails on images [2, 3, 64, 64]"),
        (Reads(*MARKER, levels=(float("nan"),) * 3), {}, "not finite"),
        (reads_lungs(), {"image_size": 96}, "data.size=96"),
        (reads_lungs(), {"classes": ("normal", "pneumonia", "other")}, "classes covid19"),
    ],
)
def test_networks_that_do_not_fit(
    cache: Cache, net: nn.Module, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(UserError) as caught:
        audit_frozen(net, card(**changes), cache)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.fixture
def configured(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., DictConfig]:
    monkeypatch.chdir(tmp_path)

    def make(*overrides: str) -> DictConfig:
        register()
        given = [f"data.cache={cache.path}", "resamples=500", "device=cpu", *overrides]
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            return compose("audit", given)

    return make


def test_somebody_elses_network_from_the_command_line(
    configured: Callable[..., DictConfig], tmp_path: Path
) -> None:
    torch.save({"levels": torch.tensor(MARKER_LEVELS) / 255}, tmp_path / "their.pt")
    config = configured(
        "model=external", "model.net.target=tests.audit.test_frozen:reads_marker",
        "weights=their.pt", f"image_size={SIDE}",
    )  # fmt: skip
    assert frozen(config) == 3  # it reads the marker
    folder = tmp_path / "audit" / "reads_marker"
    written = json.loads((folder / "audit.json").read_text(), parse_constant=pytest.fail)
    assert written["mode"] == "frozen"
    assert written["sections"]["hiding"]["reading"] == "outside"
    assert LIMITS in written["lines"]
    assert pl.read_csv(folder / "predictions.csv").height == 120
    for table, rows in (("hiding", 36), ("metrics", 15), ("strata", 12)):
        assert pl.read_csv(folder / f"{table}.csv").height == rows


def test_a_cell_of_ours(configured: Callable[..., DictConfig], tmp_path: Path) -> None:
    path = tmp_path / "tiny-lungs_removed-s0" / "checkpoints" / "best.ckpt"
    path.parent.mkdir(parents=True)
    ours = card(target="hideseek.models.tiny.Tiny", image_size=32, roi="lungs_removed")
    save_network(path, Tiny(), ours)
    assert frozen(configured(f"checkpoint={path}")) == 4  # untrained
    written = json.loads((tmp_path / "audit" / "tiny-lungs_removed-s0" / "audit.json").read_text())
    assert written["network"]["image_size"] == 32
    assert any("trained on lungs_removed" in line for line in written["lines"])


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ((), "no network is named"),
        (("model=alexnet",), "weights=FILE"),
        (("model=alexnet", "weights=imagenet"), "no such file"),
        (("model=unet", "weights=x"), "no classifier"),
        (("checkpoint=nowhere.ckpt",), "no such checkpoint"),
        (("hiding.fills=[black]", "model.net.target=torch:x"), "fills"),
        (("model.net.target=tests.audit.test_frozen:reads_lungs", "name='../x'"), "name="),
        (("model.net.target=tests.audit.test_frozen:reads_lungs", "normalize=odd"), "normalize"),
    ],
)
def test_what_is_named_wrongly(
    configured: Callable[..., DictConfig], overrides: tuple[str, ...], words: str
) -> None:
    with pytest.raises(Exception) as caught:
        frozen(configured(*overrides))
    assert isinstance(caught.value, UserError)
    assert words in str(caught.value)
