"""Reads proxy_pass and its sisters: where requests go from one place, and everything in force there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from levelhead.engines.nginx import variables
from levelhead.engines.nginx.picture import Header, Location, LogFormat, Pass, Tls, Upstream, Version
from levelhead.engines.nginx.scope import Scope
from levelhead.engines.nginx.standing import logs, real_ip
from levelhead.engines.nginx.syntax import Directive, Word
from levelhead.engines.nginx.upstreams import KEEPALIVE_BY_DEFAULT, implicit_server, resolver
from levelhead.engines.nginx.values import address
from levelhead.engines.text import Value

PASSES: Final = {
    "proxy_pass": "proxy", "grpc_pass": "grpc", "fastcgi_pass": "fastcgi", "uwsgi_pass": "uwsgi",
    "scgi_pass": "scgi", "memcached_pass": "memcached",
}  # fmt: skip
_SCHEMES: Final = {"proxy": ("http", "https"), "grpc": ("grpc", "grpcs"), "uwsgi": ("uwsgi", "suwsgi")}
_TLS_SCHEMES: Final = frozenset({"https", "grpcs", "suwsgi"})
# fastcgi, uwsgi, scgi, memcached and stream have no usual port.
_PORTS: Final = {"http": 80, "https": 443, "grpc": 80, "grpcs": 443}
_NO_URI_IN: Final = {"~": "a regular expression", "~*": "a regular expression", "@": "a name"}
_NEXT: Final = frozenset(
    {"error", "timeout", "denied", "invalid_header", "invalid_response", "http_500", "http_502", "http_503",
     "http_504", "http_403", "http_404", "http_429", "non_idempotent", "updating", "not_found", "off"}
)  # fmt: skip
_DEFAULT_NEXT: Final = ("error", "timeout")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a pass needs to know beyond its blocks."""

    version: Version
    variables: variables.Known
    formats: tuple[LogFormat, ...]
    groups: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Target:
    """A target taken apart; `host` is the group's name or an address."""

    scheme: str
    host: str
    uri: str


def read(directive: Directive, scope: Scope, path: tuple[Location, ...], around: Surroundings) -> Pass:
    """The pass of a directive, with what it inherits."""
    word = directive.args[0] if directive.args else directive.head
    prefix, stream = PASSES[directive.name], scope.module == "stream"
    named = variables.names(word.text)
    texts, open_ended = around.variables.expand(word.text) if named else ((word.text,), False)
    targets = [_target(text, prefix, stream) for text in texts]
    hosts = tuple(dict.fromkeys(t.host for t in targets if t.host))
    target = targets[0] if targets else _target(word.text, prefix, stream)
    if not named and directive.args:
        _objections(target, word, prefix, scope, path, around)
    both = scope.time("proxy_timeout", 600.0) if stream else None
    return Pass(
        module=scope.module,
        directive=directive.name,
        target=word,
        scheme=target.scheme,
        uri=target.uri,
        upstream=hosts[0] if len(hosts) == 1 and not open_ended else "",
        candidates=hosts,
        open_ended=open_ended,
        variables=named,
        path=path,
        connect_timeout_s=scope.time(f"{prefix}_connect_timeout", 60.0),
        send_timeout_s=both or scope.time(f"{prefix}_send_timeout", 60.0),
        read_timeout_s=both or scope.time(f"{prefix}_read_timeout", 60.0),
        next_upstream=_next_upstream(prefix, scope),
        next_upstream_tries=scope.count(f"{prefix}_next_upstream_tries", 0),
        next_upstream_timeout_s=scope.time(f"{prefix}_next_upstream_timeout", 0.0),
        http_version=_http_version(prefix, scope, around.version),
        connection=_connection(prefix, scope, around.version),
        buffering=scope.flag(f"{prefix}_buffering", not stream and prefix not in ("grpc", "memcached")),
        request_buffering=scope.flag(f"{prefix}_request_buffering", not stream and prefix != "grpc"),
        headers=_headers(prefix, scope),
        tls=_tls(prefix, target.scheme, scope),
        logs=logs(scope, around.formats),
        real_ip=real_ip(scope),
        resolver=resolver(scope),
        keep_conn=scope.flag("fastcgi_keep_conn", False) if prefix == "fastcgi" else Value(False),
        origin=directive.origin,
    )


def implicit(passed: Pass, groups: frozenset[str]) -> Upstream | None:
    """The group that a pass to an address makes of it; None for a named group, or one that variables choose."""
    host = passed.upstream
    if not host or passed.variables or host.lower() in groups:
        return None
    port = None if passed.module == "stream" else _PORTS.get(passed.scheme)
    server = implicit_server(passed.target, address(host, port))
    return Upstream(passed.module, host, (server,), implicit=True, origin=passed.target.origin)


def _target(text: str, prefix: str, stream: bool) -> _Target:
    scheme, separated, rest = text.partition("://")
    if stream or not separated:
        scheme, rest = "", text
    if stream or prefix not in _SCHEMES:
        return _Target(scheme, rest, "")
    if rest[:5].lower() == "unix:":
        path, colon, uri = rest[5:].partition(":")
        return _Target(scheme, rest[:5] + path, uri if colon else "")
    end = min((i for i in (rest.find("/"), rest.find("?")) if i >= 0), default=len(rest))
    return _Target(scheme, rest[:end], rest[end:])


def _objections(
    target: _Target, word: Word, prefix: str, scope: Scope, path: tuple[Location, ...], around: Surroundings
) -> None:
    schemes = () if scope.module == "stream" else _SCHEMES.get(prefix, ())
    # grpc and uwsgi do without a scheme, proxy does not.
    if schemes and target.scheme not in schemes and (target.scheme or prefix == "proxy"):
        scope.problem(word.origin, f'"{word.text[:60]}" must begin with {schemes[0]}:// or {schemes[1]}://')
        return
    name = target.host.rpartition(":")[0] if ":" in target.host else ""
    if name and name.lower() in around.groups:
        scope.problem(word.origin, f'"{name}" is an upstream: it has the ports of its servers, and may have none here')
    at = address(target.host, _PORTS.get(target.scheme))
    grouped = target.host.lower() in around.groups
    if at is None and not grouped:
        scope.problem(word.origin, f'"{target.host[:60]}" is neither an upstream nor an address')
    elif at is not None and at.port is None and at.kind != "unix" and not grouped:
        scope.problem(word.origin, f'"{target.host[:60]}" is no upstream, and has no port')
    inner = path[-1].modifier if path else ""
    if target.uri and prefix == "proxy" and (inner in _NO_URI_IN or inner in ("if", "limit_except")):
        place = f"a location given by {_NO_URI_IN[inner]}" if inner in _NO_URI_IN else f'"{inner}"'
        scope.problem(word.origin, f'"{target.uri[:40]}" may not follow the server in {place}')


def _next_upstream(prefix: str, scope: Scope) -> Value[tuple[str, ...]]:
    directive = scope.one(f"{prefix}_next_upstream")
    if directive is None:
        return Value(_DEFAULT_NEXT)
    if scope.module == "stream":
        return Value(_DEFAULT_NEXT if directive.text(0).lower() == "on" else (), directive.origin)
    for word in directive.args:
        if word.text.lower() not in _NEXT:
            scope.problem(word.origin, f'"{word.text[:40]}" is nothing that {prefix}_next_upstream knows')
    conditions = tuple(text.lower() for text in directive.texts)
    return Value(() if "off" in conditions else conditions, directive.origin)


def _http_version(prefix: str, scope: Scope, version: Version) -> Value[str]:
    if prefix == "proxy" and scope.module == "http":
        default = "1.1" if version >= KEEPALIVE_BY_DEFAULT else "1.0"
        return scope.value("proxy_http_version", default, _version, "1.0, 1.1 or 2")
    return Value("2" if prefix == "grpc" else "")


def _version(text: str) -> str | None:
    return text if text in ("1.0", "1.1", "2") else None


def _headers(prefix: str, scope: Scope) -> tuple[Header, ...]:
    written = scope.all(f"{prefix}_set_header") if prefix in ("proxy", "grpc") else []
    return tuple(Header(d.text(0), d.args[1], d.origin) for d in written if len(d.args) == 2)


def _connection(prefix: str, scope: Scope, version: Version) -> Value[str]:
    for header in reversed(_headers(prefix, scope)):
        if header.name.lower() == "connection":
            return Value(header.value.text, header.origin)
    closes = prefix == "proxy" and scope.module == "http" and version < KEEPALIVE_BY_DEFAULT
    return Value("close" if closes else "")


def _tls(prefix: str, scheme: str, scope: Scope) -> Tls | None:
    """How the server's certificate is looked at; None where the connection is not encrypted."""
    if scheme not in _TLS_SCHEMES and not (scope.module == "stream" and scope.flag("proxy_ssl", False).value):
        return None
    return Tls(
        verify=scope.flag(f"{prefix}_ssl_verify", False),
        server_name=scope.flag(f"{prefix}_ssl_server_name", False),
        name=scope.text(f"{prefix}_ssl_name", "$proxy_host" if prefix == "proxy" else ""),
        trusted_certificate=scope.text(f"{prefix}_ssl_trusted_certificate", ""),
        session_reuse=scope.flag(f"{prefix}_ssl_session_reuse", True),
    )
