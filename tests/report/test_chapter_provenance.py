from __future__ import annotations

import polars as pl
import pytest
import yaml

from hideseek.report.cell_files import read_cell
from hideseek.report.chapters.provenance import chapter, limits
from hideseek.report.paper_settings import SETTINGS, deviations
from tests.report.chapter_evidence import evidence_of
from tests.report.finished_cells import CONFIG, HOSTILE, TOKEN, all_text, write_finished


def rows_of(*folders):
    return {row["setting"]: row for row in deviations([read_cell(f) for f in folders]).to_dicts()}


def test_settings_beside_the_papers_by_hand(tmp_path):
    rows = rows_of(write_finished(tmp_path))
    choice = rows["images that choose the epoch (selection)"]
    assert (choice["here"], choice["paper"], choice["same"]) == ("validation", "paper", "no")
    assert rows["class weights of the loss"]["same"] == "yes"
    assert (rows["learning rate"]["here"], rows["learning rate"]["same"]) == ("0.0001", "yes")
    assert (rows["first weights"]["here"], rows["first weights"]["same"]) == ("first.pt", "no")
    assert rows["growth of the lungs, %"]["same"] == "yes"
    assert rows["pieces of a mask"]["same"] == "yes"
    assert "bn_mode" not in rows and "batch_norm" not in rows


def test_settings_of_some_networks_only(tmp_path):
    net = {"_target_": "hideseek.models.covidnet.covidnet_cxr4a", "bn_mode": "train"}
    covid = {"model": {**CONFIG["model"], "net": net}, "sampling": "covidnet", "epochs": 10}
    plain = {"model": {**CONFIG["model"], "net": {"_target_": "x", "batch_norm": True}}}
    rows = rows_of(
        write_finished(tmp_path, "covidnet_cxr4a", config=covid),
        write_finished(tmp_path, "vgg11", config=plain),
        write_finished(tmp_path, "tiny"),
    )
    bn = rows["bn_mode"]
    assert (bn["networks"], bn["here"], bn["paper"]) == (
        "covidnet_cxr4a", "train", "frozen_like_paper",
    )  # fmt: skip
    assert rows["batch_norm"]["same"] == "yes"  # the code's, not the text's
    frame = deviations([read_cell(f) for f in tmp_path.iterdir()])
    epochs = frame.filter(pl.col("setting") == "epochs")
    assert {tuple(row) for row in epochs.drop("setting").rows()} == {
        ("vgg11", "20", "20", "yes"), ("covidnet_cxr4a", "10", "10", "yes"),
    }  # fmt: skip
    everyone = frame.filter(pl.col("setting") == "schedule")["networks"].item()
    assert set(everyone.split(", ")) == {"covidnet_cxr4a", "vgg11", "tiny"}


def test_a_setting_that_the_sweep_varies_shows_all_values(tmp_path):
    rows = rows_of(write_finished(tmp_path), write_finished(tmp_path, seed=1, config={"epochs": 5}))
    assert (rows["epochs"]["here"], rows["epochs"]["same"]) == ("20 and 5", "no")


def test_every_paper_setting_is_a_key_of_the_configuration():
    """The paths must be those of composed cells, or a rename would go unseen."""
    from hydra import compose, initialize_config_dir

    from hideseek.config import config_folder, plain, register

    register()
    found = set()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        for model in ("resnet50", "vgg11", "covidnet_cxr3a"):
            given = [f"model={model}", "data=phantom", "sweep=x", "logger=csv"]
            cell = plain(compose("train", given, return_hydra_config=False), ("hydra", "logger"))
            for setting in SETTINGS:
                for path in setting.paths:
                    below = cell
                    for name in path.split("."):
                        below = below.get(name) if isinstance(below, dict) else None
                    if below is not None:
                        found.add(setting.name)
    assert {setting.name for setting in SETTINGS} - found == {"average of weights (ema_decay)"}


def test_software_hashes_and_words(tmp_path):
    cells = [write_finished(tmp_path, seed=seed) for seed in (0, 1)]
    made = chapter(evidence_of(sweep=str(tmp_path), cells=cells, version="0.1.0"))
    tables = {table.name: table.frame for table in made.tables}
    assert ("torch", "2.14.1", 2) in tables["software"].rows()
    assert ("code (git)", "0123456789ab-dirty", 2) in tables["software"].rows()
    assert tables["cells"]["config_hash"].to_list() == ["c0ffee00c0ffee00"] * 2
    assert tables["cells"]["manifest_hash"].to_list() == ["f" * 16] * 2
    assert ("margin", "0.02") in tables["audit_settings"].rows()
    text = "\n".join(made.sentences)
    assert "seeds 0, 1" in text and "not committed" in text
    assert "selection) validation (paper: paper; resnet50)" in text


@pytest.mark.parametrize(
    ("extra", "said"),
    [({"recipe_hash": "other"}, "different caches"), ({"version": "0.2.0"}, "different versions")],
)
def test_cells_that_do_not_fit_together_are_told(tmp_path, extra, said):
    cells = [write_finished(tmp_path), write_finished(tmp_path, seed=1, **extra)]
    assert any(said in text for text in chapter(evidence_of(cells=cells)).sentences)


def test_nothing_private_and_no_secret(tmp_path):
    cell = write_finished(
        tmp_path, HOSTILE, "../../etc/passwd", name="cell", git="/home/jane doe/repository"
    )
    sheet = {
        "format": 1, "name": "s", "written": "now", "version": "0.1.0",
        "code": {"git": None, "hash": "0" * 16}, "packages": {}, "configuration": {}, "cells": [],
        "overrides": [
            "model=tiny", f"+logger.api_key={TOKEN}", "+model.api_key=mellon", f"+note={TOKEN}",
            "workers=4",
            "data.root=/home/jane doe/study/images", "paths.multirun=/home/jane doe/runs",
        ],
    }  # fmt: skip
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sheet))
    made = chapter(evidence_of(sweep=str(tmp_path), cells=[cell]))
    text = all_text(made)
    for private in ("jane", TOKEN, "mellon", "hf_", "/home", "study", "etc/passwd"):
        assert private not in text.replace("hf_***", ""), private
    given = next(table.frame for table in made.tables if table.name == "overrides")
    assert given["override"].to_list()[0] == "model=tiny" and given.height == 4
    assert HOSTILE in text


def test_damaged_files_are_told_and_stop_nothing(tmp_path):
    cell = write_finished(tmp_path)
    (cell / "config.yaml").write_text("a: [")
    (cell / "provenance.json").write_text("{")
    (tmp_path / "sweep.yaml").write_text("format: 99")
    made = chapter(evidence_of(sweep=str(tmp_path), cells=[cell], settings="odd"))
    assert sum("cannot be read" in text for text in made.sentences) == 2
    assert "overrides" not in [table.name for table in made.tables]


def test_no_cells():
    assert chapter(evidence_of()).absent


def test_limits_follow_from_the_cells(tmp_path):
    one = read_cell(write_finished(tmp_path))
    two = read_cell(write_finished(tmp_path, seed=1))
    drawn = {"_target_": "hideseek.data.drawn.PhantomSource"}
    synthetic = read_cell(write_finished(tmp_path, seed=2, config={"data": drawn}))
    assert any("one seed" in text for text in limits([one]))
    assert not any("one seed" in text for text in limits([one, two]))
    assert "synthetic" in limits([synthetic])[0]
    assert not any("synthetic" in text for text in limits([one, two]))
