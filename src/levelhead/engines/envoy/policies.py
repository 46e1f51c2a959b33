"""Reads how a cluster chooses among its endpoints: lb_policy with its settings of old, or load_balancing_policy."""

from __future__ import annotations

from typing import Final

from levelhead.engines.envoy.fields import View
from levelhead.engines.envoy.picture import (
    Balancing,
    ClientSideWeighted,
    ClusterProvided,
    LeastRequest,
    Maglev,
    Other,
    Policy,
    Random,
    RingHash,
    RoundRobin,
    SlowStart,
    Subsets,
    ZoneAware,
)
from levelhead.engines.envoy.schema import enum
from levelhead.engines.text import Problem, Value
from levelhead.model import Origin

_PANIC_PERCENT: Final = 50.0
_MERGE_S: Final = 1.0
_RING_LEAST: Final = 1024
_RING_MOST: Final = 8 * 1024 * 1024
_MAGLEV_SIZE: Final = 65_537
_EXTENSIONS: Final = "load_balancing_policies."
_DEEPEST: Final = 5


def balancing(cluster: View, problems: list[Problem]) -> Balancing:
    """All that decides which endpoint of a cluster is next."""
    common = cluster.within("common_lb_config")
    extension = _extension(cluster)
    policy = _extended(extension, 0) if extension is not None else _named(cluster, common)
    _ring(policy, problems)
    weighted, zone_aware = _localities(common, extension)
    return Balancing(
        policy=policy,
        subsets=_subsets(cluster, extension),
        by_locality=weighted,
        zone_aware=zone_aware,
        panic_percent=common.percent("healthy_panic_threshold", _PANIC_PERCENT),
        merge_window_s=common.seconds("update_merge_window", _MERGE_S),
        ignore_new_until_checked=common.flag("ignore_new_hosts_until_first_hc"),
        close_on_change=common.flag("close_connections_on_host_set_change"),
    )


def _extension(cluster: View) -> View | None:
    """The first policy of load_balancing_policy that is known here, else the first."""
    block = cluster.view("load_balancing_policy")
    if block is None:
        return None
    listed = [p for p in block.views("policies") if p.view("typed_extension_config") is not None]
    typed = [t for p in listed if (e := p.view("typed_extension_config")) and (t := e.view("typed_config"))]
    known = [t for t in typed if t.type.startswith(_EXTENSIONS)]
    return (known or typed or [block])[0]


def _named(cluster: View, common: View) -> Policy:
    """The policy of lb_policy; its origin is NOWHERE where it is the default."""
    name = cluster.word("lb_policy", "ROUND_ROBIN", enum("cluster.Cluster.LbPolicy"))
    origin = name.origin
    hashing = common.within("consistent_hashing_lb_config")
    match name.value:
        case "LEAST_REQUEST":
            return _least_request(cluster.within("least_request_lb_config"), origin)
        case "RANDOM":
            return Random(origin)
        case "RING_HASH":
            return _ring_hash(cluster.within("ring_hash_lb_config"), hashing, origin)
        case "MAGLEV":
            return _maglev(cluster.within("maglev_lb_config"), hashing, origin)
        case "CLUSTER_PROVIDED":
            return ClusterProvided(origin)
        case "ROUND_ROBIN":
            config = cluster.within("round_robin_lb_config")
            return RoundRobin(_slow_start(config), origin)
        case other:
            return Other(other, origin)


def _extended(config: View, depth: int) -> Policy:
    """The policy of an extension; one that wraps another is looked through."""
    hashing = config.within("consistent_hashing_lb_config")
    origin = config.where
    match config.type.removeprefix(_EXTENSIONS):
        case "round_robin.RoundRobin":
            return RoundRobin(_slow_start(config), origin)
        case "least_request.LeastRequest":
            return _least_request(config, origin)
        case "random.Random":
            return Random(origin)
        case "ring_hash.RingHash":
            return _ring_hash(config, hashing, origin)
        case "maglev.Maglev":
            return _maglev(config, hashing, origin)
        case "cluster_provided.ClusterProvided":
            return ClusterProvided(origin)
        case "client_side_weighted_round_robin.ClientSideWeightedRoundRobin":
            slow_start = _slow_start(config)
            return ClientSideWeighted(
                config.seconds("blackout_period", 10.0), config.seconds("weight_update_period", 1.0), slow_start, origin
            )
        case "wrr_locality.WrrLocality" | "subset.Subset" as wrapper:
            field = "endpoint_picking_policy" if wrapper.startswith("wrr") else "subset_lb_policy"
            inner = config.view(field)
            typed = [t for p in (inner.views("policies") if inner else ()) if (t := _typed(p)) is not None]
            return _extended(typed[0], depth + 1) if typed and depth < _DEEPEST else Other(config.type, origin)
        case _:
            return Other(config.type, origin)


def _typed(policy: View) -> View | None:
    extension = policy.view("typed_extension_config")
    return extension.view("typed_config") if extension is not None else None


def _least_request(config: View, origin: Origin) -> LeastRequest:
    bias = config.within("active_request_bias")
    return LeastRequest(
        config.whole("choice_count", 2), bias.number("default_value", 1.0), _slow_start(config), origin
    )  # fmt: skip


def _ring_hash(config: View, hashing: View, origin: Origin) -> RingHash:
    return RingHash(
        least=config.whole("minimum_ring_size", _RING_LEAST),
        most=config.whole("maximum_ring_size", _RING_MOST),
        function=config.word("hash_function", "XX_HASH", ("DEFAULT_HASH", "XX_HASH", "MURMUR_HASH_2")),
        load_factor=_load_factor(config, hashing),
        by_hostname=_by_hostname(config, hashing),
        origin=origin,
    )


def _maglev(config: View, hashing: View, origin: Origin) -> Maglev:
    return Maglev(
        config.whole("table_size", _MAGLEV_SIZE), _load_factor(config, hashing), _by_hostname(config, hashing), origin
    )  # fmt: skip


def _load_factor(config: View, hashing: View) -> Value[int | None]:
    return (
        config.count("hash_balance_factor")
        if config.has("hash_balance_factor")
        else hashing.count("hash_balance_factor")
    )


def _by_hostname(config: View, hashing: View) -> Value[bool]:
    name = "use_hostname_for_hashing"
    return config.flag(name) if config.has(name) else hashing.flag(name)


def _slow_start(config: View) -> SlowStart | None:
    block = config.view("slow_start_config")
    if block is None:
        return None
    aggression = block.within("aggression")
    return SlowStart(
        window_s=block.seconds("slow_start_window", 0.0),
        aggression=aggression.number("default_value", 1.0),
        least_percent=block.percent("min_weight_percent", 10.0),
        origin=block.where,
    )


def _localities(common: View, extension: View | None) -> tuple[Value[bool], ZoneAware | None]:
    """Whether localities are chosen by weight; else how far requests keep to their own zone."""
    around = common
    if extension is not None:
        if extension.type.endswith("wrr_locality.WrrLocality"):
            return Value(True, extension.where), None
        # An extension has its locality settings inside, and without any it knows none.
        around = extension.within("locality_lb_config")
    weighted = around.view("locality_weighted_lb_config")
    if weighted is not None:
        return Value(True, weighted.where), None
    zone = around.view("zone_aware_lb_config")
    if zone is None and extension is not None:
        return Value(False), None
    zone = zone or common.within("zone_aware_lb_config")
    least = zone.whole("min_cluster_size", 6)
    return Value(False), ZoneAware(zone.percent("routing_enabled", 100.0), least, zone.flag("fail_traffic_on_panic"))


def _subsets(cluster: View, extension: View | None) -> Subsets | None:
    config = cluster.view("lb_subset_config") if extension is None else extension
    if config is None or (extension is not None and not extension.type.endswith("subset.Subset")):
        return None
    keys = tuple(selector.texts("keys") for selector in config.views("subset_selectors"))
    fallback = config.word(
        "fallback_policy", "NO_FALLBACK", enum("cluster.Cluster.LbSubsetConfig.LbSubsetFallbackPolicy")
    )
    return Subsets(fallback, keys, config.where)


def _ring(policy: Policy, problems: list[Problem]) -> None:
    if isinstance(policy, RingHash) and policy.least.value > policy.most.value:
        origin = policy.least.origin if not policy.least.is_default else policy.most.origin
        said = f"the ring's minimum ({policy.least.value}) is above its maximum ({policy.most.value})"
        problems.append(Problem(origin, said))
