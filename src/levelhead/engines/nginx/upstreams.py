"""Reads `upstream` blocks: their servers, their policy, and what is kept between requests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from levelhead.engines.nginx.picture import (
    Hash,
    IpHash,
    Keepalive,
    LeastConn,
    LeastTime,
    Other,
    Policy,
    Random,
    Resolver,
    RoundRobin,
    Server,
    Sticky,
    Upstream,
    Version,
    Zone,
)
from levelhead.engines.nginx.scope import Scope
from levelhead.engines.nginx.syntax import Directive, Word
from levelhead.engines.nginx.values import Address, address, number, size, time_s
from levelhead.engines.text import Value
from levelhead.model import Origin

# From here on every group keeps connections, requests go out as HTTP/1.1, and the order of lines no longer matters.
KEEPALIVE_BY_DEFAULT: Final[Version] = (1, 29, 7)
_DEFAULT_PORT: Final = 80
_DEFAULT_KEEPALIVE: Final = 32

_ONE: Final = Value(1)
_NONE: Final = Value(0)
_FAIL_TIMEOUT: Final = Value(10.0)
_AT_ONCE: Final = Value(0.0)
_COUNTS: Final = frozenset({"weight", "max_fails", "max_conns"})
_TIMES: Final = frozenset({"fail_timeout", "slow_start"})
_TEXTS: Final = frozenset({"route", "service"})
_MARKS: Final = frozenset({"backup", "down", "drain", "resolve"})

_POLICIES: Final = frozenset(
    {"least_conn", "ip_hash", "hash", "random", "least_time", "fair", "chash", "consistent_hash"}
)
# These have no place for a server in reserve, and nginx says so when it meets one below them.
_WITHOUT_BACKUP: Final = frozenset({"ip_hash", "hash", "random"})
_READ: Final = frozenset(
    {"server", "zone", "keepalive", "keepalive_timeout", "keepalive_requests", "keepalive_time", "sticky", "queue",
     "state", "resolver", "resolver_timeout", "sticky_cookie_insert"}
)  # fmt: skip


def upstream(directive: Directive, outer: Scope, version: Version, *, whole: bool) -> Upstream:
    """The group of an `upstream` block; what nginx would refuse in it goes to the scope's problems.

    `whole` says that no include is missing: only then is it known that there are no further servers.
    """
    scope = outer.inner(directive.block or ())
    servers = tuple(s for line in scope.here("server") if (s := _server(line, scope)) is not None)
    policies = [d for d in scope.directives if d.name in _POLICIES]
    policy = _policy(policies, scope)
    state = scope.here("state")
    if whole and not scope.here("server") and not state:
        scope.problem(directive.origin, f'no server is in upstream "{directive.text(0)}"')
    if whole and not scope.here("zone"):
        _unshared(scope)
    _backups(scope)
    zones = [_zone(d, scope) for d in scope.here("zone") if d.args]
    stickies = scope.here("sticky") + scope.here("sticky_cookie_insert")
    queues = [n for d in scope.here("queue") if (n := number(d.text(0))) is not None]
    # Of the directives that stand in servers as well, only this block's own count.
    alone = Scope(scope.module, scope.directives, None, scope.problems)
    return Upstream(
        module=scope.module,
        name=directive.text(0),
        servers=servers,
        policy=policy,
        sticky=_sticky(stickies[-1]) if stickies else None,
        zone=zones[-1] if zones else None,
        keepalive=_keepalive(scope, policies, version),
        keepalive_timeout_s=alone.time("keepalive_timeout", 60.0),
        keepalive_requests=alone.count("keepalive_requests", 1000),
        keepalive_time_s=alone.time("keepalive_time", 3600.0),
        resolver=resolver(scope),
        queue=queues[-1] if queues else None,
        state_file=state[-1].text(0) if state else "",
        others=tuple(d for d in scope.directives if d.name not in _READ | _POLICIES),
        origin=directive.origin,
    )


def implicit_server(target: Word, at: Address | None) -> Server:
    """The only server of the group that a proxy_pass to an address makes."""
    return _Options().server(target, at, target.origin)


def resolver(scope: Scope) -> Resolver | None:
    """The name servers in force; None where there are none."""
    directive = scope.one("resolver")
    if directive is None or directive.text(0) == "off":
        return None
    addresses, valid_s = [], None
    for word in directive.args:
        name, equals, value = word.text.partition("=")
        if not equals:
            addresses.append(word)
        elif name == "valid":
            valid_s = time_s(value)
            if valid_s is None:
                scope.problem(word.origin, f'"valid" takes a time, not "{value[:40]}"')
    return Resolver(tuple(addresses), valid_s, scope.time("resolver_timeout", 30.0), directive.origin)


def _server(directive: Directive, scope: Scope) -> Server | None:
    if not directive.args:
        return None
    word = directive.args[0]
    at = address(word.text, _DEFAULT_PORT if scope.module == "http" else None)
    options = _Options()
    for option in directive.args[1:]:
        if not options.take(option):
            said = f'"{option.text[:60]}" is no option of a server, or has no such value'
            scope.problem(option.origin, said)
    if at is None:
        scope.problem(word.origin, f'"{word.text[:60]}" is no address of a server')
    elif at.kind != "unix" and at.port is None and "service" not in options.texts:
        scope.problem(word.origin, f'"{word.text[:60]}" needs a port: stream has no usual one')
    return options.server(word, at, directive.origin)


@dataclass(slots=True)
class _Options:
    """The options of a server line."""

    counts: dict[str, Value[int]] = field(default_factory=dict)
    times: dict[str, Value[float]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    marks: set[str] = field(default_factory=set)

    def take(self, word: Word) -> bool:
        """Whether nginx would take this option."""
        name, equals, value = word.text.partition("=")
        if not equals:
            self.marks.add(name)
            return name in _MARKS
        if name in _COUNTS:
            count = number(value)
            if count is not None and (count or name != "weight"):
                self.counts[name] = Value(count, word.origin)
            return name in self.counts
        if name in _TIMES:
            read = time_s(value, fine=False)
            if read is not None:
                self.times[name] = Value(read, word.origin)
            return name in self.times
        self.texts[name] = value
        return name in _TEXTS

    def server(self, word: Word, at: Address | None, origin: Origin) -> Server:
        return Server(
            address=word,
            at=at,
            weight=self.counts.get("weight", _ONE),
            max_fails=self.counts.get("max_fails", _ONE),
            fail_timeout_s=self.times.get("fail_timeout", _FAIL_TIMEOUT),
            max_conns=self.counts.get("max_conns", _NONE),
            slow_start_s=self.times.get("slow_start", _AT_ONCE),
            backup="backup" in self.marks,
            down="down" in self.marks,
            drain="drain" in self.marks,
            resolve="resolve" in self.marks,
            route=self.texts.get("route", ""),
            service=self.texts.get("service", ""),
            origin=origin,
        )


def _policy(written: list[Directive], scope: Scope) -> Policy:
    """The last one written holds; nginx only warns of the others."""
    if not written:
        return RoundRobin()
    directive = written[-1]
    first, origin = directive.text(0), directive.origin
    match directive.name:
        case "least_conn":
            return LeastConn(origin)
        case "ip_hash":
            return IpHash(origin)
        case "hash":
            key = directive.args[0] if directive.args else directive.head
            return Hash(key, _consistent(directive, scope), origin)
        case "random":
            return _random(directive, scope)
        case "least_time":
            return LeastTime(first, "inflight" in directive.texts[1:], origin)
        case name:
            return Other(name, origin)


def _consistent(directive: Directive, scope: Scope) -> bool:
    second = directive.text(1)
    if second not in ("", "consistent"):
        scope.problem(
            directive.args[1].origin, f'the second word of "hash" is "consistent" or none, not "{second[:40]}"'
        )
    return second == "consistent"


def _random(directive: Directive, scope: Scope) -> Random:
    first, second = directive.text(0), directive.text(1)
    if first not in ("", "two"):
        scope.problem(directive.args[0].origin, f'"random" takes "two" or nothing, not "{first[:40]}"')
    elif second and second != "least_conn" and second.partition("=")[0] != "least_time":
        scope.problem(directive.args[1].origin, f'"random two" takes least_conn or least_time, not "{second[:40]}"')
    return Random(first == "two", (second or "least_conn") if first == "two" else "", directive.origin)


def _backups(scope: Scope) -> None:
    """A policy without reserves refuses the backups written below it; those above it it ignores."""
    policy = ""
    for directive in scope.directives:
        if directive.name in _POLICIES:
            policy = directive.name
        elif directive.name == "server" and policy in _WITHOUT_BACKUP:
            for word in directive.args[1:]:
                if word.text == "backup":
                    scope.problem(word.origin, f'"{policy}" has no place for a backup server')


def _unshared(scope: Scope) -> None:
    """Names are looked up again by one worker for all: that takes shared memory."""
    for directive in scope.here("server"):
        for word in directive.args[1:]:
            if word.text == "resolve":
                scope.problem(word.origin, '"resolve" needs a "zone" in the upstream')


def _zone(directive: Directive, scope: Scope) -> Zone:
    written = directive.text(1)
    read = size(written) if written else None
    if written and read is None:
        scope.problem(directive.args[1].origin, f'"{written[:40]}" is no size')
    return Zone(directive.text(0), read, directive.origin)


def _sticky(directive: Directive) -> Sticky:
    kind = directive.text(0) if directive.name == "sticky" else "cookie"
    return Sticky(kind, directive.args[1:] if directive.name == "sticky" else directive.args, directive.origin)


def _keepalive(scope: Scope, policies: list[Directive], version: Version) -> Keepalive | None:
    written = scope.here("keepalive")
    if not written:
        by_default = version >= KEEPALIVE_BY_DEFAULT and scope.module == "http"
        return Keepalive(_DEFAULT_KEEPALIVE, local=True, before_policy=False) if by_default else None
    directive = written[-1]
    if len(written) > 1:
        scope.problem(directive.origin, '"keepalive" is written twice in this upstream')
    connections = number(directive.text(0))
    # Before 1.29.7 nginx refuses a 0; from then on it turns keeping off.
    if connections is None or (connections == 0 and version < KEEPALIVE_BY_DEFAULT):
        scope.problem(directive.origin, f'"keepalive" takes a number of connections, not "{directive.text(0)[:40]}"')
        return None
    order = [d for d in scope.directives if d is directive or d.name in _POLICIES]
    before = bool(policies) and order[-1] is not directive
    return Keepalive(connections, "local" in directive.texts[1:], before, directive.origin)
