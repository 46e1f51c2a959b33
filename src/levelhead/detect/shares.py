"""Does each server get the share it is meant to get, and the share its configuration must give it?

Above: a server's share is at most (1 + tolerance) times the expected one. Below: it is at least `FLOOR` of it. Where
clients rather than requests are spread (hash, affinity), both grow with the noise that so many clients make.
"""

from __future__ import annotations

import numpy as np

from levelhead.detect.base import HOLD, Track, bernoulli
from levelhead.detect.recent import Recent
from levelhead.telemetry import Flags, Floats, Layout, Tick

TOLERANCE = 0.2
ALTERNATIVES = np.asarray([1.15, 1.35, 1.65, 2.05, 2.75])
FLOOR = 0.5
FALLEN = np.asarray([0.5, 0.05])
CLIENT_SIGMAS = 4.0
FEWEST_CLIENTS = 20.0


def above(track: Track, tick: Tick, expected: Floats, by_key: Floats, recent: Recent, threshold: Floats) -> Track:
    """One test per row that its share is not above `expected`; rows whose expectation is unknown are frozen, and so are
    those that should get nothing: a server that just fell, or is drained, still had or has requests.

    `by_key` is 1 on rows of pools that spread clients; there, too few clients make the share unknowable.
    """
    k, n = tick.requests, _of_pool(tick.layout, tick.requests)
    null = np.clip(expected * (1 + TOLERANCE + _noise(tick.layout, expected, by_key, recent)), 1e-4, 0.999)
    judged = _knowable(tick.layout, expected, by_key, recent) & (expected > 0) & (n > 0)
    rows = np.flatnonzero(judged & (track.suspect | (k > null * n)))
    other = np.minimum(null[rows] * ALTERNATIVES[:, None], 0.9995)
    return track.advanced(rows, bernoulli(k[rows], n[rows], null[rows], other), threshold, tick.at_s, HOLD)


def below(track: Track, tick: Tick, expected: Floats, by_key: Floats, recent: Recent, threshold: Floats) -> Track:
    """One test per row that its share is not far below `expected`: a server that is meant to work and gets nothing."""
    k, n = tick.requests, _of_pool(tick.layout, tick.requests)
    null = np.clip(expected * FLOOR / (1 + _noise(tick.layout, expected, by_key, recent)), 1e-6, 0.999)
    judged = _knowable(tick.layout, expected, by_key, recent) & (expected > 0) & (n > 0)
    rows = np.flatnonzero(judged & (track.suspect | (k < null * n)))
    other = null[rows] * FALLEN[:, None]
    return track.advanced(rows, bernoulli(k[rows], n[rows], null[rows], other), threshold, tick.at_s, HOLD)


def noticed(null_share: float, share: float, threshold: float) -> float:
    """Lorden's bound: the fewest requests in which any test with this threshold can notice this share."""
    q, p = share, min(null_share * (1 + TOLERANCE), 0.999)
    return float(threshold / (q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p))))


def _of_pool(layout: Layout, rows: Floats) -> Floats:
    return layout.per_row(layout.per_pool(rows))


def _noise(layout: Layout, expected: Floats, by_key: Floats, recent: Recent) -> Floats:
    """How far off its expectation a share may be, in parts of it, when so few clients are spread by lot."""
    if not by_key.any():
        return np.zeros(len(expected))
    clients = layout.per_row(recent.clients)
    return np.where(by_key > 0, CLIENT_SIGMAS * np.sqrt((1 - expected) / np.maximum(expected * clients, 1e-9)), 0.0)


def _knowable(layout: Layout, expected: Floats, by_key: Floats, recent: Recent) -> Flags:
    many = (by_key == 0) | (layout.per_row(recent.clients) >= FEWEST_CLIENTS)
    known: Flags = many & (layout.per_row(layout.sizes.astype(np.float64)) >= 2) & (expected < 0.95)
    return known
