"""Finished cells with predictions of a known quality, without any training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl

CLASSES = ("normal", "pneumonia", "covid19")


def write_cell(
    sweep: Path,
    roi: str,
    strength: float,
    model: str = "tiny",
    seed: int = 0,
    margin: float = 0.0,
    images: int = 120,
    **done: object,
) -> Path:
    """Write a cell whose scores are noise plus `strength` for the true class."""
    name = f"{model}-{roi}-s{seed}" + (f"-margin{margin:g}" if margin else "")
    folder = sweep / name
    folder.mkdir(parents=True)
    rng = np.random.default_rng([len(roi), ord(roi[-1]), seed, int(margin)])
    labels = np.arange(images) % len(CLASSES)
    scores = rng.normal(size=(images, len(CLASSES))) + strength * np.eye(len(CLASSES))[labels]
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    table = pl.DataFrame(
        {
            "image_id": [f"img{number:04d}" for number in range(images)],
            "patient_id": [f"patient{number // 6}" for number in range(images)],
            "source": [f"hospital{number // 6 % 2}" for number in range(images)],
            "split": ["test"] * images,
            "label": [CLASSES[k] for k in labels],
            "prediction": [CLASSES[k] for k in p.argmax(axis=1)],
            **{f"p_{name}": p[:, k] for k, name in enumerate(CLASSES)},
        }
    )
    table.write_csv(folder / "predictions.csv")
    content = {
        "model": model, "roi": roi, "seed": seed, "task": "classify", "classes": list(CLASSES),
        "fill": "black", "margin": margin, "recipe_hash": "data",
        **({"hidden": 0.5} if roi == "fixed_box_out" else {}),
    }  # fmt: skip
    (folder / "done.json").write_text(json.dumps(content | done))
    return folder
