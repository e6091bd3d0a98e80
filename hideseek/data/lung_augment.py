"""Random changes of the image and mask pairs that a lung segmenter learns from.

Wider than the paper's: few pairs from few hospitals have to stand for radiographs of any exposure,
pose and device. Seeded per draw like `hideseek.data.augment`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import albumentations as A

from hideseek.data.augment import SeededAugmentation, Span, affine


@dataclass
class LungAugmentation(SeededAugmentation):
    """Geometry for image and mask alike, then tone, noise and holes for the image alone.

    The defaults are those with which `unet_small` was measured, at 256 px.

    Attributes:
        flip: how often left and right are exchanged.
        scale: range of the linear zoom, drawn for rows and columns apart.
        rotate: greatest angle, degrees, both ways.
        translate: greatest shift, share of the side, both axes.
        shear: greatest shear, degrees, both ways, both axes.
        elastic: how often the image is bent.
        elastic_alpha: how far: factor on the smoothed standard normal shifts, pixels.
        elastic_sigma: how smoothly: deviation of the Gaussian that smooths them, pixels.
        gamma: how often the tone curve is bent.
        gamma_range: exponents of grey values in 0..1.
        tone: how often brightness and contrast change.
        brightness: greatest shift, share of white, both ways.
        contrast: greatest change of the factor on grey values, both ways.
        clahe: how often contrast is equalised locally, as some devices do.
        clahe_clip: range of the clip limit, at least 1.
        noise: how often Gaussian noise is added.
        noise_deviation: range of its standard deviation, share of white.
        blur: how often the image is blurred.
        blur_kernel: range of the side of the Gaussian's window, pixels.
        holes: how often rectangles are painted over, as markers and devices do.
        hole_count: range of their number.
        hole_side: range of their sides, share of the image's. Each has one random grey value, and
            the mask stays: the lung goes on behind a marker.
    """

    flip: float = 0.5
    scale: Span = (0.7, 1.25)
    rotate: float = 15.0
    translate: float = 0.1
    shear: float = 5.0
    elastic: float = 0.3
    elastic_alpha: float = 60.0
    elastic_sigma: float = 12.0
    gamma: float = 0.6
    gamma_range: Span = (0.5, 2.0)
    tone: float = 0.6
    brightness: float = 0.25
    contrast: float = 0.35
    clahe: float = 0.2
    clahe_clip: Span = (1.0, 4.0)
    noise: float = 0.3
    noise_deviation: Span = (0.01, 0.06)
    blur: float = 0.2
    blur_kernel: tuple[int, int] = (3, 7)
    holes: float = 0.3
    hole_count: tuple[int, int] = (1, 4)
    hole_side: Span = (0.03, 0.12)

    def __post_init__(self) -> None:
        """Build the chain.

        Raises:
            ValueError: a range that albumentations refuses.
        """
        steps = [*self._geometry(), *self._appearance()]
        # A transform costs time even when it does nothing.
        super().__init__([step for step in steps if step.p > 0])

    def _geometry(self) -> Sequence[A.BasicTransform]:
        both = (-self.translate, self.translate)
        return [
            A.HorizontalFlip(p=self.flip, strict=True),
            affine(
                scale={axis: tuple(self.scale) for axis in "xy"},
                rotate=(-self.rotate, self.rotate),
                translate_percent={axis: both for axis in "xy"},
                shear=(-self.shear, self.shear),
            ),
            A.ElasticTransform(
                alpha=self.elastic_alpha, sigma=self.elastic_sigma, p=self.elastic, strict=True
            ),
        ]

    def _appearance(self) -> Sequence[A.BasicTransform]:
        percent = tuple(100 * exponent for exponent in self.gamma_range)
        side = tuple(self.hole_side)
        return [
            A.RandomGamma(gamma_limit=percent, p=self.gamma, strict=True),
            A.RandomBrightnessContrast(
                brightness_limit=(-self.brightness, self.brightness),
                contrast_limit=(-self.contrast, self.contrast),
                p=self.tone,
                strict=True,
            ),
            A.CLAHE(clip_limit=tuple(self.clahe_clip), p=self.clahe, strict=True),
            A.GaussNoise(std_range=tuple(self.noise_deviation), p=self.noise, strict=True),
            A.GaussianBlur(blur_limit=tuple(self.blur_kernel), p=self.blur, strict=True),
            A.CoarseDropout(
                num_holes_range=tuple(self.hole_count),
                hole_height_range=side,
                hole_width_range=side,
                fill="random_uniform",
                fill_mask=None,
                p=self.holes,
                strict=True,
            ),
        ]
