"""What is left when one server of a pool is lost: the new shares, the keys that move, and who then has too much."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, replace

import numpy as np

from levelhead.model import Hash, Pool
from levelhead.predict import placement
from levelhead.predict.serving import groups
from levelhead.predict.shares import predicted
from levelhead.telemetry import Floats


@dataclass(frozen=True, slots=True)
class Survivors:
    """The pool without `lost`, once the engine knows: `shares` per server, in the order of the pool.

    `moved` is the part of requests, or of keys where the policy is a hash, that have another server than before.
    `moved_if_removed` is the same when the server is taken out of the configuration instead: engines that number or
    count their servers then place others anew as well. `overloaded` are servers that get more than they declared to
    bear; empty also where the rate or their capacity is not known.
    """

    lost: str
    shares: Floats
    moved: float
    moved_if_removed: float
    overloaded: tuple[str, ...] = ()

    @property
    def largest(self) -> float:
        """The largest share that is left, NaN where shares are unknown, 0 where nobody serves."""
        return float(self.shares.max()) if len(self.shares) else 0.0


def survivors(pool: Pool, lost: str, *, rps: float | None = None) -> Survivors:
    """The pool after the loss of this server; `rps` is what the pool gets in requests per second.

    KeyError if it has no such server.
    """
    return _without(_whole(pool), lost, rps)


def every_loss(pool: Pool, of: Container[str] | None = None, *, rps: float | None = None) -> tuple[Survivors, ...]:
    """The loss of each server (or each of these) that has any share, in the order of the pool."""
    whole = _whole(pool)
    shares = zip(pool.servers, whole.shares.tolist(), strict=True)
    named = [server.name for server, share in shares if share != 0 and (of is None or server.name in of)]
    return tuple(_without(whole, name, rps) for name in named)


@dataclass(frozen=True, slots=True)
class _Whole:
    """The pool while it has all its servers. `placed` is None where keys do not decide, or cannot be placed."""

    pool: Pool
    shares: Floats
    placed: placement.Placement | None

    def share(self, name: str) -> float:
        return float(self.shares[[s.name for s in self.pool.servers].index(name)])


def _whole(pool: Pool) -> _Whole:
    return _Whole(pool, predicted(pool), _placed(pool, frozenset()))


def _placed(pool: Pool, down: frozenset[str]) -> placement.Placement | None:
    """Where all keys live, as long as one priority serves them all."""
    if pool.unknown or not isinstance(pool.policy, Hash):
        return None
    serving = groups(pool, down)
    if len(serving) != 1 or serving[0].part < 0.999:
        return None
    return placement.place(pool, serving[0].members, serving[0].weights)


def _without(whole: _Whole, lost: str, rps: float | None) -> Survivors:
    pool = whole.pool
    if pool.server(lost) is None:
        raise KeyError(f"{pool.name}/{lost}")
    down = frozenset({lost})
    now = _placed(pool, down)
    # To place all keys takes a while: once is enough, unless a bound on load changes the shares.
    bounded = isinstance(pool.policy, Hash) and pool.policy.bounded_load is not None
    after = predicted(pool, down) if now is None or bounded else placement.shares(now, len(pool.servers))
    moved = _moved(whole, lost, now)
    removed = moved if pool.engine == "envoy" else _moved_if_removed(whole, lost)
    return Survivors(lost, after, moved, removed, _overloaded(pool, after, rps))


def _moved(whole: _Whole, lost: str, now: placement.Placement | None) -> float:
    """The part of requests, or of keys, with another server when this one is held down.

    HAProxy and Envoy place the keys of all anew. nginx keeps its ring or table and goes on to the next server for the
    keys of the lost one only (ngx_http_upstream_get_hash_peer), as every policy without keys does.
    """
    if whole.placed is None or now is None or whole.pool.engine == "nginx":
        return whole.share(lost)
    return placement.moved(whole.placed, now)


def _moved_if_removed(whole: _Whole, lost: str) -> float:
    if whole.placed is None:
        return whole.share(lost)
    left = replace(whole.pool, servers=tuple(s for s in whole.pool.servers if s.name != lost))
    now = _placed(left, frozenset())
    if now is None:
        return whole.share(lost)
    names = [server.name for server in whole.pool.servers]
    places = np.asarray([names.index(server.name) for server in left.servers])
    return placement.moved(whole.placed, replace(now, owners=places[now.owners]))


def _overloaded(pool: Pool, shares: Floats, rps: float | None) -> tuple[str, ...]:
    if rps is None:
        return ()
    return tuple(
        server.name
        for server, share in zip(pool.servers, shares.tolist(), strict=True)
        if server.capacity is not None and share * rps > server.capacity
    )
