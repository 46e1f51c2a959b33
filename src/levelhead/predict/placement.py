"""Where keys live: which server each hash value belongs to, as the engine itself places servers.

A placement is exact for keys whose hashes are spread evenly. Sources are the engines' own: HAProxy's lb_chash.c and
lb_map.c, nginx's ngx_http_upstream_hash_module.c, Envoy's ring_hash_lb.cc and maglev_lb.cc.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, gcd, lcm
from typing import Final

import numpy as np

from levelhead.model import Hash, Pool, RandomPick, Server, Table
from levelhead.predict.hashes import avalanche32, ketama, xxh64_texts
from levelhead.telemetry import Floats, Ints

# HAProxy: points per weight, and how many numbers each server has for them (BE_WEIGHT_SCALE, SRV_EWGHT_RANGE).
_HAPROXY_POINTS: Final = 16
_HAPROXY_RANGE: Final = 4096
_NGINX_POINTS: Final = 160
# Above so many points a share is that of the weight but for less than 1 %, and the ring is not built.
_MOST_POINTS: Final = 1 << 20
_MOST_SLOTS: Final = 1 << 22


@dataclass(frozen=True, slots=True)
class Arcs:
    """A circle of length 1: from `starts[i]` to the next start, keys belong to the server at `owners[i]`."""

    starts: Floats
    owners: Ints


@dataclass(frozen=True, slots=True)
class Slots:
    """A table: the key whose hash is h belongs to `owners[h % len(owners)]`."""

    owners: Ints


Placement = Arcs | Slots


def place(pool: Pool, members: Sequence[int], weights: Floats) -> Placement | None:
    """The placement of these servers of a pool (positions in `pool.servers`) with these weights, one per server.

    None where there are none, where the policy places no servers, or where they are too many to place.
    """
    used = [i for i in members if weights[i] > 0]
    policy = pool.policy
    if not used or not isinstance(policy, Hash | RandomPick):
        return None
    match pool.engine:
        case "haproxy":
            mapped = isinstance(policy, Hash) and not policy.consistent
            return _haproxy_map(used, weights) if mapped else _haproxy_tree(pool.servers, used, weights)
        case "nginx":
            if not isinstance(policy, Hash):
                return None
            return _ketama(pool.servers, used, weights) if policy.consistent else _nginx_slots(used, weights)
        case "envoy":
            table = policy.table if isinstance(policy, Hash) else None
            if table is None or table.function not in ("XX_HASH", "DEFAULT_HASH"):
                return None
            keys = [pool.servers[i].ring_key or pool.servers[i].address for i in used]
            if table.kind == "maglev":
                return _maglev(keys, used, weights, table.least)
            return _envoy_ring(keys, used, weights, table)


def shares(placement: Placement, count: int) -> Floats:
    """The part of all keys that each of `count` servers has."""
    match placement:
        case Arcs(starts, owners):
            lengths = np.diff(starts, append=starts[0] + 1.0)
            return np.bincount(owners, weights=lengths, minlength=count).astype(np.float64)
        case Slots(owners):
            return np.bincount(owners, minlength=count) / len(owners)


def moved(before: Placement, after: Placement) -> float:
    """The part of all keys that have another server afterwards."""
    if isinstance(before, Arcs) and isinstance(after, Arcs):
        starts = np.union1d(before.starts, after.starts)
        lengths = np.diff(starts, append=starts[0] + 1.0)
        differ = _owners_at(before, starts) != _owners_at(after, starts)
        return float(lengths[differ].sum())
    if isinstance(before, Slots) and isinstance(after, Slots):
        whole = lcm(len(before.owners), len(after.owners))
        # Beyond that many, a part of the hashes stands for all.
        hashes = np.arange(min(whole, _MOST_SLOTS), dtype=np.int64)
        differ = before.owners[hashes % len(before.owners)] != after.owners[hashes % len(after.owners)]
        return float(differ.mean())
    return float("nan")


def haproxy_numbers(servers: Sequence[Server]) -> list[int]:
    """The number of each server: the one written, else the next free one."""
    written = {int(s.ring_key) for s in servers if s.ring_key.isdigit()}
    numbers, following = [], 1
    for server in servers:
        if server.ring_key.isdigit():
            numbers.append(int(server.ring_key))
            continue
        while following in written:
            following += 1
        numbers.append(following)
        following += 1
    return numbers


def _owners_at(arcs: Arcs, where: Floats) -> Ints:
    # Before the first start is the end of the last arc.
    found: Ints = arcs.owners[np.searchsorted(arcs.starts, where, side="right") - 1]
    return found


def _haproxy_tree(servers: Sequence[Server], used: Sequence[int], weights: Floats) -> Arcs | None:
    """HAProxy's tree: a key belongs to the nearest point, before or after it."""
    counts = [max(1, round(float(weights[i]) * _HAPROXY_POINTS)) for i in used]
    if sum(counts) > _MOST_POINTS:
        return None
    numbers = haproxy_numbers(servers)
    keys = np.concatenate([
        avalanche32(np.uint32(numbers[i] * _HAPROXY_RANGE % 2**32) + np.arange(n, dtype=np.uint32))
        for i, n in zip(used, counts, strict=True)
    ]).astype(np.int64)  # fmt: skip
    owners = np.repeat(np.asarray(used), counts)
    order = np.argsort(keys, kind="stable")
    keys, owners = keys[order], owners[order]
    nearest = keys + np.diff(keys, append=keys[0] + 2**32) // 2 + 1
    return _arcs(nearest.astype(np.float64) / 2**32, np.roll(owners, -1))


def _haproxy_map(used: Sequence[int], weights: Floats) -> Slots | None:
    """HAProxy's table: each place goes to the server that is furthest behind, the first of equals."""
    whole = [max(1, round(float(weights[i]))) for i in used]
    common = gcd(*whole)
    each = np.asarray(whole, dtype=np.int64) // common
    total = int(each.sum())
    if total * len(used) > _MOST_SLOTS:
        return None
    owners = np.empty(total, dtype=np.int64)
    score = np.zeros(len(used), dtype=np.int64)
    for place_ in range(total):
        score += each
        best = int(np.argmax((score + total) // total))
        owners[place_] = used[best]
        score[best] -= total
    return Slots(owners)


def _ketama(servers: Sequence[Server], used: Sequence[int], weights: Floats) -> Arcs | None:
    """nginx's ring: a key belongs to the first point at or after it."""
    counts = [max(1, round(float(weights[i]))) * _NGINX_POINTS for i in used]
    if sum(counts) > _MOST_POINTS:
        return None
    keys = np.concatenate([ketama(*_host_and_port(servers[i]), n) for i, n in zip(used, counts, strict=True)])
    return _ring(keys.astype(np.float64) / 2**32, np.repeat(np.asarray(used), counts))


def _host_and_port(server: Server) -> tuple[str, str]:
    written = server.ring_key or server.address
    if written[:5].lower() == "unix:":
        return written[5:], ""
    host, colon, port = written.rpartition(":")
    return (host, port) if colon and port.isdigit() else (written, "")


def _nginx_slots(used: Sequence[int], weights: Floats) -> Slots | None:
    """nginx counts through the weights in the order of the servers."""
    each = np.rint(weights[list(used)]).astype(np.int64)
    if int(each.sum()) > _MOST_SLOTS:
        return None
    return Slots(np.repeat(np.asarray(used), np.maximum(each, 1)))


def _envoy_ring(keys: list[str], used: Sequence[int], weights: Floats, table: Table) -> Arcs | None:
    """Envoy's ring: the lightest server has a whole number of points, the others as many times more."""
    parts = weights[list(used)] / weights[list(used)].sum()
    least = float(parts.min())
    scale = min(ceil(least * table.least) / least, float(table.most))
    if scale > _MOST_POINTS:
        return None
    # The sums run on from server to server, so that rounding is shared.
    bounds = np.ceil(np.cumsum(scale * parts) - 1e-9).astype(np.int64)
    counts = np.diff(bounds, prepend=0)
    texts = [f"{key}_{n}" for key, count in zip(keys, counts.tolist(), strict=True) for n in range(count)]
    points = xxh64_texts(texts).astype(np.float64) / 2.0**64
    return _ring(points, np.repeat(np.asarray(used), counts))


def _maglev(keys: list[str], used: Sequence[int], weights: Floats, size: int) -> Slots | None:
    """Maglev's table (Eisenbud et al., NSDI 2016, listing 1), with a turn in each round for the heaviest server."""
    if size > _MOST_POINTS:
        return None
    order = sorted(range(len(keys)), key=keys.__getitem__)
    offsets = (xxh64_texts(keys) % np.uint64(size)).astype(np.int64).tolist()
    skips = (xxh64_texts(keys, 1) % np.uint64(size - 1)).astype(np.int64).tolist()
    parts = (weights[list(used)] / weights[list(used)].sum()).tolist()
    table = [-1] * size
    due = [0.0] * len(keys)
    nexts, left, turn, heaviest = list(offsets), size, 0, max(parts)
    while left:
        turn += 1
        for k in order:
            if turn * parts[k] < due[k] or not left:
                continue
            due[k] += heaviest
            at, step = nexts[k], skips[k] + 1
            while table[at] >= 0:
                at = (at + step) % size
            table[at] = used[k]
            nexts[k] = (at + step) % size
            left -= 1
    return Slots(np.asarray(table, dtype=np.int64))


def _ring(points: Floats, owners: Ints) -> Arcs:
    order = np.argsort(points, kind="stable")
    return _arcs(points[order], np.roll(owners[order], -1))


def _arcs(starts: Floats, owners: Ints) -> Arcs:
    starts = starts % 1.0
    order = np.argsort(starts, kind="stable")
    return Arcs(starts[order], owners[order])
