"""How fast a pool, and each server, uses up its error budget: burn rates in pairs of windows.

The pairs are those of the SRE Workbook (chapter 5, for a month's budget): both windows of a pair must burn at its
rate. Windows are fading sums, so that a window that is not filled yet counts the time there is (a young SLO is not
blind), and a floor of bad requests keeps one failure in a quiet hour from burning anything. Where nothing is asked
nothing is known: no requests are no hundred per cent.

This is the slow test. Harm that shows within seconds is told by `Kind.HARM`; while it does, and for a minute after,
nothing new is said here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from levelhead.detect.base import Track
from levelhead.telemetry import Flags, Floats, Ints

# Length of the long and the short window of each pair, and the rate of burning.
PAIRS = ((3600.0, 300.0, 14.4), (21_600.0, 1800.0, 6.0))
WINDOWS_S = np.asarray([seconds for long, short, _ in PAIRS for seconds in (long, short)])
RATES = np.repeat([rate for _, _, rate in PAIRS], 2)
FEWEST_BAD = 10.0
YOUNG_S = 60.0


@dataclass(frozen=True, slots=True)
class Burn:
    """Fading sums [windows, rows] of bad and seen requests, and for how long each row has been watched."""

    bad: Floats
    seen: Floats
    watched_s: Floats
    track: Track

    @staticmethod
    def begin(rows: int) -> Burn:
        shape = (len(WINDOWS_S), rows)
        return Burn(np.zeros(shape), np.zeros(shape), np.zeros(rows), Track.begin(rows, 1))

    def reindexed(self, rows: Ints) -> Burn:
        blank = Burn.begin(1)
        return Burn(
            np.concatenate([self.bad, blank.bad], axis=1)[:, rows],
            np.concatenate([self.seen, blank.seen], axis=1)[:, rows],
            np.concatenate([self.watched_s, blank.watched_s])[rows], self.track.reindexed(rows),
        )  # fmt: skip

    def rates_of(self, row: int, availability: float) -> list[float]:
        """How many times too fast each window of a row burns; 0 where nothing was asked, as nothing is used up then."""
        allowed = (max(1 - availability, 1e-9) * np.maximum(self.seen[:, row], 1e-9)).tolist()
        return [bad / most for bad, most in zip(self.bad[:, row].tolist(), allowed, strict=True)]


def observe(
    burn: Burn, bad: Floats, seen: Floats, availability: Floats, hushed: Flags, seconds: float, at: float
) -> Burn:
    """One tick of `bad` of `seen` requests. Rows that are `hushed` begin no alarm; what burns already goes on."""
    kept = np.exp(-seconds / WINDOWS_S)[:, None]
    now = Burn(burn.bad * kept + bad, burn.seen * kept + seen, burn.watched_s + seconds, burn.track)
    fast = (now.bad >= FEWEST_BAD) & (now.bad > RATES[:, None] * (1 - availability) * now.seen)
    pairs = fast[0::2] & fast[1::2]
    # Once on, a pair stays until its short window is clean.
    on = pairs.any(axis=0) & ~hushed & (now.watched_s >= YOUNG_S)
    still = burn.track.on & fast[1::2].any(axis=0)
    return Burn(now.bad, now.seen, now.watched_s, burn.track.flagged(on | still, at))
