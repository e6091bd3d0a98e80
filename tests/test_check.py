from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from hideseek.check import check
from hideseek.config import config_folder, register
from hideseek.errors import UserError


def composed(*overrides: str) -> DictConfig:
    register()
    with initialize_config_dir(str(config_folder().resolve()), version_base="1.3"):
        config = compose("train", overrides=list(overrides), return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    return config


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (("model=external",), "model=external needs model.net.target"),
        (("model=unet",), "model=unet is made to segment; use it with experiment=segment_lungs"),
        (("task=segment", "model=tiny"), "model=tiny is made to classify"),
        (("batch_size=0",), "batch_size=0"),
        (("epochs=0",), "epochs=0"),
        (("seed=-1",), "seed=-1"),
        (("image_size=40", "model=alexnet"), "image_size=40 is too small for alexnet"),
        (("class_weights=[1,1]",), "class_weights has 2 numbers for 3 classes"),
        (("roi=lungs_removed", "roi.fill=blck"), "roi.fill=blck is unknown; known are black"),
    ],
)
def test_what_cannot_work_is_named(overrides: tuple[str, ...], says: str) -> None:
    with pytest.raises(UserError) as caught:
        check(composed(*overrides))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("overrides", [(), ("experiment=segment_lungs",), ("model=vgg11",)])
def test_what_works_passes(overrides: tuple[str, ...]) -> None:
    check(composed(*overrides))
