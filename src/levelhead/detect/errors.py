"""Does one server fail, or answer late, more often than its peers do at the same time?

Peers are the rest of the pool over the last seconds, and since the server is suspect, this tick included, so that what
befalls all alike accuses nobody. The null allows twice the peers' rate and one in a hundred on top.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from levelhead.detect.base import Track, bernoulli
from levelhead.detect.recent import peers
from levelhead.telemetry import Flags, Floats, Ints, Tick, reindexed

ALTERNATIVES = np.asarray([0.05, 0.15, 0.4, 0.9])


@dataclass(frozen=True, slots=True)
class Trial:
    """One test of all rows, and what was counted since each row is suspect: its own and its peers' bad of seen."""

    track: Track
    bad: Floats
    seen: Floats
    peers_bad: Floats
    peers_seen: Floats

    @staticmethod
    def begin(rows: int) -> Trial:
        return Trial(Track.begin(rows, len(ALTERNATIVES)), *(np.zeros(rows) for _ in range(4)))

    def reindexed(self, rows: Ints) -> Trial:
        counts = (reindexed(c, rows) for c in (self.bad, self.seen, self.peers_bad, self.peers_seen))
        return Trial(self.track.reindexed(rows), *counts)

    def cleared(self, rows: Flags) -> Trial:
        counts = (np.where(rows, 0.0, c) for c in (self.bad, self.seen, self.peers_bad, self.peers_seen))
        return Trial(self.track.cleared(rows), *counts)


def observe(
    trial: Trial, tick: Tick, bad: Floats, seen: Floats, bad_recent: Floats, seen_recent: Floats, threshold: Floats
) -> Trial:
    """One Bernoulli test per row: `bad` of `seen` this tick, against the peers' ratio."""
    layout = tick.layout
    bad = np.minimum(bad, seen)
    peers_bad, peers_seen = trial.peers_bad + peers(layout, bad), trial.peers_seen + peers(layout, seen)
    # One imagined failure in twenty: until peers have shown enough, they are not believed to be perfect. Where few
    # requests come, the last seconds show too little; then what came since the suspicion decides.
    lately = (peers(layout, bad_recent) + 1.0) / (peers(layout, seen_recent) + 20.0)
    since = (peers_bad + 1.0) / (peers_seen + 20.0)
    null = np.clip(2.0 * np.maximum(lately, since) + 0.01, 0.01, 0.8)
    other = np.clip(null[:, None] + ALTERNATIVES[None, :] * (1 - null[:, None]), None, 0.99)
    track = trial.track.advanced(bernoulli(bad, seen, null, other), threshold, tick.at_s)
    calm = np.isnan(track.since)
    counts = (trial.bad + bad, trial.seen + seen, peers_bad, peers_seen)
    return Trial(track, *(np.where(calm, 0.0, c) for c in counts))
