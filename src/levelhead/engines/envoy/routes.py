"""Reads route tables: which requests go to which clusters, for how long, how often again, hashed by what."""

from __future__ import annotations

from typing import Final

from levelhead.engines.envoy import scalars
from levelhead.engines.envoy.fields import View
from levelhead.engines.envoy.picture import HashOn, Matching, Retry, Route, RouteTable, VirtualHost, Weighted
from levelhead.engines.text import Problem, Value
from levelhead.nodes import Scalar

_TIMEOUT_S: Final = 15.0
_PERCENT: Final = {"HUNDRED": 100.0, "TEN_THOUSAND": 10_000.0, "MILLION": 1_000_000.0}
_MATCHES: Final = ("prefix", "path", "safe_regex", "path_separated_prefix", "connect_matcher", "path_match_policy")
_CONDITIONS: Final = ("headers", "query_parameters", "cookies", "dynamic_metadata", "filter_state")
_HASHES: Final = {
    "header": "header_name", "cookie": "name", "query_parameter": "name", "filter_state": "key",
    "connection_properties": "", "source_ip": "",
}  # fmt: skip


def table(view: View, problems: list[Problem]) -> RouteTable:
    """A RouteConfiguration."""
    hosts = tuple(_host(v, problems) for v in view.views("virtual_hosts"))
    taken: set[str] = set()
    for host in hosts:
        for domain in host.domains:
            if domain.lower() in taken:
                problems.append(Problem(host.origin, f'the domain "{domain[:80]}" belongs to an earlier virtual host'))
            taken.add(domain.lower())
    return RouteTable(view.text("name").value, hosts, view.where)


def weighted(view: View, problems: list[Problem]) -> tuple[Weighted, ...]:
    """The clusters of a `cluster` or a `weighted_clusters` field; of one cluster, the weight is 1."""
    entry = view.entry("cluster")
    if entry is not None and isinstance(entry.value, Scalar):
        return (Weighted(entry.value.text, Value(1), entry.value.where),)
    block = view.view("weighted_clusters")
    if block is None:
        return ()
    listed = tuple(
        Weighted(v.text("name").value or v.text("cluster_header").value, v.whole("weight", 0), v.where)
        for v in block.views("clusters")
    )
    if not sum(w.weight.value for w in listed):
        problems.append(Problem(block.where, "the weights of weighted_clusters add up to 0"))
    return listed


def hash_on(view: View) -> tuple[HashOn, ...]:
    """What requests or connections are hashed by, in order."""
    found = []
    for policy in view.views("hash_policy"):
        kind = next((name for name in _HASHES if policy.has(name)), "")
        field = _HASHES.get(kind, "")
        name = policy.within(kind).text(field).value if field else ""
        found.append(HashOn(kind, name, policy.flag("terminal"), policy.where))
    return tuple(found)


def _host(view: View, problems: list[Problem]) -> VirtualHost:
    routes = tuple(_route(v, view, problems) for v in view.views("routes"))
    return VirtualHost(view.text("name").value, view.texts("domains"), routes, view.where)


def _route(view: View, host: View, problems: list[Problem]) -> Route:
    action = view.within("route")
    clusters = weighted(action, problems)
    retry = action.view("retry_policy") or host.view("retry_policy")
    return Route(
        name=view.text("name").value,
        match=_match(view.within("match")),
        action=_action(view, action),
        clusters=clusters,
        timeout_s=action.seconds("timeout", _TIMEOUT_S),
        idle_timeout_s=action.bound_s("idle_timeout"),
        longest_stream_s=action.within("max_stream_duration").bound_s("max_stream_duration"),
        retry=_retry(retry) if retry is not None else None,
        hash_on=hash_on(action),
        mirrors=tuple(m.text("cluster").value for m in action.views("request_mirror_policies")),
        upgrades=upgrades(action),
        origin=view.where,
    )


def upgrades(view: View) -> tuple[str, ...]:
    """The protocols that a request may change to, as websocket."""
    return tuple(u.text("upgrade_type").value for u in view.views("upgrade_configs") if u.flag("enabled", True).value)


def _action(view: View, action: View) -> str:
    if not view.has("route"):
        for name, kind in (("redirect", "redirect"), ("direct_response", "direct")):
            if view.has(name):
                return kind
        return "other"
    for name, kind in (("cluster", "cluster"), ("weighted_clusters", "weighted"), ("cluster_header", "header")):
        if action.has(name):
            return kind
    return "other"


def _match(view: View) -> Matching:
    kind = next((name for name in _MATCHES if view.has(name)), "")
    text = view.within("safe_regex").text("regex").value if kind == "safe_regex" else view.text(kind).value
    conditions = sum(len(view.views(name)) for name in _CONDITIONS)
    conditions += sum(view.has(name) for name in ("runtime_fraction", "grpc", "tls_context"))
    share = view.within("runtime_fraction").within("default_value")
    whole = _PERCENT[share.word("denominator", "HUNDRED", tuple(_PERCENT)).value]
    fraction = Value(1.0)
    if view.has("runtime_fraction"):
        fraction = Value(share.number("numerator", 0.0).value / whole, view.within("runtime_fraction").where)
    return Matching({"safe_regex": "regex", "connect_matcher": "connect"}.get(kind, kind), text, conditions, fraction)


def _retry(view: View) -> Retry:
    predicates = tuple(
        (p.text("name").value, p.view("typed_config") is not None) for p in view.views("retry_host_predicate")
    )
    codes = (scalars.whole(n) for n in view.nodes("retriable_status_codes") if isinstance(n, Scalar))
    statuses = tuple(code for code in codes if code is not None)
    return Retry(
        on=tuple(word.strip() for word in view.text("retry_on").value.split(",") if word.strip()),
        count=view.whole("num_retries", 1),
        per_try_timeout_s=view.bound_s("per_try_timeout"),
        per_try_idle_s=view.bound_s("per_try_idle_timeout"),
        predicates=predicates,
        repicks=view.whole("host_selection_retry_max_attempts", 1),
        statuses=statuses,
        origin=view.where,
    )
