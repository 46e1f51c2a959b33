"""Do more requests arrive than were to be expected, and are they sent more than once?

The forecast is the rate of the last minute of calm, or what is usual at this time of day, if that is more
(`season`); its spread is the variance of counts over their mean, estimated,
because real traffic comes in bursts. The null allows a quarter more than the forecast. Attempts that the proxy makes
again are counted against the requests that came: up to one in ten is usual.
"""

from __future__ import annotations

import numpy as np

from levelhead.detect.base import Track, poisson
from levelhead.detect.recent import Recent
from levelhead.telemetry import Floats, Tick, known_or

SLACK = 1.25
FACTORS = np.asarray([1.3, 2.0, 4.0])
HISTORY_S = 8.0
MOST_PER_TICK = 8.0

USUAL_RETRIES = 0.1
RETRY_FACTORS = np.asarray([2.0, 6.0])


def surge(track: Track, tick: Tick, recent: Recent, forecast: Floats, threshold: Floats) -> Track:
    """One overdispersed Poisson test per pool; without `HISTORY_S` of calm there is no forecast and the test waits."""
    arrived, mean = tick.pool.arrived, np.maximum(known_or(forecast), 0.5) * SLACK * tick.seconds
    judged = (recent.calm_s >= HISTORY_S) & ~np.isnan(arrived)
    rows = np.flatnonzero(judged & (track.suspect | (arrived > mean)))
    llr = poisson(arrived[rows], mean[rows], FACTORS) / np.maximum(recent.spread[rows], 1.0)
    return track.advanced(rows, np.clip(llr, -MOST_PER_TICK, MOST_PER_TICK), threshold, tick.at_s)


def retries(track: Track, tick: Tick, threshold: Floats) -> Track:
    """One Poisson test per pool that few requests are sent again."""
    again, arrived = tick.layout.per_pool(tick.unconnected()), known_or(tick.pool.arrived)
    mean = USUAL_RETRIES * arrived + 0.5
    rows = np.flatnonzero(track.suspect | (again > mean))
    llr = np.clip(poisson(again[rows], mean[rows], RETRY_FACTORS), -MOST_PER_TICK, MOST_PER_TICK)
    return track.advanced(rows, llr, threshold, tick.at_s)
