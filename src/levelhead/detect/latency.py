"""Does one server hold more requests in flight than its traffic explains, beside its peers?

By Little's law requests in flight are rate times latency, and they rise at once, while averages of latency lag by
hundreds of requests. The expectation for a server is what its peers hold per request, times its own requests, times
the ratio it always had (a slower machine is not a sick one). All of them rising together accuses nobody.
"""

from __future__ import annotations

import numpy as np

from levelhead.detect.base import Track, poisson
from levelhead.detect.recent import Recent, peers
from levelhead.telemetry import Floats, Tick, known_or

FACTORS = np.asarray([2.0, 5.0])
SLACK = 2.0
# In-flight counts of neighbouring ticks are not independent: one tick may speak, but only a few together may decide,
# so that a pause of a few hundred milliseconds is not taken for a slow server.
MOST_PER_TICK = 4.5


def expectation(recent: Recent, tick: Tick) -> Floats:
    """Requests in flight that each row should hold, given what its peers hold now and lately."""
    layout = tick.layout
    sizes = layout.per_row(layout.sizes.astype(np.float64))
    ours = np.maximum(recent.requests, 0.5)
    others = np.maximum(peers(layout, recent.requests), 0.5)
    now, lately = known_or(tick.in_flight), recent.in_flight
    held = np.maximum(peers(layout, now), peers(layout, lately)) + 0.5 * (sizes - 1)
    expected: Floats = held * np.minimum(ours / others, 10.0) * np.maximum(recent.ratio, 0.5)
    return expected


def allowance(recent: Recent, tick: Tick) -> Floats:
    """Requests in flight that each row may hold before it is suspect."""
    return SLACK * expectation(recent, tick) + 1.0


def observe(track: Track, tick: Tick, recent: Recent, threshold: Floats) -> Track:
    """One capped Poisson test per row on requests in flight."""
    layout = tick.layout
    mean = allowance(recent, tick)
    llr = np.clip(poisson(tick.in_flight, mean, FACTORS), -MOST_PER_TICK, MOST_PER_TICK)
    llr[layout.per_row(layout.sizes.astype(np.float64)) < 2] = np.nan
    return track.advanced(llr, threshold, tick.at_s)
