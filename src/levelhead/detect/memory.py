"""What diagnosis must remember: whose check turned when, who was away, how long requests used to take, who sends them.

`remembered` folds one tick into a `Memory` over all pools at once, and reports the one fact that only it knows: that
a listener has been full. `of_pool` is one pool's part of what is remembered.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from levelhead.detect.base import Kind, Signal
from levelhead.detect.recent import records_by_row
from levelhead.model import Fleet
from levelhead.telemetry import Flags, Floats, Ints, Layout, Tick, known_or, moved_pools, moved_rows, reindexed

# Sums of "lately" fade with this half-life; what was usual is learnt with the other.
LATELY_S = 2.0
USUAL_S = 30.0
# Turns of a check are counted over about a minute, clients over some seconds.
TURNS_S = 45.0
CLIENTS_S = 2.0
MOST_CLIENTS = 128
# A tick that begins later than the last one ended: the proxy's counters began anew in between.
GAP_S = 0.01
# A mean of fewer sampled requests (fading) is no mean.
SEEN = 1.5
# A change of weights that leaves a server so many times less than before relieves it.
RELIEF = 1.3

# What is summed per row; `refused` got no connection, `broken` a connection but no answer, `answered` a 5xx. Of the
# sampled requests: how many were late, how many were answered well and badly, and how long those took.
SUMS = ("requests", "refused", "broken", "answered", "held", "records", "late", "good", "good_ms", "bad", "bad_ms")


@dataclass(frozen=True, slots=True)
class Crowd:
    """Who sent the sampled requests of one tick, in the order of the rows that served them."""

    at: float
    layout: Layout
    row: Ints
    client: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Memory:
    """Row columns, then pool columns (`attempts` to `spent_s`). Times are Unix seconds, NaN: it has not happened.

    `pace_s` is how long a request stayed with a server in calm (requests in flight over their rate), `ill_before`
    and `slow_before` the failure ratio and the pace against the usual just before its check began to fail.
    """

    layout: Layout
    at: float
    gap_at: float
    failing: Flags
    away: Flags
    sums: Floats  # [rows, SUMS]
    pace_s: Floats
    got: Floats  # requests per second in calm
    fell_at: Floats
    rose_at: Floats
    left_at: Floats
    back_at: Floats
    born_at: Floats
    turns: Floats
    ill_before: Floats
    slow_before: Floats
    troubled_at: Floats  # when it last failed requests or was slow, its check passing
    mute_at: Floats  # when it last took no connections
    burden: Floats  # its part by weight, against an equal one among those that serve
    relieved_at: Floats  # when the weights in force last took a good part of that off it
    attempts: Floats
    arrived: Floats
    refused: Floats
    queued: Floats
    in_flight: Floats
    spent_s: Floats
    full_since: Floats  # since when its listeners let nobody in any more, NaN while they do
    surged_at: Floats  # when more came than was forecast, for the last time
    crowd: tuple[Crowd, ...]  # of the last while: counted only for pools in trouble
    promise: tuple[Fleet, Floats, Floats] | None = None  # bounds of listeners and late_ms by row, for this fleet


_TIMES = ("fell_at", "rose_at", "left_at", "back_at", "born_at", "ill_before", "slow_before", "pace_s", "got",
          "troubled_at", "mute_at", "burden", "relieved_at")  # fmt: skip
# A listener is full when so large a part of what it lets in is inside, and told so after a while.
FULL = 0.85
FULL_S = 2.0
_POOLS = ("attempts", "arrived", "refused", "queued", "in_flight", "spent_s")


@dataclass(frozen=True, slots=True)
class Past:
    """One pool's part of a `Memory`: the same columns for its servers, and its own numbers."""

    gap_at: float
    requests: Floats
    refused_by: Floats
    broken: Floats
    answered: Floats
    records: Floats
    late: Floats
    good_ms: Floats  # how long sampled requests took that were answered well, and those answered badly; NaN if none
    bad_ms: Floats
    pace_now_s: Floats
    pace_s: Floats
    got: Floats
    fell_at: Floats
    rose_at: Floats
    left_at: Floats
    back_at: Floats
    born_at: Floats
    turns: Floats
    ill_before: Floats
    slow_before: Floats
    troubled_at: Floats
    mute_at: Floats
    burden: Floats
    relieved_at: Floats
    attempts: float
    arrived: float
    refused: float
    queued: float
    in_flight: float
    seconds: float
    surged_at: float
    clients: tuple[tuple[str, float], ...]


def begin(layout: Layout) -> Memory:
    """Nothing has happened yet."""
    rows, pools = len(layout.servers), len(layout.pools)
    never = {name: np.full(rows, np.nan) for name in _TIMES}
    none = {name: np.zeros(pools) for name in _POOLS}
    none |= {name: np.full(pools, np.nan) for name in ("full_since", "surged_at")}
    return Memory(
        layout=layout, at=np.nan, gap_at=np.nan, failing=np.zeros(rows, dtype=bool), away=np.zeros(rows, dtype=bool),
        sums=np.zeros((rows, len(SUMS))), turns=np.zeros(rows), crowd=(), **never, **none,  # type: ignore[arg-type]  # each name keeps its own type
    )  # fmt: skip


def _relaid(memory: Memory, layout: Layout) -> Memory:
    """The same in a new layout. A row that is new in a pool that was there is a server that was added just now."""
    if layout == memory.layout:
        return memory
    rows = moved_rows(memory.layout, layout)
    pools = moved_pools(memory.layout, layout)
    fresh = begin(layout)
    times = {name: reindexed(getattr(memory, name), rows, np.nan) for name in _TIMES}
    added = (rows < 0) & (layout.per_row((pools >= 0).astype(np.float64)) > 0)
    times["born_at"] = np.where(added, memory.at, times["born_at"])
    return replace(
        fresh, at=memory.at, gap_at=memory.gap_at,
        failing=np.append(memory.failing, False)[rows], away=np.append(memory.away, False)[rows],
        sums=np.concatenate([memory.sums, np.zeros((1, len(SUMS)))])[rows], turns=reindexed(memory.turns, rows),
        crowd=memory.crowd, full_since=reindexed(memory.full_since, pools, np.nan),
        surged_at=reindexed(memory.surged_at, pools, np.nan),
        **times,  # type: ignore[arg-type]  # each name keeps its own type
        **{name: reindexed(getattr(memory, name), pools) for name in _POOLS},  # type: ignore[arg-type]
    )  # fmt: skip


def remembered(
    memory: Memory | None, tick: Tick, fleet: Fleet, signals: tuple[Signal, ...]
) -> tuple[Memory, tuple[Signal, ...]]:
    """After one more tick, and its signals with those about full listeners. What is usual is learnt only in pools
    that no signal is about."""
    memory = begin(tick.layout) if memory is None else _relaid(memory, tick.layout)
    promise = memory.promise
    if promise is None or promise[0] is not fleet or len(promise[2]) != len(tick.layout.servers):
        promise = (fleet, *_promise(fleet, tick.layout))
    _, bounds, late_ms = promise
    memory = _folded(memory, tick, bounds, late_ms, frozenset(s.pool for s in signals))
    memory = replace(memory, promise=promise, surged_at=_surged(memory, tick, signals))
    full = tick.at_s - known_or(memory.full_since, np.inf) >= FULL_S
    found = [
        Signal(Kind.FULL, tick.layout.pools[i], "", float(memory.full_since[i]), np.inf,
               f"{memory.in_flight[i] + memory.queued[i]:.0f} requests are inside, and listeners let in "
               f"{bounds[i]:.0f}: the others wait where nobody sees them")
        for i in np.flatnonzero(full)
    ]  # fmt: skip
    return memory, (*signals, *found)


def _surged(memory: Memory, tick: Tick, signals: tuple[Signal, ...]) -> Floats:
    """When each pool last had more arrivals than were to be expected."""
    surging = [tick.layout.places[s.pool] for s in signals if s.kind is Kind.SURGE]
    if not surging:
        return memory.surged_at
    surged_at = memory.surged_at.copy()
    surged_at[surging] = tick.at_s
    return surged_at


def _promise(fleet: Fleet, layout: Layout) -> tuple[Floats, Floats]:
    """Connections that listeners let in per pool, and the latency promised per row."""
    bounds = np.asarray([connections(fleet, pool) for pool in layout.pools])
    slos = {pool.name: pool.slo.latency_ms for pool in fleet.pools}
    return bounds, layout.per_row(np.asarray([slos.get(name, np.inf) for name in layout.pools]))


def connections(fleet: Fleet, pool: str) -> float:
    """How many connections the listeners of this pool let in at a time; infinite where one of them has no bound."""
    limits = [listener.connections for listener in fleet.listeners if pool in {r.pool for r in listener.routes}]
    return np.inf if not limits or None in limits else float(sum(limit or 0 for limit in limits))


def _folded(memory: Memory, tick: Tick, bounds: Floats, late_ms: Floats, alarmed: frozenset[str]) -> Memory:
    calm = np.asarray([pool not in alarmed for pool in tick.layout.pools], dtype=np.float64)
    layout, at, fade = tick.layout, tick.at_s, 0.5 ** (tick.seconds / LATELY_S)
    gap = memory.at == memory.at and at - tick.seconds > memory.at + GAP_S
    first = memory.at != memory.at
    counted = _counted(tick, late_ms)
    sums = memory.sums * fade + counted
    mute = (counted[:, 1] >= 1) & (counted[:, 1] >= 0.5 * counted[:, 0])
    spent = memory.spent_s * fade + tick.seconds
    failing, away = tick.failing(), ~tick.ready() & ~tick.unsaid()
    fell, rose = failing & ~memory.failing, ~failing & memory.failing
    left, back = away & ~memory.away, ~away & memory.away
    if first:
        left = fell = np.zeros(len(layout.servers), dtype=bool)
    failed, pace, slow = _state(memory, sums)
    # Only what was learnt for a while is usual.
    learning = layout.per_row(calm * (spent > LATELY_S)) * ~failing * ~away * (sums[:, 0] >= 3) > 0
    rate = sums[:, 0] / np.maximum(layout.per_row(spent), 1e-9)
    troubled = ~failing & ((failed > 0.1) | (slow > 2.0)) & (sums[:, 0] >= 3)
    burden = _burden(tick, ~failing & ~away)
    relieved = burden < memory.burden / RELIEF
    now = known_or(tick.pool.in_flight) + known_or(tick.pool.queued)
    inside = np.maximum(now, memory.in_flight + memory.queued)
    full = np.where(inside >= FULL * bounds, np.fmin(memory.full_since, at), np.nan)
    return replace(
        memory, at=at, full_since=full, gap_at=at if gap else memory.gap_at, failing=failing, away=away, sums=sums,
        pace_s=_learnt(memory.pace_s, pace, _at_most(memory, pace), learning, tick.seconds),
        got=_learnt(memory.got, rate, rate, learning, tick.seconds),
        fell_at=np.where(fell, at, memory.fell_at), rose_at=np.where(rose, at, memory.rose_at),
        left_at=np.where(left, at, memory.left_at), back_at=np.where(back, at, memory.back_at),
        turns=memory.turns * 0.5 ** (tick.seconds / TURNS_S) + (fell | rose),
        ill_before=np.where(fell, failed, memory.ill_before), slow_before=np.where(fell, slow, memory.slow_before),
        burden=burden, relieved_at=np.where(relieved, at, memory.relieved_at),
        mute_at=np.where(mute, at, memory.mute_at), troubled_at=np.where(troubled, at, memory.troubled_at),
        attempts=memory.attempts * fade + layout.per_pool(known_or(tick.requests)),
        arrived=memory.arrived * fade + known_or(tick.pool.arrived),
        refused=memory.refused * fade + known_or(tick.pool.refused),
        queued=_faded(memory.queued, layout.per_pool(known_or(tick.queued)), tick.pool.queued, fade),
        in_flight=memory.in_flight * fade + (1 - fade) * known_or(tick.pool.in_flight),
        spent_s=spent, crowd=_crowd(memory, tick),
    )  # fmt: skip


def of_pool(memory: Memory, pool: str) -> Past:
    """One pool's part; KeyError where it has none."""
    rows, i = memory.layout.rows(pool), memory.layout.places[pool]
    sums = memory.sums[rows]
    pace = sums[:, 4] / np.maximum(sums[:, 0], 1.0)
    return Past(
        gap_at=memory.gap_at, requests=sums[:, 0], refused_by=sums[:, 1], broken=sums[:, 2], answered=sums[:, 3],
        records=sums[:, 5], late=sums[:, 6],
        good_ms=_mean(sums[:, 8], sums[:, 7]), bad_ms=_mean(sums[:, 10], sums[:, 9]),
        pace_now_s=pace, **{name: getattr(memory, name)[rows] for name in (*_TIMES, "turns")},
        attempts=float(memory.attempts[i]), arrived=float(memory.arrived[i]), refused=float(memory.refused[i]),
        queued=float(memory.queued[i]), in_flight=float(memory.in_flight[i]), seconds=float(memory.spent_s[i]),
        surged_at=float(memory.surged_at[i]), clients=_clients(memory, pool),
    )  # fmt: skip


def _counted(tick: Tick, late_ms: Floats) -> Floats:
    """What happened in this tick, [rows, SUMS]; `held` is requests in flight times seconds."""
    broken = known_or(tick.response_errors)
    refused = np.maximum(tick.unconnected() - broken, 0.0)
    columns = (known_or(tick.requests), refused, broken, known_or(tick.errors_5xx),
               known_or(tick.in_flight) * tick.seconds, *records_by_row(tick, late_ms), *_taken(tick))  # fmt: skip
    return np.stack(columns, axis=1)


def _taken(tick: Tick) -> tuple[Floats, ...]:
    """Per row, of the sampled requests: how many were answered well, their milliseconds, and the same of bad ones."""
    records, size = tick.records, len(tick.layout.servers)
    if not len(records):
        return tuple(np.zeros(size) for _ in range(4))
    found: list[Floats] = []
    for kind in ((records.status > 0) & (records.status < 500), records.status >= 500):
        which = kind & (records.row >= 0) & (records.row < size)
        row = records.row[which]
        found += [np.bincount(row, minlength=size).astype(np.float64),
                  np.bincount(row, weights=records.latency_ms[which], minlength=size).astype(np.float64)]  # fmt: skip
    return tuple(found)


def _mean(total: Floats, count: Floats) -> Floats:
    return np.where(count >= SEEN, total / np.maximum(count, 1e-9), np.nan)


def _state(memory: Memory, sums: Floats) -> tuple[Floats, Floats, Floats]:
    """Per row: the failed part of its attempts, seconds a request stays, and that against the usual."""
    seen = np.maximum(sums[:, 0], 1.0)
    failed = np.minimum(sums[:, 1:4].sum(axis=1) / seen, 1.0)
    pace = sums[:, 4] / seen
    slow = (pace + 0.005) / (memory.pace_s + 0.005)
    return failed, pace, slow


def _burden(tick: Tick, serving: Flags) -> Floats:
    layout = tick.layout
    weight = np.where(serving, known_or(tick.weight, 1.0), 0.0)
    mean = layout.per_pool(weight) / np.maximum(layout.per_pool(serving.astype(np.float64)), 1.0)
    return np.where(serving, weight / np.maximum(layout.per_row(mean), 1e-9), np.nan)


def _at_most(memory: Memory, pace: Floats) -> Floats:
    """What to believe first of a row's pace: whoever comes late to a pool that is known, and is slow, is not so by
    habit."""
    layout, known = memory.layout, ~np.isnan(memory.pace_s)
    rows = layout.per_pool(known.astype(np.float64))
    mean = layout.per_pool(known_or(memory.pace_s)) / np.maximum(rows, 1.0)
    return np.where(layout.per_row(rows) > 0, np.minimum(pace, 1.5 * layout.per_row(mean)), pace)


def _learnt(usual: Floats, now: Floats, first: Floats, learning: Flags, seconds: float) -> Floats:
    gain = 1 - 0.5 ** (seconds / USUAL_S)
    moved = np.where(np.isnan(usual), first, usual + gain * (now - known_or(usual)))
    return np.where(learning, moved, usual)


def _faded(before: Floats, rows: Floats, pools: Floats, fade: float) -> Floats:
    return before * fade + (1 - fade) * np.maximum(rows, known_or(pools))


def _crowd(memory: Memory, tick: Tick) -> tuple[Crowd, ...]:
    records = tick.records
    if len(records.client) != len(records) or not len(records):
        return memory.crowd
    kept = (crowd for crowd in memory.crowd if tick.at_s - crowd.at <= 3 * CLIENTS_S)
    order = np.argsort(records.row, kind="stable")
    return (*kept, Crowd(tick.at_s, tick.layout, records.row[order], tuple(records.client[i] for i in order.tolist())))


def _clients(memory: Memory, pool: str) -> tuple[tuple[str, float], ...]:
    """Fading counts of the pool's busiest clients."""
    counts: dict[str, float] = {}
    for crowd in memory.crowd:
        if pool not in crowd.layout.places:
            continue
        rows, worth = crowd.layout.rows(pool), 0.5 ** ((memory.at - crowd.at) / CLIENTS_S)
        first, last = np.searchsorted(crowd.row, (rows.start, rows.stop)).tolist()
        for client in crowd.client[first:last]:
            counts[client] = counts.get(client, 0.0) + worth
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MOST_CLIENTS])
