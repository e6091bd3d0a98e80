from __future__ import annotations

import io
import logging
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.uid import JPEGBaseline8Bit

from hideseek.data.images import read_radiograph
from hideseek.data.samples import ImageError
from hideseek.errors import UserError
from tests.data.dicom_file import dicom

RAMP = np.add.outer(np.arange(40) * 4, np.arange(50)).astype(np.uint8)  # no symmetry, 0 .. 205


def stored_images() -> list[bytes]:
    made = []
    modes = [("PNG", "RGBA"), ("JPEG", "L"), ("TIFF", "F"), ("BMP", "L"), ("GIF", "P")]
    for kind, mode in modes:
        stored = io.BytesIO()
        Image.fromarray(RAMP).convert(mode).save(stored, kind)
        made.append(stored.getvalue())
    return made


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=150, deadline=None)
@given(st.sampled_from(stored_images()), st.data())
def test_damage_never_raises_anything_else(content: bytes, data: st.DataObject) -> None:
    damaged = bytearray(content[: data.draw(st.integers(0, len(content)))])
    for _ in range(data.draw(st.integers(0, 4)) if damaged else 0):
        place = data.draw(st.integers(0, min(len(damaged), 200) - 1))
        damaged[place] = data.draw(st.integers(0, 255))
    path = Path("damaged.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "read_bytes", lambda self: bytes(damaged))
        try:
            read = read_radiograph(path)
        except UserError as error:
            assert "\n" not in str(error)
        else:
            assert read.pixels.dtype == np.uint8
            assert read.pixels.ndim == 2


def base_files() -> dict[str, bytes]:
    """Encode one small picture in many ways."""
    rng = np.random.default_rng(0)
    grey = (np.add.outer(np.arange(48), np.arange(40)) * 2 + rng.integers(0, 9, (48, 40))).astype(
        np.uint8
    )
    image, files = Image.fromarray(grey), {}
    for kind in ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP"):
        stream = io.BytesIO()
        image.save(stream, kind)
        files[kind.lower()] = stream.getvalue()
    for name, other in {
        "deep.png": Image.fromarray(grey.astype(np.uint16) * 16),
        "rgba.png": image.convert("RGBA"),
        "palette.png": image.convert("P"),
        "cmyk.jpeg": image.convert("CMYK"),
    }.items():
        stream = io.BytesIO()
        other.save(stream, name.split(".")[1].upper())
        files[name] = stream.getvalue()
    files["raw.dcm"] = dicom(grey.astype(np.uint16) * 16, BitsStored=12)
    files["window.dcm"] = dicom(grey.astype(np.uint16), WindowCenter=90, WindowWidth=60)
    shape = {"Rows": 48, "Columns": 40}
    jpeg = np.frombuffer(files["jpeg"], np.uint8)[None]
    files["jpeg.dcm"] = dicom(jpeg, syntax=JPEGBaseline8Bit, **shape)
    return files


@pytest.mark.parametrize("name", base_files())
def test_cut_files_are_refused_or_whole(tmp_path: Path, name: str) -> None:
    content, path = base_files()[name], tmp_path / f"a.{name.split('.')[-1]}"
    path.write_bytes(content)
    whole = read_radiograph(path).pixels
    for length in range(1, len(content), 10):
        path.write_bytes(content[:length])
        try:
            read = read_radiograph(path).pixels
        except ImageError as error:
            assert "\n" not in str(error)
        else:  # what was cut off said nothing of the pixels
            assert length > 0.9 * len(content)
            np.testing.assert_array_equal(read, whole)


def test_mutated_files_end_in_pixels_or_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bases = list(base_files().items())
    outcomes = {"pixels": 0, "refused": 0}

    def read(seed: int) -> str:
        name, content = bases[seed % len(bases)]
        other = bases[seed * 7 % len(bases)][1]
        path = tmp_path / f"{seed}.{name.split('.')[-1]}"
        path.write_bytes(damaged(content, other, seed))
        try:
            pixels = read_radiograph(path).pixels
        except ImageError as error:
            assert "\n" not in str(error)
            return "refused"
        assert pixels.dtype == np.uint8 and pixels.ndim == 2
        return "pixels"

    levels = [logging.getLogger(name).level for name in ("PIL", "pydicom")]
    with warnings.catch_warnings(record=True) as leaked:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        with ThreadPoolExecutor(4) as pool:
            for outcome in pool.map(read, range(650)):
                outcomes[outcome] += 1
        assert list(warnings.filters) == before
    assert [str(warning.message) for warning in leaked] == []
    assert [logging.getLogger(name).level for name in ("PIL", "pydicom")] == levels
    assert capfd.readouterr() == ("", "")
    assert min(outcomes.values()) > 50


def damaged(content: bytes, other: bytes, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 3))):
        at = int(rng.integers(0, max(1, min(len(data), 64 if rng.random() < 0.2 else 10**9))))
        match int(rng.integers(0, 5)):
            case 0:
                data[at : at + 1] = rng.bytes(1)
            case 1:
                del data[at : at + int(rng.integers(1, 30))]
            case 2:
                data[at:at] = rng.bytes(int(rng.integers(1, 30)))
            case 3:
                data = data[: max(at, 2)]
            case 4:
                data[at:] = other[at : at + int(rng.integers(1, 2000))]
    return bytes(data)
