"""Do checks say what traffic says, and do they make up their mind?

A check that takes a server out while its last requests were answered well, and no later than its peers', is doubted
until it passes again. One that changes its mind again and again is flapping. (A check that passes while requests fail
needs no detector of its own: the errors show it.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from levelhead.detect import latency
from levelhead.detect.base import Track
from levelhead.detect.recent import Recent
from levelhead.telemetry import Flags, Floats, Health, Ints, Tick, known_or, reindexed

# A server whose check failed is known to have served well by this many requests of the last seconds.
ENOUGH = 5.0
FLAPS_S = 30.0
FLAPPING, STEADY_AGAIN = 3.5, 1.5

_UNKNOWN = int(Health.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Checks:
    """Per row: whether its check failed at the last look, how often it changed its mind lately; facts."""

    failed: Flags
    flips: Floats
    failing: Track
    doubted: Track
    flapping: Track

    @staticmethod
    def begin(rows: int) -> Checks:
        return Checks(np.zeros(rows, dtype=bool), np.zeros(rows), *(Track.begin(rows, 1) for _ in range(3)))

    def reindexed(self, rows: Ints) -> Checks:
        return Checks(
            reindexed(self.failed.astype(np.float64), rows) > 0, reindexed(self.flips, rows),
            self.failing.reindexed(rows), self.doubted.reindexed(rows), self.flapping.reindexed(rows),
        )  # fmt: skip


def observe(checks: Checks, tick: Tick, before: Recent) -> Checks:
    """One look; `before` is what the last seconds before it were like."""
    said = ~np.equal(tick.health, _UNKNOWN)
    failed = np.where(said, tick.failing(), checks.failed)
    flips = checks.flips * 0.5 ** (tick.seconds / FLAPS_S) + (failed != checks.failed)
    fell = failed & ~checks.failed
    doubted = failed & (checks.doubted.on | (fell & _well(before, tick) if fell.any() else fell))
    flapping = (flips >= FLAPPING) | (checks.flapping.on & (flips >= STEADY_AGAIN))
    return replace(
        checks, failed=failed, flips=flips,
        failing=checks.failing.flagged(tick.failing() & tick.ready(), tick.at_s),
        doubted=checks.doubted.flagged(doubted & tick.ready(), tick.at_s),
        flapping=checks.flapping.flagged(flapping & tick.ready(), tick.at_s),
    )  # fmt: skip


def _well(before: Recent, tick: Tick) -> Flags:
    """Which rows answered well in those seconds, and held no more than their peers' pace explains."""
    well = (before.requests >= ENOUGH) & (before.failures <= 0.02 * before.requests)
    well &= before.late <= 0.02 * before.records
    found: Flags = well & (known_or(before.in_flight, np.inf) <= latency.allowance(before, tick))
    return found
