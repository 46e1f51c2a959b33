"""Which share of the requests each server is meant to get, and which it must get, with the noise to expect."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, assert_never

import numpy as np

from levelhead.model import Admin, Fleet, Hash, LeastRequest, OtherPolicy, Pool, RandomPick, RoundRobin
from levelhead.predict import placement
from levelhead.predict.serving import NO_TIMES, NOBODY, Group, groups
from levelhead.telemetry import Codes, Floats, Health, Layout, Standing

# A share leaves its expected value by more than this many standard deviations once in 15,000 times.
_SIGMAS: Final = 4.0
# A round robin is ahead or behind by at most so many requests per server, each time it is started anew.
_OUT_OF_STEP: Final = 2.0


def intended(pool: Pool) -> Floats:
    """What the operator means: equal, by capacity or explicit, over the servers that are not drained or taken out."""
    match pool.intent.kind:
        case "equal":
            wish = np.ones(len(pool.servers))
        case "capacity":
            wish = np.asarray([s.capacity or 0.0 for s in pool.servers])
        case "explicit":
            given = dict(pool.intent.shares)
            wish = np.asarray([given.get(s.name, 0.0) for s in pool.servers])
    ready = np.asarray([s.admin is Admin.READY for s in pool.servers])
    return _normalised(np.where(ready, wish, 0.0))


def predicted(
    pool: Pool, down: frozenset[str] = NOBODY, up_s: Mapping[str, float] = NO_TIMES, *, busy: bool = True
) -> Floats:
    """The share of each server under this configuration; they sum to 1 where any can serve, else to 0.

    `down` are servers that the engine holds unfit; `up_s` says since how many seconds those are up that came back.
    `busy`: many requests are in flight, so that policies that compare servers by load come to shares by weight; not
    busy, hardly two at a time, they do what they do among idle servers. Shares of hashed and random policies are
    those of the engine's own placement. All are NaN where the members are not known, or the policy is not followed.
    """
    if pool.unknown:
        return np.full(len(pool.servers), np.nan)
    total = np.zeros(len(pool.servers))
    for group in groups(pool, down, up_s):
        total += group.part * _within(pool, group, busy)
    return total


def by_weight(pool: Pool) -> Floats:
    """Shares by weight alone, over servers that are ready: what every policy is meant to come to."""
    ready = np.asarray([s.admin is Admin.READY and s.priority == 0 for s in pool.servers])
    return _normalised(np.where(ready, [s.weight for s in pool.servers], 0.0))


def noise(pool: Pool, n: int, down: frozenset[str] = NOBODY, *, keys: int | None = None, cores: int = 4) -> Floats:
    """By how much of itself each predicted share may be off after `n` requests: by more once in 15,000 times.

    A round robin is exact but for two requests per server and per worker that counts by itself (measured: 0.3 % at
    3,000 requests). Chance gives sqrt((1 - p) / (n p)) as one standard deviation, 4 of which are taken; load makes a
    choice among several narrower, never wider. Where requests follow a key or a session, `keys` different ones (None:
    each request its own) are the ones that chance places. `cores` is how many workers there are where the file does
    not say. NaN where the share is NaN, 0 where it is 0.
    """
    share = predicted(pool, down, busy=False)
    # Between several priorities Envoy draws lots.
    certain = _in_turns(pool) and not moves_by_key(pool) and len(groups(pool, down)) <= 1
    workers = pool.workers if pool.workers is not None else cores
    drawn = n if keys is None or not moves_by_key(pool) else min(n, keys)
    if certain:
        off = np.full(len(share), _OUT_OF_STEP * workers / n)
    else:
        off = _SIGMAS * np.sqrt(share * (1.0 - share) / drawn) + 1.0 / drawn
    relative: Floats = np.divide(off, share, out=np.zeros(len(share)), where=share != 0)
    return relative


def _in_turns(pool: Pool) -> bool:
    """Whether servers take turns, so that chance has no part in it."""
    match pool.policy:
        case RoundRobin():
            return True
        case LeastRequest(draws=draws):
            # Envoy draws among equals; unequal weights take turns (EdfLoadBalancerBase).
            return draws is None or not _alike(pool)
        case OtherPolicy(name):
            return name == "first"
        case RandomPick() | Hash():
            return False
        case _:
            assert_never(pool.policy)


def _alike(pool: Pool) -> bool:
    return len({server.weight for server in pool.servers}) <= 1


def _within(pool: Pool, group: Group, busy: bool) -> Floats:
    """How one group divides its requests."""
    weights = group.weights
    plain = _normalised(weights)
    policy = pool.policy
    match policy:
        case RoundRobin():
            return plain
        case LeastRequest(draws=None):
            # HAProxy takes idle servers in turn, whatever their weight (fwlc_queue_srv); nginx minds it (least_conn).
            return plain if busy or pool.engine != "haproxy" else _normalised((weights > 0).astype(np.float64))
        case LeastRequest():
            return plain
        case RandomPick(draws=draws):
            return _random(pool, group, busy and draws > 1)
        case Hash(bounded_load=bound):
            placed = _placed(pool, group)
            return placed if bound is None or not busy else _bounded(placed, plain, bound)
        case OtherPolicy(name="first"):
            return _first(pool, group, busy)
        case OtherPolicy():
            return np.full(len(weights), np.nan)
        case _:
            assert_never(policy)


def _random(pool: Pool, group: Group, evened: bool) -> Floats:
    plain = _normalised(group.weights)
    if evened or not isinstance(pool.policy, RandomPick):
        return plain
    if pool.engine == "haproxy":
        return _placed(pool, group)
    if pool.engine == "nginx" and pool.policy.draws == 2 and len(group.members) > 1:
        # Of two different servers that are both idle, nginx takes the second one drawn.
        odds: Floats = plain / (1.0 - plain)
        second: Floats = plain * (odds.sum() - odds)
        return second
    return plain


def _placed(pool: Pool, group: Group) -> Floats:
    parts = _parts(pool, group.members, tuple(group.weights.tolist()))
    return _normalised(group.weights) if not parts else np.asarray(parts)


# The same few pools are asked about several times a second, and a ring of a thousand points is slow to build.
@lru_cache(maxsize=256)
def _parts(pool: Pool, members: tuple[int, ...], weights: tuple[float, ...]) -> tuple[float, ...]:
    """What each server has of all keys; nothing where servers are not placed."""
    placed = placement.place(pool, members, np.asarray(weights))
    return () if placed is None else tuple(placement.shares(placed, len(pool.servers)).tolist())


def _bounded(placed: Floats, plain: Floats, bound: float) -> Floats:
    """What a server has above its bound goes to the others, in proportion to what they have."""
    most = bound * plain
    share = placed.copy()
    for _ in range(len(share)):
        over = share > most + 1e-12
        if not over.any():
            break
        excess = float((share - most)[over].sum())
        share[over] = most[over]
        room = np.where(share < most, share, 0.0)
        if room.sum() <= 0:
            break
        share += excess * room / room.sum()
    return share


def _first(pool: Pool, group: Group, busy: bool) -> Floats:
    """HAProxy's `first` fills the server of the lowest number up to its limit before it takes the next."""
    numbers = placement.haproxy_numbers(pool.servers)
    lowest = min(group.members, key=lambda i: numbers[i])
    if busy and pool.servers[lowest].in_flight_limit is not None:
        return np.full(len(pool.servers), np.nan)
    chosen = np.zeros(len(pool.servers))
    chosen[lowest] = 1.0
    return chosen


def predicted_now(weight: Floats, ramp: Floats, health: Codes, standing: Codes) -> Floats:
    """What the weights in force produce among the servers that the engine holds fit to serve; one pool's rows.

    An unknown weight or state makes every share unknown (NaN): it is not zero.
    """
    effective = weight * ramp
    if np.isnan(effective).any() or (standing == Standing.UNKNOWN).any():
        return np.full(len(weight), np.nan)
    serving = (standing == Standing.READY) & (health != Health.FAILING)
    return _normalised(np.where(serving, effective, 0.0))


def intended_weights(pool: Pool) -> tuple[float, ...]:
    """Weights that give the intended shares, the largest 100; a drained server keeps the weight it has."""
    wish = intended(pool)
    top = float(wish.max()) if len(wish) else 0.0
    if top <= 0:
        return tuple(s.weight for s in pool.servers)
    return tuple(
        float(round(100 * share / top, 2)) if s.admin is Admin.READY else s.weight
        for s, share in zip(pool.servers, wish, strict=True)
    )


def shares_by_row(fleet: Fleet, layout: Layout) -> tuple[Floats, Floats]:
    """Intended shares of every row and those by weight; rows of servers that the fleet does not know are NaN."""
    meant = np.full(len(layout.servers), np.nan)
    must = np.full(len(layout.servers), np.nan)
    for name, rows in layout.each():
        pool = fleet.pool(name)
        if pool is None:
            continue
        at = {s.name: i for i, s in enumerate(pool.servers)}
        where = np.asarray([at.get(server, -1) for server in layout.servers[rows]])
        meant[rows] = np.append(intended(pool), np.nan)[where]
        must[rows] = np.append(by_weight(pool), np.nan)[where]
    return meant, must


def adapts(pool: Pool) -> bool:
    """Whether the policy looks at how busy servers are, so that a faster one rightly gets more than its weight."""
    return isinstance(pool.policy, LeastRequest | RandomPick)


def moves_by_key(pool: Pool) -> bool:
    """Whether one client's requests go to one server, so that clients rather than requests are spread."""
    return pool.affinity_cookie is not None or pool.affinity != "" or isinstance(pool.policy, Hash)


def _normalised(wish: Floats) -> Floats:
    total = float(wish.sum())
    return wish / total if total > 0 else np.zeros(len(wish))
