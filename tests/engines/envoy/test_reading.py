"""What an Envoy configuration amounts to: clusters, members, policies, and the listeners and routes that use them."""

import pytest

from levelhead.engines.envoy.picture import (
    Address,
    Cluster,
    ClusterProvided,
    HttpSide,
    LeastRequest,
    Listener,
    Maglev,
    Other,
    OtherSide,
    Random,
    Reading,
    RingHash,
    RoundRobin,
    Route,
    RouteTable,
    TcpSide,
    Unknown,
)
from levelhead.engines.envoy.reading import read
from levelhead.engines.text import Value
from levelhead.errors import ConfigError
from levelhead.model import NOWHERE, Origin

POLICIES = "type.googleapis.com/envoy.extensions.load_balancing_policies"
FILTERS = "type.googleapis.com/envoy.extensions.filters"
TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"


def of(text: str, **more: str) -> Reading:
    return read({"f": text, **more}, "f")


def endpoint(host: str, port: int = 80, more: str = "") -> str:
    return f"{{endpoint: {{address: {{socket_address: {{address: {host}, port_value: {port}}}}}}}{more}}}"


def cluster(fields: str, *endpoints: str) -> Cluster:
    """A cluster of these fields; with endpoints, those are its load assignment."""
    members = f", load_assignment: {{cluster_name: c, endpoints: [{{lb_endpoints: [{', '.join(endpoints)}]}}]}}"
    reading = of(f"static_resources: {{clusters: [{{name: c, {fields}{members if endpoints else ''}}}]}}")
    assert reading.problems == ()
    return reading.clusters[0]


def sentences(text: str) -> list[str]:
    return [p.sentence for p in of(text).problems]


def test_a_bare_cluster_has_the_defaults_of_envoy() -> None:
    bare = cluster("type: STATIC", endpoint("10.0.0.1"))

    assert (bare.connect_timeout_s, bare.kind.value, bare.kind.is_default) == (Value(5.0), "STATIC", False)
    assert bare.balancing.policy == RoundRobin(None)
    assert (bare.balancing.panic_percent, bare.balancing.merge_window_s) == (Value(50.0), Value(1.0))
    assert bare.balancing.by_locality == Value(False)
    assert bare.balancing.zone_aware is not None
    assert bare.balancing.zone_aware.least_cluster_size == Value(6)
    assert (bare.checks, bare.outliers, bare.tls) == ((), None, None)
    assert (bare.breakers.default.connections, bare.breakers.default.retries) == (Value(1024), Value(3))
    assert (bare.breakers.default.budget, bare.breakers.default.origin) == (None, NOWHERE)
    assert (bare.protocol.http, bare.protocol.idle_timeout_s, bare.protocol.max_requests) == (
        "http1",
        Value(3600.0),
        Value(0),
    )
    assert (bare.dns.refresh_s, bare.dns.family, bare.overprovisioning_percent) == (
        Value(5.0),
        Value("AUTO"),
        Value(140),
    )


def test_endpoints_say_all_they_have() -> None:
    text = """
static_resources:
  clusters:
  - name: c
    type: STATIC
    load_assignment:
      cluster_name: c
      endpoints:
      - locality: {region: r, zone: z, sub_zone: s}
        priority: 1
        load_balancing_weight: 7
        lb_endpoints:
        - endpoint:
            hostname: h
            address: {socket_address: {address: "::1", port_value: 8080}}
            health_check_config: {port_value: 9000, disable_active_health_check: true}
          health_status: draining
          load_balancing_weight: 5
          metadata: {filter_metadata: {envoy.lb: {version: v1, canary: true}}}
        - endpoint: {address: {pipe: {path: /run/a.sock}}}
"""
    members = of(text).clusters[0].members
    assert not isinstance(members, Unknown)
    (locality,) = members
    first, second = locality.endpoints

    assert (locality.region, locality.zone, locality.sub_zone, locality.priority.value) == ("r", "z", "s", 1)
    assert (locality.weight, locality.origin) == (Value(7, Origin("f", 11, 32)), Origin("f", 9, 9))
    assert first.at == Address("ip", "::1", 8080, Origin("f", 15, 39))
    assert str(first.at) == "[::1]:8080"
    assert (first.weight, first.health.value, first.hostname) == (Value(5, Origin("f", 18, 34)), "DRAINING", "h")
    assert (first.check_port.value, first.unchecked.value) == (9000, True)
    assert first.labels == (("version", "v1"), ("canary", "true"))
    assert second.at == Address("pipe", "/run/a.sock", None, Origin("f", 20, 38))
    assert (second.weight, second.health) == (Value(1), Value("UNKNOWN"))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ("type: EDS, eds_cluster_config: {eds_config: {ads: {}}}", "its endpoints come by EDS"),
        ("type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED", "its endpoint is wherever the client wanted to go"),
        ("cluster_type: {name: envoy.clusters.aggregate, typed_config: {'@type': "
         "type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig, clusters: [a, b]}}",
         "it is made of a, b"),
        ("cluster_type: {name: mine, typed_config: {'@type': x/y.Z}}", "its endpoints come from y.Z"),
    ],
)  # fmt: skip
def test_members_that_nobody_can_tell_are_unknown(fields: str, why: str) -> None:
    found = cluster(fields)

    assert isinstance(found.members, Unknown)
    assert (found.members.why, found.endpoints) == (why, ())


def test_dns_clusters_come_in_two_spellings() -> None:
    config = "{'@type': type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster, dns_refresh_rate: 9s"
    by_type = f"cluster_type: {{name: envoy.clusters.dns, typed_config: {config}%s}}}}"

    assert cluster("type: strict_dns, dns_refresh_rate: 7s", endpoint("a.b")).dns.refresh_s.value == 7.0
    assert cluster(by_type % "", endpoint("a.b")).kind.value == "STRICT_DNS"
    together = cluster(by_type % ", all_addresses_in_single_endpoint: true", endpoint("a.b"))
    assert (together.kind.value, together.dns.refresh_s.value) == ("LOGICAL_DNS", 9.0)


def policy(fields: str) -> object:
    return cluster(f"type: STATIC, {fields}", endpoint("10.0.0.1")).balancing.policy


def test_policies_of_old() -> None:
    least = policy(
        "lb_policy: LEAST_REQUEST, least_request_lb_config: {choice_count: 3, active_request_bias:"
        " {default_value: 0.5, runtime_key: x}, slow_start_config: {slow_start_window: 30s}}"
    )
    ring = policy(
        "lb_policy: RING_HASH, ring_hash_lb_config: {minimum_ring_size: 64, hash_function: MURMUR_HASH_2},"
        " common_lb_config: {consistent_hashing_lb_config: {hash_balance_factor: 150, use_hostname_for_hashing: true}}"
    )

    assert isinstance(least, LeastRequest)
    assert (least.choices.value, least.bias.value) == (3, 0.5)
    assert least.slow_start is not None
    assert (least.slow_start.window_s.value, least.slow_start.least_percent) == (30.0, Value(10.0))
    assert isinstance(ring, RingHash)
    assert (ring.least.value, ring.most.value, ring.function.value) == (64, 8388608, "MURMUR_HASH_2")
    assert (ring.load_factor.value, ring.by_hostname.value) == (150, True)
    assert isinstance(policy("lb_policy: RANDOM"), Random)
    assert isinstance(policy("lb_policy: 3"), Random)
    assert isinstance(policy("lb_policy: CLUSTER_PROVIDED"), ClusterProvided)
    maglev = policy("lb_policy: MAGLEV, maglev_lb_config: {table_size: 251}")
    assert isinstance(maglev, Maglev)
    assert (maglev.table_size.value, maglev.load_factor) == (251, Value(None))


def extension(*configs: str) -> str:
    listed = ", ".join(f"{{typed_extension_config: {{name: p, typed_config: {c}}}}}" for c in configs)
    return f"load_balancing_policy: {{policies: [{listed}]}}"


def test_policies_of_today() -> None:
    least = f"{{'@type': {POLICIES}.least_request.v3.LeastRequest, choice_count: 5}}"
    ring = f"{{'@type': {POLICIES}.ring_hash.v3.RingHash, consistent_hashing_lb_config: {{hash_balance_factor: 120}}}}"
    inner = f"endpoint_picking_policy: {{policies: [{{typed_extension_config: {{name: i, typed_config: {least}}}}}]}}"
    wrr = f"{{'@type': {POLICIES}.wrr_locality.v3.WrrLocality, {inner}}}"

    found = policy(f"lb_policy: MAGLEV, {extension(least)}")
    assert isinstance(found, LeastRequest)
    assert found.choices.value == 5
    hashed = policy(extension("{'@type': a/my.Policy}", ring))
    assert isinstance(hashed, RingHash)
    assert hashed.load_factor.value == 120
    assert policy(extension("{'@type': a/my.Policy}")) == Other("my.Policy", Origin("f", 1, 139))
    wrapped = cluster(f"type: STATIC, {extension(wrr)}", endpoint("10.0.0.1")).balancing
    assert isinstance(wrapped.policy, LeastRequest)
    assert (wrapped.by_locality.value, wrapped.zone_aware) == (True, None)


def test_localities_and_subsets() -> None:
    weighted = cluster("common_lb_config: {locality_weighted_lb_config: {}}", endpoint("10.0.0.1")).balancing
    aware = cluster(
        "common_lb_config: {healthy_panic_threshold: {value: 0}, update_merge_window: 0s, zone_aware_lb_config:"
        " {routing_enabled: {value: 20}, min_cluster_size: 3, fail_traffic_on_panic: true}},"
        " lb_subset_config: {fallback_policy: ANY_ENDPOINT, subset_selectors: [{keys: [a, b]}, {keys: [c]}]}",
        endpoint("10.0.0.1"),
    ).balancing

    assert (weighted.by_locality.value, weighted.zone_aware) == (True, None)
    assert aware.zone_aware is not None
    assert (aware.zone_aware.routing_percent.value, aware.zone_aware.fail_on_panic.value) == (20.0, True)
    assert (aware.panic_percent.value, aware.panic_percent.is_default, aware.merge_window_s.value) == (0.0, False, 0.0)
    assert aware.subsets is not None
    assert (aware.subsets.fallback.value, aware.subsets.keys) == ("ANY_ENDPOINT", (("a", "b"), ("c",)))


def test_checks() -> None:
    common = "timeout: 1s, interval: 5s, unhealthy_threshold: 2, healthy_threshold: 1"
    http, tcp, grpc, custom = cluster(
        f"health_checks: [{{{common}, no_traffic_interval: 9s, event_log_path: /e, http_health_check:"
        " {path: /h, host: x, expected_statuses: [{start: 200, end: 300}]}},"
        f" {{{common}, tcp_health_check: {{}}, reuse_connection: false}},"
        f" {{{common}, grpc_health_check: {{}}}}, {{{common}, custom_health_check: {{name: redis}}}}]",
        endpoint("10.0.0.1"),
    ).checks

    assert (http.kind, http.path.value, http.host.value, http.statuses) == ("http", "/h", "x", ((200, 300),))
    assert (http.interval_s.value, http.timeout_s.value, http.unhealthy_threshold.value) == (5.0, 1.0, 2)
    assert (http.no_traffic_interval_s.value, http.unhealthy_interval_s.value, http.logged) == (9.0, 5.0, True)
    assert (tcp.kind, tcp.sends, tcp.reuse_connection.value, tcp.no_traffic_interval_s) == (
        "tcp",
        False,
        False,
        Value(60.0),
    )
    assert (grpc.kind, grpc.statuses, custom.kind) == ("grpc", ((200, 201),), "redis")


def test_outliers_breakers_and_connections() -> None:
    found = cluster(
        "outlier_detection: {consecutive_5xx: 9, max_ejection_percent: 30, base_ejection_time: 400s},"
        " circuit_breakers: {thresholds: [{priority: HIGH, max_requests: 5}, {max_connections: 7, retry_budget: {}}],"
        " per_host_thresholds: [{max_connections: 2}]}, connect_timeout: 0.25s, max_requests_per_connection: 3,"
        " close_connections_on_host_health_failure: true, ignore_health_on_host_removal: true",
        endpoint("10.0.0.1"),
    )
    outliers, breakers = found.outliers, found.breakers

    assert outliers is not None
    assert (outliers.consecutive_5xx.value, outliers.most_ejected_percent.value) == (9, 30)
    assert (outliers.interval_s, outliers.longest_ejection_s, outliers.always_one) == (
        Value(10.0),
        Value(400.0),
        Value(False),
    )
    assert (breakers.default.connections.value, breakers.default.requests) == (7, Value(1024))
    assert breakers.default.budget is not None
    assert (breakers.default.budget.percent, breakers.default.budget.least) == (Value(20.0), Value(3))
    assert (breakers.high.requests.value, breakers.high.budget, breakers.per_host_connections.value) == (5, None, 2)
    assert (found.connect_timeout_s.value, found.protocol.max_requests.value) == (0.25, 3)
    assert (found.close_on_failure.value, found.ignore_health_on_removal.value) == (True, True)


@pytest.mark.parametrize(
    ("context", "verified"),
    [
        ("", False),
        (", common_tls_context: {validation_context: {trusted_ca: {filename: /ca}}}", True),
        (", common_tls_context: {validation_context: {match_typed_subject_alt_names: []}}", False),
        (", common_tls_context: {validation_context_sds_secret_config: {name: x}}", True),
        (", common_tls_context: {combined_validation_context: {default_validation_context:"
         " {trusted_ca: {filename: /c}}}}", True),
    ],
)  # fmt: skip
def test_tls(context: str, verified: bool) -> None:
    socket = f"{{name: tls, typed_config: {{'@type': {TLS}, sni: a.b{context}}}}}"
    tls = cluster(f"transport_socket: {socket}", endpoint("10.0.0.1")).tls

    assert tls is not None
    assert (tls.name.value, tls.verified) == ("a.b", verified)


@pytest.mark.parametrize(
    ("options", "http"),
    [
        ("explicit_http_config: {http2_protocol_options: {}}", "http2"),
        ("explicit_http_config: {http_protocol_options: {}}", "http1"),
        ("auto_config: {}", "auto"),
        ("use_downstream_protocol_config: {}", "downstream"),
    ],
)
def test_protocols(options: str, http: str) -> None:
    key = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    common = "common_http_protocol_options: {idle_timeout: 9s, max_requests_per_connection: 4}"
    typed = f"{{'@type': type.googleapis.com/{key}, {options}, {common}}}"
    protocol = cluster(f"typed_extension_protocol_options: {{{key}: {typed}}}", endpoint("10.0.0.1")).protocol

    assert (protocol.http, protocol.idle_timeout_s.value, protocol.max_requests.value) == (http, 9.0, 4)
    assert cluster("http2_protocol_options: {}", endpoint("10.0.0.1")).protocol.http == "http2"


@pytest.mark.parametrize(
    ("clusters", "sentence"),
    [
        ("{name: c, type: LOGICAL_DNS, load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: ["
         f"{endpoint('a')}, {endpoint('b')}]}}]}}}}", "a LOGICAL_DNS cluster has one endpoint, this one has 2"),
        (f"{{name: c, load_assignment: {{cluster_name: c, endpoints: [{{lb_endpoints: [{endpoint('a.b')}]}}]}}}}",
         '"a.b" is a name, which a STATIC cluster does not look up: STRICT_DNS does'),
        ("{name: c, load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: ["
         f"{endpoint('10.0.0.1', more=', load_balancing_weight: 0')}]}}]}}}}",
         "the weight of an endpoint is at least 1, not 0: leave it out, or set it DRAINING"),
        ("{name: c, load_assignment: {cluster_name: c, endpoints: [{load_balancing_weight: 0, priority: 129}]}}",
         "the weight of a locality is at least 1, not 0"),
        ("{name: c, load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: ["
         f"{endpoint('10.0.0.1', 70000)}]}}]}}}}", "a port is at most 65535, not 70000"),
        ("{name: c}, {name: c}", 'cluster "c" is written twice'),
        ("{name: c, connect_timeout: 0s}", "connect_timeout is more than 0s"),
        ("{name: c, lb_policy: RING_HASH, ring_hash_lb_config: {minimum_ring_size: 9, maximum_ring_size: 8}}",
         "the ring's minimum (9) is above its maximum (8)"),
    ],
)  # fmt: skip
def test_what_envoy_would_refuse_of_a_cluster(clusters: str, sentence: str) -> None:
    assert sentences(f"static_resources: {{clusters: [{clusters}]}}")[0] == sentence


def listener(filters: str, more: str = "") -> Listener:
    chain = f"filter_chains: [{{filters: [{filters}]}}]"
    reading = of(
        "static_resources: {clusters: [{name: a}, {name: b}], listeners: [{name: l, address: {socket_address:"
        f" {{address: 0.0.0.0, port_value: 80}}}}, {chain}{more}}}]}}"
    )
    assert reading.problems == ()
    return reading.listeners[0]


def http(fields: str) -> HttpSide:
    typed = f"{{'@type': {FILTERS}.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: s, {fields}}}"
    (side,) = listener(f"{{name: http, typed_config: {typed}}}").sides
    assert isinstance(side, HttpSide)
    return side


def route(fields: str, host: str = "") -> Route:
    side = http(f"route_config: {{virtual_hosts: [{{name: v, domains: ['*'], routes: [{fields}]{host}}}]}}")
    assert isinstance(side.routes, RouteTable)
    return side.routes.hosts[0].routes[0]


def test_a_route_has_what_nobody_set() -> None:
    found = route("{match: {prefix: /}, route: {cluster: a}}")

    assert (found.match.kind, found.match.text, found.match.conditions, found.match.fraction) == (
        "prefix",
        "/",
        0,
        Value(1.0),
    )
    assert (found.action, [(w.cluster, w.weight) for w in found.clusters]) == ("cluster", [("a", Value(1))])
    assert (found.timeout_s, found.idle_timeout_s, found.retry, found.hash_on) == (Value(15.0), Value(None), None, ())


def test_a_route_says_all_it_has() -> None:
    found = route(
        "{name: r, match: {safe_regex: {regex: /a.*}, headers: [{name: x, present_match: true}], runtime_fraction:"
        " {default_value: {numerator: 5, denominator: TEN_THOUSAND}}}, route: {timeout: 0s, idle_timeout: 3s,"
        " weighted_clusters: {clusters: [{name: a, weight: 90}, {name: b, weight: 10}]}, hash_policy: [{header:"
        " {header_name: x-u}, terminal: true}, {connection_properties: {source_ip: true}}], request_mirror_policies:"
        " [{cluster: b}], upgrade_configs: [{upgrade_type: websocket}], max_stream_duration: {max_stream_duration: 9s},"
        " retry_policy: {retry_on: '5xx, reset', num_retries: 4, per_try_timeout: 2s, retriable_status_codes: [503],"
        " retry_host_predicate: [{name: p}], host_selection_retry_max_attempts: 3}}}"
    )
    retry = found.retry

    assert (found.match.kind, found.match.text, found.match.conditions, found.match.fraction.value) == (
        "regex", "/a.*", 2, 0.0005,
    )  # fmt: skip
    assert (found.action, [(w.cluster, w.weight.value) for w in found.clusters]) == ("weighted", [("a", 90), ("b", 10)])
    assert (found.timeout_s.value, found.idle_timeout_s.value, found.longest_stream_s.value) == (0.0, 3.0, 9.0)
    assert [(h.kind, h.name, h.terminal.value) for h in found.hash_on] == [
        ("header", "x-u", True), ("connection_properties", "", False),
    ]  # fmt: skip
    assert (found.mirrors, found.upgrades, found.name) == (("b",), ("websocket",), "r")
    assert retry is not None
    assert (retry.on, retry.count.value, retry.per_try_timeout_s.value) == (("5xx", "reset"), 4, 2.0)
    assert (retry.predicates, retry.repicks.value, retry.statuses) == ((("p", False),), 3, (503,))


def test_a_route_takes_the_retries_of_its_host() -> None:
    found = route("{match: {path: /x}, route: {cluster: a}}", ", retry_policy: {retry_on: 5xx}")

    assert found.retry is not None
    assert (found.retry.on, found.retry.count) == (("5xx",), Value(1))


@pytest.mark.parametrize(
    ("fields", "action"),
    [
        ("redirect: {host_redirect: x}", "redirect"),
        ("direct_response: {status: 200}", "direct"),
        ("route: {cluster_header: x}", "header"),
        ("route: {cluster_specifier_plugin: x}", "other"),
    ],
)
def test_actions(fields: str, action: str) -> None:
    assert route(f"{{match: {{prefix: /}}, {fields}}}").action == action


def test_the_http_side() -> None:
    file_log = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
    side = http(
        "rds: {route_config_name: r, config_source: {ads: {}}}, stream_idle_timeout: 0s, use_remote_address: true,"
        " xff_num_trusted_hops: 2, generate_request_id: false, common_http_protocol_options:"
        " {max_connection_duration: 60s, idle_timeout: 10s}, upgrade_configs: [{upgrade_type: websocket}],"
        f" access_log: [{{name: f, typed_config: {{'@type': {file_log}, path: /l, log_format: {{text_format_source:"
        " {inline_string: '%UPSTREAM_HOST%'}}}}, {name: x}], http_filters: [{name: envoy.filters.http.router,"
        f" typed_config: {{'@type': {FILTERS}.http.router.v3.Router, upstream_log: [{{name: u}}]}}}}]"
    )

    assert isinstance(side.routes, Unknown)
    assert side.routes.why == 'its routes "r" come by RDS'
    assert (side.stream_idle_timeout_s.value, side.request_timeout_s, side.idle_timeout_s.value) == (
        0.0,
        Value(0.0),
        10.0,
    )
    assert (side.longest_connection_s.value, side.use_remote_address.value, side.trusted_hops.value) == (60.0, True, 2)
    assert (side.request_id.value, side.filters, side.upgrades) == (
        False,
        ("filters.http.router.Router",),
        ("websocket",),
    )
    assert [(log.type, log.format) for log in side.logs] == [
        ("access_loggers.file.FileAccessLog", "%UPSTREAM_HOST%"), ("x", ""),
    ]  # fmt: skip
    assert [log.type for log in side.upstream_logs] == ["u"]


def test_other_sides_and_listeners() -> None:
    tcp = f"{{'@type': {FILTERS}.network.tcp_proxy.v3.TcpProxy, stat_prefix: s, cluster: a, idle_timeout: 5s,"
    redis = (
        f"{{'@type': {FILTERS}.network.redis_proxy.v3.RedisProxy, prefix_routes: {{catch_all_route: {{cluster: b}}}}}}"
    )
    found = listener(
        f"{{name: t, typed_config: {tcp} hash_policy: [{{source_ip: {{}}}}]}}}}, {{name: r, typed_config: {redis}}}",
        ", listener_filters: [{name: envoy.filters.listener.proxy_protocol}]",
    )
    first, second = found.sides

    assert isinstance(first, TcpSide)
    assert ([w.cluster for w in first.clusters], first.idle_timeout_s.value, first.hash_on[0].kind) == (
        ["a"],
        5.0,
        "source_ip",
    )
    assert isinstance(second, OtherSide)
    assert (second.type, second.clusters) == ("filters.network.redis_proxy.RedisProxy", ("b",))
    assert (str(found.at), found.tls, found.proxy_protocol) == ("0.0.0.0:80", False, True)


@pytest.mark.parametrize(
    ("routes", "sentence"),
    [
        ("{match: {prefix: /}, route: {cluster: nowhere}}", 'there is no cluster "nowhere"'),
        ("{match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: a, weight: 0}]}}}",
         "the weights of weighted_clusters add up to 0"),
        ("{match: {prefix: /}, route: {cluster: a}, retry_policy: {retry_on: 5xx}}",
         '"retry_policy" is no field of a Route in Envoy 1.40: it belongs inside "route"'),
        ("{route: {cluster: a}}", 'a Route needs "match"'),
    ],
)  # fmt: skip
def test_what_envoy_would_refuse_of_routes(routes: str, sentence: str) -> None:
    manager = f"{FILTERS}.network.http_connection_manager.v3.HttpConnectionManager"
    table = f"{{virtual_hosts: [{{name: v, domains: [x], routes: [{routes}]}}]}}"
    filters = f"[{{name: h, typed_config: {{'@type': {manager}, stat_prefix: s, route_config: {table}}}}}]"
    listeners = f"[{{name: l, filter_chains: [{{filters: {filters}}}]}}]"
    text = f"static_resources: {{clusters: [{{name: a}}], listeners: {listeners}}}"

    assert sentences(text) == [sentence]


def test_answers_of_a_control_plane_and_dumps() -> None:
    kind = "type.googleapis.com/envoy.config"
    answer = of(
        f"resources: [{{'@type': {kind}.cluster.v3.Cluster, name: c}},"
        f" {{'@type': {kind}.endpoint.v3.ClusterLoadAssignment, cluster_name: e,"
        f" endpoints: [{{lb_endpoints: [{endpoint('10.0.0.9')}]}}]}}, {{'@type': x/y.Z, a: b}},"
        f" {{'@type': {kind}.route.v3.RouteConfiguration, name: r, virtual_hosts: []}}]"
    )
    dump = of(f'[{{"cluster": {{"@type": "{kind}.cluster.v3.Cluster", "name": "d"}}, "last_updated": "x"}}]')
    listed = of("- {name: e, type: EDS}\n- {name: f, lb_policy: RANDOM}\n")

    assert ([c.name for c in answer.clusters], [t.name for t in answer.route_tables]) == (["c"], ["r"])
    assert [(name, [str(e.at) for x in found for e in x.endpoints]) for name, found in answer.assignments] == [
        ("e", ["10.0.0.9:80"])
    ]
    assert (len(answer.others), answer.problems) == (1, ())
    assert [c.name for c in dump.clusters] == ["d"]
    assert [c.name for c in listed.clusters] == ["f"]


def test_what_comes_from_other_files_is_read_where_they_are_given() -> None:
    kind = "type.googleapis.com/envoy.config"
    files = {
        "envoy.yaml": "dynamic_resources: {cds_config: {path_config_source: {path: /etc/envoy/cds.yaml}},"
        " lds_config: {path_config_source: {path: /etc/envoy/lds.yaml}}}",
        "x/cds.yaml": f"resources: [{{'@type': {kind}.cluster.v3.Cluster, name: c, type: EDS, eds_cluster_config:"
        " {service_name: s, eds_config: {path: eds.json}}}]",
        "eds.json": f'{{"resources": [{{"@type": "{kind}.endpoint.v3.ClusterLoadAssignment", "cluster_name": "s",'
        f' "endpoints": [{{"lb_endpoints": [{endpoint("10.0.0.9")}]}}]}}]}}',
    }
    reading = read(files, "envoy.yaml")

    assert reading.files == ("envoy.yaml", "x/cds.yaml", "eds.json")
    assert [(c.name, [str(e.at) for e in c.endpoints]) for c in reading.clusters] == [("c", ["10.0.0.9:80"])]
    assert [u.why for u in reading.dynamic] == ["listeners come by LDS from /etc/envoy/lds.yaml, which was not given"]


def test_the_administration_page_and_references() -> None:
    reading = of(
        "node: {cluster: me}\nadmin: {address: {socket_address: {address: 0.0.0.0, port_value: 9901}}}\n"
        "static_resources:\n  clusters:\n  - {name: a, load_assignment: {cluster_name: a, endpoints: []}}\n"
        "dynamic_resources: {ads_config: {api_type: GRPC, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}}\n"
    )

    assert str(reading.admin.at) == "0.0.0.0:9901"
    assert reading.references == frozenset({"xds"})
    assert reading.cluster("a") is reading.clusters[0]
    assert reading.cluster("z") is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("what: ever", "this looks neither like a bootstrap nor like a resource of Envoy"),
        ("word", "this is one word, not a configuration"),
    ],
)
def test_what_is_no_configuration_is_told(text: str, sentence: str) -> None:
    assert sentences(text) == [sentence]


def test_an_empty_file_is_empty() -> None:
    reading = of("")

    assert (reading.clusters, reading.problems) == ((), ())
    with pytest.raises(ConfigError, match="no such file"):
        read({}, "f")
