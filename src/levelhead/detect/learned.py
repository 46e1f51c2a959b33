"""What is kept of the detectors while no control plane runs: what is usual, and how fast error budgets burn."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from levelhead.detect.budget import WINDOWS_S, Burn
from levelhead.detect.recent import Recent
from levelhead.detect.season import Season
from levelhead.detect.state import Detection
from levelhead.telemetry import Floats

# After a longer pause the last minute's rate says nothing about this one's.
FRESH_S = 600.0
# What was learnt is believed like so many seconds of calm: enough to judge by, little enough to be corrected soon.
BELIEVED_S = 60.0

Column = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PoolLearned:
    """One pool: `rate`, `spread` and `pace` as in `Recent` (None: unknown), columns with an entry per server, burn
    sums with an entry per window (of servers: all servers of the first window, then of the next), and what usually
    arrives as (bin, requests per second, days)."""

    name: str
    servers: tuple[str, ...]
    rate: float | None
    spread: float
    pace: float | None
    ratio: Column
    borne: Column
    known_s: Column
    watched_s: float
    bad: Column
    seen: Column
    servers_watched_s: Column
    servers_bad: Column
    servers_seen: Column
    season: tuple[tuple[int, float, float], ...]


@dataclass(frozen=True, slots=True)
class Learned:
    """All pools; `at` is Unix seconds."""

    at: float
    pools: tuple[PoolLearned, ...]


def learned(state: Detection, at: float) -> Learned:
    """What is worth keeping of these detectors."""
    now, burn, pool_burn = state.recent, state.burn, state.pool_burn
    found = []
    for i, (name, rows) in enumerate(state.layout.each()):
        usual = np.flatnonzero(state.season.days[:, i] > 0)
        found.append(
            PoolLearned(
                name=name, servers=state.layout.servers[rows], rate=_or_none(now.rate[i]), spread=float(now.spread[i]),
                pace=_or_none(now.pace[i]), ratio=_column(now.ratio[rows]), borne=_column(now.borne[rows]),
                known_s=_column(now.known_s[rows]), watched_s=float(pool_burn.watched_s[i]),
                bad=_column(pool_burn.bad[:, i]), seen=_column(pool_burn.seen[:, i]),
                servers_watched_s=_column(burn.watched_s[rows]), servers_bad=_column(burn.bad[:, rows].ravel()),
                servers_seen=_column(burn.seen[:, rows].ravel()),
                season=tuple(
                    (int(b), round(float(state.season.mean[b, i]), 3), float(state.season.days[b, i])) for b in usual
                ),
            )
        )  # fmt: skip
    return Learned(at, tuple(found))


def taken_up(state: Detection, known: Learned, at: float) -> Detection:
    """Fresh detectors that know what earlier ones learnt, as far as pools and servers are the same."""
    pause_s = max(at - known.at, 0.0)
    for pool in known.pools:
        if pool.name in state.layout.places:
            state = _pool_taken_up(state, pool, pause_s)
    return state


def _pool_taken_up(state: Detection, pool: PoolLearned, pause_s: float) -> Detection:
    i, rows = state.layout.places[pool.name], state.layout.rows(pool.name)
    here = {name: rows.start + k for k, name in enumerate(state.layout.servers[rows])}
    pairs = [(here[name], k) for k, name in enumerate(pool.servers) if name in here]
    to, of = np.asarray([a for a, _ in pairs], dtype=np.int64), np.asarray([b for _, b in pairs], dtype=np.int64)

    def placed(column: Floats, values: Column) -> Floats:
        changed = column.copy()
        changed[to] = np.asarray(values)[of]
        return changed

    shape = (len(WINDOWS_S), len(pool.servers))
    kept = np.exp(-pause_s / WINDOWS_S)
    bad, seen = np.reshape(pool.servers_bad, shape)[:, of], np.reshape(pool.servers_seen, shape)[:, of]
    watched_s = np.asarray(pool.servers_watched_s)[of]
    now = _pools_known(state.recent, i, pool, pause_s)
    known_s = placed(now.known_s, pool.known_s)
    return replace(
        state,
        recent=replace(now, ratio=placed(now.ratio, pool.ratio), borne=placed(now.borne, pool.borne),
                       known_s=np.minimum(known_s, BELIEVED_S)),
        burn=_burning(state.burn, to, bad * kept[:, None], seen * kept[:, None], watched_s),
        pool_burn=_burning(state.pool_burn, np.asarray([i]), np.asarray(pool.bad)[:, None] * kept[:, None],
                           np.asarray(pool.seen)[:, None] * kept[:, None], np.asarray([pool.watched_s])),
        season=_usual(state.season, i, pool),
    )  # fmt: skip


def _pools_known(now: Recent, i: int, pool: PoolLearned, pause_s: float) -> Recent:
    rate, spread, pace, calm_s = now.rate.copy(), now.spread.copy(), now.pace.copy(), now.calm_s.copy()
    spread[i], pace[i] = pool.spread, np.nan if pool.pace is None else pool.pace
    if pause_s <= FRESH_S and pool.rate is not None:
        rate[i], calm_s[i] = pool.rate, BELIEVED_S
    return replace(now, rate=rate, spread=spread, pace=pace, calm_s=calm_s)


def _burning(burn: Burn, at: np.ndarray[tuple[int], np.dtype[np.int64]], bad: Floats, seen: Floats,
             watched_s: Floats) -> Burn:  # fmt: skip
    all_bad, all_seen, all_s = burn.bad.copy(), burn.seen.copy(), burn.watched_s.copy()
    all_bad[:, at], all_seen[:, at], all_s[at] = bad, seen, watched_s
    return Burn(all_bad, all_seen, all_s, burn.track)


def _usual(season: Season, i: int, pool: PoolLearned) -> Season:
    mean, days = season.mean.copy(), season.days.copy()
    for b, rate, seen in pool.season:
        mean[b, i], days[b, i] = rate, seen
    return replace(season, mean=mean, days=days)


def _column(values: Floats) -> Column:
    return tuple(round(float(v), 6) for v in values)


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
