"""What the last seconds and minutes looked like, per server and per pool, as exponentially fading sums.

A fading sum with half-life h behaves like a window of h / ln 2 seconds and needs no history. `Recent` also counts
how concentrated clients are, because requests of one client move together when they stick to a server.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from levelhead.telemetry import Floats, Ints, Layout, Tick, known_or, reindexed

FAST_S = 1.0
INSTANT_S = 0.25
BASE_S = 60.0
# In a storm baselines stand still; but what lasts for minutes is the new normal.
STORM_S = 180.0


@dataclass(frozen=True, slots=True)
class Recent:
    """Fading sums over a second or two; baselines over a minute of calm.

    Row columns: `requests`, `failures`, `unconnected`, `records` and `late` (sampled requests, and those slower than
    the SLO), `in_flight` (mean). Pool columns: `rate` and `spread` of arrivals per second (forecast, and its variance
    ratio), `calm_s` seconds of calm seen, `harmed` and `arrived`, `clients` the effective number of clients.
    """

    layout: Layout
    requests: Floats
    failures: Floats
    unconnected: Floats  # those failures that never got an answer out of the server
    records: Floats
    late: Floats
    in_flight: Floats
    borne: Floats  # the highest rate it has served in calm, requests per second
    ratio: Floats  # learned in-flight of a server over its peers', 1 where nothing is known yet
    seconds: Floats  # pool: seconds in the fast window
    arrived: Floats
    harmed: Floats
    arrived_now: Floats  # the same over an instant, to see at once when harm ends
    harmed_now: Floats
    rate: Floats
    spread: Floats
    calm_s: Floats
    clients: Floats


def begin(layout: Layout) -> Recent:
    def rows(value: float = 0.0) -> Floats:
        return np.full(len(layout.servers), value)

    def pools(value: float = 0.0) -> Floats:
        return np.full(len(layout.pools), value)

    return Recent(
        layout, rows(), rows(), rows(), rows(), rows(), rows(), rows(), rows(1.0),
        pools(), pools(), pools(), pools(), pools(), pools(np.nan), pools(1.0), pools(), pools(np.nan),
    )  # fmt: skip


def relaid(recent: Recent, layout: Layout, rows: Ints, pools: Ints) -> Recent:
    """The same in a new layout; what is new starts fresh."""
    fresh = begin(layout)

    def row(name: str, value: float = 0.0) -> Floats:
        return reindexed(getattr(recent, name), rows, value)

    def pool(name: str, value: float = 0.0) -> Floats:
        return reindexed(getattr(recent, name), pools, value)

    return replace(
        fresh, requests=row("requests"), failures=row("failures"), unconnected=row("unconnected"),
        records=row("records"), late=row("late"), in_flight=row("in_flight"), borne=row("borne"),
        ratio=row("ratio", 1.0), seconds=pool("seconds"), arrived=pool("arrived"), harmed=pool("harmed"),
        arrived_now=pool("arrived_now"), harmed_now=pool("harmed_now"), rate=pool("rate", np.nan),
        spread=pool("spread", 1.0), calm_s=pool("calm_s"), clients=pool("clients", np.nan),
    )  # fmt: skip


def updated(recent: Recent, tick: Tick, late_ms: Floats, calm: Floats) -> Recent:
    """After one more tick. `late_ms` is each row's SLO latency; `calm` is 1 for pools where baselines may learn."""
    fast, instant = 0.5 ** (tick.seconds / FAST_S), 0.5 ** (tick.seconds / INSTANT_S)
    requests, failures = known_or(tick.requests), known_or(tick.failures())
    counted, late = records_by_row(tick, late_ms)
    arrived = known_or(tick.pool.arrived)
    weight = tick.records.weight
    harmed = known_or(tick.pool.errors_5xx) + tick.layout.per_pool(late) * weight
    rate, spread, calm_s = _forecast(recent, arrived, tick.seconds, calm)
    gain = 1 - 0.5 ** (tick.seconds / FAST_S)
    known = ~np.isnan(tick.in_flight)
    in_flight = np.where(known, recent.in_flight + gain * (known_or(tick.in_flight) - recent.in_flight),
                         recent.in_flight)  # fmt: skip
    return replace(
        recent,
        requests=recent.requests * fast + requests,
        failures=recent.failures * fast + failures,
        unconnected=recent.unconnected * fast + tick.unconnected(),
        records=recent.records * fast + counted,
        late=recent.late * fast + late,
        in_flight=in_flight,
        borne=_borne(recent, tick, calm),
        ratio=_learned_ratio(recent, tick, in_flight, calm),
        seconds=recent.seconds * fast + tick.seconds,
        arrived=recent.arrived * fast + arrived,
        harmed=recent.harmed * fast + harmed,
        arrived_now=recent.arrived_now * instant + arrived,
        harmed_now=recent.harmed_now * instant + harmed,
        rate=rate,
        spread=spread,
        calm_s=calm_s,
        clients=_effective_clients(recent, tick),
    )


def records_by_row(tick: Tick, late_ms: Floats) -> tuple[Floats, Floats]:
    """How many records each row has, and how many of them were answered later than the row's `late_ms`."""
    records, size = tick.records, len(tick.layout.servers)
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
    # Learns fast at first, then with a half-life of a minute of calm, and slowly in a storm.
    learnt = np.maximum(1 - 0.5 ** (seconds / BASE_S), seconds / (recent.calm_s + seconds))
    share = np.where(calm > 0, learnt, 1 - 0.5 ** (seconds / STORM_S))
    rate = np.where(np.isnan(recent.rate), now, recent.rate + share * (now - known_or(recent.rate)))
    expected = np.maximum(rate * seconds, 0.5)
    surprise = (arrived - expected) ** 2 / expected
    spread = recent.spread + share * (np.minimum(surprise, 25.0) - recent.spread)
    return rate, np.maximum(spread, 1.0), recent.calm_s + seconds * calm


def _learned_ratio(recent: Recent, tick: Tick, in_flight: Floats, calm: Floats) -> Floats:
    layout = tick.layout
    others = peers(layout, recent.requests)
    mine_per_request = (in_flight + 0.5) / np.maximum(recent.requests, 1.0)
    peer_per_request = (peers(layout, in_flight) + 0.5) / np.maximum(others, 1.0)
    enough = (recent.requests >= 5) & (others >= 5)
    gain = layout.per_row(calm) * (1 - 0.5 ** (tick.seconds / BASE_S))
    step = np.clip(mine_per_request / peer_per_request, 0.1, 10.0)
    learned: Floats = np.where(enough, recent.ratio * (step / recent.ratio) ** gain, recent.ratio)
    return learned


def _borne(recent: Recent, tick: Tick, calm: Floats) -> Floats:
    """The most that each server was seen to serve while its pool was calm, once the window is filled."""
    layout = tick.layout
    ready = layout.per_row(calm * (recent.seconds >= FAST_S)) > 0
    rate = recent.requests / np.maximum(layout.per_row(recent.seconds), 1e-9)
    return np.where(ready, np.maximum(recent.borne, rate), recent.borne)


def _effective_clients(recent: Recent, tick: Tick) -> Floats:
    """(sum n)^2 / sum n^2 over clients of each pool: how many equally active clients would move like these."""
    records, layout = tick.records, tick.layout
    if not records.client:
        return recent.clients
    seen = recent.clients.copy()
    for i, (_, rows) in enumerate(layout.each()):
        mine = (records.row >= rows.start) & (records.row < rows.stop)
        if mine.sum() < 5:
            continue
        _, counts = np.unique(np.asarray(records.client)[mine], return_counts=True)
        # A tick shows few requests of each client: pairs from one client estimate sum p^2 without that bias.
        total = float(counts.sum())
        pairs = float((counts * (counts - 1.0)).sum()) / (total * (total - 1.0))
        before = 1.0 / seen[i] if not np.isnan(seen[i]) else pairs
        seen[i] = 1.0 / max(before + 0.05 * (pairs - before), 1e-6)
    return seen
