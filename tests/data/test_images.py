from __future__ import annotations

import hashlib
import io
import logging
import os
import struct
import tracemalloc
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.uid import JPEGBaseline8Bit

from hideseek.data.duplicates import thumbnail
from hideseek.data.images import NOTES, read_mask, read_radiograph
from hideseek.data.orientation import judge
from hideseek.data.samples import ImageError
from hideseek.errors import UserError
from tests.data.dicom_file import dicom

RAMP = np.add.outer(np.arange(40) * 4, np.arange(50)).astype(np.uint8)  # no symmetry, 0 .. 205


def save(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def refused(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_radiograph(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_8_bit_grey_comes_back_as_it_is(tmp_path: Path) -> None:
    path = save(Image.fromarray(RAMP), tmp_path / "a.png")
    read = read_radiograph(path)
    assert read.pixels.dtype == np.uint8
    np.testing.assert_array_equal(read.pixels, RAMP)
    assert (read.bit_depth, read.format) == (8, "PNG")
    assert read.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_is_scaled_from_its_own_range(tmp_path: Path, suffix: str) -> None:
    deep = np.full((40, 50), 1000, np.uint16)
    deep[0, :3] = (1400, 3000, 4000)  # 12-bit values, as a detector gives them
    read = read_radiograph(save(Image.fromarray(deep), tmp_path / f"a.{suffix}"))
    assert read.bit_depth == 16
    assert read.pixels[0, :4].tolist() == [34, 170, 255, 0]  # 255 * 400 / 3000, 255 * 2 / 3


def test_constant_16_bit_is_black(tmp_path: Path) -> None:
    path = save(Image.fromarray(np.full((40, 50), 65535, np.uint16)), tmp_path / "a.png")
    assert not read_radiograph(path).pixels.any()


def test_float_range_below_one_is_stretched(tmp_path: Path) -> None:
    samples = np.zeros((40, 50), np.float32)
    samples[0, :2] = (0.25, 0.5)
    read = read_radiograph(save(Image.fromarray(samples), tmp_path / "a.tif"))
    assert read.pixels[0, :3].tolist() == [128, 255, 0]


def test_palette_is_looked_up(tmp_path: Path) -> None:
    image = Image.fromarray(RAMP).convert("P")
    image.putpalette([255 - value for value in range(256) for _ in range(3)])
    np.testing.assert_array_equal(
        read_radiograph(save(image, tmp_path / "a.png")).pixels, 255 - RAMP
    )


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparency_is_laid_on_black(tmp_path: Path, mode: str) -> None:
    alpha = np.full_like(RAMP, 255)
    alpha[:, :10], alpha[:, 10:20] = 0, 128
    image = Image.fromarray(RAMP).convert(mode)
    image.putalpha(Image.fromarray(alpha))
    expected = RAMP * (alpha / 255)
    pixels = read_radiograph(save(image, tmp_path / "a.png")).pixels
    np.testing.assert_array_equal(pixels[:, 20:], RAMP[:, 20:])
    assert np.abs(pixels - expected).max() <= 1


def test_transparent_palette_colour_is_black(tmp_path: Path) -> None:
    image = Image.fromarray((RAMP > 100).astype(np.uint8)).convert("P")
    image.putpalette([10, 10, 10, 200, 200, 200])
    pixels = read_radiograph(save(image, tmp_path / "a.png", transparency=1)).pixels
    assert not pixels[RAMP > 100].any()


def test_colour_becomes_luminance(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 40), (200, 100, 50))
    assert read_radiograph(save(image, tmp_path / "a.png")).pixels[0, 0] == round(
        0.299 * 200 + 0.587 * 100 + 0.114 * 50
    )


def test_1_bit(tmp_path: Path) -> None:
    path = save(Image.fromarray(RAMP > 100), tmp_path / "a.png")
    np.testing.assert_array_equal(read_radiograph(path).pixels, (RAMP > 100) * np.uint8(255))


def test_cmyk(tmp_path: Path) -> None:
    path = save(Image.fromarray(RAMP).convert("CMYK"), tmp_path / "a.jpg", quality=98)
    with Image.open(path) as stored:
        assert stored.mode == "CMYK"
    assert np.abs(read_radiograph(path).pixels.astype(int) - RAMP).max() <= 6


UPRIGHT = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).T,
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_turns_image_and_mask_alike(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = save(Image.fromarray(RAMP), tmp_path / "a.png", exif=exif)
    stored_mask = (RAMP > 100) * np.uint8(255)
    mask = save(Image.fromarray(stored_mask), tmp_path / "m.png", exif=exif)
    pixels = read_radiograph(image).pixels
    np.testing.assert_array_equal(pixels, UPRIGHT[orientation](RAMP))
    np.testing.assert_array_equal(read_mask(mask, pixels.shape), pixels > 100)


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("suffix", ["jpg", "webp", "tif"])
def test_exif_in_other_formats(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"jpg": {"quality": 100}, "webp": {"lossless": True}, "tif": {}}[suffix]
    path = save(Image.fromarray(RAMP), tmp_path / f"a.{suffix}", exif=exif, **options)
    read = read_radiograph(path)
    expected = UPRIGHT[orientation](RAMP).astype(int)
    assert read.pixels.shape == expected.shape
    assert np.abs(read.pixels - expected).max() <= 2
    assert [kind for kind, _ in read.notes] == ["rotated"] * (orientation > 1)


def test_no_such_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 9
    read = read_radiograph(save(Image.fromarray(RAMP), tmp_path / "a.png", exif=exif))
    np.testing.assert_array_equal(read.pixels, RAMP)
    assert read.notes == ()


@pytest.mark.parametrize(
    ("name", "kind", "note"),
    [
        *[(f"a.{end}", "JPEG", False) for end in ("jpg", "JPG", "jpeg", "JPE", "jfif")],
        *[("a.PNG", "PNG", False), ("a", "PNG", False), ("a.jpg", "PNG", True)],
        *[("a.png", "WEBP", True), ("a.dcm", "PNG", True), ("a.tiff", "TIFF", False)],
    ],
)
def test_extension_notes(tmp_path: Path, name: str, kind: str, note: bool) -> None:
    Image.fromarray(RAMP).save(tmp_path / name, kind)
    read = read_radiograph(tmp_path / name)
    assert ("wrong_extension" in dict(read.notes)) == note


def deep_png(samples: np.ndarray, colour_type: int) -> bytes:
    """Encode 16-bit samples [H, W, C]; Pillow writes only grey ones."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    height, width = samples.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in samples)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def test_deep_colour_keeps_its_low_bits(tmp_path: Path) -> None:
    deep = np.arange(2000).reshape(40, 50)  # 11 of 16 bits: the upper eight are 0 to 7
    expected = np.round(deep / 1999 * 255)
    path = tmp_path / "a.png"
    for samples, colour_type in (
        (np.stack([deep] * 3, -1), 2),
        (np.stack([deep, np.full_like(deep, 65535)], -1), 4),
    ):
        path.write_bytes(deep_png(samples, colour_type))
        read = read_radiograph(path)
        np.testing.assert_array_equal(read.pixels, expected)
        assert (read.bit_depth, read.window) == (16, (0.0, 1999.0))
        assert [kind for kind, _ in read.notes] == ["high_bit"]
    clear = np.stack([deep, np.full_like(deep, 65535)], -1)
    clear[:20, :, 1] = 0
    path.write_bytes(deep_png(clear, 4))
    read = read_radiograph(path)
    assert not read.pixels[:20].any()
    assert dict(read.notes)["alpha"].startswith("50.00%")


def test_colour_of_red_alone_by_its_weight(tmp_path: Path) -> None:
    samples = np.zeros((40, 50, 3), np.uint16)
    samples[:20] = (4000, 0, 0)
    samples[20:] = (4000, 4000, 4000)
    (tmp_path / "a.png").write_bytes(deep_png(samples, 2))
    read = read_radiograph(tmp_path / "a.png", "bits")
    assert read.window == (0.0, 4095.0)
    assert read.pixels[0, 0] == round(4000 * 0.299 / 4095 * 255)
    assert dict(read.notes)["colour"] == "channels differ by up to 4000 levels"


def test_white_is_zero_in_16_bit_tiff(tmp_path: Path) -> None:
    deep = np.arange(2000, dtype=np.uint16).reshape(40, 50)
    path = save(Image.fromarray(deep), tmp_path / "a.tif")
    plain, content = read_radiograph(path).pixels, bytearray(path.read_bytes())
    content[content.find(struct.pack("<HHI", 262, 3, 1)) + 8] = 0
    path.write_bytes(content)
    read = read_radiograph(path)
    np.testing.assert_array_equal(read.pixels, 255 - plain)
    assert "monochrome1" in dict(read.notes)


def test_samples_that_are_no_numbers(tmp_path: Path) -> None:
    samples = np.zeros((40, 50), np.float32)
    samples[0, :4] = (np.inf, -np.inf, np.nan, 3)
    read = read_radiograph(save(Image.fromarray(samples), tmp_path / "a.tif"))
    assert read.pixels[0, :4].tolist() == [255, 0, 0, 255]
    assert (read.bit_depth, read.window) == (32, (0.0, 3.0))
    samples[:] = np.nan
    assert "finite" in refused(save(Image.fromarray(samples), tmp_path / "a.tif"))


def test_windowings_of_twelve_bits(tmp_path: Path) -> None:
    deep = np.full((40, 50), 1000, np.uint16)
    deep[0, :2] = (100, 4000)  # 2 of 2000: outside of 0.5 % at either end
    path = save(Image.fromarray(deep), tmp_path / "a.png")
    assert read_radiograph(path).window == (100.0, 4000.0)
    assert read_radiograph(path, "percentile").window == (1000.0, 1000.0)
    read = read_radiograph(path, "bits")
    assert (read.window, read.pixels[0, 2]) == ((0.0, 4095.0), round(1000 / 4095 * 255))
    for windowing in ("median", ""):
        with pytest.raises(UserError, match="windowing"):
            read_radiograph(path, windowing)


def test_lossless_webp(tmp_path: Path) -> None:
    path = save(Image.fromarray(RAMP), tmp_path / "a.webp", lossless=True)
    read = read_radiograph(path)
    np.testing.assert_array_equal(read.pixels, RAMP)
    assert read.notes == ()  # WebP stores grey as equal channels


def test_notes_tell_shares_and_levels(tmp_path: Path) -> None:
    colour = np.stack([RAMP, RAMP, RAMP], -1)
    plain = read_radiograph(save(Image.fromarray(colour), tmp_path / "a.png"))
    assert plain.notes == ()
    colour[3, 4, 0] += 17
    read = read_radiograph(save(Image.fromarray(colour), tmp_path / "a.png"))
    assert read.notes == (("colour", "channels differ by up to 17 levels"),)
    image = Image.fromarray(RAMP).convert("LA")
    image.putpixel((0, 0), (9, 254))
    read = read_radiograph(save(image, tmp_path / "a.png"))
    assert read.notes == (("alpha", "0.05% of the pixels not opaque, laid on black"),)


@pytest.mark.parametrize("suffix", ["gif", "tif", "png", "webp"])
def test_several_frames_are_refused(tmp_path: Path, suffix: str) -> None:
    more = [Image.fromarray(255 - RAMP).convert("RGB")]
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(RAMP).convert("RGB").save(path, save_all=True, append_images=more)
    assert "multi-frame: 2 frames" in refused(path)


def test_previews_in_a_jpeg_are_no_frames(tmp_path: Path) -> None:
    more = [Image.fromarray(255 - RAMP).resize((20, 16)).convert("RGB")]
    image = Image.fromarray(RAMP).convert("RGB")
    image.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=more, quality=100)
    read = read_radiograph(tmp_path / "a.jpg")
    assert (read.format, read.notes) == ("JPEG", ())
    assert np.abs(read.pixels.astype(int) - RAMP).max() <= 2


@pytest.mark.parametrize("side", [10_001, 60_000])
def test_bombs_are_refused_by_their_header(tmp_path: Path, side: int) -> None:
    content = bytearray(deep_png(np.zeros((40, 50, 1)), 0))
    content[16:24] = struct.pack(">II", side, side)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "a.png").write_bytes(content)
    tracemalloc.start()
    assert "more than 100000000" in refused(tmp_path / "a.png")
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


def test_other_readers_of_pillow_stay_shut(tmp_path: Path) -> None:
    for name in ("a.eps", "a.tga"):
        assert "no image" in refused(save(Image.fromarray(RAMP), tmp_path / name))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    assert "cannot be read" in refused(tmp_path / "a.png")


def test_name_does_not_decide(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.PNG", "a"):
        Image.fromarray(RAMP).save(tmp_path / name, "PNG")
        read = read_radiograph(tmp_path / name)
        assert read.format == "PNG"
        np.testing.assert_array_equal(read.pixels, RAMP)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_truncated(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(0)
    stored = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (200, 200), dtype=np.uint8)).save(stored, kind)
    (tmp_path / "a").write_bytes(stored.getvalue()[: len(stored.getvalue()) // 2])
    assert "damaged" in refused(tmp_path / "a")


def test_refusals(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "page.png").write_text("<!DOCTYPE html><html><body>not found</body></html>")
    (tmp_path / "folder.png").mkdir()
    assert "empty" in refused(tmp_path / "empty.png")
    assert "no image" in refused(tmp_path / "page.png")
    assert "cannot be read" in refused(tmp_path / "folder.png")
    assert "no such file" in refused(tmp_path / "absent.png")
    assert "cannot be read" in refused(tmp_path / "nul\0.png")


def test_smallest_side(tmp_path: Path) -> None:
    assert "50x31" in refused(save(Image.fromarray(RAMP[:31]), tmp_path / "a.png"))
    assert read_radiograph(save(Image.fromarray(RAMP[:32]), tmp_path / "b.png")).pixels.size


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


def test_unsupported_colour_space_is_a_user_error(tmp_path: Path) -> None:
    stored = Image.merge("LAB", [Image.fromarray(RAMP)] * 3)
    assert "unsupported" in refused(save(stored, tmp_path / "a.tif"))


@pytest.mark.parametrize("values", [(0, 1), (0, 255), (0, 200)])
def test_binary_masks(tmp_path: Path, values: tuple[int, int]) -> None:
    lung = RAMP > 100
    path = save(Image.fromarray(np.where(lung, values[1], 0).astype(np.uint8)), tmp_path / "m.png")
    read = read_mask(path, lung.shape)
    assert read.dtype == np.bool_
    np.testing.assert_array_equal(read, lung)


def test_middle_value_means_ignore(tmp_path: Path) -> None:
    stored = np.repeat(np.array([[0], [127], [255], [0]], np.uint8), 40, axis=1)
    read = read_mask(save(Image.fromarray(stored), tmp_path / "m.png"), (4, 40))
    assert read[:, 0].tolist() == [False, False, True, False]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("full", [False, True])
def test_empty_and_full_masks(tmp_path: Path, dtype: type, full: bool) -> None:
    stored = np.full((40, 50), np.iinfo(dtype).max * full, dtype)
    read = read_mask(save(Image.fromarray(stored), tmp_path / "m.png"), (40, 50))
    assert read.all() == read.any() == full


def test_mask_of_another_shape(tmp_path: Path) -> None:
    path = save(Image.fromarray(RAMP), tmp_path / "m.png")
    with pytest.raises(UserError, match="50x40 but its image is 40x50"):
        read_mask(path, (50, 40))
    with pytest.raises(UserError, match="no such file"):
        read_mask(tmp_path / "absent.png", (50, 40))


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
        refused(made / name)


def test_real_mask_with_three_values(pack: Path) -> None:
    read = next(
        path
        for path in sorted((pack / "semantic_masks_v7labs_lungs").iterdir())
        if 127 in np.asarray(Image.open(path))
    )
    stored = np.asarray(Image.open(read))
    np.testing.assert_array_equal(read_mask(read, stored.shape), stored == 255)


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


@pytest.mark.parametrize("error", [MemoryError, RecursionError("too\ndeep"), OverflowError("x")])
def test_exhaustion_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception] | Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    path = save(Image.fromarray(RAMP), tmp_path / "a.png")
    monkeypatch.setattr("hideseek.data.images.to_8_bit", fail)
    assert "damaged" in refused(path)
