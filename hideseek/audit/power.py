"""What a paired test on so many images could have found."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binom, norm

ALPHA = 0.05


def mcnemar_power(images: int, difference: float, discordance: float) -> float:
    """Compute the power of McNemar's exact test at the 5 % level.

    Args:
        images: number of images.
        difference: true difference of the accuracies, -discordance .. discordance.
        discordance: share of images where one classifier alone is right, above 0.

    Returns:
        The probability that p is at most .05.
    """
    discordant = np.arange(images + 1)
    limit = binom.ppf(ALPHA / 2, discordant, 0.5)
    limit -= binom.cdf(limit, discordant, 0.5) > ALPHA / 2
    share = (1 + difference / discordance) / 2
    rejected = binom.cdf(limit, discordant, share) + binom.cdf(limit, discordant, 1 - share)
    return float(binom.pmf(discordant, images, discordance) @ rejected)


def detectable_difference(images: int, discordance: float, power: float = 0.8) -> float:
    """Find the least true difference with this `mcnemar_power`; NaN if none reaches it."""
    if mcnemar_power(images, discordance, discordance) < power:
        return float("nan")
    return float(brentq(lambda d: mcnemar_power(images, d, discordance) - power, 0, discordance))


def provable_margin(images: int, discordance: float, power: float = 0.8) -> float:
    """Find the least margin in which equal cells are shown equivalent (normal approximation)."""
    quantiles = norm.isf(ALPHA) + norm.isf((1 - power) / 2)
    return float(quantiles * math.sqrt(discordance / images))


def equivalence_images(margin: float, discordance: float, power: float = 0.8) -> int:
    """Find how many images show equal cells to be equivalent within the margin."""
    return math.ceil((provable_margin(1, discordance, power) / margin) ** 2)
