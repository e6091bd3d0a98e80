"""Any CSV with a row per image, its columns and labels named by configuration or usual spellings.

One of the readers between raw data and the manifest, for collections that no other reader knows.
The table says which images there are, the disk where they lie.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hideseek.data.problems import Problem, Severity
from hideseek.data.sources.folders import SPLITS, class_of, inside
from hideseek.data.sources.listing import (
    COLUMNS,
    FileIndex,
    Listing,
    column,
    listing,
    read_rows,
    source_folder,
)
from hideseek.errors import UserError

SPELLINGS: dict[str, tuple[str, ...]] = {
    "path": ("path", "image", "file", "filename", "file_path", "imagename", "Image Index"),
    "label": ("label", "class", "finding", "finding labels", "category", "diagnosis"),
    "patient_id": ("patient_id", "patient", "subject_id"),
    "view": ("view", "View Position", "projection"),
    "mask": ("mask",),
    "split": ("split", "dataset_type"),
    "source": ("source",),
    "modality": ("modality",),
    "finding": ("finding",),
}
"""Columns of a listing, and what tables call them; case, blanks and underscores do not matter."""

EXAMPLES = 3


def read(
    root: Path,
    folder: str = "",
    file: str = "labels.csv",
    columns: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    images: str = "",
    source: str = "table",
) -> Listing:
    """List the images that a CSV names and that are on disk.

    A name with folders is matched to the file with the most folders in common, a name without
    extension to the one image that has it. A name that fits several files is left out rather than
    guessed, and so is a second row for a file. Other columns are kept as they are.

    Args:
        root: the data root.
        folder: of the table, relative to the root; "" for the root itself.
        file: the table, relative to `folder`.
        columns: column of a listing (`SPELLINGS`) to column of the table, before the usual ones.
        labels: words of the table to labels, before the usual spellings of the paper's classes;
            "" for no label.
        images: folder that is searched for the images and masks, relative to `folder`.
        source: of the rows where the table names none.

    Returns:
        Rows in the order of the table. `patient_id` is that of the table or else the image's path,
        after the `source` of this reader: one id is one patient, whatever source a row names.

    Raises:
        UserError: no table, a column that it lacks, or none of its images on disk.
    """
    marker = inside(file, "file")
    place = source_folder(root, inside(folder, "folder"), marker, f"a table {marker}")
    path = root / place / marker
    rows = read_rows(path)
    names = _columns(rows, columns or {}, path)
    searched = PurePosixPath(place, inside(images, "images")).as_posix()
    tally = _Tally(PurePosixPath(place, marker).as_posix())
    files = _Files(FileIndex(root, searched))
    listed: dict[str, dict[str, str]] = {}
    for row in rows:
        found = tally.found(files, row[names["path"]])
        if found in listed:
            tally.add("listed_twice", row[names["path"]])
        elif found:
            listed[found] = _row(row, found, names, labels or {}, source, files, tally)
    if not listed:
        named = rows[0][names["path"]]
        raise UserError(
            f"{path}: none of its {len(rows)} images is below {root / searched}, "
            f"which holds {len(files.index.files)}; the first is named {named[:80]!r}"
        )
    return listing(list(listed.values()), tally.problems())


class _Files:
    """Files by the names that tables give them, no name ever resolved by chance."""

    def __init__(self, index: FileIndex) -> None:
        self.index = index
        self._named: dict[str, list[str]] = defaultdict(list)
        for file in index.files:
            self._named[PurePosixPath(file).name].append(file)

    def find(self, value: str) -> list[str]:
        """Return the file that a value names, none, or the several that it may mean."""
        wanted = [part for part in value.replace("\\", "/").split("/") if part not in ("", ".")]
        if not wanted:
            return []
        alike = self._named.get(wanted[-1], [])
        if not alike:
            found = self.index.find(wanted[-1])
            return [found] if found else []
        shared = [_shared(wanted, PurePosixPath(file).parts) for file in alike]
        return [file for file, count in zip(alike, shared, strict=True) if count == max(shared)]


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    count = 0
    for mine, theirs in zip(reversed(one), reversed(other), strict=False):
        if mine != theirs:
            break
        count += 1
    return count


_KINDS: dict[str, tuple[Severity, str, str]] = {
    "listed_absent": ("warning", "named by the table and not on disk", "left out"),
    "ambiguous_name": ("warning", "fit several files; give them with their folders", "left out"),
    "listed_twice": ("info", "name a file of an earlier row", "first kept"),
    "unknown_class": ("warning", "labels that name no class; say so with labels={WORD: LABEL}",
                      "kept without a label"),
    "unknown_split": ("warning", "splits other than train, val, test", "kept without a split"),
    "absent_mask": ("warning", "masks named by the table and not found", "kept without a mask"),
}  # fmt: skip


@dataclass
class _Tally:
    """What was met, row by row, so that a table of 100,000 rows needs a line for each kind."""

    file: str

    def __post_init__(self) -> None:
        self._met: dict[str, Counter[str]] = defaultdict(Counter)

    def add(self, kind: str, value: str) -> None:
        self._met[kind][value] += 1

    def found(self, files: _Files, value: str) -> str:
        """Return the path of a row's image, "" after noting why there is none."""
        alike = files.find(value)
        if len(alike) == 1:
            return alike[0]
        self.add("ambiguous_name" if alike else "listed_absent", value)
        return ""

    def problems(self) -> list[Problem]:
        problems = []
        for kind, (severity, what, action) in _KINDS.items():
            met = self._met.get(kind)
            if met:
                first = ", ".join(repr(value[:80]) for value, _ in met.most_common(EXAMPLES))
                reason = f"{met.total()} rows: {what} (e.g. {first})"
                problems.append(Problem(self.file, kind, severity, reason, action))
        return problems


def _columns(rows: list[dict[str, str]], given: Mapping[str, str], path: Path) -> dict[str, str]:
    """Choose the table's column for each of a listing, those that must be there or fail."""
    strange = sorted(set(given) - set(SPELLINGS))
    if strange:
        raise UserError(f"columns: '{strange[0]}' is not one of {', '.join(SPELLINGS)}")
    chosen = {name: column(rows, (wanted,), path) for name, wanted in given.items()}
    for name, spellings in SPELLINGS.items():
        if name not in chosen:
            with suppress(UserError):
                chosen[name] = column(rows, spellings, path)
    if "path" not in chosen or not chosen.keys() & {"label", "mask"}:
        missing = "label" if "path" in chosen else "path"
        there = " ".join(", ".join(rows[0]).split()) if rows else "no rows"
        raise UserError(
            f"{path}: no column for '{missing}'; it has {there}; give columns={{{missing}: NAME}}"
        )
    return chosen


def _row(
    row: Mapping[str, str],
    path: str,
    names: Mapping[str, str],
    labels: Mapping[str, str],
    source: str,
    files: _Files,
    tally: _Tally,
) -> dict[str, str]:
    """Translate one row, noting what it says that means nothing here."""
    value = {name: row[names[name]] if name in names else "" for name in SPELLINGS}
    label = class_of(value["label"], labels)
    if label is None and value["label"]:
        tally.add("unknown_class", value["label"])
    split = SPLITS.get(value["split"].lower(), "")
    if value["split"] and not split:
        tally.add("unknown_split", value["split"])
    masks = files.find(value["mask"])
    if value["mask"] and len(masks) != 1:
        tally.add("absent_mask", value["mask"])
    rest = {name: text for name, text in row.items() if name not in {*COLUMNS, *names.values()}}
    return {
        **{"path": path, "label": label or "", "source": value["source"] or source, "split": split},
        **{"patient_id": f"{source}_{value['patient_id'] or path}", "view": value["view"]},
        **{"modality": value["modality"], "mask": masks[0] if len(masks) == 1 else ""},
        **{"finding": value["finding"] or value["label"], **rest},
    }
