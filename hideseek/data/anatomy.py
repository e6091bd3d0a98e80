"""Drawing of a synthetic chest: parameters of a patient to smooth attenuation fields.

`phantom.py` adds class, detector and files. All lengths are shares of the
image side, `x` runs to the right from the spine (the patient's left) and `y` down from the top.
Shapes follow the frontal radiograph as textbooks describe it and are tuned by eye against
ChestX-ray14; they claim no anatomical accuracy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Anatomy:
    """One patient in one pose; lengths are shares of the image side.

    Attributes:
        torso: half-width of the chest at the armpits.
        thorax: half-width of the rib cage.
        apex: `y` of the lung tips.
        base: `y` of the outer corners of the lungs, above the diaphragm.
        lung: distance of the outer lung border from the spine.
        mediastinum: half-width of what lies between the lungs.
        heart: reach of the heart to the patient's left.
        dome: height of the diaphragm's domes (right, left).
        clavicle: rise of the collar bones from the breastbone outwards.
        rib_spacing: between ribs.
        rib_drop: how far a rib falls on its way round the chest.
        rib_phase: height of the first rib, in spacings.
        thickness: attenuation of the soft tissue, 1 for an average patient.
        breast: attenuation of the breasts, 0 for none.
        bubble: air in the stomach, 0 for none.
        arms: `x` of the upper arms' axis.
        tilt: rotation in the image plane, radians.
        shift: of the spine from the middle, (x, y).
    """

    torso: float
    thorax: float
    apex: float
    base: float
    lung: float
    mediastinum: float
    heart: float
    dome: tuple[float, float]
    clavicle: float
    rib_spacing: float
    rib_drop: float
    rib_phase: float
    thickness: float
    breast: float
    bubble: float
    arms: float
    tilt: float
    shift: tuple[float, float]


@dataclass(frozen=True)
class Layers:
    """What `render` returns; all [S, S].

    Attributes:
        density: attenuation along the beam, about 0 (air) to 3 (abdomen).
        air: share of air in the beam, 0 outside the lungs, 1 deep inside.
        heart: 0 .. 1, the heart's shadow, 0 in the lungs.
        lungs: True in the lungs, the exact truth.
    """

    density: Field
    air: Field
    heart: Field
    lungs: npt.NDArray[np.bool_]


def sample(patient: np.random.Generator, pose: np.random.Generator, view: str) -> Anatomy:
    """Draw a patient and how they stand.

    Args:
        patient: stream of the patient; equal streams give the same body.
        pose: stream of the image: breath, tilt and position.
        view: "PA" or "AP"; the heart looks larger and breath is shallower in AP.

    Returns:
        The anatomy. Lungs stay within 0.15 .. 0.85 of the width and above 0.87 of the height.
    """
    supine = 1.0 if view == "AP" else 0.0
    # Python floats: NumPy's own would turn every float32 field below into float64.
    body = np.clip(patient.normal(0.0, 0.55, 13), -1.0, 1.0).tolist()
    now = np.clip(pose.normal(0.0, 0.5, 5), -1.0, 1.0).tolist()
    lung = 0.338 + 0.020 * body[0]
    return Anatomy(
        torso=lung + 0.095 + 0.045 * body[1],
        thorax=lung + 0.017,
        apex=0.140 + 0.015 * body[2],
        base=0.800 + 0.022 * body[3] + 0.018 * now[0] - 0.020 * supine,
        lung=lung,
        mediastinum=0.056 + 0.009 * body[4] + 0.004 * supine,
        heart=0.165 + 0.032 * body[5] + 0.016 * supine,
        dome=(0.105 + 0.025 * body[6], 0.080 + 0.025 * body[7]),
        clavicle=0.045 + 0.025 * body[8] + 0.015 * now[1],
        rib_spacing=0.080 + 0.007 * body[9],
        rib_drop=0.115 + 0.025 * body[10],
        rib_phase=float(patient.uniform()),
        thickness=1.0 + 0.09 * body[11],
        breast=float(max(0.0, patient.uniform(-0.35, 0.35))),
        bubble=float(max(0.0, patient.uniform(-0.6, 0.6))),
        arms=lung + 0.125 + 0.035 * body[12],
        tilt=0.035 * now[2],
        shift=(0.010 * now[3], 0.012 * now[4]),
    )


def render(anatomy: Anatomy, size: int, texture: np.random.Generator, lung_scale: float) -> Layers:
    """Draw the chest.

    Args:
        anatomy: from `sample`.
        size: side of the square in pixels.
        texture: stream of the lung vessels and of the outlines' irregularity.
        lung_scale: 1 for the patient's lungs, less for smaller ones in the same chest.

    Returns:
        Smooth fields and the lung mask.
    """
    x, y = _grid(size)
    border, air = _lungs(anatomy, x, y, lung_scale)
    heart = _heart(anatomy, x, y)
    density = _soft_tissue(anatomy, x, y) + _bones(anatomy, x, y)
    density += 0.25 * heart + _abdomen(anatomy, x, y) - anatomy.thickness * 0.92 * air
    density += 0.46 * air * _vessels(anatomy, size, texture)
    moved = cv2.remap(
        np.dstack([density, air, heart, border]).astype(np.float32),
        *_pose(anatomy, size, texture),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    lungs = moved[..., 3] > 0
    return Layers(
        np.maximum(moved[..., 0], 0.0), moved[..., 1] * lungs, moved[..., 2] * ~lungs, lungs
    )


def disease(lungs: npt.NDArray[np.bool_], kind: str, random: np.random.Generator) -> Field:
    """Place disease in the lungs, ragged and smooth.

    Args:
        lungs: bool [S, S], two lungs.
        kind: "lobar", one large focus in one lung, or "peripheral", patches at both outer edges.
        random: stream of place and outline.

    Returns:
        [S, S], 0 .. 1, 0 outside the lungs.
    """
    size = len(lungs)
    _, _, stats, _ = cv2.connectedComponentsWithStats(lungs.astype(np.uint8))
    largest = stats[1:][np.argsort(stats[1:, cv2.CC_STAT_AREA])[-2:]]
    boxes = largest[np.argsort(largest[:, cv2.CC_STAT_LEFT]), : cv2.CC_STAT_AREA].tolist()
    spots: list[tuple[float, float, float, float]] = []
    if kind == "lobar":
        left, top, wide, tall = boxes[random.integers(len(boxes))]
        row, column, reach = random.uniform((0.35, 0.40, 0.25), (0.72, 0.60, 0.33))
        spots = [(top + tall * row, left + wide * column, tall * reach, 0.66 * wide)]
    else:
        for side, (left, top, wide, tall) in enumerate(boxes):
            for k in range(4):
                row, inset, reach = random.uniform((0.0, 0.08, 0.060), (1.0, 0.28, 0.090))
                column = left + wide * (inset if side == 0 else 1.0 - inset)
                row = top + tall * (0.22 + 0.17 * (k + row))
                spots.append((row, column, 1.25 * size * reach, size * reach))
    rows, columns = np.ogrid[:size, :size]
    ragged = np.clip(random.normal(0.0, 0.25, (14, 14)), -0.35, 0.35).astype(np.float32)
    ragged = cv2.resize(ragged, (size, size), interpolation=cv2.INTER_CUBIC)
    field = np.zeros((size, size), dtype=np.float32)
    for row, column, tall, wide in spots:
        far = np.square((rows - row) / tall) + np.square((columns - column) / wide)
        field = np.maximum(field, _step(1.0 - far.astype(np.float32) - ragged, 0.85))
    return np.asarray(field * lungs, dtype=np.float32)


def _grid(size: int) -> tuple[Field, Field]:
    """Return x [1, S] and y [S, 1] of the pixels' centres."""
    centre = np.asarray((np.arange(size) + 0.5) / size, dtype=np.float32)
    return centre[None, :] - np.float32(0.5), centre[:, None]


def _step(value: npt.NDArray[np.floating[Any]], width: float) -> Field:
    """Rise smoothly from 0 at 0 to 1 at `width`."""
    share = np.clip(value / width, 0.0, 1.0)
    return np.asarray(share * share * (3.0 - 2.0 * share), dtype=np.float32)


def _bump(value: npt.NDArray[np.floating[Any]], width: float) -> Field:
    return np.asarray(np.exp(-np.square(value / width)), dtype=np.float32)


def _lungs(a: Anatomy, x: Field, y: Field, scale: float) -> tuple[Field, Field]:
    """Return the distance inside the lung border (negative outside) and the share of air."""
    out, base = a.lung * scale**0.5, a.apex + (a.base - a.apex) * scale
    depth = (y - a.apex) / (base - a.apex)
    middle = 0.5 * a.lung + 0.35 * a.mediastinum
    rise = np.power(1.0 - np.power(1.0 - np.clip(depth / 0.70, 0, 1), 2.6), 0.55)
    half = (out - middle) * rise
    waist = a.mediastinum * (0.86 + 0.14 * np.cos(7.0 * (y - a.apex)))
    knob = 0.022 * _bump(y - a.apex - 0.17, 0.045)
    bulge = a.heart * _step(y - 0.40, 0.33) * (1.0 - 0.25 * _step(y - 0.72, 0.15))
    inner_left = np.maximum(waist + knob, bulge)
    inner_right = np.maximum(waist, 0.62 * a.heart * _step(y - 0.44, 0.25))
    inner = np.where(x > 0, inner_left, inner_right)
    inner = np.maximum(inner, middle - half * 1.15)
    height = np.where(x > 0, a.dome[1], a.dome[0]).astype(np.float32)
    arch = 1.0 - np.square((np.abs(x) - 0.46 * out) / (0.54 * out))
    floor = base - height * np.clip(arch, -0.1, 1.0) * scale
    lateral, medial, below = middle + half - np.abs(x), np.abs(x) - inner, floor - y
    border = np.minimum(np.minimum(lateral, medial), below)
    border = np.where(depth > 0, border, -1.0)
    air = np.sqrt(_step(lateral, 0.055)) * _step(medial, 0.030) * _step(below, 0.030)
    air = air * (0.80 + 0.20 * _step(depth, 0.5))
    return border.astype(np.float32), (air * (border > 0)).astype(np.float32)


def _heart(a: Anatomy, x: Field, y: Field) -> Field:
    across = (x - 0.24 * a.heart) / (0.90 * a.heart)
    along = (y - 0.635 - 0.25 * (x - 0.03)) / 0.165
    return _step(1.0 - np.square(across) - np.square(along), 0.85)


def _soft_tissue(a: Anatomy, x: Field, y: Field) -> Field:
    """Neck, shoulders, trunk, arms and breasts."""
    shoulders = _step(y - 0.025 - 0.12 * np.abs(x), 0.12)
    waist = 1.0 - 0.07 * _step(y - 0.45, 0.4)
    width = 0.105 + (a.torso * waist - 0.105) * shoulders
    inside = np.sqrt(np.clip(1.0 - np.square(x / width), 0.0, 1.0))
    trunk = (1.05 + 0.35 * _step(y - 0.1, 0.5)) * np.power(inside, 0.7)
    axis = a.arms + 0.02 + 0.30 * (y - 0.2)
    arm = np.sqrt(np.clip(1.0 - np.square((np.abs(x) - axis) / 0.095), 0.0, 1.0))
    arm = 0.80 * arm * _step(y - 0.045 - 0.14 * np.abs(x), 0.12)
    fold = np.square((np.abs(x) - 0.21) / 0.16) + np.square((y - 0.60) / 0.17)
    breast = a.breast * _step(1.0 - fold, 0.7) * _step(y - 0.42, 0.25)
    bronchus = 0.22 * _bump(x + 0.004, 0.018) * (1.0 - _step(y - 0.27, 0.10))
    middle = 0.55 * _bump(x, a.mediastinum * 1.35) * _step(y - 0.10, 0.2)
    tissue = np.maximum(trunk, arm) + breast + middle - bronchus
    return np.asarray(a.thickness * tissue, dtype=np.float32)


def _abdomen(a: Anatomy, x: Field, y: Field) -> Field:
    base = a.base - 0.055
    bulk = 0.75 * _step(y - base + 0.02, 0.16) * _step(a.torso - 0.02 - np.abs(x), 0.15)
    across, along = (x - 0.155) / 0.075, (y - a.base - 0.015) / 0.035
    return np.asarray(bulk - a.bubble * _step(1.0 - across**2 - along**2, 0.6), dtype=np.float32)


def _bones(a: Anatomy, x: Field, y: Field) -> Field:
    """Ribs (the near and the far half of each), collar bones, spine, shoulder joints."""
    around = np.abs(x) / a.thorax
    first = a.apex - 0.035 + a.rib_phase * a.rib_spacing
    back = y - first - a.rib_drop * np.power(around, 2.3) + 0.045 * np.sin(np.pi * around)
    front = y - first - a.rib_drop - 0.20 * np.power(np.clip(1.0 - around, 0, 1), 0.8)
    cage = _step(1.03 - around, 0.10) * _step(y - a.apex + 0.05, 0.06)
    cage = cage * (1.0 - _step(y - a.base - 0.02, 0.10))
    ribs = 0.22 * _rib(back / a.rib_spacing) * _step(around, 0.35)
    fade = 0.13 * _step(1.08 - around, 0.35)
    ribs = ribs + fade * _rib(front / a.rib_spacing + 0.1) * _step(around - 0.38, 0.25)
    wall = 0.13 * _bump(around - 0.99, 0.05)
    rise = a.clavicle * np.sin(3.4 * np.clip(np.abs(x), 0, 0.42)) + 0.012 * np.sin(18.0 * np.abs(x))
    thick = 0.0125 + 0.007 * _bump(np.abs(x) - 0.04, 0.03)
    ends = _step(np.abs(x) - 0.025, 0.015) * (1.0 - _step(np.abs(x) - a.thorax - 0.04, 0.03))
    clavicle = 0.42 * _tube((y - a.apex - 0.075 + rise) / thick) * ends
    vertebrae = 0.85 + 0.15 * np.cos(2 * np.pi * y / (0.72 * a.rib_spacing))
    spine = 0.36 * _bump(x, 0.042) * vertebrae
    joint = np.hypot(np.abs(x) - a.arms + 0.02, y - a.apex - 0.045)
    head = 0.38 * _step(0.058 - joint, 0.035)
    shaft = 0.45 * _tube((np.abs(x) - a.arms - 0.02 - 0.30 * (y - 0.2)) / 0.026)
    bones = (ribs + wall) * cage + clavicle + spine + head
    return np.asarray(bones + shaft * _step(y - a.apex - 0.06, 0.04), dtype=np.float32)


def _rib(phase: npt.NDArray[np.floating[Any]]) -> Field:
    """Draw one bone per unit of `phase`, brighter at its two edges."""
    wave = np.cos(2 * np.pi * phase)
    return np.asarray(0.65 * _step(wave + 0.15, 0.5) + 0.5 * _bump(wave - 0.12, 0.28))


def _tube(across: npt.NDArray[np.floating[Any]]) -> Field:
    """Cross-section of a long bone: `across` is -1 .. 1 inside."""
    inside = _step(1.0 - np.abs(across), 0.45)
    return np.asarray(inside * (0.62 + 0.38 * np.square(np.clip(across, -1, 1))))


def _vessels(a: Anatomy, size: int, texture: np.random.Generator) -> Field:
    """Draw branches that leave the two hila and taper towards the lung's edge."""
    canvas = np.zeros((size, size), dtype=np.uint8)
    unit = size / 256
    for side in (-1.0, 1.0):
        for _ in range(18):
            start = np.array([side * (a.mediastinum + 0.03), 0.44 + texture.normal(0, 0.035)])
            angle = texture.uniform(-1.25, 1.35)
            bends = angle + np.cumsum(texture.normal(0, 0.22, 6))
            steps = np.stack([side * np.cos(bends), np.sin(bends)], axis=1)
            points = start + np.cumsum(steps * texture.uniform(0.025, 0.048), axis=0)
            points = np.vstack([start, points])
            for i, (p, q) in enumerate(pairwise(points)):
                ends = [tuple(int(v * size * 16) for v in (p[0] + 0.5, p[1])) for p in (p, q)]
                wide = max(1, round(unit * (3.6 - 0.6 * i)))
                cv2.line(canvas, ends[0], ends[1], 250 - 33 * i, wide, cv2.LINE_AA, shift=4)
    soft = cv2.GaussianBlur(canvas, (0, 0), 1.2 * unit)
    return np.asarray(soft, dtype=np.float32) / 255.0


def _pose(a: Anatomy, size: int, texture: np.random.Generator) -> tuple[Field, Field]:
    """Return where each pixel comes from: tilt, shift and a smooth wobble."""
    x, y = _grid(size)
    x, y = x - a.shift[0], y - 0.5 - a.shift[1]
    cos, sin = math.cos(a.tilt), math.sin(a.tilt)
    coarse = texture.normal(0.0, 0.005, (2, 6, 6)).astype(np.float32)
    wobble = [cv2.resize(part, (size, size), interpolation=cv2.INTER_CUBIC) for part in coarse]
    column = (cos * x + sin * y + wobble[0] + 0.5) * size - 0.5
    row = (cos * y - sin * x + wobble[1] + 0.5) * size - 0.5
    return column.astype(np.float32), row.astype(np.float32)
