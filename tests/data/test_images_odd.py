from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from PIL import Image

from hideseek.data.duplicates import thumbnail
from hideseek.data.images import NOTES, read_mask, read_radiograph
from hideseek.data.orientation import judge
from hideseek.data.samples import ImageError
from hideseek.errors import UserError

ODD = {
    "000002-16.jpg": ("PNG", (462, 421), 8, "wrong_extension"),
    "00003176_001.png": ("PNG", (1024, 1024), 8, ""),
    "00003490_011.png": ("PNG", (1024, 1024), 8, ""),
    "00005435_000.png": ("PNG", (1024, 1024), 8, ""),
    "16745_2_3.PNG": ("PNG", (629, 858), 8, ""),
    "248.jfif": ("JPEG", (1310, 1383), 8, ""),
    "770.png": ("JPEG", (415, 438), 8, "wrong_extension colour"),
    "884.png": ("WEBP", (648, 768), 8, "wrong_extension colour"),
    "FAFA-A1BF-49A8-A1D3-66FAFA41B7345D.jpg": ("JPEG", (499, 500), 8, ""),
    "Fake_MONOHR1.dcm": ("DICOM", (1024, 1024), 8, "monochrome1"),
    "c64d5667-a776-4f95-9e21-bfabafb07740.dcm": ("DICOM", (1024, 1024), 8, ""),
    "covid-19-pneumonia-30-L.jpg": ("JPEG", (4300, 4298), 8, ""),
    "f6d980a0_v7labs-mask.jpg": ("PNG", (2000, 2000), 8, "wrong_extension"),
    "pneumocystis-pneumonia-2-L.png": ("PNG", (907, 906), 8, "alpha"),
    "ryct.2020003.fig2-a.png": ("PNG", (156, 157), 8, "colour"),
    "ryct.2020003.fig2-b_mask.png": ("PNG", (157, 173), 8, ""),
    "tpmd200203f2-c.png": ("PNG", (1264, 1399), 8, "palette colour"),
    "made/all-black.png": ("PNG", (300, 300), 8, ""),
    "made/cmyk.jpg": ("JPEG", (384, 410), 8, ""),
    "made/empty.png": "empty",
    "made/exif-rotated.jpg": ("JPEG", (410, 384), 8, "rotated"),
    "made/gray-16bit.png": ("PNG", (384, 410), 16, "high_bit"),
    "made/html-instead-of-image.png": "no_image",
    "made/inverted.png": ("PNG", (384, 410), 8, ""),
    "made/truncated.jpg": "truncated",
}


def test_every_odd_file_is_listed_here(pack: Path) -> None:
    folder = pack / "odd-files"
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files - {"odd-files.csv"} == set(ODD)


@pytest.mark.parametrize("name", ODD)
def test_every_odd_file_gives_its_pixels_or_one_line(pack: Path, name: str) -> None:
    path, expected = pack / "odd-files" / name, ODD[name]
    if isinstance(expected, str):
        with pytest.raises(ImageError) as caught:
            read_radiograph(path)
        assert caught.value.kind == expected
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)
        return
    read = read_radiograph(path)
    kinds = " ".join(kind for kind, _ in read.notes)
    assert (read.format, read.pixels.shape, read.bit_depth, kinds) == expected
    assert read.pixels.dtype == np.uint8
    assert set(kinds.split()) <= set(NOTES)
    if read.format == "DICOM":
        raw = pydicom.dcmread(path).pixel_array
        np.testing.assert_array_equal(read.pixels, 255 - raw if "monochrome1" in kinds else raw)
    elif expected[2:] in ((8, ""), (8, "colour"), (8, "wrong_extension colour")):
        opened = Image.open(path)  # of which alpha, where there is one, is opaque
        np.testing.assert_array_equal(read.pixels, opened.convert("RGB").convert("L"))


def test_the_odd_palette_is_looked_up(pack: Path) -> None:
    path = pack / "odd-files/tpmd200203f2-c.png"
    image = Image.open(path)
    colours = np.array(image.getpalette()).reshape(-1, 3)[np.asarray(image)]
    read = read_radiograph(path).pixels
    assert np.abs(read - colours @ (0.299, 0.587, 0.114)).max() < 1
    assert np.abs(read.astype(int) - np.asarray(image)).max() > 20  # the places in the palette


def test_luminance_of_a_tinted_jpeg_is_near_that_of_opencv(pack: Path) -> None:
    path = pack / "odd-files/770.png"
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(int)
    assert np.abs(read_radiograph(path).pixels - grey).max() <= 7


def test_radiographs_in_dicom_have_dark_lungs(pack: Path) -> None:
    read = read_radiograph(pack / "odd-files/c64d5667-a776-4f95-9e21-bfabafb07740.dcm")
    assert not any(judge(thumbnail(read.pixels)[None]).row(0))
    assert set(read.header) == {"view", "sex", "age", "pixel_spacing", "modality"}
    assert read.header["view"] == "AP"
    # Its samples are those of a MONOCHROME2 image: who obeys the tag sees a negative, and says so.
    fake = read_radiograph(pack / "odd-files/Fake_MONOHR1.dcm")
    assert judge(thumbnail(fake.pixels)[None]).row(0, named=True)["inverted"]
    assert not any(judge(thumbnail(255 - fake.pixels)[None]).row(0))


def test_files_made_from_one_image_agree(pack: Path) -> None:
    made = pack / "odd-files/made"
    plain = read_radiograph(pack / "covid-19-image-repository/png/006f3a8a.png").pixels.astype(
        float
    )
    np.testing.assert_array_equal(read_radiograph(made / "inverted.png").pixels, 255 - plain)
    assert np.abs(plain - read_radiograph(made / "cmyk.jpg").pixels).mean() < 3
    # Its samples lie upright under a tag of a quarter turn: who obeys it lays the picture down.
    turned = read_radiograph(made / "exif-rotated.jpg").pixels
    assert np.abs(turned - np.rot90(plain, -1)).mean() < 3
    deep = read_radiograph(made / "gray-16bit.png")
    assert deep.bit_depth == 16
    assert np.corrcoef(deep.pixels.ravel(), plain.ravel())[0, 1] > 0.99
    assert deep.pixels.min() == 0
    assert deep.pixels.max() == 255
    for name in ("empty.png", "html-instead-of-image.png", "truncated.jpg"):
        with pytest.raises(UserError, match=name):
            read_radiograph(made / name)


def test_real_mask_with_three_values(pack: Path) -> None:
    read = next(
        path
        for path in sorted((pack / "semantic_masks_v7labs_lungs").iterdir())
        if 127 in np.asarray(Image.open(path))
    )
    stored = np.asarray(Image.open(read))
    np.testing.assert_array_equal(read_mask(read, stored.shape), stored == 255)
