from __future__ import annotations

import io
import json

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from hideseek.data.cache import CacheRecipe, Entry, write_cache
from hideseek.report.sweep import write_sweep_report

RESULTS = pl.DataFrame(
    {
        "model": ["tiny"], "roi": ["original"], "seed": [0], "accuracy": [0.5],
        "sens_normal": [0.25], "ppv_normal": pl.Series([None], dtype=pl.Float64),
        "folder": ["tiny-original-s0"],
    }
)  # fmt: skip


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=200)


@pytest.fixture
def sweep(tmp_path):
    folder = tmp_path / "grid"
    (folder / "tiny-original-s0").mkdir(parents=True)
    mask = np.zeros((16, 16), bool)
    mask[4:12, 2:6] = mask[4:12, 10:14] = True
    recipe = CacheRecipe("x", "classify", 16, "paper", ("normal",), "m", "s")
    entry = Entry(np.full((16, 16), 90, np.uint8), mask, {"label": "normal", "split": "test"})
    write_cache(tmp_path / "c.h5", recipe, [entry], 1)
    provenance = {"cache": str(tmp_path / "c.h5")}
    (folder / "tiny-original-s0" / "provenance.json").write_text(json.dumps(provenance))
    return folder


def test_table_numbers_and_picture(sweep, console):
    write_sweep_report(sweep, RESULTS, console)
    text = console.file.getvalue()
    assert "grid: test set" in text
    assert "0.250" in text
    assert "n/a" in text
    # Not defined is an empty field on disk.
    assert (sweep / "results.csv").read_text().splitlines() == [
        "model,roi,seed,accuracy,sens_normal,ppv_normal,folder",
        "tiny,original,0,0.5,0.25,,tiny-original-s0",
    ]
    assert (sweep / "representations.png").read_bytes().startswith(b"\x89PNG")
    assert str(sweep / "representations.png") in text


def test_no_finished_cell_writes_nothing(sweep, console):
    write_sweep_report(sweep, pl.DataFrame(), console)
    assert "no finished cell" in console.file.getvalue()
    assert not (sweep / "results.csv").exists()


@pytest.mark.parametrize(
    "provenance", [None, "{", "{}", '{"cache": "/nowhere.h5"}', '{"cache": "/etc/hostname"}']
)
def test_without_its_cache_a_sweep_keeps_its_numbers(provenance, sweep, console):
    file = sweep / "tiny-original-s0" / "provenance.json"
    file.unlink() if provenance is None else file.write_text(provenance)
    write_sweep_report(sweep, RESULTS, console)
    assert (sweep / "results.csv").is_file()
    assert "no picture" in console.file.getvalue()
    assert not (sweep / "representations.png").exists()


def test_a_segmenter_has_no_picture_of_representations(sweep, console):
    results = RESULTS.drop("sens_normal", "ppv_normal").with_columns(recall_lung=0.9)
    write_sweep_report(sweep, results, console)
    assert (sweep / "results.csv").is_file()
    assert not (sweep / "representations.png").exists()
