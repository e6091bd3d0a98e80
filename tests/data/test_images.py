from __future__ import annotations

import hashlib
import io
import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hideseek.data.images import read_mask, read_radiograph
from hideseek.errors import UserError

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


@pytest.mark.parametrize("error", [MemoryError, RecursionError("too\ndeep"), OverflowError("x")])
def test_exhaustion_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception] | Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    path = save(Image.fromarray(RAMP), tmp_path / "a.png")
    monkeypatch.setattr("hideseek.data.images.to_8_bit", fail)
    assert "damaged" in refused(path)
