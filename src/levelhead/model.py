"""What a load balancer is made of: Fleet > Listener, Pool > Server, and the changes between two fleets.

Everything is frozen and knows the line it was written on. The model is the same for every engine; an engine that
cannot express a value refuses it, it never drops it. Some fields exist only because a configuration that was read has
them (reserves, zones, a check of one server alone): their defaults say what the fleets that Levelhead drives have.
A time that nothing bounds is infinite.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from typing import Literal, assert_never


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was written; line and column count from 1, 0 means the whole file or no file at all."""

    file: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return ":".join([self.file or "(command line)", *(str(n) for n in (self.line, self.column) if n)])


NOWHERE = Origin()


class Admin(Enum):
    """What people want of a server, apart from its weight and its health."""

    READY = "ready"
    DRAIN = "drain"  # no new users; those with affinity and open requests finish
    MAINT = "maint"  # nothing at all, not even checks


@dataclass(frozen=True, slots=True)
class RoundRobin:
    """Smooth weighted round robin; `fixed` where a running proxy takes no other weights (HAProxy's static-rr)."""

    fixed: bool = False
    kind: Literal["round-robin"] = "round-robin"


@dataclass(frozen=True, slots=True)
class LeastRequest:
    """The server with the fewest requests in flight per weight: of all, or of `draws` drawn at random (Envoy)."""

    draws: int | None = None
    kind: Literal["least-request"] = "least-request"


@dataclass(frozen=True, slots=True)
class RandomPick:
    """The less loaded of `draws` servers drawn at random by weight (power of two choices when 2).

    Envoy's RANDOM has one draw that knows no weights: `by_weight` is False.
    """

    draws: int = 2
    by_weight: bool = True
    kind: Literal["random"] = "random"


@dataclass(frozen=True, slots=True)
class Table:
    """Envoy's two ways to place servers for a hash: a ring of `least` to `most` points, or Maglev's table of `least`.

    `function` is the hash that places them; only xxHash is followed here.
    """

    kind: Literal["ring", "maglev"]
    least: int
    most: int
    function: str = "XX_HASH"


@dataclass(frozen=True, slots=True)
class Hash:
    """The server that a key of the request maps to.

    `on` is header, cookie, source or path; `name` is the header's or cookie's. A configuration that was read may also
    hash a query parameter, or something `other` whose name is as written. `consistent` moves few keys when a
    server goes. `bounded_load` caps a server at that multiple of the mean load (1.25 is usual); None leaves it open.
    `table` is None where the engine has only one way to place servers.
    """

    on: Literal["header", "cookie", "source", "path", "query", "other"]
    name: str = ""
    consistent: bool = True
    bounded_load: float | None = None
    table: Table | None = None
    kind: Literal["hash"] = "hash"


@dataclass(frozen=True, slots=True)
class OtherPolicy:
    """A policy that Levelhead never sets, by the engine's name for it: `first`, `least_time`, a module's own."""

    name: str
    kind: Literal["other"] = "other"


Policy = RoundRobin | LeastRequest | RandomPick | Hash | OtherPolicy


@dataclass(frozen=True, slots=True)
class Check:
    """Active health check. `path` None means a TCP connect; `status` is the expected HTTP status or range.

    `speaks` names another protocol than these (grpc, mysql ...). The interval may differ after a first failure
    (`fast_interval_s`), while the server is down (`down_interval_s`), and before it has had any request
    (`idle_interval_s`, Envoy's no_traffic_interval); None is the usual one.
    """

    path: str | None = None
    status: str = "200-399"
    interval_s: float = 1.0
    timeout_s: float = 1.0
    fall: int = 3
    rise: int = 2
    host: str | None = None
    port: int | None = None
    speaks: str = ""
    fast_interval_s: float | None = None
    down_interval_s: float | None = None
    idle_interval_s: float | None = None


# What a request can suffer, for a passive check to count or a retry to follow.
Failure = Literal["refused", "hung", "reset", "status"]


@dataclass(frozen=True, slots=True)
class Outliers:
    """Envoy's comparison of success rates: every `interval_s`, among `hosts` or more with `volume` requests each.

    A server goes whose rate is below the mean by `deviations` standard deviations; `failing` is instead a part of
    failed requests (0.85) above which it goes. None turns either off.
    """

    interval_s: float
    deviations: float | None
    hosts: int
    volume: int
    failing: float | None = None
    failing_hosts: int = 5
    failing_volume: int = 50


@dataclass(frozen=True, slots=True)
class Ejection:
    """Passive check: this many failed requests in a row take the server out until its active check passes again.

    `counts` are the failures it sees. They count in a row, or with `within_s` all in that time (nginx). The server
    comes back after `away_s` instead, where that is given; each further time takes as much longer, up to
    `longest_away_s`. No more than `most` (a part) of the pool is ever out, but always one where `one_always`.
    `acts`: by itself (out), or only by making an active check fail or hurry (HAProxy's on-error).
    `check_readmits`: a passing active check brings it back before its time.
    """

    consecutive_errors: int = 10
    counts: tuple[Failure, ...] = ("refused", "hung", "reset", "status")
    within_s: float | None = None
    away_s: float | None = None
    longest_away_s: float | None = None
    most: float = 1.0
    one_always: bool = True
    acts: Literal["out", "fail-check", "last-check", "hurry"] = "out"
    check_readmits: bool = True
    outliers: Outliers | None = None


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Upper bounds, in seconds, on each phase of a request."""

    connect_s: float = 2.0
    server_s: float = 30.0
    client_s: float = 30.0
    queue_s: float = 5.0
    keep_alive_s: float = 15.0


@dataclass(frozen=True, slots=True)
class Retries:
    """Further attempts after a failure, on another server; only requests that may be repeated (GET, HEAD, OPTIONS).

    A refused connection is retried for every method: nothing was sent. `after` are the failures that are tried again;
    `elsewhere` False stays with the same server to the end. `try_s` bounds each attempt, `all_s` all of them.
    """

    attempts: int = 3
    after: tuple[Failure, ...] = ("refused", "reset")
    elsewhere: bool = True
    try_s: float | None = None
    all_s: float | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds: requests in flight per server, requests waiting per pool, connections per listener; None is no bound."""

    server_in_flight: int | None = None
    queue: int | None = None


@dataclass(frozen=True, slots=True)
class Slo:
    """What users were promised; a request slower than `latency_ms` or failed harms its user."""

    latency_ms: float = 1000.0
    availability: float = 0.999


@dataclass(frozen=True, slots=True)
class Intent:
    """What share each server is meant to get: equal, by declared capacity, or the given relative shares."""

    kind: Literal["equal", "capacity", "explicit"] = "equal"
    shares: tuple[tuple[str, float], ...] = ()


class Mode(Enum):
    """How far Levelhead may go by itself in a pool."""

    SHADOW = "shadow"  # say what it would do
    ASK = "ask"  # prepare it and wait for a person
    ACT = "act"  # do it, verify it, undo it if it does not help


@dataclass(frozen=True, slots=True)
class Reserves:
    """When servers of a later priority (backups) get requests.

    `first`: one of them, once no server before it is left (HAProxy); `all`: all of them then (nginx, allbackups);
    `spill`: each priority bears `factor` times its healthy part, the rest goes on to the next (Envoy). Where less
    than `panic` (a part) of a priority is healthy, its requests go to all its servers, or none where `panic_fails`.
    """

    kind: Literal["first", "all", "spill"] = "first"
    factor: float = 1.4
    panic: float = 0.0
    panic_fails: bool = False


@dataclass(frozen=True, slots=True)
class Server:
    """One address in a pool; `capacity` is in requests per second, None when nobody declared it.

    `priority` 0 serves first, later ones are reserves. `check`, `ejection` and `slow_start_s` are its own, None those
    of the pool; `checked` False means no check at all. `degraded` serves only what healthy ones cannot bear. A host
    name may stand for `many` servers of this weight, as many as it has addresses. `ring_key` is what the engine
    places it by when it hashes consistently (HAProxy: its number), empty where that is its address.
    """

    name: str
    host: str
    port: int
    weight: float = 100.0
    capacity: float | None = None
    admin: Admin = Admin.READY
    in_flight_limit: int | None = None
    origin: Origin = field(default=NOWHERE, compare=False)
    priority: int = 0
    zone: str = ""
    check: Check | None = None
    checked: bool = True
    ejection: Ejection | None = None
    slow_start_s: float | None = None
    degraded: bool = False
    many: bool = False
    ring_key: str = ""

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


EngineName = Literal["haproxy", "nginx", "envoy"]


@dataclass(frozen=True, slots=True)
class Pool:
    """Servers that share a job, and how it is divided among them.

    `engine` is the one whose habits it follows. `workers` of it share no state, None: as many as there are cores.
    `zone_weights`, where not empty, choose a zone first: (priority, zone, weight). `affinity` is what ties clients to
    servers besides a cookie, as written. `unknown` is why its members cannot be told, a sentence without its full
    stop; empty where they can.
    """

    name: str
    servers: tuple[Server, ...]
    policy: Policy = RoundRobin()
    check: Check | None = Check()
    ejection: Ejection | None = None
    timeouts: Timeouts = Timeouts()
    retries: Retries = Retries()
    limits: Limits = Limits()
    affinity_cookie: str | None = None
    slow_start_s: float = 10.0
    slo: Slo = Slo()
    intent: Intent = Intent()
    mode: Mode = Mode.ACT
    minimum_servers: int = 1
    origin: Origin = field(default=NOWHERE, compare=False)
    engine: EngineName = "haproxy"
    reserves: Reserves = Reserves()
    zone_weights: tuple[tuple[int, str, float], ...] = ()
    workers: int | None = 1
    affinity: str = ""
    unknown: str = ""

    def server(self, name: str) -> Server | None:
        return next((s for s in self.servers if s.name == name), None)

    def check_of(self, server: Server) -> Check | None:
        """The active check of one of its servers, None without any."""
        return (server.check or self.check) if server.checked else None

    def ejection_of(self, server: Server) -> Ejection | None:
        """The passive check of one of its servers, None without any."""
        return server.ejection or self.ejection


@dataclass(frozen=True, slots=True)
class Route:
    """Requests for this host (None is any) whose path begins with this prefix go to this pool; first match wins.

    `condition` is what must hold besides, as written; `share` the part of them that goes to this pool.
    """

    pool: str
    host: str | None = None
    prefix: str = "/"
    condition: str = ""
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Listener:
    """An address that clients reach. `certificate` is a PEM file with key and chain; None is plain HTTP."""

    name: str
    host: str
    port: int
    routes: tuple[Route, ...]
    certificate: str | None = None
    connections: int | None = None
    origin: Origin = field(default=NOWHERE, compare=False)

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Fleet:
    """All listeners and pools: the whole desired state of one engine.

    `client` says how users are told apart in the record of an incident: by source address, a header or a cookie.
    """

    listeners: tuple[Listener, ...]
    pools: tuple[Pool, ...]
    client: str = "source"

    def pool(self, name: str) -> Pool | None:
        return next((p for p in self.pools if p.name == name), None)


@dataclass(frozen=True, slots=True)
class Revision:
    """One configuration that was in force: who put it there, when (Unix seconds), and why.

    `source` is the text of the file it came from, empty where it came from a command or from Levelhead itself.
    """

    number: int
    fleet: Fleet
    author: str
    at: float
    why: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class SetWeight:
    pool: str
    server: str
    weight: float


@dataclass(frozen=True, slots=True)
class SetAdmin:
    pool: str
    server: str
    admin: Admin


@dataclass(frozen=True, slots=True)
class AddServer:
    pool: str
    server: Server


@dataclass(frozen=True, slots=True)
class RemoveServer:
    pool: str
    server: str


@dataclass(frozen=True, slots=True)
class Rebuild:
    """Everything else: the engine must load a new configuration. `because` names what differs."""

    fleet: Fleet
    because: str


Change = SetWeight | SetAdmin | AddServer | RemoveServer | Rebuild


def apply(fleet: Fleet, changes: tuple[Change, ...]) -> Fleet:
    """The fleet after these changes, in order. A change to a pool or server that is not there raises KeyError."""
    for change in changes:
        fleet = _apply_one(fleet, change)
    return fleet


def differences(before: Fleet, after: Fleet) -> tuple[Change, ...]:
    """The smallest list of changes that leads from one fleet to the other.

    Weights, admin states, added and removed servers become changes of their own, which engines make without a reload.
    Any other difference becomes one `Rebuild`, whose reason names what differs; it carries the others with it.
    """
    reasons = _rebuild_reasons(before, after)
    if reasons:
        return (Rebuild(after, "; ".join(reasons)),)
    changes: list[Change] = []
    for new in after.pools:
        old = before.pool(new.name)
        if old is not None:
            changes += _pool_changes(old, new)
    return tuple(changes)


def sentence(change: Change) -> str:
    """The change as a person would say it."""
    match change:
        case SetWeight(pool, name, weight):
            return f"set the weight of {name} in {pool} to {weight:g}"
        case SetAdmin(pool, name, admin):
            verb = {Admin.READY: "put back", Admin.DRAIN: "drain", Admin.MAINT: "take out"}[admin]
            return f"{verb} {name} in {pool}"
        case AddServer(pool, server):
            return f"add {server.name} ({server.address}) to {pool}"
        case RemoveServer(pool, name):
            return f"remove {name} from {pool}"
        case Rebuild(_, because):
            return f"load a new configuration ({because})"
        case _:
            assert_never(change)


def _apply_one(fleet: Fleet, change: Change) -> Fleet:
    match change:
        case SetWeight(pool, server, weight):
            return _with_server(fleet, pool, server, lambda s: replace(s, weight=weight))
        case SetAdmin(pool, server, admin):
            return _with_server(fleet, pool, server, lambda s: replace(s, admin=admin))
        case AddServer(pool, added):
            return _with_servers(fleet, pool, lambda servers: (*servers, added))
        case RemoveServer(pool, name):
            if not any(p.name == pool and p.server(name) for p in fleet.pools):
                raise KeyError(f"{pool}/{name}")
            return _with_servers(fleet, pool, lambda servers: tuple(s for s in servers if s.name != name))
        case Rebuild(new, _):
            return new
        case _:
            assert_never(change)


def _with_servers(fleet: Fleet, pool: str, edit: Callable[[tuple[Server, ...]], tuple[Server, ...]]) -> Fleet:
    if fleet.pool(pool) is None:
        raise KeyError(pool)
    pools = tuple(replace(p, servers=edit(p.servers)) if p.name == pool else p for p in fleet.pools)
    return replace(fleet, pools=pools)


def _with_server(fleet: Fleet, pool: str, server: str, edit: Callable[[Server], Server]) -> Fleet:
    found = fleet.pool(pool)
    if found is None or found.server(server) is None:
        raise KeyError(f"{pool}/{server}")
    return _with_servers(fleet, pool, lambda servers: tuple(edit(s) if s.name == server else s for s in servers))


def _rebuild_reasons(before: Fleet, after: Fleet) -> list[str]:
    reasons = []
    if before.listeners != after.listeners:
        reasons.append("listeners changed")
    if before.client != after.client:
        reasons.append("the way clients are told apart changed")
    old_names, new_names = {p.name for p in before.pools}, {p.name for p in after.pools}
    if old_names != new_names:
        reasons.append("pools changed: " + ", ".join(sorted(old_names ^ new_names)))
    for new in after.pools:
        old = before.pool(new.name)
        if old is None:
            continue
        names = [f.name for f in fields(Pool) if f.name not in _LIVE_POOL_FIELDS]
        differing = [n.replace("_", " ") for n in names if getattr(old, n) != getattr(new, n)]
        if differing:
            reasons.append(f"{new.name}: {', '.join(differing)} changed")
        reasons += [f"{new.name}: {s.name} changed its limits" for s in new.servers if _limits_changed(old, s)]
        reasons += [f"{new.name}: {s.name} changed its habits" for s in new.servers if _habits_changed(old, s)]
    return reasons


# The engine need not know of these: they steer Levelhead, not the proxy.
_LIVE_POOL_FIELDS = frozenset({"servers", "origin", "slo", "intent", "mode", "minimum_servers"})


def _limits_changed(old: Pool, new: Server) -> bool:
    before = old.server(new.name)
    return before is not None and before.address == new.address and before.in_flight_limit != new.in_flight_limit


# Of a server, what has a change of its own, or steers Levelhead and not the proxy.
_LIVE_SERVER_FIELDS = frozenset(
    {"name", "host", "port", "weight", "capacity", "admin", "in_flight_limit", "origin", "zone"}
)


def _habits_changed(old: Pool, new: Server) -> bool:
    before = old.server(new.name)
    names = [f.name for f in fields(Server) if f.name not in _LIVE_SERVER_FIELDS]
    return before is not None and any(getattr(before, n) != getattr(new, n) for n in names)


def _pool_changes(old: Pool, new: Pool) -> list[Change]:
    moved = {s.name for s in new.servers if (was := old.server(s.name)) is not None and was.address != s.address}
    gone = [s.name for s in old.servers if new.server(s.name) is None or s.name in moved]
    changes: list[Change] = []
    for server in new.servers:
        was = old.server(server.name)
        if was is None or server.name in moved:
            continue
        if was.weight != server.weight:
            changes.append(SetWeight(new.name, server.name, server.weight))
        if was.admin != server.admin:
            changes.append(SetAdmin(new.name, server.name, server.admin))
    # A server that keeps its name but not its address goes first and comes back; others are added before any goes.
    changes += [RemoveServer(new.name, name) for name in gone if name in moved]
    changes += [AddServer(new.name, s) for s in new.servers if old.server(s.name) is None or s.name in moved]
    changes += [RemoveServer(new.name, name) for name in gone if name not in moved]
    return changes
