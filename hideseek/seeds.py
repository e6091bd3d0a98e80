"""Named random streams, so that no part of a run disturbs another's random numbers.

Every random decision of a cell derives from its one `seed` and the name of what is decided. Adding
a stream therefore changes no other, and neither the number of workers nor of ranks does.
"""

from __future__ import annotations

import zlib

import numpy as np


def image_key(image_id: str) -> int:
    """Turn an image's name into a key for `stream`: the same in every cache that holds it."""
    return zlib.crc32(image_id.encode())


def stream(seed: int, name: str, *keys: int) -> int:
    """Derive a 32-bit seed for one named use.

    Args:
        seed: the cell's seed, at least 0.
        name: what it is for, for example "initialise" or "augment".
        keys: further non-negative integers, for example epoch and position.

    Returns:
        An integer in 0 .. 2**32 - 1, the same on every machine.
    """
    entropy = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(name.encode()), *keys))
    return int(entropy.generate_state(1)[0])
