"""One W&B run for one cell: what is written there, and how it stays out of training's way.

W&B keeps a copy for looking at; the cell's own files are the record. So whatever fails here is one
line in the log, and what could not be uploaded waits on disk for `hideseek sync`.
"""

from __future__ import annotations

import logging
import math
import os
import re
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import polars as pl
from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger, WandbLogger

from hideseek.config import plain
from hideseek.sweep.trust import without_secrets

if TYPE_CHECKING:
    from wandb import Artifact, Settings
    from wandb.sdk.wandb_run import Run

log = logging.getLogger(__name__)

INIT_SECONDS = 30
"""How long the start of a cell may wait for the server."""

FINISH_SECONDS = 40
"""How long the end of a cell may wait for uploads; W&B may wait 20 s more before it."""

HASHES = ("config_hash", "recipe_hash", "manifest_hash", "segmenter_hash", "version")


class CellLogger(WandbLogger):
    """Lightning's logger over one run, which outlives a dead network or a dead W&B process."""

    def __init__(
        self, run: Run, folder: Path, artifact: bool, images: bool, earlier: str | None
    ) -> None:
        """Take an open run.

        Args:
            run: of this cell alone.
            folder: of the cell.
            artifact: whether the checkpoint is to be kept by W&B too.
            images: whether pictures of radiographs may leave this machine.
            earlier: id of the run that this cell had before; None for none.
        """
        super().__init__(experiment=run, save_dir=folder, project=run.project)
        self.run, self.folder, self.earlier = run, folder, earlier
        self.artifact, self.images = artifact, images
        self.lost = False

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log one epoch, unless W&B has failed before."""
        if not self.lost:
            self.lost = not self.attempt("the metrics", super().log_metrics, metrics, step)

    def attempt(self, what: str, action: Callable[..., object], *given: object) -> bool:
        """Do something with W&B and tell whether it went well; if not, one line says so.

        Args:
            what: is being done, for the log.
            action: to call.
            *given: its arguments.
        """
        try:
            action(*given)
        except Exception as error:
            # W&B raises anything; none of it is worth a training.
            log.warning("W&B: %s failed (%s); the cell goes on", what, _reason(error))
            return False
        return True

    def finish(self, summary: Mapping[str, float]) -> None:
        """Write the final numbers and end the run.

        Args:
            summary: the final metrics, `test/NAME` in W&B; empty where the cell failed.
        """
        if self.lost:
            return _tear_down()
        numbers = {f"test/{k}": None if math.isnan(v) else v for k, v in summary.items()}
        self.attempt("the summary", self.run.summary.update, numbers)
        try:
            self.run.finish(exit_code=0 if summary else 1)
        except Exception as error:
            text = "W&B: not uploaded (%s); it is kept in %s for `hideseek sync`"
            log.warning(text, _reason(error), self.folder / "wandb")
            return _tear_down()
        if not self.run.offline:
            self.attempt("the note of the upload", _mark_uploaded, Path(self.run.dir).parent)


def wandb_logger(
    folder: str,
    sweep: str,
    model: str,
    roi: str,
    seed: int,
    task: str,
    project: str = "hideseek",
    artifact: bool = False,
    images: bool = True,
) -> Logger | None:
    """Open one W&B run for one cell; offline where there is no key or no network.

    Args:
        folder: of the cell; W&B writes below it.
        sweep: the run's group.
        model: first tag, and first part of the run's name.
        roi: second tag, and second part.
        seed: third part.
        task: the run's job type.
        project: of the run.
        artifact: whether the checkpoint becomes an artifact.
        images: whether pictures of radiographs are logged.

    Returns:
        A Lightning logger; None where W&B cannot even write to disk.
    """
    place, name, identifier = Path(folder), f"{model}/{roi}/{seed}", secrets.token_hex(6)
    earlier = earlier_run(place)

    def start(mode: Literal["offline"] | None) -> Run:
        import wandb

        return wandb.init(
            project=project, name=name, group=sweep, job_type=task, tags=[model, roi], dir=folder,
            config={"model_name": model, "roi_name": roi}, id=identifier, mode=mode,
            settings=_settings(), reinit="finish_previous",
        )  # fmt: skip

    # W&B takes an empty variable, such as WANDB_MODE=, for a wrong value.
    for variable in [key for key, value in os.environ.items() if key[:6] == "WANDB_" and not value]:
        del os.environ[variable]
    run, reason = None, "no API key"
    if has_wandb_key():
        try:
            run = start(None)
        except Exception as error:
            # Whatever W&B raises without a network or with a wrong key must not end the training.
            reason = _reason(error)
            _tear_down()
            _forget(place, identifier)
    if run is None:
        log.info("W&B: %s, so this run is logged offline in %s/wandb", reason, folder)
        try:
            run = start("offline")
        except Exception as error:
            log.warning("W&B: no offline run either (%s); history.csv is kept", _reason(error))
            _tear_down()
            return None
    run.define_metric("epoch", hidden=True)
    for phase in ("train/*", "val/*"):
        run.define_metric(phase, step_metric="epoch")
    return CellLogger(run, place, artifact, images, earlier)


def has_wandb_key() -> bool:
    """Tell whether W&B could log in without asking."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    server = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).netloc
    netrc = Path(os.environ.get("NETRC", str(Path.home() / ".netrc")))
    try:
        return server in netrc.read_text(errors="replace").split()
    except OSError:
        return False


def earlier_run(folder: Path) -> str | None:
    """Find the id of a cell's latest W&B run.

    Args:
        folder: of the cell.
    """
    found = (folder / "wandb").glob("*run-*-*/run-*.wandb")
    # Named [offline-]run-DATE_TIME-ID.
    runs = sorted(path.parent.name.rsplit("-", 2)[-2:] for path in found)
    return runs[-1][1] if runs else None


def run_config(config: DictConfig, hashes: Mapping[str, str]) -> dict[str, Any]:
    """Say what a cell is: its resolved configuration and its hashes, without secrets.

    Args:
        config: of the cell.
        hashes: by name.

    Returns:
        Dictionaries, lists, texts and numbers; "***" wherever a key speaks of a key, token, secret
        or password.
    """
    return {**without_secrets(plain(config)), **hashes}


def announce(
    logger: Logger | None, config: DictConfig, hashes: Mapping[str, str], continued: bool
) -> None:
    """Write a cell's configuration to its logger, once, before it trains.

    Args:
        logger: of the cell, or None.
        config: of the cell.
        hashes: of configuration and data.
        continued: whether it goes on from a checkpoint. W&B cannot append to an offline run, so the
            new run then names the one before: `continues`.
    """
    if logger is None:
        return
    values = run_config(config, hashes)
    if not isinstance(logger, CellLogger):
        logger.log_hyperparams(values)
        return
    if continued and logger.earlier:
        values["continues"] = logger.earlier
    logger.attempt("the configuration", logger.run.config.update, values)


def log_outcome(
    logger: Logger | None, classes: Sequence[str], images: Mapping[str, Path] | None = None
) -> None:
    """Give W&B a finished cell's pictures, confusion matrix and, by choice, its checkpoint.

    The counts of the matrix are in the summary too (actual, then predicted), which needs no server.

    Args:
        logger: of the cell, or None.
        classes: labels in the order of their numbers.
        images: PNG files by name; shown as `panels/NAME`.
    """
    if not isinstance(logger, CellLogger) or logger.lost:
        return
    for name, path in (images or {}).items() if logger.images else ():
        logger.attempt(f"the panel {name}", _log_image, logger.run, name, path)
    # Artifacts, and a chart's table is one, wait for the server even where nothing else does.
    reached = logger.attempt("the confusion matrix", _log_confusion, logger, classes)
    if logger.artifact and reached:
        logger.attempt("the checkpoint", _log_checkpoint, logger)


def _settings() -> Settings:
    import wandb

    return wandb.Settings(
        silent=True,
        console="off",
        init_timeout=INIT_SECONDS,
        finish_timeout=FINISH_SECONDS,
        finish_timeout_raises=True,
        # The command line, which may hold a secret, the checkout and this machine's name.
        x_disable_meta=True,
        disable_git=True,
        disable_code=True,
    )


def _log_confusion(logger: CellLogger, classes: Sequence[str]) -> None:
    import wandb

    table = pl.read_csv(logger.folder / "predictions.csv", infer_schema=False, glob=False)
    if "prediction" not in table.columns:
        return
    truth, guess = table["label"].to_list(), table["prediction"].to_list()
    pairs = Counter(zip(truth, guess, strict=True))
    counts = {label: {name: pairs[label, name] for name in classes} for label in classes}
    logger.run.summary.update({"test/confusion_counts": counts})
    plot = wandb.plot.confusion_matrix(
        y_true=[classes.index(name) for name in truth],
        preds=[classes.index(name) for name in guess],
        class_names=list(classes),
        title="Confusion matrix, test set",
    )
    logger.run.log({"test/confusion": plot})


def _log_image(run: Run, name: str, path: Path) -> None:
    import wandb

    run.log({f"panels/{name}": wandb.Image(str(path))})


def _log_checkpoint(logger: CellLogger) -> None:
    logger.run.log_artifact(checkpoint_artifact(logger))


def checkpoint_artifact(logger: CellLogger) -> Artifact:
    """Describe the chosen checkpoint as an artifact; its metadata are the hashes of the cell."""
    import wandb

    known = dict(logger.run.config)
    metadata = {name: known[name] for name in HASHES if name in known}
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", f"{logger.run.group}-{logger.folder.name}")[-128:]
    artifact = wandb.Artifact(name, type="model", metadata=metadata)
    # A finished cell's file does not change, so no second copy of it is needed.
    path = logger.folder / "checkpoints" / "best.ckpt"
    artifact.add_file(str(path), policy="immutable")
    return artifact


def _mark_uploaded(folder: Path) -> None:
    """Leave the file that `wandb sync` leaves, unless W&B's own log speaks of an error."""
    if '"level":"ERROR' not in (folder / "logs" / "debug-internal.log").read_text(errors="replace"):
        for path in folder.glob("run-*.wandb"):
            path.with_suffix(".wandb.synced").touch()


def _forget(folder: Path, identifier: str) -> None:
    """Remove what a run left that could not be opened, so that `sync` does not find it."""
    for path in (folder / "wandb").glob(f"run-*-{identifier}"):
        shutil.rmtree(path, ignore_errors=True)


def _tear_down() -> None:
    import wandb

    with suppress(Exception):
        wandb.teardown()


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).partition("\n")[0]
