"""Rules on how the next server is chosen: least load, first, per connection, per worker, by a key that may lack."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

from levelhead import nodes
from levelhead.engines.envoy import fields
from levelhead.engines.envoy import picture as envoy
from levelhead.engines.haproxy import picture as haproxy
from levelhead.engines.nginx import picture as nginx
from levelhead.model import Fleet, LeastRequest, Pool, RandomPick
from levelhead.review.base import Config, Rule, Trouble
from levelhead.review.groups import Group, of_envoy, of_fleet, of_haproxy, of_nginx, over

# What one of four servers drew that failed in a millisecond where the others took 50: HAProxy, nginx, Envoy.
_ALL: Final = {"haproxy": 74, "nginx": 76, "envoy": 41}
_TWO: Final = {"haproxy": 45, "nginx": 47, "envoy": 41}


def _attracts(group: Group[Any], policy: str, drew: int, lacking: str) -> str:
    return (
        f"a server of {group.title} that fails fast will attract traffic: {policy} takes it for idle"
        f" (measured: {drew}% to 1 of 4), and {lacking}"
    )


def _haproxy_least(config: Config[haproxy.Reading], group: Group[haproxy.Proxy]) -> Iterator[Trouble]:
    """LH006: observe layer7 works only beside a check, and only where HAProxy speaks HTTP."""
    proxy = group.of
    if proxy.balance is None or len(group.active) < 2 or not _speaks_http(proxy):
        return
    two = proxy.algorithm == "random" and proxy.balance.value.argument != "1"
    if proxy.algorithm != "leastconn" and not two:
        return
    blind = [s for s in proxy.servers if not s.backup and not _watched(s)]
    if blind:
        lacking = f"nothing looks at the answers of {blind[0].name} (no observe layer7 beside a check)"
        if blind[0].observe == "layer7" and blind[0].check.enabled:
            lacking = f"errors of {blind[0].name} only make its check look sooner (on-error fastinter)"
        said = _attracts(group, f"balance {proxy.algorithm}", (_TWO if two else _ALL)["haproxy"], lacking)
        yield Trouble(proxy.balance.origin, said, group.name)


def _watched(server: haproxy.ServerLine) -> bool:
    return server.observe == "layer7" and server.check.enabled and server.on_error != "fastinter"


def _speaks_http(proxy: haproxy.Proxy) -> bool:
    return proxy.mode is not None and proxy.mode.value == "http"


def _nginx_least(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    """LH006: an answer of 5xx counts as a failure only where proxy_next_upstream lists it."""
    users: dict[str, list[nginx.Pass]] = defaultdict(list)
    for passed in config.reading.passes:
        for name in {passed.upstream.lower(), *(c.lower() for c in passed.candidates)}:
            users[name].append(passed)
    for group in config.view(of_nginx):
        yield from _nginx_least_of(group, users[group.name.lower()])


def _nginx_least_of(group: Group[nginx.Upstream], passes: list[nginx.Pass]) -> Iterator[Trouble]:
    upstream = group.of
    policy = upstream.policy
    match policy:
        case nginx.LeastConn():
            words, drew = "least_conn", _ALL["nginx"]
        case nginx.LeastTime():
            words, drew = "least_time", _ALL["nginx"]
        case nginx.Random(two=True):
            words, drew = "random two", _TWO["nginx"]
        case _:
            return
    if upstream.module == "stream" or len(group.active) < 2 or not passes:
        return
    unseen = [p for p in passes if not any(word.startswith("http_5") for word in p.next_upstream.value)]
    counted = any(s.max_fails.value for s in upstream.servers)
    if unseen or not counted:
        lacking = "max_fails=0 lets nothing take it out"
        if unseen:
            lacking = f"the {unseen[0].directive} in line {unseen[0].origin.line} counts no 5xx answer as a failure"
        yield Trouble(policy.origin, _attracts(group, words, drew, lacking), group.name)


def _envoy_least(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    """LH006: ejection by errors may be missing, or never reach one whole endpoint."""
    groups = {g.origin: g for g in config.view(of_envoy)}
    for cluster in config.reading.clusters:
        policy = cluster.balancing.policy
        group = groups.get(cluster.origin, Group(cluster, cluster.name, f"cluster {cluster.name}", (), cluster.origin))
        many = isinstance(cluster.members, envoy.Unknown) or len(group.active) > 1
        if not isinstance(policy, envoy.LeastRequest) or not many or policy.choices.value < 2:
            continue
        static = cluster.kind.value == "STATIC"
        lacking = _no_ejection(cluster.outliers, len(cluster.endpoints) if static else None)
        if lacking:
            said = _attracts(group, "least request", _ALL["envoy"], lacking)
            yield Trouble(policy.origin, said, cluster.name)


def _no_ejection(outliers: envoy.Outliers | None, endpoints: int | None) -> str:
    """Why failing endpoints are not ejected; empty where they are, as far as can be told."""
    if outliers is None:
        return "there is no outlier_detection"
    enforced = (
        outliers.enforcing_5xx, outliers.enforcing_gateway, outliers.enforcing_success_rate,
        outliers.enforcing_failure_percent,
    )  # fmt: skip
    if not any(value.value for value in enforced):
        return "outlier_detection enforces nothing"
    most = outliers.most_ejected_percent.value
    if endpoints is not None and not outliers.always_one.value and endpoints * most < 100:
        return f"outlier_detection may eject {most}% of {endpoints} endpoints, which is none"
    return ""


def _fleet_least(config: Config[Fleet], group: Group[Pool]) -> Iterator[Trouble]:
    """LH006."""
    pool = group.of
    if pool.ejection is not None or len(group.active) < 2:
        return
    lacking = "ejection is off"
    if isinstance(pool.policy, LeastRequest):
        yield Trouble(pool.origin, _attracts(group, "least-request", _ALL["haproxy"], lacking), group.name)
    elif isinstance(pool.policy, RandomPick) and pool.policy.draws > 1:
        said = _attracts(group, f"random of {pool.policy.draws}", _TWO["haproxy"], lacking)
        yield Trouble(pool.origin, said, group.name)


def _first(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    """LH012: balance first fills servers in the order of their ids, each to its maxconn."""
    for proxy in config.reading.pools():
        if proxy.disabled or proxy.algorithm != "first":
            continue
        fit = [s for s in proxy.servers if not s.backup and not s.disabled and s.weight]
        ordered = sorted(fit, key=lambda s: s.number)
        endless = next((s for s in ordered[:-1] if not s.maxconn), None)
        if endless is not None:
            behind = ordered[ordered.index(endless) + 1 :]
            names = ", ".join(s.name for s in behind[:3]) + (" and others" if len(behind) > 3 else "")
            said = f"{names} of {proxy.title} will never get traffic: balance first fills {endless.name} before, which"
            yield Trouble(endless.origin, f"{said} has no maxconn", proxy.name, endless.name)


# What a plain connection that carries HTTP looks like by its port or by a word of a name.
_HTTP_PORTS: Final = frozenset({80, 8000, 8008, 8080, 8081, 8888, 50051})
_HTTP_NAME: Final = re.compile(r"(?:^|[-_.])(?:https?api|http|http1|http2|h2c?|grpc|rest|www)(?:\d*[-_.]|\d*$)", re.I)
_INNER_BALANCER: Final = re.compile(r"ingress|traefik|envoy|haproxy|nginx|gateway|istio|router|proxy|\blb\d*\b", re.I)
_PINNED: Final = "requests follow connections, and a server that joins stays idle until clients connect anew"


def _connection_balanced(group: Group[Any], names: tuple[str, ...], encrypted: bool) -> str:
    """What of a pool that is balanced per connection says HTTP; empty where nothing does, or another balancer follows.

    Encrypted connections cannot be balanced otherwise without ending TLS here.
    """
    fit = group.active
    if len(fit) < 2 or encrypted or any(_INNER_BALANCER.search(n) for n in (*names, *(m.name for m in fit))):
        return ""
    ports = {m.port for m in fit if m.port}
    if len(ports) == 1 and ports <= _HTTP_PORTS:
        return f"port {ports.pop()}"
    return next((f"the name {name}" for name in names if _HTTP_NAME.search(name)), "")


def _haproxy_per_connection(config: Config[haproxy.Reading], group: Group[haproxy.Proxy]) -> Iterator[Trouble]:
    """LH013. Without any mode it is tcp, but a piece of a file may have its mode elsewhere."""
    proxy = group.of
    fragment = not any(p.takes_traffic for p in config.reading.proxies)
    if proxy.mode.value != "tcp" if proxy.mode else fragment:
        return
    fronts = [p for p in config.reading.proxies if p is proxy or _routes_to(p, proxy.name)]
    passed_on = any(s.send_proxy for s in proxy.servers) or _also_elsewhere(config.reading, proxy)
    encrypted = any(s.port in (443, 6443, 8443) for s in proxy.servers) or any("ssl" in f.name.lower() for f in fronts)
    sign = next((f"alpn {s.alpn}" for s in proxy.servers if "h2" in s.alpn), "")
    sign = sign or _connection_balanced(group, (group.name,), encrypted)
    if sign and not passed_on and len(group.active) > 1:
        where = proxy.mode.origin if proxy.mode and not proxy.mode.defaults else group.origin
        yield Trouble(where, f"{group.title} is in mode tcp, but {sign} says HTTP: {_PINNED}", group.name)


def _routes_to(front: haproxy.Proxy, pool: str) -> bool:
    last = (front.default_backend,) if front.default_backend else ()
    return front.takes_traffic and any(r.target == pool for r in (*front.use_backends, *last))


def _also_elsewhere(reading: haproxy.Reading, proxy: haproxy.Proxy) -> bool:
    """Whether the same hosts serve TLS in another pool: then they are the inner balancers of a cluster."""
    hosts = {s.address.host for s in proxy.servers}
    others = [p for p in reading.pools() if p is not proxy]
    return any(s.address.host in hosts and s.port in (443, 6443, 8443) for p in others for s in p.servers)


def _nginx_per_connection(config: Config[nginx.Reading], group: Group[nginx.Upstream]) -> Iterator[Trouble]:
    """LH013."""
    if group.of.module != "stream":
        return
    encrypted = any(m.port in (443, 6443, 8443) for m in group.active)
    sign = _connection_balanced(group, (group.name,), encrypted)
    if sign:
        yield Trouble(group.origin, f"{group.title} is a stream group, but {sign} says HTTP: {_PINNED}", group.name)


def _envoy_per_connection(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    """LH013: a limit to the age of connections makes them choose anew now and then."""
    groups = {g.name: g for g in config.view(of_envoy)}
    for listener in config.reading.listeners:
        for side in listener.sides:
            if not isinstance(side, envoy.TcpSide) or side.longest_connection_s.value:
                continue
            for weighted in side.clusters:
                group = groups.get(weighted.cluster)
                encrypted = group is None or any(m.port in (443, 6443, 8443) for m in group.active)
                sign = "" if group is None else _connection_balanced(group, (group.name,), encrypted)
                if sign:
                    said = f"tcp_proxy sends to cluster {weighted.cluster}, but {sign} says HTTP: {_PINNED}"
                    yield Trouble(weighted.origin, said, weighted.cluster)


def _without_zone(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    """LH014: only where something depends on what the workers know of each other; max_conns has a rule of its own."""
    workers = config.reading.process.workers.value
    if config.reading.context != "main" or workers == 1 or (workers == "auto" and config.facts.cores == 1):
        return
    count = config.facts.cores if workers == "auto" else workers
    each = f"each of {count} workers" if count else "each worker (one per core)"
    for group in config.view(of_nginx):
        reason = _depends(group.of)
        if group.of.zone is None and len(group.active) > 1 and reason:
            yield Trouble(group.origin, f"{each} balances {group.title} alone, without a zone: {reason}", group.name)


def _depends(upstream: nginx.Upstream) -> str:
    if isinstance(upstream.policy, nginx.LeastConn | nginx.LeastTime) or (
        isinstance(upstream.policy, nginx.Random) and upstream.policy.two
    ):
        return "it compares the load that it brings itself, not that of the others"
    bad = next((s for s in upstream.servers if not s.max_fails.is_default and s.max_fails.value), None)
    if bad is not None:
        return f"max_fails={bad.max_fails.value} is counted by each, so a dead server costs as many times the failures"
    return ""


_ALWAYS_THERE: Final = frozenset({"host", ":authority", ":path", ":method", ":scheme"})
_MAY_LACK: Final = re.compile(r"\b(?:req\.)?(?:f?hdr|cook|url_param|urlp|hdr_ip)\(\s*([^),]+)", re.I)
_STRING_KEY: Final = 32  # the length of a string key where none is given
_LONG_KEYS: Final = re.compile(r"^(?:url|path|base|req\.url)\b|hdr\(\s*authorization", re.I)


def _haproxy_key(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    """LH094: HAProxy takes round robin where the key is absent: measured for hdr and hash."""
    for proxy in config.reading.pools():
        if proxy.disabled or len([s for s in proxy.servers if not s.backup]) < 2:
            continue
        key = _balance_key(proxy)
        if key and proxy.balance is not None:
            said = f"requests without {key} are spread over {proxy.title} by round robin, whatever client they are of"
            yield Trouble(proxy.balance.origin, said, proxy.name)
        sticks = [r for r in proxy.stick_rules if r.action in ("on", "match") and r.arguments]
        lacking = [_absent(r.arguments[0]) for r in sticks]
        if sticks and all(lacking):
            names = " or ".join(dict.fromkeys(lacking))
            said = f"requests without {names} stick to no server of {proxy.title}: {proxy.algorithm} spreads them"
            yield Trouble(sticks[0].origin, said, proxy.name)
        yield from _cut_keys(proxy, sticks)


def _balance_key(proxy: haproxy.Proxy) -> str:
    if proxy.balance is None:
        return ""
    balance = proxy.balance.value
    if balance.algorithm == "hdr":
        name = balance.argument.split(",")[0]
        return "" if name.lower() in _ALWAYS_THERE else f"the header {name}"
    if balance.algorithm == "url_param":
        name = balance.argument or next(iter(balance.words), "")
        return f"the parameter {name}"
    return _absent(" ".join((balance.argument, *balance.words)).strip()) if balance.algorithm == "hash" else ""


def _absent(fetch: str) -> str:
    """What a sample is taken from, where a request may lack it."""
    found = _MAY_LACK.search(fetch)
    if found is None or found[1].strip().lower() in _ALWAYS_THERE:
        return ""
    return f"{found[0].partition('(')[0]}({found[1].strip()})"


def _cut_keys(proxy: haproxy.Proxy, sticks: list[haproxy.Rule]) -> Iterator[Trouble]:
    """Keys longer than the table's entries are cut, and then different ones may be the same."""
    table = proxy.stick_table
    if table is None or table.type != "string":
        return
    lengths = [after for word, after in pairwise(table.words) if word == "len" and after.isdigit()]
    length = int(lengths[0]) if lengths else _STRING_KEY
    for rule in sticks:
        fetch = rule.arguments[0]
        if length <= _STRING_KEY and _LONG_KEYS.search(fetch):
            said = f"{fetch} is cut to {length} characters in the table of {proxy.title}: keys that begin alike are one"
            yield Trouble(table.origin, said, proxy.name)


def _nginx_key(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    """LH094: nginx takes round robin where the key is empty: measured on 1.22, with and without consistent."""
    for group in config.view(of_nginx):
        upstream = group.of
        if isinstance(upstream.policy, nginx.Hash) and len(group.active) > 1:
            key = upstream.policy.key.text
            if re.fullmatch(r"(?:\$(?:http|cookie|arg)_\w+)+", key) and key != "$http_host":
                said = f"requests without {key} are spread over {group.title} by round robin"
                yield Trouble(upstream.policy.origin, f"{said}, whatever client they are of", group.name)


def _envoy_key(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    """LH094: Envoy takes a random endpoint where no entry of the hash policy finds anything."""
    for user, clusters in _hashing_users(config.reading):
        found = [c for name in clusters if (c := config.reading.cluster(name)) is not None]
        hashed = [c for c in found if isinstance(c.balancing.policy, envoy.RingHash | envoy.Maglev)]
        lacking = [h for h in user if h.kind in ("header", "query_parameter", "cookie") and h.name not in _ALWAYS_THERE]
        if not hashed or not user or len(lacking) < len(user) or any(_makes_cookie(config.reading, h) for h in user):
            continue
        names = " or ".join(dict.fromkeys(f"the {h.kind.replace('_', ' ')} {h.name}" for h in lacking))
        said = f"requests without {names} go to a random endpoint of cluster {hashed[0].name}"
        yield Trouble(lacking[-1].origin, said, hashed[0].name)


def _hashing_users(reading: envoy.Reading) -> Iterator[tuple[tuple[envoy.HashOn, ...], tuple[str, ...]]]:
    sides = [s for listener in reading.listeners for s in listener.sides if isinstance(s, envoy.HttpSide)]
    tables = [s.routes for s in sides if not isinstance(s.routes, envoy.Unknown)]
    for table in dict.fromkeys((*tables, *reading.route_tables)):
        for host in table.hosts:
            for route in host.routes:
                yield route.hash_on, tuple(w.cluster for w in route.clusters)


def _makes_cookie(reading: envoy.Reading, hashed: envoy.HashOn) -> bool:
    """Whether Envoy sets the cookie where it is absent: it does when a ttl is given, also of 0."""
    policy = next((n for root in reading.roots for n in _nodes(root) if n.where == hashed.origin), None)
    return policy is not None and fields.View(policy).within("cookie").has("ttl")


def _nodes(node: nodes.Node) -> Iterator[nodes.Mapping]:
    if isinstance(node, nodes.Mapping):
        yield node
    if not isinstance(node, nodes.Scalar):
        for inner in node.items if not isinstance(node, nodes.Mapping) else [e.value for e in node.entries.values()]:
            yield from _nodes(inner)


RULES: Final = (
    Rule(
        "LH006", "least-load-without-error-ejection", "warning",
        "a policy that prefers the least busy server, where nothing takes out one that fails fast",
        "take servers out by the errors their users see, but never all (LH037), or use round robin",
        haproxy=over(of_haproxy, _haproxy_least), nginx=_nginx_least, envoy=_envoy_least,
        levelhead=over(of_fleet, _fleet_least),
    ),
    Rule(
        "LH012", "first-without-maxconn", "error", "balance first with a server that is never full",
        "give every server a maxconn, or use leastconn",
        haproxy=_first,
    ),
    Rule(
        "LH013", "connection-balanced-http", "warning", "HTTP that is balanced per connection",
        "balance requests (mode http), or limit the age of connections",
        haproxy=over(of_haproxy, _haproxy_per_connection), nginx=over(of_nginx, _nginx_per_connection),
        envoy=_envoy_per_connection,
    ),
    Rule(
        "LH014", "upstream-without-zone", "warning", "a group whose workers do not know of each other",
        "add a line such as: zone name 64k;",
        nginx=_without_zone,
    ),
    Rule(
        "LH094", "affinity-key-may-be-absent", "info", "affinity by something that a request may lack",
        "name a fallback on purpose, the source address for example",
        haproxy=_haproxy_key, nginx=_nginx_key, envoy=_envoy_key,
    ),
)  # fmt: skip
