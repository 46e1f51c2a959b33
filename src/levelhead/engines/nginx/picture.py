"""What an nginx configuration amounts to: its groups of servers, and every place that passes requests to one.

Values in force are `Value`s that know where they were set; a value nobody set is nginx's default, set NOWHERE.
Times are seconds. `http` and `stream` things have the same types: `module` tells them apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from levelhead.engines.nginx.includes import Absent
from levelhead.engines.nginx.syntax import Comment, Directive, Word
from levelhead.engines.nginx.values import Address
from levelhead.engines.text import Problem, Value
from levelhead.model import NOWHERE, Origin

Module = Literal["http", "stream"]
Version = tuple[int, int, int]

_IDLE: Final = Value(60.0)
_REQUESTS: Final = Value(1000)
_AGE: Final = Value(3600.0)

# Where a text may belong: a whole configuration, or a piece that is to be included at that place.
Context = Literal["main", "http", "server", "location", "upstream", "stream", "stream-server", "stream-upstream"]


@dataclass(frozen=True, slots=True)
class Process:
    """The process: `workers` is "auto" for one per core; `open_files` and `shutdown_timeout_s` None have no bound."""

    workers: Value[int | Literal["auto"]]
    connections: Value[int]
    open_files: Value[int | None]
    shutdown_timeout_s: Value[float | None]
    modules: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Server:
    """One `server` line of a group. A name may stand for several addresses, each of them a server of this weight.

    `address` is as written, `at` what it means; `max_conns` 0 and `max_fails` 0 have no bound.
    """

    address: Word
    at: Address | None
    weight: Value[int]
    max_fails: Value[int]
    fail_timeout_s: Value[float]
    max_conns: Value[int]
    slow_start_s: Value[float]
    backup: bool = False
    down: bool = False
    drain: bool = False
    resolve: bool = False
    route: str = ""
    service: str = ""
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class RoundRobin:
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class LeastConn:
    origin: Origin


@dataclass(frozen=True, slots=True)
class IpHash:
    """By the first three bytes of an IPv4 address, or the whole IPv6 one."""

    origin: Origin


@dataclass(frozen=True, slots=True)
class Hash:
    key: Word
    consistent: bool
    origin: Origin


@dataclass(frozen=True, slots=True)
class Random:
    """At random by weight; with `two` the better of two, by `method`."""

    two: bool
    method: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class LeastTime:
    """Commercial: by `metric` (header, last_byte; connect, first_byte), `inflight` with requests not yet answered."""

    metric: str
    inflight: bool
    origin: Origin


@dataclass(frozen=True, slots=True)
class Other:
    """A policy of a third-party module (fair, chash ...), by its name."""

    name: str
    origin: Origin


Policy = RoundRobin | LeastConn | IpHash | Hash | Random | LeastTime | Other


@dataclass(frozen=True, slots=True)
class Sticky:
    """Sessions stay with their server: by a cookie, a route or what was learned; `words` as written."""

    kind: str
    words: tuple[Word, ...]
    origin: Origin


@dataclass(frozen=True, slots=True)
class Zone:
    """Shared memory for the state of a group, without which each worker has its own; `size` may be given elsewhere."""

    name: str
    size: int | None
    origin: Origin


@dataclass(frozen=True, slots=True)
class Keepalive:
    """Idle connections kept per worker. `before_policy`: written above the policy, which undoes it before 1.29.7."""

    connections: int
    local: bool
    before_policy: bool
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class Upstream:
    """A group of servers: an `upstream` block, or with `implicit` the one that a proxy_pass to an address makes."""

    module: Module
    name: str
    servers: tuple[Server, ...]
    policy: Policy = RoundRobin()
    sticky: Sticky | None = None
    zone: Zone | None = None
    keepalive: Keepalive | None = None
    keepalive_timeout_s: Value[float] = _IDLE
    keepalive_requests: Value[int] = _REQUESTS
    keepalive_time_s: Value[float] = _AGE
    resolver: Resolver | None = None
    queue: int | None = None
    state_file: str = ""
    implicit: bool = False
    others: tuple[Directive, ...] = ()
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class Resolver:
    """Name servers for names that are looked up while nginx runs; `valid_s` None follows the answers' own times."""

    addresses: tuple[Word, ...]
    valid_s: float | None
    timeout_s: Value[float]
    origin: Origin


@dataclass(frozen=True, slots=True)
class Header:
    """A header that is set on the way to a server; an empty value removes it."""

    name: str
    value: Word
    origin: Origin


@dataclass(frozen=True, slots=True)
class LogFormat:
    module: Module
    name: str
    variables: tuple[str, ...]
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class AccessLog:
    """A log in force; `format` None where no such format is given here. `condition` is its `if=`, empty without."""

    path: Word
    format: LogFormat | None
    format_name: str
    condition: str
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class RealIp:
    """Whom nginx believes about the client's address, and which header it takes it from."""

    trusted: tuple[Word, ...]
    header: Value[str]
    recursive: Value[bool]


@dataclass(frozen=True, slots=True)
class Tls:
    """How a TLS server is spoken to. `name` is what its certificate must carry, as written."""

    verify: Value[bool]
    server_name: Value[bool]
    name: Value[str]
    trusted_certificate: Value[str]
    session_reuse: Value[bool]


@dataclass(frozen=True, slots=True)
class Location:
    """A location: `modifier` is "", "=", "~", "~*", "^~" or "@" for a named one; "if" and "limit_except" are blocks."""

    modifier: str
    pattern: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class Pass:
    """One proxy_pass (or grpc_pass, fastcgi_pass ...), with everything in force at it.

    `upstream` is the name of its group, of an explicit or implicit `Upstream`; empty where variables choose. Then
    `candidates` are the names they can come to as far as the text tells (by set, map, split_clients, geo), and
    `open_ended` says whether there may be others. `next_upstream` is empty where it is off. `connection` is that
    header as written, empty where none is sent.
    """

    module: Module
    directive: str
    target: Word
    scheme: str
    uri: str
    upstream: str
    candidates: tuple[str, ...]
    open_ended: bool
    variables: tuple[str, ...]
    path: tuple[Location, ...]
    connect_timeout_s: Value[float]
    send_timeout_s: Value[float]
    read_timeout_s: Value[float]
    next_upstream: Value[tuple[str, ...]]
    next_upstream_tries: Value[int]
    next_upstream_timeout_s: Value[float]
    http_version: Value[str]
    connection: Value[str]
    buffering: Value[bool]
    request_buffering: Value[bool]
    headers: tuple[Header, ...]
    tls: Tls | None
    logs: tuple[AccessLog, ...]
    real_ip: RealIp
    resolver: Resolver | None
    keep_conn: Value[bool]
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class Listen:
    """A `listen` line: where, and its further words."""

    word: Word
    at: Address | None
    options: tuple[str, ...]
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class StatusPage:
    """stub_status, api or another page that shows nginx's inner state, and who may see it.

    `allowed` are the allow and deny lines in force, `password` whether auth_basic is.
    """

    directive: str
    allowed: tuple[Directive, ...]
    password: Value[bool]
    internal: bool
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class Site:
    """A `server` block of http or stream: where it listens, its names, locations, and what it passes where."""

    module: Module
    listens: tuple[Listen, ...]
    names: tuple[Word, ...]
    locations: tuple[tuple[Location, ...], ...]
    passes: tuple[Pass, ...]
    status_pages: tuple[StatusPage, ...]
    logs: tuple[AccessLog, ...]
    real_ip: RealIp
    keepalive_timeout_s: Value[float]
    keepalive_requests: Value[int]
    keepalive_time_s: Value[float]
    send_timeout_s: Value[float]
    header_timeout_s: Value[float]
    body_timeout_s: Value[float]
    http2: Value[bool]
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class Part:
    """One line of split_clients: its share of all, None for the `*` that takes the rest."""

    share: float | None
    value: Word


@dataclass(frozen=True, slots=True)
class Split:
    """A split_clients block: the variable it sets, from which key."""

    module: Module
    key: Word
    variable: str
    parts: tuple[Part, ...]
    origin: Origin


@dataclass(frozen=True, slots=True)
class Map:
    """A map or geo block: the variable it sets, from which source, and its entries (pattern, value)."""

    module: Module
    kind: Literal["map", "geo"]
    source: str
    variable: str
    entries: tuple[tuple[Word, Word], ...]
    default: Word | None
    origin: Origin


@dataclass(frozen=True, slots=True)
class Reading:
    """All that was read: `problems` are what nginx would refuse, `absent` what was included but not given.

    `unknown` are directives that nginx itself does not have: of modules, or mistyped. `files` are in the order nginx
    meets them; `directives` is the whole tree.
    """

    context: Context
    files: tuple[str, ...]
    process: Process
    upstreams: tuple[Upstream, ...]
    sites: tuple[Site, ...]
    splits: tuple[Split, ...]
    maps: tuple[Map, ...]
    formats: tuple[LogFormat, ...]
    directives: tuple[Directive, ...]
    comments: tuple[Comment, ...]
    unknown: tuple[Directive, ...]
    absent: tuple[Absent, ...]
    problems: tuple[Problem, ...]

    @property
    def passes(self) -> tuple[Pass, ...]:
        return tuple(p for site in self.sites for p in site.passes)

    def upstream(self, module: Module, name: str) -> Upstream | None:
        """The group of this name, in any case, as nginx looks it up."""
        lower = name.lower()
        return next((u for u in self.upstreams if u.module == module and u.name.lower() == lower), None)
