"""NIH ChestX-ray14: `Data_Entry_2017*.csv`, and `images/` or `images_001/images` and so on."""

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

CONFLICTS = "nih_rsna_label_conflicts.csv"


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
        where they contain "Pneumonia", no label otherwise.

    Raises:
        UserError: no table, no column that it needs, or no image.
    """
    if conflicts not in ("exclude", "ignore"):
        raise UserError(f"nih: conflicts={conflicts} is unknown; give exclude or ignore")
    place = source_folder(root, folder, ".", "Data_Entry_2017*.csv and images/")
    tables = sorted((root / place).glob("Data_Entry_2017*.csv"))
    if not tables:
        place = source_folder(root, folder, "Data_Entry_2017_v2020.csv",
                              "Data_Entry_2017*.csv and images/")  # fmt: skip
    table = PurePosixPath(place, tables[0].name).as_posix()
    rows = read_rows(root / table)
    name, labels, patient = (
        column(rows, (each,), root / table)
        for each in ("Image Index", "Finding Labels", "Patient ID")
    )
    known = {
        **{"view": "View Position", "age": "Patient Age", "sex": "Patient Gender"},
        **{"follow_up": "Follow-up #", "pixel_spacing": "OriginalImagePixelSpacing[x"},
    }
    spelled = {key: found for key, each in known.items() if (found := optional(rows, each))}
    doubted = _doubted(root, place) if conflicts == "exclude" else {}
    matcher = Matcher(FileIndex(root, place), table)
    for row in rows:
        label = _label(row[labels])
        if row[name] in doubted and label:
            reason = f"'{row[labels]}', but the RSNA challenge says '{doubted[row[name]]}'"
            matcher.problems.append(
                Problem(row[name], "label_doubted", "warning", reason, "label left out")
            )
            label = ""
        matcher.add(
            row[name],
            {
                "label": label,
                "source": "nih",
                "patient_id": f"nih_{row[patient]}",
                "finding": row[labels],
                **{key: row[column_name] for key, column_name in spelled.items()},
            },
        )
    return matcher.listing(place or ".")


def _label(findings: str) -> str:
    if findings == "No Finding":
        return NORMAL
    return PNEUMONIA if "Pneumonia" in findings.split("|") else ""


def _doubted(root: Path, place: str) -> dict[str, str]:
    path = root / place / CONFLICTS
    if not path.is_file():
        return {}
    rows = read_rows(path)
    image, said = (column(rows, (name,), path) for name in ("nih_image", "rsna_class"))
    return {row[image]: row[said] for row in rows}
