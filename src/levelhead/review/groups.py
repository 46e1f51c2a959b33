"""The pools of any language as plain groups of members, so that what holds for every pool is judged once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from ipaddress import AddressValueError, IPv4Address
from itertools import groupby
from typing import Any, Generic, TypeVar

from levelhead.engines.envoy import picture as envoy
from levelhead.engines.haproxy import picture as haproxy
from levelhead.engines.nginx import picture as nginx
from levelhead.engines.text import Value
from levelhead.model import NOWHERE, Admin, Fleet, Origin, Pool
from levelhead.review.base import Config, Judge, Trouble

R = TypeVar("R")
S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Member:
    """One server of a pool.

    `at` is its address in one spelling, empty where the file does not tell it; `weight` as written, at `weighed`.
    `tier` counts from 0: a later one takes over when the earlier has failed. `place` is its locality. `part` is what
    it counts for among its tier. `out` says why it takes no new requests, empty where it does.
    """

    name: str
    at: str
    host: str
    port: int | None
    origin: Origin
    weight: float = 1.0
    weighed: Origin = NOWHERE
    part: float = 1.0
    tier: int = 0
    place: str = ""
    out: str = ""


@dataclass(frozen=True, slots=True)
class Group(Generic[S]):
    """A pool: `title` as its language calls it, and its members; `of` is that pool in the picture of its language.

    `whole` says that it can have no other members.
    """

    of: S

    name: str
    title: str
    members: tuple[Member, ...]
    origin: Origin
    whole: bool = True

    @property
    def active(self) -> tuple[Member, ...]:
        """The members that share the requests while all is well."""
        fit = [m for m in self.members if not m.out]
        first = min((m.tier for m in fit if m.weight), default=0)
        return tuple(m for m in fit if m.tier == first)

    def share(self, member: Member) -> float:
        """The share of the requests that this active member gets by its weight, from 0 to 1."""
        total = sum(m.part for m in self.active)
        return member.part / total if total else 0.0


Groups = Callable[[R], Iterator[Group[S]]]
GroupJudge = Callable[[Config[Any], Group[S]], Iterator[Trouble]]


def over(groups: Groups[R, S], judge: GroupJudge[S]) -> Judge[R]:
    """A judge of configurations that judges each of their groups."""
    return partial(_each, groups, judge)


def _each(groups: Groups[R, S], judge: GroupJudge[S], config: Config[R]) -> Iterator[Trouble]:
    for group in config.view(groups):
        yield from judge(config, group)


def percent(share: float) -> str:
    """A share as a person reads it: 33%, 0.4%."""
    value = 100 * share
    if 99.5 <= value < 100:
        return f"{min(value, 99.9):.1f}%"
    return f"{value:.0f}%" if value >= 9.95 or value == 0 else f"{value:.1f}%".replace(".0%", "%")


def plain(number: float) -> str:
    """A weight or a ratio as a person reads it: 3, 2.5, 5,000,000."""
    return f"{number:,.0f}" if number >= 100 or number == int(number) else f"{number:.1f}"


def is_ip4(host: str) -> bool:
    """Whether this is an IPv4 address."""
    try:
        IPv4Address(host)
    except AddressValueError:
        return False
    return True


def of_haproxy(reading: haproxy.Reading) -> Iterator[Group[haproxy.Proxy]]:
    """Every enabled section with servers. The slots of a server-template are one member each, without an address."""
    for proxy in reading.pools():
        if not proxy.disabled and (proxy.servers or proxy.kind == "backend"):
            members = tuple(_of_server_line(s) for s in proxy.servers)
            yield Group(proxy, proxy.name, proxy.title, members, proxy.origin)


def _of_server_line(server: haproxy.ServerLine) -> Member:
    weight = server.option("weight")
    return Member(
        name=server.name,
        at="" if server.template else haproxy_address(server),
        host="" if server.template else server.address.host,
        port=server.port or None,
        origin=server.origin,
        weight=server.weight,
        weighed=weight.origin if weight else server.origin,
        part=server.weight,
        tier=1 if server.backup else 0,
        out="is disabled" if server.disabled else "",
    )


def haproxy_address(server: haproxy.ServerLine) -> str:
    """Where a server is; empty where a variable decides, or the port is that of the client's connection."""
    address = server.address
    if address.family in ("unknown", "any", "other", "descriptor"):
        return ""
    if address.family in ("unix", "abns"):
        return f"{address.family}@{address.host}"
    if server.port_offset or not server.port:
        return ""
    return _host_and_port(address.host, server.port)


def _host_and_port(host: str, port: int | None) -> str:
    bare = host.lower().rstrip(".")
    shown = f"[{bare}]" if ":" in bare else bare
    return shown if port is None else f"{shown}:{port}"


def of_nginx(reading: nginx.Reading) -> Iterator[Group[nginx.Upstream]]:
    """Every upstream block. Where an include is missing, or a file or a zone holds the servers, there may be more."""
    for upstream in reading.upstreams:
        if not upstream.implicit:
            members = tuple(_of_nginx_server(s) for s in upstream.servers)
            known = not upstream.state_file and (bool(members) or not (reading.absent or upstream.others))
            yield Group(upstream, upstream.name, f"upstream {upstream.name}", members, upstream.origin, known)


def _of_nginx_server(server: nginx.Server) -> Member:
    at = server.at
    one = "" if at is None or server.service or "$" in server.address.text else str(at).lower()
    return Member(
        name=server.address.text,
        at=one,
        host=at.host if at and at.kind != "unix" else "",
        port=at.port if at else None,
        origin=server.origin,
        weight=server.weight.value,
        weighed=server.weight.origin if not server.weight.is_default else server.origin,
        part=server.weight.value,
        tier=1 if server.backup else 0,
        out="is marked down" if server.down else "drains" if server.drain else "",
    )


def of_envoy(reading: envoy.Reading) -> Iterator[Group[envoy.Cluster]]:
    """Every cluster whose endpoints are in the files."""
    for cluster in reading.clusters:
        if not isinstance(cluster.members, envoy.Unknown) and cluster.kind.value in ("STATIC", "STRICT_DNS"):
            members = tuple(m for place in cluster.members for m in _of_locality(cluster, place))
            yield Group(cluster, cluster.name, f"cluster {cluster.name}", members, cluster.origin)


def _of_locality(cluster: envoy.Cluster, place: envoy.Locality) -> Iterator[Member]:
    by_locality = cluster.balancing.by_locality.value
    total = sum(e.weight.value for e in place.endpoints)
    scale = (place.weight.value or 0) / total if by_locality and total else 1.0
    for endpoint in place.endpoints:
        at = endpoint.at
        yield Member(
            name=str(at) if at else endpoint.hostname,
            at=str(at).lower() if at else "",
            host=at.host if at and at.kind in ("ip", "name") else "",
            port=at.port if at else None,
            origin=endpoint.origin,
            weight=endpoint.weight.value,
            weighed=_first(endpoint.weight, endpoint.origin),
            part=endpoint.weight.value * scale,
            tier=place.priority.value,
            place="/".join(p for p in (place.region, place.zone, place.sub_zone) if p),
            out="" if endpoint.health.value in ("UNKNOWN", "HEALTHY", "DEGRADED") else f"is {endpoint.health.value}",
        )


def _first(value: Value[int], otherwise: Origin) -> Origin:
    return otherwise if value.is_default else value.origin


def of_fleet(fleet: Fleet) -> Iterator[Group[Pool]]:
    """Every pool of a levelhead.yaml."""
    for pool in fleet.pools:
        yield Group(pool, pool.name, f"pool {pool.name}", tuple(_of_pool(pool)), pool.origin)


def _of_pool(pool: Pool) -> Iterator[Member]:
    for server in pool.servers:
        out = {Admin.READY: "", Admin.DRAIN: "drains", Admin.MAINT: "is in maintenance"}[server.admin]
        yield Member(
            server.name, server.address.lower(), server.host, server.port, server.origin, server.weight, server.origin,
            server.weight, out=out,
        )  # fmt: skip


def by_place(members: tuple[Member, ...]) -> Iterator[tuple[Member, ...]]:
    """Members with the same place together: only their weights are compared with each other."""
    for _, together in groupby(sorted(members, key=lambda m: m.place), key=lambda m: m.place):
        yield tuple(together)
