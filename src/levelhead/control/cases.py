"""Builds the case of one pool from what is remembered and what the configuration's history says."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from levelhead import predict
from levelhead.control.base import LEVELHEAD, View
from levelhead.detect import Detection
from levelhead.detect.base import Signal
from levelhead.detect.memory import Memory, Past, connections, of_pool
from levelhead.diagnose.base import Case, ShareChange, Shipped
from levelhead.model import Admin, Fleet, Pool, Revision
from levelhead.telemetry import Flags, Tick, known_or

# A change of configuration is a suspect for so long.
SUSPECT_S = 300.0
MOVED = 0.05


def known(pool: Pool, tick: Tick | None) -> bool:
    """Whether this tick shows just the servers that the configuration names."""
    if tick is None or pool.name not in tick.layout.places:
        return False
    return tick.layout.members(pool.name) == tuple(s.name for s in pool.servers)


def unknown_case(pool: Pool, view: View) -> Case:
    """The case of a pool that the engine says nothing of: everything measured is unknown."""
    blank = np.full(len(pool.servers), np.nan)
    return Case(
        pool=pool, at=view.at, servers=tuple(s.name for s in pool.servers), signals=(),
        intended=predict.intended(pool), predicted=blank, observed=blank, requests=0.0, weight=blank,
        failing=frozenset(), unserving=frozenset(), failure_ratio=blank, unconnected=blank, in_flight=blank,
        rate=np.nan, forecast=np.nan, harmed_ratio=0.0, changed=last_share_change(view.revisions, pool.name, view.at),
        shipped=last_change(view.revisions, pool.name, view.at), connections=connections(view.fleet, pool.name),
    )  # fmt: skip


def case_of(
    pool: Pool, view: View, detection: Detection, tick: Tick, signals: tuple[Signal, ...], memory: Memory | None = None
) -> Case:
    """The case of a pool that is `known` in this tick, with its signals; without `memory` nothing is known of the
    minutes before."""
    layout, now = tick.layout, detection.recent
    rows, i = layout.rows(pool.name), layout.places[pool.name]
    names = layout.servers[rows]
    requests = now.requests[rows]
    total = float(requests.sum())
    seen = np.maximum(np.maximum(requests, now.failures[rows]), 1.0)
    seconds = max(float(now.seconds[i]), 1e-9)
    failing = _named(names, tick.failing()[rows])
    away = _named(names, ~(tick.ready() | tick.unsaid())[rows] | (tick.weight[rows] == 0))
    return Case(
        pool=pool, at=view.at, servers=names, signals=signals,
        intended=predict.intended(pool),
        predicted=predict.predicted_now(tick.weight[rows], tick.ramp[rows], tick.health[rows], tick.standing[rows]),
        observed=requests / total if total >= 1 else np.full(len(names), np.nan),
        requests=total, weight=tick.weight[rows], failing=failing, unserving=failing | away,
        failure_ratio=np.minimum(now.failures[rows] / seen, 1.0),
        unconnected=now.unconnected[rows] / np.maximum(now.failures[rows], 1.0), in_flight=now.in_flight[rows],
        rate=float(now.arrived[i]) / seconds, forecast=float(detection.forecast[i]),
        harmed_ratio=min(float(now.harmed[i]) / max(float(now.arrived[i]), 1.0), 1.0),
        changed=last_share_change(view.revisions, pool.name, view.at), away=away,
        drained=_drained(view.revisions, pool.name, away),
        shipped=last_change(view.revisions, pool.name, view.at), connections=connections(view.fleet, pool.name),
        queued=float(max(known_or(tick.pool.queued)[i], known_or(tick.queued)[rows].sum())),
        latest=tick.requests[rows], latest_failed=tick.failures()[rows],
        connection_age_s=float(detection.links.age_s[i]),
        # Only trouble asks for what was before.
        past=_past(memory, pool.name, names) if signals else None,
    )  # fmt: skip


def _named(names: tuple[str, ...], which: Flags) -> frozenset[str]:
    return frozenset(names[i] for i in np.flatnonzero(which).tolist())


def last_share_change(revisions: tuple[Revision, ...], pool: str, at: float) -> ShareChange | None:
    """The newest change within `SUSPECT_S` that gave a server at least `MOVED` more of this pool, and still does."""
    force = revisions[-1].fleet.pool(pool)
    for before, after in _changes(revisions, at):
        old, new = before.fleet.pool(pool), after.fleet.pool(pool)
        if old is None or new is None or old is new or force is None or old == force:
            continue
        was = {s.name: float(p) for s, p in zip(old.servers, predict.predicted(old), strict=True)}
        gains = [(float(p) - was.get(s.name, 0.0), s.name, float(p))
                 for s, p in zip(new.servers, predict.predicted(new), strict=True)]  # fmt: skip
        gain, name, share = max(gains, default=(0.0, "", 0.0))
        if gain >= MOVED:
            return ShareChange(after.number, after.author, after.at, name, was.get(name, 0.0), share)
    return None


def last_change(revisions: tuple[Revision, ...], pool: str, at: float) -> Shipped | None:
    """The newest change within `SUSPECT_S` of anything that concerns this pool, as far as it is still in force."""
    for before, after in _changes(revisions, at):
        touched = _touched(before.fleet, after.fleet, pool)
        if touched and after is not revisions[-1]:
            touched &= _touched(before.fleet, revisions[-1].fleet, pool)
        if touched:
            return Shipped(after.number, after.author, after.at, touched)
    return None


def _changes(revisions: tuple[Revision, ...], at: float) -> Iterator[tuple[Revision, Revision]]:
    """Each revision by somebody else within `SUSPECT_S`, newest first, and the one before it.

    What Levelhead did is verified by itself, and suspects nobody.
    """
    for after, before in pairwise(reversed(revisions)):
        if at - after.at > SUSPECT_S:
            return
        if after.author != LEVELHEAD:
            yield before, after


def _touched(before: Fleet, after: Fleet, name: str) -> frozenset[str]:
    """Which parts of the pool's configuration differ between two fleets."""
    old, new = before.pool(name), after.pool(name)
    if old is new and before.listeners is after.listeners:
        return frozenset()
    if old is None or new is None:
        return frozenset() if old is new else frozenset({"members"})
    was = {s.name: s for s in old.servers}
    both = [(was[s.name], s) for s in new.servers if s.name in was]
    differs = {
        "weights": any(a.weight != b.weight for a, b in both),
        "admin": any(a.admin != b.admin for a, b in both),
        "members": {(s.name, s.address) for s in old.servers} != {(s.name, s.address) for s in new.servers},
        "policy": old.policy != new.policy or old.affinity_cookie != new.affinity_cookie,
        "check": (old.check, old.ejection) != (new.check, new.ejection),
        "limits": old.limits != new.limits or connections(before, name) != connections(after, name)
        or any(a.in_flight_limit != b.in_flight_limit for a, b in both),
        "other": (old.timeouts, old.retries, old.slow_start_s) != (new.timeouts, new.retries, new.slow_start_s),
    }  # fmt: skip
    return frozenset(part for part, it in differs.items() if it)


def _drained(revisions: tuple[Revision, ...], pool: str, away: frozenset[str]) -> frozenset[str]:
    """Which of the servers that are away were taken out by Levelhead the last time."""
    found = set()
    for name in away:
        for after, before in pairwise(reversed(revisions)):
            if _serves(before.fleet.pool(pool), name) and not _serves(after.fleet.pool(pool), name):
                found |= {name} if after.author == LEVELHEAD else set()
                break
    return frozenset(found)


def _serves(pool: Pool | None, name: str) -> bool:
    server = pool.server(name) if pool is not None else None
    return server is not None and server.admin is Admin.READY and server.weight > 0


def _past(memory: Memory | None, pool: str, servers: tuple[str, ...]) -> Past | None:
    if memory is None or pool not in memory.layout.places or memory.layout.members(pool) != servers:
        return None
    return of_pool(memory, pool)
