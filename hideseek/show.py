"""`hideseek show roi`: any image in every representation, as a picture.

data -> cache -> rows of the images -> image_panel -> FILE.png
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from hideseek.errors import UserError

if TYPE_CHECKING:
    from hideseek.data.cache import Cache

SHOWN = ("roi",)
"""What can be shown: the word after the verb."""

SPLITS = ("test", "val", "train", "")
"""Where an image of a class is looked for, in this order: first where networks are judged."""

AS_TYPED = ("image", "class", "out")
"""Settings whose value is a name or a path, which Hydra would want quoted."""


def overrides(words: Sequence[str]) -> list[str]:
    """Turn the words after `show` into Hydra's overrides.

    Args:
        words: of the command line, for example `roi image=a(1).png`.

    Returns:
        `what=roi` for a first word without "="; names and paths in quotes, unless they are already.
    """
    found = list(words)
    if found and "=" not in found[0] and not found[0].startswith("-"):
        found[0] = f"what='{found[0]}'"
    return [_quoted(word) for word in found]


def _quoted(word: str) -> str:
    key, _, value = word.partition("=")
    if key not in AS_TYPED or value in ("", "null") or _is_hydras(value):
        return word
    # A backslash escapes only where it stands before a quote.
    return f"{key}='" + re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + "\\'" * bool(m[2]), value) + "'"


def _is_hydras(value: str) -> bool:
    """Tell whether a value is a list or stands in quotes already."""
    return len(value) > 1 and value[0] + value[-1] in ("''", '""', "[]")


def show(config: DictConfig) -> None:
    """Draw what a configuration names, and say what it is.

    Args:
        config: composed from `conf/show.yaml`.

    Raises:
        UserError: unknown image, class, representation or fill, an empty mask, or unfit data.
    """
    if config.what not in SHOWN:
        raise UserError(f"'{config.what}' cannot be shown; known is {', '.join(SHOWN)}")
    from hydra.utils import instantiate

    from hideseek.data.cache import Cache
    from hideseek.report.figures import image_panel

    representations, path = chosen(config), _path(config)
    source = instantiate(config.data, _convert_="all")
    cache = Cache(source.ready(config.image_size))
    rows = images(cache, _text(config.image), _text(config["class"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    image_panel(cache, rows, path, representations, config.roi.fill, config.roi.margin, config.seed)
    for row in rows:
        print(description(cache, row))
    print(f"picture: {path}")


def chosen(config: DictConfig) -> tuple[str, ...]:
    """Read the representations, and check them and the fill before any data is looked for.

    Returns:
        Names, each once.

    Raises:
        UserError: naming what is unknown.
    """
    from hideseek.fill import FILLS
    from hideseek.roi import PAPER, REPRESENTATIONS

    given = config.representations
    sets = {"all": tuple(REPRESENTATIONS), "paper": PAPER}
    names = sets.get(given, (given,)) if isinstance(given, str) else tuple(map(str, given))
    unknown = [name for name in names if name not in REPRESENTATIONS]
    if unknown or not names:
        raise UserError(
            f"representations={unknown[0] if unknown else '[]'}: known are all, paper, "
            f"{', '.join(REPRESENTATIONS)}"
        )
    if config.roi.fill not in FILLS:
        raise UserError(f"roi.fill={config.roi.fill}: choose one of {', '.join(FILLS)}")
    return tuple(dict.fromkeys(names))


def images(cache: Cache, image: str | None, label: str | None) -> list[int]:
    """Choose what to show.

    Args:
        cache: to choose from.
        image: its id, or None.
        label: a class, of which the first image with lungs is taken; or None.

    Returns:
        One row; one of each class where nothing is named.

    Raises:
        UserError: there is no such image or class, or its mask is empty.
    """
    from hideseek.report.figures import first_of_class

    if image is not None:
        return [_row(cache, image, label)]
    classes = cache.recipe.classes or ("",)  # images for a segmenter have no class
    if label is not None and label not in classes:
        known = ", ".join(name for name in classes if name) or "none"
        raise UserError(f"class={label}: no such class in {cache.path}; known are {known}")
    names = classes if label is None else (label,)
    found = [first_of_class(cache, name, SPLITS) for name in names]
    rows = [row for row in found if row is not None]
    if not rows:
        about = "no image" if label is None else f"class={label}: no image of it"
        raise UserError(f"{about} has a lung mask in {cache.path}; see its .masks.csv")
    return rows


def _row(cache: Cache, image: str, label: str | None) -> int:
    names = cache.table.get_column("image_id").to_list()
    if image not in names:
        # Part of a name is more common than a slip of the finger.
        close = [name for name in names if image in name][:3] or get_close_matches(image, names)
        hint = f"close to it: {', '.join(close)}" if close else "see its .manifest.csv for the ids"
        raise UserError(f"image={image}: not among the {len(names)} in {cache.path}; {hint}")
    row = names.index(image)
    text = cache.table.row(row, named=True)
    if label is not None and text["label"] != label:
        raise UserError(f"image={image} is of the class {text['label']}; leave out class={label}")
    if text["mask_state"] == "empty":
        raise UserError(
            f"image={image}: its lung mask is empty, so there is nothing to hide or to keep; "
            "give it one in the manifest's column mask"
        )
    return row


def description(cache: Cache, row: int) -> str:
    """Say in a line what an image is: id, class, source, patient, split, and its mask."""
    text = cache.table.row(row, named=True)
    mask = cache[row][1]
    parts = [text["label"], text["source"], text["split"], text["view"]]
    if text["patient_id"]:
        parts.append(f"patient {text['patient_id']}")
    made = {"segmenter": "found by the segmenter", "manifest": "given"}.get(text["mask_from"], "")
    parts.append(f"lungs {mask.mean():.0%} of the square {made}".strip())
    return f"{text['image_id']}: {', '.join(part for part in parts if part)}"


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _path(config: DictConfig) -> Path:
    from matplotlib.figure import Figure

    path = Path(str(config.out))
    known = Figure().canvas.get_supported_filetypes()
    if path.suffix.lstrip(".").lower() not in known:
        raise UserError(f"out={path}: give a file name that ends in .png")
    return path
