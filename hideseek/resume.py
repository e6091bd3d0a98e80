"""Going on after a kill: which checkpoint a cell may continue from, and with what random numbers.

The last whole epoch is where a cell continues, with the outcome of one that was never interrupted:
whatever is random derives from the seed and from where it happens (`hideseek.seeds`), and whatever
is remembered is in `last.ckpt`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from hideseek.seeds import stream

log = logging.getLogger(__name__)

CELL_KEY = "hideseek_cell"
LOST_PEER = ("DistBackendError", "Connection closed by peer", "Connection reset by peer",
             "Broken pipe", "Socket closed", "DataLoader worker (pid")  # fmt: skip
"""What gloo, NCCL and torch say in the process that is left when another was killed."""


class CellIdentity(Callback):
    """Holds all ranks to one cell, and writes into every checkpoint whose it is.

    The identity is the hashes of settings and data, and the version.
    """

    def __init__(self, identity: Mapping[str, str]) -> None:
        """Keep the identity: plain texts."""
        self.identity = dict(identity)

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: LightningModule) -> None:
        """Compare with rank 0: ranks of different cells would average each other's gradients.

        Raises:
            RuntimeError: this rank trains another cell.
        """
        first = trainer.strategy.broadcast(self.identity)
        if first != self.identity:
            raise RuntimeError(f"rank {trainer.global_rank} has {self.identity}, rank 0 {first}")
        if trainer.world_size > 1:
            rank, ranks = trainer.global_rank, trainer.world_size
            log.info("rank %d of %d trains cell %s", rank, ranks, self.identity["config_hash"])

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the identity."""
        checkpoint[CELL_KEY] = self.identity


class StepSeed(Callback):
    """Seeds torch before every training step, so that dropout does not depend on what ran before.

    Ranks draw apart: each sees other images.
    """

    def __init__(self, seed: int) -> None:
        """Set the cell's seed."""
        self.seed = seed

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Seed the step."""
        step = trainer.current_epoch, batch_idx, trainer.global_rank
        torch.manual_seed(stream(self.seed, "step", *step))


class CellCheckpoint(ModelCheckpoint):
    """Lightning's checkpoint of one fixed name, which goes on where its folder is now.

    Lightning forgets the best score where a folder has moved, and removes the file that the state
    names; a state may come from somebody else, so its paths are not used.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the scores, with this cell's own path."""
        path = Path(str(self.dirpath)) / f"{self.filename}.ckpt"
        state = {**state_dict, "dirpath": self.dirpath, "last_model_path": ""}
        scores = [score for score in (state["best_model_score"], self._score_of(path)) if
                  score is not None]  # fmt: skip
        # A kill after the best and before the last was written leaves a best from the epoch that
        # is repeated now; on a GPU it may score less then, and that best is still what is kept.
        best = max(scores, key=float, default=None)
        kept = {} if best is None else {str(path): best}
        state |= {"best_model_score": best, "kth_value": best, "best_k_models": kept}
        for name in ("best_model_path", "kth_best_model_path"):
            state[name] = str(path) if state_dict[name] else ""
        super().load_state_dict(state)

    def _score_of(self, path: Path) -> torch.Tensor | None:
        if self.monitor is None or not path.is_file():
            return None
        try:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            return torch.as_tensor(content["callbacks"][self.state_key]["best_model_score"])
        except Exception:  # torch raises anything on a damaged file
            return None


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint whole or not at all.

    Lightning's own writes to the system's temporary folder first; where that is another file
    system, the move into place is a copy, and a kill leaves half of it.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: object = None
    ) -> None:
        """Write beside the place, then rename."""
        final = Path(path)
        final.parent.mkdir(parents=True, exist_ok=True)
        partial = final.with_name(f".{final.name}")
        torch.save(checkpoint, partial)
        partial.replace(final)


def read_identity(path: Path) -> tuple[dict[str, str], int] | None:
    """Read whose a checkpoint is.

    Args:
        path: of the checkpoint.

    Returns:
        The identity that `CellIdentity` wrote, and how many epochs were finished; None where the
        file is damaged or foreign.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        stored = {str(name): str(value) for name, value in dict(content[CELL_KEY]).items()}
        return stored, int(content["epoch"]) + 1
    except Exception:  # torch raises anything on a damaged file
        return None


def last_checkpoint(folder: Path, identity: Mapping[str, str]) -> Path | None:
    """Find the checkpoint that a cell may continue from.

    Args:
        folder: of the cell.
        identity: what the checkpoint has to say of itself; see `CellIdentity`.

    Returns:
        `checkpoints/last.ckpt`; None where it is absent, damaged or of another cell.
    """
    path = folder / "checkpoints" / "last.ckpt"
    if not path.is_file():
        return None
    found = read_identity(path)
    if found is None:
        log.info("%s is incomplete, so the cell starts anew", path)
        return None
    stored, epochs = found
    differing = [name for name, value in identity.items() if stored.get(name) != value]
    if differing:
        log.info("%s has another %s, so the cell starts anew", path, ", ".join(differing))
        return None
    log.info("continued after epoch %d from %s", epochs, path)
    return path


def lost_a_rank(error: Exception) -> bool:
    """Tell whether an error only says that another process of the cell was killed."""
    text = f"{type(error).__name__}: {error}"
    return any(sign in text for sign in LOST_PEER)
