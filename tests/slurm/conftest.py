from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import PROGRAMS, Cluster


@pytest.fixture(scope="session")
def slurm() -> Iterator[Path]:
    """Give the folder of a running Slurm, with its logs."""
    pytest.importorskip("submitit")
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{path}:/usr/sbin:/sbin"
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        os.environ["PATH"] = path
        pytest.skip(f"{', '.join(missing)} not installed; Debian: apt install slurm-wlm munge")
    # Short, since the socket's path may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="slurm") as name:
        cluster = Cluster(Path(name))
        try:
            cluster.start()
            yield Path(name)
        finally:
            cluster.stop()
            os.environ.pop("SLURM_CONF", None)
            os.environ["PATH"] = path
