"""Holds every YAML file of conf/ against the code it names; a new file is covered by itself."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, MissingConfigException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from hideseek.config import (
    Normalize,
    Sampling,
    Schedule,
    Selection,
    TrainConfig,
    config_folder,
    config_hash,
    plain,
    register,
)
from hideseek.data.sampler import SAMPLINGS
from hideseek.models.inputs import NORMALIZATIONS
from hideseek.tasks.segment import LOSSES
from hideseek.tasks.supervised import SCHEDULES

CONF = config_folder()
VERBS = sorted(path.stem for path in CONF.glob("*.yaml"))
CHOICES = sorted(
    (path.parent.relative_to(CONF).as_posix(), path.stem) for path in CONF.glob("*/**/*.yaml")
)
DEFAULTS = {
    key.removeprefix("override ").lstrip("/")
    for entry in OmegaConf.load(CONF / "train.yaml").defaults
    if isinstance(entry, Mapping)
    for key in entry
}
INSTANTIATE_KEYS = {"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}
FILLED_IN = {
    "roi": {"image", "mask", "rectangle"},  # RepresentationDataset, CxrDataModule.setup
    "model.optimizer": {"params"},  # SupervisedTask.configure_optimizers
    "task.module": {"net", "card", "optimizer"},  # train
}
"""Arguments that code gives to what a YAML file leaves `_partial_`."""

REPEATED = {"datamodule.roi": "roi", "datamodule.source": "data", "datamodule.augment": "augment"}


@contextmanager
def composed(verb: str, overrides: list[str], folder: Path) -> Iterator[DictConfig]:
    """Compose as `hideseek VERB` does, so that ${hydra:...} resolves."""
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(verb, overrides, return_hydra_config=True)
        with open_dict(config):
            config.hydra.runtime.output_dir = str(folder)
        before = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(config)
        try:
            yield config
        finally:
            HydraConfig.instance().cfg = before


def targets(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield REPEATED.get(path, path), node
        for key, value in node.items():
            yield from targets(value, f"{path}.{key}".lstrip("."))
    elif isinstance(node, list):
        for value in node:
            yield from targets(value, path)


def mistakes(path: str, node: Mapping[str, Any]) -> list[str]:
    """Compare a mapping that names a target with the target's signature."""
    try:
        target = get_object(node["_target_"])
    except Exception as error:
        return [f"{path}: {error}"]
    parameters = inspect.signature(target).parameters.values()
    given = {key for key in node if key not in INSTANTIATE_KEYS}
    names = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)
    required = {p.name for p in parameters if p.name in names and p.default is p.empty}
    readers = {"root"} if ".readers." in path else set()  # RawSource.list_files
    filled = FILLED_IN.get(path, readers) if node.get("_partial_") else set()
    found = []
    if not open_ended and given - names:
        found.append(f"{path}: {node['_target_']} takes no {sorted(given - names)}")
    if required - given - filled:
        found.append(f"{path}: {node['_target_']} needs {sorted(required - given - filled)}")
    if given & filled:
        found.append(f"{path}: code gives {sorted(given & filled)}, so the YAML cannot")
    return found


def all_mistakes(config: DictConfig) -> list[str]:
    nodes = [OmegaConf.to_container(config.hydra, resolve=False)]
    nodes += [{key: _resolved(config[key])} for key in config if key != "hydra"]
    return [mistake for node in nodes for found in targets(node) for mistake in mistakes(*found)]


def _resolved(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def override(group: str, choice: str) -> str:
    known = {*DEFAULTS, "data/source"}
    given = group in known or group.startswith("hydra/")  # Hydra has its own default of these
    return f"{group}={choice}" if given else f"+{group}={choice}"


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"_target_": "torch.nn.Linearr"}, "Linearr"),
        ({"_target_": "no_such_package.x"}, "no_such_package"),
        ({"_target_": "torch.nn.Linear", "in_features": 1, "outfeatures": 1}, "takes no"),
        ({"_target_": "torch.nn.Linear", "in_features": 1}, r"needs \['out_features'\]"),
        ({"_target_": "torch.optim.Adam", "_partial_": True, "lr": 1}, r"needs \['params'\]"),
    ],
)
def test_mistakes_in_yaml_are_found(node, message):
    found = [mistake for item in targets({"a": node}) for mistake in mistakes(*item)]
    assert re.search(message, found[0])
    assert not mistakes("model.optimizer", {"_target_": "torch.optim.Adam", "_partial_": True})


def test_the_tree_is_seen():
    assert {"train", "prepare"} <= set(VERBS)
    assert {"model", "roi", "data", "task", "hydra/launcher"} <= {group for group, _ in CHOICES}
    assert len(CHOICES) > 30


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_composes_and_fits_its_code(verb, tmp_path):
    with composed(verb, [], tmp_path) as config:
        assert all_mistakes(config) == []


@pytest.mark.parametrize(("group", "choice"), CHOICES, ids=["/".join(c) for c in CHOICES])
def test_every_choice_composes_and_fits_its_code(group, choice, tmp_path):
    needed = ["data=raw"] if group == "data/source" else []
    with composed("train", [*needed, override(group, choice)], tmp_path) as config:
        assert all_mistakes(config) == []
        assert config.hydra.runtime.choices[group] == choice


@pytest.mark.parametrize("choice", [choice for group, choice in CHOICES if group == "data"])
def test_every_data_group_can_be_prepared(choice, tmp_path):
    with composed("prepare", [f"data={choice}"], tmp_path) as config:
        found = list(targets({"data": _resolved(config.data)}))
    assert found[0][0] == "data"
    assert [mistake for item in found for mistake in mistakes(*item)] == []


@pytest.mark.parametrize("choice", [choice for group, choice in CHOICES if group == "roi"])
def test_every_representation_shows_an_image(choice, tmp_path):
    image = np.arange(32 * 32, dtype=np.uint32).reshape(32, 32).astype(np.uint8)
    mask = np.zeros((32, 32), bool)
    mask[8:24, 4:12] = mask[8:24, 20:28] = True
    rectangle = {"rectangle": (8, 4, 24, 28)} if choice == "fixed_box_out" else {}
    with composed("train", [f"roi={choice}"], tmp_path) as config:
        shown = instantiate(config.roi)(image, mask, seed=0, **rectangle)
    assert shown.shape == image.shape
    assert np.array_equal(shown, image) == (choice == "original")


@pytest.mark.parametrize("choice", [choice for group, choice in CHOICES if group == "augment"])
def test_every_augmentation_works_or_is_none(choice, tmp_path):
    with composed("train", [f"augment={choice}"], tmp_path) as config:
        augment = instantiate(config.datamodule, _convert_="all").augment
    if choice == "none":
        assert augment is None
    else:
        image = np.full((32, 32), 100, np.uint8)
        assert augment(image, image > 0, 0)[0].shape == (32, 32)


@pytest.mark.parametrize("choice", [choice for group, choice in CHOICES if group == "model"])
def test_every_model_has_an_optimiser_at_its_learning_rate(choice, tmp_path):
    with composed("train", [f"model={choice}", "data=manifest"], tmp_path) as config:
        optimizer = instantiate(config.model.optimizer)([torch.nn.Parameter(torch.zeros(1))])
        assert optimizer.param_groups[0]["lr"] == config.model.recipe.learning_rate


# batch size, epochs, learning rate, image side, flip, zoom, its axes apart, sampling, normalisation
TORCHVISION = (32, 20, 1e-4, 224, 0.0, [1.0, 1.085], False, "balanced", "paper")
COVIDNET = (8, 10, 2e-4, 480, 0.5, [0.85, 1.15], True, "covidnet", "paper")
RECIPES = {
    "alexnet": TORCHVISION,
    "vgg11": TORCHVISION,
    "resnet50": TORCHVISION,
    "covidnet_cxr3a": COVIDNET,
    "covidnet_cxr4a": COVIDNET,
}


@pytest.mark.parametrize("model", RECIPES)
def test_recipes_are_the_papers(model, tmp_path):
    with composed("train", [f"model={model}", "data=manifest"], tmp_path) as config:
        values = plain(config)
    augment, module = values["augment"], values["datamodule"]
    assert (
        values["batch_size"], values["epochs"], values["learning_rate"], values["image_size"],
        augment["flip"], augment["zoom"], augment["zoom_per_axis"], values["sampling"],
        values["normalize"],
    ) == RECIPES[model]  # fmt: skip
    assert values["class_weights"] == values["task"]["module"]["class_weights"] == [1, 1, 4]
    assert (augment["rotate"], augment["translate"]) == (10, 0.1)
    assert (augment["ratio"], augment["ratio_probability"]) == (0.1, 0.3)
    assert augment["intensity"] == [0.9, 1.1]
    assert values["model"]["optimizer"]["_target_"] == "torch.optim.Adam"
    assert values["schedule"] == values["task"]["module"]["schedule"] == "constant"
    assert values["ema_decay"] is None
    assert values["trainer"]["max_epochs"] == values["epochs"]
    # What is set at the top reaches the batches and the optimiser.
    for key in ("batch_size", "image_size", "sampling", "selection", "seed"):
        assert module[key] == values[key]
    assert values["model"]["optimizer"]["lr"] == values["learning_rate"]
    assert values["task"]["classes"] == ["normal", "pneumonia", "covid19"]


def test_the_recipe_of_the_papers_segmenter(tmp_path):
    with composed("train", ["experiment=paper_segmentation"], tmp_path) as config:
        values = plain(config)
        assert config.hydra.runtime.choices["model"] == "unet"
        assert config.hydra.sweep.subdir == "unet-original-s0"
    optimizer = {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 1e-4}
    assert values["model"]["optimizer"] == optimizer
    assert values["model"]["net"] == {"_target_": "hideseek.models.unet.unet"}
    module = values["task"]["module"]
    assert (module["loss"], module["schedule"]) == ("cross_entropy", "constant")
    assert (values["ema_decay"], values["selection"]) == (None, "validation")
    assert values["data"]["preprocess"] == "letterbox"
    assert values["sweep"] == "paper_segmentation"
    assert (values["batch_size"], values["epochs"], values["learning_rate"]) == (1, 50, 1e-4)
    assert (values["image_size"], values["data"]["size"]) == (512, 512)
    assert (values["normalize"], values["sampling"]) == ("standardize", "natural")
    assert values["class_weights"] == []
    assert values["augment"] is None
    assert values["datamodule"]["task"] == "segment"


def test_the_recipe_of_the_segmenter_that_comes_along(tmp_path):
    with composed("train", ["experiment=segment_lungs"], tmp_path) as config:
        values = plain(config)
    optimizer = {"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 2e-3}
    assert values["model"]["optimizer"] == {**optimizer, "weight_decay": 1e-2}
    assert (values["batch_size"], values["epochs"], values["image_size"]) == (8, 100, 256)
    module = values["task"]["module"]
    assert (module["loss"], module["schedule"]) == ("cross_entropy_dice", "onecycle")
    assert values["ema_decay"] == 0.995
    assert values["augment"]["_target_"] == "hideseek.data.lung_augment.LungAugmentation"


def test_loss_schedule_and_averaging_are_settings(tmp_path):
    given = ["experiment=segment_lungs", "task.loss=cross_entropy", "schedule=constant"]
    with composed("train", [*given, "ema_decay=null"], tmp_path) as config:
        values = plain(config)
    module = values["task"]["module"]
    assert (module["loss"], module["schedule"]) == ("cross_entropy", "constant")
    assert values["ema_decay"] is None
    with composed("train", ["model=resnet50", "schedule=onecycle"], tmp_path) as config:
        assert plain(config)["task"]["module"]["schedule"] == "onecycle"
    assert tuple(Schedule) == SCHEDULES
    assert LOSSES == ("cross_entropy", "cross_entropy_dice")


def test_vgg11_is_the_papers_codes_and_can_be_its_texts(tmp_path):
    with composed("train", ["model=vgg11"], tmp_path) as config:
        assert config.model.net.batch_norm is True
    with composed("train", ["model=vgg11", "model.net.batch_norm=false"], tmp_path) as config:
        assert config.model.net.batch_norm is False


PAPER_MODELS = {
    "covidnet_cxr3a": "hideseek.models.covidnet.covidnet_cxr3a",
    "covidnet_cxr4a": "hideseek.models.covidnet.covidnet_cxr4a",
    "alexnet": "hideseek.models.backbones.alexnet",
    "vgg11": "hideseek.models.backbones.vgg11",
    "resnet50": "hideseek.models.backbones.resnet50",
}
PAPER_ROIS = (
    "original", "lungs_isolated", "lungs_removed", "lungs_framed", "lungs_boxed_out",
)  # fmt: skip


def test_the_paper_grid_has_the_papers_25_cells(tmp_path):
    with composed("train", ["experiment=paper_grid"], tmp_path) as config:
        params = config.hydra.sweeper.params
        assert config.hydra.mode.name == "MULTIRUN"
        cells = set(product(params.model.split(","), params.roi.split(",")))
    assert cells == set(product(PAPER_MODELS, PAPER_ROIS))


@pytest.mark.parametrize("model", PAPER_MODELS)
def test_each_cell_of_the_paper_grid_is_what_it_says(model, tmp_path):
    for roi in PAPER_ROIS:
        given = ["experiment=paper_grid", "data=manifest", f"model={model}", f"roi={roi}"]
        with composed("train", given, tmp_path) as config:
            assert config.model.net._target_ == PAPER_MODELS[model]
            assert config.roi._target_ == f"hideseek.roi.{roi}"
            assert (config.roi.fill, config.roi.margin) == ("black", 0)
            assert config.selection == Selection.paper
            assert Path(config.hydra.sweep.dir).name == "paper_grid"
            assert config.hydra.sweep.subdir == f"{model}-{roi}-s0"
            assert config.epochs == RECIPES[model][1]


def test_a_wrong_choice_lists_the_right_ones(tmp_path):
    with (
        pytest.raises(MissingConfigException) as caught,
        composed("train", ["model=resnet"], tmp_path),
    ):
        pass
    for model in PAPER_MODELS:
        assert model in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        "seed=abc",
        "seed=1.5",
        "selection=test",
        "sampling=random",
        "schedule=cosine",
        "ema_decay=much",
        "normalize=unit",
        "epochs=many",
        "class_weights=[a]",
        "epoch=3",
        "lr=0.1",
        "paths.cach=x",
        "roi.fil=mean",
        "data.no_such=1",
    ],
)
def test_wrong_values_and_unknown_keys_are_refused(wrong, tmp_path):
    with pytest.raises(ConfigCompositionException), composed("train", [wrong], tmp_path):
        pass


def hash_of(overrides: list[str], folder: Path) -> str:
    with composed("train", overrides, folder) as config:
        return config_hash(config)


@pytest.mark.parametrize("data", ["phantom", "manifest"])
def test_the_hash_is_of_the_cell_not_of_its_place(data, tmp_path):
    given = ["model=resnet50", "roi=lungs_removed", f"data={data}"]
    expected = hash_of(given, tmp_path)
    assert len(expected) == 16
    assert hash_of(given[::-1], tmp_path / "elsewhere") == expected
    for change in (
        "sweep=other",
        "paths.cache=/elsewhere",
        "paths.multirun=/elsewhere",
        "logger=csv",
        "logger=tensorboard",
        "workers=4",
        "hydra.launcher.timeout=5",
    ):
        assert hash_of([*given, change], tmp_path) == expected, change


def test_the_hash_is_of_all_that_decides_the_outcome(tmp_path):
    given = ["model=resnet50", "roi=lungs_removed", "data=manifest"]
    changed = {
        hash_of([*given, change], tmp_path)
        for change in (
            "seed=1",
            "epochs=3",
            "batch_size=4",
            "learning_rate=0.5",
            "schedule=onecycle",
            "ema_decay=0.9",
            "image_size=64",
            "weights=elsewhere.pt",
            "sampling=natural",
            "selection=paper",
            "normalize=imagenet",
            "class_weights=[1,1,1]",
            "roi.fill=noise",
            "roi.margin=5",
            "augment=none",
            "augment.flip=0.5",
            "trainer.precision=bf16-mixed",
            "datamodule.batch_size=4",
        )
    }
    changed |= {hash_of([*given[1:], "model=alexnet"], tmp_path)}
    changed |= {hash_of([given[0], "roi=lungs_framed", given[2]], tmp_path)}
    assert len(changed) == 20
    assert hash_of(given, tmp_path) not in changed


def test_plain_values_are_resolved_and_built_in(tmp_path):
    with composed("train", ["model=tiny"], tmp_path) as config:
        values = plain(config)
    assert "hydra" not in values
    assert values["selection"] == "validation"
    assert type(values["selection"]) is str
    assert values["logger"]["folder"] == str(tmp_path)
    assert "${" not in str(values)
    assert set(values) == {field.name for field in fields(TrainConfig)}


def test_the_schema_knows_what_the_code_knows():
    assert {item.value for item in Normalize} == set(NORMALIZATIONS)
    assert {item.value for item in Sampling} == set(SAMPLINGS)


def test_shuffled_labels_have_a_hash_and_a_folder_of_their_own(tmp_path):
    given = ["model=resnet50", "data=manifest"]
    with composed("train", ["experiment=label_randomised", *given], tmp_path) as config:
        assert config.datamodule.shuffle_labels is True
        assert config.hydra.sweep.subdir == "resnet50-original-s0-shuffled"
        assert config.hydra.run.dir.endswith("/resnet50-original-s0-shuffled")
    assert hash_of(["experiment=label_randomised", *given], tmp_path) != hash_of(given, tmp_path)
