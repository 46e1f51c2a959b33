"""Rules about connections to servers and from clients: kept or not, for how long, and until when."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from levelhead.engines.envoy import picture as envoy
from levelhead.engines.haproxy import picture as haproxy
from levelhead.engines.haproxy.values import Bad, duration_s
from levelhead.engines.nginx import picture as nginx
from levelhead.engines.text import Value
from levelhead.model import Origin
from levelhead.review.base import Config, Rule, Trouble
from levelhead.review.sections import is_http
from levelhead.review.wording import counted, lasting

# From here on nginx keeps connections unless told not to, in whatever order the lines stand.
_KEEPS_BY_DEFAULT: Final = (1, 29, 7)
# Linux: ports 32768 to 60999, each held for a minute after its connection has ended.
_PORTS: Final = 28_232
_PORT_HELD_S: Final = 60
_PURGE_DELAY_S: Final = 5.0
_NEVER_REACHED: Final = 1_000_000
_DAY_S: Final = 86_400
_HAS_STREAM_LIMIT: Final = (2, 8)
_STREAM_LIMIT: Final = "tune.h2.fe.max-total-streams"


def _groups(config: Config[nginx.Reading]) -> Iterator[tuple[nginx.Upstream, tuple[nginx.Pass, ...]]]:
    """The upstream blocks of http, each with what passes requests to it."""
    for upstream in config.reading.upstreams:
        if upstream.module == "http" and not upstream.implicit:
            name = upstream.name.lower()
            yield upstream, tuple(p for p in config.reading.passes if p.module == "http" and _goes_to(p, name))


def _goes_to(passed: nginx.Pass, name: str) -> bool:
    return name in (passed.upstream.lower(), *(c.lower() for c in passed.candidates))


def _no_keepalive(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    for upstream, passes in _groups(config):
        kept = upstream.keepalive is not None and upstream.keepalive.connections > 0
        if kept or (passes and not any(p.directive in ("proxy_pass", "grpc_pass") for p in passes)):
            continue
        addresses = len({str(s.at) for s in upstream.servers if s.at is not None and s.at.kind != "unix"})
        bearable = addresses * _PORTS / _PORT_HELD_S
        peak = config.facts.peak(upstream.name)
        if not addresses or (peak is not None and peak < bearable / 2):
            continue
        origin = upstream.keepalive.origin if upstream.keepalive is not None else upstream.origin
        message = (
            f"one connection per request: local ports to {counted(addresses, 'server')}"
            f" run out near {bearable:.0f} requests per second"
        )
        yield Trouble(origin, message, upstream.name)


def _keepalive_ineffective(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    for upstream, passes in _groups(config):
        kept = upstream.keepalive
        if kept is None or not kept.connections:
            continue
        for passed in passes:
            # In a piece of a configuration, what nobody wrote here may be written around it.
            if config.reading.context != "main" and not passed.headers and passed.http_version.is_default:
                continue
            found = _why_closed(passed, config.reading)
            if found is not None:
                origin, why = found
                yield Trouble(origin, f"keepalive {kept.connections} is never used here: {why}", upstream.name)


def _why_closed(passed: nginx.Pass, reading: nginx.Reading) -> tuple[Origin, str] | None:
    """The place that ends the connection after every request, and how; None where it may be kept."""
    if passed.directive == "fastcgi_pass" and not passed.keep_conn.value:
        written = not passed.keep_conn.is_default
        return (passed.keep_conn.origin if written else passed.origin), "fastcgi_keep_conn is off"
    if passed.directive != "proxy_pass" or passed.http_version.value == "2":
        return None
    connection, version = passed.connection, passed.http_version
    asked = connection.value.lower()
    if asked == "close":
        if connection.is_default:
            return passed.origin, f"nginx asks for `Connection: close`, over HTTP/{version.value}"
        return connection.origin, "the request says `Connection: close`"
    # With this header even an HTTP/1.0 server may keep the connection.
    if version.value == "1.0" and asked != "keep-alive" and "$" not in asked:
        return (passed.origin if version.is_default else version.origin), "HTTP/1.0 ends it after every answer"
    return _closed_by_map(connection, reading)


def _closed_by_map(connection: Value[str], reading: nginx.Reading) -> tuple[Origin, str] | None:
    """Where the usual map of $http_upgrade says `close` for a request that asks for no upgrade."""
    name = connection.value.removeprefix("$").strip("{}")
    for mapped in reading.maps:
        if mapped.variable != name or mapped.source != "$http_upgrade" or not connection.value.startswith("$"):
            continue
        plain = next((value for pattern, value in mapped.entries if not pattern.text), mapped.default)
        if plain is not None and plain.text.lower() == "close":
            return plain.origin, f"without an upgrade, {connection.value} is `close`"
    return None


def _idle_nginx(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    bound = config.facts.server_idle_s
    for upstream, _ in _groups(config) if bound is not None else ():
        kept, idle = upstream.keepalive, upstream.keepalive_timeout_s
        if kept is not None and kept.connections and bound is not None and idle.value >= bound:
            origin = idle.origin if not idle.is_default else kept.origin if kept.origin.line else upstream.origin
            yield _kept_too_long(origin, upstream.name, idle.value, bound)


def _idle_envoy(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    bound = config.facts.server_idle_s
    if bound is None:
        return
    sides = [side for listener in config.reading.listeners for side in listener.sides]
    tcp = {target.cluster for side in sides if isinstance(side, envoy.TcpSide) for target in side.clusters}
    for cluster in config.reading.clusters:
        idle = cluster.protocol.idle_timeout_s
        kept_s = idle.value or float("inf")
        if cluster.name not in tcp and kept_s >= bound:
            origin = cluster.origin if idle.is_default else idle.origin
            yield _kept_too_long(origin, cluster.name, kept_s, bound)


def _idle_haproxy(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    bound = config.facts.server_idle_s
    for proxy in config.reading.pools() if bound is not None else ():
        if bound is None or proxy.disabled or not _reuses(proxy):
            continue
        for server in proxy.servers:
            written = server.option("pool-purge-delay")
            read = duration_s(written.values[0]) if written and written.values else _PURGE_DELAY_S
            if not isinstance(read, Bad) and read >= bound and server.pool_max_conn != 0:
                yield _kept_too_long(written.origin if written else server.origin, proxy.name, read, bound)
                break


def _reuses(proxy: haproxy.Proxy) -> bool:
    """Whether connections to its servers wait for further requests."""
    closes = proxy.has("httpclose") or proxy.has("http-server-close")
    never = proxy.http_reuse is not None and proxy.http_reuse.value == "never"
    return is_http(proxy) and not closes and not never


def _kept_too_long(origin: Origin, pool: str, kept_s: float, bound_s: float) -> Trouble:
    kept = "for ever" if kept_s == float("inf") else f"for {lasting(kept_s)}"
    message = f"idle connections are kept {kept}, the servers close theirs after {lasting(bound_s)}"
    wanted = bound_s - 2 if bound_s > 4 else bound_s / 2
    return Trouble(
        origin, f"{message}: a request on one that just closed gets a 502", pool, fix=f"keep them {wanted:g} s at most"
    )


def _order(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    if config.version >= _KEEPS_BY_DEFAULT:
        return
    for upstream, _ in _groups(config):
        kept = upstream.keepalive
        if kept is not None and kept.before_policy:
            message = f"the policy stands below keepalive {kept.connections}, which undoes it"
            yield Trouble(upstream.policy.origin, message, upstream.name)


def _ageless_haproxy(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    limited = any(words[0].text == _STREAM_LIMIT for words in config.reading.globals.settings)
    if limited or config.version < _HAS_STREAM_LIMIT or config.facts.balancers == 1:
        return
    for proxy in config.reading.proxies:
        spoken = [option for bind in proxy.binds for option in bind.options if _is_h2(option)]
        if spoken and is_http(proxy) and not proxy.disabled:
            yield _pinned(spoken[0].origin, f"set {_STREAM_LIMIT} in the global section, for example to 10000")
            return


def _is_h2(option: haproxy.ServerOption) -> bool:
    return option.name in ("alpn", "proto") and any("h2" in value.split(",") for value in option.values)


def _ageless_nginx(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    if config.facts.balancers == 1:
        return
    for site in config.reading.sites:
        requests, age = site.keepalive_requests, site.keepalive_time_s
        if site.http2.value and requests.value >= _NEVER_REACHED and age.value > _DAY_S:
            yield _pinned(age.origin, "let a connection live for an hour: `keepalive_time 1h`")


def _ageless_envoy(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    if config.facts.balancers == 1:
        return
    for listener in config.reading.listeners:
        for side in listener.sides:
            if not isinstance(side, envoy.HttpSide) or side.longest_connection_s.value or side.max_requests.value:
                continue
            if _speaks_h2(side, config.reading):
                fix = "set common_http_protocol_options.max_connection_duration to 3600s; Envoy drains before it closes"
                yield _pinned(side.origin, fix)


def _speaks_h2(side: envoy.HttpSide, reading: envoy.Reading) -> bool:
    """Whether these clients speak gRPC, as far as the filters and the clusters behind them tell."""
    if any("grpc" in name for name in side.filters):
        return True
    if isinstance(side.routes, envoy.Unknown):
        return False
    names = {target.cluster for host in side.routes.hosts for route in host.routes for target in route.clusters}
    return any(c.protocol.http == "http2" for c in reading.clusters if c.name in names)


def _pinned(origin: Origin, fix: str) -> Trouble:
    message = "nothing ends an HTTP/2 connection that is in use: its client stays with this instance for ever"
    return Trouble(origin, f"{message}, also after more are added", fix=fix)


RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "LH062", "no-upstream-keepalive", "warning",
        "an upstream to which every request opens a connection of its own",
        "add `keepalive 32` to the upstream, and `proxy_http_version 1.1` with an empty Connection header where it is"
        " used",
        nginx=_no_keepalive,
    ),
    Rule(
        "LH063", "keepalive-ineffective", "error",
        "a keepalive that is configured and never used",
        "set `proxy_http_version 1.1` and `proxy_set_header Connection \"\"`; for FastCGI, `fastcgi_keep_conn on`",
        nginx=_keepalive_ineffective,
    ),
    Rule(
        "LH064", "idle-longer-than-server", "warning",
        "idle connections that the proxy keeps longer than the server does",
        "close idle connections two seconds before the servers do",
        haproxy=_idle_haproxy, nginx=_idle_nginx, envoy=_idle_envoy,
    ),
    Rule(
        "LH065", "balancer-after-keepalive", "warning",
        "a balancing policy below keepalive, which it undoes",
        "move the policy above `keepalive`",
        nginx=_order,
    ),
    Rule(
        "LH068", "no-max-connection-age", "info",
        "HTTP/2 or gRPC clients whose connections are never ended",
        "end connections after about an hour, so that clients spread again",
        haproxy=_ageless_haproxy, nginx=_ageless_nginx, envoy=_ageless_envoy,
    ),
)  # fmt: skip
