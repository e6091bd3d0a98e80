from __future__ import annotations

import csv
import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
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


def test_every_odd_file_is_read_or_refused_in_one_line(pack: Path) -> None:
    with (pack / "odd-files/odd-files.csv").open() as table:
        known = {row["file"]: row["PIL"] for row in csv.DictReader(table)}
    for name, seen in known.items():
        path = pack / "odd-files" / name
        if seen == "cannot identify":
            assert "no image" in refused(path)
            continue
        kind, _, size = seen.split()
        read = read_radiograph(path)
        assert read.format == kind
        assert "x".join(map(str, read.pixels.shape[::-1])) == size


def test_files_made_from_one_image_agree(pack: Path) -> None:
    made = pack / "odd-files/made"
    plain = 255 - read_radiograph(made / "inverted.png").pixels.astype(float)
    assert np.abs(plain - read_radiograph(made / "cmyk.jpg").pixels).mean() < 3
    turned = read_radiograph(made / "exif-rotated.jpg").pixels
    best = max(np.corrcoef(np.rot90(turned, k).ravel(), plain.ravel())[0, 1] for k in (1, 3))
    assert best > 0.99
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
