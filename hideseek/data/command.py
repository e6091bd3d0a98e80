"""The command that builds a missing cache, for error messages."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING

from hideseek.data import phantom
from hideseek.data.mask_rules import MaskRules

if TYPE_CHECKING:
    from hideseek.data.source import ManifestSource


def command(source: ManifestSource, image_size: int) -> str:
    """Spell what differs from `conf/data`.

    Args:
        source: whose cache is missing.
        image_size: least side of its squares.

    Returns:
        A line for the shell.
    """
    kind = "manifest" if source.task == "classify" else "lungs"
    usual: dict[str, object] = {
        **dict.fromkeys(() if source.origin else ("manifest", "root")),
        **{"splits": "auto", "name": kind, "segmenter": "packaged", "split_seed": 0},
        "preprocess": "paper" if kind == "manifest" else "letterbox",
        "size": 224 if kind == "manifest" else 256,
        "classes": f"[{','.join(phantom.CLASSES)}]" if kind == "manifest" else "[]",
        **{"windowing": "minmax", "folds": None, "fold": 0, "duplicates": 0.985},
    }
    given = {key: getattr(source, key) for key in usual}
    given["size"] = max(source.size, image_size)
    given["classes"] = f"[{','.join(source.classes)}]"
    changed = [f"data.{key}={given[key]}" for key in usual if given[key] != usual[key]]
    usual_masks = asdict(MaskRules())
    masks = asdict(source.masks).items()
    changed += [f"data.masks.{key}={value}" for key, value in masks if value != usual_masks[key]]
    words = (word.replace("=None", "=null") for word in changed)
    return shlex.join(["hideseek", "prepare", *(source.origin or [f"data={kind}"]), *words])
