"""Does each server get the share it is meant to get, and the share its configuration must give it?

Null hypothesis: a server's share is at most (1 + tolerance) times the expected one. Where clients rather than
requests are spread (hash, affinity), the tolerance grows with the noise that so many clients make.
"""

from __future__ import annotations

import numpy as np

from levelhead.detect.base import Track, bernoulli
from levelhead.detect.recent import Recent
from levelhead.telemetry import Floats, Tick

TOLERANCE = 0.2
ALTERNATIVES = np.asarray([1.15, 1.35, 1.65, 2.05, 2.75])
CLIENT_SIGMAS = 4.0
FEWEST_CLIENTS = 20.0


def observe(
    track: Track, tick: Tick, expected: Floats, by_key: Floats, recent: Recent, threshold: Floats
) -> Track:
    """One test per row that its share is not above `expected`; rows whose expectation is unknown are frozen.

    `by_key` is 1 on rows of pools that spread clients; there, too few clients make the share unknowable.
    """
    layout = tick.layout
    k = tick.requests
    n = layout.per_row(layout.per_pool(k))
    clients = layout.per_row(recent.clients)
    spread = np.where(by_key > 0, CLIENT_SIGMAS * np.sqrt((1 - expected) / np.maximum(expected * clients, 1e-9)), 0.0)
    null = np.clip(expected * (1 + TOLERANCE + spread), 1e-4, 0.999)
    unknowable = (by_key > 0) & ~(clients >= FEWEST_CLIENTS)
    alone = layout.per_row(layout.sizes.astype(np.float64)) < 2
    llr = bernoulli(k, n, null, np.clip(null[:, None] * ALTERNATIVES, None, 0.9995))
    llr[unknowable | alone | ~(expected < 0.95)] = np.nan
    return track.advanced(llr, threshold, tick.at_s)


def noticed(null_share: float, share: float, threshold: float) -> float:
    """Lorden's bound: the fewest requests in which any test with this threshold can notice this share."""
    q, p = share, min(null_share * (1 + TOLERANCE), 0.999)
    return float(threshold / (q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p))))
