"""What the last seconds and minutes looked like, per server and per pool, as exponentially fading sums.

A fading sum with half-life h behaves like a window of h / ln 2 seconds and needs no history. `Recent` also counts
how concentrated clients are, because requests of one client move together when they stick to a server.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from levelhead.telemetry import Floats, Ints, Layout, Tick, known_or, reindexed

FAST_S = 1.0
INSTANT_S = 0.25
BASE_S = 60.0
# In a storm baselines stand still; but what lasts for minutes is the new normal.
STORM_S = 180.0
# How concentrated clients are is judged by so much of the past, and from so many pairs of requests on.
CLIENTS_S = 30.0
FEWEST_PAIRS = 200.0
# A server's pace beside its peers' is learnt within these bounds: machines differ, but not endlessly.
MOST_RATIO = 4.0


@dataclass(frozen=True, slots=True)
class Recent:
    """Fading sums over a second or two; baselines over a minute of calm.

    Row columns: `requests`, `failures`, `unconnected`, `records` and `late` (sampled requests, and those slower
    than the SLO), `in_flight` (mean), `known_s` seconds of calm in which the row was seen. Pool columns: `rate`
    and `spread` of arrivals per second (forecast, and its variance ratio), `calm_s` seconds of calm seen, `harmed` and
    `arrived`, `pace` seconds that a request usually takes, `clients` the effective number of clients.
    """

    layout: Layout
    requests: Floats
    failures: Floats
    unconnected: Floats  # those failures that never got an answer out of the server
    answered: Floats  # those that it answered with an error
    records: Floats
    late: Floats
    in_flight: Floats
    borne: Floats  # the highest rate it has served in calm, requests per second
    ratio: Floats  # learned in-flight of a server over its peers', 1 where nothing is known yet
    known_s: Floats
    seconds: Floats  # pool: seconds in the fast window
    arrived: Floats
    harmed: Floats
    arrived_now: Floats  # the same over an instant, to see at once when harm ends
    harmed_now: Floats
    rate: Floats
    spread: Floats
    calm_s: Floats
    pace: Floats
    pairs: Floats  # of sampled requests
    pairs_same: Floats  # of one client
    clients: Floats


OF_ROWS = frozenset({
    "requests", "failures", "unconnected", "answered", "records", "late", "in_flight", "borne", "ratio", "known_s",
})  # fmt: skip


def begin(layout: Layout) -> Recent:
    def rows(value: float = 0.0) -> Floats:
        return np.full(len(layout.servers), value)

    def pools(value: float = 0.0) -> Floats:
        return np.full(len(layout.pools), value)

    return Recent(
        layout, rows(), rows(), rows(), rows(), rows(), rows(), rows(), rows(), rows(1.0), rows(),
        pools(), pools(), pools(), pools(), pools(), pools(np.nan), pools(1.0), pools(), pools(np.nan),
        pools(), pools(), pools(np.nan),
    )  # fmt: skip


def relaid(recent: Recent, layout: Layout, rows: Ints, pools: Ints) -> Recent:
    """The same in a new layout; what is new starts fresh."""
    blank = begin(Layout.of((("", ("",)),)))

    def moved(name: str) -> Floats:
        return reindexed(getattr(recent, name), rows if name in OF_ROWS else pools, float(getattr(blank, name)[0]))

    return Recent(layout, *(moved(f.name) for f in fields(Recent) if f.name != "layout"))


def updated(recent: Recent, tick: Tick, counted: Floats, late: Floats, calm: Floats) -> Recent:
    """After one more tick. `counted` and `late` are its `records_by_row`; `calm` is 1 where baselines may learn."""
    fast, instant = 0.5 ** (tick.seconds / FAST_S), 0.5 ** (tick.seconds / INSTANT_S)
    arrived = known_or(tick.pool.arrived)
    harmed = known_or(tick.pool.errors_5xx) + tick.layout.per_pool(late) * tick.records.weight
    rate, spread, calm_s = _forecast(recent, arrived, tick.seconds, calm)
    held = np.where(np.isnan(tick.in_flight), recent.in_flight, tick.in_flight)
    now = replace(
        recent,
        requests=recent.requests * fast + known_or(tick.requests),
        failures=recent.failures * fast + known_or(tick.failures()),
        unconnected=recent.unconnected * fast + tick.unconnected(),
        answered=recent.answered * fast + known_or(tick.errors_5xx),
        records=recent.records * fast + counted,
        late=recent.late * fast + late,
        in_flight=recent.in_flight + (1 - fast) * (held - recent.in_flight),
        seconds=recent.seconds * fast + tick.seconds,
        arrived=recent.arrived * fast + arrived,
        harmed=recent.harmed * fast + harmed,
        arrived_now=recent.arrived_now * instant + arrived,
        harmed_now=recent.harmed_now * instant + harmed,
        rate=rate, spread=spread, calm_s=calm_s,
    )  # fmt: skip
    return _clients(_learned(now, tick, calm), tick)


def records_by_row(tick: Tick, late_ms: Floats) -> tuple[Floats, Floats]:
    """How many records each row has, and how many of them were answered later than the row's `late_ms`."""
    records, size = tick.records, len(tick.layout.servers)
    if not len(records):
        return np.zeros(size), np.zeros(size)
    placed = (records.row >= 0) & (records.row < size)
    row = records.row[placed]
    late = records.latency_ms[placed] > late_ms[row]
    answered_late = late & (records.status[placed] < 500)
    return (
        np.bincount(row, minlength=size).astype(np.float64),
        np.bincount(row[answered_late], minlength=size).astype(np.float64),
    )


def peers(layout: Layout, column: Floats) -> Floats:
    """For each row, the sum of the column over the other rows of its pool."""
    return layout.per_row(layout.per_pool(column)) - column


def _forecast(recent: Recent, arrived: Floats, seconds: float, calm: Floats) -> tuple[Floats, Floats, Floats]:
    now = arrived / seconds
    share = np.where(calm > 0, _gain(recent.calm_s, seconds), 1 - 0.5 ** (seconds / STORM_S))
    rate = np.where(np.isnan(recent.rate), now, recent.rate + share * (now - known_or(recent.rate)))
    expected = np.maximum(rate * seconds, 0.5)
    surprise = (arrived - expected) ** 2 / expected
    spread = recent.spread + share * (np.minimum(surprise, 25.0) - recent.spread)
    return rate, np.maximum(spread, 1.0), recent.calm_s + seconds * calm


def _learned(now: Recent, tick: Tick, calm: Floats) -> Recent:
    """What is normal, learnt in calm: fast at first, then with a half-life of a minute.

    Each server's requests in flight beside its peers', the time that requests of the pool take (Little's law), and
    the most that each server was seen to serve.
    """
    layout, seconds = tick.layout, tick.seconds
    calm_rows = layout.per_row(calm)
    others = peers(layout, now.requests)
    mine_per_request = (now.in_flight + 0.5) / np.maximum(now.requests, 1.0)
    peer_per_request = (peers(layout, now.in_flight) + 0.5) / np.maximum(others, 1.0)
    enough = (now.requests >= 5) & (others >= 5)
    gain = np.where(enough, calm_rows * _gain(now.known_s, seconds), 0.0)
    step = np.clip(mine_per_request / peer_per_request, 1 / MOST_RATIO, MOST_RATIO)
    took = (layout.per_pool(now.in_flight) + 0.01) / np.maximum(now.arrived / np.maximum(now.seconds, 1e-9), 1.0)
    started = np.where(np.isnan(now.pace), took, now.pace)
    filled = layout.per_row(calm * (now.seconds >= FAST_S)) > 0
    borne = now.requests / np.maximum(layout.per_row(now.seconds), 1e-9)
    return replace(
        now,
        ratio=now.ratio * (step / now.ratio) ** gain,
        known_s=now.known_s + seconds * calm_rows * (now.requests > 0),
        pace=started * (took / started) ** (calm * _gain(now.calm_s, seconds)),
        borne=np.where(filled, np.maximum(now.borne, borne), now.borne),
    )


def _gain(known_s: Floats, seconds: float) -> Floats:
    gain: Floats = np.maximum(1 - 0.5 ** (seconds / BASE_S), seconds / (known_s + seconds))
    return gain


def _clients(now: Recent, tick: Tick) -> Recent:
    """(sum n)^2 / sum n^2 over clients of each pool: how many equally active clients would move like these.

    A look shows few requests of each client; the pairs that come from one client estimate sum p^2 without that bias.
    """
    records, layout = tick.records, tick.layout
    kept = 0.5 ** (tick.seconds / CLIENTS_S)
    pairs, same = now.pairs * kept, now.pairs_same * kept
    if records.client:
        codes: dict[str, int] = {}
        code = np.asarray([codes.setdefault(name, len(codes)) for name in records.client])
        placed = (records.row >= 0) & (records.row < len(layout.servers))
        pool = np.searchsorted(layout.starts, records.row[placed], side="right") - 1
        group, counts = np.unique(pool * len(codes) + code[placed], return_counts=True)
        size = len(layout.pools)
        total = np.bincount(pool, minlength=size)
        pairs += total * (total - 1.0)
        same += np.bincount(group // len(codes), weights=counts * (counts - 1.0), minlength=size)
    clients = np.where(pairs >= FEWEST_PAIRS, pairs / np.maximum(same, 1.0), np.nan)
    return replace(now, pairs=pairs, pairs_same=same, clients=clients)
