"""DICOM radiographs: samples, window and the few header facts that confound a classifier."""

from __future__ import annotations

import io
import logging
import re
import warnings

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut, convert_color_space

from hideseek.data.samples import LARGEST, Decoded, ImageError, Note

HEADER = {
    "ViewPosition": "view",
    "PatientSex": "sex",
    "PatientAge": "age",
    "PixelSpacing": "pixel_spacing",
    "Modality": "modality",
}
"""Attributes that are kept; names and identifiers of patients never are."""

GREY = ("MONOCHROME1", "MONOCHROME2")

logging.getLogger("pydicom").setLevel(logging.CRITICAL)


def is_dicom(content: bytes) -> bool:
    """Tell a DICOM file by its preamble."""
    return content[128:132] == b"DICM"


def read_dicom(content: bytes) -> Decoded:
    """Decode a single-frame radiograph.

    Rescale slope and intercept are applied, then a VOI LUT; a window centre and width become the
    window (DICOM PS3.3 C.11). MONOCHROME1 is marked as inverted.

    Args:
        content: of the file.

    Returns:
        Samples float64 [H, W], or uint8 where 8 bits need no window.

    Raises:
        ImageError: no pixel data, several frames, absurd dimensions, or a transfer syntax that no
            installed decoder reads.
    """
    # Not a context manager: warnings.catch_warnings is not safe in threads.
    warnings.filterwarnings("ignore", module="pydicom")
    dataset = pydicom.dcmread(io.BytesIO(content), force=True)
    _check(dataset)
    try:
        array = dataset.pixel_array
    except (NotImplementedError, RuntimeError) as error:
        syntax = dataset.file_meta.TransferSyntaxUID.name
        if "decoder" not in str(error).lower() and "plugin" not in str(error).lower():
            raise
        reason = f"compressed as '{syntax}', which needs a decoder: pip install 'pydicom[basic]'"
        raise ImageError("unsupported", reason) from None
    notes: list[Note] = []
    photometric = str(dataset.PhotometricInterpretation)
    if photometric not in GREY:
        rgb = array
        if photometric.startswith("YBR"):
            rgb = convert_color_space(array, photometric, "RGB")
        notes.append(("colour", f"{photometric} resolved to luminance"))
        luminance = np.asarray(rgb, np.float64) @ (0.299, 0.587, 0.114)
        return Decoded(np.round(luminance).astype(np.uint8), 8, "DICOM", tuple(notes),
                       _header(dataset))  # fmt: skip
    samples = np.asarray(apply_modality_lut(array, dataset), np.float64)
    window = _window(dataset)
    if "VOILUTSequence" in dataset and window is None:
        samples = np.asarray(apply_voi_lut(samples.astype(np.int64), dataset), np.float64)
    bits = int(dataset.BitsStored)
    plain = bits <= 8 and window is None and samples.min() >= 0 and samples.max() <= 255
    return Decoded(
        samples.astype(np.uint8) if plain else samples,
        bits,
        "DICOM",
        tuple(notes),
        _header(dataset),
        window,
        inverted=photometric == "MONOCHROME1",
    )


def _check(dataset: Dataset) -> None:
    if "PixelData" not in dataset:
        raise ImageError("no_image", "a DICOM file without pixels")
    for name in ("Rows", "Columns", "BitsAllocated", "PhotometricInterpretation"):
        if dataset.get(name) in (None, ""):
            raise ImageError("damaged", f"a DICOM file without {name}")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise ImageError("frames", f"{frames} frames; one radiograph has one")
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if rows * columns > LARGEST:
        raise ImageError("too_large", f"claims {columns}x{rows} pixels, more than {LARGEST}")
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        raise ImageError("unsupported", "palette colours; no radiograph is stored so")


def _window(dataset: Dataset) -> tuple[float, float] | None:
    centre, width = dataset.get("WindowCenter"), dataset.get("WindowWidth")
    if centre in (None, "") or width in (None, ""):
        return None
    first = [float(each[0]) if isinstance(each, pydicom.multival.MultiValue) else float(each)
             for each in (centre, width)]  # fmt: skip
    if not np.isfinite(first).all() or first[1] < 1:
        return None
    # PS3.3 C.11.2.1.2.1: the linear function's ends.
    low = first[0] - 0.5 - (first[1] - 1) / 2
    return low, low + first[1] - 1


def _header(dataset: Dataset) -> dict[str, str]:
    facts = {}
    for attribute, name in HEADER.items():
        value = dataset.get(attribute)
        if value in (None, ""):
            continue
        text = str(value[0] if isinstance(value, pydicom.multival.MultiValue) else value).strip()
        if name == "age":
            text = _years(text)
        if text:
            facts[name] = text.rstrip("\0")
    return facts


def _years(age: str) -> str:
    """Turn '045Y', '018M' or '58' into years."""
    found = re.fullmatch(r"(\d{1,4})([YMWD]?)", age.upper())
    if found is None:
        return ""
    per_year = {"": 1, "Y": 1, "M": 12, "W": 52, "D": 365}[found[2]]
    return str(int(found[1]) // per_year)
