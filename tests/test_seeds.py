from __future__ import annotations

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from hideseek.seeds import stream

SEEDS = st.integers(0, 2**32 - 1)
KEYS = st.lists(st.integers(0, 2**32 - 1), max_size=3)


@given(SEEDS, st.text(max_size=20), KEYS)
def test_a_stream_is_a_32_bit_number_and_depends_on_its_arguments_only(seed, name, keys):
    value = stream(seed, name, *keys)
    assert isinstance(value, int)
    assert 0 <= value < 2**32
    assert stream(seed, name, *keys) == value


def test_streams_are_the_same_in_another_process_whatever_its_hash_seed():
    code = "from hideseek.seeds import stream; print(stream(7, 'augment', 3, 41))"
    for hash_seed in ("1", "2"):
        out = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert int(out) == stream(7, "augment", 3, 41)


def test_seed_name_and_every_key_matter():
    values = [
        stream(0, "augment"),
        stream(1, "augment"),
        stream(0, "sampler"),
        stream(0, "augment", 0),
        stream(0, "augment", 1),
        stream(0, "augment", 0, 1),
        stream(0, "augment", 1, 0),
    ]
    assert len(set(values)) == len(values)


def test_neighbouring_streams_look_independent():
    values = [stream(0, "augment", epoch, i) for epoch in range(20) for i in range(100)]
    assert len(set(values)) == len(values)
    # The mean of 2000 uniform numbers has a standard deviation of 0.0065.
    assert abs(sum(values) / len(values) / 2**32 - 0.5) < 0.03
