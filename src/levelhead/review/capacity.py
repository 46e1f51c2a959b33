"""Rules on what a pool bears: limits per server, what is left when one is lost, slots, memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Final

from levelhead.engines.envoy import picture as envoy
from levelhead.engines.haproxy import picture as haproxy
from levelhead.engines.haproxy.values import size
from levelhead.engines.nginx import picture as nginx
from levelhead.model import Fleet, Origin
from levelhead.review.base import Config, Facts, Rule, Trouble
from levelhead.review.groups import Group, Member, of_envoy, of_fleet, of_haproxy, of_nginx, over, percent

_SLOTS_PER_SERVER: Final = 1.5
_BUFFER_BYTES: Final = 16384
_STREAM_BYTES: Final = 16384
_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Loss:
    """What the loss of a server or zone does to the worst-off of those that are left."""

    lost: str
    server: str
    load: float
    bears: float


def fails_without_one(config: Config[Any], group: Group[Any]) -> Iterator[Trouble]:
    """LH047: at the declared peak, the loss of one server or zone is more than another one bears."""
    peak = config.facts.peak(group.name)
    if peak is None or not group.whole:
        return
    losses = [loss for loss in _losses(group, peak, config.facts) if loss.load > loss.bears]
    if losses:
        worst = max(losses, key=lambda loss: loss.load / loss.bears)
        said = (
            f"losing {worst.lost} puts {worst.server} at {percent(worst.load / worst.bears)} of what it bears:"
            f" {worst.load:.0f} of {worst.bears:g} requests per second at the peak of {peak:g}"
        )
        yield Trouble(group.origin, said, group.name, worst.server)


def _levelhead_fails(config: Config[Fleet]) -> Iterator[Trouble]:
    """A levelhead.yaml can declare what its servers bear; facts go before it."""
    written = {f"{p.name}/{s.name}": s.capacity for p in config.reading.pools for s in p.servers if s.capacity}
    facts = replace(config.facts, capacity_rps={**written, **config.facts.capacity_rps})
    yield from over(of_fleet, fails_without_one)(replace(config, facts=facts))


def _losses(group: Group[Any], peak: float, facts: Facts) -> Iterator[Loss]:
    """Silent where the capacity of any server is unknown; a pool that nobody is left of is not about headroom."""
    working = [m for m in group.active if m.part]
    capacities = {m.name: facts.capacity(group.name, m.name) for m in working}
    for lost, gone in _losable(working, facts):
        left = [m for m in working if m.name not in gone]
        total = sum(m.part for m in left)
        for member in left:
            bears = capacities[member.name]
            if bears is None:
                return
            if bears > 0:
                yield Loss(lost, member.name, peak * member.part / total, bears)


def _losable(working: list[Member], facts: Facts) -> Iterator[tuple[str, frozenset[str]]]:
    """What can be lost at once: each server, and each zone that is declared or written, by its name."""
    for member in working:
        yield member.name, frozenset({member.name})
    zones = {m.name: facts.zones.get(m.name, m.place) for m in working}
    for zone in sorted({zone for zone in zones.values() if zone}):
        yield f"zone {zone}", frozenset(name for name, at in zones.items() if at == zone)


def _without_limit(limits: dict[Origin, int | None]) -> Callable[[Config[Any], Group[Any]], Iterator[Trouble]]:
    """LH043: what every server can work on is declared, and nothing keeps more away from it."""

    def judge(config: Config[Any], group: Group[Any]) -> Iterator[Trouble]:
        works_on = config.facts.server_in_flight
        open_ended = [m for m in group.active if m.part and m.origin in limits and not limits[m.origin]]
        if works_on is None or not open_ended:
            return
        first, others = open_ended[0], len(open_ended) - 1
        more = f" and {others} other{'s' if others > 1 else ''} like it" if others else ""
        said = (
            f"nothing keeps more than {works_on:g} requests at a time from {first.name}{more}:"
            " what is too much waits inside the server, where the balancer cannot see it"
        )
        yield Trouble(first.origin, said, group.name, first.name)

    return judge


def _haproxy_without_limit(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    limits = {s.origin: s.maxconn for p in config.reading.pools() for s in p.servers}
    yield from over(of_haproxy, _without_limit(limits))(config)


def _nginx_without_limit(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    servers = [s for u in config.reading.upstreams for s in u.servers]
    limits: dict[Origin, int | None] = {s.origin: s.max_conns.value for s in servers}
    yield from over(of_nginx, _without_limit(limits))(config)


def _envoy_without_limit(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    """Envoy bounds connections per host only, which are requests in flight with HTTP/1 alone."""
    plain = [c for c in config.reading.clusters if c.protocol.http == "http1"]
    limits = {e.origin: c.breakers.per_host_connections.value for c in plain for e in c.endpoints}
    yield from over(of_envoy, _without_limit(limits))(config)


def _levelhead_without_limit(config: Config[Fleet]) -> Iterator[Trouble]:
    limits = {s.origin: s.in_flight_limit or p.limits.server_in_flight for p in config.reading.pools for s in p.servers}
    yield from over(of_fleet, _without_limit(limits))(config)


def _too_few_slots(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    """LH049: a server-template with hardly more slots than the pool may have servers."""
    most = config.facts.max_servers
    if most is None:
        return
    for proxy in config.reading.pools():
        slots = [s for s in proxy.servers if s.template]
        for origin, made in groupby(slots, key=lambda s: s.origin):
            count = len(list(made))
            if count < _SLOTS_PER_SERVER * most:
                said = (
                    f"{count} slots for up to {most:g} servers: while a deploy has old and new ones at a time,"
                    f" {2 * most - count:g} of {2 * most:g} get no slot and no requests"
                )
                yield Trouble(origin, said, proxy.name)


def _too_much_memory(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    """LH093: as many connections as maxconn lets in would need more memory than there is."""
    most, memory = config.reading.globals.maxconn, config.facts.memory_mib
    words = config.reading.globals.setting("tune.bufsize")
    written = size(words[0].text) if words else _BUFFER_BYTES
    if most is None or memory is None or not isinstance(written, int):
        return
    needed = most.value * (2 * written + _STREAM_BYTES) / _MIB
    if needed > memory:
        fits = int(memory * _MIB / (2 * written + _STREAM_BYTES))
        said = (
            f"{most.value} connections can need about {needed:.0f} MiB and {memory:g} MiB are declared,"
            f" which is enough for {fits}: under load the process is killed"
        )
        yield Trouble(most.origin, said)


RULES: Final = (
    Rule(
        code="LH043",
        name="no-server-limit",
        severity="info",
        summary="a server that nothing keeps from getting more requests at a time than it can work on",
        fix="set the server's limit (maxconn, max_conns, per_host_thresholds) to what it can work on at a time",
        haproxy=_haproxy_without_limit,
        nginx=_nginx_without_limit,
        envoy=_envoy_without_limit,
        levelhead=_levelhead_without_limit,
    ),
    Rule(
        code="LH047",
        name="fails-n-minus-one",
        severity="error",
        summary="a pool whose servers cannot bear the peak once one server or zone is lost",
        fix="add a server, or shed load before it reaches the pool (rate limits, lower maxconn with a short queue)",
        haproxy=over(of_haproxy, fails_without_one),
        nginx=over(of_nginx, fails_without_one),
        envoy=over(of_envoy, fails_without_one),
        levelhead=_levelhead_fails,
    ),
    Rule(
        code="LH049",
        name="too-few-slots",
        severity="warning",
        summary="a server-template with hardly more slots than the pool has servers",
        fix="make twice as many slots as the pool may have servers",
        haproxy=_too_few_slots,
    ),
    Rule(
        code="LH093",
        name="maxconn-exceeds-memory",
        severity="error",
        summary="a global maxconn that needs more memory than the machine or container has",
        fix="lower maxconn to what fits, or give the process more memory",
        haproxy=_too_much_memory,
    ),
)
