"""Does one server fail, or answer late, more often than its peers do at the same time?

Peers are the better half of the pool over the last seconds, and since the server is suspect, this tick included: what
befalls all alike accuses nobody, and several sick servers do not hide behind each other. The null allows twice the
peers' rate and one in a hundred on top.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from levelhead.detect.base import HOLD, Track, bernoulli
from levelhead.detect.recent import peers
from levelhead.telemetry import Flags, Floats, Ints, Layout, Tick, reindexed

ALTERNATIVES = np.asarray([0.05, 0.15, 0.4, 0.9])
USUAL, IMAGINED = 0.05, 10.0


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
        if not (rows & self.track.suspect).any():
            return self
        counts = (np.where(rows, 0.0, c) for c in (self.bad, self.seen, self.peers_bad, self.peers_seen))
        return Trial(self.track.cleared(rows), *counts)


def observe(
    trial: Trial, tick: Tick, bad: Floats, seen: Floats, bad_recent: Floats, seen_recent: Floats, threshold: Floats
) -> Trial:
    """One Bernoulli test per row: `bad` of `seen` this tick, against the peers' ratio."""
    layout = tick.layout
    bad = np.minimum(bad, seen)
    active: Flags = (bad > 0) | trial.track.suspect
    rows = np.flatnonzero(active)
    if not len(rows):
        return trial
    # Only pools with such a row need to be compared. Who belongs to the better half is decided before this tick is
    # looked at: chosen by what they show now, peers would always be found to be well.
    wanted = layout.per_row(layout.per_pool(active.astype(np.float64))) > 0
    reference = better_half(layout, bad_recent - bad, seen_recent - seen, wanted)
    peers_bad = trial.peers_bad[rows] + peers(layout, np.where(reference, bad, 0.0))[rows]
    peers_seen = trial.peers_seen[rows] + peers(layout, np.where(reference, seen, 0.0))[rows]
    # Until peers have shown enough, they are not believed to be perfect: imagined requests stand for what is usual, and
    # for what was seen lately. Where few requests come, the last seconds show too little; then what came since the
    # suspicion decides, and so it does where all began to fail just now.
    lately_bad = peers(layout, np.where(reference, bad_recent, 0.0))[rows]
    lately_seen = peers(layout, np.where(reference, seen_recent, 0.0))[rows]
    lately = (lately_bad + IMAGINED * USUAL) / (lately_seen + IMAGINED)
    since = (peers_bad + IMAGINED * lately) / (peers_seen + IMAGINED)
    null = np.clip(2.0 * np.maximum(lately, since) + 0.01, 0.01, 0.8)
    other = np.minimum(null + ALTERNATIVES[:, None] * (1 - null), 0.99)
    track = trial.track.advanced(rows, bernoulli(bad[rows], seen[rows], null, other), threshold, tick.at_s, HOLD)
    on = track.suspect[rows]
    counts = (trial.bad[rows] + bad[rows], trial.seen[rows] + seen[rows], peers_bad, peers_seen)
    old = (trial.bad, trial.seen, trial.peers_bad, trial.peers_seen)
    return Trial(track, *(_placed(was, rows, np.where(on, now, 0.0)) for was, now in zip(old, counts, strict=True)))


def better_half(layout: Layout, bad: Floats, seen: Floats, wanted: Flags) -> Flags:
    """In each pool that is `wanted` anywhere, the half of the rows (at least two) that failed least often lately."""
    rows = np.flatnonzero(wanted)
    pools = np.repeat(np.arange(len(layout.pools)), layout.sizes)[rows]
    ratio = (bad[rows] + 0.05) / (seen[rows] + 1.0)
    order = np.lexsort((ratio, pools))
    first = np.searchsorted(pools, pools)  # rows of a pool stand together, also after sorting within it
    place = np.arange(len(rows)) - first
    kept = place < np.maximum(2, (layout.sizes[pools] + 1) // 2)
    best = np.zeros(len(bad), dtype=bool)
    best[rows[order]] = kept
    return best


def _placed(column: Floats, rows: Ints, values: Floats) -> Floats:
    placed = column.copy()
    placed[rows] = values
    return placed
