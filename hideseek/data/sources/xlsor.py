"""XLSor's lung segmentation set (rsummers11/CADLab), on which the paper trains its U-Net.

Six generated images `TAG0.png` to `TAG5.png` share the mask `TAGmask*.png`; the NIH test set has
`images/X.png` with `masks/X_mask.png`.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from hideseek.data.problems import Problem
from hideseek.data.sources.listing import FileIndex, Listing, listing
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
        the NIH pairs in "test".

    Raises:
        UserError: no pair.
    """
    place = folder if (root / folder).is_dir() else ""
    files = [PurePosixPath(file) for file in FileIndex(root, place, (".png",)).files]
    shared: dict[PurePosixPath, str] = {}
    for file in files:
        found = SHARED.match(file.stem)
        if found and file.parent.name.lower() != "masks":
            shared[file.parent / found["tag"]] = file.as_posix()
    rows, lonely = [], []
    for file in files:
        if "mask" in file.stem.lower() or file.parent.name.lower() == "masks":
            continue
        tag = file.parent / file.stem[:-1]
        pair = file.parent.parent / "masks" / f"{file.stem}_mask.png"
        if file.stem[-1] in "012345" and tag in shared:
            known = {
                "source": "xlsor",
                "split": "train",
                "mask": shared[tag],
                "patient_id": tag.name,
            }
        elif (root / pair).is_file():
            known = {"source": "nih", "split": "test", "mask": pair.as_posix(),
                     "patient_id": file.stem.split("_")[0]}  # fmt: skip
        else:
            lonely.append(file.as_posix())
            continue
        known["patient_id"] = f"{known['source']}_{known['patient_id']}"
        rows.append({"path": file.as_posix(), "modality": "X-ray", **known})
    if not rows:
        raise UserError(f"{root / place}: expected {EXPECTED}; saw {len(files)} PNG files")
    problems = [
        Problem(file, "no_mask", "info", "no mask beside it", "left out") for file in lonely
    ]
    return listing(rows, problems)
