"""Networks made by hand, on radiographs whose lungs, or a marker, tell the class."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hideseek.audit.attribution import attribution_section
from hideseek.audit.bootstrap import resample_counts
from hideseek.audit.explain import balanced_draw, randomise
from hideseek.audit.grid import read_grid
from hideseek.audit.reopen import reopen
from hideseek.checkpoint import NetworkCard, save_network
from hideseek.data.cache import Cache, CacheRecipe, Entry, write_cache
from hideseek.errors import UserError
from hideseek.models.inputs import normalize
from hideseek.regions import fixed_rectangle
from hideseek.roi import REPRESENTATIONS
from hideseek.seeds import stream

SIDE = 32
CLASSES = ("normal", "covid19")
MODULE = "hideseek.models.handmade"


class Looks(nn.Module):
    """Two channels relu(w x + b), averaged over the image, lead to the two classes."""

    def __init__(self, at: str = "lungs") -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(inplace=True))
        self.head = nn.Linear(2, 2)
        self.cam_layer = "features.1"
        # Lungs are darker than 0.5, normal ones than 0.25; the marker alone is above 0.95.
        weights, biases, head = {
            "lungs": ([-1.0, -1], [0.25, 0.5], ([[5.0, 0], [0, 1]], [0.0, 0])),
            "marker": ([0.0, 1], [0, -0.95], ([[0.0, 0], [0, 1e4]], [0.1, 0])),
        }[at]
        state = {"features.0.weight": torch.tensor(weights).reshape(2, 1, 1, 1)}
        state |= {"features.0.bias": torch.tensor(biases), "head.weight": torch.tensor(head[0])}
        self.load_state_dict(state | {"head.bias": torch.tensor(head[1])})

    def forward(self, image):
        return self.head(self.features(image).mean(dim=(2, 3)))


@pytest.fixture(autouse=True)
def handmade(monkeypatch):
    module = ModuleType(MODULE)
    monkeypatch.setattr(Looks, "__module__", MODULE)
    module.Looks = Looks
    monkeypatch.setitem(sys.modules, MODULE, module)


def lungs(number: int) -> np.ndarray:
    """Two boxes, 6 to 10 px wide and 16 high."""
    mask = np.zeros((SIDE, SIDE), bool)
    width = 6 + number % 5
    mask[8:24, 4 : 4 + width] = mask[8:24, 18 : 18 + width] = True
    return mask


def entry(number: int, telling: bool) -> Entry:
    """A body of 180, lungs of 20 or 90, a marker of 255 in the corner where they are 90."""
    kind = number % 2
    mask = lungs(number)
    image = np.where(mask, (20, 90)[kind], 180).astype(np.uint8)
    if kind:
        image[2:4, 27:30] = 255
    label = kind if telling else (number // 2) % 2
    text = {
        "image_id": f"img{number:03d}",
        "label": CLASSES[label],
        "source": f"hospital{number // 8 % 2}",
        "patient_id": f"patient{number // 2}",
        "split": ("train", "val", "test", "test")[number // 2 % 4],
        "view": "PA",
    }
    return Entry(image, mask, text)


def make_cache(folder: Path, images: int = 96, telling: bool = True) -> Cache:
    recipe = CacheRecipe("x", "classify", SIDE, "paper", CLASSES, "m", str(telling))
    path = folder / recipe.file_name()
    write_cache(path, recipe, (entry(number, telling) for number in range(images)), images)
    return Cache(path)


def card(roi: str, **given) -> NetworkCard:
    arguments = {"at": "lungs"}
    return NetworkCard("classify", "looks", f"{MODULE}.Looks", arguments, SIDE, 1, "paper",
                       CLASSES, roi, **given)  # fmt: skip


def write_cell(sweep: Path, cache: Cache, net: nn.Module, roi: str = "original", model="looks",
               seed: int = 0, stored: str | None = None, **done) -> Path:  # fmt: skip
    """Write what a finished cell leaves, with the network's own predictions."""
    folder = sweep / f"{model}-{roi}-s{seed}"
    (folder / "checkpoints").mkdir(parents=True)
    about = NetworkCard(**{**card(roi).plain(), "model": model, "classes": CLASSES})
    save_network(folder / "checkpoints" / "best.ckpt", net, about)
    content = {
        "model": model, "roi": roi, "seed": seed, "task": "classify", "classes": list(CLASSES),
        "fill": "black", "margin": 0.0, "recipe_hash": cache.recipe.digest(),
    }  # fmt: skip
    (folder / "done.json").write_text(json.dumps(content | done))
    (folder / "provenance.json").write_text(json.dumps({"cache": stored or str(cache.path)}))
    rows = cache.rows(["test"])
    shown = [REPRESENTATIONS[roi](*cache[row]) for row in rows] if roi in ROIS else []
    shown = shown or [cache[row][0] for row in rows]
    batch = torch.from_numpy(np.stack(shown))[:, None]
    with torch.inference_mode():
        p = net(normalize(batch, "paper", 1)).double().softmax(dim=1).numpy()
    table = cache.table[rows].select("image_id", "patient_id", "source", "split", "label")
    table = table.with_columns(
        pl.Series("prediction", [CLASSES[k] for k in p.argmax(axis=1)]),
        *(pl.Series(f"p_{name}", p[:, k]) for k, name in enumerate(CLASSES)),
    )
    table.write_csv(folder / "predictions.csv")
    return folder


ROIS = set(REPRESENTATIONS) - {"fixed_box_out", "random_box_out"}


def section(sweep: Path, resamples: int = 300, **given):
    grid = read_grid(sweep)
    counts = resample_counts(grid.labels, grid.patients.to_numpy(), resamples, 0)
    return attribution_section(sweep, grid, counts, **given)


def mean(table: pl.DataFrame, measure: str, group: str = "all", level: str = "") -> dict:
    return table.filter(measure=measure, group=group, level=level).row(0, named=True)


def test_a_network_of_the_lungs_is_told_from_random_weights(tmp_path):
    cache = make_cache(tmp_path)
    write_cell(tmp_path / "s", cache, Looks())
    found = section(tmp_path / "s", images=None)
    gate = found.tables["attribution_gates"].row(0, named=True)
    rows = cache.rows(["test"])
    expected = np.mean([1 / cache[row][1].mean() for row in rows])  # all of the energy is there
    assert gate["enrichment"] == pytest.approx(expected, rel=0.02)  # enlarging keeps the size
    assert gate["low"] < gate["enrichment"] < gate["high"]
    # With random weights a map is brightness, and lungs are dark: E lies between 0 and 1.
    assert gate["far"] == pytest.approx(gate["enrichment"] - 1)
    assert 0 < gate["far_random"] < 1 < gate["lowered_low"]
    assert (gate["passed"], gate["above_chance"], gate["informative"]) == (True, True, True)
    assert not any("not informative" in line for line in found.lines)
    assert any("shuffled labels is missing" in line for line in found.lines)
    images = found.tables["attribution_images"]
    assert images["image_id"].to_list() == cache.table["image_id"].gather(rows).to_list()
    assert images.select("correct", "state").unique().rows() == [(True, "ok")]
    assert found.content["cells"] == [
        {"model": "looks", "representation": "original", "seed": 0, "folder": "looks-original-s0",
         "layer": "features.1", "map": [SIDE, SIDE], "reproduced": len(rows)}
    ]  # fmt: skip
    assert found.content["gates"]["label"] is None


def test_a_network_of_the_marker(tmp_path):
    cache = make_cache(tmp_path)
    write_cell(tmp_path / "s", cache, Looks("marker"))
    table = section(tmp_path / "s", images=None).tables["attribution"]
    ill, well = (mean(table, "artefact_hit", "label", name) for name in ("covid19", "normal"))
    assert ill["mean"] >= 0.9
    assert ill["images"] == ill["defined"] == well["images"] == well["no_energy"] == 24
    assert (well["defined"], well["mean"]) == (0, None)
    assert mean(table, "lung_enrichment")["mean"] == 0
    assert mean(table, "lung_enrichment")["no_energy"] == 24
    # The marker's middle lies above the lungs' box and near its right edge.
    assert mean(table, "down")["mean"] < 0
    assert mean(table, "artefact_hit", "correct", "right")["images"] == 48


def test_a_network_without_training_does_not_pass(tmp_path):
    net = Looks()
    randomise(net, 5)
    write_cell(tmp_path / "s", make_cache(tmp_path), net)
    found = section(tmp_path / "s")
    assert found.tables["attribution_gates"]["passed"].to_list() == [False]
    assert any(line.startswith("attribution not informative for looks on original: ")
               for line in found.lines)  # fmt: skip


def test_a_network_no_better_than_chance_is_not_informative_though_it_passes(tmp_path):
    write_cell(tmp_path / "s", make_cache(tmp_path, telling=False), Looks())
    found = section(tmp_path / "s")
    gate = found.tables["attribution_gates"].row(0, named=True)
    assert (gate["passed"], gate["above_chance"], gate["informative"]) == (True, False, False)
    assert any("not shown to be above chance (macro AUC 0.50, " in line for line in found.lines)


def test_representations_are_paired_with_the_original(tmp_path):
    cache = make_cache(tmp_path)
    for roi in ("original", "lungs_framed"):
        write_cell(tmp_path / "s", cache, Looks(), roi)
    found = section(tmp_path / "s", images=20)
    table = found.tables["attribution"]
    whole, framed = (
        mean(table.filter(representation=name), "lung_enrichment")
        for name in ("original", "lungs_framed")
    )
    less = mean(table, "lung_enrichment", "minus original")
    assert less["representation"] == "lungs_framed"
    assert less["mean"] == pytest.approx(framed["mean"] - whole["mean"])
    assert less["mean"] < 0  # black round the boxes looks like lung to this network
    assert (less["images"], found.content["images"], found.content["of"]) == (20, 20, 48)


def test_seeds(tmp_path):
    cache = make_cache(tmp_path)
    for seed in (1, 2):
        write_cell(tmp_path / "s", cache, Looks(), seed=seed)
    assert section(tmp_path / "s").tables["attribution_gates"]["seed"].to_list() == [1]
    both = section(tmp_path / "s", every_seed=True)
    assert both.tables["attribution_gates"]["seed"].to_list() == [1, 2]
    assert both.content["seeds"] == "all"


def test_each_image_is_read_once_a_representation(tmp_path, monkeypatch):
    cache = make_cache(tmp_path)
    for model in ("a", "b", "c"):
        for roi in ("original", "lungs_removed"):
            write_cell(tmp_path / "s", cache, Looks(), roi, model)
    read: Counter[int] = Counter()
    get = Cache.__getitem__
    monkeypatch.setattr(
        Cache, "__getitem__", lambda self, i: (read.update([int(i)]), get(self, i))[1]
    )
    found = section(tmp_path / "s", images=10)
    assert len(found.content["cells"]) == 6
    # Once as a radiograph with its mask, and once for each representation.
    assert list(read.values()) == [3] * 10


def test_correlations_with_severity_source_and_view(tmp_path):
    cache = make_cache(tmp_path)
    areas = [int(cache[row][1].sum()) for row in range(len(cache))]
    manifest = cache.table.select("image_id").with_columns(pl.Series("severity", areas))
    manifest[::-1].write_csv(cache.path.with_suffix(".manifest.csv"))
    write_cell(tmp_path / "s", cache, Looks())
    found = section(tmp_path / "s", images=None).tables["attribution_correlations"]
    energy = found.filter(measure="lung_enrichment")
    assert energy["factor"].to_list() == ["severity", "source", "source", "view"]
    assert energy["level"].to_list() == ["", "hospital0", "hospital1", "PA"]
    assert energy["images"].to_list() == [48] * 4
    # All energy is in the lungs, so E falls as they grow.
    assert energy["spearman"][0] == pytest.approx(-1, abs=0.01)
    assert energy["spearman"][1] == pytest.approx(-energy["spearman"][2])
    assert energy["spearman"][3] is None  # one view is no comparison


def spoil(folder: Path, how: str) -> None:
    checkpoint, done = folder / "checkpoints" / "best.ckpt", folder / "done.json"
    if how == "no checkpoint":
        checkpoint.unlink()
    elif how == "not a checkpoint":
        checkpoint.write_bytes(b"PK\x03\x04 not a checkpoint")
    elif how == "no layer":
        net = Looks()
        save_network(checkpoint, net, card("lungs_removed", cam_layer="features.9"))
    elif how == "another cell's":
        save_network(checkpoint, Looks(), card("lungs_isolated"))
    elif how == "too many channels":
        net, other = Looks(), card("lungs_removed")
        save_network(checkpoint, net, NetworkCard(**{**other.plain(), "channels": 3,
                                                     "classes": CLASSES}))  # fmt: skip
    elif how == "other weights":
        net = Looks()
        nn.init.constant_(net.head.bias, 0)
        net.head.bias.data[1] = 9
        save_network(checkpoint, net, card("lungs_removed"))
    elif how == "no cache":
        (folder / "provenance.json").write_text('{"cache": "cache/away.h5"}')
    elif how == "no provenance":
        (folder / "provenance.json").write_text("[]")
    elif how == "another cache":
        done.write_text(json.dumps({**json.loads(done.read_text()), "recipe_hash": "0" * 12}))
    elif how == "unknown roi":
        done.write_text(json.dumps({**json.loads(done.read_text()), "roi": "os.system"}))
        save_network(checkpoint, Looks(), card("os.system"))


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("no checkpoint", "no such checkpoint"),
        ("not a checkpoint", "incomplete or unsafe checkpoint"),
        ("no layer", "no layer 'features.9'"),
        ("another cell's", "of another cell"),
        ("too many channels", "channels"),
        ("other weights", "of its predictions.csv"),
        ("no cache", "cache/away.h5: no such cache"),
        ("no provenance", "names no cache"),
        ("another cache", "not the cache that"),
        ("unknown roi", "roi='os.system' is unknown"),
    ],
)
def test_a_cell_that_cannot_be_explained_is_listed_and_the_others_are_explained(
    tmp_path, how, says
):
    cache = make_cache(tmp_path)
    write_cell(tmp_path / "s", cache, Looks())
    folder = write_cell(tmp_path / "s", cache, Looks(), "lungs_removed")
    spoil(folder, how)
    found = section(tmp_path / "s", images=6, resamples=50)
    assert list(found.content["left_out"]) == [folder.name]
    assert says in found.content["left_out"][folder.name]
    assert f"not explained: {folder.name}: " in found.lines[-1]
    assert found.tables["attribution_images"]["representation"].unique().to_list() == ["original"]
    assert json.dumps(found.content)


def test_no_cell_at_all_leaves_empty_tables(tmp_path):
    spoil(write_cell(tmp_path / "s", make_cache(tmp_path), Looks()), "no checkpoint")
    found = section(tmp_path / "s")
    assert all(table.is_empty() for table in found.tables.values())
    assert len(found.content["left_out"]) == 1


def test_the_cache_is_found_from_another_folder(tmp_path, monkeypatch):
    (tmp_path / "work" / "cache").mkdir(parents=True)
    cache = make_cache(tmp_path / "work" / "cache")
    sweep = tmp_path / "work" / "multirun" / "s"
    write_cell(sweep, cache, Looks(), stored=f"cache/{cache.path.name}")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert section(sweep, images=4).content["left_out"] == {}
    shutil.move(cache.path, tmp_path / "elsewhere")
    assert (
        "audit in the folder" in section(sweep, images=4).content["left_out"]["looks-original-s0"]
    )


@pytest.mark.parametrize("roi", REPRESENTATIONS)
def test_a_reopened_cell_shows_what_evaluation_saw(tmp_path, roi):
    cache = make_cache(tmp_path)
    folder = write_cell(tmp_path / "s", cache, Looks(), roi, seed=3, fill="noise", margin=10.0)
    (folder / "config.yaml").write_text("roi:\n  _target_: os.system\n  draw: 2\n")
    grid = read_grid(tmp_path / "s")
    opened = reopen(tmp_path / "s", grid.cells[0], grid)
    train = cache.boxes[cache.rows(["train"])]
    further = {
        "random_box_out": {"draw": 2},
        "fixed_box_out": {"rectangle": fixed_rectangle(train)},
    }.get(roi, {})
    row = int(cache.rows(["test"])[5])
    seed = stream(3, "roi", opened.dataset.keys[row])
    expected = REPRESENTATIONS[roi](*cache[row], fill="noise", margin=10.0, seed=seed, **further)
    np.testing.assert_array_equal(opened.images([5])[0, 0].numpy(), expected)
    pictures, masks = opened.radiographs([5])
    np.testing.assert_array_equal(pictures[0], cache[row][0])
    np.testing.assert_array_equal(masks[0], cache[row][1])


def test_random_boxes_need_their_number(tmp_path):
    write_cell(tmp_path / "s", make_cache(tmp_path), Looks(), "random_box_out")
    grid = read_grid(tmp_path / "s")
    with pytest.raises(UserError, match="random boxes are unknown"):
        reopen(tmp_path / "s", grid.cells[0], grid)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(1, 70))
def test_images_are_drawn_balanced_by_class(classes, images):
    labels = np.array(classes)
    drawn = balanced_draw(labels, images)
    assert drawn.tolist() == sorted(set(drawn.tolist()))
    assert len(drawn) == min(images, len(labels))
    of, there = Counter(labels[drawn].tolist()), Counter(classes)
    # A class with fewer than another, but for the remainder, has given all that it has.
    assert all(of[k] >= max(of.values()) - 1 or of[k] == there[k] for k in there)
    assert drawn.tolist() == balanced_draw(labels, images).tolist()
    assert len(balanced_draw(labels, None)) == len(labels)


def test_random_weights_are_the_seeds():
    def network() -> nn.Sequential:
        net = nn.Sequential(nn.Conv2d(1, 64, 3), nn.BatchNorm2d(64), nn.Linear(64, 500))
        nn.init.constant_(net[1].running_mean, 7)
        return net

    one, same, other = network(), network(), network()
    for net, seed in ((one, 0), (same, 0), (other, 1)):
        randomise(net, seed)
    state = one.state_dict()
    assert all(torch.equal(value, same.state_dict()[name]) for name, value in state.items())
    assert not torch.equal(state["0.weight"], other.state_dict()["0.weight"])
    assert state["2.weight"].std() == pytest.approx((2 / 64) ** 0.5, rel=0.02)
    assert (state["1.weight"] == 1).all() and (state["1.running_mean"] == 0).all()
    assert all((state[f"{number}.bias"] == 0).all() for number in range(3))
