"""Rules on the way to a pool: routes that are never reached, splits, pools nobody uses, requests nobody takes."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from math import prod
from typing import Final

from levelhead.engines.envoy import picture as envoy
from levelhead.engines.haproxy import picture as haproxy
from levelhead.engines.nginx import picture as nginx
from levelhead.model import Fleet
from levelhead.review.base import Config, Rule, Trouble
from levelhead.review.conditions import ANYTHING, Clause, chance, covers, exhaustive, handles, understood
from levelhead.review.groups import percent


def _haproxy_splits(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    """LH015: every rand() of a frontend draws anew, so its routes do not share one hundred per cent."""
    for proxy in _fronts(config.reading):
        drawn = [(r, part) for r, c in understood(proxy, proxy.use_backends) if (part := chance(c))]
        for route, (below, out_of) in drawn:
            if below > out_of:
                said = f"rand({out_of}) is always below {below}: {route.target} takes all requests that come here"
                yield Trouble(route.origin, said, route.target)
        fractions = [min(below / out_of, 1.0) for _, (below, out_of) in drawn]
        left = prod(1 - f for f in fractions)
        if drawn and left and not _takes_rest(proxy):
            said = f"{percent(left)} of the requests have no destination: {proxy.title} has no default_backend"
            if len(drawn) > 1:
                said += ", and each rand() draws anew"
            yield Trouble(drawn[-1][0].origin, said, proxy.name)
        elif len(drawn) > 1 and fractions[-1] == 1 and fractions == sorted(set(fractions)):
            got = fractions[1] * (1 - fractions[0])
            said = (
                f"{drawn[1][0].target} gets {percent(got)} of the requests, not {percent(fractions[1] - fractions[0])}:"
                " each rand() draws anew"
            )
            yield Trouble(drawn[1][0].origin, said, drawn[1][0].target)


def _fronts(reading: haproxy.Reading) -> Iterator[haproxy.Proxy]:
    return (p for p in reading.proxies if p.takes_traffic and not p.disabled)


def _takes_rest(proxy: haproxy.Proxy) -> bool:
    """Whether requests that no condition takes have a destination."""
    conditions = [condition for _, condition in understood(proxy, proxy.use_backends)]
    return proxy.default_backend is not None or bool(proxy.servers or proxy.dispatch) or exhaustive(conditions)


def _nginx_splits(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    """LH015: for what no line takes, the variable is empty: a fault where it chooses a destination."""
    reading = config.reading
    chosen = {name for p in reading.passes for name in p.variables}
    chosen |= {name for m in reading.maps if m.variable in chosen for name in re.findall(r"\w+", m.source)}
    groups = {u.name.lower() for u in reading.upstreams if not u.implicit}
    for split in reading.splits:
        names_group = any(part.value.text.lower() in groups for part in split.parts)
        taken = sum(part.share or 0.0 for part in split.parts)
        open_end = all(part.share is not None for part in split.parts)
        if open_end and taken < 0.9999 and (split.variable.lstrip("$") in chosen or names_group):
            name = split.variable.lstrip("$")
            said = f"{percent(1 - taken)} of the requests have no destination: ${name} is empty for them"
            yield Trouble(split.origin, said)


def _envoy_splits(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    """LH015: weights of nothing, and fractions: a request draws once, so two routes of 50% take the same half."""
    for host in _hosts(config.reading):
        for route in host.routes:
            if route.action == "weighted" and route.clusters and not any(w.weight.value for w in route.clusters):
                said = "100% of the requests have no destination: all weights are 0"
                yield Trouble(route.clusters[0].origin, said, route.clusters[0].cluster)
        partial = [r for r in host.routes if r.match.fraction.value < 1 and r.match.conditions == 1]
        for match in dict.fromkeys((r.match.kind, r.match.text) for r in partial):
            same = [r for r in partial if (r.match.kind, r.match.text) == match]
            after = host.routes[host.routes.index(same[-1]) + 1 :]
            if not any(_covers(r.match, same[-1].match) for r in after):
                most = max(r.match.fraction.value for r in same)
                draws = f", as all {len(same)} fractions draw the same number" if len(same) > 1 else ""
                said = f"{percent(1 - most)} of the requests for {match[1]} have no destination{draws}"
                yield Trouble(same[-1].match.fraction.origin, said)


def _hosts(reading: envoy.Reading) -> Iterator[envoy.VirtualHost]:
    sides = [s for listener in reading.listeners for s in listener.sides if isinstance(s, envoy.HttpSide)]
    tables = [s.routes for s in sides if not isinstance(s.routes, envoy.Unknown)]
    for table in dict.fromkeys((*tables, *reading.route_tables)):
        yield from table.hosts


def _haproxy_shadows(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    """LH016: use_backend and use-server rules, first match wins; a computed target may turn out not to exist."""
    for proxy in config.reading.proxies:
        if proxy.disabled or proxy.kind == "defaults":
            continue
        for routes in (proxy.use_backends, proxy.use_servers):
            last = (proxy.default_backend,) if proxy.default_backend and routes is proxy.use_backends else ()
            yield from _shadowed(proxy, (*routes, *last))


def _shadowed(proxy: haproxy.Proxy, routes: tuple[haproxy.Route, ...]) -> Iterator[Trouble]:
    taken: dict[tuple[str, ...], dict[int, tuple[haproxy.Route, tuple[Clause, ...]]]] = defaultdict(dict)
    for at, (route, wanted) in enumerate(understood(proxy, routes)):
        if wanted is None:
            continue
        marks = handles(wanted)
        near = {n: found for mark in (*marks, ANYTHING) for n, found in taken.get(mark, {}).items()}
        first = next((near[n][0] for n in sorted(near) if covers(near[n][1], wanted)), None)
        if first is None:
            for mark in () if route.dynamic else marks:
                taken[mark][at] = (route, wanted)
        elif first.target != route.target:
            takes = "everything" if not first.polarity else "all that it would"
            said = f"the route to {route.target} is never reached: line {first.origin.line} takes {takes}"
            yield Trouble(route.origin, f"{said} ({first.target})", route.target)


def _nginx_shadows(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    """LH016: regular expressions are tried in order, and not at all below `^~ /`; a name counts once per address."""
    for site in config.reading.sites:
        levels: dict[tuple[nginx.Location, ...], list[nginx.Location]] = {}
        for path in site.locations:
            levels.setdefault(path[:-1], []).append(path[-1])
        for locations in levels.values():
            yield from _regex_shadows(locations)
    yield from _name_shadows(config.reading)


def _regex_shadows(locations: list[nginx.Location]) -> Iterator[Trouble]:
    regexes = [loc for loc in locations if loc.modifier in ("~", "~*")]
    stops = next((loc for loc in locations if (loc.modifier, loc.pattern) == ("^~", "/")), None)
    if stops is not None and not any(loc.modifier == "" for loc in locations):
        for loc in regexes:
            said = f"location {loc.modifier} {loc.pattern} is never reached: ^~ / in line {stops.origin.line}"
            yield Trouble(loc.origin, f"{said} keeps regular expressions from being tried")
        return
    for at, loc in enumerate(regexes):
        first = next((e for e in regexes[:at] if _regex_covers(e, loc)), None)
        if first is not None:
            said = f"location {loc.modifier} {loc.pattern} is never reached: {first.modifier} {first.pattern} in line"
            yield Trouble(loc.origin, f"{said} {first.origin.line} takes all that it would")


_APART: Final = re.compile(r"[(),%!@{}\[\]\s]+")
_LITERAL: Final = re.compile(r"\^?((?:[\w/~%@:,-]|\\[^\w])*)")
_ANYTHING: Final = frozenset({"", ".*", ".*$", "(.*)", "(.*)$", ".+", "(.+)"})


def _regex_covers(first: nginx.Location, later: nginx.Location) -> bool:
    """Whether the first is a beginning that the later one's paths all have."""
    if first.modifier == "~" and later.modifier == "~*":
        return False
    if first.pattern in (".*", "^.*", "/", "^/", "^.*$", "^/.*", "^/(.*)$", "^/.*$"):
        return True
    wide, narrow = _head(first.pattern), _head(later.pattern)
    if wide is None or narrow is None or wide[1] not in _ANYTHING or not wide[0]:
        return False
    open_end = wide[1] not in (".+", "(.+)")
    beginning, other = (text.lower() if first.modifier == "~*" else text for text in (wide[0], narrow[0]))
    return other.startswith(beginning) and (open_end or len(other) > len(beginning))


def _head(pattern: str) -> tuple[str, str] | None:
    """The literal text an anchored expression begins with, and the rest; None where it has none."""
    found = _LITERAL.match(pattern)
    if not pattern.startswith("^") or found is None:
        return None
    literal, rest = found[1], pattern[found.end() :]
    if rest[:1] in ("?", "*", "{"):
        literal, rest = literal[:-1], "?" + rest
    depth = 0
    for character in rest:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "|" and depth <= 0:
            return None
    return literal.replace("\\", ""), rest


def _name_shadows(reading: nginx.Reading) -> Iterator[Trouble]:
    taken: dict[tuple[str, str], nginx.Site] = {}
    for site in reading.sites:
        places = {str(listen.at or listen.word.text).replace("0.0.0.0:", "*:") for listen in site.listens}
        for name in site.names if site.module == "http" else ():
            firsts = [taken.setdefault((place, name.text.lower()), site) for place in sorted(places)]
            first = next((s for s in firsts if s is not site), None)
            if places and first is not None and all(s is not site for s in firsts):
                said = f"the server for {name.text} is never reached: that of line {first.origin.line} has its name"
                yield Trouble(name.origin, f"{said} on {', '.join(sorted(places))}")


def _envoy_shadows(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    """LH016: the first route that fits is taken."""
    for host in _hosts(config.reading):
        for at, route in enumerate(host.routes):
            first = next((r for r in host.routes[:at] if _covers(r.match, route.match)), None)
            if first is not None:
                said = f"the route for {route.match.kind} {route.match.text} is never reached: {first.match.kind}"
                said = f"{said} {first.match.text} in line {first.origin.line} takes all that it would"
                yield Trouble(route.origin, said, route.clusters[0].cluster if route.clusters else "")


def _covers(first: envoy.Matching, later: envoy.Matching) -> bool:
    """Whether the first match takes whatever the later one would."""
    if first.conditions or not first.kind or later.kind == "connect":
        return False
    if first.kind == "prefix":
        if later.kind in ("prefix", "path", "path_separated_prefix"):
            return later.text.startswith(first.text)
        return first.text in ("", "/")
    if first.kind == "path_separated_prefix":
        under = later.kind in ("path", "path_separated_prefix") and later.text.startswith(first.text + "/")
        return under or (later.kind in ("path", first.kind) and later.text == first.text)
    return (first.kind, first.text) == (later.kind, later.text)


def _fleet_shadows(config: Config[Fleet]) -> Iterator[Trouble]:
    """LH016."""
    for listener in config.reading.listeners:
        for at, route in enumerate(listener.routes):
            wider = [
                n for n, r in enumerate(listener.routes[:at], 1)
                if r.host in (None, route.host) and route.prefix.startswith(r.prefix)
                and r.pool != route.pool and not r.condition and r.share >= 1
            ]  # fmt: skip
            if wider:
                said = f"route {at + 1} of listener {listener.name}, to {route.pool}, is never reached: route"
                yield Trouble(listener.origin, f"{said} {wider[0]} takes all that it would", route.pool)


def _haproxy_unused(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    """LH017: backends that no line names, and acls that no condition of their section names."""
    reading = config.reading
    routes = [r for p in reading.proxies for r in (*p.use_backends, p.default_backend) if r]
    # The agents of a spoe filter are named in a file of its own.
    filters = [s for p in reading.proxies for s in p.statements if s.keyword == "filter"]
    elsewhere = any(word.text == "spoe" for s in filters for word in s.words)
    if any(p.takes_traffic for p in reading.proxies) and not elsewhere and not any(r.dynamic for r in routes):
        tokens = [_tokens(p) for p in reading.proxies]
        named = Counter(token for found in tokens for token in found)
        others = {w.text for o in reading.others for s in o.statements for w in s.words}
        for proxy, own in zip(reading.proxies, tokens, strict=True):
            used = proxy.name in others or named[proxy.name] > (proxy.name in own)
            if proxy.kind == "backend" and not proxy.disabled and not used:
                yield Trouble(proxy.origin, f"{proxy.title} is not used: no line names it", proxy.name)
    for proxy in reading.proxies:
        if proxy.kind == "defaults" or not proxy.acls:
            continue
        conditions = _tokens(proxy, without="acl")
        for name in dict.fromkeys(acl.action for acl in proxy.acls if acl.action not in conditions):
            first = next(acl for acl in proxy.acls if acl.action == name)
            yield Trouble(first.origin, f"acl {name} is not used: no condition of {proxy.title} names it", proxy.name)


def _tokens(proxy: haproxy.Proxy, without: str = "") -> frozenset[str]:
    """All words of a section, with what stands in parentheses, and before the slash of pool/server."""
    words = {w.text for s in proxy.statements if s.keyword != without for w in s.words}
    parts = [part for word in words for part in (word, *_APART.split(word))]
    return frozenset((*parts, *(part.partition("/")[0] for part in parts)))


def _nginx_unused(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    """LH017: only where all files are at hand and no variable may name the group."""
    reading = config.reading
    open_ended = any(p.open_ended or (p.variables and not p.candidates) for p in reading.passes)
    missing = any(not _standard(a.pattern) for a in reading.absent) or (
        len(config.files) == 1 and any(re.search(r"^\s*include\s[^;]*\*", t, re.M) for t in config.files.values())
    )
    if not reading.sites or open_ended or missing:
        return
    named = {p.upstream.lower() for p in reading.passes} | {c.lower() for p in reading.passes for c in p.candidates}
    mentions = Counter(re.findall(r"[\w.-]+", _code(config).lower()))
    for upstream in reading.upstreams:
        if upstream.implicit or upstream.name.lower() in named:
            continue
        if mentions[upstream.name.lower()] < 2:
            said = f"upstream {upstream.name} is not used: nothing passes requests to it"
            yield Trouble(upstream.origin, said, upstream.name)


def _code(config: Config[nginx.Reading]) -> str:
    """The texts without what is commented out."""
    return "\n".join(re.sub(r"(?m)(?:^|(?<=[\s;{}]))#.*$", "", text) for text in config.files.values())


_STANDARD: Final = re.compile(
    r"mime\.types|fastcgi\.conf|(?:fastcgi|uwsgi|scgi|proxy)_params|koi-|win-utf|modules-enabled"
)


def _standard(pattern: str) -> bool:
    """Whether a file that is not given is one of those that come with nginx, which use no group."""
    return bool(_STANDARD.search(pattern))


_NAMES_AT_RUN_TIME: Final = re.compile(r"cluster_?header|cluster_?specifier|golang|wasm|dynamic_modules", re.IGNORECASE)


def _envoy_unused(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    """LH017: only where all listeners and routes are at hand, and neither a header nor code may name the cluster."""
    reading = config.reading
    sides = [s for listener in reading.listeners for s in listener.sides]
    elsewhere = any(isinstance(s, envoy.HttpSide) and isinstance(s.routes, envoy.Unknown) for s in sides)
    by_code = any(_NAMES_AT_RUN_TIME.search(text) for text in config.files.values())
    if not reading.listeners or reading.dynamic or elsewhere or by_code:
        return
    for cluster in reading.clusters:
        if cluster.name and cluster.name not in reading.references:
            said = f"cluster {cluster.name} is not used: no route and no filter names it"
            yield Trouble(cluster.origin, said, cluster.name)


def _fleet_unused(config: Config[Fleet]) -> Iterator[Trouble]:
    """LH017."""
    used = {route.pool for listener in config.reading.listeners for route in listener.routes}
    for pool in config.reading.pools if used else ():
        if pool.name not in used:
            yield Trouble(pool.origin, f"pool {pool.name} is not used: no route leads to it", pool.name)


# Actions after which a request goes nowhere else.
_ENDS: Final = frozenset({"return", "redirect", "deny", "tarpit", "reject", "silent-drop", "use-service"})


def _haproxy_no_default(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    """LH018: HTTP only; a TCP frontend that chooses by SNI refuses the rest on purpose as a rule."""
    for proxy in _fronts(config.reading):
        ends = any(not r.polarity and (r.action in _ENDS or r.family == "redirect") for r in proxy.rules)
        http = proxy.mode is not None and proxy.mode.value == "http"
        routes = proxy.use_backends
        if not routes or not http or ends or _takes_rest(proxy) or any(r.dynamic for r in routes):
            continue
        if any(chance(condition) for _, condition in understood(proxy, routes)):
            continue
        said = f"requests that none of the {len(routes)} routes of {proxy.title} takes get 503"
        yield Trouble(proxy.origin, f"{said}: it has no default_backend", proxy.name)


def _envoy_no_default(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    """LH018: a virtual host for every domain that shares requests out, all of whose routes want something.

    One pool behind one path is an API that answers 404 to anything else, as it should.
    """
    for host in _hosts(config.reading):
        named = [r for r in host.routes if r.match.kind]
        pools = {w.cluster for r in named for w in r.clusters}
        if "*" not in host.domains or len(pools) < 2 or any(_catches_all(r.match) for r in named):
            continue
        if any(r.match.fraction.value < 1 for r in named) or all(r.match.kind == "connect" for r in named):
            continue
        said = f"requests that none of the {len(named)} routes of virtual host {host.name} takes get 404"
        yield Trouble(host.origin, f"{said}: it has no route for prefix /")


def _catches_all(match: envoy.Matching) -> bool:
    whole = (match.kind == "prefix" and match.text in ("", "/")) or (
        match.kind == "regex" and match.text in (".*", "/.*", "^.*$", "^/.*$", "^/.*")
    )
    return whole and (not match.conditions or match.fraction.value < 1)


RULES: Final = (
    Rule(
        "LH015", "split-does-not-sum", "error", "a split that leaves some requests without a destination",
        "let the last part take the rest",
        haproxy=_haproxy_splits, nginx=_nginx_splits, envoy=_envoy_splits,
    ),
    Rule(
        "LH016", "shadowed-route", "error", "a route that an earlier one leaves nothing for",
        "put the narrower route before the broader one, or remove it",
        haproxy=_haproxy_shadows, nginx=_nginx_shadows, envoy=_envoy_shadows, levelhead=_fleet_shadows,
    ),
    Rule(
        "LH017", "unused-pool", "warning", "a pool or an acl that nothing names",
        "remove it, or route to it",
        haproxy=_haproxy_unused, nginx=_nginx_unused, envoy=_envoy_unused, levelhead=_fleet_unused,
    ),
    Rule(
        "LH018", "no-default-destination", "warning", "a front that has nowhere to send what no route takes",
        "add an explicit default, if only one that says no",
        haproxy=_haproxy_no_default, envoy=_envoy_no_default,
    ),
)  # fmt: skip
