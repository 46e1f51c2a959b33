"""From what HAProxy would build to a Fleet: the same pools, servers and listeners in the words of every engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from math import inf
from typing import Final, TypeVar

from levelhead.engines.haproxy.picture import Bind, Proxy, Reading, ServerLine, Setting
from levelhead.model import (
    Admin,
    Check,
    Ejection,
    Failure,
    Fleet,
    Hash,
    LeastRequest,
    Listener,
    OtherPolicy,
    Policy,
    Pool,
    RandomPick,
    Reserves,
    Retries,
    RoundRobin,
    Route,
    Server,
    Timeouts,
)

T = TypeVar("T")

_RETRIES: Final = 3
_SEEN: Final[dict[str, tuple[Failure, ...]]] = {
    "layer4": ("refused",), "layer7": ("refused", "hung", "reset", "status"),
}  # fmt: skip
_RETRIED: Final[dict[str, tuple[Failure, ...]]] = {
    "none": (), "conn-failure": ("refused",), "empty-response": ("reset",), "junk-response": ("reset",),
    "response-timeout": ("hung",), "0rtt-rejected": (), "all-retryable-errors": ("refused", "hung", "reset", "status"),
}  # fmt: skip
_ALL: Final[tuple[Failure, ...]] = ("refused", "hung", "reset", "status")


def fleet_of(reading: Reading) -> Fleet:
    """The fleet of a HAProxy configuration; sections that are disabled are not in it.

    A route whose pool is computed per request names it as written: there is no such pool.
    """
    running = [p for p in reading.proxies if p.kind != "defaults" and not p.disabled]
    fronts = [p for p in running if p.takes_traffic]
    pools = tuple(_pool(p, fronts, running) for p in running if p.has_servers and (p.servers or p.kind == "backend"))
    listeners = tuple(listener for p in fronts for listener in _listeners(p))
    return Fleet(listeners, pools)


def _pool(proxy: Proxy, fronts: list[Proxy], running: list[Proxy]) -> Pool:
    users = [f for f in fronts if f is proxy or any(r.pool == proxy.name for r in _targets(f))]
    checks = [_check(proxy, _checked(proxy, line, running)) for line in proxy.servers]
    common = _commonest(checks)
    slow = _commonest([line.slowstart_s for line in proxy.servers]) or 0.0
    servers = tuple(_server(line, check, common, slow) for line, check in zip(proxy.servers, checks, strict=True))
    if proxy.dispatch is not None:
        at = proxy.dispatch.value
        servers = (*servers, Server("dispatch", at.host, at.port or 0, 1.0, origin=proxy.dispatch.origin))
    return Pool(
        name=proxy.name,
        servers=servers,
        policy=_policy(proxy),
        check=common,
        timeouts=_timeouts(proxy, users),
        retries=_retries(proxy),
        affinity_cookie=_cookie(proxy),
        slow_start_s=slow,
        origin=proxy.origin,
        reserves=Reserves("all" if proxy.has("allbackups") else "first"),
        affinity=next((_words(r.family, r.action, *r.arguments) for r in proxy.stick_rules), ""),
        unknown=_unknown(proxy),
    )


def _server(line: ServerLine, check: Check | None, common: Check | None, slow: float) -> Server:
    return Server(
        name=line.name,
        host=line.address.host,
        port=line.port,
        weight=float(line.weight),
        admin=Admin.MAINT if line.disabled else Admin.READY,
        in_flight_limit=line.maxconn,
        origin=line.origin,
        priority=1 if line.backup else 0,
        check=None if check == common else check,
        checked=check is not None or common is None,
        ejection=_ejection(line),
        slow_start_s=None if line.slowstart_s == slow else line.slowstart_s,
        # A number that HAProxy gives by itself changes with the servers before it.
        ring_key=str(line.number) if line.option("id") is not None else "",
    )


def _checked(proxy: Proxy, line: ServerLine, running: list[Proxy]) -> ServerLine:
    """The server whose check decides: with `track` another one, perhaps of another section."""
    for _ in range(len(running)):
        if not line.track:
            return line
        section, slash, name = line.track.rpartition("/")
        where = proxy if not slash else next((p for p in running if p.name == section and p.has_servers), None)
        found = where.server(name) if where is not None else None
        if where is None or found is None:
            return line
        proxy, line = where, found
    return line


def _check(proxy: Proxy, line: ServerLine) -> Check | None:
    check, how = line.check, proxy.checks
    if not check.enabled:
        return None
    speaks = "" if how.type in ("tcp", "http") or (how.type == "tcp-check" and not how.tcp_rules) else how.type
    timeout = proxy.timeouts.check
    expected = [r.arguments[1] for r in how.expects if r.arguments[:1] == ("status",) and len(r.arguments) > 1]
    return Check(
        path=(how.uri or "/") if how.type == "http" else None,
        status=expected[0] if expected else "200-399",
        interval_s=check.inter_s,
        timeout_s=timeout.value if timeout is not None and timeout.value > 0 else check.inter_s,
        fall=check.fall,
        rise=check.rise,
        host=check.host or None,
        port=check.port or check.host_port or None,
        speaks=speaks,
        fast_interval_s=check.fastinter_s,
        down_interval_s=check.downinter_s,
    )


def _ejection(line: ServerLine) -> Ejection | None:
    if line.observe not in _SEEN or not line.check.enabled:
        return None
    match line.on_error:
        case "mark-down":
            acts = Ejection()
        case "sudden-death":
            acts = Ejection(acts="last-check")
        case "fastinter":
            acts = Ejection(acts="hurry")
        case _:
            acts = Ejection(acts="fail-check")
    return replace(acts, consecutive_errors=line.error_limit, counts=_SEEN[line.observe])


def _policy(proxy: Proxy) -> Policy:
    if proxy.balance is None:
        return RoundRobin()
    how = proxy.balance.value
    match how.algorithm:
        case "roundrobin":
            return RoundRobin()
        case "static-rr":
            return RoundRobin(fixed=True)
        case "leastconn":
            return LeastRequest()
        case "random":
            return RandomPick(int(how.argument) if how.argument.isdigit() else 2)
        case "source":
            return _hashed(proxy, Hash("source"))
        case "uri":
            return _hashed(proxy, Hash("path"))
        case "url_param":
            return _hashed(proxy, Hash("query", how.words[0] if how.words else ""))
        case "hdr":
            return _hashed(proxy, Hash("header", how.argument))
        case "rdp-cookie" | "hash":
            return _hashed(proxy, Hash("other", _words(how.algorithm, how.argument, *how.words)))
        case other:
            return OtherPolicy(other)


def _hashed(proxy: Proxy, on: Hash) -> Hash:
    method = proxy.hash_type.value.method if proxy.hash_type is not None else "map-based"
    consistent = method == "consistent"
    factor = proxy.hash_balance_factor.value if proxy.hash_balance_factor is not None else 0
    return replace(on, consistent=consistent, bounded_load=factor / 100 if factor and consistent else None)


def _retries(proxy: Proxy) -> Retries:
    attempts = proxy.retries.value if proxy.retries is not None else _RETRIES
    words = proxy.retry_on.value if proxy.retry_on is not None else ("conn-failure",)
    after = {failure for word in words for failure in _RETRIED.get(word, ("status",))}
    return Retries(attempts, tuple(f for f in _ALL if f in after), elsewhere=proxy.has("redispatch"))


def _timeouts(proxy: Proxy, users: list[Proxy]) -> Timeouts:
    """Those of the section, and of the frontends that lead to it: the longest where they differ."""
    times = proxy.timeouts
    idle = [f.timeouts.http_keep_alive or f.timeouts.http_request or f.timeouts.client for f in users]
    return Timeouts(
        connect_s=_bound_s(times.connect),
        server_s=_bound_s(times.server),
        client_s=max((_bound_s(f.timeouts.client) for f in users), default=inf),
        queue_s=_bound_s(times.queue or times.connect),
        keep_alive_s=max((_bound_s(time) for time in idle), default=inf),
    )


def _bound_s(time: Setting[float] | None) -> float:
    return time.value if time is not None and time.value > 0 else inf


def _cookie(proxy: Proxy) -> str | None:
    if proxy.cookie is None or not any(line.cookie for line in proxy.servers):
        return None
    return proxy.cookie.value.name


def _unknown(proxy: Proxy) -> str:
    for line in proxy.servers:
        if line.template is not None and line.resolvers:
            made = line.template
            slots = f"{made.prefix}{made.first} to {made.prefix}{made.last}"
            return f"DNS says how many of the servers {slots} there are at {line.address.text}"
    return ""


def _targets(proxy: Proxy) -> list[Route]:
    """Where a frontend sends requests, in the order in which it asks."""
    routes = [
        Route(r.target, condition=_words(r.polarity, *r.condition) if r.polarity else "") for r in proxy.use_backends
    ]
    if proxy.default_backend is not None:
        routes.append(Route(proxy.default_backend.target))
    elif proxy.kind == "listen" and proxy.servers:
        routes.append(Route(proxy.name))
    return routes


def _listeners(proxy: Proxy) -> list[Listener]:
    routes = tuple(_targets(proxy))
    limit = proxy.maxconn.value if proxy.maxconn is not None else None
    places = [(bind, at) for bind in proxy.binds for at in bind.addresses]
    return [
        Listener(
            name=proxy.name if n == 0 else f"{proxy.name}-{n + 1}",
            host=at.host or "*",
            port=at.port or 0,
            routes=routes,
            certificate=_certificate(bind),
            connections=limit,
            origin=bind.origin,
        )
        for n, (bind, at) in enumerate(places)
    ]


def _certificate(bind: Bind) -> str | None:
    return bind.certificates[0] if bind.ssl and bind.certificates else None


def _commonest(values: Sequence[T | None]) -> T | None:
    """What most have; None where none has any."""
    counted = Counter(value for value in values if value is not None)
    return counted.most_common(1)[0][0] if counted else None


def _words(*words: str) -> str:
    return " ".join(word for word in words if word)
