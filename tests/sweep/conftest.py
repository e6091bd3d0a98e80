from __future__ import annotations

import pytest
from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import HydraContext, RunMode

from hideseek.config import config_folder, register
from tests.sweep.grid import COMMON


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """A Hydra that plans cells, as `hideseek train -m` has it."""
    register()
    monkeypatch.chdir(tmp_path)
    before = HydraConfig.instance().cfg
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        config = hydra.compose_config("train", COMMON, run_mode=RunMode.MULTIRUN)
        yield HydraContext(hydra.config_loader, Callbacks()), config
    HydraConfig.instance().cfg = before
