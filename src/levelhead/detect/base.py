"""Signals, and the sequential test they come from: a CUSUM of log-likelihood ratios mixed over alternatives.

A test runs on every row at once. Its score after each tick is, per alternative, S <- max(S, 0) + llr; the evidence is
the log of the mean of exp(S) (Shin, Ramdas & Rinaldo 2023, e-detectors). With a threshold of ln(c) the mean time
between false alarms is at least c ticks (Lorden 1971 bounds the delay from below by ln(c)/KL).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from levelhead.telemetry import Flags, Floats, Ints, known_or

TICKS_PER_MONTH = 30 * 24 * 3600 * 4
TESTS = 6

# Evidence above the threshold is not kept: what has passed must be able to clear within as many requests.
HEADROOM = 3.0


class Kind(Enum):
    """What a detector reports."""

    SHARE = "share-above-intended"
    UNPREDICTED = "share-not-as-predicted"
    ERRORS = "errors-above-peers"
    LATENCY = "latency-above-peers"
    SURGE = "arrivals-above-forecast"
    CHECK = "check-failing"
    REFUSED = "requests-refused"
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
    """One test over all rows: scores [rows, alternatives], since when a row is suspect (NaN: it is not), and alarms."""

    score: Floats
    since: Floats
    on: Flags

    @staticmethod
    def begin(rows: int, alternatives: int) -> Track:
        return Track(np.zeros((rows, alternatives)), np.full(rows, np.nan), np.zeros(rows, dtype=bool))

    def reindexed(self, rows: Ints) -> Track:
        blank = Track.begin(1, self.score.shape[1])
        return Track(
            np.concatenate([self.score, blank.score])[rows],
            np.concatenate([self.since, blank.since])[rows],
            np.concatenate([self.on, blank.on])[rows],
        )

    def evidence(self) -> Floats:
        """Nats in favour of some alternative, per row."""
        top = self.score.max(axis=1)
        mixed: Floats = top + np.log(np.exp(self.score - top[:, None]).mean(axis=1))
        return mixed

    def advanced(self, llr: Floats, threshold: Floats, at: float) -> Track:
        """After one more tick. `llr` is [rows, alternatives]; a row of NaN is frozen, not reset."""
        known: Flags = np.asarray(~np.isnan(llr).any(axis=1))
        score = np.maximum(self.score, 0.0) + known_or(llr)
        score = np.minimum(score, threshold[:, None] + HEADROOM)
        score = np.where(known[:, None], score, self.score)
        suspect: Flags = np.asarray(score.max(axis=1) > 0)
        since = np.where(suspect, np.where(np.isnan(self.since), at, self.since), np.nan)
        moved = Track(score, since, self.on)
        on: Flags = np.where(self.on, suspect, moved.evidence() >= threshold)
        return Track(score, since, on)

    def raised(self, rows: Flags, level: Floats, at: float) -> Track:
        """The same with these rows at least at `level` nats for every alternative: they are suspect already."""
        score = np.where(rows[:, None], np.maximum(self.score, level[:, None]), self.score)
        return Track(score, np.where(rows & np.isnan(self.since), at, self.since), self.on)

    def cleared(self, rows: Flags) -> Track:
        """The same with these rows as if nothing had been seen."""
        return Track(
            np.where(rows[:, None], 0.0, self.score), np.where(rows, np.nan, self.since), np.where(rows, False, self.on)
        )


def thresholds(sizes: Ints, false_alarms_per_month: float) -> Floats:
    """ln(c) per pool: c ticks, servers and tests together, for so many false alarms a month and pool."""
    counted: Floats = np.log(sizes * TESTS * TICKS_PER_MONTH / false_alarms_per_month)
    return counted


def bernoulli(k: Floats, n: Floats, p0: Floats, p1: Floats) -> Floats:
    """Log-likelihood ratio [rows, alternatives] of k of n under rates p1 [rows, alternatives] against p0 [rows]."""
    null = np.clip(p0, 1e-9, 1 - 1e-9)[:, None]
    other = np.clip(p1, 1e-9, 1 - 1e-9)
    counted: Floats = k[:, None] * np.log(other / null) + (n - k)[:, None] * np.log((1 - other) / (1 - null))
    return counted


def poisson(x: Floats, mean: Floats, factors: Floats) -> Floats:
    """Log-likelihood ratio [rows, alternatives] of a count x with mean*factor against mean."""
    counted: Floats = x[:, None] * np.log(factors)[None, :] - mean[:, None] * (factors - 1)[None, :]
    return counted
