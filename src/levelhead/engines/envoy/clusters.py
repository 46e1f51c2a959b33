"""Reads clusters: where their members come from, how they are chosen, and what is spoken to them."""

from __future__ import annotations

from typing import Final, Literal

from levelhead.engines.envoy import health, policies
from levelhead.engines.envoy.endpoints import localities
from levelhead.engines.envoy.fields import View
from levelhead.engines.envoy.picture import Cluster, Dns, Kind, Locality, Protocol, Tls, Unknown
from levelhead.engines.envoy.schema import enum
from levelhead.engines.text import Problem, Value
from levelhead.nodes import Mapping

Http = Literal["http1", "http2", "http3", "auto", "downstream"]

_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_KINDS: Final[dict[str, Kind]] = {
    "STATIC": "STATIC", "STRICT_DNS": "STRICT_DNS", "LOGICAL_DNS": "LOGICAL_DNS", "EDS": "EDS",
    "ORIGINAL_DST": "ORIGINAL_DST",
}  # fmt: skip
# Cluster types that are extensions by name, but the same as those of old.
_BY_NAME: Final[dict[str, Kind]] = {
    "envoy.cluster.static": "STATIC", "envoy.cluster.strict_dns": "STRICT_DNS",
    "envoy.cluster.logical_dns": "LOGICAL_DNS", "envoy.cluster.eds": "EDS",
    "envoy.cluster.original_dst": "ORIGINAL_DST",
}  # fmt: skip
_DNS: Final = "clusters.dns.DnsCluster"
_TLS: Final = "transport_sockets.tls.UpstreamTlsContext"
_HOUR_S: Final = 3600.0


def cluster(view: View, problems: list[Problem]) -> Cluster:
    """One cluster; what Envoy would refuse in it goes to the problems."""
    name = view.text("name").value
    kind, type_name, config = _kind(view)
    members = _members(view, kind.value, type_name, config, problems)
    timeout = view.seconds("connect_timeout", 5.0)
    if timeout.value <= 0:
        problems.append(Problem(timeout.origin, "connect_timeout is more than 0s"))
    eds = view.view("eds_cluster_config")
    detection = view.view("outlier_detection")
    return Cluster(
        name=name,
        kind=kind,
        type=type_name,
        members=members,
        eds_name=(eds.text("service_name").value if eds else "") or name,
        balancing=policies.balancing(view, problems),
        checks=tuple(health.check(v) for v in view.views("health_checks")),
        outliers=health.outliers(detection) if detection is not None else None,
        breakers=health.breakers(view.view("circuit_breakers")),
        connect_timeout_s=timeout,
        tls=_tls(view),
        protocol=_protocol(view),
        dns=_dns(view, config),
        overprovisioning_percent=_overprovisioning(view),
        ignore_health_on_removal=view.flag("ignore_health_on_host_removal"),
        close_on_failure=view.flag("close_connections_on_host_health_failure"),
        origin=view.where,
    )


def _kind(view: View) -> tuple[Value[Kind], str, View]:
    """Where members come from, the extension's type where one says so, and its settings."""
    custom = view.view("cluster_type")
    if custom is None:
        named = view.word("type", "STATIC", enum("cluster.Cluster.DiscoveryType"))
        return Value(_KINDS[named.value], named.origin), "", View(Mapping({}, view.where))
    config = custom.within("typed_config")
    origin, name = custom.where, custom.text("name").value
    if config.type == _DNS:
        together = config.flag("all_addresses_in_single_endpoint").value
        return Value("LOGICAL_DNS" if together else "STRICT_DNS", origin), config.type, config
    return Value(_BY_NAME.get(name, "CUSTOM"), origin), config.type or name, config


def _members(
    view: View, kind: Kind, type_name: str, config: View, problems: list[Problem]
) -> tuple[Locality, ...] | Unknown:
    assignment = view.view("load_assignment")
    if kind == "EDS":
        return Unknown("its endpoints come by EDS", view.where)
    if kind == "ORIGINAL_DST":
        return Unknown("its endpoint is wherever the client wanted to go", view.where)
    if kind == "CUSTOM":
        names = config.texts("clusters")
        said = (
            f"it is made of {', '.join(names)}" if names else f"its endpoints come from {type_name or 'an extension'}"
        )
        return Unknown(said, view.where)
    found = localities(assignment, problems) if assignment is not None else ()
    endpoints = [endpoint for locality in found for endpoint in locality.endpoints]
    if kind == "LOGICAL_DNS" and len(endpoints) != 1:
        problems.append(Problem(view.where, f"a LOGICAL_DNS cluster has one endpoint, this one has {len(endpoints)}"))
    for endpoint in endpoints:
        at = endpoint.at
        if kind == "STATIC" and at is not None and at.kind == "name" and at.host:
            said = f'"{at.host[:80]}" is a name, which a STATIC cluster does not look up: STRICT_DNS does'
            problems.append(Problem(at.origin, said))
    return found


def _tls(view: View) -> Tls | None:
    """How the connection to an endpoint is encrypted; the first choice where it depends on the endpoint."""
    socket = view.view("transport_socket")
    if socket is None:
        matches = [m for m in view.views("transport_socket_matches") if m.view("transport_socket") is not None]
        socket = matches[0].view("transport_socket") if matches else None
    for _ in range(5):
        typed = socket.view("typed_config") if socket is not None else None
        inner = typed.view("transport_socket") if typed is not None else None
        if inner is None:
            break
        # The PROXY protocol and the like stand around another socket.
        socket = inner
    if socket is None or typed is None or typed.type.endswith("raw_buffer.RawBuffer"):
        return None
    if not typed.type.startswith("transport_sockets."):
        return Tls(typed.type, Value(""), verified=False, origin=socket.where)
    context = typed.view("upstream_tls_context") or typed.view("tls_socket_config") or typed
    return Tls(typed.type, context.text("sni"), _verified(context), socket.where)


def _verified(context: View) -> bool:
    common = context.view("common_tls_context")
    if common is None:
        return False
    if common.has("validation_context_sds_secret_config"):
        return True
    combined = common.view("combined_validation_context")
    validation = common.view("validation_context") or (
        combined.view("default_validation_context") if combined else None
    )
    if combined is not None and combined.has("validation_context_sds_secret_config"):
        return True
    proofs = ("trusted_ca", "system_root_certs", "ca_certificate_provider_instance", "custom_validator_config")
    pins = ("verify_certificate_spki", "verify_certificate_hash")
    return validation is not None and any(validation.has(name) for name in proofs + pins)


def _protocol(view: View) -> Protocol:
    options = next((v for key, v in view.keyed("typed_extension_protocol_options") if key == _OPTIONS), None)
    block = options or view
    common = block.within("common_http_protocol_options")
    requests = common.whole("max_requests_per_connection", 0)
    if not common.has("max_requests_per_connection"):
        requests = view.whole("max_requests_per_connection", 0)
    return Protocol(
        http=_http(options, view),
        idle_timeout_s=common.seconds("idle_timeout", _HOUR_S),
        longest_connection_s=common.bound_s("max_connection_duration"),
        longest_stream_s=common.bound_s("max_stream_duration"),
        max_requests=requests,
        origin=options.where if options is not None else view.where,
    )


def _http(options: View | None, view: View) -> Http:
    if options is None:
        return "http2" if view.has("http2_protocol_options") else "http1"
    if options.has("auto_config"):
        return "auto"
    if options.has("use_downstream_protocol_config"):
        return "downstream"
    explicit = options.within("explicit_http_config")
    if explicit.has("http3_protocol_options"):
        return "http3"
    return "http2" if explicit.has("http2_protocol_options") else "http1"


def _dns(view: View, config: View) -> Dns:
    extended = config.type == _DNS
    block = config if extended else view
    families = enum("clusters.common.dns.DnsLookupFamily" if extended else "cluster.Cluster.DnsLookupFamily")
    return Dns(
        refresh_s=block.seconds("dns_refresh_rate", 5.0),
        respect_ttl=block.flag("respect_dns_ttl"),
        family=block.word("dns_lookup_family", "AUTO", families),
        all_in_one=config.flag("all_addresses_in_single_endpoint"),
        origin=block.where,
    )


def _overprovisioning(view: View) -> Value[int]:
    return view.within("load_assignment").within("policy").whole("overprovisioning_factor", 140)
