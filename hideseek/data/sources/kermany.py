"""Kermany et al., paediatric chest X-rays: `chest_xray/{train,test,val}/{NORMAL,PNEUMONIA}`.

One of the readers between raw data and the manifest. All patients are children, which `age_group`
says of every row: where only this source gives a class, age tells the class.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from hideseek.data.problems import Problem
from hideseek.data.sources.labels import NORMAL, PNEUMONIA
from hideseek.data.sources.listing import FileIndex, Listing, listing, source_folder
from hideseek.errors import UserError

LABELS = {"NORMAL": NORMAL, "PNEUMONIA": PNEUMONIA}
SPLITS = ("train", "test", "val")
EXPECTED = "train/NORMAL, train/PNEUMONIA, test/NORMAL ..."


def read(root: Path, folder: str = "chest_xray", use_splits: bool = False) -> Listing:
    """List the collection.

    Args:
        root: the data root.
        folder: of the archive, relative to the root; the root itself is tried as well.
        use_splits: whether the source's own split counts. Its validation set has 16 images, and
            its patients are not known to be apart.

    Returns:
        Every image that lies in a folder of a known class below a split, and not deeper: archives
        exist that hold a second copy of the whole tree. The finding tells bacteria from viruses.

    Raises:
        UserError: no such folder, or no image.
    """
    place = source_folder(root, folder, "train", EXPECTED)
    rows, problems = [], []
    for path in FileIndex(root, place).files:
        split, finding, name = _parted(PurePosixPath(path).relative_to(place))
        if split not in SPLITS or finding not in LABELS or name.startswith("._"):
            reason = "not an image in SPLIT/CLASS/"
            problems.append(Problem(path, "unlisted", "info", reason, "left out"))
            continue
        cause = re.search(r"bacteria|virus", name.lower())
        rows.append(
            {
                "path": path,
                "label": LABELS[finding],
                "source": "kermany",
                "patient_id": f"kermany_{_patient(PurePosixPath(name).stem)}",
                "split": split if use_splits else "",
                "view": "AP",
                "modality": "X-ray",
                "finding": cause[0] if cause else finding.lower(),
                "source_split": split,
                "age_group": "paediatric",
            }
        )
    if not rows:
        seen = f"{len(problems)} images, none of them there"
        raise UserError(f"{root / place}: expected images in {EXPECTED}; saw {seen}")
    return listing(rows, problems)


def _parted(path: PurePosixPath) -> tuple[str, str, str]:
    """Part a path below the source's folder into split, class and name; "" where it is not so."""
    if len(path.parts) != 3:
        return "", "", path.name
    return path.parts[0].lower(), path.parts[1].upper(), path.name


def _patient(stem: str) -> str:
    """Find the patient in `person12_bacteria_34`, `IM-0128-0001` or `NORMAL2-IM-0128-0001`."""
    found = re.match(r"(person\d+)_|((?:NORMAL2-)?IM-\d+)", stem)
    return (found[1] or found[2]) if found else stem
