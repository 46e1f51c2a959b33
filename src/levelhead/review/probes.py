"""How the servers of each pool are watched, in the same words for every language: who is asked what, and how often."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from levelhead.engines.envoy import picture as envoy
from levelhead.engines.haproxy import picture as haproxy
from levelhead.engines.text import Value
from levelhead.model import NOWHERE, Admin, Check, Fleet, Origin
from levelhead.review.base import Judge, Trouble
from levelhead.review.wording import counted

R = TypeVar("R")
_STATUSES: Final = frozenset(range(100, 600))
_GOOD: Final = frozenset(range(200, 400))  # what HAProxy takes where nothing says what to expect


@dataclass(frozen=True, slots=True)
class Timing:
    """When a server is asked and believed, in seconds, and where that is written: `fast_s` after a first failure,
    `down_s` while it is out."""

    interval_s: float
    fast_s: float
    down_s: float
    timeout_s: float
    fall: int
    rise: int
    interval_at: Origin
    timeout_at: Origin
    fall_at: Origin
    down_at: Origin

    @property
    def dead_s(self) -> float:
        """At most this long until a server that refuses connections is out."""
        return self.interval_s + (self.fall - 1) * self.fast_s

    @property
    def hung_s(self) -> float:
        """The same for one that does not answer: the next check begins an interval after the last one gave up."""
        return self.dead_s + self.fall * self.timeout_s

    @property
    def back_s(self) -> float:
        """At most this long until a server that recovered is in again."""
        return self.down_s + (self.rise - 1) * self.fast_s


@dataclass(frozen=True, slots=True)
class Member:
    """One server. `place` is host and port where it serves, `asked_at` where its check goes; port 0 is unknown.

    `timing` is None where nobody asks it, or where something else is asked for it.
    """

    name: str
    origin: Origin
    place: tuple[str, int]
    weight: float = 1.0
    reserve: bool = False
    watched: bool = False
    timing: Timing | None = None
    asked_at: tuple[str, int] = ("", 0)
    asked_origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class Question:
    """What a check asks. `kind` is tcp for a bare connect, http, or other; `accepts` None cannot be told."""

    kind: str
    origin: Origin
    path: str = ""
    accepts: frozenset[int] | None = None
    any_content: bool = False
    accepts_at: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool with the servers that are not taken out by hand. `counted` is False where others may join by DNS or EDS.

    `fails_open` says that it serves on when every check fails. `question` is None where no check is sent.
    """

    name: str
    origin: Origin
    http: bool
    members: tuple[Member, ...]
    question: Question | None
    counted: bool = True
    fails_open: bool = False

    @property
    def active(self) -> tuple[Member, ...]:
        return tuple(m for m in self.members if not m.reserve and m.weight > 0)

    @property
    def reserves(self) -> tuple[Member, ...]:
        return tuple(m for m in self.members if m.reserve)

    @property
    def several(self) -> bool:
        """Whether there is, or may be, another server to turn to."""
        return not self.counted or len(self.active) > 1

    def part(self, members: Sequence[Member] = ()) -> str:
        """What one of these servers gets: `25% of requests`."""
        total = sum(m.weight for m in self.active)
        shares = {round(100 * m.weight / total) for m in members or self.active if not m.reserve and total}
        if not self.counted or not shares:
            return "its part of the requests"
        low, high = min(shares), max(shares)
        return f"{high}% of requests" if low == high else f"{low} to {high}% of requests"


def by_pool(view: Callable[[R], Iterable[Pool]], judge: Callable[[Pool], Iterator[Trouble]]) -> Judge[R]:
    """The judge that asks this of every pool; what several pools inherit from one line is said once."""
    return lambda config: iter(merged(t for pool in config.view(view) for t in judge(pool)))


def merged(troubles: Iterable[Trouble]) -> list[Trouble]:
    """One trouble per place."""
    first: dict[Origin, Trouble] = {}
    pools: dict[Origin, set[str]] = {}
    for trouble in troubles:
        first.setdefault(trouble.origin, trouble)
        pools.setdefault(trouble.origin, set()).add(trouble.pool)
    return [
        replace(t, message=f"{t.message}; the same in {counted(len(pools[at]) - 1, 'more pool')}")
        if len(pools[at]) > 1 else t
        for at, t in first.items()
    ]  # fmt: skip


def each_timing(pool: Pool) -> Iterator[tuple[Timing, tuple[Member, ...]]]:
    """The different timings of a pool's servers, reserves left out, with the servers that share each."""
    found: dict[Timing, list[Member]] = {}
    for member in pool.active:
        if member.timing is not None:
            found.setdefault(member.timing, []).append(member)
    for timing, members in found.items():
        yield timing, tuple(members)


def haproxy_pools(reading: haproxy.Reading) -> Iterator[Pool]:
    """Backends and listens that have servers."""
    for proxy in asked_sections(reading):
        live = [s for s in proxy.servers if not s.disabled]
        members = tuple(_haproxy_member(proxy, s) for s in live)
        asked = any(s.check.enabled for s in live)
        yield Pool(
            name=proxy.name, origin=proxy.origin, http=proxy.mode is not None and proxy.mode.value == "http",
            members=members, question=_haproxy_question(proxy) if asked else None,
            counted=not any(s.template for s in live),
            fails_open=any(m.reserve and not m.watched for m in members),
        )  # fmt: skip


def asked_sections(reading: haproxy.Reading) -> tuple[haproxy.Proxy, ...]:
    """The sections behind `haproxy_pools`, in the same order."""
    return tuple(proxy for proxy in reading.pools() if proxy.servers and not proxy.disabled)


def envoy_pools(reading: envoy.Reading) -> Iterator[Pool]:
    """Clusters. Those from a control plane are one member without a name, those from DNS are not counted."""
    http = _http_clusters(reading)
    for cluster in reading.clusters:
        timing = _envoy_timing(cluster.checks[0]) if cluster.checks else None
        if isinstance(cluster.members, tuple):
            members = tuple(_envoy_members(cluster, cluster.members, timing))
        else:
            members = (Member("", cluster.origin, ("", 0), watched=True, timing=timing),)
        yield Pool(
            name=cluster.name, origin=cluster.origin, http=cluster.name in http, members=members,
            question=_envoy_question(cluster.checks[0]) if cluster.checks else None,
            counted=cluster.kind.value == "STATIC",
            fails_open=cluster.balancing.panic_percent.value > 0
            and not (cluster.balancing.zone_aware and cluster.balancing.zone_aware.fail_on_panic.value),
        )  # fmt: skip


def fleet_pools(fleet: Fleet) -> Iterator[Pool]:
    """Pools of levelhead.yaml."""
    for pool in fleet.pools:
        check = pool.check
        timing = _fleet_timing(check, pool.origin) if check else None
        question = _fleet_question(check, pool.origin) if check else None
        members = tuple(
            Member(
                s.name, s.origin, (s.host, s.port), s.weight, watched=check is not None, timing=timing,
                asked_at=(s.host, check.port if check and check.port else s.port), asked_origin=pool.origin,
            )
            for s in pool.servers if s.admin is Admin.READY
        )  # fmt: skip
        yield Pool(pool.name, pool.origin, True, members, question)


def _fleet_timing(check: Check, at: Origin) -> Timing:
    every = check.interval_s
    return Timing(every, every, every, check.timeout_s, check.fall, check.rise, at, at, at, at)


def _fleet_question(check: Check, at: Origin) -> Question:
    kind = "tcp" if check.path is None else "http"
    return Question(kind, at, check.path or "", _status_list(check.status), False, at)


def _haproxy_member(proxy: haproxy.Proxy, server: haproxy.ServerLine) -> Member:
    at = {n: o.origin for n in ("inter", "fall", "downinter", "port", "addr") if (o := server.option(n)) is not None}
    check, limit = server.check, proxy.timeouts.check
    timing = Timing(
        interval_s=check.inter_s, fast_s=check.inter_s if check.fastinter_s is None else check.fastinter_s,
        down_s=check.inter_s if check.downinter_s is None else check.downinter_s,
        timeout_s=limit.value if limit and limit.value else check.inter_s, fall=check.fall, rise=check.rise,
        interval_at=at.get("inter", server.origin), timeout_at=limit.origin if limit else server.origin,
        fall_at=at.get("fall", server.origin), down_at=at.get("downinter", server.origin),
    )  # fmt: skip
    return Member(
        name=server.name, origin=server.origin, place=(server.address.host, server.port), weight=server.weight,
        reserve=server.backup, watched=check.enabled or server.agent.enabled or bool(server.track),
        timing=timing if check.enabled else None,
        asked_at=(check.host or server.address.host, check.port or check.host_port or server.port),
        asked_origin=at.get("port", at.get("addr", server.origin)),
    )  # fmt: skip


def _haproxy_question(proxy: haproxy.Proxy) -> Question:
    checks = proxy.checks
    origin = checks.origin or proxy.origin
    if checks.type == "tcp" or (checks.type == "tcp-check" and all(r.action == "connect" for r in checks.tcp_rules)):
        return Question("tcp", origin)
    if checks.type != "http" or sum(r.action in ("send", "connect") for r in checks.http_rules) > 1:
        return Question("other", origin)
    accepts: frozenset[int] | None = _GOOD if not checks.expects else _STATUSES
    any_content = bool(checks.expects)
    for rule in checks.expects:
        wanted = Expectation.of(rule)
        any_content = any_content and wanted.anything
        taken = wanted.statuses
        accepts = None if accepts is None or taken is None else accepts & taken
    at = checks.expects[0].origin if checks.expects else origin
    return Question("http", origin, checks.uri, accepts, any_content, at)


@dataclass(frozen=True, slots=True)
class Expectation:
    """One `http-check expect`: the statuses it lets pass, None where content decides; `anything` if no answer fails."""

    statuses: frozenset[int] | None
    anything: bool = False

    @classmethod
    def of(cls, rule: haproxy.Rule) -> Expectation:
        words = rule.arguments
        at = next((i for i, word in enumerate(words) if word in _MATCHES), None)
        if at is None or at + 1 >= len(words):
            return cls(None)
        match, pattern, negated = words[at], words[at + 1], at > 0 and words[at - 1] == "!"
        if match in ("string", "rstring"):
            anything = not negated and (not pattern if match == "string" else _matches_nothing(pattern))
            return cls(_STATUSES if anything else None, anything)
        found = _status_list(pattern) if match == "status" else _status_pattern(pattern) if match == "rstatus" else None
        return cls(_STATUSES - found if negated and found is not None else found)


_MATCHES: Final = frozenset({"status", "rstatus", "string", "rstring", "hdr", "fhdr", "string-lf"})


def _status_list(text: str) -> frozenset[int] | None:
    """The statuses of `200`, `200-399` or `200,301-303`; None for what is no such list."""
    found: set[int] = set()
    for part in text.split(","):
        low, _, high = part.strip().partition("-")
        if not low.isdigit() or not (high or low).isdigit():
            return None
        found.update(range(max(int(low), 100), min(int(high or low), 599) + 1))
    return frozenset(found)


def _status_pattern(pattern: str) -> frozenset[int] | None:
    compiled = _compiled(pattern)
    return compiled and frozenset(n for n in _STATUSES if compiled.search(str(n)))


def _matches_nothing(pattern: str) -> bool:
    """Whether even an empty answer fits."""
    compiled = _compiled(pattern)
    return compiled is not None and compiled.search("") is not None


def _compiled(pattern: str) -> re.Pattern[str] | None:
    """HAProxy's patterns are PCRE's; what Python does not know of them is left alone."""
    try:
        return re.compile(pattern)
    except re.error:
        return None


def _http_clusters(reading: envoy.Reading) -> frozenset[str]:
    """Clusters that routes of HTTP name, in listeners or in tables of their own."""
    tables = [*reading.route_tables]
    for listener in reading.listeners:
        tables += [
            s.routes for s in listener.sides
            if isinstance(s, envoy.HttpSide) and isinstance(s.routes, envoy.RouteTable)
        ]  # fmt: skip
    return frozenset(c.cluster for t in tables for h in t.hosts for route in h.routes for c in route.clusters)


def _envoy_members(
    cluster: envoy.Cluster, places: tuple[envoy.Locality, ...], timing: Timing | None
) -> Iterator[Member]:
    other_port = cluster.checks[0].alt_port if cluster.checks else None
    for locality in places:
        for endpoint in locality.endpoints:
            if endpoint.health.value in ("DRAINING", "UNHEALTHY", "TIMEOUT"):
                continue
            host, port = (endpoint.at.host, endpoint.at.port or 0) if endpoint.at else ("", 0)
            asked: Value[int | None] = endpoint.check_port
            if not asked.value and other_port is not None:
                asked = other_port
            checked = timing is not None and not endpoint.unchecked.value
            yield Member(
                name=str(endpoint.at or endpoint.hostname), origin=endpoint.origin, place=(host, port),
                weight=endpoint.weight.value, reserve=locality.priority.value > 0,
                watched=checked or cluster.outliers is not None, timing=timing if checked else None,
                asked_at=(host, asked.value or port), asked_origin=asked.origin if asked.value else endpoint.origin,
            )  # fmt: skip


def _envoy_timing(check: envoy.Check) -> Timing:
    def at(value: Value[float] | Value[int]) -> Origin:
        return check.origin if value.is_default else value.origin

    return Timing(
        interval_s=check.interval_s.value, fast_s=check.interval_s.value, down_s=check.unhealthy_interval_s.value,
        timeout_s=check.timeout_s.value, fall=check.unhealthy_threshold.value, rise=check.healthy_threshold.value,
        interval_at=at(check.interval_s), timeout_at=at(check.timeout_s), fall_at=at(check.unhealthy_threshold),
        down_at=at(check.unhealthy_interval_s),
    )  # fmt: skip


def _envoy_question(check: envoy.Check) -> Question:
    if check.kind == "tcp":
        return Question("other" if check.sends else "tcp", check.origin)
    if check.kind != "http":
        return Question("other", check.origin)
    accepts = frozenset(n for low, high in check.statuses for n in range(max(low, 100), min(high, 600)))
    return Question("http", check.origin, check.path.value, accepts, False, check.origin)
