"""What takes the place of hidden pixels: seven fills, pure functions of image and hidden region.

Called by `hideseek.roi` for every representation that hides something. The paper paints black
(Sadre et al. 2021; its code sets the pixels to 0); the others test whether a result is an artefact
of the black. `black`, `mean`, `border_mean`, `noise` and `inpaint` depend on the visible pixels
alone, so changing a hidden pixel changes nothing. `blur` and `shuffle` keep hidden information by
design: `blur` the coarse brightness of each place, `shuffle` the whole histogram but no place.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from hideseek.errors import UserError

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

FILLS = ("black", "mean", "border_mean", "noise", "blur", "inpaint", "shuffle")
INDEPENDENT_FILLS = ("black", "mean", "border_mean", "noise", "inpaint")
"""Fills whose result does not depend on hidden pixels."""

BORDER_PIXELS = 3
"""Width of the ring that `border_mean` averages, diagonal steps counted as one."""

COARSE_SIDE = 64
"""`blur` and `inpaint` work on an image whose longer side is at most this: full size costs ten
times more, and neither result has finer detail."""

BLUR_SIGMA = 1 / 20
"""Of `blur`, as a share of the longer side: 11 px at 224, wider than ribs and vessels."""

INPAINT_RADIUS = 3
_STREAM = 1  # keeps these draws apart from those of `hideseek.roi.random_boxes`


def fill_hidden(image: Image, hidden: Mask, fill: str = "black", seed: int = 0) -> Image:
    """Replace the hidden pixels and keep the others bit for bit.

    Where nothing is visible, `mean`, `border_mean`, `noise` and `inpaint` are black.

    Args:
        image: uint8 [H, W]; not changed.
        hidden: bool [H, W], True where pixels are replaced.
        fill: one of `FILLS`:
            black: 0.
            mean: mean of the visible pixels. A mean over all pixels would leak: an opacity in a
                hidden lung would brighten the fill.
            border_mean: mean of the visible pixels within `BORDER_PIXELS` of the hidden region.
            noise: Gaussian, mean and standard deviation those of the visible pixels, clipped.
            blur: the image, strongly blurred. Keeps hidden information.
            inpaint: grown inwards from the visible pixels (Telea 2004, on a coarse image).
            shuffle: the hidden pixels, permuted among themselves. Keeps hidden information.
        seed: of `noise` and `shuffle`, at least 0.

    Returns:
        A new uint8 [H, W].

    Raises:
        UserError: the fill is unknown.
        ValueError: wrong types, or the shapes differ.
    """
    if fill not in FILLS:
        raise UserError(f"fill '{fill}' is unknown; choose one of {', '.join(FILLS)}")
    check_pair(image, hidden)
    if fill == "black":
        black: Image = image * (~hidden).view(np.uint8)
        return black
    filled = image.copy()
    if hidden.any():
        filled[hidden] = _VALUES[fill](image, hidden, np.random.default_rng((seed, _STREAM)))
    return filled


def check_pair(image: Image, mask: Mask) -> None:
    """Refuse what is no image and mask of one shape.

    Raises:
        ValueError: not uint8 [H, W] and bool [H, W], at least one pixel; names types and shapes.
    """
    found = f"image {image.dtype} {image.shape}, mask {mask.dtype} {mask.shape}"
    if image.dtype != np.uint8 or mask.dtype != np.bool_ or image.ndim != 2 or image.size == 0:
        raise ValueError(f"expected image uint8 [H, W] and mask bool [H, W], got {found}")
    if image.shape != mask.shape:
        raise ValueError(f"image and mask differ in shape: {found}")


def _level(image: Image, where: Mask) -> tuple[float, float]:
    # cv2 gives (0, 0) where no pixel is chosen.
    mean, deviation = cv2.meanStdDev(image, mask=where.view(np.uint8))
    return float(mean[0, 0]), float(deviation[0, 0])


def _mean(image: Image, hidden: Mask, rng: np.random.Generator) -> Image:
    return _grey(_level(image, ~hidden)[0])


def _border_mean(image: Image, hidden: Mask, rng: np.random.Generator) -> Image:
    square = np.ones((2 * BORDER_PIXELS + 1,) * 2, np.uint8)
    near = cv2.dilate(hidden.view(np.uint8), square) > 0
    return _grey(_level(image, near & ~hidden)[0])


def _noise(image: Image, hidden: Mask, rng: np.random.Generator) -> Image:
    mean, deviation = _level(image, ~hidden)
    draws = rng.standard_normal(np.count_nonzero(hidden), dtype=np.float32)
    return _grey(draws * deviation + mean)


def _blur(image: Image, hidden: Mask, rng: np.random.Generator) -> Image:
    coarse = _shrink(image.astype(np.float32))
    sigma = BLUR_SIGMA * max(coarse.shape)
    return _enlarge(cv2.GaussianBlur(coarse, (0, 0), sigma), image.shape)[hidden]


def _inpaint(image: Image, hidden: Mask, rng: np.random.Generator) -> Image:
    visible = (~hidden).astype(np.float32)
    # Averages over visible pixels only, or the coarse image would smear hidden ones outwards.
    share, total = _shrink(visible), _shrink(image * visible)
    known = share > 1e-4
    if not known.any():
        return np.zeros(np.count_nonzero(hidden), np.uint8)
    coarse = np.divide(total, share, out=np.zeros_like(total), where=known)
    # With a side of one pixel cv2.inpaint reads beyond its memory and paints what it finds there.
    spare = [(0, int(side == 1)) for side in coarse.shape]
    pixels, gaps = np.pad(_grey(coarse), spare, "edge"), np.pad(~known, spare, "edge")
    painted = cv2.inpaint(pixels, gaps.view(np.uint8), INPAINT_RADIUS, cv2.INPAINT_TELEA)
    height, width = coarse.shape
    return _enlarge(painted[:height, :width].astype(np.float32), image.shape)[hidden]


def _shuffle(image: Image, hidden: Mask, rng: np.random.Generator) -> Image:
    return rng.permutation(image[hidden])


def _shrink(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    factor = -(-max(image.shape) // COARSE_SIDE)
    height, width = (-(-side // factor) for side in image.shape)
    small: npt.NDArray[np.float32] = cv2.resize(
        image, (width, height), interpolation=cv2.INTER_AREA
    )
    return small


def _enlarge(image: npt.NDArray[np.float32], shape: tuple[int, ...]) -> Image:
    return _grey(cv2.resize(image, shape[::-1], interpolation=cv2.INTER_LINEAR))


def _grey(values: npt.ArrayLike) -> Image:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


_VALUES: dict[str, Callable[[Image, Mask, np.random.Generator], Image]] = {
    "mean": _mean,
    "border_mean": _border_mean,
    "noise": _noise,
    "blur": _blur,
    "inpaint": _inpaint,
    "shuffle": _shuffle,
}
