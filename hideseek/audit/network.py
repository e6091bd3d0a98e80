"""A network that was not trained here, built from a configuration and tried once."""

from __future__ import annotations

from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from hideseek.checkpoint import NetworkCard, load_network
from hideseek.data.source import NAME
from hideseek.errors import UserError
from hideseek.models.inputs import NORMALIZATIONS, normalize
from hideseek.models.weights import fit_state, load_state


def network_of(config: DictConfig) -> tuple[nn.Module, NetworkCard, str, Path | None]:
    """Build the network of `hideseek audit model=...` or read that of a checkpoint.

    Args:
        config: composed from `conf/audit.yaml`.

    Returns:
        The network in evaluation mode, its card, the name of the audit, and the file of the
        weights; None where the network brings its own.

    Raises:
        UserError: no network is named, or its weights are not there or do not fit.
    """
    if config.checkpoint is not None:
        path = Path(config.checkpoint)
        net, card = load_network(path)
        if card.task != "classify":
            raise UserError(f"{path}: a network of the task '{card.task}'; name a classifier")
        cell = path.parent.parent.name if path.parent.name == "checkpoints" else path.stem
        return net, card, _name(config.name or cell), path
    model = config.model
    if model.task != "classify":
        raise UserError("audit: this model is no classifier; choose another model=")
    if OmegaConf.is_missing(model.net, "target"):
        raise UserError(
            "audit: no network is named; give a sweep's folder, checkpoint=CELL/checkpoints/"
            "best.ckpt, model=alexnet weights=FILE, or model.net.target=package.module:function "
            "weights=FILE"
        )
    given_file = None if config.weights in (None, "none") else Path(config.weights)
    external = str(model.net["_target_"]).endswith(".external")
    if given_file is None and not external:
        raise UserError("audit: an untrained network reads nothing; give weights=FILE")
    if given_file is not None and not given_file.is_file():
        raise UserError(f"weights={given_file}: no such file")
    takes_weights = "weights" in model.net
    given = {"weights": given_file and str(given_file)} if takes_weights else {}
    net = instantiate(model.net, **given, _convert_="all")
    if given_file is not None and not takes_weights:
        fit_state(net, load_state(given_file), str(given_file))
    if config.normalize not in NORMALIZATIONS:
        raise UserError(f"normalize={config.normalize}: choose from {', '.join(NORMALIZATIONS)}")
    arguments = OmegaConf.to_container(model.net, resolve=False)
    assert isinstance(arguments, dict)
    target = str(arguments.pop("_target_"))
    name = str(model.net.target if external else target).replace(":", ".").rpartition(".")[2]
    card = NetworkCard(
        task="classify",
        model=name,
        target=target,
        arguments={str(key): value for key, value in {**arguments, **given}.items()},
        image_size=config.image_size,
        channels=model.channels,
        normalize=config.normalize,
        classes=tuple(config.task.classes),
        cam_layer=str(model.get("cam_layer") or ""),
    )
    return net.float().eval(), card, _name(config.name or name), given_file


def _name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise UserError(f"name={name!r}: give letters, digits, '.', '_' and '-' only")
    return name


def check_outputs(net: nn.Module, card: NetworkCard, device: str | torch.device) -> None:
    """Show the network two black images before hours of others.

    Raises:
        UserError: it fails on them, or does not return a logit for each class.
    """
    side, classes = card.image_size, len(card.classes)
    black = torch.zeros((2, 1, side, side), dtype=torch.uint8, device=device)
    try:
        with torch.inference_mode():
            found = net.to(device)(normalize(black, card.normalize, card.channels))
    except Exception as error:  # somebody's own network
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{card.model}: fails on images [2, {card.channels}, {side}, {side}] ({reason}); "
            "give image_size and model.channels as the network wants them"
        ) from error
    shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
    if shape != [2, classes]:
        raise UserError(
            f"{card.model}: returns {shape} for two images, and logits [2, {classes}] are needed "
            f"for task.classes=[{','.join(card.classes)}]; name a function that returns them"
        )
