"""Reads `server` blocks of http and stream: where they listen, their locations, and every pass and page in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from levelhead.engines.nginx import passes
from levelhead.engines.nginx.passes import Surroundings
from levelhead.engines.nginx.picture import Listen, Location, Pass, Site, StatusPage
from levelhead.engines.nginx.scope import Scope
from levelhead.engines.nginx.standing import logs, real_ip
from levelhead.engines.nginx.syntax import Directive, Word
from levelhead.engines.nginx.values import Address, address
from levelhead.engines.text import Value

_MODIFIERS: Final = ("=", "^~", "~*", "~")
_PAGES: Final = frozenset(
    {"stub_status", "api", "status", "upstream_conf", "check_status", "vhost_traffic_status_display"}
)
_HTTP_PORT: Final = 80
_LISTEN: Final = frozenset(
    {"default_server", "default", "ssl", "http2", "quic", "proxy_protocol", "deferred", "bind", "reuseport", "udp",
     "spdy", "multipath", "setfib", "fastopen", "backlog", "rcvbuf", "sndbuf", "accept_filter", "ipv6only",
     "so_keepalive"}
)  # fmt: skip
# Inside these stand further passes; every other block of a server has words of its own.
_BLOCKS: Final = frozenset({"location", "if", "limit_except"})


def site(directive: Directive, outer: Scope, around: Surroundings) -> Site:
    """The site of a `server` block."""
    scope = outer.inner(directive.block or ())
    walk = _Walk(around)
    walk.block(scope, ())
    stream = scope.module == "stream"
    listens = tuple(_listen(d, scope) for d in scope.here("listen") if d.args)
    _only_once(listens, scope)
    if not listens and not stream:
        word = Word(f"*:{_HTTP_PORT}", directive.origin)
        listens = (Listen(word, Address("ip", "*", _HTTP_PORT), ()),)
    return Site(
        module=scope.module,
        listens=listens,
        names=tuple(word for d in scope.here("server_name") for word in d.args),
        locations=tuple(walk.locations),
        passes=tuple(walk.passes),
        status_pages=tuple(walk.pages),
        logs=logs(scope, around.formats),
        real_ip=real_ip(scope),
        # Its second argument is only what the client is told.
        keepalive_timeout_s=scope.time("keepalive_timeout", 75.0),
        keepalive_requests=scope.count("keepalive_requests", 1000),
        keepalive_time_s=scope.time("keepalive_time", 3600.0),
        send_timeout_s=scope.time("send_timeout", 60.0),
        header_timeout_s=scope.time("client_header_timeout", 60.0),
        body_timeout_s=scope.time("client_body_timeout", 60.0),
        http2=_http2(scope, listens),
        origin=directive.origin,
    )


@dataclass(slots=True)
class _Walk:
    """Goes through a site's blocks, outermost first, and notes what it meets."""

    around: Surroundings
    locations: list[tuple[Location, ...]] = field(default_factory=list)
    passes: list[Pass] = field(default_factory=list)
    pages: list[StatusPage] = field(default_factory=list)
    seen: set[tuple[tuple[Location, ...], str, str]] = field(default_factory=set)

    def block(self, scope: Scope, path: tuple[Location, ...]) -> None:
        for directive in scope.directives:
            if directive.block is None and directive.name in passes.PASSES:
                self.passes.append(passes.read(directive, scope, path, self.around))
            elif directive.block is None and directive.name in _PAGES:
                self.pages.append(_page(directive, scope))
            elif directive.block is not None and directive.name in _BLOCKS:
                inner = (*path, _location(directive, scope))
                if directive.name == "location":
                    self._note(inner, scope)
                self.block(scope.inner(directive.block), inner)

    def _note(self, path: tuple[Location, ...], scope: Scope) -> None:
        here, around = path[-1], path[:-1]
        # A regular expression may come twice, the second is never reached; a prefix and `^~` are the same place.
        kind = "" if here.modifier == "^~" else here.modifier
        if kind not in ("~", "~*"):
            if (around, kind, here.pattern) in self.seen:
                scope.problem(here.origin, f'location "{here.pattern[:60]}" is written twice')
            self.seen.add((around, kind, here.pattern))
        self.locations.append(path)


def _location(directive: Directive, scope: Scope) -> Location:
    if directive.name != "location":
        return Location(directive.name, " ".join(directive.texts), directive.origin)
    if len(directive.args) == 2:
        if directive.text(0) not in _MODIFIERS:
            said = f"a location begins with one of {' '.join(_MODIFIERS)} or with its path, not with"
            scope.problem(directive.args[0].origin, f'{said} "{directive.text(0)[:40]}"')
        return Location(directive.text(0), directive.text(1), directive.origin)
    written = directive.text(0)
    for modifier in _MODIFIERS:
        if written.startswith(modifier):
            return Location(modifier, written.removeprefix(modifier), directive.origin)
    return Location("@" if written.startswith("@") else "", written, directive.origin)


def _page(directive: Directive, scope: Scope) -> StatusPage:
    # allow and deny are one list: a block that has either inherits neither.
    around: Scope | None = scope
    while around is not None and not (around.here("allow") or around.here("deny")):
        around = around.above
    rules = tuple(d for d in around.directives if d.name in ("allow", "deny")) if around is not None else ()
    password = scope.one("auth_basic")
    protected = Value(password.text(0) != "off", password.origin) if password is not None else Value(False)
    return StatusPage(directive.name, rules, protected, bool(scope.here("internal")), directive.origin)


def _listen(directive: Directive, scope: Scope) -> Listen:
    word, stream = directive.args[0], scope.module == "stream"
    text = word.text
    port_alone = text.isascii() and text.isdigit()
    at = address(f"*:{text}" if port_alone else text, None if stream else _HTTP_PORT)
    # A range of ports ("8000-8010") is one line for many sockets: its address is the first.
    if at is None and "-" in text:
        at = address(text.rpartition("-")[0] if ":" in text else f"*:{text.partition('-')[0]}", None)
    if at is None and "$" not in text:
        scope.problem(word.origin, f'"{text[:60]}" is no address to listen at')
    elif at is not None and at.port is None and at.kind != "unix":
        scope.problem(word.origin, f'"{text[:60]}" needs a port: stream has no usual one')
    if at is not None and at.host == "*":
        at = Address("ip", "*", at.port)
    for option in directive.args[1:]:
        if option.text.partition("=")[0] not in _LISTEN:
            scope.problem(option.origin, f'"{option.text[:40]}" is no option of "listen"')
    return Listen(word, at, directive.texts[1:], directive.origin)


def _only_once(listens: tuple[Listen, ...], scope: Scope) -> None:
    seen: set[str] = set()
    for listen in listens:
        # The same address for TCP and for UDP or QUIC is two sockets.
        key = " ".join([listen.word.text, *(o for o in listen.options if o in ("udp", "quic"))])
        if key in seen:
            scope.problem(listen.origin, f'this server listens at "{listen.word.text[:60]}" twice')
        seen.add(key)


def _http2(scope: Scope, listens: tuple[Listen, ...]) -> Value[bool]:
    for listen in listens:
        if "http2" in listen.options:
            return Value(True, listen.origin)
    return scope.flag("http2", False)
