"""Montgomery and Shenzhen sets of the National Library of Medicine, with lung masks.

One of the readers between raw data and the manifest. Tuberculosis is no class of the paper: rows
have no label, and serve segmentation.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from hideseek.data.problems import Problem
from hideseek.data.sources.listing import FileIndex, Listing, listing, source_folder
from hideseek.errors import UserError

SOURCES = {"MCUCXR": "montgomery", "CHNCXR": "shenzhen"}
FINDINGS = {"0": "normal", "1": "tuberculosis"}
EXPECTED = "MCUCXR_*.png or CHNCXR_*.png, with masks in masks/, mask/ or ManualMask/"
ONE_LUNG = ("leftmask", "rightmask")
"""Folders of the original Montgomery archive, lower case."""


def read(root: Path, folder: str = "montgomery-shenzhen") -> Listing:
    """List the images and join their masks by name.

    Masks are `NAME.png` or `NAME_mask.png` in a folder whose name contains "mask". Montgomery's
    original archive has one mask for each lung (`leftMask`, `rightMask`), which no row can hold:
    such images are listed without a mask, and a finding says so, until `masks/NAME.png` holds both.

    Args:
        root: the data root.
        folder: relative to the root; the root itself is tried as well.

    Returns:
        Every image on disk; each is its own patient.

    Raises:
        UserError: no image of either set, or `folder` leaves the root.
    """
    place = source_folder(root, folder, ".", EXPECTED)
    masks: dict[str, list[PurePosixPath]] = {}
    pictures = []
    for file in (PurePosixPath(path) for path in FileIndex(root, place).files):
        if _is_mask(file.relative_to(place)):
            masks.setdefault(file.stem.removesuffix("_mask"), []).append(file)
        else:
            pictures.append(file)
    rows, problems = [], []
    for file in pictures:
        source = SOURCES.get(file.name.split("_")[0])
        if source is None:
            reason = "neither MCUCXR_* nor CHNCXR_*"
            problems.append(Problem(file.as_posix(), "unlisted", "info", reason, "left out"))
            continue
        mask, found = _mask(file, masks.get(file.stem, []))
        problems += found
        rows.append(
            {
                "path": file.as_posix(),
                "source": source,
                "patient_id": f"{source}_{'_'.join(file.stem.split('_')[:2])}",
                "view": "PA" if source == "montgomery" else "",
                "modality": "X-ray",
                "mask": mask,
                "finding": FINDINGS.get(file.stem.rpartition("_")[2], ""),
            }
        )
    if not rows:
        raise UserError(f"{root / place}: expected {EXPECTED}; saw {len(pictures)} other images")
    return listing(rows, problems)


def _mask(image: PurePosixPath, found: list[PurePosixPath]) -> tuple[str, list[Problem]]:
    """Choose the mask of both lungs; the mask of one would teach that the other is background."""
    whole = [mask for mask in found if mask.parent.name.lower() not in ONE_LUNG]
    if len(whole) == 1 or not found:
        return (whole[0].as_posix() if whole else ""), []
    kind, reason = "several_masks", f"{len(whole)} masks, '{whole[0]}' first" if whole else ""
    if not whole:
        kind, reason = "split_mask", f"a mask for each lung; merge them into masks/{image.name}"
    return "", [Problem(image.as_posix(), kind, "warning", reason, "mask left out")]


def _is_mask(file: PurePosixPath) -> bool:
    return any("mask" in part.lower() for part in file.parts[-3:-1]) or "mask" in file.stem.lower()
