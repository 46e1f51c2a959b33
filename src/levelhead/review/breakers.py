"""Rules on Envoy's circuit breakers: limits that nobody set, and limits that are too small."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from levelhead.engines.envoy import picture as envoy
from levelhead.engines.text import Value
from levelhead.model import NOWHERE
from levelhead.review.base import Config, Rule, Trouble
from levelhead.review.timeouts import routes_of

_FEWEST_REQUESTS: Final = 10
_USUAL_LIMIT: Final = 1024


def serving(reading: envoy.Reading) -> tuple[envoy.Cluster, ...]:
    """The clusters that clients' requests go to; all of them where the routes are not in these files."""
    tables: list[envoy.RouteTable] = list(reading.route_tables)
    names: set[str] = set()
    for side in (s for listener in reading.listeners for s in listener.sides):
        match side:
            case envoy.HttpSide(routes=routes):
                if isinstance(routes, envoy.Unknown):
                    return reading.clusters
                tables.append(routes)
            case envoy.TcpSide(clusters=weighted):
                names |= {w.cluster for w in weighted}
            case envoy.OtherSide(clusters=named):
                names |= set(named)
    every = [route for table in tables for host in table.hosts for route in host.routes]
    names |= {w.cluster for route in every for w in route.clusters}
    if not names or any(route.action == "header" for route in every):
        return reading.clusters
    return tuple(c for c in reading.clusters if c.name in names)


def _usual_limits(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    """LH048: limits that nobody chose, where something says that they will matter."""
    here = in_flight(config)
    held_open = _long_lived(config.reading)
    some_chosen = any(c.breakers.default.origin != NOWHERE for c in config.reading.clusters)
    for cluster in serving(config.reading):
        if cluster.breakers.default.origin != NOWHERE:
            yield from _partly_set(cluster)
            continue
        why = held_open.get(cluster.name, "")
        if 2 * here > _USUAL_LIMIT:
            why = f"{here:.0f} requests in flight are declared"
        elif some_chosen and not why:
            why = "other clusters of this file have theirs"
        if why:
            said = (
                f"{cluster.name} sets no circuit_breakers, and {why}: beyond Envoy's own {_USUAL_LIMIT} connections or"
                " requests at a time, per Envoy, clients are turned away"
            )
            yield Trouble(cluster.origin, said, cluster.name)


def in_flight(config: Config[envoy.Reading]) -> float:
    """The requests that one Envoy has in flight at the declared peak; 0 where nothing is declared."""
    return (config.facts.peak_in_flight or 0) / (config.facts.balancers or 1)


def _long_lived(reading: envoy.Reading) -> dict[str, str]:
    """Clusters whose connections last, so that they add up, with why."""
    found: dict[str, str] = {}
    for side, route in routes_of(reading):
        upgrades = route.upgrades or (side.upgrades if side is not None else ())
        if upgrades:
            found |= {w.cluster: f"{upgrades[0]} connections to it stay open" for w in route.clusters}
    for plain in (s for listener in reading.listeners for s in listener.sides if isinstance(s, envoy.TcpSide)):
        found |= {w.cluster: "each client's TCP connection is one of its connections" for w in plain.clusters}
    return found


def _partly_set(cluster: envoy.Cluster) -> Iterator[Trouble]:
    limits = cluster.breakers.default
    named: tuple[tuple[str, Value[int]], ...] = (
        ("max_connections", limits.connections), ("max_pending_requests", limits.pending),
        ("max_requests", limits.requests), ("max_retries", limits.retries),
    )  # fmt: skip
    left = [f"{name} {value.value}" for name, value in named if value.is_default]
    if limits.budget is not None:
        left = [text for text in left if not text.startswith("max_retries")]
    if left:
        said = f"{cluster.name} sets some of its limits and leaves Envoy's own for the rest: {', '.join(left)}"
        yield Trouble(limits.origin, said, cluster.name)


def _too_small(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    """LH097: limits that ordinary traffic reaches."""
    here = in_flight(config)
    for cluster in config.reading.clusters:
        limits = cluster.breakers.default
        hosts = len(cluster.endpoints)
        if cluster.protocol.http == "http1" and 0 < limits.connections.value < hosts:
            said = (
                f"max_connections {limits.connections.value} is for all {hosts} hosts of {cluster.name} together: each"
                " gets one connection at most, so one request at a time"
            )
            yield Trouble(limits.connections.origin, said, cluster.name)
        yield from _below(cluster, limits, here)


def _below(cluster: envoy.Cluster, limits: envoy.Thresholds, peak: float) -> Iterator[Trouble]:
    """A limit on requests that nobody set is another rule's."""
    most = limits.requests
    if most.is_default or most.value >= max(peak, _FEWEST_REQUESTS):
        return
    why = f"{peak:.0f} are declared at the peak" if most.value < peak else "limits are per cluster, not per host"
    said = (
        f"max_requests {most.value} is for all of {cluster.name}, and {why}: what comes on top at the same time"
        " gets 503 at once, it does not wait"
    )
    yield Trouble(most.origin, said, cluster.name)


RULES: Final = (
    Rule(
        code="LH048",
        name="circuit-breakers-default",
        severity="warning",
        summary="a cluster that leaves its limits to Envoy's defaults",
        fix="set max_connections, max_pending_requests, max_requests and max_retries: requests per second times"
        " seconds per request, twice over",
        envoy=_usual_limits,
    ),
    Rule(
        code="LH097",
        name="circuit-breaker-too-small",
        severity="error",
        summary="a circuit breaker that ordinary traffic opens",
        fix="raise it above the requests in flight at the peak of the whole cluster, per Envoy",
        envoy=_too_small,
    ),
)
