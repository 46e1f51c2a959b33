"""Random Envoy bootstraps of static clusters on loopback that Envoy accepts, with the members they must have."""

import json
from dataclasses import dataclass
from random import Random

import yaml

Plain = str | int | float | bool | None | list["Plain"] | dict[str, "Plain"]

POLICIES: tuple[dict[str, Plain], ...] = (
    {}, {"lb_policy": "LEAST_REQUEST"}, {"lb_policy": "random"}, {"lb_policy": "RING_HASH"}, {"lb_policy": 5},
    {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": 64}},
    {"common_lb_config": {"locality_weighted_lb_config": {}}},
)  # fmt: skip


@dataclass(frozen=True)
class Expected:
    """A host as Envoy must have it."""

    host: str
    port: int
    weight: int
    health: str
    priority: int
    zone: str


@dataclass(frozen=True)
class Generated:
    """A bootstrap as text, and its clusters' hosts; `limits` are the connections its breakers allow."""

    text: str
    hosts: dict[str, frozenset[Expected]]
    limits: dict[str, int]


def generate(random: Random, admin: dict[str, Plain] | None = None) -> Generated:
    """One bootstrap with three to eight clusters, as YAML or JSON, in one spelling of its fields or the other."""
    hosts: dict[str, frozenset[Expected]] = {}
    limits: dict[str, int] = {}
    clusters: list[Plain] = []
    for number in range(random.randint(3, 8)):
        name = random.choice((f"c{number}", f"pool-{number}", f"app.{number}"))
        clusters.append(_cluster(random, name, hosts, limits))
    root: dict[str, Plain] = {"static_resources": {"clusters": clusters}}
    if admin is not None:
        root["admin"] = admin
    plain: Plain = _camel(root) if random.random() < 0.3 else root
    if random.random() < 0.3:
        return Generated(json.dumps(plain, indent=random.choice((None, 1, "\t"))), hosts, limits)
    style = random.choice((True, False, None))
    return Generated(f"# by chance\n{yaml.safe_dump(plain, default_flow_style=style)}", hosts, limits)


def _cluster(
    random: Random, name: str, hosts: dict[str, frozenset[Expected]], limits: dict[str, int]
) -> dict[str, Plain]:
    kind = random.choice(("STATIC", "strict_dns", "STATIC", 0))
    expected: list[Expected] = []
    localities: list[Plain] = []
    # No priority may be left out below one that is used.
    for priority in range(random.randint(1, 2)):
        for zone in random.sample(("a", "b", "c"), random.randint(1, 2)):
            localities.append(_locality(random, priority, zone, expected))
    hosts[name] = frozenset(expected)
    cluster: dict[str, Plain] = {
        "name": name, "type": kind, "connect_timeout": random.choice(("1s", "0.25s")),
        "load_assignment": {"cluster_name": name, "endpoints": localities}, **random.choice(POLICIES),
    }  # fmt: skip
    if random.random() < 0.5:
        limits[name] = random.randint(1, 5000)
        cluster["circuit_breakers"] = {"thresholds": [{"max_connections": limits[name]}]}
    if random.random() < 0.3:
        cluster["outlier_detection"] = {"consecutive_5xx": random.randint(1, 9)}
    return cluster


def _locality(random: Random, priority: int, zone: str, expected: list[Expected]) -> dict[str, Plain]:
    endpoints: list[Plain] = []
    for _ in range(random.randint(1, 4)):
        # Envoy keeps one host of several with the same address.
        port = 20_000 + len(expected) + 100 * priority
        weight = random.randint(1, 128) if random.random() < 0.5 else 1
        health = random.choice(("UNKNOWN", "UNKNOWN", "HEALTHY", "UNHEALTHY", "DRAINING", "DEGRADED"))
        host = f"127.0.0.{random.randint(1, 9)}"
        address: Plain = {"socket_address": {"address": host, "port_value": random.choice((port, str(port)))}}
        endpoint: dict[str, Plain] = {"endpoint": {"address": address}}
        if weight != 1 or random.random() < 0.2:
            endpoint["load_balancing_weight"] = weight
        if health != "UNKNOWN":
            endpoint["health_status"] = random.choice((health, health.lower()))
        endpoints.append(endpoint)
        expected.append(Expected(host, port, weight, health, priority, zone))
    locality: dict[str, Plain] = {"lb_endpoints": endpoints, "locality": {"zone": zone}}
    if priority or random.random() < 0.3:
        locality["priority"] = priority
    if random.random() < 0.5:
        locality["load_balancing_weight"] = random.randint(1, 10)
    return locality


def _camel(plain: Plain) -> Plain:
    if isinstance(plain, dict):
        return {_camel_word(key): _camel(value) for key, value in plain.items()}
    return [_camel(item) for item in plain] if isinstance(plain, list) else plain


def _camel_word(word: str) -> str:
    first, *rest = word.split("_")
    return first + "".join(part.capitalize() for part in rest)
