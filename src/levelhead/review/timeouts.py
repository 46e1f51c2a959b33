"""Rules on timeouts: missing, in the wrong unit, longer than those around them, too long for what they bound."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final

from levelhead.engines.envoy import picture as envoy
from levelhead.engines.haproxy import picture as haproxy
from levelhead.engines.haproxy.preprocess import Statement
from levelhead.engines.nginx import picture as nginx
from levelhead.model import Fleet, Origin
from levelhead.review.base import Config, Rule, Trouble

_SUSPICIOUS_MS: Final = 100
_LONG_CONNECT_S: Final = 5.0
_LONG_SESSION_S: Final = 600.0
_BALANCED_MODES: Final = ("tcp", "http")
_WEBSOCKET: Final = re.compile(r"\bupgrade\b.*websocket|websocket.*\bupgrade\b|/socket\.io|/websocket|/ws\b", re.I)
_WEBSOCKET_NAME: Final = re.compile(r"^wss?($|[-_.\d])|web_?socket|socket[-_.]?io", re.I)


def written(reading: haproxy.Reading, proxy: haproxy.Proxy, *words: str) -> bool:
    """Whether a section or the defaults it builds on have a line that begins with these words, whatever it says."""
    section: haproxy.Proxy | None = proxy
    while section is not None:
        if any(tuple(w.text for w in s.words[: len(words)]) == words for s in section.statements):
            return True
        heir_of = section.heir_of
        section = next((p for p in reading.proxies if p.origin == heir_of), None) if heir_of else None
    return False


def _missing(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    """LH052: nothing bounds how long HAProxy waits. A time that cannot be read here is there all the same."""
    for proxy in config.reading.proxies:
        if proxy.kind == "defaults" or proxy.disabled or (proxy.mode and proxy.mode.value not in _BALANCED_MODES):
            continue
        unbounded = dict(_unbounded(config.reading, proxy))
        if not unbounded:
            continue
        zero = next((s.origin for s in unbounded.values() if s is not None), None)
        names = ", ".join(f"timeout {name}" for name in unbounded)
        whose = "of a client that falls silent" if list(unbounded) == ["client"] else "to a hung server"
        said = f"{names} {'0' if zero else 'not set'}: connections {whose} stay open for ever"
        yield Trouble(zero or proxy.origin, said, proxy.name)


def _unbounded(reading: haproxy.Reading, proxy: haproxy.Proxy) -> Iterator[tuple[str, haproxy.Setting[float] | None]]:
    times = proxy.timeouts
    wanted: list[tuple[str, haproxy.Setting[float] | None]] = []
    if proxy.takes_traffic and proxy.binds:
        wanted.append(("client", times.client))
    if proxy.servers:
        wanted.append(("connect", times.connect))
        # A TCP connection is bounded by the tunnel timeout from the first byte on.
        tunnel = (proxy.mode is None or proxy.mode.value == "tcp") and times.tunnel and times.tunnel.value
        if not tunnel:
            wanted.append(("server", times.server))
    for name, setting in wanted:
        if setting.value == 0 if setting else not written(reading, proxy, "timeout", name):
            yield name, setting


def _suspicious_unit(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    """LH053: a bare number so small that seconds were meant."""
    for statement in _statements(config.reading):
        words = [w.text for w in statement.words]
        if not statement.active or len(words) < 3 or words[0] != "timeout":
            continue
        if words[2].isascii() and words[2].isdigit() and 0 < int(words[2]) < _SUSPICIOUS_MS:
            said = f"timeout {words[1]} {words[2]} means {words[2]} ms: a bare number is in milliseconds"
            fix = f"write {words[2]}s if seconds are meant, {words[2]}ms if not"
            yield Trouble(statement.words[2].origin, said, fix=fix)


def _statements(reading: haproxy.Reading) -> Iterator[Statement]:
    for proxy in reading.proxies:
        yield from proxy.statements
    for other in reading.others:
        yield from other.statements


def _haproxy_inversion(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    """LH054. HAProxy does not count `timeout client` while a request waits, so only who waits before us matters."""
    outer = config.facts.outer_timeout_s
    seen: set[Origin] = set()
    for proxy in config.reading.pools():
        if outer is None or not proxy.servers or proxy.disabled or proxy.mode is None or proxy.mode.value != "http":
            continue
        for name, setting in (("server", proxy.timeouts.server), ("queue", proxy.timeouts.queue)):
            if setting is not None and setting.value > outer and setting.origin not in seen:
                seen.add(setting.origin)
                yield Trouble(setting.origin, _gives_up(outer, f"timeout {name}", setting.value), proxy.name)


def _gives_up(outer_s: float, inner: str, inner_s: float) -> str:
    return (
        f"what waits before this proxy gives up after {outer_s:g} s, and {inner} is {inner_s:g} s: the work goes on"
        " for nobody, and a hung server looks like impatient clients"
    )


def _nginx_inversion(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    """LH054: no time is left for the next server, or for the client, when a hung one is given up.

    Each line is said once, and so is a default that many places share.
    """
    outer = config.facts.outer_timeout_s
    seen: set[tuple[str, Origin]] = set()
    for passed in (p for p in config.reading.passes if p.module == "http"):
        prefix = passed.directive.removesuffix("_pass")
        read, tries = passed.read_timeout_s, passed.next_upstream_timeout_s
        if 0 < tries.value < read.value and "timeout" in passed.next_upstream.value:
            said = (
                f"{prefix}_next_upstream_timeout is {tries.value:g} s and {prefix}_read_timeout {read.value:g} s:"
                " when a hung server is given up, the time for the next one has passed, so it is never tried"
            )
            yield Trouble(tries.origin, said, passed.upstream)
        if outer and read.value > outer and (prefix, read.origin) not in seen:
            seen.add((prefix, read.origin))
            at = passed.origin if read.is_default else read.origin
            yield Trouble(at, _gives_up(outer, f"{prefix}_read_timeout", read.value), passed.upstream)


def routes_of(reading: envoy.Reading) -> Iterator[tuple[envoy.HttpSide | None, envoy.Route]]:
    """Every route with the side of a listener it stands in; None where the table stands by itself."""
    sides = [s for listener in reading.listeners for s in listener.sides if isinstance(s, envoy.HttpSide)]
    tables = [(side, side.routes) for side in sides if isinstance(side.routes, envoy.RouteTable)]
    for side, table in (*tables, *((None, table) for table in reading.route_tables)):
        for host in table.hosts:
            for route in host.routes:
                if route.action in ("cluster", "weighted", "header"):
                    yield side, route


def _pool(route: envoy.Route) -> str:
    return route.clusters[0].cluster if len(route.clusters) == 1 else ""


def _envoy_inversion(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    """LH054: a stream counts as idle, and is cut, before its route's timeout."""
    outer = config.facts.outer_timeout_s
    for side, route in routes_of(config.reading):
        whole, own = route.timeout_s, route.idle_timeout_s
        name, idle = "idle_timeout", own.value
        if idle is None and side is not None:
            name, idle = "stream_idle_timeout", side.stream_idle_timeout_s.value
        if idle and whole.value > idle:
            usual = " (Envoy's own)" if own.value is None and side and side.stream_idle_timeout_s.is_default else ""
            said = (
                f"timeout {whole.value:g} s is never reached: a request whose answer takes longer than"
                f" {name} {idle:g} s{usual} is cut then"
            )
            yield Trouble(route.origin if whole.is_default else whole.origin, said, _pool(route))
        if outer and whole.value > outer:
            at = route.origin if whole.is_default else whole.origin
            yield Trouble(at, _gives_up(outer, "the route's timeout", whole.value), _pool(route))


def _levelhead_inversion(config: Config[Fleet]) -> Iterator[Trouble]:
    outer = config.facts.outer_timeout_s
    for pool in config.reading.pools:
        for name, bound_s in (("server_s", pool.timeouts.server_s), ("queue_s", pool.timeouts.queue_s)):
            if outer and bound_s > outer:
                yield Trouble(pool.origin, _gives_up(outer, f"{name} of {pool.name}", bound_s), pool.name)


def _connect_said(seconds: float, tries: int) -> str:
    said = f"a server that is switched off or cut off costs a request {seconds:g} s per try"
    return f"{said}, {seconds * tries:g} s with {tries} tries" if tries > 1 else said


def _haproxy_connect(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    """LH059; said once for pools that inherit the same line."""
    seen: set[Origin] = set()
    for proxy in config.reading.pools():
        connect = proxy.timeouts.connect
        if connect is None or connect.value <= _LONG_CONNECT_S or connect.origin in seen or not proxy.servers:
            continue
        seen.add(connect.origin)
        retries = 3 if proxy.retries is None else proxy.retries.value
        yield Trouble(connect.origin, f"timeout connect: {_connect_said(connect.value, retries + 1)}", proxy.name)


def _nginx_connect(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    """LH059: one that is written too long; or nginx's own, where a group has other machines to go on to."""
    seen: set[Origin] = set()
    for passed in config.reading.passes:
        connect, name = passed.connect_timeout_s, f"{passed.directive.removesuffix('_pass')}_connect_timeout"
        if connect.value <= _LONG_CONNECT_S or passed.module != "http":
            continue
        group = config.reading.upstream(passed.module, passed.upstream)
        at = connect.origin
        if connect.is_default:
            if group is None or group.implicit or sum(_is_elsewhere(s) for s in group.servers) < 2:
                continue
            at, name = group.origin, f"{name} is not set and stands at 60 s"
        if at not in seen:
            seen.add(at)
            yield Trouble(at, f"{name}: {_connect_said(connect.value, 1)}", passed.upstream)


def _is_elsewhere(server: nginx.Server) -> bool:
    """Whether it is certain that this server is another machine: by its address, as a name may be this one's."""
    if server.at is None or server.at.kind != "ip" or server.down:
        return False
    try:
        return not ip_address(server.at.host.strip("[]")).is_loopback
    except ValueError:
        return False


def _envoy_connect(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    for cluster in config.reading.clusters:
        connect = cluster.connect_timeout_s
        if connect.value > _LONG_CONNECT_S:
            yield Trouble(connect.origin, f"connect_timeout: {_connect_said(connect.value, 1)}", cluster.name)


def _levelhead_connect(config: Config[Fleet]) -> Iterator[Trouble]:
    for pool in config.reading.pools:
        connect, tries = pool.timeouts.connect_s, pool.retries.attempts + 1
        if connect > _LONG_CONNECT_S:
            yield Trouble(pool.origin, f"connect_s of {pool.name}: {_connect_said(connect, tries)}", pool.name)


def _haproxy_tunnel(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    """LH060: a pool that WebSockets go to, and only the timeouts of requests to bound them."""
    towards = _websocket_pools(config.reading)
    for proxy in config.reading.pools():
        why = towards.get(proxy.name) or ("its name says so" if _WEBSOCKET_NAME.search(proxy.name) else "")
        times = proxy.timeouts
        if not why or times.tunnel is not None or proxy.disabled or not proxy.servers:
            continue
        bounds = [s.value for s in (times.client, times.server) if s is not None and s.value > 0]
        if bounds and min(bounds) < _LONG_SESSION_S and not written(config.reading, proxy, "timeout", "tunnel"):
            said = f"WebSockets go to {proxy.name} ({why}): one that is silent for {min(bounds):g} s is cut"
            yield Trouble(proxy.origin, said, proxy.name)


def _websocket_pools(reading: haproxy.Reading) -> dict[str, str]:
    """Pools by name, with why WebSockets go there: the conditions that lead to them ask for an upgrade."""
    found: dict[str, str] = {}
    for proxy in reading.proxies:
        asking = {acl.action for acl in proxy.acls if _WEBSOCKET.search(" ".join(acl.arguments))}
        for route in proxy.use_backends:
            condition = " ".join(route.condition)
            if route.polarity == "if" and (asking & set(route.condition) or _WEBSOCKET.search(condition)):
                found.setdefault(route.target, f"line {route.origin.line}")
    return found


def _nginx_tunnel(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    """LH060: a request may change to a WebSocket, and the read timeout is nginx's own; once for each such header."""
    seen: set[Origin] = set()
    for passed in config.reading.passes:
        upgrade = next((h for h in passed.headers if h.name.lower() == "upgrade" and h.value.text), None)
        asks = passed.connection.value.lower()
        passes_on = upgrade is not None and ("upgrade" in asks or "$" in asks)
        if upgrade is None or not passes_on or not passed.read_timeout_s.is_default or upgrade.origin in seen:
            continue
        seen.add(upgrade.origin)
        said = (
            "WebSockets pass here and proxy_read_timeout is not set: one whose server is silent for"
            f" {passed.read_timeout_s.value:g} s is cut"
        )
        yield Trouble(upgrade.origin, said, passed.upstream)


def _route_unbounded(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    """LH061: no timeout, and none of the other bounds either. The side of a route table by itself is unknown."""
    for side, route in routes_of(config.reading):
        if route.timeout_s.value != 0:
            continue
        idle = route.idle_timeout_s.value
        if idle is None:
            idle = side.stream_idle_timeout_s.value if side is not None else 1.0
        clusters = [c for w in route.clusters if (c := config.reading.cluster(w.cluster)) is not None]
        longest = [route.longest_stream_s.value, *(c.protocol.longest_stream_s.value for c in clusters)]
        longest += [side.longest_stream_s.value] if side is not None else []
        if not idle and not any(longest):
            said = "timeout 0s, no idle timeout and no max_stream_duration: a request whose server hangs never ends"
            yield Trouble(route.timeout_s.origin, said, _pool(route))


RULES: Final = (
    Rule(
        code="LH052",
        name="missing-timeout",
        severity="error",
        summary="a section without the timeouts that end a connection to somebody who hangs",
        fix="set timeout connect, client and server, best in defaults",
        haproxy=_missing,
    ),
    Rule(
        code="LH053",
        name="timeout-unit-suspicious",
        severity="error",
        summary="a timeout of some milliseconds that looks like seconds",
        fix="write the unit",
        haproxy=_suspicious_unit,
    ),
    Rule(
        code="LH054",
        name="timeout-inversion",
        severity="warning",
        summary="an inner timeout that is longer than the one around it",
        fix="make each timeout shorter than the one outside it, from the client inwards",
        haproxy=_haproxy_inversion,
        nginx=_nginx_inversion,
        envoy=_envoy_inversion,
        levelhead=_levelhead_inversion,
    ),
    Rule(
        code="LH059",
        name="connect-timeout-long",
        severity="warning",
        summary="a connect timeout that makes a dead server cost seconds",
        fix="1 to 3 s are enough within one site",
        haproxy=_haproxy_connect,
        nginx=_nginx_connect,
        envoy=_envoy_connect,
        levelhead=_levelhead_connect,
    ),
    Rule(
        code="LH060",
        name="no-tunnel-timeout",
        severity="warning",
        summary="WebSockets that are bounded by the timeouts of ordinary requests",
        fix="set timeout tunnel (HAProxy) or a longer proxy_read_timeout for that location (nginx), an hour is usual",
        haproxy=_haproxy_tunnel,
        nginx=_nginx_tunnel,
    ),
    Rule(
        code="LH061",
        name="route-timeout-disabled",
        severity="warning",
        summary="a route on which nothing ends a request that hangs",
        fix="set max_stream_duration, or an idle_timeout above the longest silence that is in order",
        envoy=_route_unbounded,
    ),
)
