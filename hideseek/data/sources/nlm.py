"""Montgomery and Shenzhen sets of the National Library of Medicine, with lung masks.

Tuberculosis is no class of the paper: rows have no label, and serve segmentation.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from hideseek.data.problems import Problem
from hideseek.data.sources.listing import FileIndex, Listing, listing
from hideseek.errors import UserError

SOURCES = {"MCUCXR": "montgomery", "CHNCXR": "shenzhen"}
EXPECTED = "MCUCXR_*.png or CHNCXR_*.png, with masks in masks/, mask/ or ManualMask/"


def read(root: Path, folder: str = "montgomery-shenzhen") -> Listing:
    """List the images and join their masks by name.

    Masks are `NAME.png` or `NAME_mask.png` in a folder whose name contains "mask". Montgomery's
    original archive has one mask for each lung (`leftMask`, `rightMask`), which no row can hold:
    such images are listed without a mask, and a finding says so.

    Args:
        root: the data root.
        folder: relative to the root; the root itself is tried as well.

    Returns:
        Every image on disk; each is its own patient.

    Raises:
        UserError: no image of either set.
    """
    place = folder if (root / folder).is_dir() else ""
    files = [PurePosixPath(file) for file in FileIndex(root, place).files]
    masks: dict[str, list[str]] = {}
    for file in files:
        if _is_mask(file):
            masks.setdefault(file.stem.removesuffix("_mask"), []).append(file.as_posix())
    rows, problems = [], []
    for file in files:
        source = SOURCES.get(file.name.split("_")[0])
        if source is None or _is_mask(file):
            continue
        found = masks.get(file.stem, [])
        if len(found) > 1:
            reason = f"{len(found)} masks, one for each lung; merge them into masks/{file.name}"
            problems.append(
                Problem(file.as_posix(), "split_mask", "warning", reason, "mask left out")
            )
        rows.append(
            {
                "path": file.as_posix(),
                "source": source,
                "patient_id": f"{source}_{'_'.join(file.stem.split('_')[:2])}",
                "view": "PA" if source == "montgomery" else "",
                "modality": "X-ray",
                "mask": found[0] if len(found) == 1 else "",
                "finding": "normal" if file.stem.endswith("_0") else "tuberculosis",
            }
        )
    if not rows:
        raise UserError(f"{root / place}: expected {EXPECTED}; saw {len(files)} other images")
    return listing(rows, problems)


def _is_mask(file: PurePosixPath) -> bool:
    return any("mask" in part.lower() for part in file.parts[-3:-1]) or "mask" in file.stem.lower()
