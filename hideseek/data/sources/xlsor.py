"""XLSor's lung segmentation set (rsummers11/CADLab), on which the paper trains its U-Net.

One of the readers between raw data and the manifest. Six generated images `TAG0.png` to `TAG5.png`
share the mask `TAGmask*.png`; the NIH test set has `images/X.png` with `masks/X_mask.png`.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from hideseek.data.problems import Problem
from hideseek.data.sources.listing import FileIndex, Listing, listing, source_folder
from hideseek.errors import UserError

EXPECTED = "TAG0.png to TAG5.png beside TAGmask*.png, or images/X.png with masks/X_mask.png"
SHARED = re.compile(r"(?P<tag>.+?)mask", re.IGNORECASE)


def read(root: Path, folder: str = "Lung_Segmentation_XLSor") -> Listing:
    """List pairs for the training of a segmenter.

    Args:
        root: the data root.
        folder: relative to the root; the root itself is tried as well.

    Returns:
        Images that have a mask: the generated ones in the split "train", six of one patient, and
        the NIH pairs in "test", of the patients that the reader of ChestX-ray14 names.

    Raises:
        UserError: no pair, or `folder` leaves the root.
    """
    place = source_folder(root, folder, ".", EXPECTED)
    files = [PurePosixPath(file) for file in FileIndex(root, place, (".png",)).files]
    there = set(files)
    shared: dict[PurePosixPath, list[PurePosixPath]] = {}
    for file in files:
        found = SHARED.match(file.stem)
        if found and file.parent.name.lower() != "masks":
            shared.setdefault(file.parent / found["tag"], []).append(file)
    rows, problems = [], []
    for file in files:
        if "mask" in file.stem.lower() or file.parent.name.lower() == "masks":
            continue
        tag = file.parent / file.stem[:-1]
        masks = shared.get(tag, []) if file.stem[-1] in "012345" else []
        pair = file.parent.parent / "masks" / f"{file.stem}_mask.png"
        if len(masks) == 1:
            known = {"source": "xlsor", "split": "train", "patient_id": f"xlsor_{tag.name}"}
        elif pair in there:
            patient = file.stem.partition("_")[0].lstrip("0")
            known = {"source": "nih", "split": "test", "patient_id": f"nih_{patient}"}
        else:
            problems.append(_unpaired(file, masks))
            continue
        mask = masks[0] if len(masks) == 1 else pair
        known |= {"path": file.as_posix(), "mask": mask.as_posix(), "modality": "X-ray"}
        rows.append(known)
    if not rows:
        raise UserError(f"{root / place}: expected {EXPECTED}; saw {len(files)} PNG files")
    return listing(rows, problems)


def _unpaired(file: PurePosixPath, masks: list[PurePosixPath]) -> Problem:
    if masks:
        reason = f"{len(masks)} masks, '{masks[0].name}' first"
        return Problem(file.as_posix(), "several_masks", "warning", reason, "left out")
    return Problem(file.as_posix(), "no_mask", "info", "no mask beside it", "left out")
