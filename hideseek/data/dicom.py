"""DICOM radiographs: samples, window and the few header facts that confound a classifier.

Reads bytes for `images.py`, which silences pydicom and turns whatever it raises into one line.
"""

from __future__ import annotations

import io
import re
import zlib

import numpy as np
import numpy.typing as npt
import pydicom
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset, read_preamble
from pydicom.multival import MultiValue
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_modality_lut, apply_voi

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

LARGEST_DATASET = 4 * LARGEST
"""Bytes that a deflated data set may grow to."""


def is_dicom(content: bytes) -> bool:
    """Tell a DICOM file by its preamble."""
    return content[128:132] == b"DICM"


def read_dicom(content: bytes) -> Decoded:
    """Decode a single-frame radiograph.

    The order is that of DICOM PS3.3 C.11: the modality's lookup table, or rescale slope and
    intercept; then the first VOI lookup table, or else the first window centre and width with its
    function (linear, linear exact, sigmoid). After a table or a sigmoid the samples are its
    outputs, and the window is the range of those. MONOCHROME1 is marked as inverted, and colour
    becomes luminance.

    Args:
        content: of the file, with or without preamble.

    Returns:
        Samples float64 [H, W], or uint8 where 8 bits need no window.

    Raises:
        ImageError: no pixel data, several frames, absurd dimensions, or a transfer syntax that no
            installed decoder reads.
    """
    _check_inflated_size(content)
    dataset = pydicom.dcmread(io.BytesIO(content), force=True)
    _check(dataset)
    _check_decoder(dataset)
    array = dataset.pixel_array  # pydicom has already turned YBR into RGB
    photometric, bits, facts = (
        dataset.PhotometricInterpretation,
        dataset.BitsStored,
        header(dataset),
    )
    if array.ndim == 3:
        luminance, notes = _luminance(array)
        return Decoded(luminance, bits, "DICOM", notes, facts)
    inverted = photometric == "MONOCHROME1"
    samples, window = _viewed(_rescaled(array, dataset), dataset)
    if window is None and samples is array and array.dtype.kind == "u" and bits <= 8:
        full = 2**bits - 1
        grey = (array.astype(np.uint16) * 255 // full).clip(0, 255).astype(np.uint8)
        return Decoded(grey, bits, "DICOM", (), facts, None, inverted)
    samples = np.asarray(samples, np.float64)
    return Decoded(samples, bits, "DICOM", (), facts, window, inverted)


def header(dataset: Dataset) -> dict[str, str]:
    """Give the facts of `HEADER` that a data set states; the age is in years."""
    facts = {}
    for attribute, name in HEADER.items():
        try:
            value = dataset.get(attribute)
        except Exception:  # pydicom converts on access; a bad fact must not cost the picture
            continue
        first = value[0] if isinstance(value, MultiValue) and value else value
        text = " ".join(str("" if first is None else first).replace("\0", " ").split())
        text = _years(text) if name == "age" else text
        if text:
            facts[name] = text
    return facts


def _years(age: str) -> str:
    """Turn '045Y', '018M' or '58' into years; anything else is not known."""
    found = re.fullmatch(r"([0-9]{1,4})([YMWD]?)", age.upper())
    if found is None:
        return ""
    per_year = {"": 1, "Y": 1, "M": 12, "W": 52, "D": 365}[found[2]]
    return str(int(found[1]) // per_year)


def _check_inflated_size(content: bytes) -> None:
    """Refuse a deflated data set that would fill the memory; pydicom inflates without a limit."""
    if uid.DeflatedExplicitVRLittleEndian.encode() not in content:
        return
    stream = io.BytesIO(content)
    read_preamble(stream, force=True)
    meta = read_dataset(stream, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
    if meta.get("TransferSyntaxUID") != uid.DeflatedExplicitVRLittleEndian:
        return
    inflater, deflated, size = zlib.decompressobj(-zlib.MAX_WBITS), stream.read(), 0
    while deflated and not inflater.eof:
        size += len(inflater.decompress(deflated, 2**24))
        if size > LARGEST_DATASET:
            raise ImageError("too_large", f"inflates to more than {LARGEST_DATASET} bytes")
        deflated = inflater.unconsumed_tail


def _check(dataset: Dataset) -> None:
    if "PixelData" not in dataset:
        modality = header(dataset).get("modality", "not known")
        raise ImageError("no_image", f"a DICOM file without pixels (modality {modality})")
    for name in ("Rows", "Columns", "BitsAllocated", "BitsStored", "PhotometricInterpretation"):
        if dataset.get(name) in (None, ""):
            raise ImageError("damaged", f"a DICOM file without {name}")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise ImageError("frames", f"multi-frame: {frames} frames; export the one that is meant")
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if rows * columns > LARGEST:
        raise ImageError("too_large", f"claims {columns}x{rows} pixels, more than {LARGEST}")
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        raise ImageError("unsupported", "palette colours; no radiograph is stored so")
    samples = int(dataset.get("SamplesPerPixel") or 1)
    if (samples == 1) != (dataset.PhotometricInterpretation in GREY):
        named = f"{samples} samples per pixel and {dataset.PhotometricInterpretation}"
        raise ImageError("damaged", f"{named} do not go together")


def _check_decoder(dataset: Dataset) -> None:
    """Refuse a compression that cannot be read here, and say what would read it."""
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if implicit else explicit
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        reason = f"compressed as '{syntax.name}', which is for no still image that can be read"
        raise ImageError("unsupported", f"{reason}; export it uncompressed") from None
    # Pillow's decoder, the only one that is always here, has no 12-bit JPEG.
    deep = syntax == uid.JPEGExtended12Bit and dataset.BitsStored > 8
    if not decoder.is_available or (deep and decoder.available_plugins == ("pillow",)):
        needed = "python-gdcm"
        if syntax in uid.JPEG2000TransferSyntaxes:
            needed = "pylibjpeg pylibjpeg-openjpeg"
        reason = f"compressed as '{syntax.name}', which needs a decoder: pip install {needed}"
        raise ImageError("unsupported", reason)


def _luminance(rgb: npt.NDArray[np.generic]) -> tuple[npt.NDArray[np.generic], tuple[Note, ...]]:
    spread = int((rgb.max(axis=2).astype(np.int64) - rgb.min(axis=2)).max())
    notes = (("colour", f"channels differ by up to {spread} levels"),) if spread else ()
    if rgb.dtype == np.uint8:
        return np.array(Image.fromarray(rgb).convert("L")), notes
    return np.rint(rgb.astype(np.float64) @ (0.299, 0.587, 0.114)), notes


def _rescaled(array: npt.NDArray[np.generic], dataset: Dataset) -> npt.NDArray[np.generic]:
    if dataset.get("ModalityLUTSequence"):
        table: npt.NDArray[np.generic] = apply_modality_lut(array, dataset)
        return table
    slope, intercept = _number(dataset, "RescaleSlope"), _number(dataset, "RescaleIntercept")
    slope, intercept = slope or 1.0, intercept or 0.0  # 0 would leave no picture
    if (slope, intercept) == (1.0, 0.0):
        return array
    return array.astype(np.float64) * slope + intercept


def _viewed(
    samples: npt.NDArray[np.generic], dataset: Dataset
) -> tuple[npt.NDArray[np.generic], tuple[float, float] | None]:
    """Apply what the header says of display; the window is None where it says nothing."""
    if dataset.get("VOILUTSequence"):
        table = apply_voi(np.rint(samples).astype(np.int64), dataset)
        return table, (0.0, 2.0 ** int(dataset.VOILUTSequence[0].LUTDescriptor[2]) - 1)
    centre, width = _number(dataset, "WindowCenter"), _number(dataset, "WindowWidth")
    function = str(dataset.get("VOILUTFunction") or "LINEAR")
    if centre is None or width is None or width < (1 if function == "LINEAR" else 1e-9):
        return samples, None
    if function == "SIGMOID":
        steep = (4 * (samples.astype(np.float64) - centre) / width).clip(-500, 500)
        return 1 / (1 + np.exp(-steep)), (0.0, 1.0)
    if function == "LINEAR_EXACT":
        return samples, (centre - width / 2, centre + width / 2)
    # PS3.3 C.11.2.1.2.1: the ends of the linear function are half a sample off.
    low = centre - 0.5 - (width - 1) / 2
    return samples, (low, low + width - 1)


def _number(dataset: Dataset, name: str) -> float | None:
    """Give the first value of an attribute; None where absent, empty or no finite number."""
    try:
        value = dataset.get(name)
        number = float(value[0] if isinstance(value, MultiValue) else value)
    except (TypeError, ValueError, IndexError, ArithmeticError):
        return None
    return number if np.isfinite(number) else None
