"""What usually arrives at this time of day: rates in bins of five minutes, learnt over days.

A surge is what the last minute and the same time of earlier days both do not explain: a job that comes every night is
none. Days are counted in Unix time; a bin is believed once it was seen on two days, and its neighbours speak for it
too, because people and jobs are not punctual.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from levelhead.telemetry import Floats, Ints, Tick, known_or

DAY_S, BIN_S = 86_400.0, 300.0
BINS = round(DAY_S / BIN_S)
# What is older than about so many days fades; fewer than this many say nothing yet.
DAYS, FEWEST_DAYS = 7.0, 2.0


@dataclass(frozen=True, slots=True)
class Season:
    """Requests per second and days seen [bins, pools]; the bin that is being counted, its requests and seconds."""

    mean: Floats
    days: Floats
    bin: int
    arrived: Floats
    seconds: float

    @staticmethod
    def begin(pools: int) -> Season:
        return Season(np.zeros((BINS, pools)), np.zeros((BINS, pools)), -1, np.zeros(pools), 0.0)

    def reindexed(self, pools: Ints) -> Season:
        def moved(column: Floats) -> Floats:
            padded: Floats = np.concatenate([column, np.zeros((len(column), 1))], axis=1)[:, pools]
            return padded

        arrived = moved(self.arrived[None, :])[0]
        return Season(moved(self.mean), moved(self.days), self.bin, arrived, self.seconds)


def updated(season: Season, tick: Tick) -> Season:
    """After one more tick; a bin is learnt when it is over, if most of it was seen."""
    now, arrived = bin_of(tick.at_s), known_or(tick.pool.arrived)
    if now == season.bin:
        return Season(season.mean, season.days, now, season.arrived + arrived, season.seconds + tick.seconds)
    mean, days = season.mean, season.days
    if season.seconds >= BIN_S / 2:
        mean, days, over = mean.copy(), days.copy(), season.bin
        days[over] += 1
        mean[over] += (season.arrived / season.seconds - mean[over]) / np.minimum(days[over], DAYS)
    return Season(mean, days, now, arrived.copy(), tick.seconds)


def forecast(season: Season, rate: Floats, at_s: float) -> Floats:
    """Requests per second to be expected per pool: `rate`, that of the last minute, or what is usual now, if more."""
    near = (bin_of(at_s) + np.asarray([-1, 0, 1])) % BINS
    usual = np.where(season.days[near] >= FEWEST_DAYS, season.mean[near], 0.0).max(axis=0)
    return np.where(usual > 0, np.fmax(rate, usual), rate)


def bin_of(at_s: float) -> int:
    return int(at_s % DAY_S // BIN_S)
