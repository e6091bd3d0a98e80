"""NIH ChestX-ray14: `Data_Entry_2017*.csv`, and `images/` or `images_001/images` and so on.

One of the readers between raw data and the manifest. Labels were mined from reports; where the
radiologists of the RSNA challenge say the opposite, they can be taken away here.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from hideseek.data.problems import Problem
from hideseek.data.sources.labels import NORMAL, PNEUMONIA
from hideseek.data.sources.listing import (
    FileIndex,
    Listing,
    Matcher,
    column,
    optional,
    read_rows,
    source_folder,
)
from hideseek.errors import UserError

NEWEST = "Data_Entry_2017_v2020.csv"
EXPECTED = "Data_Entry_2017*.csv and images/"
CONFLICTS = "nih_rsna_label_conflicts.csv"
FACTS = {
    "view": ("View Position",),
    "age": ("Patient Age",),
    "sex": ("Patient Gender", "Patient Sex"),
    "follow_up": ("Follow-up #",),
    "pixel_spacing": ("OriginalImagePixelSpacing[x",),
}
"""Columns by name of ours. "...PixelSpacing[x,y]" stands unquoted in the header, so it is two."""


def read(root: Path, folder: str = "ChestX-ray14", conflicts: str = "exclude") -> Listing:
    """List the collection.

    Args:
        root: the data root.
        folder: of the archive, relative to the root; the root itself is tried as well.
        conflicts: "exclude" takes the label from images whose label the radiologists of the RSNA
            challenge contradict (listed in `nih_rsna_label_conflicts.csv`, where it is there);
            "ignore" keeps it.

    Returns:
        Every listed image that is on disk: normal where the labels are "No Finding", pneumonia
        where they contain "Pneumonia", no label otherwise. Of several tables the newest counts.

    Raises:
        UserError: no table, no column that it needs, or no image.
    """
    if conflicts not in ("exclude", "ignore"):
        raise UserError(f"nih: conflicts={conflicts} is unknown; give exclude or ignore")
    table, older = _tables(root, folder)
    rows = read_rows(root / table)
    name, labels, patient = (
        column(rows, (each,), root / table)
        for each in ("Image Index", "Finding Labels", "Patient ID")
    )
    spelled = {fact: found for fact, names in FACTS.items() if (found := _first(rows, names))}
    doubted = _doubted(root / table.parent / CONFLICTS) if conflicts == "exclude" else {}
    index = FileIndex(root, table.parent.as_posix())
    matcher = Matcher(index, table.as_posix())
    matcher.problems += [
        Problem(each, "older_table", "info", f"{table.name} is newer", "left out") for each in older
    ]
    for row in rows:
        label, path = _label(row[labels]), index.find(row[name])
        if path and label and row[name] in doubted:
            reason = f"'{row[labels]}', but the RSNA challenge says '{doubted[row[name]]}'"
            matcher.problems.append(
                Problem(path, "label_conflict", "warning", reason, "kept without a label")
            )
            label = ""
        known = {
            "label": label,
            "source": "nih",
            "patient_id": f"nih_{(row[patient] or row[name].partition('_')[0]).lstrip('0')}",
            "finding": row[labels],
            **{fact: row[column_name] for fact, column_name in spelled.items()},
        }
        matcher.add_file(path, row[name], known)
    return matcher.listing(table.parent.as_posix())


def _tables(root: Path, folder: str) -> tuple[PurePosixPath, list[str]]:
    """Find the newest table ("..._v2020" sorts last), and the others beside it."""
    for place in dict.fromkeys((source_folder(root, folder, ".", EXPECTED), "")):
        found = sorted((root / place).glob("Data_Entry_2017*.csv"))
        if found:
            *older, newest = [PurePosixPath(place, path.name) for path in found]
            return newest, [path.as_posix() for path in older]
    # Neither has one, and this says what is there instead.
    return PurePosixPath(source_folder(root, folder, NEWEST, EXPECTED), NEWEST), []


def _first(rows: list[dict[str, str]], names: tuple[str, ...]) -> str:
    return next((found for name in names if (found := optional(rows, name))), "")


def _label(findings: str) -> str:
    if findings == "No Finding":
        return NORMAL
    return PNEUMONIA if "Pneumonia" in findings.split("|") else ""


def _doubted(path: Path) -> dict[str, str]:
    rows = read_rows(path) if path.is_file() else []
    if not rows:
        return {}
    image, said = (column(rows, (name,), path) for name in ("nih_image", "rsna_class"))
    return {row[image]: row[said] for row in rows}
