"""Adds up what users suffer, tick by tick, also in the seconds before anybody noticed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from levelhead.control.base import Glance, PoolState, Suffering
from levelhead.incident import Harm
from levelhead.telemetry import Tick, known_or

# Harm from before the detection belongs to the incident; so much of it is remembered.
LOOK_BACK_S = 20.0
# Beyond so many users the counts say "at least".
MOST_USERS = 50_000


def glanced(glances: tuple[Glance, ...], tick: Tick) -> tuple[Glance, ...]:
    """The glances of the last seconds, this tick's among them."""
    now = Glance(tick.at_s, tick.layout, known_or(tick.pool.arrived), known_or(tick.pool.errors_5xx), tick.records)
    return (*(g for g in glances if now.at - g.at <= LOOK_BACK_S), now)


def lately(glances: tuple[Glance, ...], pool: str, late_ms: float) -> tuple[Suffering, ...]:
    """The pool's harm in each of these glances that shows it."""
    return tuple(suffering(glance, pool, late_ms) for glance in glances if pool in glance.layout.places)


def suffering(glance: Glance, pool: str, late_ms: float) -> Suffering:
    """The pool's harm in one tick. Failed requests are counted by the engine; late ones by sampled records."""
    rows, i = glance.layout.rows(pool), glance.layout.places[pool]
    records = glance.records
    mine = (records.row >= rows.start) & (records.row < rows.stop)
    if len(glance.layout.pools) == 1:
        mine = mine | (records.row < 0)
    late = (records.latency_ms > late_ms) & (records.status < 500) & (records.status > 0)
    failed = (records.status >= 500) | (records.status < 0)
    clients = np.asarray(records.client, dtype=object) if records.client else np.zeros(0, dtype=object)
    named = len(clients) == len(records)
    return Suffering(
        at=glance.at,
        arrived=float(glance.arrived[i]),
        harmed=float(glance.errors_5xx[i] + (mine & late).sum() * records.weight),
        clients=frozenset(clients[mine]) if named else frozenset(),
        clients_harmed=frozenset(clients[mine & (late | failed)]) if named else frozenset(),
        sampled=1.0 / records.weight if len(records) else 1.0,
    )


def opened(state: PoolState, since: float) -> PoolState:
    """The state of a pool whose incident has just opened: harm since the fault began is counted into it."""
    for s in state.lately:
        if s.at >= since - 0.5:
            state = remembered(state, s)
    return replace(state, lately=())


def remembered(state: PoolState, now: Suffering) -> PoolState:
    """The state with this tick's harm in its open incident, if there is one."""
    if state.incident is None:
        return state
    full = len(state.users) >= MOST_USERS
    users = state.users if full else state.users | now.clients
    users_harmed = state.users_harmed if full else state.users_harmed | now.clients_harmed
    old = state.incident.harm
    harm = Harm(
        requests=old.requests + round(now.arrived),
        requests_harmed=old.requests_harmed + min(round(now.harmed), round(now.arrived)),
        # An earlier control plane may have counted users that this one has not met.
        users=max(old.users, len(users)), users_harmed=max(old.users_harmed, len(users_harmed)),
        sampled=min(old.sampled, now.sampled),
    )  # fmt: skip
    return replace(state, incident=replace(state.incident, harm=harm), users=users, users_harmed=users_harmed)
