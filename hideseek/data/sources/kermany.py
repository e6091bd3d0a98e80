"""Kermany et al., paediatric chest X-rays: `chest_xray/{train,test,val}/{NORMAL,PNEUMONIA}`."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from hideseek.data.sources.labels import NORMAL, PNEUMONIA
from hideseek.data.sources.listing import FileIndex, Listing, listing, source_folder
from hideseek.errors import UserError

LABELS = {"NORMAL": NORMAL, "PNEUMONIA": PNEUMONIA}
EXPECTED = "train/NORMAL, train/PNEUMONIA, test/NORMAL ..."


def read(root: Path, folder: str = "chest_xray", use_splits: bool = False) -> Listing:
    """List the collection.

    Args:
        root: the data root.
        folder: of the archive, relative to the root; the root itself is tried as well.
        use_splits: whether the source's own split counts. Its validation set has 16 images, and
            its patients are not known to be apart.

    Returns:
        Every image in a folder of a known class; the finding tells bacteria from viruses.

    Raises:
        UserError: no such folder, or no image.
    """
    place = source_folder(root, folder, "train", EXPECTED)
    rows = []
    for path in FileIndex(root, place).files:
        pure = PurePosixPath(path)
        if len(pure.parts) < 3 or pure.parent.name.upper() not in LABELS:
            continue
        split = pure.parent.parent.name.lower()
        cause = re.search(r"bacteria|virus", pure.name.lower())
        rows.append(
            {
                "path": path,
                "label": LABELS[pure.parent.name.upper()],
                "source": "kermany",
                "patient_id": f"kermany_{_patient(pure.stem)}",
                "split": split if use_splits else "",
                "view": "AP",
                "modality": "X-ray",
                "finding": cause[0] if cause else pure.parent.name.lower(),
                "source_split": split,
                "age_group": "paediatric",
            }
        )
    if not rows:
        raise UserError(f"{root / place}: expected {EXPECTED}; saw no image in such folders")
    return listing(rows)


def _patient(stem: str) -> str:
    """Find the patient in `person12_bacteria_34`, `IM-0128-0001` or `NORMAL2-IM-0128-0001`."""
    found = re.match(r"(person\d+)_|((?:NORMAL2-)?IM-\d+)", stem)
    return (found[1] or found[2]) if found else stem
