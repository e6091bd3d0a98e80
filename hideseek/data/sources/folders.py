"""Any tree with a folder per class: `CLASS/**/image`, below `train`, `val`, `test` or not.

One of the readers between raw data and the manifest, for collections that ship no table. The label
is the folder's name and nothing else is known, unless file names carry the patient.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from itertools import islice
from pathlib import Path, PurePosixPath

from hideseek.data.problems import Problem
from hideseek.data.sources.labels import COVID19, NORMAL, PNEUMONIA
from hideseek.data.sources.listing import FileIndex, Listing, listing, source_folder
from hideseek.errors import UserError

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Spellings of the splits, lower case."""

CLASSES = {
    **dict.fromkeys(("normal", "healthy", "nofinding", "nofindings"), NORMAL),
    **dict.fromkeys(("pneumonia", "viralpneumonia", "bacterialpneumonia"), PNEUMONIA),
    **dict.fromkeys(("covid", "covid19", "covid19positive", "sarscov2"), COVID19),
}
"""Spellings of the paper's classes, lower case, without blanks and punctuation."""

MASKS = ("mask", "masks")
LONGEST_NAME = 255
"""Characters; what file systems allow, and a bound on what a pattern is matched against."""


def read(
    root: Path,
    folder: str = "",
    classes: Mapping[str, str] | None = None,
    patient: str | None = None,
    source: str = "folders",
) -> Listing:
    r"""List the images of a folder-per-class tree.

    The layout is `folder/[SPLIT/]CLASS/**/image` or `folder/CLASS/SPLIT/**/image`. Folders
    named `masks` are passed over. A folder that names no class keeps its rows, with its name as
    `finding` and no label.

    Args:
        root: the data root.
        folder: the tree, relative to the root; "" for the root itself.
        classes: folder names to labels, before the usual spellings (`CLASSES`); "" for no label.
        patient: a regular expression with one group that finds the patient in a file's name,
            such as `person(\d+)_`; without it, or where it finds nothing, each image is its own
            patient.
        source: of all images; "parent" takes the folder below the class that holds the image, and
            the tree's own name where there is none.

    Returns:
        Rows in the order of their paths.

    Raises:
        UserError: no such folder, no image in a folder that names a class, or a bad pattern.
    """
    pattern = _compiled(patient)
    place = inside(folder, "folder")
    source_folder(root, "", place or ".", f"a folder {place} of [train|val|test/]CLASS/image")
    rows: list[dict[str, str]] = []
    unknown: Counter[str] = Counter()
    nameless = masks = 0
    tree = PurePosixPath(place).name or root.resolve().name
    prefix = tree if source == "parent" else source  # one name is one patient, wherever it lies
    for path in FileIndex(root, place or ".").files:
        split, finding, below = _parted(PurePosixPath(path).relative_to(place or "."))
        if any(part.lower() in MASKS for part in (finding, *below)):
            masks += 1
            continue
        label = class_of(finding, classes or {})
        if label is None:
            unknown[finding] += 1
        origin = (below[-1] if below else tree) if source == "parent" else source
        match = pattern and _group(pattern, PurePosixPath(path).name)
        nameless += pattern is not None and not match
        row = {"path": path, "label": label or "", "source": origin, "split": split}
        rows.append({**row, "patient_id": f"{prefix}_{match or path}", "finding": finding})
    if len(rows) == unknown.total():
        raise UserError(_nothing(root / place, unknown))
    return listing(rows, _problems(place, unknown, masks, nameless))


def class_of(name: str, classes: Mapping[str, str]) -> str | None:
    """Match a folder's or a table's word to a label: as given, else by the usual spellings.

    Returns:
        The label ("" where `classes` says so), or None for a word that names no class.
    """
    if name in classes:
        return classes[name]
    given = {_bare(key): label for key, label in classes.items()}
    return given.get(_bare(name), CLASSES.get(_bare(name)))


def inside(folder: str, option: str) -> str:
    """Check that an option names something below the data root, and spell it in one way.

    Returns:
        The path with forward slashes, "" for the root itself.

    Raises:
        UserError: it is absolute or climbs out with `..`.
    """
    pure = PurePosixPath(folder)
    if pure.is_absolute() or Path(folder).is_absolute() or ".." in pure.parts or "\0" in folder:
        raise UserError(f"{option}={folder!r} leaves the data root; give a path relative to it")
    return "" if pure == PurePosixPath(".") else pure.as_posix()


def _bare(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.lower())


def _parted(path: PurePosixPath) -> tuple[str, str, tuple[str, ...]]:
    """Split a path below the tree into split, class folder and the folders below that."""
    parts = path.parts[:-1]
    splits = [SPLITS[part.lower()] for part in parts[:2] if part.lower() in SPLITS]
    parts = tuple(part for part in parts[:2] if part.lower() not in SPLITS) + parts[2:]
    split = splits[0] if splits else ""
    return (split, parts[0], parts[1:]) if parts else (split, "", ())


def _compiled(patient: str | None) -> re.Pattern[str] | None:
    if patient is None:
        return None
    try:
        pattern = re.compile(patient)
    except (re.error, OverflowError, RecursionError, TypeError) as error:
        raise UserError(f"patient={patient!r} is no regular expression: {error}") from None
    if pattern.groups != 1:
        raise UserError(f"patient={patient!r} has {pattern.groups} groups; put one round the id")
    return pattern


def _group(pattern: re.Pattern[str], name: str) -> str | None:
    found = pattern.search(name) if len(name) <= LONGEST_NAME else None
    return found.group(1) if found else None


def _nothing(folder: Path, unknown: Counter[str]) -> str:
    expected = f"{folder}: expected images below folders such as normal, pneumonia, covid19"
    if not unknown:
        entries = sorted(folder.iterdir()) if folder.is_dir() else []
        below = ", ".join(entry.name + "/" * entry.is_dir() for entry in entries[:8])
        return f"{expected}; saw no image, only {below or 'an empty folder'}"
    counts = (f"{name or '(no folder)'} ({count})" for name, count in sorted(unknown.items()))
    seen = ", ".join(islice(counts, 8))
    return f"{expected}; saw {seen}; name their labels with classes={{FOLDER: LABEL}}"


def _problems(place: str, unknown: Counter[str], masks: int, nameless: int) -> list[Problem]:
    problems = []
    for name, count in sorted(unknown.items()):
        where = f"{name!r}, which names no class" if name else "no folder of a class"
        reason = f"{count} images in {where}"
        at = f"{place}/{name}".strip("/") or "."
        problems.append(Problem(at, "unknown_class", "warning", reason, "kept without a label"))
    if masks:
        reason = f"{masks} files in folders named masks"
        problems.append(Problem(place or ".", "masks", "info", reason, "not listed as images"))
    if nameless:
        reason = f"the pattern finds no patient in the names of {nameless} images"
        problems.append(
            Problem(place or ".", "no_patient", "warning", reason, "each its own patient")
        )
    return problems
