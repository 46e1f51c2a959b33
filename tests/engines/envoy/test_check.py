"""Every field is one that Envoy has there and takes such a value, or that is a problem with a sentence."""

import pytest

from levelhead.engines.envoy import schema
from levelhead.engines.envoy.check import check
from levelhead.engines.envoy.syntax import parse
from levelhead.model import Origin

RANDOM = "type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random"


def problems(text: str, message: str = "cluster.Cluster") -> list[tuple[Origin, str]]:
    node = parse(text, "f").root
    assert node is not None
    return [(p.origin, p.sentence) for p in check(node, message)]


@pytest.mark.parametrize(
    ("text", "line", "column", "sentence"),
    [
        ("name: a\nfoo: 1", 2, 1, '"foo" is no field of a Cluster in Envoy 1.40'),
        ("name: a\nconect_timeout: 1s", 2, 1,
         '"conect_timeout" is no field of a Cluster in Envoy 1.40: did you mean "connect_timeout"?'),
        ("name: a\ninterval: 1s", 2, 1,
         '"interval" is no field of a Cluster in Envoy 1.40: it belongs inside "health_checks" or "outlier_detection"'),
        ("name: 12", 1, 7, '"name" is text: put 12 between quotes'),
        ("name: a\nconnect_timeout: 1m", 2, 18, '"connect_timeout" takes seconds like 0.25s, not "1m"'),
        ("name: a\nconnect_timeout: 1", 2, 18, '"connect_timeout" takes seconds like 0.25s, not "1"'),
        ("name: a\nper_connection_buffer_limit_bytes: 1_000", 2, 36,
         '"per_connection_buffer_limit_bytes" takes a whole number, not "1_000"'),
        ("name: a\nrespect_dns_ttl: 1", 2, 18, '"respect_dns_ttl" is true or false, not "1"'),
        ("name: a\ntype: DNS", 2, 7,
         '"type" is one of STATIC, STRICT_DNS, LOGICAL_DNS, EDS, ORIGINAL_DST, not "DNS"'),
        ("name: a\ncommon_lb_config: {healthy_panic_threshold: 30}", 2, 45,
         "a Percent is made of named fields, and this is none"),
        ("name: a\nconnect_timeout: [1s]", 2, 18, '"connect_timeout" takes one value, not a list or a mapping'),
        ("type: EDS", 1, 1, 'a Cluster needs "name"'),
        ("name: a\nhealth_checks: {timeout: 1s, interval: 1s, healthy_threshold: 1}", 2, 16,
         'a HealthCheck needs "unhealthy_threshold"'),
        ("name: a\ntransport_socket: {name: x, typed_config: {sni: a}}", 2, 43,
         'this needs an "@type" that says what it is'),
        (f'name: a\ncluster_type: {{name: x, typed_config: {{"@type": {RANDOM}s}}}}', 2, 49,
         f'"{RANDOM}s" is no type of Envoy 1.40: did you mean load_balancing_policies.random.Random?'),
        ('name: a\ncluster_type: {name: x, typed_config: {"@type": a/envoy.api.v2.Cluster}}', 2, 49,
         "envoy.api.v2.Cluster is of the v2 API, which Envoy no longer has"),
    ],
)  # fmt: skip
def test_problems(text: str, line: int, column: int, sentence: str) -> None:
    assert problems(text) == [(Origin("f", line, column), sentence)]


@pytest.mark.parametrize(
    "text",
    [
        "{name: a, connectTimeout: 1.5s, lbPolicy: maglev}",
        "{name: a, type: 1, lb_policy: '2'}",
        "name: a\nconnect_timeout: {seconds: 1, nanos: 5}\nper_connection_buffer_limit_bytes: {value: 3}",
        "name: a\noutlier_detection:\nhealth_checks: []\nrespect_dns_ttl: on",
        "name: a\nmetadata: {filter_metadata: {anything: {at: [all]}}}",
        'name: a\ncluster_type: {name: x, typed_config: {"@type": type.googleapis.com/my.own.Type, any: thing}}',
        "name: a\ntyped_extension_protocol_options: {x: {'@type': y/z.V}}",
    ],
)
def test_what_envoy_takes_is_no_problem(text: str) -> None:
    assert problems(text) == []


def test_types_say_themselves_what_they_are() -> None:
    text = '"@type": type.googleapis.com/envoy.config.listener.v3.Listener\nnane: a'

    assert problems(text) == [
        (Origin("f", 2, 1), '"nane" is no field of a Listener in Envoy 1.40: did you mean "name"?')
    ]


def test_the_table_is_whole() -> None:
    kinds = {
        field.kind for name in schema.names() for field in (schema.message(name) or pytest.fail(name)).fields.values()
    }

    assert len(schema.names()) > 300
    assert {k for k in kinds - schema.PLAIN if schema.message(k) is None and not schema.enum(k)} == set()
    assert schema.named("type.googleapis.com/envoy.config.cluster.v3.Cluster.EdsClusterConfig") == (
        "cluster.Cluster.EdsClusterConfig"
    )
    assert schema.camel("load_balancing_weight") == "loadBalancingWeight"
