"""Randomness by name: one seed gives every server, crowd and policy a stream of its own, drawn in blocks.

What happens in one stream does not shift another: the same users come whatever the servers do.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np

from levelhead.telemetry import Floats

BLOCK = 1024


def number(name: str) -> int:
    """A name as a 64-bit number, the same in every process."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")


def stream(seed: int, *names: str) -> np.random.Generator:
    """The stream of this name under this seed; a negative seed is taken without its sign."""
    return np.random.default_rng([abs(seed), *(number(name) for name in names)])


class Dice:
    """Uniform numbers in [0, 1), one at a time."""

    __slots__ = ("_rng", "_values")

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._values: list[float] = []

    def roll(self) -> float:
        if not self._values:
            self._values = self._rng.random(BLOCK).tolist()
        return self._values.pop()


def zipf(count: int, exponent: float) -> Floats:
    """Cumulated probabilities of ranks 1 to `count`, each proportional to rank^-exponent; the last is 1."""
    wish = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    cumulated: Floats = np.cumsum(wish) / wish.sum()
    cumulated[-1] = 1.0
    return cumulated


def mixed(key: int) -> int:
    """A 64-bit hash of a number in which every bit of the input moves half of the output (SplitMix64's finish)."""
    key = (key + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    key = ((key ^ (key >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    key = ((key ^ (key >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return key ^ (key >> 31)
