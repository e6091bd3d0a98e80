"""Synthetic chest radiographs with exact lung masks and a known truth about what carries the class.

The default data of every command, and the ground truth on which the audit is tested (mechanisms of
audit-spec 0.3 and 2.9). Patient, pose, detector and class signal draw from separate random streams,
so one image can be drawn as any class with everything else unchanged; `write` leaves a folder that
`data/source.py` reads like a user's own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import polars as pl

from hideseek.data.anatomy import Field, Layers, disease, render, sample
from hideseek.data.image_folder import image_folder, write_pair
from hideseek.data.manifest import COLUMNS
from hideseek.errors import UserError
from hideseek.seeds import stream

CARRIERS = ("opacity", "marker", "gain", "lung_size", "heart", "mask_error", "none")
"""What may carry the class.

`opacity`: disease in the lungs; `marker`: the token in the bottom margin; `gain`: the detector's
tone curve; `lung_size`; `heart`: the shade of the heart; `mask_error`: disease as in `opacity`, and
a given mask that lacks it, as from a segmenter that fails on ill lungs; `none`.
"""

CLASSES = ("normal", "pneumonia", "covid19")
VERSION = 1
"""Of the drawing; part of `recipe_hash`, so raise it with every change of pixels."""

DISEASES = ("", "lobar", "peripheral")
OPACITY = (0.0, 0.72, 0.60)
LUNG_SHRINKS = (0.0, 0.12, 0.24)
HEART_DENSITY = (0.0, 0.55, 1.30)
GAIN_LOG_GAMMA = (0.0, 0.45, -0.40)
GAIN_LEVEL_LOSS = (0.0, 0.10, 0.05)

# Patients of each class in a row, (split, images): of every 20 images 12 train, 3 val, 5 test.
_PATIENTS = (
    *(("train", 1), ("test", 1), ("val", 1), ("train", 2), ("train", 1), ("test", 1)),
    *(("train", 2), ("val", 1), ("train", 1), ("test", 2), ("train", 2), ("train", 1)),
    *(("train", 1), ("val", 1), ("test", 1), ("train", 1)),
)
_PLACES = [(number, split) for number, (split, n) in enumerate(_PATIENTS) for _ in range(n)]


@dataclass(frozen=True)
class PhantomRecipe:
    """Everything that decides the images.

    Attributes:
        carriers: some of `CARRIERS`.
        strength: of the class signal: 0 none, 1 clear; `marker` is right with this probability,
            the other carriers grow with it.
        size: side of the images in pixels, at least 32.
        images: how many `write` makes.
        sources: number of devices; they differ mildly in exposure, noise and sharpness.
        source_confounding: probability that an image's class decides its source.
        seed: of everything random.
    """

    carriers: tuple[str, ...] = ("opacity",)
    strength: float = 1.0
    size: int = 256
    images: int = 480
    sources: int = 3
    source_confounding: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UserError: naming the first wrong one.
        """
        object.__setattr__(self, "carriers", tuple(self.carriers))
        unknown = [name for name in self.carriers if name not in CARRIERS]
        if unknown or not self.carriers:
            given = f"'{unknown[0]}'" if unknown else "an empty list"
            raise UserError(f"phantom.carriers has {given}; choose from {', '.join(CARRIERS)}")
        for name in ("strength", "source_confounding"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"phantom.{name}={getattr(self, name)} is not within 0 .. 1")
        for name, least in (("size", 32), ("images", 1), ("sources", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise UserError(f"phantom.{name}={getattr(self, name)} is below {least}")


@dataclass(frozen=True)
class Phantom:
    """One radiograph and the truth about it.

    Attributes:
        image: uint8 [S, S].
        mask: bool [S, S], the lungs as the manifest gives them.
        truth_mask: bool [S, S], the exact lungs; equal to `mask` except for `mask_error`.
        label: position in `CLASSES`.
        source: name of the device.
        patient_id: one or two images share it, all of one split and class.
        split: "train", "val" or "test".
        view: "PA" or "AP".
    """

    image: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.bool_]
    truth_mask: npt.NDArray[np.bool_]
    label: int
    source: str
    patient_id: str
    split: str
    view: str


def draw(recipe: PhantomRecipe, index: int, label: int | None = None) -> Phantom:
    """Draw one image; it depends on the recipe and `index` only, never on `images`.

    Args:
        recipe: what to draw.
        index: at least 0.
        label: draw the same image as another class than its own; the patient's rows stay.

    Returns:
        The image, its masks and its row of the manifest.
    """
    position, own_label = divmod(index, len(CLASSES))
    block, place = divmod(position, len(_PLACES))
    number, split = _PLACES[place]
    patient = (block * len(_PATIENTS) + number) * len(CLASSES) + own_label
    label = own_label if label is None else label
    source = _source(recipe, patient, label)
    view = "AP" if _random(recipe, "view", index).uniform() < 0.4 else "PA"
    body, pose = _random(recipe, "patient", patient), _random(recipe, "pose", index)
    shrink = _amount(recipe, "lung_size") * LUNG_SHRINKS[label]
    texture = _random(recipe, "texture", index)
    layers = render(sample(body, pose, view), recipe.size, texture, 1.0 - shrink)
    blob = _disease(recipe, index, label, layers)
    missed = _amount(recipe, "mask_error") * 0.7
    image = _expose(recipe, index, label, source, layers, blob)
    return Phantom(
        image=image,
        mask=layers.lungs & ~(blob > 1.0 - missed),
        truth_mask=layers.lungs,
        label=label,
        source=f"device{source}",
        patient_id=f"p{patient:05d}",
        split=split,
        view=view,
    )


def recipe_hash(recipe: PhantomRecipe) -> str:
    """Name a recipe, and the version of the drawing, by 12 hexadecimal digits."""
    content = json.dumps({**asdict(recipe), "version": VERSION}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def write(
    recipe: PhantomRecipe, folder: Path, progress: Callable[[int], None] | None = None
) -> Path:
    """Write images, masks and manifest; all or nothing, and only once.

    Args:
        recipe: what to draw.
        folder: gets `images/`, `masks/`, `recipe.json` and `manifest.csv`, whose paths are relative
            to it; made beside it under another name and renamed when whole.
        progress: told how many images have become ready.

    Returns:
        Path of the manifest.

    Raises:
        UserError: the folder holds something else.
    """
    advance = progress or (lambda count: None)
    if _is_complete(recipe, folder):
        advance(recipe.images)
        return folder / "manifest.csv"
    with image_folder(folder, lambda: _is_complete(recipe, folder)) as partial:
        rows = []
        for index in range(recipe.images):
            rows.append(_write_image(draw(recipe, index), f"phantom-{index:05d}", partial))
            advance(1)
        content = {"hash": recipe_hash(recipe), "version": VERSION, **asdict(recipe)}
        (partial / "recipe.json").write_text(json.dumps(content, indent=2) + "\n")
        pl.DataFrame(rows).write_csv(partial / "manifest.csv")
    return folder / "manifest.csv"


def _is_complete(recipe: PhantomRecipe, folder: Path) -> bool:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    note = folder / "recipe.json"
    if note.is_file() and json.loads(note.read_text()).get("hash") == recipe_hash(recipe):
        return True
    raise UserError(f"{folder} holds something else than this phantom; move it or name another")


def _write_image(phantom: Phantom, name: str, folder: Path) -> dict[str, str]:
    files = write_pair(folder, name, phantom.image, phantom.mask)
    case = (CLASSES[phantom.label], phantom.source, phantom.patient_id, phantom.split, phantom.view)
    return dict(zip(COLUMNS, (name, files[0], *case, files[1]), strict=True))


def _random(recipe: PhantomRecipe, name: str, key: int) -> np.random.Generator:
    return np.random.default_rng(stream(recipe.seed, f"phantom-{name}", key))


def _amount(recipe: PhantomRecipe, *carriers: str) -> float:
    return recipe.strength if set(carriers) & set(recipe.carriers) else 0.0


def _source(recipe: PhantomRecipe, patient: int, label: int) -> int:
    random = _random(recipe, "source", patient)
    free, tied = int(random.integers(recipe.sources)), random.uniform() < recipe.source_confounding
    return label % recipe.sources if tied else free


def _disease(recipe: PhantomRecipe, index: int, label: int, layers: Layers) -> Field:
    if label == 0 or _amount(recipe, "opacity", "mask_error") == 0:
        return np.zeros_like(layers.air)
    return disease(layers.lungs, DISEASES[label], _random(recipe, "disease", index))


def _expose(
    recipe: PhantomRecipe, index: int, label: int, source: int, layers: Layers, blob: Field
) -> npt.NDArray[np.uint8]:
    """Turn attenuation into grey values, as the source's detector would."""
    device, random = _random(recipe, "device", source), _random(recipe, "exposure", index)
    unit = recipe.size / 256
    blur, noise = unit * device.uniform(0.45, 0.85), device.uniform(0.008, 0.016)
    dose = float(np.exp(device.uniform(-0.08, 0.08) + np.clip(random.normal(0, 0.05), -0.1, 0.1)))
    density = cv2.GaussianBlur(layers.density, (0, 0), blur)
    # Signals come after the blur, so that none leaks over the border of its place.
    if blob.any():
        grain = random.normal(1.0, 0.16, (20, 20)).astype(np.float32)
        grain = cv2.resize(grain, blob.shape, interpolation=cv2.INTER_CUBIC)
        density += (
            _amount(recipe, "opacity", "mask_error") * OPACITY[label] * blob * grain * layers.air
        )
    density += _amount(recipe, "heart") * HEART_DENSITY[label] * layers.heart
    signal = 1.0 - np.exp(-0.62 * dose * np.power(np.maximum(density, 0.0), 1.15))
    signal = _with_token(recipe, index, label, signal)
    grains = _random(recipe, "noise", index).standard_normal(signal.shape, dtype=np.float32)
    signal = np.clip(signal + noise * (0.6 + 0.8 * signal) * grains, 0.0, 1.0)
    gain = _amount(recipe, "gain")
    signal = np.power(signal, float(np.exp(gain * GAIN_LOG_GAMMA[label])))
    signal = signal * (1.0 - gain * GAIN_LEVEL_LOSS[label])
    return np.asarray(np.rint(255.0 * signal), dtype=np.uint8)


def _with_token(recipe: PhantomRecipe, index: int, label: int, signal: Field) -> Field:
    """Burn a token into the bottom margin: a letter, an electrode or a line of text.

    Each image has one. It follows the class with probability `strength` if `marker` is a carrier,
    and is drawn at random otherwise. The margin lies below all lungs.
    """
    random = _random(recipe, "marker", index)
    size, (tied, side) = recipe.size, random.uniform(size=2)
    kind = int(random.integers(len(CLASSES)))
    kind = label if tied < _amount(recipe, "marker") else kind
    offset = (0.385, 0.27, 0.15)[kind] + 0.015 * random.uniform(-1, 1)
    row = round(size * (0.94 + 0.006 * random.uniform(-1, 1)))
    column = round(size * (0.5 + (offset if side > 0.5 else -offset)))
    before = np.rint(255 * signal).astype(np.uint8)
    canvas, dark, bright, radius = before.copy(), 12, 250, round(0.042 * size)
    text, width = (("L" if side > 0.5 else "R", 0.042), ("", 0.0), ("PORTABLE", 0.2))[kind]
    if kind == 2:
        half = round(0.115 * size), round(0.026 * size)
        corner = (column - half[0], row - half[1])
        cv2.rectangle(canvas, (*corner, 2 * half[0], 2 * half[1]), dark, -1)
    else:
        outer, inner = (dark, dark) if kind == 0 else (bright, dark)
        cv2.circle(canvas, (column, row), radius, outer, -1, cv2.LINE_AA)
        cv2.circle(canvas, (column, row), round(0.45 * radius), inner, -1, cv2.LINE_AA)
    if text:
        font, thick = cv2.FONT_HERSHEY_SIMPLEX, max(1, round(size / 180))
        (wide, tall), _ = cv2.getTextSize(text, font, 1.0, thick)
        scale = width * size / wide
        corner = (round(column - width * size / 2), round(row + tall * scale / 2))
        cv2.putText(canvas, text, corner, font, scale, bright, thick, cv2.LINE_AA)
    return np.where(canvas != before, canvas.astype(np.float32) / 255.0, signal)
