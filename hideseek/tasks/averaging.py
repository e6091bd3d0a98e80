"""An exponential average of a network's weights over its training steps.

Lightning's callback puts the average in the network's place while it validates, and stores it as
the `state_dict` of every checkpoint, so that what is scored, kept and shipped is the same network.
"""

from __future__ import annotations

import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor

from hideseek.errors import UserError


def averaged_weights(decay: float, device: torch.device) -> WeightAveraging:
    """Make the callback that averages parameters and BatchNorm statistics after every step.

    Args:
        decay: share of the average that stays at a step, in 0..1. The first steps keep less,
            (1 + n) / (10 + n) after n steps, so that a short training forgets its beginning too.
        device: where the average lies.

    Returns:
        A callback.

    Raises:
        UserError: the decay is not below 1, or negative.
    """
    if not 0 <= decay < 1:
        raise UserError(f"ema_decay={decay} cannot work; give a number from 0 to below 1, or null")

    def average(averaged: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        if not averaged.is_floating_point():
            return current
        steps = torch.as_tensor(count, dtype=averaged.dtype, device=averaged.device)
        kept = ((1 + steps) / (10 + steps)).clamp(max=decay)
        return torch.lerp(current, averaged, kept)

    return WeightAveraging(device=device, avg_fn=average)
