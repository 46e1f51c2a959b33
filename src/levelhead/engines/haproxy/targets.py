"""Names that point at other things (pools, servers, tables, peers, resolvers, caches): what is missing or twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from levelhead.engines.haproxy.keywords import likely
from levelhead.engines.haproxy.picture import Opaque, Proxy, Route, ServerLine
from levelhead.engines.haproxy.servers import Wrong
from levelhead.engines.haproxy.values import Bad, address, shown
from levelhead.model import Origin

Servers = dict[str, dict[str, ServerLine]]

_BUILT_IN_RESOLVERS: Final = frozenset({"default"})  # made by HAProxy from /etc/resolv.conf since 2.6


def resolved(proxies: Sequence[Proxy], others: Sequence[Opaque], lax_tls: bool, wrong: Wrong) -> tuple[Proxy, ...]:
    """The proxies with routes that know whether their target exists.

    `lax_tls`: the global section says that certificates of servers need not be verified.
    """
    _duplicates(proxies, others, wrong)
    pools = {p.name: p for p in proxies if p.has_servers}
    servers = {p.name: {s.name: s for s in p.servers} for p in pools.values()}
    looping = _looping(proxies, servers)
    tables = {p.name for p in proxies if p.stick_table is not None} | _peer_tables(others)
    named = {
        kind: {o.name for o in others if o.kind == kind}
        for kind in ("peers", "resolvers", "cache", "fcgi-app", "mailers")
    }
    done = []
    for proxy in proxies:
        if proxy.kind != "defaults" and not proxy.disabled:
            _check_servers(proxy, servers, looping, named["resolvers"] | _BUILT_IN_RESOLVERS, wrong)
            _check_ports(proxy, wrong)
            _check_certificates(proxy, lax_tls, wrong)
            _check_tables(proxy, tables, named["peers"], wrong)
            _check_caches(proxy, named["cache"], wrong)
        done.append(_with_routes(proxy, pools, wrong))
    return tuple(done)


def _duplicates(proxies: Sequence[Proxy], others: Sequence[Opaque], wrong: Wrong) -> None:
    fronts: dict[str, Proxy] = {}
    backs: dict[str, Proxy] = {}
    for proxy in proxies:
        if proxy.kind == "defaults":
            continue
        for side, has in ((fronts, proxy.takes_traffic), (backs, proxy.has_servers)):
            first = side.get(proxy.name) if has else None
            if first is not None:
                wrong.error(proxy.origin, f"{proxy.title} has the same name as {first.title} at {first.origin}")
                break
        if proxy.takes_traffic:
            fronts.setdefault(proxy.name, proxy)
        if proxy.has_servers:
            backs.setdefault(proxy.name, proxy)
        _twice(proxy.servers, wrong)
    seen: dict[tuple[str, str], Origin] = {}
    for other in others:
        key = (other.kind, other.name)
        if other.name and key in seen and other.kind not in ("http-errors", "peers"):
            wrong.error(other.origin, f"{other.kind} {other.name} is already at {seen[key]}")
        seen.setdefault(key, other.origin)


def _twice(found: Iterable[ServerLine], wrong: Wrong) -> None:
    names: dict[str, Origin] = {}
    numbers: dict[int, ServerLine] = {}
    for server in found:
        if server.name in names:
            wrong.error(server.origin, f"another server {server.name} is at {names[server.name]}; names must differ")
        other = numbers.get(server.number)
        if other is not None and server.option("id") is not None:
            wrong.error(server.origin, f"server {server.name} has the id {server.number} of server {other.name}")
        names.setdefault(server.name, server.origin)
        numbers.setdefault(server.number, server)


def _peer_tables(others: Sequence[Opaque]) -> set[str]:
    return {
        f"{o.name}/{s.words[1].text}"
        for o in others if o.kind == "peers"
        for s in o.statements if s.active and s.keyword == "table" and len(s.words) > 1
    }  # fmt: skip


def _with_routes(proxy: Proxy, pools: dict[str, Proxy], wrong: Wrong) -> Proxy:
    if proxy.kind == "defaults" or not (proxy.default_backend or proxy.use_backends or proxy.use_servers):
        return proxy

    def pool_route(route: Route, what: str) -> Route:
        if route.dynamic:
            return route
        if route.target not in pools:
            wrong.error(
                route.origin,
                f"{proxy.title}: there is no backend {shown(route.target)} for {what}{likely(route.target, pools)}",
            )
        return replace(route, exists=route.target in pools)

    def server_route(route: Route) -> Route:
        if route.dynamic:
            return route
        there = route.target in names
        if not there:
            near = likely(route.target, [s.name for s in proxy.servers])
            wrong.error(route.origin, f"{proxy.title}: there is no server {shown(route.target)} for use-server{near}")
        return replace(route, exists=there)

    if proxy.disabled:
        return proxy
    names = {server.name for server in proxy.servers}
    last = proxy.default_backend
    return replace(
        proxy,
        use_backends=tuple(pool_route(r, "use_backend") for r in proxy.use_backends),
        default_backend=pool_route(last, "default_backend") if last else None,
        use_servers=tuple(server_route(r) for r in proxy.use_servers),
    )


def _check_servers(proxy: Proxy, servers: Servers, looping: set[Origin], resolvers: set[str], wrong: Wrong) -> None:
    for server in proxy.servers:
        if server.resolvers and server.resolvers not in resolvers and server.address.family == "name":
            near = likely(server.resolvers, resolvers)
            wrong.error(
                server.origin, f"server {server.name}: there is no resolvers section {shown(server.resolvers)}{near}"
            )
        if not server.track:
            continue
        tracked = _chased(proxy, server, servers)
        if tracked is None:
            wrong.error(server.origin, f"server {server.name} tracks {shown(server.track)}, which is not there")
        elif server.origin in looping:
            wrong.error(server.origin, f"server {server.name} tracks {shown(server.track)}, and so at last itself")
        elif not (tracked.check.enabled or tracked.agent.enabled or tracked.track):
            wrong.error(server.origin, f"server {server.name} tracks {shown(server.track)}, which has no check")


def _chased(proxy: Proxy, server: ServerLine, servers: Servers) -> ServerLine | None:
    """The server that this one tracks."""
    pool, slash, name = server.track.rpartition("/")
    return servers.get(pool if slash else proxy.name, {}).get(name)


def _looping(proxies: Sequence[Proxy], servers: Servers) -> set[Origin]:
    """Where the servers stand that track each other in a circle. Each server tracks one other: one pass finds them."""
    following: dict[tuple[str, str], tuple[str, str]] = {}
    for proxy in proxies:
        for server in proxy.servers if proxy.has_servers else ():
            if server.track:
                pool, slash, name = server.track.rpartition("/")
                following[proxy.name, server.name] = (pool if slash else proxy.name, name)
    done: set[tuple[str, str]] = set()
    found: set[Origin] = set()
    for start in following:
        path: dict[tuple[str, str], None] = {}
        here = start
        while here in following and here not in done and here not in path:
            path[here] = None
            here = following[here]
        if here in path:
            circle = list(path)[list(path).index(here) :]
            found |= {servers[pool][name].origin for pool, name in circle if name in servers.get(pool, {})}
        done |= path.keys()
    return found


def _check_ports(proxy: Proxy, wrong: Wrong) -> None:
    """A check over IP needs a port: of the server, of the check, or of the first step."""
    steps = proxy.checks.rules
    if steps and steps[0].action == "connect" and "port" in steps[0].arguments:
        return
    for server in proxy.servers:
        check = server.check
        if not check.enabled or check.port or check.host_port or (server.port and not server.port_offset):
            continue
        ip = server.address.family in ("ip4", "ip6") and server.address.host not in ("0.0.0.0", "::")
        if (check.host and _is_ip(check.host)) or (not check.host and ip):
            wrong.error(server.origin, f"server {server.name} is checked, but neither it nor its check has a port")


def _is_ip(host: str) -> bool:
    where = address(host)
    return not isinstance(where, Bad) and where.family in ("ip4", "ip6") and host not in ("0.0.0.0", "::")


def _check_certificates(proxy: Proxy, lax: bool, wrong: Wrong) -> None:
    for server in proxy.servers:
        if not (server.ssl or server.check.ssl) or server.verify == "none" or (lax and not server.verify):
            continue
        if server.option("ca-file") is None:
            what = f"server {server.name}: certificates are verified, but there is no ca-file; HAProxy refuses that"
            wrong.error(server.origin, what)


def _check_tables(proxy: Proxy, tables: set[str], peers: set[str], wrong: Wrong) -> None:
    table = proxy.stick_table
    if table is not None and table.peers and table.peers not in peers and "$" not in table.peers:
        wrong.error(
            table.origin, f"{proxy.title}: there is no peers section {shown(table.peers)}{likely(table.peers, peers)}"
        )
    for rule in (*proxy.stick_rules, *proxy.rules):
        if "table" not in rule.arguments[:-1] or not (rule.family == "stick" or rule.action.startswith("track-sc")):
            continue
        name = rule.arguments[rule.arguments.index("table") + 1]
        if name not in tables and "$" not in name:
            wrong.error(rule.origin, f"{proxy.title}: there is no stick table {shown(name)}{likely(name, tables)}")


def _check_caches(proxy: Proxy, caches: set[str], wrong: Wrong) -> None:
    for rule in proxy.rules:
        if rule.action in ("cache-use", "cache-store") and rule.arguments:
            name = rule.arguments[0]
            if name not in caches and "$" not in name:
                wrong.error(rule.origin, f"{proxy.title}: there is no cache {shown(name)}{likely(name, caches)}")
