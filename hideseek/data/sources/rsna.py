"""RSNA pneumonia detection challenge: two tables and DICOM images in `stage_2_train_images/`.

Its patientId names an image. The images come from NIH ChestX-ray14, where a patient has several, so
patients can be told only where `rsna_to_nih.csv` joins the two.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from hideseek.data.sources.labels import NORMAL, PNEUMONIA
from hideseek.data.sources.listing import (
    FileIndex,
    Listing,
    Matcher,
    column,
    read_rows,
    source_folder,
)
from hideseek.errors import UserError

CLASSES, BOXES = "stage_2_detailed_class_info.csv", "stage_2_train_labels.csv"
HEADERS = {
    "view": "ViewPosition",
    "sex": "PatientSex",
    "age": "PatientAge",
    "pixel_spacing": "PixelSpacing",
}


def read(root: Path, folder: str = "rsna-pneumonia", nih: str = "ChestX-ray14") -> Listing:
    """List the training images of stage 2.

    Args:
        root: the data root.
        folder: of the challenge's files, relative to the root; the root itself is tried as well.
        nih: folder of ChestX-ray14, whose images stand in for those of the challenge where
            `rsna_to_nih.csv` joins them; "" to use the challenge's own alone.

    Returns:
        Every listed image that is on disk: normal where the class is "Normal", pneumonia where an
        opacity is marked, no label for "No Lung Opacity / Not Normal".

    Raises:
        UserError: neither table, no column that it needs, or no image.
    """
    place = source_folder(root, folder, ".", f"{CLASSES}, {BOXES} and stage_2_train_images/")
    if not any((root / place / name).is_file() for name in (CLASSES, BOXES)):
        place = source_folder(root, folder, CLASSES, f"{CLASSES}, {BOXES} and images")
    findings = _findings(root / place)
    patients = {rsna: image.split("_")[0].lstrip("0") for rsna, image in joined(root / place)}
    facts, table = headers(root / place), PurePosixPath(place, CLASSES).as_posix()
    index = FileIndex(root, place)
    matcher = Matcher(index, table)
    stand_ins = FileIndex(root, nih) if nih and (root / nih).is_dir() else None
    images = dict(joined(root / place))
    for name, finding in findings.items():
        row = {
            "label": {"Normal": NORMAL, "Lung Opacity": PNEUMONIA}.get(finding, ""),
            "source": "rsna",
            "patient_id": f"nih_{patients[name]}" if name in patients else f"rsna_{name}",
            "finding": finding,
            **facts.get(name, {}),
        }
        if index.find(name) is None and stand_ins and name in images:
            matcher.add_file(stand_ins.find(images[name]), images[name], row)
        else:
            matcher.add(name, row)
    return matcher.listing(place or ".")


def headers(folder: Path) -> dict[str, dict[str, str]]:
    """Read view, sex, age and pixel spacing from any `*dicom_headers*.csv` beside the images.

    Returns:
        By image id; empty where there is no such table.
    """
    facts: dict[str, dict[str, str]] = {}
    for path in sorted(folder.glob("*dicom_headers*.csv")):
        for row in read_rows(path):
            known = {key: row.get(name, "") for key, name in HEADERS.items()}
            facts.setdefault(row.get("PatientID", ""), known)
    return facts


def joined(folder: Path) -> list[tuple[str, str]]:
    """Read which image of ChestX-ray14 an id stands for, from `rsna_to_nih.csv`."""
    path = folder / "rsna_to_nih.csv"
    rows = read_rows(path) if path.is_file() else []
    if not rows:
        return []
    rsna, nih = (column(rows, (name,), path) for name in ("rsna_patientId", "nih_image"))
    return [(row[rsna], row[nih]) for row in rows]


def _findings(folder: Path) -> dict[str, str]:
    """Read the class of each image; an image with several boxes has several rows."""
    found: dict[str, str] = {}
    if (folder / CLASSES).is_file():
        rows = read_rows(folder / CLASSES)
        image, said = (column(rows, (name,), folder / CLASSES) for name in ("patientId", "class"))
        return {row[image]: row[said] for row in rows}
    if not (folder / BOXES).is_file():
        raise UserError(f"{folder}: expected {CLASSES} or {BOXES}; saw neither")
    rows = read_rows(folder / BOXES)
    image, target = (column(rows, (name,), folder / BOXES) for name in ("patientId", "Target"))
    for row in rows:
        # Without the class table, images without an opacity may be normal or not.
        found[row[image]] = "Lung Opacity" if row[target] == "1" else "No Lung Opacity"
    return found
