from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder

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


@pytest.mark.filterwarnings("ignore:Invalid value for VR AS")  # pydicom checks what is written
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


@pytest.mark.parametrize(
    ("syntax", "words"),
    [
        (uid.JPEGLosslessSV1, "'JPEG Lossless.*pip install python-gdcm$"),
        (uid.JPEGExtended12Bit, "'JPEG Extended.*pip install python-gdcm$"),
        (uid.JPEGLSLossless, "'JPEG-LS Lossless.*pip install python-gdcm$"),
        (uid.HTJ2KLossless, "'High-Throughput.*pip install pylibjpeg pylibjpeg-openjpeg$"),
        (uid.MPEG2MPML, "'MPEG2.*uncompressed$"),
        ("1.2.3.4.5", "'1.2.3.4.5'.*uncompressed$"),
    ],
)
@pytest.mark.filterwarnings("ignore:Expected explicit VR")  # of the syntax that none knows
def test_a_compression_without_a_decoder_is_named(syntax: str, words: str) -> None:
    try:
        if "pillow" not in (readers := get_decoder(syntax).available_plugins) and readers:
            pytest.skip(f"{readers} can read it here")
    except NotImplementedError:
        pass  # as it should be
    with pytest.raises(ImageError, match=words) as caught:
        read_dicom(dicom(RAMP, syntax=syntax, BitsStored=12))
    assert caught.value.kind == "unsupported"


def jpeg(image: Image.Image, kind: str = "JPEG", **options: object) -> np.ndarray:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return np.frombuffer(stream.getvalue() + b"\0" * (stream.tell() % 2), np.uint8)[None]


COLOUR = np.zeros((40, 50, 3), np.uint8)
COLOUR[:20], COLOUR[20:] = (200, 90, 0), (200, 0, 30)
LUMINANCE = (112.6, 63.2)  # 0.299 R + 0.587 G + 0.114 B of either half


@pytest.mark.parametrize("how", ["RGB", "YBR_FULL", "JPEG YBR_FULL_422", "planes"])
def test_colour_is_converted_once(tmp_path: Path, how: str) -> None:
    image = Image.fromarray(COLOUR)
    if how == "JPEG YBR_FULL_422":
        tags = {"Rows": 40, "Columns": 50, "SamplesPerPixel": 3, "PlanarConfiguration": 0}
        content = dicom(jpeg(image, quality=98), syntax=uid.JPEGBaseline8Bit, **tags,
                        PhotometricInterpretation="YBR_FULL_422")  # fmt: skip
    elif how == "planes":
        planes = np.ascontiguousarray(np.moveaxis(COLOUR, 2, 0)).reshape(40, 50, 3)
        content = dicom(planes, PhotometricInterpretation="RGB", PlanarConfiguration=1)
    else:
        stored = np.asarray(image.convert("YCbCr" if how == "YBR_FULL" else "RGB"))
        content = dicom(stored, PhotometricInterpretation=how)
    read = read_dicom(content)
    assert read.samples.dtype == np.uint8
    halves = read.samples[:20].astype(float), read.samples[20:].astype(float)
    for half, expected in zip(halves, LUMINANCE, strict=True):
        assert np.abs(half[2:-2] - expected).max() <= 2
    assert dict(read.notes)["colour"].startswith("channels differ by up to")


def test_grey_in_colour_needs_no_note(tmp_path: Path) -> None:
    samples = np.stack([RAMP % 256] * 3, -1).astype(np.uint8)
    read = grey(tmp_path, samples, PhotometricInterpretation="RGB")
    np.testing.assert_array_equal(read.pixels, RAMP % 256)
    assert read.notes == ()


def test_deep_colour_is_windowed(tmp_path: Path) -> None:
    samples = np.stack([RAMP] * 3, -1)
    read = grey(tmp_path, samples, PhotometricInterpretation="RGB", BitsStored=12)
    np.testing.assert_array_equal(read.pixels, np.round(RAMP / 1999 * 255))
    assert (read.bit_depth, read.window) == (12, (0.0, 1999.0))


@pytest.mark.parametrize(
    ("function", "window", "expected"),
    [
        # C.11.2.1.2.1: (x - 999.5) / 400 + 0.5; C.11.2.1.3.2: (x - 1000) / 401 + 0.5
        ("LINEAR", (799.5, 1199.5), [0, 255 * 100.5 / 400, 255 * 300.5 / 400, 255]),
        ("LINEAR_EXACT", (799.5, 1200.5), [0, 255 * 100.5 / 401, 255 * 300.5 / 401, 255]),
        # C.11.2.1.3.1: 1 / (1 + exp(-4 (x - 1000) / 401)), at -300, -100, 100 and 300
        ("SIGMOID", (0.0, 1.0), [12.180, 68.770, 186.230, 242.820]),
    ],
)
def test_window_functions(
    tmp_path: Path, function: str, window: tuple[float, float], expected: list[float]
) -> None:
    tags = {"WindowCenter": 1000, "WindowWidth": 401, "VOILUTFunction": function}
    for windowing in ("minmax", "bits"):
        read = grey(tmp_path, RAMP, windowing, **tags)
        assert read.window == window
        found = read.pixels.ravel()[[700, 900, 1100, 1300]]
        assert np.abs(found - np.array(expected)).max() <= 0.51


def lut(entries: list[int], first: int, bits: int) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    item.add_new("LUTData", "US", entries)
    return item


def test_voi_lut_comes_before_a_window(tmp_path: Path) -> None:
    table = lut([0, 100, 1023, 512], 10, 10)
    tags = {"VOILUTSequence": [table], "WindowCenter": 7, "WindowWidth": 3}
    for extra in ({}, {"RescaleSlope": 1, "RescaleIntercept": 0}):
        read = grey(tmp_path, RAMP, "minmax", **tags, **extra)
        assert read.window == (0.0, 1023.0)
        found = read.pixels.ravel()[[0, 10, 11, 12, 13, 14]]
        assert found.tolist() == [0, 0, 25, 255, 128, 128]  # 255 x 100 / 1023, 255 x 512 / 1023
    read = grey(tmp_path, RAMP, **tags, RescaleSlope=1, RescaleIntercept=10)
    assert read.pixels.ravel()[:4].tolist() == [0, 25, 255, 128]


def test_modality_lut(tmp_path: Path) -> None:
    read = grey(tmp_path, RAMP, "bits", ModalityLUTSequence=[lut([5, 255, 40], 0, 16)])
    assert read.pixels.ravel()[:4].tolist() == [5, 255, 40, 40]


def test_signed_samples(tmp_path: Path) -> None:
    read = grey(tmp_path, RAMP.astype(np.int16) - 1000, PixelRepresentation=1)
    assert read.window == (-1000.0, 999.0)
    np.testing.assert_array_equal(read.pixels, np.round(RAMP / 1999 * 255))


def test_overlay_in_the_unused_bits_is_no_sample(tmp_path: Path) -> None:
    read = grey(tmp_path, RAMP | np.uint16(0x8000), BitsStored=12, HighBit=11)
    assert read.window == (0.0, 1999.0)


def test_few_bits_are_stretched(tmp_path: Path) -> None:
    samples = (RAMP % 16).astype(np.uint8)
    read = grey(tmp_path, samples, BitsStored=4, HighBit=3)
    np.testing.assert_array_equal(read.pixels, samples * 17)  # 15 becomes 255


@pytest.mark.parametrize("empty", ["RescaleSlope", "WindowCenter", "PatientAge", "PixelSpacing"])
def test_empty_attributes_count_as_absent(tmp_path: Path, empty: str) -> None:
    tags = {"RescaleSlope": 1, "RescaleIntercept": 0, "WindowCenter": 9, "WindowWidth": 9}
    read = grey(tmp_path, RAMP, BitsStored=12, **{**tags, "WindowWidth": None, empty: ""})
    np.testing.assert_array_equal(read.pixels, np.round(RAMP / 1999 * 255))


@pytest.mark.parametrize("implicit", [True, False])
def test_without_preamble(tmp_path: Path, implicit: bool) -> None:
    dataset = pydicom.dcmread(io.BytesIO(dicom(RAMP, BitsStored=12)))
    stream = io.BytesIO()
    bare = Dataset({tag: dataset[tag] for tag in dataset.keys()})  # noqa: SIM118
    pydicom.dcmwrite(stream, bare, implicit_vr=implicit, little_endian=True)
    (tmp_path / "a.dcm").write_bytes(stream.getvalue())
    (tmp_path / "a.png").write_bytes(stream.getvalue())
    read = read_radiograph(tmp_path / "a.dcm")
    np.testing.assert_array_equal(read.pixels, np.round(RAMP / 1999 * 255))
    with pytest.raises(ImageError, match="no image"):
        read_radiograph(tmp_path / "a.png")


@pytest.mark.parametrize(("name", "note"), [("a", 0), ("a.DCM", 0), ("a.dicom", 0), ("a.png", 1)])
def test_content_decides(tmp_path: Path, name: str, note: int) -> None:
    (tmp_path / name).write_bytes(dicom((RAMP % 256).astype(np.uint8)))
    read = read_radiograph(tmp_path / name)
    assert read.format == "DICOM"
    assert [kind for kind, _ in read.notes] == ["wrong_extension"] * note


@pytest.mark.parametrize("syntax", [uid.RLELossless, uid.JPEG2000Lossless])
def test_lossless_compression(tmp_path: Path, syntax: str) -> None:
    if syntax == uid.RLELossless:
        dataset = pydicom.dcmread(io.BytesIO(dicom(RAMP, BitsStored=12)))
        dataset.compress(syntax)
        stream = io.BytesIO()
        dataset.save_as(stream)
        content = stream.getvalue()
    else:
        stored = jpeg(Image.fromarray(RAMP), "JPEG2000")
        sizes = {"Rows": 40, "Columns": 50, "BitsAllocated": 16, "BitsStored": 16, "HighBit": 15}
        content = dicom(stored, syntax=syntax, **sizes)
    np.testing.assert_array_equal(read_dicom(content).samples, RAMP)


def deflated(content: bytes) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(content))
    dataset.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def test_deflated(monkeypatch: pytest.MonkeyPatch) -> None:
    content = deflated(dicom(RAMP, BitsStored=12))
    np.testing.assert_array_equal(read_dicom(content).samples, RAMP)
    monkeypatch.setattr("hideseek.data.dicom.LARGEST_DATASET", 3000)  # RAMP has 4000 bytes
    with pytest.raises(ImageError, match="inflates to more than 3000 bytes") as caught:
        read_dicom(content)
    assert caught.value.kind == "too_large"


def test_a_huge_claim_is_refused_before_memory_is_taken() -> None:
    content = dicom(RAMP, Rows=65535, Columns=65535)
    tracemalloc.start()
    with pytest.raises(ImageError, match="65535x65535"):
        read_dicom(content)
    assert tracemalloc.get_traced_memory()[1] < 2e6
    tracemalloc.stop()


def test_a_structured_report_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"without pixels \(modality SR\)"):
        read_dicom(dicom(RAMP, PixelData=None, Modality="SR"))


def test_nothing_of_the_patient_but_sex_and_age_is_kept(tmp_path: Path) -> None:
    tags = {"PatientName": "Doe^Jane", "PatientID": "P4711", "PatientBirthDate": "19800101"}
    tags |= {"AccessionNumber": "A4711", "InstitutionName": "Doe Clinic", "PatientSex": "F"}
    kept = str(grey(tmp_path, RAMP, **tags))
    assert "'sex': 'F'" in kept
    assert not any(secret in kept for secret in ("Doe", "4711", "1980", "Clinic"))


def test_every_cut_is_refused_in_one_line(tmp_path: Path) -> None:
    content = dicom(RAMP, BitsStored=12)
    path = tmp_path / "a.dcm"
    for length in range(1, len(content) - 1, 101):
        path.write_bytes(content[:length])
        with pytest.raises(ImageError) as caught:
            read_radiograph(path)
        assert "\n" not in str(caught.value)
