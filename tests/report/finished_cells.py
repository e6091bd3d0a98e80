"""Folders of finished cells, written by hand."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

HOSTILE = "<script>alert('$x_1$')</script>"
TOKEN = "hf_Ab3dEfGh1jKlMnOpQrStUvWxYz0123456789"

CONFIG = {
    "selection": "validation",
    "class_weights": [1.0, 1.0, 4.0],
    "sampling": "balanced",
    "epochs": 20,
    "batch_size": 32,
    "learning_rate": 1e-4,
    "schedule": "constant",
    "image_size": 224,
    "normalize": "paper",
    "weights": "/home/jane doe/weights/first.pt",
    "ema_decay": None,
    "task": {"monitor": "val/balanced_accuracy"},
    "model": {
        "channels": 3,
        "net": {"_target_": "hideseek.models.backbones.resnet50", "weights": "imagenet"},
        "optimizer": {"_target_": "torch.optim.Adam"},
    },
    "augment": {"_target_": "hideseek.data.augment.Augmentation", "flip": 0.0},
    "roi": {"fill": "black", "margin": 0.0},
    "data": {"preprocess": "paper", "size": 224, "segmenter": "packaged", "windowing": "minmax",
             "manifest": "/home/jane doe/secret study/list.csv",
             "masks": {"components": 2, "policy": "keep"}, "split_seed": 0, "fold": 0},
    "logger": {"api_key": TOKEN, "entity": "janes-team"},
}  # fmt: skip

PROVENANCE = {
    "device": "cpu (x86_64)",
    "python": "3.11.7",
    "packages": {"torch": "2.14.1", "numpy": "2.4.6"},
    "git": "0123456789ab-dirty",
    "cache": "/home/jane doe/cache/cache-x.h5",
    "seconds": 12.5,
}


def write_finished(
    sweep: Path,
    model: str = "resnet50",
    roi: str = "original",
    seed: int = 0,
    scores: tuple[float | None, ...] = (0.5, 0.9, 0.9, 0.7),
    config: dict | None = None,
    name: str = "",
    **done: object,
) -> Path:
    """Write a cell whose validation scores by epoch are given."""
    folder = sweep / (name or f"{model}-{roi}-s{seed}".replace("/", "_"))
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({**CONFIG, **(config or {})}))
    (folder / "provenance.json").write_text(json.dumps(PROVENANCE))
    lines = ["epoch,seconds,train/loss,val/balanced_accuracy,val/loss"]
    lines += [
        f"{epoch},1.0,{1 - epoch / 10},{'' if score is None else score},{1.1 - epoch / 10}"
        for epoch, score in enumerate(scores)
    ]
    (folder / "history.csv").write_text("\n".join(lines) + "\n")
    best = max((score for score in scores if score is not None), default=None)
    content = {"model": model, "roi": roi, "seed": seed, "task": "classify", "version": "0.1.0",
               "classes": ["normal", "pneumonia", "covid19"], "fill": "black", "margin": 0.0,
               "score": best, "config_hash": "c0ffee00c0ffee00", "recipe_hash": "abc123abc123",
               "manifest_hash": "f" * 64, "segmenter_hash": "0123456789abcdef"}  # fmt: skip
    (folder / "done.json").write_text(json.dumps(content | done))
    return folder


def all_text(chapter) -> str:
    """Everything that a reader of a chapter is shown, pictures' drawings too."""
    parts = [chapter.title, chapter.absent, *chapter.sentences]
    for table in chapter.tables:
        parts += [table.name, table.caption, *table.headings.values()]
        parts += [str(value) for row in table.frame.iter_rows() for value in row]
    for picture in chapter.pictures:
        parts += [picture.name, picture.caption, picture.alternative, picture.svg]
    return "\n".join(parts)
