"""What engines report: one Sample per tick in columns over all pools at once, and the Tick between two of them.

One row per server, rows grouped by pool. "Unknown" is a value: NaN in a number column, `State.UNKNOWN` in a state
column. It is neither zero nor down, and whoever reads a column handles it first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Codes = NDArray[np.int8]
Flags = NDArray[np.bool_]


class Health(IntEnum):
    """What the engine's checks say of a server."""

    UNKNOWN = 0
    PASSING = 1
    FAILING = 2
    UNCHECKED = 3


class Standing(IntEnum):
    """What the engine was told to do with a server; `model.Admin` as a column."""

    UNKNOWN = 0
    READY = 1
    DRAIN = 2
    MAINT = 3


# As plain numbers: comparing a column with an enum's member costs more than the comparison.
_FAILING, _UNKNOWN_STANDING, _READY = int(Health.FAILING), int(Standing.UNKNOWN), int(Standing.READY)


@dataclass(frozen=True, slots=True)
class Layout:
    """Which row is which server. `servers[offsets[i]:offsets[i + 1]]` are the servers of `pools[i]`.

    `starts` are the offsets for `np.add.reduceat` (every pool has at least one server), `sizes` how many rows each has,
    `places` the position of each pool in pool columns.
    """

    pools: tuple[str, ...]
    offsets: tuple[int, ...]
    servers: tuple[str, ...]
    starts: Ints = field(init=False, compare=False, repr=False)
    sizes: Ints = field(init=False, compare=False, repr=False)
    places: Mapping[str, int] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        bounds = np.asarray(self.offsets, dtype=np.int64)
        object.__setattr__(self, "starts", bounds[:-1])
        object.__setattr__(self, "sizes", bounds[1:] - bounds[:-1])
        object.__setattr__(self, "places", {pool: i for i, pool in enumerate(self.pools)})

    @staticmethod
    def of(members: tuple[tuple[str, tuple[str, ...]], ...]) -> Layout:
        offsets = [0]
        for _, servers in members:
            offsets.append(offsets[-1] + len(servers))
        names = tuple(name for _, servers in members for name in servers)
        return Layout(tuple(pool for pool, _ in members), tuple(offsets), names)

    def rows(self, pool: str) -> slice:
        """The rows of a pool; KeyError if it has none."""
        i = self.places[pool]
        return slice(self.offsets[i], self.offsets[i + 1])

    def members(self, pool: str) -> tuple[str, ...]:
        return self.servers[self.rows(pool)]

    def each(self) -> Iterator[tuple[str, slice]]:
        for i, pool in enumerate(self.pools):
            yield pool, slice(self.offsets[i], self.offsets[i + 1])

    def per_pool(self, rows: Floats) -> Floats:
        """Sums of a row column, one per pool."""
        return np.add.reduceat(rows, self.starts) if len(rows) else np.zeros(0)

    def per_row(self, pools: Floats) -> Floats:
        """A pool column, repeated for each of the pool's rows."""
        return np.repeat(pools, self.sizes)


def moved_rows(old: Layout, new: Layout) -> Ints:
    """For each row of `new`, its row in `old`, or -1: detectors re-index their state by it, they do not reset it."""
    if old == new:
        return np.arange(len(new.servers), dtype=np.int64)
    where = {
        (pool, name): row.start + i for pool, row in old.each() for i, name in enumerate(old.servers[row])
    }
    return np.asarray(
        [where.get((pool, name), -1) for pool, row in new.each() for name in new.servers[row]], dtype=np.int64
    )


def moved_pools(old: Layout, new: Layout) -> Ints:
    """The same for pools."""
    if old.pools == new.pools:
        return np.arange(len(new.pools), dtype=np.int64)
    return np.asarray([old.places.get(pool, -1) for pool in new.pools], dtype=np.int64)


# Counters grow from 0 within an epoch; gauges are the value now. Names are the field's own words.
COUNTERS = ("requests", "errors_5xx", "connect_errors", "response_errors", "retries", "redispatches", "connects")
GAUGES = ("in_flight", "queued", "weight", "ramp", "connections")


@dataclass(frozen=True, slots=True)
class PoolCounters:
    """What only the pool as a whole knows: one value per pool, counters as in `COUNTERS`.

    `arrived` counts requests that reached the pool, also those that no server got; `refused` counts those the proxy
    answered itself (503 because no server or no place in the queue).
    """

    arrived: Floats
    errors_5xx: Floats
    refused: Floats
    in_flight: Floats
    queued: Floats


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading of an engine. `at_s` is the engine's clock; counters compare only within one `epoch`."""

    at_s: float
    epoch: int
    layout: Layout
    requests: Floats
    errors_5xx: Floats
    connect_errors: Floats
    response_errors: Floats
    retries: Floats
    redispatches: Floats
    connects: Floats  # connections opened to the server
    in_flight: Floats
    queued: Floats
    weight: Floats  # as set in the proxy, slow start not counted
    ramp: Floats  # the part of its weight that slow start grants a server now; 1 when it is not starting
    connections: Floats  # open to the server now, idle ones too
    health: Codes
    standing: Codes
    pool: PoolCounters


@dataclass(frozen=True, slots=True)
class Missing:
    """No sample this tick, and why. Tests freeze; nothing is acted on."""

    at_s: float
    why: str


@dataclass(frozen=True, slots=True)
class Records:
    """Single requests that the engine sampled: parallel columns. `row` is -1 where no server was reached.

    `weight` is how many requests one record stands for. A `status` of -1 means the client got no answer.
    """

    row: Ints
    status: Ints
    latency_ms: Floats
    client: tuple[str, ...] = field(default=())
    weight: float = 1.0

    def __len__(self) -> int:
        return len(self.row)


NO_RECORDS = Records(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))


@dataclass(frozen=True, slots=True)
class Tick:
    """What happened between two samples of one epoch: counts per row, gauges of the later one, and the records."""

    at_s: float
    seconds: float
    layout: Layout
    requests: Floats
    errors_5xx: Floats
    connect_errors: Floats
    response_errors: Floats
    retries: Floats
    redispatches: Floats
    connects: Floats
    in_flight: Floats
    queued: Floats
    weight: Floats
    ramp: Floats
    connections: Floats
    health: Codes
    standing: Codes
    pool: PoolCounters
    records: Records = NO_RECORDS

    def ready(self) -> Flags:
        """Rows that people and Levelhead want to serve."""
        return np.equal(self.standing, _READY)

    def failing(self) -> Flags:
        """Rows whose check fails."""
        return np.equal(self.health, _FAILING)

    def unsaid(self) -> Flags:
        """Rows whose standing the engine did not tell."""
        return np.equal(self.standing, _UNKNOWN_STANDING)

    def failures(self) -> Floats:
        """Failed attempts per row: answers 5xx, broken answers, and attempts that had to be made again.

        What is broken shows in several counters; the larger is counted, so that none is counted twice.
        """
        return known_or(self.errors_5xx) + np.fmax(known_or(self.response_errors), self.unconnected())

    def unconnected(self) -> Floats:
        """Attempts per row that got no answer and were made again, or given up for want of a connection.

        A refused connection shows in `retries` at once and in `connect_errors` only after the last attempt.
        """
        return known_or(np.fmax(self.connect_errors, self.retries + self.redispatches))


def between(before: Sample, after: Sample, records: Records = NO_RECORDS) -> Tick | Missing:
    """The tick from one sample to the next, aligned to the later layout, or why there is none.

    A row that is new counts from zero. A counter that fell without a new epoch is unknown for this tick.
    """
    if after.epoch != before.epoch:
        return Missing(after.at_s, "the proxy's counters started again")
    seconds = after.at_s - before.at_s
    if seconds <= 0:
        return Missing(after.at_s, "the sample is not newer than the last one")
    rows = moved_rows(before.layout, after.layout)
    pools = moved_pools(before.layout, after.layout)
    deltas = {name: _delta(getattr(before, name), getattr(after, name), rows) for name in COUNTERS}
    pool = PoolCounters(
        arrived=_delta(before.pool.arrived, after.pool.arrived, pools),
        errors_5xx=_delta(before.pool.errors_5xx, after.pool.errors_5xx, pools),
        refused=_delta(before.pool.refused, after.pool.refused, pools),
        in_flight=after.pool.in_flight,
        queued=after.pool.queued,
    )
    return Tick(
        at_s=after.at_s, seconds=seconds, layout=after.layout, in_flight=after.in_flight, queued=after.queued,
        weight=after.weight, ramp=after.ramp, connections=after.connections, health=after.health,
        standing=after.standing, pool=pool, records=records, **deltas,
    )  # fmt: skip


def known_or(column: Floats, fill: float = 0.0) -> Floats:
    """The column with `fill` where it is unknown; the very same column where all is known."""
    unknown = np.isnan(column)
    return np.where(unknown, fill, column) if unknown.any() else column


def reindexed(column: Floats, rows: Ints, fresh: float = 0.0) -> Floats:
    """A detector's column in the order of a new layout; rows that are new start at `fresh`."""
    padded: Floats = np.append(column, fresh)
    found: Floats = padded[rows]
    return found


def _delta(before: Floats, after: Floats, rows: Ints) -> Floats:
    counted: Floats = after - reindexed(before, rows)
    counted[counted < 0] = np.nan
    return counted
