"""Do requests follow connections that are older than the servers that should get them?

Where a connection belongs to one server for life, servers that are added get only what comes over new ones. How old
connections are follows from Little's law: as many as are open, over as many as are opened in a second.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from levelhead.detect.base import Track
from levelhead.detect.recent import Recent
from levelhead.telemetry import Flags, Floats, Ints, Tick, known_or, reindexed

# Openings are counted over about a minute.
OPENED_S = 45.0
# A server is new from a moment after it came (before, everything is older) and for so long; it is passed over if it
# gets less than this part of its due, where that is so many requests.
SETTLED_S, NEW_S, PASSED_OVER, FEWEST = 2.0, 600.0, 0.35, 5.0
# Connections are old that live at least so many times as long as the new server has been there.
OLDER = 3.0


@dataclass(frozen=True, slots=True)
class Links:
    """Per pool: connections opened lately and the seconds in which they were, how old those are that are open, and
    whether requests follow old ones (a fact)."""

    opened: Floats
    seconds: Floats
    age_s: Floats
    track: Track

    @staticmethod
    def begin(pools: int) -> Links:
        return Links(np.zeros(pools), np.zeros(pools), np.full(pools, np.nan), Track.begin(pools, 1))

    def reindexed(self, pools: Ints) -> Links:
        return Links(reindexed(self.opened, pools), reindexed(self.seconds, pools),
                     reindexed(self.age_s, pools, np.nan), self.track.reindexed(pools))  # fmt: skip


def observe(links: Links, tick: Tick, recent: Recent, due: Floats, since: Floats, by_key: Floats) -> Links:
    """One look: `due` is the share of each row by the weights in force, `since` when it began to serve (NaN: it does
    not). Where an engine does not count connections nothing is known, and nothing is said."""
    layout = tick.layout
    opened = layout.per_pool(tick.connects)
    if np.isnan(opened).all():
        return links if not links.track.on.any() else Links.begin(len(layout.pools))
    fade = 0.5 ** (tick.seconds / OPENED_S)
    counted, seconds = links.opened * fade + known_or(opened), links.seconds * fade + tick.seconds
    rate = np.where(np.isnan(opened), np.nan, counted / seconds)
    age_s = layout.per_pool(tick.connections) / np.maximum(rate, 1e-9)
    pinned = passed_over(tick, recent, due, since) & (by_key == 0)
    pinned &= layout.per_row(age_s) > OLDER * (tick.at_s - since)
    flags: Flags = layout.per_pool(pinned.astype(np.float64)) > 0
    return Links(counted, seconds, age_s, links.track.flagged(flags, tick.at_s))


def passed_over(tick: Tick, recent: Recent, due: Floats, since: Floats) -> Flags:
    """Servers that are new, should serve, and hardly get any requests."""
    total = tick.layout.per_row(tick.layout.per_pool(recent.requests))
    there_s = tick.at_s - since
    found: Flags = (there_s >= SETTLED_S) & (there_s < NEW_S) & (due * total >= FEWEST)
    return found & (recent.requests < PASSED_OVER * due * total)
