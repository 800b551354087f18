r"""Random numbers that belong to a tick: the same for (seed, node name, tick) on every machine and in every release.

The derivation, version 1, fixed for good because recordings rely on it:

1. ``text = f"{seed}\0{tick}\0{node}"`` in UTF-8, numbers in decimal with a ``-`` where negative. Digits hold no NUL,
   so different triples never give the same text.
2. ``digest = BLAKE2b(text, digest size 16 bytes, personalisation b"horus-tick-v1")``.
3. ``state`` is the digest read as a big-endian integer of 128 bits.
4. ``rng()`` is ``random.Random(state)`` and ``np_rng()`` is ``numpy.random.Generator(numpy.random.PCG64(state))``.

A node's numbers depend on nothing else, so adding or removing another node never changes them. Across their versions
Python and NumPy promise to keep ``Random.random()`` and the PCG64 bit stream; derived methods such as ``shuffle`` or
``normal`` may change.
"""

from __future__ import annotations

import os
import random
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_PERSON = b"horus-tick-v1"


def tick_seed(seed: int, node: str, tick: int) -> int:
    """The 128-bit seed of one node's tick; ``seed`` is any integer."""
    text = f"{seed}\0{tick}\0{node}".encode()
    return int.from_bytes(blake2b(text, digest_size=16, person=_PERSON).digest(), "big")


def tick_random(seed: int, node: str, tick: int) -> random.Random:
    """The generator behind ``rng()`` in one node's tick."""
    return random.Random(tick_seed(seed, node, tick))


def tick_np_random(seed: int, node: str, tick: int) -> np.random.Generator:
    """The generator behind ``np_rng()`` in one node's tick; imports NumPy."""
    from numpy.random import PCG64, Generator

    return Generator(PCG64(tick_seed(seed, node, tick)))


def system_seed() -> int:
    """64 random bits from the operating system: the seed of a real-time run, recorded so that it can be repeated."""
    return int.from_bytes(os.urandom(8), "big")
