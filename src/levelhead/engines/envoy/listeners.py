"""Reads listeners: where clients come in, and through which filters they reach clusters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from levelhead.engines.envoy import routes
from levelhead.engines.envoy.endpoints import address
from levelhead.engines.envoy.fields import View
from levelhead.engines.envoy.picture import AccessLog, HttpSide, Listener, OtherSide, RouteTable, Side, TcpSide, Unknown
from levelhead.engines.text import Problem
from levelhead.nodes import Mapping, Node, Scalar

_HTTP: Final = "filters.network.http_connection_manager.HttpConnectionManager"
_TCP: Final = "filters.network.tcp_proxy.TcpProxy"
_ROUTER: Final = "filters.http.router.Router"
_PROXY_PROTOCOL: Final = "proxy_protocol"
_HOUR_S: Final = 3600.0
_KEYS: Final = ("cluster", "cluster_name", "clusters")
_MOST_SCALARS: Final = 200


def listener(view: View, problems: list[Problem]) -> Listener:
    """One listener with all its filter chains."""
    chains = [*view.views("filter_chains"), *view.views("default_filter_chain")]
    filters = [f for chain in chains for f in chain.views("filters")]
    names = [f.text("name").value + f.within("typed_config").type for f in view.views("listener_filters")]
    return Listener(
        name=view.text("name").value,
        at=address(view.view("address"), problems),
        tls=any(chain.has("transport_socket") for chain in chains),
        proxy_protocol=any(_PROXY_PROTOCOL in name for name in names),
        sides=tuple(_side(f, problems) for f in filters if f.has("typed_config")),
        logs=logs(view),
        origin=view.where,
    )


def logs(view: View, field: str = "access_log") -> tuple[AccessLog, ...]:
    """The access logs of a field, with their formats as far as they are written here."""
    found = []
    for log in view.views(field):
        config = log.within("typed_config")
        formats = [config.entry(name) for name in ("log_format", "format", "json_format", "typed_json_format")]
        text = " ".join(s.text for entry in formats if entry is not None for s in _scalars(entry.value))
        found.append(AccessLog(config.type or log.text("name").value, text, log.where))
    return tuple(found)


def references(node: Node) -> Iterator[str]:
    """Every name that stands where a cluster is named, in messages of any kind."""
    waiting: list[tuple[str, Node]] = [("", node)]
    while waiting:
        key, at_hand = waiting.pop()
        if isinstance(at_hand, Scalar):
            if key:
                yield at_hand.text
        elif isinstance(at_hand, Mapping):
            # A load assignment names its own cluster, and a node the group that Envoy itself belongs to.
            own = ("cluster_name", "clusterName") if "endpoints" in at_hand.entries else ()
            found = (e for e in at_hand.entries.values() if e.key not in (*own, "node"))
            waiting += [(_names_cluster(e.key), e.value) for e in found]
            # One of several weighted clusters is called by its name.
            name = at_hand.entries.get("name")
            if name is not None and "weight" in at_hand.entries:
                waiting.append(("name", name.value))
        else:
            waiting += [(key, item) for item in at_hand.items]


def _names_cluster(key: str) -> str:
    return key if key in _KEYS or key.endswith(("_cluster", "_cluster_name", "Cluster", "ClusterName")) else ""


def _scalars(node: Node) -> Iterator[Scalar]:
    waiting, seen = [node], 0
    while waiting and seen < _MOST_SCALARS:
        at_hand = waiting.pop()
        seen += 1
        if isinstance(at_hand, Scalar):
            yield at_hand
        elif isinstance(at_hand, Mapping):
            waiting += [entry.value for entry in reversed(at_hand.entries.values())]
        else:
            waiting += reversed(at_hand.items)


def _side(view: View, problems: list[Problem]) -> Side:
    config = view.within("typed_config")
    # What v2 called these was told as a problem; what they mean has not changed.
    if config.type == _HTTP or config.type.endswith(".HttpConnectionManager"):
        return _http(config, problems)
    if config.type == _TCP or config.type.endswith(".TcpProxy"):
        return _tcp(config, problems)
    return OtherSide(config.type, tuple(dict.fromkeys(references(config.node))), config.node, view.where)


def _http(view: View, problems: list[Problem]) -> HttpSide:
    common = view.within("common_http_protocol_options")
    filters = [f for f in view.views("http_filters")]
    routers = [f.within("typed_config") for f in filters if f.within("typed_config").type == _ROUTER]
    return HttpSide(
        routes=_routes(view, problems),
        stream_idle_timeout_s=view.seconds("stream_idle_timeout", 300.0),
        request_timeout_s=view.seconds("request_timeout", 0.0),
        idle_timeout_s=common.seconds("idle_timeout", _HOUR_S),
        longest_connection_s=common.bound_s("max_connection_duration"),
        longest_stream_s=common.bound_s("max_stream_duration"),
        max_requests=common.whole("max_requests_per_connection", 0),
        use_remote_address=view.flag("use_remote_address"),
        trusted_hops=view.whole("xff_num_trusted_hops", 0),
        request_id=view.flag("generate_request_id", True),
        filters=tuple(f.within("typed_config").type or f.text("name").value for f in filters),
        upgrades=routes.upgrades(view),
        logs=logs(view),
        upstream_logs=tuple(log for router in routers for log in logs(router, "upstream_log")),
        origin=view.where,
    )


def _routes(view: View, problems: list[Problem]) -> RouteTable | Unknown:
    table = view.view("route_config")
    if table is not None:
        return routes.table(table, problems)
    rds = view.view("rds")
    if rds is not None:
        return Unknown(f'its routes "{rds.text("route_config_name").value}" come by RDS', rds.where)
    return Unknown("its routes come by scope" if view.has("scoped_routes") else "it has no routes", view.where)


def _tcp(view: View, problems: list[Problem]) -> TcpSide:
    return TcpSide(
        clusters=routes.weighted(view, problems),
        idle_timeout_s=view.seconds("idle_timeout", _HOUR_S),
        longest_connection_s=view.bound_s("max_downstream_connection_duration"),
        connect_attempts=view.whole("max_connect_attempts", 1),
        hash_on=routes.hash_on(view),
        logs=logs(view),
        origin=view.where,
    )
