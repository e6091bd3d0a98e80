from __future__ import annotations

import numpy as np
import pytest

from hideseek.data.samples import Decoded, to_8_bit


@pytest.mark.parametrize(
    ("low", "high", "window", "rule"),
    [
        (3, 4095, (0.0, 4095.0), "bits"),
        (0, 65535, (0.0, 65535.0), "bits"),
        (0, 65536, (0.0, 65536.0), "bits, which fell back to minmax"),
        (5, 65536, (5.0, 65536.0), "bits, which fell back to minmax"),
        (-1, 4000, (-1.0, 4000.0), "bits, which fell back to minmax"),
    ],
)
def test_a_note_tells_where_bits_fell_back(
    low: float, high: float, window: tuple[float, float], rule: str
) -> None:
    decoded = Decoded(np.array([[low, high]], np.float64), 32, "TIFF")
    pixels, found, notes = to_8_bit(decoded, "bits")
    assert found == window
    assert pixels[0, 1] == 255
    ((kind, reason),) = notes
    assert kind == "high_bit"
    assert reason.endswith(f"become 0 to 255 ({rule})")
