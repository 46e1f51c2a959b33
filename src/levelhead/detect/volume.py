"""Do more requests arrive than were to be expected?

The forecast is the rate of the last minute of calm; its spread is the variance of counts over their mean, estimated,
because real traffic comes in bursts. The null allows a quarter more than the forecast.
"""

from __future__ import annotations

import numpy as np

from levelhead.detect.base import Track, poisson
from levelhead.detect.recent import Recent
from levelhead.telemetry import Floats, Tick

SLACK = 1.25
FACTORS = np.asarray([1.3, 2.0, 4.0])
HISTORY_S = 8.0


def observe(track: Track, tick: Tick, recent: Recent, threshold: Floats) -> Track:
    """One overdispersed Poisson test per pool; without `HISTORY_S` of calm there is no forecast and the test waits."""
    mean = np.maximum(recent.rate, 0.5) * SLACK * tick.seconds
    llr = poisson(tick.pool.arrived, mean, FACTORS) / np.maximum(recent.spread, 1.0)[:, None]
    llr = np.clip(llr, -8.0, 8.0)
    llr[~(recent.calm_s >= HISTORY_S)] = np.nan
    return track.advanced(llr, threshold, tick.at_s)
