"""Does one server fail, or answer late, more often than its peers do at the same time?

Peers are the rest of the pool over the last seconds, this tick included, so that what befalls all alike accuses
nobody. The null allows twice the peers' rate and one in a hundred on top.
"""

from __future__ import annotations

import numpy as np

from levelhead.detect.base import Track, bernoulli
from levelhead.detect.recent import peers
from levelhead.telemetry import Floats, Tick

ALTERNATIVES = np.asarray([0.05, 0.15, 0.4, 0.9])


def observe(
    track: Track, tick: Tick, bad: Floats, seen: Floats, bad_recent: Floats, seen_recent: Floats, threshold: Floats
) -> Track:
    """One Bernoulli test per row: `bad` of `seen` this tick, against the peers' recent ratio."""
    layout = tick.layout
    # One imagined failure in twenty: until peers have shown enough, they are not believed to be perfect.
    ratio = (peers(layout, bad_recent) + 1.0) / (peers(layout, seen_recent) + 20.0)
    null = np.clip(2.0 * ratio + 0.01, 0.01, 0.8)
    other = np.clip(null[:, None] + ALTERNATIVES[None, :] * (1 - null[:, None]), None, 0.99)
    k = np.minimum(bad, seen)
    return track.advanced(bernoulli(k, seen, null, other), threshold, tick.at_s)
