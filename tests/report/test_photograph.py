from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from hideseek.errors import UserError
from hideseek.report.photograph import COLOURS, photograph


def read(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png))


def test_what_fits_is_kept_pixel_by_pixel(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    made = photograph(tmp_path / "a.png", 100_000, "a", "caption", "text", "tiny", "original")
    assert np.array_equal(np.asarray(read(made.png)), pixels)
    assert (made.name, made.caption, made.svg, made.model) == ("a", "caption", "", "tiny")


def test_wide_pictures_are_narrowed_in_proportion(tmp_path):
    Image.new("L", (1800, 1000), 90).save(tmp_path / "a.png")
    assert read(photograph(tmp_path / "a.png", 100_000, "a", "", "").png).size == (900, 500)


def test_colours_go_before_width(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    made = read(photograph(tmp_path / "a.png", 100_000, "a", "", "").png)
    assert made.size == (300, 200)
    assert len(made.convert("RGB").getcolors()) <= COLOURS


def test_a_budget_that_cannot_be_met_gives_the_smallest(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (100, 800, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert read(photograph(tmp_path / "a.png", 10, "a", "", "").png).size == (360, 45)


@pytest.mark.parametrize("content", [None, b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"<svg/>"])
def test_no_whole_png_is_an_error_of_one_line(tmp_path, content):
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.png: absent or no whole PNG file") as error:
        photograph(tmp_path / "a.png", 1000, "a", "", "")
    assert "\n" not in str(error.value) and str(tmp_path) not in str(error.value)


def test_a_picture_of_too_many_pixels_is_not_decoded(tmp_path):
    Image.new("1", (9000, 9000)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="million pixels"):
        photograph(tmp_path / "a.png", 1000, "a", "", "")
