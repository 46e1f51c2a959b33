"""Simulated cases of every cause, each a world with random variations: what diagnosis is tested and calibrated on.

`case(cause, seed)` draws a pool (2 to 50 servers, 20 to 2,000 requests/s, any policy that admits the cause) and what
happens to it; `NOTHING` is a pool to which nothing happens. `drills.trials` plays it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import ceil

import numpy as np

from levelhead.errors import UsageError
from levelhead.model import (
    Admin,
    Check,
    Ejection,
    Failure,
    Fleet,
    Hash,
    LeastRequest,
    Limits,
    Listener,
    Policy,
    Pool,
    RandomPick,
    Retries,
    RoundRobin,
    Route,
    Server,
)
from levelhead.simulate import (
    Behind,
    CheckFails,
    CheckFlaps,
    Down,
    Errors,
    Fault,
    Hang,
    HotKey,
    Lognormal,
    Poison,
    ProxyModel,
    Resets,
    Restart,
    ServerModel,
    Slow,
    Traffic,
    Up,
    UserModel,
)

POOL = "web"
NOTHING = "nothing"
EVEN: tuple[Policy, ...] = (RoundRobin(), LeastRequest(), RandomPick(2), Hash("source"), Hash("path"))
BLIND: tuple[Policy, ...] = (RoundRobin(), RoundRobin(), Hash("source"), Hash("header", "x-user"))
LONGEST_MS = 200.0  # of a mean service: the slowest good answers stay well within a second
PLAIN: tuple[Policy, ...] = (RoundRobin(), LeastRequest(), RandomPick(2))


@dataclass(frozen=True, slots=True)
class Ship:
    """A fleet that comes into force. `told`: as a revision; else behind our back, in the proxy itself."""

    fleet: Fleet
    told: bool = True
    author: str = "deploy"


Happening = Fault | Ship


@dataclass(frozen=True, slots=True)
class Trial:
    """A world and what happens to it. Trouble begins at `from_s` and is all there at `whole_s`; looked at to `until_s`.

    `told` is the fleet that people believe to be in force at the start, where that differs from the true one.
    """

    cause: str
    seed: int
    fleet: Fleet
    servers: ServerModel
    users: UserModel
    proxy: ProxyModel
    happenings: tuple[tuple[float, Happening], ...]
    from_s: float
    whole_s: float
    until_s: float
    told: Fleet | None = None


@dataclass(slots=True)
class Draft:
    """A case while it is drawn: the calm world, and what happens to it so far."""

    rng: np.random.Generator
    pool: Pool
    users: UserModel
    model: ServerModel
    proxy: ProxyModel = field(default_factory=ProxyModel)
    told: Fleet | None = None
    connections: int | None = None
    happenings: list[tuple[float, Happening]] = field(default_factory=list)
    from_s: float = 15.0
    lasts_s: float = 11.0

    @property
    def names(self) -> list[str]:
        return [s.name for s in self.pool.servers]

    @property
    def per_server(self) -> float:
        return self.users.rps / len(self.pool.servers)

    def some(self, count: int) -> list[str]:
        """So many different servers, by lot."""
        return [str(name) for name in self.rng.permutation(self.names)[:count]]

    def between(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def at(self, after_s: float, *what: Happening) -> None:
        self.happenings += [(self.from_s + after_s, it) for it in what]

    def ship(self, after_s: float, pool: Pool, *, told: bool = True, author: str = "deploy") -> None:
        self.at(after_s, Ship(fleet_of(pool, self.connections), told, author))

    def busy(self, utilisation: float) -> None:
        """As many workers as make the servers this busy; with few of them the exact figure comes by their pace."""
        mean_s = self.model.service.mean_ms / 1000
        workers = max(2, ceil(self.per_server * mean_s / utilisation))
        self.model = replace(self.model, workers=workers, speed=self.per_server * mean_s / utilisation / workers)


Spoil = Callable[[Draft], None]


def case(cause: str, seed: int) -> Trial:
    """The world of this cause under this seed. UsageError where no world of it is known."""
    spoil = {NOTHING: nothing, **SPOILERS}.get(cause)
    if spoil is None:
        raise UsageError(f"no world is known for {cause}", next_step=f"name one of: {', '.join(SPOILERS)}")
    rng = np.random.default_rng([seed, *cause.encode()])
    draft = _calm(rng)
    spoil(draft)
    return _trial(cause, seed, draft)


def pair(first: str, second: str, seed: int) -> Trial:
    """Both at once, in the pool of the first; only faults that come from servers, checks and users can be joined."""
    one, two = case(first, seed), case(second, seed)
    names = [s.name for s in one.fleet.pools[0].servers]
    joined = tuple((at, what) for at, what in two.happenings if not isinstance(what, Ship))
    known = tuple((at - two.from_s + one.from_s, _renamed(what, names)) for at, what in joined)
    until = max(one.until_s, one.from_s + two.until_s - two.from_s)
    whole = max(one.whole_s, one.from_s + two.whole_s - two.from_s)
    happenings = tuple(sorted((*one.happenings, *known), key=lambda it: it[0]))
    return replace(one, cause=f"{first}+{second}", happenings=happenings, until_s=until, whole_s=whole)


def fleet_of(pool: Pool, connections: int | None = None) -> Fleet:
    return Fleet((Listener("front", "127.0.0.1", 8080, (Route(pool.name),), connections=connections),), (pool,))


def _renamed(fault: Fault, names: list[str]) -> Fault:
    if isinstance(fault, Traffic | HotKey | Restart | Behind | Poison) or fault.server is None or fault.server in names:
        return fault
    return replace(fault, server=names[int(fault.server.rpartition("-")[2]) % len(names)])


def _calm(rng: np.random.Generator) -> Draft:
    count = int(np.exp(rng.uniform(np.log(2), np.log(51))))
    rps = float(np.exp(rng.uniform(np.log(max(20.0, 6.0 * count)), np.log(2000))))
    draft = _pool_of(rng, min(count, 50), rps)
    draft.busy(draft.between(0.3, 0.6))
    return draft


def _pool_of(rng: np.random.Generator, count: int, rps: float) -> Draft:
    median = float(np.exp(rng.uniform(np.log(8), np.log(90))))
    interval_s, fall = float(rng.choice([0.5, 1.0, 2.0])), int(rng.choice([2, 3]))
    check = Check("/healthz", interval_s=interval_s, timeout_s=1.0, fall=fall)
    servers = tuple(Server(f"server-{i}", "127.0.0.1", 3000 + i) for i in range(1, count + 1))
    pool = Pool(POOL, servers, policy=RoundRobin(), check=check, slow_start_s=float(rng.choice([0.0, 5.0])))
    users = UserModel(rps=rps, count=int(rng.choice([300, 1000, 4000])), paths=3000, path_exponent=0.3)
    model = ServerModel(4, Lognormal(median, median * float(rng.uniform(2.5, 5))))
    return Draft(rng, pool, users, model)


def _trial(cause: str, seed: int, draft: Draft) -> Trial:
    happenings = tuple(sorted(draft.happenings, key=lambda it: it[0]))
    whole = max((at for at, _ in happenings), default=draft.from_s)
    return Trial(
        cause=cause, seed=seed, fleet=fleet_of(draft.pool, draft.connections), servers=draft.model, users=draft.users,
        proxy=draft.proxy, happenings=happenings, from_s=draft.from_s, whole_s=whole, until_s=whole + draft.lasts_s,
        told=draft.told,
    )  # fmt: skip


def _policy(draft: Draft, choices: tuple[Policy, ...]) -> None:
    draft.pool = replace(draft.pool, policy=choices[int(draft.rng.integers(len(choices)))])


def _resize(draft: Draft, least: int, most: int = 50, busy: tuple[float, float] = (0.3, 0.6)) -> None:
    """Another number of servers, of the same kind and load."""
    count = int(np.exp(draft.rng.uniform(np.log(least), np.log(most + 1))))
    fresh = _pool_of(draft.rng, min(count, most), max(draft.users.rps, 6.0 * count))
    draft.pool, draft.users, draft.model = fresh.pool, fresh.users, fresh.model
    draft.busy(draft.between(*busy))


def _edited(pool: Pool, names: list[str], **change: object) -> Pool:
    servers = tuple(replace(s, **change) if s.name in names else s for s in pool.servers)  # type: ignore[arg-type]
    return replace(pool, servers=servers)


# --- distribution ---


def nothing(draft: Draft) -> None:
    _policy(draft, EVEN)


def traffic_surge(draft: Draft) -> None:
    _policy(draft, EVEN)
    if draft.chance(0.4):
        per_server = max(2, round(4 * draft.per_server * draft.model.service.mean_ms / 1000))
        draft.pool = replace(draft.pool, limits=Limits(server_in_flight=per_server, queue=200))
    draft.busy(draft.between(0.45, 0.7))
    draft.at(0.0, Traffic(draft.between(2.6, 6.0)))


def weight_typo(draft: Draft) -> None:
    _policy(draft, (*PLAIN, Hash("source"), Hash("header", "x-user")))
    factor = draft.between(4.0, 12.0)
    heavy = draft.some(1)
    if len(draft.names) <= 4 and draft.chance(0.5):
        others = [name for name in draft.names if name not in heavy]
        spoilt = _edited(draft.pool, others, weight=max(1.0, round(100.0 / factor)))
    else:
        draft.pool = _edited(draft.pool, draft.names, weight=20.0)
        spoilt = _edited(draft.pool, heavy, weight=round(20.0 * factor))
    draft.ship(0.0, spoilt, told=draft.chance(0.75))


def duplicate_entry(draft: Draft) -> None:
    _resize(draft, 3, 30)
    _policy(draft, (RoundRobin(), RoundRobin(), Hash("path")))
    twins = draft.some(1 if len(draft.names) < 6 or draft.chance(0.6) else 2)
    more = tuple(
        replace(s, name=f"{s.name}-copy") for s in draft.pool.servers if s.name in twins
    )
    # An include is merged twice: those servers stand there twice, and get twice the requests.
    draft.ship(0.0, replace(draft.pool, servers=(*draft.pool.servers, *more)))
    draft.lasts_s = 16.0
    growth = 2 * len(draft.names) / (len(draft.names) + len(more))
    draft.busy(draft.between(1.12, min(1.6, 0.86 * growth)) / growth)


def fast_fail(draft: Draft) -> None:
    _policy(draft, (LeastRequest(), RandomPick(2)))
    _concurrent(draft, 2.0)
    draft.at(0.0, Errors(draft.between(0.85, 1.0), draft.some(1)[0], fast=True, status=503))


def _concurrent(draft: Draft, least: float) -> None:
    """Enough traffic and service that so many requests are with each server: else nothing is to be preferred."""
    draft.users = replace(draft.users, rps=max(draft.users.rps, least / (LONGEST_MS / 1000) * len(draft.names)))
    need_ms = 1000 * least / draft.per_server
    if draft.model.service.mean_ms < need_ms:
        draft.model = replace(draft.model, service=Lognormal(need_ms / 1.1, 2.0 * need_ms))
    draft.busy(draft.between(0.35, 0.6))


def hot_key(draft: Draft) -> None:
    _resize(draft, 4)
    _policy(draft, (Hash("path"), Hash("source"), Hash("header", "x-tenant"), Hash("path", consistent=False)))
    need = 1.3 / (0.5 * len(draft.names))
    draft.busy(draft.between(0.45, 0.6))
    draft.at(0.0, HotKey(min(0.9, need + draft.between(0.15, 0.5))))


def nat_collapse(draft: Draft) -> None:
    _resize(draft, 3)
    _policy(draft, (Hash("source"), Hash("source", consistent=False)))
    draft.busy(draft.between(0.45, 0.6))
    most = max(1, len(draft.names) // 4)
    addresses = int(draft.rng.integers(1, min(most, 4) + 1))
    if draft.chance(0.5):
        draft.at(0.0, Behind(addresses))
        return
    hashed = draft.pool
    draft.pool = replace(draft.pool, policy=RoundRobin())
    draft.users = replace(draft.users, addresses=addresses)
    draft.ship(0.0, hashed)


def sticky_skew(draft: Draft) -> None:
    _resize(draft, 2, 12, busy=(0.5, 0.75))
    draft.pool = replace(draft.pool, affinity_cookie="SRV")
    draft.users = replace(draft.users, session="cookie", count=4000)
    draft.users = replace(draft.users, count=min(4000, max(1000, int(draft.users.rps * 12))))
    _scale_out(draft)


def keepalive_pinning(draft: Draft) -> None:
    _resize(draft, 2, 12, busy=(0.5, 0.75))
    _policy(draft, PLAIN[:1])
    count = min(1500, max(40, int(draft.users.rps * 2)))
    draft.users = replace(draft.users, session="keepalive", count=count)
    _scale_out(draft)


def _scale_out(draft: Draft) -> None:
    """Servers are added because the old ones are near their end; the load that made people add them goes on."""
    count = len(draft.names)
    more = int(draft.rng.integers(2 * count, 3 * count + 1))
    fresh = tuple(Server(f"server-{count + i}", "127.0.0.1", 4000 + i) for i in range(1, more + 1))
    draft.lasts_s = 16.0
    draft.ship(0.0, replace(draft.pool, servers=(*draft.pool.servers, *fresh), slow_start_s=0.0))


def restart_flood(draft: Draft) -> None:
    _resize(draft, 3, 24)
    median = draft.between(100, 170)
    draft.model = replace(
        draft.model, service=Lognormal(median, 2.2 * median), cold_factor=draft.between(10, 20), cold_s=30.0
    )
    _concurrent(draft, 4.0)
    check = Check("/healthz", interval_s=0.5, timeout_s=1.0, fall=2, rise=2)
    draft.pool = replace(draft.pool, policy=LeastRequest(), slow_start_s=0.0, check=check)
    name = draft.some(1)[0]
    # It may be down for any reason: the trouble begins when it is back.
    draft.at(-draft.between(5, 9), Down(name))
    draft.at(0.0, Up(name))
    draft.lasts_s = 9.0


# --- membership and state of the configuration ---


def stale_slots(draft: Draft) -> None:
    _resize(draft, 5)
    _policy(draft, EVEN)
    gone = draft.some(int(draft.rng.integers(2, max(3, len(draft.names) // 2) + 1)))
    pause = draft.between(1.5, 4.0) if len(gone) < 6 else draft.between(0.6, 1.5)
    for i, name in enumerate(gone):
        draft.at(i * pause, Down(name))
    draft.lasts_s = 7.0


def drain_lost(draft: Draft) -> None:
    _resize(draft, 3)
    broken = draft.chance(0.5)
    _policy(draft, (RoundRobin(), Hash("source"), LeastRequest(), RandomPick(2)) if broken else BLIND)
    name = draft.some(1)[0]
    well = draft.pool
    draft.pool = _edited(well, [name], admin=Admin.DRAIN)
    if draft.chance(0.5):
        draft.told = fleet_of(well)
    fault = Errors(draft.between(0.5, 1.0), name) if broken else Slow(draft.between(800, 2000), 1.0, name)
    draft.happenings.append((1.0, fault))
    draft.at(0.0, Restart(), Ship(fleet_of(well), told=False))


def forgotten_drain(draft: Draft) -> None:
    _resize(draft, 3, 40)
    _policy(draft, EVEN)
    count = len(draft.names)
    away = min(ceil(count * draft.between(0.32, 0.66)), count - 1)
    draft.busy(min(0.8, draft.between(1.15, 1.5) * (count - away) / count))
    told = draft.chance(0.6)
    names = draft.some(away)
    pause, pool = min(3.0, 14.0 / away), draft.pool
    admin = Admin.DRAIN if draft.chance(0.5) else Admin.MAINT
    for i, name in enumerate(names):
        pool = _edited(pool, [name], admin=admin)
        draft.ship(i * pause, pool, told=told, author="maintenance")


def pool_emptied(draft: Draft) -> None:
    _policy(draft, EVEN)
    names, pool = draft.some(len(draft.names)), draft.pool
    admin = Admin.DRAIN if draft.chance(0.4) else Admin.MAINT
    weights, told = draft.chance(0.3), draft.chance(0.6)
    steps = max(1, len(names) // int(draft.rng.integers(1, 5)))
    for i in range(0, len(names), steps):
        some = names[i : i + steps]
        pool = _edited(pool, some, weight=0.0) if weights else _edited(pool, some, admin=admin)
        draft.ship(i / steps * 1.0, pool, told=told, author="maintenance")
    draft.lasts_s = 4.0


# --- checks ---


def shallow(draft: Draft) -> None:
    _resize(draft, 3)
    _policy(draft, EVEN)
    few = 1 if len(draft.names) < 8 or draft.chance(0.6) else 2
    for name in draft.some(few):
        draft.at(0.0, Errors(draft.between(0.3, 1.0), name))


def deep_check(draft: Draft) -> None:
    _policy(draft, EVEN)
    draft.at(0.0, CheckFails())
    draft.lasts_s = 8.0


def protocol_mismatch(draft: Draft) -> None:
    _policy(draft, EVEN)
    check = draft.pool.check or Check()
    kinds = (
        replace(check, path="/status"), replace(check, host="internal"), replace(check, port=9443),
        replace(check, speaks="tls"),
    )  # fmt: skip
    draft.ship(0.0, replace(draft.pool, check=kinds[int(draft.rng.integers(len(kinds)))]))
    draft.at(0.05, CheckFails())
    draft.lasts_s = 8.0


def overload_cascade(draft: Draft) -> None:
    _resize(draft, 3, 30)
    _policy(draft, PLAIN)
    draft.model = replace(draft.model, deep_check=True)
    draft.busy(draft.between(0.7, 0.85))
    draft.pool = replace(draft.pool, check=Check("/healthz", interval_s=1.0, timeout_s=1.0, fall=2, rise=2))
    draft.at(0.0, Slow(factor=draft.between(1.6, 2.4)))
    draft.lasts_s = 20.0


def poison(draft: Draft) -> None:
    _policy(draft, PLAIN)
    retries = Retries(attempts=len(draft.names), after=("refused", "reset", "status"))
    row = int(draft.rng.integers(1, 3))
    draft.pool = replace(draft.pool, ejection=Ejection(consecutive_errors=row), retries=retries)
    draft.at(0.0, Poison(times=row, every_s=draft.between(2.0, 4.0)))
    draft.lasts_s = 9.0


def flapping(draft: Draft) -> None:
    _resize(draft, 3)
    _policy(draft, EVEN)
    draft.pool = replace(draft.pool, check=Check("/healthz", interval_s=0.5, timeout_s=0.5, fall=1, rise=1))
    draft.at(0.0, CheckFlaps(draft.between(0.8, 2.5), draft.some(1)[0]))
    draft.lasts_s = 16.0


# --- capacity, queues, retries ---


def lb_maxconn(draft: Draft) -> None:
    _policy(draft, PLAIN)
    _concurrent(draft, 1.0)
    needed = draft.users.rps * draft.model.service.mean_ms / 1000
    tight = max(1, int(needed * draft.between(0.45, 0.8)))
    draft.at(0.0, Ship(fleet_of(draft.pool, tight)))


def server_maxconn(draft: Draft) -> None:
    _policy(draft, PLAIN)
    _concurrent(draft, 3.0)
    needed = draft.per_server * draft.model.service.mean_ms / 1000
    tight = max(1, int(needed * draft.between(0.5, 0.85)))
    queue = int(draft.users.rps * 2) if draft.chance(0.5) else None
    draft.ship(0.0, replace(draft.pool, limits=Limits(server_in_flight=tight, queue=queue)))


def no_headroom(draft: Draft) -> None:
    _resize(draft, 2)
    _policy(draft, EVEN[:3])
    count = len(draft.names)
    lost = max(1, round(count * draft.between(0.25, 0.4)))  # one of few, or a rack of many
    draft.busy(min(0.85, draft.between(1.15, 1.4) * (count - lost) / count))
    draft.at(0.0, *(Down(name) for name in draft.some(lost)))
    draft.lasts_s = 18.0


def retry_storm(draft: Draft) -> None:
    _resize(draft, 2, 40)
    _policy(draft, PLAIN)
    attempts = int(draft.rng.integers(2, 5))
    after: tuple[Failure, ...] = ("refused", "reset", "hung", "status")
    draft.pool = replace(draft.pool, retries=Retries(attempts=attempts, after=after))
    draft.busy(draft.between(0.6, 0.75))
    draft.at(0.0, Errors(draft.between(0.45, 0.85)))


# --- servers ---


def slow_server(draft: Draft) -> None:
    _resize(draft, 3)
    _policy(draft, (*BLIND, RandomPick(2), LeastRequest()))
    name = draft.some(1)[0]
    draft.at(0.0, Slow(draft.between(700, 2500), draft.between(1.0, 3.0), name))


def gray_zone(draft: Draft) -> None:
    _resize(draft, 6)
    _policy(draft, EVEN)
    zones = int(draft.rng.integers(2, min(4, len(draft.names) // 2) + 1))
    servers = tuple(replace(s, zone=f"zone-{'abcd'[i % zones]}") for i, s in enumerate(draft.pool.servers))
    draft.pool = replace(draft.pool, servers=servers)
    kind, size = int(draft.rng.integers(3)), draft.between(0.25, 0.7)
    for server in servers:
        if server.zone == "zone-a":
            faults = (Resets(size, server.name), Errors(size, server.name), Slow(1500 * size + 600, 1.0, server.name))
            draft.at(0.0, faults[kind])


def server_down(draft: Draft) -> None:
    _resize(draft, 3)
    _policy(draft, EVEN)
    name = draft.some(1)[0]
    faults: tuple[Fault, ...] = (Down(name), Down(name), Hang(name), Hang(name, accepts=False))
    draft.at(0.0, faults[int(draft.rng.integers(len(faults)))])


def dependency(draft: Draft) -> None:
    _policy(draft, EVEN)
    if draft.chance(0.5):
        draft.at(0.0, Errors(draft.between(0.2, 1.0), fast=draft.chance(0.5)))
    else:
        draft.at(0.0, Slow(draft.between(1400, 3500)))


def bad_deploy(draft: Draft) -> None:
    _resize(draft, 3, 24)
    _policy(draft, EVEN)
    names = draft.names
    pause = max(0.8, min(4.0, 20.0 / len(names)))
    bad, slow = draft.between(0.3, 1.0), draft.between(1400, 3000)
    errors = draft.chance(0.6)
    done = names[: max(2, ceil(len(names) * draft.between(0.4, 1.0)))]
    off_s = draft.between(1.0, 2.5)
    for i, name in enumerate(done):
        draft.at(i * pause, Down(name))
        draft.at(i * pause + off_s, Up(name))
        draft.at(i * pause + off_s + 0.01, Errors(bad, name) if errors else Slow(slow, 1.0, name))
    draft.lasts_s = 8.0


SPOILERS: dict[str, Spoil] = {
    "bad-deploy": bad_deploy,
    "check-flapping": flapping,
    "check-protocol-mismatch": protocol_mismatch,
    "deep-check-ejects-all": deep_check,
    "dependency-failure": dependency,
    "duplicate-server-entry": duplicate_entry,
    "fast-fail-black-hole": fast_fail,
    "forgotten-drain": forgotten_drain,
    "gray-failure-zone": gray_zone,
    "hash-hot-key": hot_key,
    "keepalive-pinning-after-scale-out": keepalive_pinning,
    "lb-maxconn-too-low": lb_maxconn,
    "nat-source-hash-collapse": nat_collapse,
    "no-failure-headroom": no_headroom,
    "overload-ejection-cascade": overload_cascade,
    "poison-request-ejects-all": poison,
    "pool-emptied-by-admin-state": pool_emptied,
    "restart-flood": restart_flood,
    "retry-amplification": retry_storm,
    "runtime-drain-lost-on-reload": drain_lost,
    "server-down": server_down,
    "server-maxconn-too-low": server_maxconn,
    "shallow-check": shallow,
    "slow-server-gray-failure": slow_server,
    "stale-backend-slots": stale_slots,
    "sticky-session-skew": sticky_skew,
    "traffic-surge": traffic_surge,
    "weight-typo-skew": weight_typo,
}
