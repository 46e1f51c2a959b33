"""From what an Envoy configuration amounts to, to a Fleet: clusters as pools, listeners with the routes they have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import inf
from typing import Final

from levelhead.engines.envoy import picture
from levelhead.engines.envoy.picture import Cluster, Endpoint, HttpSide, Locality, Reading, TcpSide, Unknown
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
    OtherPolicy,
    Outliers,
    Policy,
    Pool,
    RandomPick,
    Reserves,
    Retries,
    RoundRobin,
    Route,
    Server,
    Table,
    Timeouts,
)

_ALL: Final[tuple[Failure, ...]] = ("refused", "hung", "reset", "status")
_RETRIED: Final[dict[str, tuple[Failure, ...]]] = {
    "5xx": _ALL, "gateway-error": _ALL, "connect-failure": ("refused",), "reset": ("hung", "reset"),
    "reset-before-request": ("reset",), "refused-stream": ("reset",), "retriable-status-codes": ("status",),
    "internal": ("status",), "unavailable": ("refused", "reset", "status"), "cancelled": ("status",),
    "deadline-exceeded": ("status",), "resource-exhausted": ("status",),
}  # fmt: skip
_ADMIN: Final = {"UNHEALTHY": Admin.MAINT, "TIMEOUT": Admin.MAINT, "DRAINING": Admin.DRAIN}
_HASHES: Final = {"source_ip": "source", "connection_properties": "source", "query_parameter": "query"}
# Success rates are compared at this many standard deviations unless the file says otherwise, which is not read.
_DEVIATIONS: Final = 1.9


def fleet_of(reading: Reading) -> Fleet:
    """The fleet of an Envoy configuration. Endpoints given by themselves are those of their EDS cluster."""
    routes = tuple(_all_routes(reading))
    pools = tuple(_pool(cluster, reading, routes) for cluster in reading.clusters)
    listeners = tuple(_listener(listener, n) for n, listener in enumerate(reading.listeners))
    return Fleet(listeners, pools)


def _all_routes(reading: Reading) -> Iterator[picture.Route]:
    sides = [side for listener in reading.listeners for side in listener.sides if isinstance(side, HttpSide)]
    tables = [side.routes for side in sides if not isinstance(side.routes, Unknown)]
    for table in (*tables, *reading.route_tables):
        for host in table.hosts:
            yield from host.routes


def _pool(cluster: Cluster, reading: Reading, routes: Sequence[picture.Route]) -> Pool:
    mine = [r for r in routes if any(w.cluster == cluster.name for w in r.clusters)]
    given = dict(reading.assignments).get(cluster.eds_name)
    members = given if given is not None and isinstance(cluster.members, Unknown) else cluster.members
    localities = () if isinstance(members, Unknown) else members
    check = _check(cluster.checks[0]) if cluster.checks else None
    balancing = cluster.balancing
    fails = balancing.zone_aware is not None and balancing.zone_aware.fail_on_panic.value
    return Pool(
        name=cluster.name,
        servers=tuple(_servers(cluster, localities, check)),
        policy=_policy(cluster, mine, reading),
        check=check,
        ejection=_ejection(cluster.outliers) if cluster.outliers is not None else None,
        timeouts=_timeouts(cluster, mine, reading),
        retries=_retries(mine),
        limits=Limits(queue=cluster.breakers.default.pending.value),
        slow_start_s=_slow_start_s(balancing.policy),
        origin=cluster.origin,
        engine="envoy",
        reserves=Reserves(
            "spill", cluster.overprovisioning_percent.value / 100, balancing.panic_percent.value / 100, fails
        ),
        zone_weights=_zone_weights(localities) if balancing.by_locality.value else (),
        workers=None,
        unknown=members.why if isinstance(members, Unknown) else "",
    )


def _servers(cluster: Cluster, localities: Sequence[Locality], check: Check | None) -> Iterator[Server]:
    names: set[str] = set()
    for locality in localities:
        for endpoint in locality.endpoints:
            address = str(endpoint.at) if endpoint.at is not None else endpoint.hostname or "(given elsewhere)"
            name = address if address not in names else f"{address}, line {endpoint.origin.line}"
            names.add(name)
            yield _server(cluster, locality, endpoint, name, check)


def _server(cluster: Cluster, locality: Locality, endpoint: Endpoint, name: str, check: Check | None) -> Server:
    at, port = endpoint.at, endpoint.check_port.value
    hashing = cluster.balancing.policy
    by_hostname = isinstance(hashing, picture.RingHash | picture.Maglev) and hashing.by_hostname.value
    return Server(
        name=name,
        host=at.host if at is not None else endpoint.hostname,
        port=(at.port or 0) if at is not None else 0,
        weight=float(endpoint.weight.value),
        admin=_ADMIN.get(endpoint.health.value, Admin.READY),
        origin=endpoint.origin,
        priority=locality.priority.value,
        zone=_zone(locality),
        check=replace(check, port=port) if check is not None and port else None,
        checked=not endpoint.unchecked.value,
        degraded=endpoint.health.value == "DEGRADED",
        many=cluster.kind.value == "STRICT_DNS" and at is not None and at.kind == "name",
        ring_key=endpoint.hostname if by_hostname else "",
    )


def _zone(locality: Locality) -> str:
    return "/".join(part for part in (locality.region, locality.zone, locality.sub_zone) if part)


def _zone_weights(localities: Sequence[Locality]) -> tuple[tuple[int, str, float], ...]:
    """A locality without a weight gets nothing where others are chosen by theirs."""
    return tuple((place.priority.value, _zone(place), float(place.weight.value or 0)) for place in localities)


def _check(check: picture.Check) -> Check:
    statuses = ",".join(str(a) if b == a + 1 else f"{a}-{b - 1}" for a, b in check.statuses)
    return Check(
        path=(check.path.value or "/") if check.kind == "http" else None,
        status=statuses if check.kind == "http" else "200-399",
        interval_s=check.interval_s.value,
        timeout_s=check.timeout_s.value,
        fall=check.unhealthy_threshold.value,
        rise=check.healthy_threshold.value,
        host=check.host.value or None,
        port=check.alt_port.value,
        speaks="" if check.kind in ("http", "tcp") else check.kind,
        down_interval_s=check.unhealthy_interval_s.value,
        idle_interval_s=check.no_traffic_interval_s.value,
    )


def _ejection(given: picture.Outliers) -> Ejection:
    """Consecutive failures of either kind, whichever is enforced and comes first; 0 where neither is."""
    counts: tuple[Failure, ...] = ("status",) if given.split_local.value else _ALL
    enforced = [
        errors.value
        for errors, percent in (
            (given.consecutive_5xx, given.enforcing_5xx), (given.consecutive_gateway, given.enforcing_gateway),
        )
        if percent.value > 0
    ]  # fmt: skip
    if given.split_local.value and given.enforcing_local.value > 0:
        enforced.append(given.consecutive_local.value)
        counts = _ALL
    return Ejection(
        consecutive_errors=min(enforced, default=0),
        counts=counts if enforced else (),
        away_s=given.ejection_s.value,
        longest_away_s=given.longest_ejection_s.value,
        most=given.most_ejected_percent.value / 100,
        one_always=given.always_one.value,
        check_readmits=given.check_readmits.value,
        outliers=Outliers(
            interval_s=given.interval_s.value,
            deviations=_DEVIATIONS if given.enforcing_success_rate.value > 0 else None,
            hosts=given.success_rate_hosts.value,
            volume=given.success_rate_volume.value,
            failing=given.failure_percent.value / 100 if given.enforcing_failure_percent.value > 0 else None,
            failing_hosts=given.failure_hosts.value,
            failing_volume=given.failure_volume.value,
        ),
    )


def _policy(cluster: Cluster, routes: Sequence[picture.Route], reading: Reading) -> Policy:
    given = cluster.balancing.policy
    if cluster.balancing.subsets is not None:
        return OtherPolicy("subsets by labels")
    match given:
        case picture.RoundRobin():
            return RoundRobin()
        case picture.LeastRequest(choices=choices):
            return LeastRequest(choices.value)
        case picture.Random():
            return RandomPick(1, by_weight=False)
        case picture.RingHash():
            table = Table("ring", given.least.value, given.most.value, given.function.value)
            return replace(_key(cluster, routes, reading), bounded_load=_bound(given.load_factor.value), table=table)
        case picture.Maglev():
            table = Table("maglev", given.table_size.value, given.table_size.value)
            return replace(_key(cluster, routes, reading), bounded_load=_bound(given.load_factor.value), table=table)
        case picture.ClientSideWeighted():
            return OtherPolicy("client_side_weighted_round_robin")
        case picture.ClusterProvided():
            return OtherPolicy("cluster_provided")
        case picture.Other(type=name):
            return OtherPolicy(name)


def _bound(percent: int | None) -> float | None:
    return percent / 100 if percent else None


def _key(cluster: Cluster, routes: Sequence[picture.Route], reading: Reading) -> Hash:
    """What requests are hashed by: the first word of the first route that has any. Without one it is by chance."""
    sides = [side for listener in reading.listeners for side in listener.sides if isinstance(side, TcpSide)]
    tcp = [side for side in sides if any(w.cluster == cluster.name for w in side.clusters)]
    found = next((h for words in (*(r.hash_on for r in routes), *(s.hash_on for s in tcp)) for h in words), None)
    if found is None:
        return Hash("other", "nothing: no hash_policy")
    match _HASHES.get(found.kind, found.kind):
        case "header":
            return Hash("header", found.name)
        case "cookie":
            return Hash("cookie", found.name)
        case "source":
            return Hash("source")
        case "query":
            return Hash("query", found.name)
        case _:
            return Hash("other", f"{found.kind} {found.name}".strip())


def _retries(routes: Sequence[picture.Route]) -> Retries:
    """Those of the route that tries most often."""
    tried = [r.retry for r in routes if r.retry is not None and r.retry.on]
    if not tried:
        return Retries(0, ())
    words = {failure for retry in tried for word in retry.on for failure in _RETRIED.get(word, ())}
    bounds = [retry.per_try_timeout_s.value for retry in tried]
    return Retries(
        attempts=max(retry.count.value for retry in tried),
        after=tuple(failure for failure in _ALL if failure in words),
        try_s=None if None in bounds else max((b for b in bounds if b is not None), default=None),
    )


def _timeouts(cluster: Cluster, routes: Sequence[picture.Route], reading: Reading) -> Timeouts:
    """The longest of all routes that lead to the cluster; 15 s where there are none."""
    sides = [side for listener in reading.listeners for side in listener.sides if isinstance(side, HttpSide)]
    return Timeouts(
        connect_s=cluster.connect_timeout_s.value,
        server_s=max((r.timeout_s.value or inf for r in routes), default=15.0),
        client_s=max((side.stream_idle_timeout_s.value or inf for side in sides), default=inf),
        queue_s=inf,
        keep_alive_s=max((side.idle_timeout_s.value or inf for side in sides), default=inf),
    )


def _slow_start_s(policy: picture.Policy) -> float:
    match policy:
        case picture.RoundRobin() | picture.LeastRequest() | picture.ClientSideWeighted():
            return policy.slow_start.window_s.value if policy.slow_start is not None else 0.0
        case _:
            return 0.0


def _listener(listener: picture.Listener, number: int) -> Listener:
    at = listener.at
    return Listener(
        name=listener.name or (str(at) if at is not None else f"listener {number + 1}"),
        host=at.host if at is not None else "",
        port=(at.port or 0) if at is not None else 0,
        routes=tuple(route for side in listener.sides for route in _routes(side)),
        certificate="" if listener.tls else None,
        origin=listener.origin,
    )


def _routes(side: picture.Side) -> Iterator[Route]:
    match side:
        case HttpSide(routes=table):
            for host in table.hosts if not isinstance(table, Unknown) else ():
                for route in host.routes:
                    for domain in host.domains:
                        yield from _http_routes(route, None if domain == "*" else domain)
        case TcpSide(clusters=clusters):
            whole = sum(w.weight.value for w in clusters) or 1
            yield from (Route(w.cluster, share=w.weight.value / whole) for w in clusters)
        case picture.OtherSide(clusters=named):
            yield from (Route(name) for name in named)


def _http_routes(route: picture.Route, domain: str | None) -> Iterator[Route]:
    match = route.match
    plain = match.kind in ("prefix", "path_separated_prefix")
    also = ["only this path"] if match.kind == "path" else [] if plain else [f"{match.kind} {match.text}"]
    also += [f"{match.conditions} more condition{'s' if match.conditions > 1 else ''}"] if match.conditions else []
    whole = sum(w.weight.value for w in route.clusters) or 1
    for weighted in route.clusters:
        share = weighted.weight.value / whole * match.fraction.value
        prefix = match.text if plain or match.kind == "path" else "/"
        yield Route(weighted.cluster, domain, prefix, " and ".join(also), share)
