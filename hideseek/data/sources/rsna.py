"""RSNA pneumonia detection challenge: two tables and DICOM images in `stage_2_train_images/`.

One of the readers between raw data and the manifest. The challenge's patientId names an image; the
images come from NIH ChestX-ray14, where a patient has several, so patients can be told only where
`rsna_to_nih.csv` joins the two.
"""

from __future__ import annotations

import gzip
import tempfile
import zlib
from pathlib import Path, PurePosixPath

from hideseek.data.problems import Problem
from hideseek.data.sources.folders import inside
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
EXPECTED = f"{CLASSES}, {BOXES} and stage_2_train_images/"
OPACITY, NO_OPACITY = "Lung Opacity", "No Lung Opacity"
TARGETS = {"1": OPACITY, "0": NO_OPACITY}
LABELS = {"Normal": NORMAL, OPACITY: PNEUMONIA}
HEADERS = {
    "view": "ViewPosition",
    "sex": "PatientSex",
    "age": "PatientAge",
    "pixel_spacing": "PixelSpacing",
}
SUFFIXES = (".dcm", ".png", ".jpg", ".jpeg")
"""In order of preference, where an image was converted beside the original."""

LARGEST_TABLE = 50_000_000
"""Bytes that a compressed table may grow to; the headers of all 26,684 images take 2 MB."""


def read(root: Path, folder: str = "rsna-pneumonia", nih: str = "ChestX-ray14") -> Listing:
    """List the training images of stage 2.

    Args:
        root: the data root.
        folder: of the challenge's files, relative to the root; the root itself is tried as well.
        nih: folder of ChestX-ray14, whose images stand in for those of the challenge where
            `rsna_to_nih.csv` joins them; "" to use the challenge's own alone.

    Returns:
        Every listed image that is on disk: normal where the class is "Normal", pneumonia where an
        opacity is marked, no label for "No Lung Opacity / Not Normal". With the table of boxes
        alone, an image without an opacity may be normal or not, and has no label. Images of which
        the tables say two things are left out.

    Raises:
        UserError: neither table, no column that it needs, or no image.
    """
    place = _place(root, folder)
    said, found = _said(root / place), images(root, place, nih)
    facts, patients = headers(root, place), dict(reversed(joined(root, place)))
    table = CLASSES if (root / place / CLASSES).is_file() else BOXES
    matcher = Matcher(FileIndex(root, place), PurePosixPath(place, table).as_posix())
    for name, findings in said.items():
        path = found.get(name)
        if path and len(findings) > 1:
            reason = f"listed as {' and as '.join(repr(each) for each in sorted(findings))}"
            matcher.problems.append(Problem(path, "label_conflict", "error", reason, "left out"))
            continue
        finding = next(iter(findings), "")
        patient = patients.get(name, "").partition("_")[0].lstrip("0")
        row = {
            "label": LABELS.get(finding, ""),
            "source": "rsna",
            "patient_id": f"nih_{patient}" if patient else f"rsna_{name}",
            "finding": finding,
            **facts.get(name, {}),
        }
        matcher.add_file(path, PurePosixPath(path).stem if path else name, row)
    return matcher.listing(place or ".")


def headers(root: Path, folder: str) -> dict[str, dict[str, str]]:
    """Read DICOM header facts from any `*dicom_headers*.csv` or `.csv.gz` beside the images.

    Returns:
        By image id: view, sex, age and pixel_spacing, as the table spells them; empty where there
        is no such table.

    Raises:
        UserError: `folder` leaves the root, or a table is damaged or has no PatientID.
    """
    place = root / source_folder(root, folder, ".", EXPECTED)
    facts: dict[str, dict[str, str]] = {}
    for path in sorted((*place.glob("*dicom_headers*.csv"), *place.glob("*dicom_headers*.csv.gz"))):
        rows = _unpacked(path) if path.suffix == ".gz" else read_rows(path)
        key = column(rows, ("PatientID",), path) if rows else ""
        for row in rows:
            known = {fact: row.get(name, "") for fact, name in HEADERS.items()}
            facts.setdefault(row[key], known)
    return facts


def images(root: Path, folder: str, nih: str) -> dict[str, str]:
    """Find the challenge's images on disk: DICOM, or PNG or JPEG of the same name.

    Args:
        root: the data root.
        folder: of the challenge's files.
        nih: folder of ChestX-ray14, whose images stand in for absent ones by `rsna_to_nih.csv`;
            "" for none.

    Returns:
        Paths relative to the root by image id.

    Raises:
        UserError: a folder leaves the root, or `rsna_to_nih.csv` is damaged.
    """
    place = source_folder(root, folder, ".", EXPECTED)
    found: dict[str, str] = {}
    for suffix in SUFFIXES:
        for path in FileIndex(root, place, (suffix,)).files:
            found.setdefault(PurePosixPath(path).stem, path)
    pairs = joined(root, place) if inside(nih, "nih") else []
    stand_ins = FileIndex(root, nih) if pairs else None
    for name, image in pairs:
        stand_in = stand_ins.find(image) if stand_ins and name not in found else None
        if stand_in:
            found[name] = stand_in
    return found


def joined(root: Path, folder: str) -> list[tuple[str, str]]:
    """Read which image of ChestX-ray14 an id stands for, from `rsna_to_nih.csv`.

    Returns:
        Pairs of an image id and a file name; none where there is no such table.
    """
    path = root / source_folder(root, folder, ".", EXPECTED) / "rsna_to_nih.csv"
    rows = read_rows(path) if path.is_file() else []
    if not rows:
        return []
    rsna, nih = (column(rows, (name,), path) for name in ("rsna_patientId", "nih_image"))
    return [(row[rsna], row[nih]) for row in rows]


def _place(root: Path, folder: str) -> str:
    try:
        return source_folder(root, folder, CLASSES, EXPECTED)
    except UserError:
        return source_folder(root, folder, BOXES, EXPECTED)


def _said(folder: Path) -> dict[str, set[str]]:
    """Collect what the tables say of each image: a finding, or several that exclude each other.

    An image with several boxes has several rows in both tables. The table of boxes only tells
    whether there is an opacity, so its "no" adds nothing to a class that agrees with it.
    """
    said: dict[str, set[str]] = {}
    for path, name in ((folder / CLASSES, "class"), (folder / BOXES, "Target")):
        if not path.is_file():
            continue
        rows = read_rows(path)
        image, value = (column(rows, (each,), path) for each in ("patientId", name))
        for row in rows:
            known = said.setdefault(row[image], set())
            finding = row[value] if name == "class" else TARGETS.get(row[value], "")
            if finding and not (finding == NO_OPACITY and known and OPACITY not in known):
                known.add(finding)
    return said


def _unpacked(path: Path) -> list[dict[str, str]]:
    try:
        with gzip.open(path) as file:
            content = file.read(LARGEST_TABLE + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: not a readable gzip file ({error})") from None
    if len(content) > LARGEST_TABLE:
        raise UserError(f"{path}: unpacks to more than {LARGEST_TABLE} bytes, so is no such table")
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / path.stem
        plain.write_bytes(content)
        try:
            return read_rows(plain)
        except UserError as error:
            raise UserError(str(error).replace(str(plain), str(path))) from None
