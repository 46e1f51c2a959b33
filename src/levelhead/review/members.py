"""Rules on who is in a pool and what each gets: duplicates, weights, capacity, empty pools, odd members."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from statistics import median_low
from typing import Any, Final

from levelhead.engines.envoy import picture as envoy
from levelhead.engines.haproxy import picture as haproxy
from levelhead.engines.nginx import picture as nginx
from levelhead.model import NOWHERE, Fleet, Origin, Pool
from levelhead.review.base import Config, Rule, Trouble
from levelhead.review.groups import (
    Group,
    Member,
    by_place,
    is_ip4,
    of_envoy,
    of_fleet,
    of_haproxy,
    of_nginx,
    over,
    percent,
    plain,
)

_EXTREME_RATIO: Final = 4
_FEWEST_FOR_ODD: Final = 4
_UNEQUAL: Final = 1.25
_DIGITS: Final = re.compile(r"\d+")


def duplicates(config: Config[Any], group: Group[Any]) -> Iterator[Trouble]:
    """LH001: one address twice among the servers that work together."""
    first: dict[tuple[str, int], Member] = {}
    active = group.active
    for member in group.members:
        if not member.at or member.out or not member.weight:
            continue
        twin = first.setdefault((member.at, member.tier), member)
        if twin is member:
            continue
        together = sum(m.part for m in active if m.at == member.at)
        total = sum(m.part for m in active)
        same = f"{member.name} and {twin.name} are both {member.at}"
        if member.name == twin.name:
            same = f"{member.at} is already in line {twin.origin.line}"
        if member not in active:
            said = f"{same}, so there is one standby less than it seems"
        elif together == total:
            said = f"{same}: {group.title} looks like {len(active)} servers and is one"
        else:
            once = twin.part / (total - together + twin.part)
            said = f"{same}: it gets {percent(together / total)} of the requests instead of {percent(once)}"
        yield Trouble(member.origin, said, group.name, member.name)


def _haproxy_duplicates(config: Config[haproxy.Reading], group: Group[haproxy.Proxy]) -> Iterator[Trouble]:
    """The same address from another source, or by another protocol, is another way on purpose."""
    ways = {s.origin: (s.source, s.ssl, s.sni, s.alpn, s.proto, s.send_proxy, s.redir) for s in group.of.servers}
    for trouble in duplicates(config, group):
        member = next(m for m in group.members if m.origin == trouble.origin)
        twins = [m for m in group.members if m.at == member.at and m is not member]
        if any(ways[m.origin] == ways[member.origin] for m in twins):
            yield trouble


def extreme_weights(config: Config[Any], group: Group[Any]) -> Iterator[Trouble]:
    """LH002: the server whose weight is the odd one, where the largest is more than four times the smallest."""
    for members in by_place(tuple(m for m in group.active if m.weight)):
        heavy = max(members, key=lambda m: m.weight)
        light = min(members, key=lambda m: m.weight)
        if heavy.weight <= _EXTREME_RATIO * light.weight:
            continue
        middle = median_low(m.weight for m in members)
        odd = heavy if heavy.weight / middle >= middle / light.weight else light
        total = sum(m.weight for m in members)
        said = (
            f"{odd.name} gets {percent(group.share(odd))} of {group.title} (weight {plain(odd.weight)} of"
            f" {plain(total)}); {heavy.name} gets {plain(heavy.weight / light.weight)} times what {light.name} gets"
        )
        yield Trouble(odd.weighed, said, group.name, odd.name)


def above_capacity(config: Config[Any], group: Group[Any]) -> Iterator[Trouble]:
    """LH003: what a server gets at the peak against what it bears."""
    declared = {}
    if isinstance(group.of, Pool):
        declared = {s.name: s.capacity for s in group.of.servers if s.capacity is not None}
    peak = config.facts.peak(group.name)
    for member in group.active if peak is not None and group.whole else ():
        bears = config.facts.capacity(group.name, member.name)
        bears = declared.get(member.name) if bears is None else bears
        gets = group.share(member) * (peak or 0.0)
        if bears is not None and gets > bears:
            said = (
                f"{member.name} gets {percent(group.share(member))} of {group.title}, {gets:.0f} requests per second"
                f" at the peak of {peak:.0f}, and bears {bears:g}"
            )
            yield Trouble(member.weighed, said, group.name, member.name)


def cannot_serve(config: Config[Any], group: Group[Any], answer: str = "every request gets 503") -> Iterator[Trouble]:
    """LH004: no server that can be chosen; `answer` is what clients get then."""
    if group.members and group.whole and not any(m.weight and not m.out for m in group.members):
        first = group.members[0]
        why = ", ".join(f"{m.name} {m.out or 'has weight 0'}" for m in group.members[:3])
        more = f" and {len(group.members) - 3} more alike" if len(group.members) > 3 else ""
        said = f"{group.title} has no server that can be chosen ({why}{more}): {answer}"
        yield Trouble(first.origin if len(group.members) == 1 else group.origin, said, group.name)


def _nginx_cannot_serve(config: Config[nginx.Reading], group: Group[nginx.Upstream]) -> Iterator[Trouble]:
    answer = "every request gets 502" if group.of.module == "http" else "every connection is closed at once"
    yield from cannot_serve(config, group, answer)


def _haproxy_cannot_serve(config: Config[haproxy.Reading], group: Group[haproxy.Proxy]) -> Iterator[Trouble]:
    """Besides, a backend that is used and has neither a server nor anything that answers in its place."""
    yield from cannot_serve(config, group)
    proxy = group.of
    if group.members or proxy.kind != "backend" or _answers_itself(proxy):
        return
    routes = [r for p in config.reading.proxies for r in (*p.use_backends, p.default_backend) if r]
    if any(r.target == proxy.name for r in routes):
        said = f"{group.title} has no server: every request that is sent to it gets 503"
        yield Trouble(group.origin, said, group.name)


_ANSWERING: Final = frozenset(
    {"redirect", "stats", "errorfile", "errorloc", "errorloc302", "errorloc303", "errorfiles", "http-error",
     "http_proxy", "transparent", "dispatch", "monitor-uri", "log", "ring"}
)  # fmt: skip
_FINAL_ACTIONS: Final = frozenset(
    {"return", "redirect", "deny", "tarpit", "reject", "silent-drop", "use-service", "auth", "cache-use", "lua"}
)


def _answers_itself(proxy: haproxy.Proxy) -> bool:
    options = any(proxy.has(name) for name in ("http_proxy", "transparent"))
    final = any(r.action.partition(".")[0] in _FINAL_ACTIONS for r in proxy.rules)
    return options or final or bool(proxy.dispatch) or any(s.keyword in _ANSWERING for s in proxy.statements)


def _envoy_cannot_serve(config: Config[envoy.Reading], group: Group[envoy.Cluster]) -> Iterator[Trouble]:
    """With every endpoint marked as out, Envoy serves in panic only: measured on 1.40."""
    if any(not m.out for m in group.members):
        return
    if not group.members:
        said = f"{group.title} has no endpoint: every request gets 503"
        yield Trouble(group.origin, said, group.name)
        return
    threshold = group.of.balancing.panic_percent.value
    marks = " and ".join(sorted({m.out.removeprefix("is ") for m in group.members}))
    effect = "every request gets 503"
    if threshold:
        effect = f"requests reach them only because below {threshold:g}% healthy Envoy ignores health altogether"
    said = f"all {len(group.members)} endpoints of {group.title} are {marks}: {effect}"
    yield Trouble(group.members[0].origin, said, group.name)


def weight_zero(config: Config[Any], group: Group[Any]) -> Iterator[Trouble]:
    """LH005: a server that is in the pool, and gets nothing new."""
    if all(not m.weight or m.out for m in group.members):
        return
    for member in group.members:
        if not member.weight and not member.out:
            said = f"{member.name} gets no new requests: its weight is 0"
            yield Trouble(member.weighed, said, group.name, member.name)


def _envoy_weight_zero(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    """A locality without a weight among others that have one."""
    for cluster in config.reading.clusters:
        places = () if isinstance(cluster.members, envoy.Unknown) else cluster.members
        weighed = {p.priority.value for p in places if p.weight.value}
        for place in places if cluster.balancing.by_locality.value else ():
            if not place.weight.value and place.endpoints and place.priority.value in weighed:
                count = len(place.endpoints)
                servers = f"its {count} endpoints get" if count > 1 else "its endpoint gets"
                said = f"{_named(place)} of cluster {cluster.name} has no weight while others have: {servers} nothing"
                yield Trouble(place.origin, said, cluster.name)


def _named(place: envoy.Locality) -> str:
    return "locality " + ("/".join(p for p in (place.region, place.zone, place.sub_zone) if p) or "without a name")


def _envoy_zones(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    """LH019: what one server of a locality gets against one of another, where localities are chosen by weight."""
    for cluster in config.reading.clusters:
        places = () if isinstance(cluster.members, envoy.Unknown) else cluster.members
        tiers: dict[int, list[tuple[float, envoy.Locality]]] = defaultdict(list)
        for place in places if cluster.balancing.by_locality.value else ():
            total = sum(e.weight.value for e in place.endpoints)
            if place.weight.value and total:
                tiers[place.priority.value].append((place.weight.value / total, place))
        for found in tiers.values():
            most, rich = max(found, key=lambda f: f[0])
            least, poor = min(found, key=lambda f: f[0])
            if most > _UNEQUAL * least:
                counts = f"{_sized(rich)} and {_sized(poor)}"
                said = f"an endpoint of {_named(rich)} gets {most / least:.1f} times one of {_named(poor)} ({counts})"
                where = rich.origin if rich.weight.is_default else rich.weight.origin
                yield Trouble(where, said, cluster.name)


def _sized(place: envoy.Locality) -> str:
    return f"weight {place.weight.value} for {len(place.endpoints)}"


def _haproxy_zones(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    """LH019: active servers in one zone, and standbys in another that has fewer: each gets more when they take over.

    Needs the zone of every server.
    """
    for group in config.view(of_haproxy):
        zone_of = {m.name: config.facts.zones.get(m.name, "") for m in group.members}
        tiers = [[m for m in group.members if m.tier == t and not m.out and m.weight] for t in (0, 1)]
        if not all(tiers) or "" in zone_of.values():
            continue
        here, there = ({zone_of[m.name] for m in tier} for tier in tiers)
        used = len(tiers[1]) if group.of.has("allbackups") else 1
        if here.isdisjoint(there) and len(tiers[0]) > _UNEQUAL * used:
            said = (
                f"a server in {'/'.join(sorted(there))} gets {len(tiers[0]) / used:.1f} times what one in"
                f" {'/'.join(sorted(here))} had: {used} in use take over from {len(tiers[0])}"
            )
            yield Trouble(tiers[1][0].origin, said, group.name, tiers[1][0].name)


def odd_member(config: Config[Any], group: Group[Any]) -> Iterator[Trouble]:
    """LH020: one server that differs from all others, which are alike, in port, network or name."""
    members = [m for m in group.members if not m.tier and not m.out and m.host]
    if len(members) < _FEWEST_FOR_ODD or len({m.at for m in members if m.at}) < len(members):
        return
    looks: tuple[tuple[str, Callable[[Member], str]], ...] = (
        ("port", lambda m: str(m.port)), ("network", _network), ("name", _pattern),
    )  # fmt: skip
    found: dict[Member, list[str]] = defaultdict(list)
    for what, look in looks:
        counts = Counter(look(m) for m in members)
        usual, times = counts.most_common(1)[0]
        if times == len(members) - 1 and usual:
            odd = next(m for m in members if look(m) != usual)
            if what != "network" or look(odd):
                found[odd].append(f"{what} {_shown(look(odd), what)}, all others {_shown(usual, what)}")
    for odd, differences in found.items():
        said = f"{odd.name} does not look like the other {len(members) - 1} of {group.title}: {'; '.join(differences)}"
        yield Trouble(odd.origin, said, group.name, odd.name)


def _network(member: Member) -> str:
    """The first two numbers of an IPv4 address; servers of one service seldom share less."""
    return ".".join(member.host.split(".")[:2]) if is_ip4(member.host) else ""


def _pattern(member: Member) -> str:
    """A name with its numbers taken out; an address has none."""
    name = member.name if not member.at.startswith(member.name.lower()) else member.host
    return "" if is_ip4(name) or ":" in name else _DIGITS.sub("#", name.lower())


def _shown(look: str, what: str) -> str:
    return f"{look}.x.x" if what == "network" else look or "none"


def _haproxy_sticky(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    """LH021: values of the session cookie that are missing, shared, or for a cookie that nobody sets."""
    for proxy in config.reading.pools():
        with_value = [s for s in proxy.servers if s.cookie]
        if proxy.disabled or (proxy.mode and proxy.mode.value == "tcp"):
            continue
        if proxy.cookie is None:
            if with_value:
                server = with_value[0]
                said = (
                    f"server {server.name} has the cookie value {server.cookie}, but {proxy.title} has no cookie line:"
                    " no session is kept"
                )
                option = server.option("cookie")
                yield Trouble(option.origin if option else server.origin, said, proxy.name, server.name)
            continue
        if "dynamic" not in proxy.cookie.value.words:
            yield from _broken_values(proxy, proxy.cookie.value.name)


def _broken_values(proxy: haproxy.Proxy, cookie: str) -> Iterator[Trouble]:
    lacking = [s for s in proxy.servers if not s.cookie and not s.backup and not s.template and not s.disabled]
    for server in lacking:
        said = f"sessions on {server.name} cannot be kept: it has no value for the cookie {cookie}"
        yield Trouble(server.origin, said, proxy.name, server.name)
    holder: dict[str, haproxy.ServerLine] = {}
    for server in proxy.servers:
        if not server.cookie or server.backup or server.template:
            continue
        first = holder.setdefault(server.cookie, server)
        if first is not server:
            option = server.option("cookie")
            said = f"sessions on {server.name} go to {first.name}: both have the cookie value {server.cookie}"
            yield Trouble(option.origin if option else server.origin, said, proxy.name, server.name)


# What a name that stands for one virtual address of Kubernetes looks like, and how those of single pods are called.
_SERVICE: Final = re.compile(r"\.svc(\.[\w.-]+)?$")
_HEADLESS: Final = re.compile(r"headless|(?:^|[-.])(?:hl|pods?)(?:[-.]|$)", re.IGNORECASE)


def _single(group: Group[Any], origin: Origin, policy: str, *, name_is_one: bool) -> Iterator[Trouble]:
    """LH091: a policy for choosing, and one address to choose from."""
    if len(group.members) != 1 or not group.whole:
        return
    member = group.members[0]
    if member.at and (name_is_one or is_ip4(member.host) or _virtual(member.host)):
        why = " (that name is one virtual address)" if _virtual(member.host) else ""
        said = f"{group.title} has one address, {member.at}{why}: {policy} has nothing to choose from"
        yield Trouble(origin, said, group.name, member.name)


def _virtual(host: str) -> bool:
    return bool(_SERVICE.search(host)) and not _HEADLESS.search(host)


def _haproxy_single(config: Config[haproxy.Reading], group: Group[haproxy.Proxy]) -> Iterator[Trouble]:
    """HAProxy takes one address of a name, so a name is one server as well."""
    proxy = group.of
    if proxy.balance is None or proxy.balance.defaults or any(s.template for s in proxy.servers):
        return
    if proxy.algorithm not in ("roundrobin", "static-rr"):
        yield from _single(group, proxy.balance.origin, f"balance {proxy.algorithm}", name_is_one=True)


def _nginx_single(config: Config[nginx.Reading], group: Group[nginx.Upstream]) -> Iterator[Trouble]:
    upstream = group.of
    if not isinstance(upstream.policy, nginx.RoundRobin | nginx.Other):
        words = {"LeastConn": "least_conn", "IpHash": "ip_hash", "LeastTime": "least_time"}
        kind = type(upstream.policy).__name__
        yield from _single(group, upstream.policy.origin, words.get(kind, kind.lower()), name_is_one=False)


def _envoy_single(config: Config[envoy.Reading], group: Group[envoy.Cluster]) -> Iterator[Trouble]:
    """A name may have many addresses, but a policy other than round robin, chosen for a bare short name, hopes so."""
    policy = group.of.balancing.policy
    if policy.origin == NOWHERE or isinstance(policy, envoy.ClusterProvided | envoy.Other):
        return
    chosen = not isinstance(policy, envoy.RoundRobin)
    host = group.members[0].host if group.members else ""
    if not chosen and not _virtual(host):
        return
    short = "." not in host and not _HEADLESS.search(host)
    kind = type(policy).__name__
    words = {"RoundRobin": "round robin", "LeastRequest": "least request", "RingHash": "ring hash"}
    yield from _single(group, policy.origin, words.get(kind, kind.lower()), name_is_one=short)


def _fleet_single(config: Config[Fleet], group: Group[Pool]) -> Iterator[Trouble]:
    if group.of.policy.kind != "round-robin":
        yield from _single(group, group.origin, group.of.policy.kind, name_is_one=True)


RULES: Final = (
    Rule(
        "LH001", "duplicate-server-address", "error", "the same address twice in one pool",
        "remove one of the two",
        haproxy=over(of_haproxy, _haproxy_duplicates), nginx=over(of_nginx, duplicates),
        envoy=over(of_envoy, duplicates),
    ),
    Rule(
        "LH002", "weight-ratio-extreme", "warning", "a weight more than four times another in its pool",
        "check the weight; if it is meant, say so in a comment that ignores this rule",
        haproxy=over(of_haproxy, extreme_weights), nginx=over(of_nginx, extreme_weights),
        envoy=over(of_envoy, extreme_weights), levelhead=over(of_fleet, extreme_weights),
    ),
    Rule(
        "LH003", "share-above-capacity", "error", "a server whose share of the peak is more than it bears",
        "lower its weight, or add servers",
        haproxy=over(of_haproxy, above_capacity), nginx=over(of_nginx, above_capacity),
        envoy=over(of_envoy, above_capacity), levelhead=over(of_fleet, above_capacity),
    ),
    Rule(
        "LH004", "pool-cannot-serve", "error", "a pool without a server that can be chosen",
        "put at least one server into service",
        haproxy=over(of_haproxy, _haproxy_cannot_serve), nginx=over(of_nginx, _nginx_cannot_serve),
        envoy=over(of_envoy, _envoy_cannot_serve), levelhead=over(of_fleet, cannot_serve),
    ),
    Rule(
        "LH005", "weight-zero-server", "info", "a server with weight 0 that is not in maintenance",
        "mark it as in maintenance, or give it its weight back",
        haproxy=over(of_haproxy, weight_zero), envoy=_envoy_weight_zero, levelhead=over(of_fleet, weight_zero),
    ),
    Rule(
        "LH019", "zone-shares-unequal", "warning", "zones whose servers get unequal parts",
        "make the weight of each zone proportional to what its servers bear together",
        haproxy=_haproxy_zones, envoy=_envoy_zones,
    ),
    Rule(
        "LH020", "odd-member", "info", "one server that does not look like the others of its pool",
        "make sure that it belongs to this pool",
        haproxy=over(of_haproxy, odd_member), nginx=over(of_nginx, odd_member), envoy=over(of_envoy, odd_member),
        levelhead=over(of_fleet, odd_member),
    ),
    Rule(
        "LH021", "sticky-values-broken", "error", "session cookies that cannot lead back to one server",
        "give every server a cookie value of its own, and the pool a cookie line",
        haproxy=_haproxy_sticky,
    ),
    Rule(
        "LH091", "single-address-pool", "warning", "a policy for choosing among servers where there is one address",
        "name the servers themselves: a headless name, EDS, server-template, or one line each",
        haproxy=over(of_haproxy, _haproxy_single), nginx=over(of_nginx, _nginx_single),
        envoy=over(of_envoy, _envoy_single), levelhead=over(of_fleet, _fleet_single),
    ),
)  # fmt: skip
