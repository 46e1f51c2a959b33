"""Rules on affinity by a hash: how many keys move, hot keys, which key it is, how large the ring gets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil, log
from typing import Any, Final

from levelhead.engines.envoy import picture as envoy
from levelhead.engines.haproxy import picture as haproxy
from levelhead.engines.nginx import picture as nginx
from levelhead.model import Fleet, Hash, Origin
from levelhead.review.base import Config, Rule, Trouble
from levelhead.review.groups import of_envoy, of_fleet, of_haproxy, of_nginx, percent

_HASHES: Final = frozenset({"source", "uri", "url_param", "hdr", "hash", "rdp-cookie"})
_SOURCES: Final = frozenset({"$remote_addr", "$binary_remote_addr"})
_IP_HASH: Final = "ip_hash"  # keeps its places for servers that are marked down
_MOST_POINTS: Final = 1_000_000
_NGINX_POINTS: Final = 160  # per unit of weight
_NGINX_POINT_BYTES: Final = 16  # as measured: 3.2 million points are 51 MB, 9.6 million 154 MB
_ENVOY_POINT_BYTES: Final = 24  # as measured: 4 million points take 102 MB


@dataclass(frozen=True, slots=True)
class Hashing:
    """How one pool hashes: `on` is source or anything else, `key` as written, `servers` how many share the keys.

    `long` says that its connections are: it is balanced per connection. `adapts` that the engine makes the whole
    table anew when a server fails, not only when the list of servers changes.
    """

    pool: str
    title: str
    on: str
    key: str
    consistent: bool
    bounded: bool
    servers: int
    long: bool
    adapts: bool
    origin: Origin


def _of_haproxy(reading: haproxy.Reading) -> Iterator[Hashing]:
    for group in of_haproxy(reading):
        proxy = group.of
        if proxy.balance is None or proxy.algorithm not in _HASHES:
            continue
        balance = proxy.balance.value
        key = " ".join((balance.argument or balance.algorithm, *balance.words))
        source = balance.algorithm == "source" or (balance.algorithm == "hash" and key.split()[0] == "src")
        factor = proxy.hash_balance_factor
        yield Hashing(
            pool=proxy.name,
            title=proxy.title,
            on="source" if source else balance.algorithm,
            key=key,
            consistent=_is_consistent(proxy),
            bounded=factor is not None and factor.value > 0,
            servers=len(group.active),
            long=proxy.mode is not None and proxy.mode.value == "tcp",
            adapts=True,
            origin=proxy.balance.origin,
        )


def _is_consistent(proxy: haproxy.Proxy) -> bool:
    return proxy.hash_type is not None and proxy.hash_type.value.method == "consistent"


def _of_nginx(reading: nginx.Reading) -> Iterator[Hashing]:
    for group in of_nginx(reading):
        upstream = group.of
        if isinstance(upstream.policy, nginx.IpHash | nginx.Hash):
            ip_hash = isinstance(upstream.policy, nginx.IpHash)
            key = upstream.policy.key.text if isinstance(upstream.policy, nginx.Hash) else _IP_HASH
            yield Hashing(
                pool=group.name,
                title=group.title,
                on="source" if ip_hash or key in _SOURCES else "key",
                key=key,
                consistent=isinstance(upstream.policy, nginx.Hash) and upstream.policy.consistent,
                bounded=False,
                servers=len(group.active),
                long=upstream.module == "stream",
                adapts=False,
                origin=upstream.policy.origin,
            )


def _of_envoy(reading: envoy.Reading) -> Iterator[Hashing]:
    """Clusters that hash; how many endpoints they have may be unknown, and counts as many then."""
    groups = {group.origin: group for group in of_envoy(reading)}
    for cluster in reading.clusters:
        policy = cluster.balancing.policy
        if not isinstance(policy, envoy.RingHash | envoy.Maglev) or cluster.kind.value == "LOGICAL_DNS":
            continue
        group = groups.get(cluster.origin)
        known = group is not None and cluster.kind.value == "STATIC"
        sides = [s for listener in reading.listeners for s in listener.sides]
        tcp = [s for s in sides if isinstance(s, envoy.TcpSide) and any(w.cluster == cluster.name for w in s.clusters)]
        by = _hashed_by(reading, cluster.name)
        yield Hashing(
            pool=cluster.name,
            title=f"cluster {cluster.name}",
            on="source" if by and all(_is_source(h) for h in by) else "key",
            key=", ".join(h.name or h.kind for h in by),
            consistent=True,
            bounded=bool(policy.load_factor.value),
            servers=len(group.active) if known and group else 1_000,
            long=bool(tcp),
            adapts=True,
            origin=policy.origin,
        )


def _is_source(hashed: envoy.HashOn) -> bool:
    return hashed.kind in ("connection_properties", "source_ip")


def _hashed_by(reading: envoy.Reading, cluster: str) -> tuple[envoy.HashOn, ...]:
    """What requests for this cluster are hashed by, of all its routes."""
    routes = [r for r in _routes(reading) if any(w.cluster == cluster for w in r.clusters)]
    sides = [s for listener in reading.listeners for s in listener.sides if isinstance(s, envoy.TcpSide)]
    tcp = [s for s in sides if any(w.cluster == cluster for w in s.clusters)]
    return (*(h for route in routes for h in route.hash_on), *(h for side in tcp for h in side.hash_on))


def _routes(reading: envoy.Reading) -> Iterator[envoy.Route]:
    sides = [s for listener in reading.listeners for s in listener.sides if isinstance(s, envoy.HttpSide)]
    tables = [s.routes for s in sides if not isinstance(s.routes, envoy.Unknown)]
    for table in dict.fromkeys((*tables, *reading.route_tables)):
        for host in table.hosts:
            yield from host.routes


def _of_fleet(fleet: Fleet) -> Iterator[Hashing]:
    for group in of_fleet(fleet):
        policy = group.of.policy
        if isinstance(policy, Hash):
            yield Hashing(
                group.name, group.title, policy.on, policy.name or policy.on, policy.consistent,
                policy.bounded_load is not None, len(group.active), False, True, group.origin,
            )  # fmt: skip


def _not_consistent(hashings: Iterable[Hashing]) -> Iterator[Trouble]:
    """LH007. With two servers every way moves the half that it must."""
    for h in hashings:
        if not h.consistent and h.servers > 2 and h.key != _IP_HASH:
            moved, least = percent(1 - 1 / h.servers), percent(1 / h.servers)
            event = "losing one" if h.adapts else "taking one out of the list"
            said = f"{event} of the {h.servers} servers of {h.title} moves about {moved} of the keys instead of {least}"
            yield Trouble(h.origin, said, h.pool)


def _unbounded(hashings: Iterable[Hashing]) -> Iterator[Trouble]:
    """LH008."""
    for h in hashings:
        if h.consistent and not h.bounded and h.servers > 1:
            counted = "its servers" if h.servers >= 1_000 else f"the {h.servers} servers"
            said = f"one hot key can overload one of {counted} of {h.title}: nothing bounds what a key brings there"
            yield Trouble(h.origin, said, h.pool)


def _few_clients(config: Config[Any], hashings: Iterable[Hashing]) -> Iterator[Trouble]:
    """LH100. Clients fall on servers as balls on boxes: the fullest of m gets k/m + sqrt(2 k/m ln m) of them."""
    for h in hashings:
        clients = config.facts.clients
        if h.on != "source" or h.servers < 2:
            continue
        if clients is not None and h.servers < 1_000:
            mean = clients / h.servers
            fullest = (mean + (2 * mean * log(h.servers)) ** 0.5) / mean if mean else 0.0
            if fullest > 1.5:
                fair = min(fullest, float(h.servers))
                said = f"{clients:g} clients cannot fill the {h.servers} servers of {h.title} evenly: the fullest is"
                yield Trouble(h.origin, f"{said} likely to get about {fair:.1f} times its part", h.pool)
        elif clients is None and h.long:
            said = f"{h.title} takes long connections and hashes the source address: all connections of one client"
            yield Trouble(h.origin, f"{said}, or of all behind one address, are on one server", h.pool)


def _ineffective_bound(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    """LH009: only a consistent hash knows a factor. One from a defaults section is judged where a pool hashes."""
    for proxy in config.reading.pools():
        factor = proxy.hash_balance_factor
        if proxy.disabled or factor is None or not factor.value:
            continue
        hashes = proxy.algorithm in _HASHES
        if hashes and _is_consistent(proxy):
            continue
        if hashes:
            why = "the hash-type is map-based"
        elif factor.defaults is None:
            why = f"balance {proxy.algorithm} does not hash"
        else:
            continue
        said = f"hash-balance-factor {factor.value} of {proxy.title} is ignored: {why}"
        yield Trouble(factor.origin, said, proxy.name)


def _ip_hash(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    """LH011."""
    for group in config.view(of_nginx):
        if isinstance(group.of.policy, nginx.IpHash) and len(group.active) > 1:
            said = (
                f"all clients of one IPv4 /24 share one of the {len(group.active)} servers of {group.title}:"
                " ip_hash looks at the first three numbers only"
            )
            yield Trouble(group.of.policy.origin, said, group.name)


def _nginx_ring(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    """LH086: nginx places 160 points for every unit of weight."""
    for upstream in config.reading.upstreams:
        if isinstance(upstream.policy, nginx.Hash) and upstream.policy.consistent:
            points = _NGINX_POINTS * sum(s.weight.value for s in upstream.servers if not s.backup)
            if points > _MOST_POINTS:
                weights = f"160 points for each of {points // _NGINX_POINTS} units of weight"
                said = f"the ring of upstream {upstream.name} {_size(points, _NGINX_POINT_BYTES)}: {weights}"
                yield Trouble(upstream.policy.origin, said, upstream.name)


def _envoy_ring(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    """LH086: Envoy makes its ring as large as the smallest weight needs, between its two bounds."""
    for cluster in config.reading.clusters:
        policy = cluster.balancing.policy
        if not isinstance(policy, envoy.RingHash):
            continue
        weights = [e.weight.value for e in cluster.endpoints if e.weight.value > 0]
        smallest = min(weights) / sum(weights) if weights else 1.0
        wanted = ceil(smallest * policy.least.value) / smallest
        points = int(min(max(wanted, policy.least.value), policy.most.value))
        if points > _MOST_POINTS:
            by_size = not policy.least.is_default and policy.least.value > _MOST_POINTS
            why = f"weights of {min(weights)} to {max(weights)}" if weights else ""
            why = f"minimum_ring_size {policy.least.value}" if by_size else why
            said = f"the ring of cluster {cluster.name} {_size(points, _ENVOY_POINT_BYTES)}: {why}"
            yield Trouble(policy.least.origin if by_size else policy.origin, said, cluster.name)


def _size(points: int, each: int) -> str:
    return f"needs {points:,} points, about {points * each / 1e6:.0f} MB"


# Headers that carry the address of a client which came through another proxy.
_CLIENT_HEADERS: Final = (
    r"x-forwarded-for|cf-connecting-ip|true-client-ip|x-real-ip|fastly-client-ip|x-client-ip|forwarded"
)
_READS_CLIENT: Final = re.compile(rf"\bf?hdr(?:_ip|_cnt)?\(\s*(?:{_CLIENT_HEADERS})\b", re.IGNORECASE)
_FROM_CLIENT: Final = re.compile(r"\$http_(?:x_forwarded_for|cf_connecting_ip|true_client_ip|x_real_ip)\b")
_SETS_SOURCE: Final = frozenset({"set-src", "expect-proxy", "expect-netscaler-cip"})
_PUBLIC_PORTS: Final = frozenset({80, 443})


def _collapse(title: str, by: str, why: str) -> str:
    return f"{title} tells clients apart by {by}: all that come through one proxy go to one server ({why})"


def _haproxy_behind(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    """LH010: balance source or stick on src where the source is another proxy."""
    for proxy in config.reading.pools():
        places = [(proxy.balance.origin, "balance source")] if proxy.balance and proxy.algorithm == "source" else []
        places += [(r.origin, f"stick {r.action} src") for r in proxy.stick_rules if r.arguments[:1] == ("src",)]
        count = len([s for s in proxy.servers if not s.backup])
        if proxy.disabled or not places or count < 2:
            continue
        fronts = [p for p in config.reading.proxies if p.takes_traffic and _leads_to(p, proxy)]
        why = _haproxy_why(config, (*fronts, proxy))
        for origin, by in places if why else ():
            yield Trouble(origin, _collapse(proxy.title, f"their source address ({by})", why), proxy.name)


def _leads_to(front: haproxy.Proxy, pool: haproxy.Proxy) -> bool:
    routes = (*front.use_backends, *((front.default_backend,) if front.default_backend else ()))
    return front is pool or any(r.dynamic or r.target == pool.name for r in routes)


def _haproxy_why(config: Config[haproxy.Reading], sections: tuple[haproxy.Proxy, ...]) -> str:
    """What tells that clients come through a proxy; empty where nothing does, or where their address is restored."""
    binds = [b for p in sections for b in p.binds]
    restored = any(r.action in _SETS_SOURCE or _SETS_SOURCE & set(r.arguments) for p in sections for r in p.rules)
    if config.facts.behind_proxy is False or restored or (binds and all(b.accept_proxy for b in binds)):
        return ""
    if config.facts.behind_proxy:
        return "behind_proxy is declared"
    for section in sections:
        for statement in section.statements:
            if any(_READS_CLIENT.search(w.text) for w in statement.words):
                return f"line {statement.origin.line} reads the client's address from a header"
    hosts = [a for b in binds for a in b.addresses]
    if hosts and all(a.family == "unix" or _is_loopback(a.host) for a in hosts):
        return "it listens for this machine only"
    return ""


def _is_loopback(host: str) -> bool:
    return host.startswith("127.") or host in ("::1", "localhost")


def _nginx_behind(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    """LH010: ip_hash or a hash of $remote_addr where nothing restores the client's address."""
    for hashing in config.view(_of_nginx):
        if hashing.on == "source" and hashing.servers > 1:
            why = _nginx_why(config, hashing.pool)
            if why:
                yield Trouble(hashing.origin, _collapse(hashing.title, "their source address", why), hashing.pool)


def _nginx_why(config: Config[nginx.Reading], pool: str) -> str:
    users = [(s, p) for s in config.reading.sites for p in s.passes if pool in (p.upstream, *p.candidates)]
    if config.facts.behind_proxy is False or any(p.real_ip.trusted for _, p in users):
        return ""
    if config.facts.behind_proxy:
        return "behind_proxy is declared"
    for _, passed in users:
        for header in passed.headers:
            if _FROM_CLIENT.search(header.value.text) or "$proxy_add_x_forwarded_for" in header.value.text:
                return f"line {header.origin.line} passes on the {header.name} that another proxy has begun"
    listens = [listen.at for site, _ in users for listen in site.listens if listen.at is not None]
    if listens and all(at.kind == "unix" or _is_loopback(at.host) for at in listens):
        return "it listens for this machine only"
    ports = sorted({at.port for at in listens if at.port is not None})
    if ports and users[0][0].module == "http" and not _PUBLIC_PORTS & set(ports):
        return f"it listens on port {ports[0]}, where no browser goes by itself"
    return ""


def _envoy_behind(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    """LH010: hash by source address where Envoy believes nobody in front of it about that address."""
    for listener in config.reading.listeners:
        inner = listener.at is not None and _is_loopback(listener.at.host)
        if listener.proxy_protocol or not (config.facts.behind_proxy or (inner and config.facts.behind_proxy is None)):
            continue
        why = "behind_proxy is declared" if config.facts.behind_proxy else "it listens for this machine only"
        for side in listener.sides:
            for hashed, clusters in _source_hashes(side):
                for name in clusters:
                    cluster = config.reading.cluster(name)
                    if cluster and isinstance(cluster.balancing.policy, envoy.RingHash | envoy.Maglev):
                        said = _collapse(f"cluster {name}", "their source address", why)
                        yield Trouble(hashed.origin, said, name)


def _source_hashes(side: envoy.Side) -> Iterator[tuple[envoy.HashOn, tuple[str, ...]]]:
    """Hashes by the address of the connection; without use_remote_address HTTP takes it from X-Forwarded-For."""
    if isinstance(side, envoy.TcpSide):
        for hashed in side.hash_on:
            yield hashed, tuple(w.cluster for w in side.clusters)
    elif isinstance(side, envoy.HttpSide) and side.use_remote_address.value and not side.trusted_hops.value:
        for host in () if isinstance(side.routes, envoy.Unknown) else side.routes.hosts:
            for route in host.routes:
                for hashed in filter(_is_source, route.hash_on):
                    yield hashed, tuple(w.cluster for w in route.clusters)


RULES: Final = (
    Rule(
        "LH007", "hash-not-consistent", "warning", "a hash that moves most keys when a server comes or goes",
        "make the hash consistent",
        haproxy=lambda config: _not_consistent(config.view(_of_haproxy)),
        nginx=lambda config: _not_consistent(config.view(_of_nginx)),
        levelhead=lambda config: _not_consistent(config.view(_of_fleet)),
    ),
    Rule(
        "LH008", "hash-without-bounded-load", "info", "a consistent hash that lets one key overload one server",
        "bound the load, with a hash-balance-factor of 150 for example",
        haproxy=lambda config: _unbounded(config.view(_of_haproxy)),
        envoy=lambda config: _unbounded(config.view(_of_envoy)),
        levelhead=lambda config: _unbounded(config.view(_of_fleet)),
    ),
    Rule(
        "LH009", "bounded-load-ineffective", "error", "a hash-balance-factor that has no effect",
        "add hash-type consistent, or remove the factor",
        haproxy=_ineffective_bound,
    ),
    Rule(
        "LH010", "source-hash-behind-proxy", "warning", "affinity by source address where clients share one",
        "restore the client's address (PROXY protocol, real_ip, set-src), or hash a trusted header or a cookie",
        haproxy=_haproxy_behind, nginx=_nginx_behind, envoy=_envoy_behind,
    ),
    Rule(
        "LH011", "ip-hash-collapses-24", "info", "ip_hash, which takes a whole /24 for one client",
        "use hash $remote_addr consistent",
        nginx=_ip_hash,
    ),
    Rule(
        "LH086", "hash-ring-too-large", "error", "a consistent hash whose ring has more than a million points",
        "scale the weights down, keeping their proportions",
        nginx=_nginx_ring, envoy=_envoy_ring,
    ),
    Rule(
        "LH100", "single-client-affinity", "info", "hashing by source address where few clients have many connections",
        "use leastconn, or another policy that counts connections",
        haproxy=lambda config: _few_clients(config, config.view(_of_haproxy)),
        nginx=lambda config: _few_clients(config, config.view(_of_nginx)),
        envoy=lambda config: _few_clients(config, config.view(_of_envoy)),
        levelhead=lambda config: _few_clients(config, config.view(_of_fleet)),
    ),
)  # fmt: skip
