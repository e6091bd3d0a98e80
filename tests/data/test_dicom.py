from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import MPEG2MPML, JPEGLosslessSV1

from hideseek.data.dicom import read_dicom
from hideseek.data.images import read_radiograph
from hideseek.data.samples import ImageError
from tests.data.dicom_file import dicom

RAMP = np.arange(40 * 50, dtype=np.uint16).reshape(40, 50)


def grey(tmp_path: Path, samples: np.ndarray, windowing: str = "minmax", **tags: object):
    path = tmp_path / "a.dcm"
    path.write_bytes(dicom(samples, **tags))
    return read_radiograph(path, windowing)


def test_twelve_bits_by_each_windowing(tmp_path: Path) -> None:
    read = grey(tmp_path, RAMP, BitsStored=12)
    assert (read.bit_depth, read.format, read.window) == (12, "DICOM", (0.0, 1999.0))
    np.testing.assert_array_equal(read.pixels, np.round(RAMP / 1999 * 255))
    read = grey(tmp_path, RAMP, "bits", BitsStored=12)
    assert read.window == (0.0, 4095.0)
    read = grey(tmp_path, RAMP, "percentile", BitsStored=12)
    assert read.window == pytest.approx((9.995, 1989.005))
    assert read.notes[0][0] == "high_bit"


def test_rescale_then_window(tmp_path: Path) -> None:
    tags = {"RescaleSlope": 2, "RescaleIntercept": -100, "WindowCenter": 500, "WindowWidth": 201}
    read = grey(tmp_path, RAMP, **tags)
    # PS3.3 C.11.2.1.2.1: 499.5 - 100 to 499.5 + 100, of 2 x - 100.
    assert read.window == (399.5, 599.5)
    expected = np.round(((RAMP * 2.0 - 100 - 399.5) / 200).clip(0, 1) * 255)
    np.testing.assert_array_equal(read.pixels, expected)


def test_window_of_several(tmp_path: Path) -> None:
    read = grey(tmp_path, RAMP, WindowCenter=[1000, 1], WindowWidth=[1001, 1])
    assert read.window == (499.5, 1499.5)


def test_monochrome1_is_turned_round(tmp_path: Path) -> None:
    plain = grey(tmp_path, RAMP, BitsStored=12).pixels
    read = grey(tmp_path, RAMP, BitsStored=12, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(read.pixels, 255 - plain)
    assert "monochrome1" in dict(read.notes)


def test_eight_bits_are_taken_as_they_are(tmp_path: Path) -> None:
    samples = (RAMP % 256).astype(np.uint8)
    read = grey(tmp_path, samples)
    np.testing.assert_array_equal(read.pixels, samples)
    assert (read.window, read.notes) == (None, ())


def test_colour_becomes_luminance(tmp_path: Path) -> None:
    samples = np.zeros((40, 50, 3), np.uint8)
    samples[..., 1] = 100
    read = grey(tmp_path, samples, PhotometricInterpretation="RGB")
    assert (read.pixels == 59).all()
    assert "colour" in dict(read.notes)


def test_header_facts(tmp_path: Path) -> None:
    tags = {"ViewPosition": "PA", "PatientSex": "F", "PatientAge": "018M", "Modality": "DX"}
    read = grey(tmp_path, RAMP, PatientName="Doe^Jane", PatientID="7", PixelSpacing=[0.2, 0.2],
                **tags)  # fmt: skip
    known = {"view": "PA", "sex": "F", "age": "1", "modality": "DX", "pixel_spacing": "0.2"}
    assert read.header == known
    assert grey(tmp_path, RAMP, PatientAge="58").header["age"] == "58"
    assert "age" not in grey(tmp_path, RAMP, PatientAge="old").header


@pytest.mark.parametrize(
    ("tags", "kind", "words"),
    [
        ({"NumberOfFrames": 3}, "frames", "3 frames"),
        ({"Rows": 60000, "Columns": 60000}, "too_large", "60000x60000"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "unsupported", "palette"),
        ({"PixelData": None}, "no_image", "without pixels"),
        ({"Rows": None}, "damaged", "without Rows"),
    ],
)
def test_refusals(tags: dict[str, object], kind: str, words: str) -> None:
    with pytest.raises(ImageError, match=words) as caught:
        read_dicom(dicom(RAMP, **tags))
    assert caught.value.kind == kind


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, MPEG2MPML])
def test_a_compression_without_a_decoder_is_named(syntax: str, tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(dicom(RAMP, syntax=syntax))
    with pytest.raises(ImageError) as caught:
        read_radiograph(path)
    assert "\n" not in str(caught.value)
    if syntax == JPEGLosslessSV1:
        assert "needs a decoder" in str(caught.value)


def test_every_cut_is_refused_in_one_line(tmp_path: Path) -> None:
    content = dicom(RAMP, BitsStored=12)
    path = tmp_path / "a.dcm"
    for length in range(1, len(content) - 1, 101):
        path.write_bytes(content[:length])
        with pytest.raises(ImageError) as caught:
            read_radiograph(path)
        assert "\n" not in str(caught.value)
