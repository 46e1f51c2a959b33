"""The simulated world: every pool of a fleet in virtual time, seen as an engine would report it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import inf, nan

import numpy as np

from levelhead.errors import UsageError
from levelhead.model import Admin, Fleet
from levelhead.simulate.base import Harm, Outcomes, ProxyModel, ServerModel, UserModel
from levelhead.simulate.faults import Behind, Fault, HotKey, Poison, Restart, Traffic
from levelhead.simulate.proxy import PoolProxy, Surroundings
from levelhead.simulate.servers import Row
from levelhead.simulate.trouble import afflict
from levelhead.telemetry import (
    COUNTERS,
    GAUGES,
    NO_RECORDS,
    Health,
    Layout,
    PoolCounters,
    Records,
    Sample,
    Standing,
)

_STANDING = {Admin.READY: Standing.READY, Admin.DRAIN: Standing.DRAIN, Admin.MAINT: Standing.MAINT}
_SILENT = UserModel(rps=0.0)


class World:
    """Users, a proxy and servers. The same arguments and the same calls give the same numbers, always.

    `servers` says what the machine behind (pool, server) is like, `otherwise` what those not named are like; two
    servers of a pool with one address are one machine. `users` are by pool; a pool without has no traffic.
    `records_per_s` is about how many single requests per second `records` hands over. With `keep_outcomes` every
    request is kept until `outcomes` is asked; without, totals and one bit per user.
    """

    def __init__(
        self,
        fleet: Fleet,
        servers: Mapping[tuple[str, str], ServerModel],
        users: Mapping[str, UserModel],
        *,
        seed: int,
        proxy: ProxyModel | None = None,
        epoch: int = 1,
        otherwise: ServerModel | None = None,
        records_per_s: float = 200.0,
        keep_outcomes: bool = False,
    ) -> None:
        self.fleet = fleet
        self.now_s = 0.0
        self._epoch = epoch
        self._restarts: list[float] = []  # times to come at which the proxy starts again
        self._users = users
        self._records_per_s = records_per_s
        self._records_at_s = 0.0
        self._around = Surroundings(seed, servers, otherwise or ServerModel(), proxy or ProxyModel(), keep_outcomes)
        self._pools: dict[str, PoolProxy] = {}
        self.apply(fleet)

    def advance(self, until_s: float) -> None:
        """Let everything happen up to and including this time; a time that is past changes nothing."""
        if until_s <= self.now_s:
            return
        for pool in self._pools.values():
            pool.run(until_s)
        self.now_s = until_s
        self._epoch += sum(at_s <= until_s for at_s in self._restarts)
        self._restarts = [at_s for at_s in self._restarts if at_s > until_s]

    def apply(self, fleet: Fleet) -> None:
        """The desired state, in force at once, as by an engine that needs no reload."""
        for gone in set(self._pools) - {pool.name for pool in fleet.pools}:
            del self._pools[gone]
        for pool in fleet.pools:
            running = self._pools.get(pool.name)
            if running is not None:
                running.apply(pool)
            else:
                users = self._users.get(pool.name, _SILENT)
                self._pools[pool.name] = PoolProxy(pool, users, self._around, start_s=self.now_s)
            self._pools[pool.name].admit(_connections(fleet, pool.name))
        self.fleet = fleet
        self._layout = Layout.of(tuple((pool.name, tuple(s.name for s in pool.servers)) for pool in fleet.pools))

    def inject(self, fault: Fault, at_s: float | None = None) -> None:
        """Let this happen now, or at a time to come. UsageError names a pool or a server that is not there."""
        pools = self._concerned(fault)
        if at_s is not None and at_s > self.now_s:
            for pool in pools:
                pool.agenda.at(at_s, partial(afflict, pool, fault))
            self._restarts += [at_s] if isinstance(fault, Restart) else []
            return
        for pool in pools:
            afflict(pool, fault)
        self._epoch += isinstance(fault, Restart)

    def sample(self) -> Sample:
        """One reading of the engine: counters of this epoch, gauges of now."""
        pools = [self._pools[pool.name] for pool in self.fleet.pools]
        rows = [row for pool in pools for row in pool.rows]
        columns = np.array(
            [
                (
                    row.requests, row.errors_5xx, row.connect_errors, row.response_errors, row.retries,
                    row.redispatches, row.connects if pool.keeps_connections else nan, len(row.outstanding),
                    len(row.queue), row.server.weight, row.ramp, row.connections if pool.keeps_connections else nan,
                )
                for pool in pools
                for row in pool.rows
            ],
            dtype=np.float64,
        ).reshape(-1, len(COUNTERS) + len(GAUGES))  # fmt: skip
        named = dict(zip((*COUNTERS, *GAUGES), columns.T.copy(), strict=True))
        return Sample(
            at_s=self.now_s,
            epoch=self._epoch,
            layout=self._layout,
            **named,
            health=np.array([_health(pool, row) for pool in pools for row in pool.rows], dtype=np.int8),
            standing=np.array([_STANDING[row.server.admin] for row in rows], dtype=np.int8),
            pool=_pool_counters(pools),
        )

    def records(self) -> Records:
        """Single requests answered since this was last asked, rows in the layout of now; -1 where none was reached."""
        elapsed_s, self._records_at_s = self.now_s - self._records_at_s, self.now_s
        drawn = [self._drawn(name, elapsed_s) for name in self._layout.pools]
        found = [records for records in drawn if len(records)]
        if len(found) <= 1:
            return found[0] if found else NO_RECORDS
        stood_for = sum(records.weight * len(records) for records in found)
        return Records(
            row=np.concatenate([records.row for records in found]),
            status=np.concatenate([records.status for records in found]),
            latency_ms=np.concatenate([records.latency_ms for records in found]),
            client=tuple(client for records in found for client in records.client),
            weight=stood_for / sum(len(records) for records in found),
        )

    def outcomes(self, pool: str) -> Outcomes:
        """Every request of this pool answered since this was last asked; needs `keep_outcomes`."""
        if not self._around.keep_outcomes:
            raise UsageError(
                "single outcomes were not kept", next_step="make the World with keep_outcomes=True, or ask for harm()"
            )
        return self._pool(pool).ledger.outcomes()

    def harm(self, pool: str) -> Harm:
        """Who was served and who was harmed in this pool, from the beginning until now."""
        found = self._pool(pool)
        return found.ledger.harm(found.arrived)

    def _pool(self, name: str) -> PoolProxy:
        if name not in self._pools:
            raise UsageError(f"there is no pool {name}", next_step=f"name one of: {', '.join(self._pools)}")
        return self._pools[name]

    def _concerned(self, fault: Fault) -> list[PoolProxy]:
        if isinstance(fault, Restart):
            return list(self._pools.values())
        pools = list(self._pools.values()) if fault.pool is None else [self._pool(fault.pool)]
        if isinstance(fault, Traffic | HotKey | Behind | Poison) or fault.server is None:
            return pools
        found = [pool for pool in pools if pool.hosts(fault.server)]
        if not found:
            names = ", ".join(row.server.name for pool in pools for row in pool.rows)
            raise UsageError(f"there is no server {fault.server}", next_step=f"name one of: {names}")
        return found

    def _drawn(self, pool_name: str, elapsed_s: float) -> Records:
        pool = self._pools[pool_name]
        drawn = pool.ledger.draw(self._records_per_s * elapsed_s / len(self._pools))
        first = self._layout.rows(pool_name).start
        place = {row.serial: first + i for i, row in enumerate(pool.rows)}
        name_of, told_apart_by = pool.crowd.name, self.fleet.client
        return Records(
            row=np.array([place.get(serial, -1) for serial in drawn.serial.tolist()], dtype=np.int64),
            status=drawn.status,
            latency_ms=drawn.latency_ms,
            client=tuple(name_of(user, told_apart_by) for user in drawn.user.tolist()),
            weight=drawn.weight,
        )


def _connections(fleet: Fleet, pool: str) -> float:
    """How many requests the listeners of a pool let in at a time; a listener of several pools is not counted here."""
    limits = [
        listener.connections for listener in fleet.listeners if {route.pool for route in listener.routes} == {pool}
    ]
    return inf if not limits or None in limits else float(sum(limit or 0 for limit in limits))


def _health(pool: PoolProxy, row: Row) -> Health:
    if row.server.admin is Admin.MAINT:
        return Health.UNKNOWN
    if row.ejected:
        return Health.FAILING
    if pool.pool.check is None:
        return Health.UNCHECKED
    if not row.checked and row.up:
        return Health.UNKNOWN
    return Health.PASSING if row.up else Health.FAILING


def _pool_counters(pools: list[PoolProxy]) -> PoolCounters:
    counts = np.array(
        [(*pool.counters(), pool.in_flight, pool.queued) for pool in pools], dtype=np.float64
    ).reshape(-1, 5)  # fmt: skip
    arrived, errors_5xx, refused, in_flight, queued = counts.T.copy()
    return PoolCounters(arrived, errors_5xx, refused, in_flight, queued)
