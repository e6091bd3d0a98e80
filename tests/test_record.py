from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf, open_dict

from hideseek import record
from hideseek.config import config_folder, config_hash, register
from hideseek.data.cache import CacheRecipe

RECIPE = CacheRecipe("phantom", "classify", 64, "paper", ("a", "b"), "m" * 64, "s" * 16)


class StoredCache:
    path = Path("cache/cache-phantom-64-x.h5")
    recipe = RECIPE


@pytest.fixture
def config(tmp_path):
    register()
    overrides = ["model=tiny", "roi=lungs_removed", "seed=3", "logger=csv", "sweep=x"]
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        composed = compose("train", overrides, return_hydra_config=True)
    with open_dict(composed):
        composed.hydra.runtime.output_dir = str(tmp_path)
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(composed)
    yield composed
    HydraConfig.instance().cfg = before


def test_describe_writes_what_the_cell_is_and_voids_an_old_result(config, tmp_path):
    (tmp_path / "done.json").write_text("{}")
    record.describe(tmp_path, config)
    assert not (tmp_path / "done.json").exists()
    written = OmegaConf.load(tmp_path / "config.yaml")
    assert written.seed == 3
    assert written.epochs == 12
    assert written.roi._target_ == "hideseek.roi.lungs_removed"
    assert "hydra" not in written
    assert "${" not in (tmp_path / "config.yaml").read_text()
    assert list(OmegaConf.load(tmp_path / "overrides.yaml")) == [
        "model=tiny", "roi=lungs_removed", "seed=3", "logger=csv", "sweep=x",
    ]  # fmt: skip


def test_finish_writes_valid_json_and_hashes_that_make_the_cell_skippable(config, tmp_path):
    metrics = {"accuracy": 0.5, "ppv_covid19": float("nan"), "n": 4}
    record.finish(tmp_path, config, StoredCache(), 0.75, metrics, 1.25, torch.device("cpu"))

    def refuse(constant: str):
        raise AssertionError(f"{constant} is no JSON")

    read = {
        path.name: json.loads(path.read_text(), parse_constant=refuse)
        for path in tmp_path.iterdir()
    }
    assert set(read) == {"metrics.json", "provenance.json", "done.json"}
    assert read["metrics.json"] == {"accuracy": 0.5, "ppv_covid19": None, "n": 4}
    done = read["done.json"]
    assert (done["model"], done["roi"], done["seed"]) == ("tiny", "lungs_removed", 3)
    assert done["classes"] == ["normal", "pneumonia", "covid19"]
    assert done["score"] == 0.75
    assert done["config_hash"] == config_hash(config)
    assert done["recipe_hash"] == RECIPE.digest()
    assert read["provenance.json"]["selection"] == "validation"
    assert read["provenance.json"]["packages"]["torch"] == torch.__version__.split("+")[0]


def test_done_comes_last(config, tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(record, "_device_name", fail)
    with pytest.raises(KeyboardInterrupt):
        record.finish(tmp_path, config, StoredCache(), 0.5, {}, 1.0, torch.device("cpu"))
    assert not (tmp_path / "done.json").exists()


def test_the_share_that_the_fixed_rectangle_hides():
    class Boxed:
        recipe = RECIPE
        boxes = np.array(
            [[[0, 0, 10, 10], [0, 20, 10, 30]], [[5, 0, 20, 10], [5, 20, 20, 40]]], np.int16
        )

        def rows(self, splits):
            assert splits == ["train"]
            return np.array([0, 1])

    # Rows 0..20 and columns 0..40 of a square.
    assert record._fixed_share(Boxed()) == 20 * 40 / RECIPE.size**2
