"""What an Envoy configuration amounts to: its clusters with their members, and the listeners and routes that use them.

Values in force are `Value`s that know where they were set; a value nobody set is Envoy's default, set NOWHERE.
Times are seconds. What comes from a control plane is `Unknown`, with the reason: it is not empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from levelhead.engines.envoy.syntax import Comment
from levelhead.engines.text import Problem, Value
from levelhead.model import NOWHERE, Origin
from levelhead.nodes import Mapping, Node

Kind = Literal["STATIC", "STRICT_DNS", "LOGICAL_DNS", "EDS", "ORIGINAL_DST", "CUSTOM"]


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody can tell from these files; `why` is a sentence without its full stop."""

    why: str
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class Address:
    """Where something listens: `host` is an IP address, a name, a path, or the name of an internal listener."""

    kind: Literal["ip", "name", "pipe", "internal"]
    host: str
    port: int | None
    origin: Origin

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host and self.kind == "ip" else self.host
        return host if self.port is None else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One server of a cluster. `at` None where its address comes from elsewhere; `labels` are its envoy.lb metadata."""

    at: Address | None
    weight: Value[int]
    health: Value[str]
    hostname: str
    check_port: Value[int | None]
    unchecked: Value[bool]
    labels: tuple[tuple[str, str], ...]
    origin: Origin


@dataclass(frozen=True, slots=True)
class Locality:
    """Endpoints of one place and priority; `weight` is that of the place among those of its priority."""

    region: str
    zone: str
    sub_zone: str
    priority: Value[int]
    weight: Value[int | None]
    endpoints: tuple[Endpoint, ...]
    origin: Origin


@dataclass(frozen=True, slots=True)
class SlowStart:
    window_s: Value[float]
    aggression: Value[float]
    least_percent: Value[float]
    origin: Origin


@dataclass(frozen=True, slots=True)
class ZoneAware:
    """Requests stay in Envoy's own zone where it can bear them."""

    routing_percent: Value[float]
    least_cluster_size: Value[int]
    fail_on_panic: Value[bool]


@dataclass(frozen=True, slots=True)
class RoundRobin:
    slow_start: SlowStart | None
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class LeastRequest:
    """The least busy of `choices` drawn; `bias` is how strongly requests in flight count against a weight."""

    choices: Value[int]
    bias: Value[float]
    slow_start: SlowStart | None
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class Random:
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class RingHash:
    """A ring of `least` to `most` points; `load_factor` None leaves the load of a server open."""

    least: Value[int]
    most: Value[int]
    function: Value[str]
    load_factor: Value[int | None]
    by_hostname: Value[bool]
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class Maglev:
    table_size: Value[int]
    load_factor: Value[int | None]
    by_hostname: Value[bool]
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class ClientSideWeighted:
    """Weights from what the servers report about their load."""

    blackout_s: Value[float]
    update_s: Value[float]
    slow_start: SlowStart | None
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class ClusterProvided:
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class Other:
    """A policy that is not looked into, by the type it says it is."""

    type: str
    origin: Origin = NOWHERE


Policy = (
    RoundRobin | LeastRequest | Random | RingHash | Maglev | ClientSideWeighted | ClusterProvided | Other
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Subsets:
    """Requests choose among endpoints that carry the same labels; `keys` of each selector."""

    fallback: Value[str]
    keys: tuple[tuple[str, ...], ...]
    origin: Origin


@dataclass(frozen=True, slots=True)
class Balancing:
    """How an endpoint is chosen. `by_locality`: first a place by its weight, then an endpoint in it."""

    policy: Policy
    subsets: Subsets | None
    by_locality: Value[bool]
    zone_aware: ZoneAware | None
    panic_percent: Value[float]
    merge_window_s: Value[float]
    ignore_new_until_checked: Value[bool]
    close_on_change: Value[bool]


@dataclass(frozen=True, slots=True)
class Check:
    """An active check; `kind` is http, tcp, grpc or the type of a custom one. `statuses` are [from, to) pairs."""

    kind: str
    path: Value[str]
    host: Value[str]
    statuses: tuple[tuple[int, int], ...]
    retriable: tuple[tuple[int, int], ...]
    interval_s: Value[float]
    timeout_s: Value[float]
    unhealthy_threshold: Value[int]
    healthy_threshold: Value[int]
    no_traffic_interval_s: Value[float]
    unhealthy_interval_s: Value[float]
    alt_port: Value[int | None]
    reuse_connection: Value[bool]
    logged: bool
    log_failures: Value[bool]
    sends: bool
    origin: Origin


@dataclass(frozen=True, slots=True)
class Outliers:
    """Passive ejection."""

    consecutive_5xx: Value[int]
    enforcing_5xx: Value[int]
    consecutive_gateway: Value[int]
    enforcing_gateway: Value[int]
    split_local: Value[bool]
    consecutive_local: Value[int]
    enforcing_local: Value[int]
    interval_s: Value[float]
    ejection_s: Value[float]
    longest_ejection_s: Value[float]
    most_ejected_percent: Value[int]
    always_one: Value[bool]
    success_rate_hosts: Value[int]
    success_rate_volume: Value[int]
    enforcing_success_rate: Value[int]
    failure_percent: Value[int]
    failure_hosts: Value[int]
    failure_volume: Value[int]
    enforcing_failure_percent: Value[int]
    check_readmits: Value[bool]
    origin: Origin


@dataclass(frozen=True, slots=True)
class RetryBudget:
    percent: Value[float]
    least: Value[int]
    origin: Origin


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Limits of one routing priority, and what each Envoy allows by itself where nobody set them."""

    connections: Value[int]
    pending: Value[int]
    requests: Value[int]
    retries: Value[int]
    budget: RetryBudget | None
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class Breakers:
    """Circuit breakers; `per_host_connections` None has no bound."""

    default: Thresholds
    high: Thresholds
    per_host_connections: Value[int | None]


@dataclass(frozen=True, slots=True)
class Tls:
    """How a connection is encrypted; `verified` says whether anything says whose certificate is believed."""

    type: str
    name: Value[str]
    verified: bool
    origin: Origin


@dataclass(frozen=True, slots=True)
class Protocol:
    """What is spoken to the endpoints, and for how long; `max_requests` 0 and times of None have no bound."""

    http: Literal["http1", "http2", "http3", "auto", "downstream"]
    idle_timeout_s: Value[float]
    longest_connection_s: Value[float | None]
    longest_stream_s: Value[float | None]
    max_requests: Value[int]
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class Dns:
    """How names are looked up."""

    refresh_s: Value[float]
    respect_ttl: Value[bool]
    family: Value[str]
    all_in_one: Value[bool]
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class Cluster:
    """A pool. `type` is the extension's where `kind` is CUSTOM; `eds_name` is what an EDS cluster asks for."""

    name: str
    kind: Value[Kind]
    type: str
    members: tuple[Locality, ...] | Unknown
    eds_name: str
    balancing: Balancing
    checks: tuple[Check, ...]
    outliers: Outliers | None
    breakers: Breakers
    connect_timeout_s: Value[float]
    tls: Tls | None
    protocol: Protocol
    dns: Dns
    overprovisioning_percent: Value[int]
    ignore_health_on_removal: Value[bool]
    close_on_failure: Value[bool]
    origin: Origin = NOWHERE

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """All endpoints of all localities; none where they are unknown: look at `members` first."""
        if isinstance(self.members, Unknown):
            return ()
        return tuple(endpoint for locality in self.members for endpoint in locality.endpoints)


@dataclass(frozen=True, slots=True)
class Retry:
    """When and how often a request is tried again; `predicates` with whether each has the type it needs."""

    on: tuple[str, ...]
    count: Value[int]
    per_try_timeout_s: Value[float | None]
    per_try_idle_s: Value[float | None]
    predicates: tuple[tuple[str, bool], ...]
    repicks: Value[int]
    statuses: tuple[int, ...]
    origin: Origin


@dataclass(frozen=True, slots=True)
class HashOn:
    """One thing that requests are hashed by: header, cookie, connection, query_parameter or filter_state."""

    kind: str
    name: str
    terminal: Value[bool]
    origin: Origin


@dataclass(frozen=True, slots=True)
class Weighted:
    cluster: str
    weight: Value[int]
    origin: Origin


@dataclass(frozen=True, slots=True)
class Matching:
    """Which requests a route takes: `kind` is prefix, path, regex, connect, path_separated_prefix or template.

    `conditions` counts what must hold besides (headers, query, runtime fraction); `fraction` is that share of all.
    """

    kind: str
    text: str
    conditions: int
    fraction: Value[float]


@dataclass(frozen=True, slots=True)
class Route:
    """One route. `action` is cluster, weighted, header, redirect, direct or other; timeouts of 0 are none at all."""

    name: str
    match: Matching
    action: str
    clusters: tuple[Weighted, ...]
    timeout_s: Value[float]
    idle_timeout_s: Value[float | None]
    longest_stream_s: Value[float | None]
    retry: Retry | None
    hash_on: tuple[HashOn, ...]
    mirrors: tuple[str, ...]
    upgrades: tuple[str, ...]
    origin: Origin


@dataclass(frozen=True, slots=True)
class VirtualHost:
    name: str
    domains: tuple[str, ...]
    routes: tuple[Route, ...]
    origin: Origin


@dataclass(frozen=True, slots=True)
class RouteTable:
    """A route configuration, inline in a listener or by itself."""

    name: str
    hosts: tuple[VirtualHost, ...]
    origin: Origin


@dataclass(frozen=True, slots=True)
class AccessLog:
    """An access log: its type, and its format as written, empty for Envoy's own."""

    type: str
    format: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class HttpSide:
    """An HTTP connection manager: its routes and how it treats clients; times of None have no bound."""

    routes: RouteTable | Unknown
    stream_idle_timeout_s: Value[float]
    request_timeout_s: Value[float]
    idle_timeout_s: Value[float]
    longest_connection_s: Value[float | None]
    longest_stream_s: Value[float | None]
    max_requests: Value[int]
    use_remote_address: Value[bool]
    trusted_hops: Value[int]
    request_id: Value[bool]
    filters: tuple[str, ...]
    upgrades: tuple[str, ...]
    logs: tuple[AccessLog, ...]
    upstream_logs: tuple[AccessLog, ...]
    origin: Origin


@dataclass(frozen=True, slots=True)
class TcpSide:
    """A TCP proxy: its clusters, one or weighted."""

    clusters: tuple[Weighted, ...]
    idle_timeout_s: Value[float]
    longest_connection_s: Value[float | None]
    connect_attempts: Value[int]
    hash_on: tuple[HashOn, ...]
    logs: tuple[AccessLog, ...]
    origin: Origin


@dataclass(frozen=True, slots=True)
class OtherSide:
    """Another network filter, by its type; `clusters` are those it names."""

    type: str
    clusters: tuple[str, ...]
    node: Node
    origin: Origin


Side = HttpSide | TcpSide | OtherSide


@dataclass(frozen=True, slots=True)
class Listener:
    name: str
    at: Address | None
    tls: bool
    proxy_protocol: bool
    sides: tuple[Side, ...]
    logs: tuple[AccessLog, ...]
    origin: Origin


@dataclass(frozen=True, slots=True)
class Admin:
    """The administration page; `at` None where it is off."""

    at: Address | None
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class Reading:
    """All that was read. `dynamic` names what comes from a control plane (clusters, listeners, routes) and why.

    `assignments` are endpoints given by themselves, by cluster name; `references` are the cluster names that anything
    mentions. `others` are resources of types not looked into.
    """

    files: tuple[str, ...]
    clusters: tuple[Cluster, ...]
    listeners: tuple[Listener, ...]
    route_tables: tuple[RouteTable, ...]
    assignments: tuple[tuple[str, tuple[Locality, ...]], ...]
    admin: Admin
    dynamic: tuple[Unknown, ...]
    references: frozenset[str]
    roots: tuple[Node, ...]
    others: tuple[Mapping, ...]
    comments: tuple[Comment, ...]
    problems: tuple[Problem, ...]

    def cluster(self, name: str) -> Cluster | None:
        return next((c for c in self.clusters if c.name == name), None)
