"""From what an nginx configuration amounts to, to a Fleet: its groups as pools, its sites as listeners."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import inf
from typing import Final

from levelhead.engines.nginx import picture
from levelhead.engines.nginx.picture import Pass, Reading, Site, Upstream
from levelhead.model import (
    Admin,
    Ejection,
    Failure,
    Fleet,
    Hash,
    LeastRequest,
    Limits,
    Listener,
    OtherPolicy,
    Policy,
    Pool,
    RandomPick,
    Reserves,
    Retries,
    RoundRobin,
    Route,
    Server,
    Timeouts,
)

# What nginx counts against a server whatever proxy_next_upstream says; a 5xx answer only if it is named there.
_ALWAYS: Final[tuple[Failure, ...]] = ("refused", "hung", "reset")
_STATUSES: Final = frozenset({"http_500", "http_502", "http_503", "http_504"})
_PATHS: Final = frozenset({"$request_uri", "$uri", "$document_uri", "$scheme$proxy_host$request_uri"})
_SOURCES: Final = frozenset({"$remote_addr", "$binary_remote_addr"})


def fleet_of(reading: Reading) -> Fleet:
    """The fleet of an nginx configuration: a pool for each upstream, and for each address that is passed to directly.

    Of groups that share a name (of http and stream, or by http and https), the later ones say so in theirs. A pass to
    what variables choose leads to the groups that they can come to, under that condition.
    """
    names = _names(reading.upstreams)
    pools = tuple(_pool(reading, u, name) for u, name in zip(reading.upstreams, names, strict=True))
    listeners = tuple(listener for site in reading.sites for listener in _listeners(reading, site, names))
    return Fleet(listeners, pools)


def _names(upstreams: tuple[Upstream, ...]) -> tuple[str, ...]:
    names: list[str] = []
    for upstream in upstreams:
        name = upstream.name if upstream.name not in names else f"{upstream.name} ({upstream.module})"
        names.append(name if name not in names else f"{name}, line {upstream.origin.line}")
    return tuple(names)


def _pool(reading: Reading, upstream: Upstream, name: str) -> Pool:
    passes = [p for p in reading.passes if p.module == upstream.module and _leads(p, upstream.name)]
    sticky = upstream.sticky
    words = " ".join(word.text for word in sticky.words) if sticky is not None else ""
    unseen = upstream.state_file if not upstream.servers else ""
    return Pool(
        name=name,
        servers=tuple(_servers(upstream, passes)),
        policy=_policy(upstream.policy),
        check=None,
        timeouts=_timeouts(reading, passes),
        retries=_retries(upstream, passes),
        limits=Limits(queue=upstream.queue),
        affinity_cookie=words.split(" ")[0] if sticky is not None and sticky.kind == "cookie" else None,
        slow_start_s=0.0,
        origin=upstream.origin,
        engine="nginx",
        reserves=Reserves("all"),
        workers=_workers(reading, upstream),
        affinity=f"sticky {sticky.kind} {words}".strip() if sticky is not None and sticky.kind != "cookie" else "",
        unknown=f"its servers are in the file {unseen}" if unseen else "",
    )


def _leads(passed: Pass, group: str) -> bool:
    lower = group.lower()
    return passed.upstream.lower() == lower or lower in (name.lower() for name in passed.candidates)


def _servers(upstream: Upstream, passes: list[Pass]) -> Iterator[Server]:
    counts = _counted(passes)
    names: set[str] = set()
    for line in upstream.servers:
        written = line.address.text
        name = written if written not in names else f"{written}, line {line.origin.line}"
        names.add(name)
        # nginx never gives up its only server.
        ejects = line.max_fails.value > 0 and (len(upstream.servers) > 1 or line.resolve or _is_name(line))
        yield Server(
            name=name,
            host=line.at.host if line.at is not None else written,
            port=(line.at.port or 0) if line.at is not None else 0,
            weight=float(line.weight.value),
            admin=Admin.MAINT if line.down else Admin.DRAIN if line.drain else Admin.READY,
            in_flight_limit=line.max_conns.value or None,
            origin=line.origin,
            priority=1 if line.backup else 0,
            ejection=_ejection(line, counts) if ejects else None,
            slow_start_s=line.slow_start_s.value or None,
            many=_is_name(line),
            ring_key=written,
        )


def _is_name(line: picture.Server) -> bool:
    return line.at is not None and line.at.kind == "name"


def _ejection(line: picture.Server, counts: tuple[Failure, ...]) -> Ejection:
    within = line.fail_timeout_s.value
    return Ejection(line.max_fails.value, counts, within_s=within, away_s=within, one_always=False)


def _counted(passes: list[Pass]) -> tuple[Failure, ...]:
    """Which failures count against a server: a status only where every pass says so."""
    said = bool(passes) and all(_STATUSES & set(p.next_upstream.value) for p in passes)
    return (*_ALWAYS, "status") if said else _ALWAYS


def _policy(policy: picture.Policy) -> Policy:
    match policy:
        case picture.RoundRobin():
            return RoundRobin()
        case picture.LeastConn():
            return LeastRequest()
        case picture.IpHash():
            return Hash("source", consistent=False)
        case picture.Hash(key, consistent):
            return _hash(key.text, consistent)
        case picture.Random(two=False):
            return RandomPick(1)
        case picture.Random(method="least_conn"):
            return RandomPick(2)
        case picture.Random(method=method):
            return OtherPolicy(f"random two {method}")
        case picture.LeastTime(metric=metric):
            return OtherPolicy(f"least_time {metric}")
        case picture.Other(name=name):
            return OtherPolicy(name)


def _hash(key: str, consistent: bool) -> Hash:
    plain = key.replace("{", "").replace("}", "")
    if plain in _SOURCES:
        return Hash("source", consistent=consistent)
    if plain in _PATHS:
        return Hash("path", consistent=consistent)
    for start, on in (("$http_", "header"), ("$cookie_", "cookie"), ("$arg_", "query")):
        name = plain.removeprefix(start)
        if name != plain and "$" not in name:
            match on:
                case "header":
                    return Hash("header", name.replace("_", "-"), consistent)
                case "cookie":
                    return Hash("cookie", name, consistent)
                case _:
                    return Hash("query", name, consistent)
    return Hash("other", key, consistent)


def _retries(upstream: Upstream, passes: list[Pass]) -> Retries:
    """Those of the pass that tries most often. Without a bound nginx asks every server once."""
    tried = [p for p in passes if p.next_upstream.value]
    if not tried:
        return Retries(0, ())
    servers = max(sum(not line.down for line in upstream.servers), 1)
    attempts = max(min(p.next_upstream_tries.value or servers, servers) for p in tried)
    words = {word for p in tried for word in p.next_upstream.value}
    after: list[Failure] = ["refused"] if "error" in words else []
    after += ["hung"] if "timeout" in words else []
    after += ["reset"] if words & {"error", "invalid_header"} else []
    after += ["status"] if words & _STATUSES else []
    longest = [p.next_upstream_timeout_s.value for p in tried]
    return Retries(attempts - 1, tuple(after), all_s=max(longest) if all(longest) else None)


def _timeouts(reading: Reading, passes: list[Pass]) -> Timeouts:
    """The longest of all passes; clients are waited for by the sites that have these passes."""
    sites = [site for site in reading.sites if any(p in site.passes for p in passes)]
    return Timeouts(
        connect_s=max((p.connect_timeout_s.value for p in passes), default=60.0),
        server_s=max((p.read_timeout_s.value for p in passes), default=60.0),
        client_s=max((max(s.header_timeout_s.value, s.body_timeout_s.value) for s in sites), default=60.0),
        queue_s=inf,
        keep_alive_s=max((s.keepalive_timeout_s.value for s in sites), default=75.0),
    )


def _workers(reading: Reading, upstream: Upstream) -> int | None:
    """How many keep a state of their own: one where they share a zone; nobody knows in a piece of a configuration."""
    if upstream.zone is not None:
        return 1
    workers = reading.process.workers
    if workers.value == "auto" or (workers.is_default and reading.context != "main"):
        return None
    return workers.value


def _listeners(reading: Reading, site: Site, names: tuple[str, ...]) -> Iterator[Listener]:
    routes = tuple(_routes(reading, site, names))
    title = site.names[0].text if site.names and site.names[0].text else "_"
    for listen in site.listens:
        tls = "ssl" in listen.options
        yield Listener(
            name=f"{title} {listen.word.text}",
            host=listen.at.host if listen.at is not None else listen.word.text,
            port=(listen.at.port or 0) if listen.at is not None else 0,
            routes=routes,
            certificate=_certificate(reading, site) if tls else None,
            origin=listen.origin,
        )


def _certificate(reading: Reading, site: Site) -> str:
    """The file of the site's certificate, of whichever block it is written in; empty where it is not given."""
    left = list(reading.directives)
    while left:
        directive = left.pop()
        inner = directive.block or ()
        left += inner
        if directive.origin == site.origin:
            return next((d.text(0) for d in inner if d.name == "ssl_certificate"), "")
    return ""


def _routes(reading: Reading, site: Site, names: tuple[str, ...]) -> Iterator[Route]:
    """The passes of a site as routes, in nginx's order: exact paths, regular expressions, then the longest prefix."""
    hosts: list[str | None] = [w.text for w in site.names if re.fullmatch(r"[\w.-]*[\w-]", w.text) and w.text != "_"]
    for passed in sorted(site.passes, key=_precedence):
        where = passed.path[-1] if passed.path else None
        prefix, condition = "/", ""
        if where is not None and where.modifier in ("", "^~", "="):
            prefix, condition = where.pattern, "only this path" if where.modifier == "=" else ""
        elif where is not None:
            condition = f"{where.modifier} {where.pattern}".strip()
        for pool, share in _pools(reading, passed, names):
            also = f"{passed.target.text} is {pool}" if passed.variables and share == 1.0 else ""
            said = " and ".join(text for text in (condition, also) if text)
            for host in hosts or (None,):
                yield Route(pool, host, prefix, said, share)


def _precedence(passed: Pass) -> tuple[int, int]:
    where = passed.path[-1] if passed.path else None
    if where is None:
        return 9, 0
    kind = {"=": 0, "^~": 1, "~": 2, "~*": 2, "": 3}.get(where.modifier, 4)
    return kind, -len(where.pattern) if kind in (1, 3) else 0


def _pools(reading: Reading, passed: Pass, names: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    """The pools that a pass leads to, with the share of each where split_clients decides, else 1."""
    parts = [part for split in reading.splits if split.variable in passed.variables for part in split.parts]
    rest = 1.0 - sum(part.share or 0.0 for part in parts)
    shares = {part.value.text.lower(): rest if part.share is None else part.share for part in parts}
    for upstream, name in zip(reading.upstreams, names, strict=True):
        if upstream.module == passed.module and _leads(passed, upstream.name):
            yield name, shares.get(upstream.name.lower(), 1.0)
