"""How the next server is chosen, as HAProxy does it: one picker for each policy.

A picker is made anew whenever a server comes, goes or changes its weight. It is given the servers that may be chosen
(up, ready, weight above 0) and the weights in force.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from math import ceil, gcd, inf
from typing import Protocol, assert_never

import numpy as np
from numpy.typing import NDArray

from levelhead.errors import UsageError
from levelhead.model import Hash, LeastRequest, OtherPolicy, Pool, RandomPick, RoundRobin
from levelhead.simulate.base import ProxyModel
from levelhead.simulate.chance import Dice, mixed, number
from levelhead.simulate.servers import Row
from levelhead.telemetry import Floats, Ints

# HAProxy puts this many points on the ring for each unit of weight, and steps slow start in as many parts.
RING_POINTS = 16
# A server of weight 1 has a turn each so many; a power of two that leaves room for sums in 64 bits.
_TURN = 2.0**40
_BLOCK = 1024


class Picker(Protocol):
    """`pick`: the server for this key, not `avoid` where there is another; None if all are full, or there is none.

    Only a hash may pick a full server: the request then waits for that very server.
    """

    def pick(self, key: int, avoid: Row | None) -> Row | None: ...


class Nobody:
    """No server may be chosen."""

    def pick(self, key: int, avoid: Row | None) -> Row | None:
        return None


class RoundRobinPicker:
    """Smooth weighted round robin: a server of weight w has a turn every 1/w; turns are taken in order of time.

    Whole blocks of turns are laid out at once, in whole numbers, so that shares are exact. A full server loses its
    turn. A server that is new takes its first turn a full stride from now: it does not get all requests at once.
    """

    def __init__(self, rows: Sequence[Row], before: RoundRobinPicker | None = None) -> None:
        self._rows = rows
        self._weights: Floats = np.array([row.weight for row in rows])
        self._strides: Ints = np.rint(_TURN / self._weights).astype(np.int64)
        ahead = before._ahead() if before is not None else {}
        strides = self._strides.tolist()
        turns = [min(ahead.get(row.serial, stride), stride) for row, stride in zip(rows, strides, strict=True)]
        self._next: Ints = np.array(turns, dtype=np.int64)
        self._block: list[Row] = []
        self._order: Ints = np.zeros(0, dtype=np.int64)
        self._times: Ints = np.zeros(0, dtype=np.int64)

    def pick(self, key: int, avoid: Row | None) -> Row | None:
        block = self._block or self._lay_out()
        row = block.pop()
        if row is avoid or len(row.outstanding) >= row.limit:
            return self._other(avoid)
        return row

    def _other(self, avoid: Row | None) -> Row | None:
        free = [row for row in self._rows if len(row.outstanding) < row.limit]
        if len(free) <= 1:
            return free[0] if free else None
        while True:
            row = (self._block or self._lay_out()).pop()
            if row is not avoid and len(row.outstanding) < row.limit:
                return row

    def _lay_out(self) -> list[Row]:
        self._settle()
        counts = np.ceil(self._weights / self._weights.sum() * _BLOCK).astype(np.int64) + 1
        who = np.repeat(np.arange(len(self._rows)), counts)
        nth: Ints = np.concatenate([np.arange(n, dtype=np.int64) for n in counts.tolist()])
        times: Ints = self._next[who] + nth * self._strides[who]
        order = np.lexsort((who, times))[:_BLOCK]
        self._order, self._times = who[order], times[order]
        rows = self._rows
        self._block = [rows[i] for i in self._order[::-1].tolist()]
        return self._block

    def _settle(self) -> None:
        """Move every server on by the turns it had, count turns from now, and drop what is left of the block."""
        taken = len(self._order) - len(self._block)
        if taken:
            turns = np.bincount(self._order[:taken], minlength=len(self._rows))
            self._next = self._next + turns * self._strides - self._times[taken - 1]
        self._order, self._block = self._order[:0], []

    def _ahead(self) -> dict[int, int]:
        """How far off the next turn of each server is, by serial."""
        self._settle()
        return {row.serial: at for row, at in zip(self._rows, self._next.tolist(), strict=True)}


class PerWorkerPicker:
    """Proxy workers that share nothing: each its own round robin, each request at any of them."""

    def __init__(self, pickers: Sequence[RoundRobinPicker], dice: Dice) -> None:
        self.pickers = pickers
        self._dice = dice

    def pick(self, key: int, avoid: Row | None) -> Row | None:
        return self.pickers[int(self._dice.roll() * len(self.pickers))].pick(key, avoid)


class LeastRequestPicker:
    """The fewest requests in flight and waiting, per weight; an idle server counts 0, ties go round."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = [(row, 1.0 / row.weight) for row in rows]
        self._turn = max((row.turn for row in rows), default=0)

    def pick(self, key: int, avoid: Row | None) -> Row | None:
        best, lowest = None, inf
        for row, stride in self._rows:
            held = len(row.outstanding)
            if held >= row.limit or row is avoid:
                continue
            held += len(row.queue)
            load = (held + 1) * stride if held else 0.0
            if load < lowest or (load == lowest and best is not None and row.turn < best.turn):
                best, lowest = row, load
        if best is None:
            return avoid if avoid is not None and len(avoid.outstanding) < avoid.limit and self._has(avoid) else None
        self._turn += 1
        best.turn = self._turn
        return best

    def _has(self, wanted: Row) -> bool:
        return any(row is wanted for row, _ in self._rows)


class RandomPicker:
    """The less loaded of some servers drawn by lot. The lots are arcs of the hash ring, as uneven as HAProxy's."""

    def __init__(self, rows: Sequence[Row], draws: int, dice: Dice) -> None:
        self._rows = rows
        self._arcs = np.cumsum(Ring(rows).arcs()).tolist()[:-1]
        self._draws = max(1, draws)
        self._dice = dice

    def pick(self, key: int, avoid: Row | None) -> Row | None:
        best = self._draw(avoid)
        for _ in range(self._draws - 1):
            row = self._draw(avoid)
            if len(row.outstanding) * best.weight <= len(best.outstanding) * row.weight:
                best = row
        if len(best.outstanding) < best.limit:
            return best
        return next((row for row in self._rows if len(row.outstanding) < row.limit and row is not avoid), None)

    def _draw(self, avoid: Row | None) -> Row:
        row = self._rows[bisect_right(self._arcs, self._dice.roll())]
        while row is avoid and len(self._rows) > 1:
            row = self._rows[bisect_right(self._arcs, self._dice.roll())]
        return row


class DrawnPicker:
    """Envoy's draws: each server is as likely as any other, whatever its weight, and may be drawn twice; of those drawn
    the one with the fewest requests in flight. One draw is its RANDOM."""

    def __init__(self, rows: Sequence[Row], draws: int, dice: Dice) -> None:
        self._rows, self._draws, self._dice = rows, max(1, draws), dice

    def pick(self, key: int, avoid: Row | None) -> Row | None:
        rows = [row for row in self._rows if row is not avoid] if avoid is not None else self._rows
        if not rows:
            return avoid
        best = rows[int(self._dice.roll() * len(rows))]
        for _ in range(self._draws - 1):
            row = rows[int(self._dice.roll() * len(rows))]
            if len(row.outstanding) < len(best.outstanding):
                best = row
        if len(best.outstanding) < best.limit:
            return best
        return next((row for row in rows if len(row.outstanding) < row.limit), None)


class Ring:
    """Points of all servers on a circle; a key belongs to the first point at or after its hash."""

    def __init__(self, rows: Sequence[Row]) -> None:
        points = [max(1, round(row.weight * RING_POINTS)) for row in rows]
        where = np.concatenate([_points(row.server.name, n) for row, n in zip(rows, points, strict=True)])
        owners = np.repeat(np.arange(len(rows)), points)
        order = np.lexsort((owners, where))
        self._where = where[order]
        self._owners: list[int] = owners[order].tolist()
        self._rows = rows

    def arcs(self) -> Floats:
        """The part of the circle that each server owns; they sum to 1."""
        where = self._where.astype(np.float64) / 2.0**64
        lengths = np.diff(where, prepend=where[-1] - 1.0)
        return np.bincount(self._owners, weights=lengths, minlength=len(self._rows)).astype(np.float64)

    def owner(self, key: int) -> Row:
        return self._rows[self._owners[self._at(key)]]

    def order(self, key: int) -> Iterator[Row]:
        """All servers in the order in which their points follow the key."""
        owners, start = self._owners, self._at(key)
        seen: set[int] = set()
        for step in range(len(owners)):
            owner = owners[(start + step) % len(owners)]
            if owner not in seen:
                seen.add(owner)
                yield self._rows[owner]
            if len(seen) == len(self._rows):
                return

    def _at(self, key: int) -> int:
        return int(np.searchsorted(self._where, np.uint64(mixed(key)), side="left")) % len(self._where)


class ConsistentPicker:
    """A key keeps its server while that server stays; when one goes, only its keys move.

    With `bounded_load` a key moves on along the ring while its server holds more than that multiple of its share.
    """

    def __init__(self, rows: Sequence[Row], bounded_load: float | None) -> None:
        self._ring = Ring(rows)
        self._rows = rows
        self._bound = bounded_load
        self._weight = sum(row.weight for row in rows)
        self._known: dict[int, Row] = {}

    def pick(self, key: int, avoid: Row | None) -> Row | None:
        row = self._known.get(key)
        if row is None:
            row = self._known[key] = self._ring.owner(key)
        if self._bound is None and row is not avoid:
            return row
        cap = self._cap()
        if row is not avoid and len(row.outstanding) < cap * row.weight:
            return row
        first: Row | None = None
        for other in self._ring.order(key):
            if other is avoid:
                continue
            if len(other.outstanding) < cap * other.weight:
                return other
            first = first or other
        return first or row

    def _cap(self) -> float:
        """Requests in flight per weight that a server may hold, counting the one to place."""
        if self._bound is None:
            return inf
        held = sum(len(row.outstanding) for row in self._rows)
        return ceil((held + 1) * self._bound) / self._weight


class MapPicker:
    """A table with as many places per server as its weight; the key's hash modulo its length. A change moves most keys.

    It knows the weights as configured: slow start does not reach it.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        weights = [max(1, round(row.server.weight)) for row in rows]
        common = gcd(*weights)
        turns = [((k + 0.5) * common / w, i) for i, w in enumerate(weights) for k in range(w // common)]
        self._table = [rows[i] for _, i in sorted(turns)]

    def pick(self, key: int, avoid: Row | None) -> Row | None:
        return self._table[mixed(key) % len(self._table)]


def picker(pool: Pool, rows: Sequence[Row], proxy: ProxyModel, dice: Dice, before: Picker | None) -> Picker:
    """The picker of this pool's policy over these servers; a round robin goes on where the one before it stood."""
    if not rows:
        return Nobody()
    policy = pool.policy
    match policy:
        case RoundRobin():
            return _round_robin(rows, max(proxy.workers, pool.workers or 1), dice, before)
        case LeastRequest(draws=int(draws)) if len({row.weight for row in rows}) == 1:
            return DrawnPicker(rows, draws, dice)
        case LeastRequest():
            # Where weights differ Envoy takes turns by weight over requests in flight, which comes to much the same.
            return LeastRequestPicker(rows)
        case RandomPick(draws=draws, by_weight=False):
            return DrawnPicker(rows, draws, dice)
        case RandomPick(draws=draws):
            return RandomPicker(rows, draws, dice)
        case Hash(consistent=True, bounded_load=bounded_load):
            return ConsistentPicker(rows, bounded_load)
        case Hash():
            return MapPicker(rows)
        case OtherPolicy(name):
            raise UsageError(
                f"pool {pool.name} chooses servers by {name!r}, which is not simulated",
                next_step="use round-robin, least-request, random or hash",
            )
        case _:
            assert_never(policy)


def _round_robin(rows: Sequence[Row], workers: int, dice: Dice, before: Picker | None) -> Picker:
    if workers <= 1:
        return RoundRobinPicker(rows, before if isinstance(before, RoundRobinPicker) else None)
    old = before.pickers if isinstance(before, PerWorkerPicker) else ()
    return PerWorkerPicker(
        [RoundRobinPicker(rows, old[i] if i < len(old) else None) for i in range(workers)], dice
    )


def _points(name: str, count: int) -> NDArray[np.uint64]:
    """Places of a server's points on the ring; those of a smaller weight are the first ones of a larger weight."""
    with np.errstate(over="ignore"):
        key = np.uint64(number(name)) + np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return key ^ (key >> np.uint64(31))
