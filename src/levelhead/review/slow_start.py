"""Rules about a server that comes back: whether it gets its share at once, and whether slow start does anything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from levelhead.engines.envoy import fields
from levelhead.engines.envoy import picture as envoy
from levelhead.engines.haproxy import picture as haproxy
from levelhead.model import Fleet, LeastRequest, Origin
from levelhead.review.base import Config, Rule, Trouble
from levelhead.review.groups import percent
from levelhead.review.sections import in_use, is_checked
from levelhead.review.trees import mappings
from levelhead.review.wording import lasting, listed

# Their weights do not change while HAProxy runs; `first` has no use for weights at all.
_WITHOUT_WEIGHTS: Final = ("static-rr", "first")
_HASHING: Final = ("source", "uri", "url_param", "hdr", "rdp-cookie", "hash")
# HAProxy looks at a returning server once a second at most.
_SHORTEST_S: Final = 1.0


def _missing_haproxy(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    for proxy in config.reading.pools():
        active = in_use(proxy)
        found = [s for s in active if is_checked(s) and not s.slowstart_s]
        if proxy.algorithm != "leastconn" or len(active) < 2 or not found:
            continue
        own = proxy.balance if proxy.balance is not None and proxy.balance.defaults is None else None
        message = (
            f"when one of {listed([s.name for s in found])} comes back it has no connections, and leastconn sends it"
            " every new request until it has caught up"
        )
        fix = "add `slowstart 30s` to the servers"
        yield Trouble(own.origin if own else proxy.origin, message, proxy.name, fix=fix)


def _missing_envoy(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    for cluster in config.reading.clusters:
        policy = cluster.balancing.policy
        if not isinstance(policy, envoy.LeastRequest) or policy.slow_start is not None or not _returns(cluster):
            continue
        draws, number = policy.choices.value, len(cluster.endpoints)
        said = f"up to {draws} times its share of the"
        if cluster.kind.value == "STATIC":
            if number < 2:
                continue
            said = f"{percent(1 - (1 - 1 / number) ** draws)} instead of {percent(1 / number)} of the"
        message = f"an endpoint that comes back is the idlest of any {draws} drawn: it gets {said} new requests"
        fix = "add slow_start_config with a slow_start_window of 30s"
        yield Trouble(policy.origin if policy.origin.line else cluster.origin, message, cluster.name, fix=fix)


def _returns(cluster: envoy.Cluster) -> bool:
    """Whether an endpoint can be new or back: where they are fixed, only a check or an ejection takes one out."""
    return bool(cluster.kind.value != "STATIC" or cluster.checks or cluster.outliers is not None)


def _missing_levelhead(config: Config[Fleet]) -> Iterator[Trouble]:
    for pool in config.reading.pools:
        floods = isinstance(pool.policy, LeastRequest) and pool.check is not None and len(pool.servers) > 1
        if floods and not pool.slow_start_s:
            message = "slow_start_s is 0: a server that comes back gets every new request until it has caught up"
            yield Trouble(pool.origin, message, pool.name)


def _idle_haproxy(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    for proxy in config.reading.pools():
        found: dict[tuple[Origin, str], list[str]] = {}
        for server in proxy.servers:
            written = server.option("slowstart")
            why = _why_idle(proxy, server) if written and server.slowstart_s else ""
            if written and why and not proxy.disabled:
                found.setdefault((written.origin, why), []).append(server.name)
        for (origin, why), names in found.items():
            yield Trouble(origin, f"slowstart of {listed(names)} never applies: {why}", proxy.name, names[0])


def _why_idle(proxy: haproxy.Proxy, server: haproxy.ServerLine) -> str:
    """Why slowstart does nothing for a server; empty where it does. A `maxconn` grows under any policy."""
    if not is_checked(server):
        return "without a check it is never down, and so never comes back"
    if server.slowstart_s < _SHORTEST_S:
        return f"it is {server.slowstart_s * 1000:g} ms, and HAProxy's steps are of 1 s (a bare number is milliseconds)"
    mapped = proxy.hash_type is None or proxy.hash_type.value.method == "map-based"
    fixed = proxy.algorithm in _WITHOUT_WEIGHTS or (proxy.algorithm in _HASHING and mapped)
    if fixed and server.maxconn is None:
        how = f"{proxy.algorithm} with a map-based hash" if proxy.algorithm in _HASHING else proxy.algorithm
        return f"under `balance {how}` its weight stays as it is"
    return ""


def _idle_envoy(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    nodes = {node.where: node for node in mappings(config.reading.roots)}
    blocks = (("round_robin_lb_config", envoy.RoundRobin), ("least_request_lb_config", envoy.LeastRequest))
    for cluster in config.reading.clusters:
        policy = cluster.balancing.policy
        for field, wanted in blocks if cluster.origin in nodes else ():
            block = fields.View(nodes[cluster.origin]).within(field).entry("slow_start_config")
            if block is not None and not isinstance(policy, wanted):
                message = f"slow start is set in {field}, and the policy is another one: it never applies"
                yield Trouble(block.where, message, cluster.name)
        slow = policy.slow_start if isinstance(policy, envoy.RoundRobin | envoy.LeastRequest) else None
        if slow is not None and slow.window_s.value and not _returns(cluster):
            message = f"slow start of {lasting(slow.window_s.value)} never applies: nothing takes an endpoint out or in"
            yield Trouble(slow.origin, message, cluster.name)


RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "LH072", "no-slow-start", "warning",
        "a least-connections pool that floods a server when it comes back",
        "let a server that comes back start slowly, over 30 s",
        haproxy=_missing_haproxy, envoy=_missing_envoy, levelhead=_missing_levelhead,
    ),
    Rule(
        "LH073", "slow-start-ineffective", "error",
        "a slow start that never applies",
        "check the server, choose a policy that follows weights, and give it 30 s; else remove it",
        haproxy=_idle_haproxy, envoy=_idle_envoy,
    ),
)  # fmt: skip
