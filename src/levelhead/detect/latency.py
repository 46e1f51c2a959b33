"""Does one server hold more requests in flight than its traffic explains, beside its peers? Or does the whole pool?

By Little's law requests in flight are rate times latency, and they rise at once, while averages of latency lag by
hundreds of requests. The expectation for a server is what its peers hold per request, times its own requests, times
the ratio it always had (a slower machine is not a sick one). All of them rising together accuses nobody: that is
tested for the pool, against the time its requests usually take.
"""

from __future__ import annotations

import numpy as np

from levelhead.detect.base import Track, poisson
from levelhead.detect.recent import Recent, peers
from levelhead.telemetry import Floats, Ints, Tick, known_or

FACTORS = np.asarray([2.0, 5.0])
SLACK = 2.0
POOL_SLACK = 1.5
# In-flight counts of neighbouring ticks are not independent: one tick may speak, but only three together may decide
# (each gives less than half of what it takes), so that a pause of a few hundred milliseconds is no slow server.
FEWEST_TICKS = 2.4
FEWEST_POOL_TICKS = 8.0
# A server that gets more than so many times what all its peers get together is compared with nobody.
MOST_TIMES = 50.0
# Before that a slower machine cannot be told from a sick one.
LEARN_S = 8.0


def expectation(recent: Recent, tick: Tick) -> Floats:
    """Requests in flight that each row should hold, given what its peers hold now and lately."""
    layout = tick.layout
    sizes = layout.per_row(layout.sizes.astype(np.float64))
    ours = np.maximum(recent.requests, 0.5)
    others = np.maximum(peers(layout, recent.requests), 0.5)
    now, lately = known_or(tick.in_flight), recent.in_flight
    held = np.maximum(peers(layout, now), peers(layout, lately)) + 0.5 * (sizes - 1)
    expected: Floats = held * np.minimum(ours / others, MOST_TIMES) * np.maximum(recent.ratio, 0.5)
    return expected


def allowance(recent: Recent, tick: Tick) -> Floats:
    """Requests in flight that each row may hold before it is suspect."""
    return SLACK * expectation(recent, tick) + 1.0


def observe(track: Track, tick: Tick, allowed: Floats, recent: Recent, threshold: Floats) -> Track:
    """One capped Poisson test per row on requests in flight, against its `allowance`."""
    layout = tick.layout
    judged = (layout.per_row(layout.sizes.astype(np.float64)) >= 2) & (recent.known_s >= LEARN_S)
    judged &= ~np.isnan(tick.in_flight)
    rows = np.flatnonzero(judged & (track.suspect | (tick.in_flight > allowed)))
    return _capped(track, tick, tick.in_flight, allowed, threshold, rows, FEWEST_TICKS)


def slowdown(track: Track, tick: Tick, allowed: Floats, recent: Recent, threshold: Floats) -> Track:
    """The same per pool, against the time that its requests usually take; what one server alone holds too much is its
    own."""
    held = tick.layout.per_pool(np.minimum(tick.in_flight, allowed))
    usual = POOL_SLACK * usually(recent) + 2.0
    judged = (recent.calm_s >= LEARN_S) & ~np.isnan(held)
    rows = np.flatnonzero(judged & (track.suspect | (held > usual)))
    return _capped(track, tick, held, usual, threshold, rows, FEWEST_POOL_TICKS)


def usually(recent: Recent) -> Floats:
    """Requests in flight that each pool should hold, at the rate of the last seconds and the pace it usually has."""
    return known_or(recent.pace) * recent.arrived / np.maximum(recent.seconds, 1e-9)


def _capped(
    track: Track, tick: Tick, held: Floats, mean: Floats, threshold: Floats, rows: Ints,
    fewest_ticks: float,
) -> Track:  # fmt: skip
    most = threshold[rows] / fewest_ticks
    llr = np.clip(poisson(held[rows], mean[rows], FACTORS), -most, most)
    return track.advanced(rows, llr, threshold, tick.at_s)
