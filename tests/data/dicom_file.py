"""DICOM files for tests."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid


def dicom(
    samples: npt.NDArray[np.generic], syntax: str = ExplicitVRLittleEndian, **tags: object
) -> bytes:
    """Encode samples [H, W] or [H, W, 3]; a tag given as None is left out."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["a test"])
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    bits = samples.dtype.itemsize * 8
    channels = samples.shape[2] if samples.ndim == 3 else 1
    raw = samples.tobytes()
    known: dict[str, object] = {
        **{"Rows": samples.shape[0], "Columns": samples.shape[1], "SamplesPerPixel": channels},
        **{"BitsAllocated": bits, "BitsStored": bits, "HighBit": bits - 1},
        **{"PixelRepresentation": 0, "PhotometricInterpretation": "MONOCHROME2"},
        **({"PlanarConfiguration": 0} if channels == 3 else {}),
        "PixelData": raw if syntax == ExplicitVRLittleEndian else encapsulate([raw]),
        **tags,
    }
    for name, value in known.items():
        if value is not None:
            setattr(dataset, name, value)
    if "PixelData" in dataset:
        dataset["PixelData"].VR = "OB" if syntax != ExplicitVRLittleEndian or bits == 8 else "OW"
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
