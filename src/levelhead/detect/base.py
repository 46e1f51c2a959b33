"""Signals, and the sequential test they come from: a CUSUM of log-likelihood ratios mixed over alternatives.

A test runs on every row at once. Its score after each tick is, per alternative, S <- max(S, 0) + llr; the evidence is
the log of the mean of exp(S) (Shin, Ramdas & Rinaldo 2023, e-detectors). With a threshold of ln(c) the mean time
between false alarms is at least c ticks (Lorden 1971 bounds the delay from below by ln(c)/KL).

A row is suspect while a score of its is above 0. Rows that are not, and show nothing for any alternative, need no
arithmetic: that is nearly all of them, nearly always.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from levelhead.telemetry import Flags, Floats, Ints

TICKS_PER_MONTH = 30 * 24 * 3600 * 4
# Tests of one server that share the budget of false alarms: three of its share, two of its answers, one of its pace;
# and three of its pool.
TESTS = 9

# Evidence above the threshold is not kept: what has passed must be able to clear within as many requests.
HEADROOM = 3.0
# A test of single requests that has passed stands until it is refuted at odds of e^8: what took a second to see must
# not take ten to be over.
HOLD = 8.0


class Kind(Enum):
    """What a detector reports."""

    SHARE = "share-above-intended"
    UNPREDICTED = "share-not-as-predicted"
    STARVED = "share-below-predicted"
    ERRORS = "errors-above-peers"
    LATENCY = "latency-above-peers"
    SURGE = "arrivals-above-forecast"
    SLOWDOWN = "pool-slower-than-usual"
    RETRIES = "retries-above-usual"
    QUEUE = "requests-queued"
    FULL = "connections-at-limit"
    CHECK = "check-failing"
    DOUBT = "check-against-traffic"
    FLAPPING = "check-flapping"
    CLIENTS = "few-clients-dominate"
    PINNED = "requests-follow-old-connections"
    REFUSED = "requests-refused"
    BURN = "budget-burning"
    HARM = "users-harmed"


@dataclass(frozen=True, slots=True)
class Signal:
    """A detector's report: since when (Unix seconds), about whom, and the figures in a sentence.

    `server` is "" where the whole pool is meant. `score` is the evidence in nats where a test made it, else infinite.
    """

    kind: Kind
    pool: str
    server: str
    since: float
    score: float
    sentence: str


@dataclass(frozen=True, slots=True)
class Track:
    """One test over all rows: scores [alternatives, rows], since when a row is suspect (NaN: it is not), alarms."""

    score: Floats
    since: Floats
    on: Flags

    @staticmethod
    def begin(rows: int, alternatives: int) -> Track:
        return Track(np.zeros((alternatives, rows)), np.full(rows, np.nan), np.zeros(rows, dtype=bool))

    def reindexed(self, rows: Ints) -> Track:
        blank = Track.begin(1, len(self.score))
        return Track(
            np.concatenate([self.score, blank.score], axis=1)[:, rows],
            np.concatenate([self.since, blank.since])[rows],
            np.concatenate([self.on, blank.on])[rows],
        )

    @property
    def suspect(self) -> Flags:
        return ~np.isnan(self.since)

    def alike(self, other: Track) -> bool:
        """Whether the other knows just the same."""
        return self is other or (
            np.array_equal(self.score, other.score)
            and np.array_equal(self.since, other.since, equal_nan=True)
            and np.array_equal(self.on, other.on)
        )

    def evidence(self) -> Floats:
        """Nats in favour of some alternative, per row."""
        return _mixed(self.score)

    def advanced(
        self, rows: Ints, llr: Floats, threshold: Floats, at: float, hold: float = np.inf
    ) -> Track:
        """After one more tick that spoke of these rows: `llr` is [alternatives, rows], `threshold` one per row of all.

        Rows not named keep their state: they are either frozen, or neither suspect nor conspicuous now. `hold` is the
        most evidence that is kept while an alarm stands.
        """
        if not len(rows):
            return self
        limit = threshold[rows]
        most = np.where(self.on[rows], np.minimum(limit + HEADROOM, hold), limit + HEADROOM)
        moved = np.minimum(np.maximum(self.score[:, rows], 0.0) + llr, most)
        top = moved.max(axis=0)
        suspect = top > 0
        began = self.since[rows]
        passed = suspect & self.on[rows]
        near = top >= limit  # the mixture is never above its best alternative
        passed[near] |= _mixed(moved[:, near]) >= limit[near]
        score, since, on = self.score.copy(), self.since.copy(), self.on.copy()
        score[:, rows] = np.where(suspect, moved, 0.0)
        since[rows] = np.where(suspect, np.where(np.isnan(began), at, began), np.nan)
        on[rows] = passed
        return Track(score, since, on)

    def raised(self, rows: Flags, level: Floats, at: float) -> Track:
        """The same with these rows at least at `level` nats for every alternative: they are suspect already."""
        if not rows.any():
            return self
        score = np.where(rows, np.maximum(self.score, level), self.score)
        return Track(score, np.where(rows & np.isnan(self.since), at, self.since), self.on)

    def cleared(self, rows: Flags) -> Track:
        """The same with these rows as if nothing had been seen."""
        if not (rows & self.suspect).any():
            return self
        return Track(np.where(rows, 0.0, self.score), np.where(rows, np.nan, self.since), self.on & ~rows)

    def flagged(self, on: Flags, at: float) -> Track:
        """A fact in place of a test: these rows are on now, and were since they first were."""
        return Track(self.score, np.where(on, np.where(np.isnan(self.since), at, self.since), np.nan), on)


def thresholds(sizes: Ints, false_alarms_per_month: float) -> Floats:
    """ln(c) per pool: c ticks, servers and tests together, for so many false alarms a month and pool."""
    counted: Floats = np.log(sizes * TESTS * TICKS_PER_MONTH / false_alarms_per_month)
    return counted


def bernoulli(k: Floats, n: Floats, p0: Floats, p1: Floats) -> Floats:
    """Log-likelihood ratio [alternatives, rows] of k of n under rates p1 [alternatives, rows] against p0 [rows]."""
    null = np.clip(p0, 1e-9, 1 - 1e-9)
    other = np.clip(p1, 1e-9, 1 - 1e-9)
    counted: Floats = k * np.log(other / null) + (n - k) * np.log((1 - other) / (1 - null))
    return counted


def poisson(x: Floats, mean: Floats, factors: Floats) -> Floats:
    """Log-likelihood ratio [alternatives, rows] of a count x with mean*factor against mean."""
    counted: Floats = x * np.log(factors)[:, None] - mean * (factors - 1)[:, None]
    return counted


def _mixed(score: Floats) -> Floats:
    if not score.shape[1]:
        return np.zeros(0)
    top = score.max(axis=0)
    mixed: Floats = top + np.log(np.exp(score - top).mean(axis=0))
    return mixed
