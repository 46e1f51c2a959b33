"""The types of a scenario file: a pool, its users, what goes wrong and when, and what is expected of Levelhead.

Unknown keys are errors and every field has a default or must be given. A scenario holds no addresses: where its
servers really listen is known only to whoever starts them, see `fleet_of`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from levelhead import model
from levelhead.errors import UsageError
from levelhead.telemetry import Floats

POOL = "web"
LISTENER = "front"
HEALTH_PATH = "/healthz"

# The 99th percentile of the standard normal distribution.
_Z99 = 2.3263478740408408

Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]
Share = Annotated[float, Field(strict=True, gt=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=1)]
Flag = Annotated[bool, Field(strict=True)]
Kebab = Annotated[str, Field(strict=True, pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
ServerName = Annotated[str, Field(strict=True, pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
UrlPath = Annotated[str, Field(strict=True, pattern=r"^/[!-~]*$")]
Token = Annotated[str, Field(strict=True, pattern=r"^[A-Za-z0-9_-]+$")]


class Part(BaseModel):
    """A piece of a scenario: frozen, and it refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Choice(Part):
    """A piece of which exactly one of `choices` is given."""

    choices: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="after")
    def _exactly_one(self) -> Choice:
        given = [name for name in self.choices if getattr(self, name) is not None]
        if len(given) != 1:
            found = f"not {len(given)} ({', '.join(given)})" if given else "and none is"
            raise ValueError(f"exactly one of {', '.join(self.choices)} must be given, {found}")
        return self

    @property
    def chosen(self) -> str:
        """The name of the one that is given."""
        return next(name for name in self.choices if getattr(self, name) is not None)


class Source(Part):
    """The outage that the scenario is taken from."""

    title: str
    url: str | None = None


class Service(Part):
    """How long a worker is busy with one request: lognormal, in milliseconds."""

    median: Positive = 50.0
    p99: Positive = 200.0

    @model_validator(mode="after")
    def _ordered(self) -> Service:
        if self.p99 < self.median:
            raise ValueError("p99 must not be below median")
        return self

    @property
    def sigma(self) -> float:
        return math.log(self.p99 / self.median) / _Z99

    @property
    def mean_ms(self) -> float:
        return self.median * math.exp(self.sigma**2 / 2)

    def demand_ms(self, draw: Floats) -> Floats:
        """The service times that standard normal draws stand for."""
        return np.asarray(self.median * np.exp(self.sigma * draw), dtype=np.float64)


class ServerSpec(Part):
    """One server: `capacity` is what its owner declares, in requests per second; the workers decide the truth.

    With `deep_check` its health endpoint waits for a worker like any request; else it answers at once, however busy
    the server is, as most do.
    """

    workers: Count = 4
    service_ms: Service = Service()
    capacity: Positive | None = None
    weight: NotNegative = 100.0
    deep_check: Flag = False
    zone: str = ""

    @property
    def bearable_rps(self) -> float:
        """The rate at which all workers are busy all the time."""
        return self.workers * 1000.0 / self.service_ms.mean_ms


class CheckSpec(Part):
    """Active health check of the balancer.

    Servers answer on /healthz. A path of users (/, /item/1) waits for a worker like any request; others are not found.
    """

    path: UrlPath | None = HEALTH_PATH
    status: str = "200-399"
    interval_s: Positive = 1.0
    timeout_s: Positive = 1.0
    fall: Count = 3
    rise: Count = 2


class LimitsSpec(Part):
    server_in_flight: Count | None = None
    queue: Annotated[int, Field(strict=True, ge=0)] | None = None


class TimeoutsSpec(Part):
    """Seconds; the defaults are the model's."""

    connect: Positive = model.Timeouts().connect_s
    server: Positive = model.Timeouts().server_s
    client: Positive = model.Timeouts().client_s
    queue: Positive = model.Timeouts().queue_s
    keep_alive: Positive = model.Timeouts().keep_alive_s


class EjectionSpec(Part):
    consecutive_errors: Count = 10


class PolicySpec(Part):
    """A policy; a bare word in the file stands for `kind`. `on`, `name` and the two below it belong to hash."""

    kind: Literal["round-robin", "least-request", "random", "hash"] = "round-robin"
    draws: Annotated[int, Field(strict=True, ge=2)] = 2
    on: Literal["header", "cookie", "source", "path"] = "source"
    name: str = ""
    consistent: Flag = True
    bounded_load: Annotated[float, Field(strict=True, gt=1)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _word(cls, value: object) -> object:
        return {"kind": value} if isinstance(value, str) else value

    def policy(self) -> model.Policy:
        match self.kind:
            case "round-robin":
                return model.RoundRobin()
            case "least-request":
                return model.LeastRequest()
            case "random":
                return model.RandomPick(self.draws)
            case "hash":
                return model.Hash(self.on, self.name, self.consistent, self.bounded_load)


class PoolSpec(Part):
    """The pool under test. `servers` in the file is `{count, …}` for like ones, or a mapping from name to server."""

    policy: PolicySpec = PolicySpec()
    check: CheckSpec | None = CheckSpec()
    ejection: EjectionSpec | None = None
    servers: dict[ServerName, ServerSpec] = {f"server-{i}": ServerSpec() for i in range(1, 5)}
    limits: LimitsSpec = LimitsSpec()
    timeouts_s: TimeoutsSpec = TimeoutsSpec()
    retries: Annotated[int, Field(strict=True, ge=0)] = model.Retries().attempts
    slow_start_s: NotNegative = 10.0
    affinity_cookie: Token | None = None
    mode: Literal["shadow", "ask", "act"] = "act"
    minimum_servers: Count = 1
    intent: Literal["equal", "capacity"] = "equal"

    @field_validator("servers", mode="before")
    @classmethod
    def _like_ones(cls, value: object) -> object:
        if not isinstance(value, dict) or "count" not in value:
            return value
        count = value["count"]
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= 100:
            raise PydanticCustomError("count", "count must be a whole number from 1 to 100", {"at": ["count"]})
        rest = {key: v for key, v in value.items() if key != "count"}
        return {f"server-{i}": rest for i in range(1, count + 1)}

    @field_validator("servers")
    @classmethod
    def _some(cls, value: dict[str, ServerSpec]) -> dict[str, ServerSpec]:
        if not value:
            raise ValueError("a pool needs at least one server")
        return value

    @property
    def bearable_rps(self) -> float:
        return sum(spec.bearable_rps for spec in self.servers.values())


class UsersSpec(Part):
    """Open-loop users: they send at their planned times whether or not answers come.

    `session`: none (connections are reused and given up when idle, as browsers do), cookie (the same, and each user
    keeps its cookies, one named session among them), keepalive (connections are kept to the end). `post_share` of the
    requests are POST, which nobody may repeat. A user goes away after `timeout_s`.
    """

    count: Annotated[int, Field(strict=True, ge=1, le=60_000)] = 200
    rps: Positive = 100.0
    shape: Literal["steady", "ramp", "diurnal", "burst"] = "steady"
    session: Literal["none", "cookie", "keepalive"] = "none"
    post_share: Fraction = 0.0
    timeout_s: Positive = 10.0


class SloSpec(Part):
    latency_ms: Positive = 1000.0
    availability: Annotated[float, Field(strict=True, gt=0, lt=1)] = 0.999

    def slo(self) -> model.Slo:
        return model.Slo(self.latency_ms, self.availability)


class ConfigChange(Part):
    """Somebody changes the balancer's configuration. `members` are the names that the pool has from then on."""

    weights: dict[ServerName, NotNegative] | None = None
    policy: PolicySpec | None = None
    check: CheckSpec | None = None
    limits: LimitsSpec | None = None
    members: tuple[ServerName, ...] | None = None

    @model_validator(mode="after")
    def _something(self) -> ConfigChange:
        # `check: null` is a change too: it takes the check away.
        if not any(name == "check" or getattr(self, name) is not None for name in self.model_fields_set):
            raise ValueError("at least one of weights, policy, check, limits, members must be given")
        if self.members == ():
            raise ValueError("members must name at least one server")
        return self


class ServerFault(Choice):
    """One server misbehaves.

    `down`: its process is killed. `hang`: it accepts and never answers. `errors`, `resets`: that share of requests is
    answered 500 at once, or cut off. `slow_ms`: every request takes that much longer. `capacity`: that share of its
    workers is left, at least one.
    """

    choices = ("down", "hang", "errors", "slow_ms", "resets", "capacity")
    name: ServerName
    down: Literal[True] | None = None
    hang: Literal[True] | None = None
    errors: Share | None = None
    slow_ms: Positive | None = None
    resets: Share | None = None
    capacity: Share | None = None


class Traffic(Part):
    """The rate of requests is that many times the planned one."""

    factor: NotNegative


class HotKey(Part):
    """That share of the requests is for one and the same path."""

    share: Share


class DependencyFault(Choice):
    """What all servers depend on misbehaves, so all of them do."""

    choices = ("slow_ms", "errors")
    slow_ms: Positive | None = None
    errors: Share | None = None


class CheckFault(Choice):
    """The check does not say how the server is.

    `lies`: passing whatever happens, or failing though all is well. `flaps`: it turns from one to the other every so
    many seconds. `path`: the balancer asks for another path. `servers` are those concerned, by default all.
    """

    choices = ("lies", "flaps", "path")
    servers: tuple[ServerName, ...] | None = None
    lies: Literal["passing", "failing"] | None = None
    flaps: Positive | None = None
    path: UrlPath | None = None


class Restart(Part):
    """One server's process is killed and comes back `down_s` later."""

    name: ServerName
    down_s: NotNegative = 1.0


class Deploy(Part):
    """A rolling restart, one server every `every_s`, each away for `down_s`; the new version may be slow or fail.

    The servers are restarted where they stand, as many deploys do: nobody takes them out first.
    """

    every_s: Positive = 5.0
    down_s: NotNegative = 1.0
    slow_ms: Positive | None = None
    errors: Share | None = None


class ZoneFault(Choice):
    """All servers of a zone misbehave."""

    choices = ("down", "slow_ms")
    name: str
    down: Literal[True] | None = None
    slow_ms: Positive | None = None


class Raw(Choice):
    """Somebody ships this text, in the language of a balancer, for the pool under test.

    It names servers as the scenario does; their addresses stay those of the lab. See `rewritten`.
    """

    choices = ("haproxy", "envoy", "nginx")
    haproxy: str | None = None
    envoy: str | None = None
    nginx: str | None = None


What = ConfigChange | ServerFault | Traffic | HotKey | DependencyFault | CheckFault | Restart | Deploy | ZoneFault | Raw


class Event(Choice):
    """What happens `at_s` seconds after the start; it is over at `until_s`, or lasts to the end."""

    choices = (
        "config", "server", "traffic", "hot_key", "dependency", "check", "restart", "deploy", "zone", "raw",
    )  # fmt: skip
    at_s: NotNegative
    until_s: Positive | None = None
    config: ConfigChange | None = None
    server: ServerFault | None = None
    traffic: Traffic | None = None
    hot_key: HotKey | None = None
    dependency: DependencyFault | None = None
    check: CheckFault | None = None
    restart: Restart | None = None
    deploy: Deploy | None = None
    zone: ZoneFault | None = None
    raw: Raw | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Event:
        if self.until_s is not None and self.until_s <= self.at_s:
            raise PydanticCustomError("order", "until_s must be later than at_s", {"at": ["until_s"]})
        if self.until_s is not None and (self.restart is not None or self.deploy is not None):
            raise PydanticCustomError("order", f"a {self.chosen} has its own end, not until_s", {"at": ["until_s"]})
        return self

    @property
    def what(self) -> What:
        return next(w for w in self._given() if w is not None)

    def _given(self) -> tuple[What | None, ...]:
        return (
            self.config, self.server, self.traffic, self.hot_key, self.dependency, self.check, self.restart,
            self.deploy, self.zone, self.raw,
        )  # fmt: skip


class Expect(Part):
    """What a passed drill looks like; what is not given is not judged.

    `plan: none` means that nothing may be done. `detect_s` and `recover_s` count from the first fault.
    `harmed_users` and `harmed_requests` are the shares that may be harmed at most.
    """

    cause: Kebab | None = None
    refuted: tuple[Kebab, ...] = ()
    plan: Kebab | None = None
    detect_s: Positive | None = None
    recover_s: Positive | None = None
    harmed_users: Fraction | None = None
    harmed_requests: Fraction | None = None
    unchanged_weights: Flag = False


class Scenario(Part):
    """One drill, as written in its file."""

    name: Kebab
    title: str
    source: Source
    teaches: Annotated[tuple[Kebab, ...], Field(min_length=1)]
    difficulty: Annotated[int, Field(strict=True, ge=1, le=5)] = 1
    seed: Annotated[int, Field(strict=True, ge=0)] = 1
    duration_s: Annotated[float, Field(strict=True, gt=0, le=86_400, allow_inf_nan=False)] = 60.0
    pool: PoolSpec = PoolSpec()
    users: UsersSpec = UsersSpec()
    slo: SloSpec = SloSpec()
    events: tuple[Event, ...] = ()
    expect: Expect = Expect()

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> Scenario:
        for at, message in _objections(self):
            raise PydanticCustomError("consistent", "{message}", {"message": message, "at": list(at)})
        return self


def fleet_of(scenario: Scenario, listen_port: int, addresses: Mapping[str, tuple[str, int]]) -> model.Fleet:
    """The fleet before anything goes wrong: one listener on loopback, one pool; users are told apart by address."""
    listener = model.Listener(LISTENER, "127.0.0.1", listen_port, (model.Route(POOL),))
    return model.Fleet((listener,), (pool_of(scenario, addresses),), client="source")


def pool_of(scenario: Scenario, addresses: Mapping[str, tuple[str, int]]) -> model.Pool:
    """The pool of the scenario with its servers at these addresses; KeyError if one has none."""
    spec, timeouts = scenario.pool, scenario.pool.timeouts_s
    return model.Pool(
        name=POOL,
        servers=tuple(_server(name, server, addresses[name]) for name, server in spec.servers.items()),
        policy=spec.policy.policy(),
        check=_check(spec.check),
        ejection=None if spec.ejection is None else model.Ejection(spec.ejection.consecutive_errors),
        timeouts=model.Timeouts(
            connect_s=timeouts.connect,
            server_s=timeouts.server,
            client_s=timeouts.client,
            queue_s=timeouts.queue,
            keep_alive_s=timeouts.keep_alive,
        ),
        retries=model.Retries(spec.retries),
        limits=model.Limits(spec.limits.server_in_flight, spec.limits.queue),
        affinity_cookie=spec.affinity_cookie,
        slow_start_s=spec.slow_start_s,
        slo=scenario.slo.slo(),
        intent=model.Intent(spec.intent),
        mode=model.Mode(spec.mode),
        minimum_servers=spec.minimum_servers,
    )


def changed_pool(
    scenario: Scenario, pool: model.Pool, change: ConfigChange, addresses: Mapping[str, tuple[str, int]]
) -> model.Pool:
    """The pool after somebody made this change, right or wrong; KeyError if a server it names has no address."""
    if change.members is not None:
        spec = scenario.pool.servers
        kept = {s.name: s for s in pool.servers}
        members = (kept.get(name) or _server(name, spec[name], addresses[name]) for name in change.members)
        pool = replace(pool, servers=tuple(members))
    if change.weights is not None:
        weights = change.weights
        servers = tuple(replace(s, weight=weights.get(s.name, s.weight)) for s in pool.servers)
        pool = replace(pool, servers=servers)
    if change.policy is not None:
        pool = replace(pool, policy=change.policy.policy())
    if "check" in change.model_fields_set:
        pool = replace(pool, check=_check(change.check))
    if change.limits is not None:
        pool = replace(pool, limits=model.Limits(change.limits.server_in_flight, change.limits.queue))
    return pool


def shipped(
    scenario: Scenario, pool: model.Pool, event: Event, addresses: Mapping[str, tuple[str, int]],
    texts: Mapping[Raw, model.Fleet],
) -> model.Pool | None:
    """The pool that somebody ships by this event; None where the event does not touch the configuration."""
    what = event.what
    if isinstance(what, ConfigChange):
        return changed_pool(scenario, pool, what, addresses)
    if isinstance(what, CheckFault) and what.path is not None:
        return replace(pool, check=replace(pool.check or model.Check(), path=what.path))
    if isinstance(what, Raw):
        return rewritten(scenario, pool, texts[what], addresses)
    return None


def rewritten(
    scenario: Scenario, pool: model.Pool, text: model.Fleet, addresses: Mapping[str, tuple[str, int]]
) -> model.Pool:
    """The pool as this configuration has it: servers and weights, policy, checks, limits, affinity, slow start, times.

    What the text cannot hold or leaves open stays: addresses, retries, unbounded times, the SLO, the mode. UsageError
    where the pool under test is not in the text, or servers are that it does not have.
    """
    found = text.pool(POOL) or (text.pools[0] if len(text.pools) == 1 else None)
    if found is None or not found.servers:
        raise UsageError(f"{scenario.name}: the raw text has no pool {POOL} with servers", next_step="add it there")
    spec, here = scenario.pool.servers, {s.name: s for s in pool.servers}
    members = []
    for server in found.servers:
        # nginx and Envoy have no names for servers: there it is the host.
        name = server.name if server.name in spec else server.host
        if name not in spec:
            raise UsageError(f"{scenario.name}: the raw text names {server.name}, which the pool does not have",
                             next_step=f"its servers are {', '.join(spec)}")  # fmt: skip
        member = here.get(name) or _server(name, spec[name], addresses[name])
        members.append(
            replace(member, weight=server.weight, admin=server.admin, in_flight_limit=server.in_flight_limit)
        )
    times = {f.name: getattr(found.timeouts, f.name) for f in fields(model.Timeouts)}
    return replace(
        pool, servers=tuple(members), policy=found.policy, check=found.check, ejection=found.ejection,
        limits=found.limits, affinity_cookie=found.affinity_cookie, slow_start_s=found.slow_start_s,
        timeouts=replace(pool.timeouts, **{name: s for name, s in times.items() if math.isfinite(s)}),
    )  # fmt: skip


def _server(name: str, spec: ServerSpec, address: tuple[str, int]) -> model.Server:
    return model.Server(name, *address, weight=spec.weight, capacity=spec.capacity, zone=spec.zone)


def _check(spec: CheckSpec | None) -> model.Check | None:
    if spec is None:
        return None
    return model.Check(spec.path, spec.status, spec.interval_s, spec.timeout_s, spec.fall, spec.rise)


def _objections(scenario: Scenario) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Where the parts of a scenario contradict each other, and how."""
    if scenario.pool.minimum_servers > len(scenario.pool.servers):
        yield ("pool", "minimum_servers"), f"the pool has only {len(scenario.pool.servers)} servers"
    for i, event in enumerate(scenario.events):
        if event.at_s >= scenario.duration_s:
            yield ("events", i, "at_s"), f"the drill is over after {scenario.duration_s:g} s"
        for at, name in _names(event):
            if name not in scenario.pool.servers:
                known = ", ".join(scenario.pool.servers)
                yield ("events", i, *at), f"there is no server {name!r} in the pool (it has {known})"
        zones = sorted({spec.zone for spec in scenario.pool.servers.values() if spec.zone})
        if event.zone is not None and event.zone.name not in zones:
            known = ", ".join(zones) or "none: write zone: NAME at each server"
            yield ("events", i, "zone", "name"), f"no server stands in zone {event.zone.name!r} (there is {known})"


def _names(event: Event) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if event.server is not None:
        yield ("server", "name"), event.server.name
    if event.restart is not None:
        yield ("restart", "name"), event.restart.name
    if event.config is not None:
        yield from ((("config", "weights", name), name) for name in event.config.weights or {})
        yield from ((("config", "members", i), name) for i, name in enumerate(event.config.members or ()))
    if event.check is not None:
        yield from ((("check", "servers", i), name) for i, name in enumerate(event.check.servers or ()))
