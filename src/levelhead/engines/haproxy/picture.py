"""What HAProxy would build from its configuration: proxies with settings resolved, servers, and the rest as it is.

Every value knows the line it was written on, also where it came from a `defaults` section.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from levelhead.engines.haproxy.preprocess import Statement
from levelhead.engines.haproxy.syntax import Tree, Word
from levelhead.engines.haproxy.values import Address
from levelhead.engines.text import Problem
from levelhead.model import Origin

T = TypeVar("T")
Kind = Literal["defaults", "frontend", "backend", "listen"]


@dataclass(frozen=True, slots=True)
class Setting(Generic[T]):
    """A value and where it was written; `defaults` names the section it is inherited from, None is its own line."""

    value: T
    origin: Origin
    defaults: str | None = None


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Bounds in seconds, each None where nothing sets it; 0 is no bound."""

    check: Setting[float] | None = None
    client: Setting[float] | None = None
    client_fin: Setting[float] | None = None
    client_hs: Setting[float] | None = None
    connect: Setting[float] | None = None
    http_keep_alive: Setting[float] | None = None
    http_request: Setting[float] | None = None
    queue: Setting[float] | None = None
    server: Setting[float] | None = None
    server_fin: Setting[float] | None = None
    tarpit: Setting[float] | None = None
    tunnel: Setting[float] | None = None


@dataclass(frozen=True, slots=True)
class Option:
    """`option name arguments`; `on` is False for `no option name`."""

    name: str
    on: bool
    arguments: tuple[str, ...]
    origin: Origin
    defaults: str | None = None


@dataclass(frozen=True, slots=True)
class Balance:
    """How the next server is chosen: `roundrobin`, `uri`, `hdr`, `random` ...; `argument` is what is in parentheses."""

    algorithm: str
    argument: str = ""
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HashType:
    method: Literal["map-based", "consistent"] = "map-based"
    function: str = "sdbm"
    modifier: str = ""


@dataclass(frozen=True, slots=True)
class Checks:
    """How servers with `check` are asked.

    `type` is tcp (a connect) unless an option says otherwise: http, tcp-check, mysql, pgsql, redis, smtp, ldap,
    ssl-hello, spop, external. The request is that of `option httpchk`,
    overridden by the first `http-check send`. `rules` are the
    http-check or tcp-check lines in order.
    """

    type: str = "tcp"
    origin: Origin | None = None
    method: str = ""
    uri: str = ""
    version: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    disable_on_404: bool = False
    send_state: bool = False
    http_rules: tuple[Rule, ...] = ()
    tcp_rules: tuple[Rule, ...] = ()
    defaults: str | None = None

    @property
    def rules(self) -> tuple[Rule, ...]:
        return self.http_rules if self.type == "http" else self.tcp_rules if self.type == "tcp-check" else ()

    @property
    def expects(self) -> tuple[Rule, ...]:
        return tuple(r for r in self.rules if r.action == "expect")


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a rule set: `http-request deny if bad`. `condition` holds the words after if or unless."""

    family: str
    action: str
    arguments: tuple[str, ...]
    polarity: Literal["", "if", "unless"]
    condition: tuple[str, ...]
    origin: Origin


@dataclass(frozen=True, slots=True)
class Route:
    """`use_backend`, `use-server` or `default_backend`. `dynamic` targets are computed per request.

    `exists` is None while it cannot be told: dynamic, or with unknown variables.
    """

    target: str
    polarity: Literal["", "if", "unless"]
    condition: tuple[str, ...]
    origin: Origin
    dynamic: bool = False
    exists: bool | None = None
    defaults: str | None = None


@dataclass(frozen=True, slots=True)
class Cookie:
    name: str
    words: tuple[str, ...] = ()

    @property
    def mode(self) -> str:
        return next((w for w in self.words if w in ("rewrite", "insert", "prefix")), "")


@dataclass(frozen=True, slots=True)
class StickTable:
    name: str
    type: str
    size: int | None
    expire_s: float | None
    peers: str
    store: tuple[str, ...]
    words: tuple[str, ...]
    origin: Origin


@dataclass(frozen=True, slots=True)
class Bind:
    """One `bind` line, which may open several addresses."""

    addresses: tuple[Address, ...]
    ssl: bool
    certificates: tuple[str, ...]
    accept_proxy: bool
    name: str
    options: tuple[ServerOption, ...]
    origin: Origin


@dataclass(frozen=True, slots=True)
class ServerOption:
    """A word of a server or bind line with its values; `inherited` if it stands in a `default-server` line."""

    name: str
    values: tuple[str, ...]
    origin: Origin
    inherited: bool = False


@dataclass(frozen=True, slots=True)
class Template:
    """Which one of a `server-template` this server is."""

    prefix: str
    number: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class ServerCheck:
    """`enabled` by the word check; the rest is in force only then. `port` 0 and `host` empty: those of the server.

    `host_port` is the port that `addr` was written with; it counts where `port` is 0.
    """

    enabled: bool = False
    inter_s: float = 2.0
    fastinter_s: float | None = None
    downinter_s: float | None = None
    fall: int = 3
    rise: int = 2
    port: int = 0
    host: str = ""
    host_port: int = 0
    ssl: bool = False
    send_proxy: bool = False
    sni: str = ""
    alpn: str = ""
    proto: str = ""


@dataclass(frozen=True, slots=True)
class Agent:
    """The agent check. `host` and `port` follow those of the check until a line gives the agent its own."""

    enabled: bool = False
    host: str = ""
    port: int = 0
    inter_s: float = 2.0
    send: str = ""
    own_host: bool = False
    own_port: bool = False


@dataclass(frozen=True, slots=True)
class ServerLine:
    """One server as HAProxy would have it, after `default-server` and `no-` words.

    `port` is 0 where none is written; with `port_offset` it is added to the port that the client reached. None is no
    bound for `maxconn`, `minconn` and `maxqueue`. `number` is the id, written or given by HAProxy. `send_proxy` is "",
    v1, v2, v2-ssl or v2-ssl-cn. `options` are all words in order, those of default-server first.
    """

    name: str
    address: Address
    origin: Origin
    port: int = 0
    port_offset: bool = False
    number: int = 0
    weight: int = 1
    backup: bool = False
    disabled: bool = False
    check: ServerCheck = ServerCheck()
    agent: Agent = Agent()
    slowstart_s: float = 0.0
    maxconn: int | None = None
    minconn: int | None = None
    maxqueue: int | None = None
    observe: str = ""
    error_limit: int = 10
    on_error: str = "fail-check"
    on_marked_down: str = ""
    on_marked_up: str = ""
    track: str = ""
    cookie: str = ""
    ssl: bool = False
    verify: str = ""
    sni: str = ""
    alpn: str = ""
    proto: str = ""
    init_addr: tuple[str, ...] = ()
    resolvers: str = ""
    send_proxy: str = ""
    source: str = ""
    redir: str = ""
    stick: bool = True
    max_reuse: int | None = None
    pool_max_conn: int | None = None
    template: Template | None = None
    options: tuple[ServerOption, ...] = ()

    def option(self, name: str) -> ServerOption | None:
        """The last word of this name, which is the one in force."""
        return next((o for o in reversed(self.options) if o.name == name), None)


@dataclass(frozen=True, slots=True)
class Proxy:
    """One defaults, frontend, backend or listen section. `heir_of` is the place of the defaults section it builds on.

    `number` is the id if one is written, else 0.
    """

    kind: Kind
    name: str
    origin: Origin
    number: int = 0
    heir_of: Origin | None = None
    mode: Setting[str] | None = None
    disabled: bool = False
    binds: tuple[Bind, ...] = ()
    servers: tuple[ServerLine, ...] = ()
    dispatch: Setting[Address] | None = None
    balance: Setting[Balance] | None = None
    hash_type: Setting[HashType] | None = None
    hash_balance_factor: Setting[int] | None = None
    timeouts: Timeouts = Timeouts()
    options: tuple[Option, ...] = ()
    checks: Checks = Checks()
    retries: Setting[int] | None = None
    retry_on: Setting[tuple[str, ...]] | None = None
    maxconn: Setting[int] | None = None
    fullconn: Setting[int] | None = None
    backlog: Setting[int] | None = None
    max_keep_alive_queue: Setting[int] | None = None
    http_reuse: Setting[str] | None = None
    cookie: Setting[Cookie] | None = None
    source: Setting[str] | None = None
    load_server_state: Setting[str] | None = None
    stick_table: StickTable | None = None
    stick_rules: tuple[Rule, ...] = ()
    default_backend: Route | None = None
    use_backends: tuple[Route, ...] = ()
    use_servers: tuple[Route, ...] = ()
    acls: tuple[Rule, ...] = ()
    rules: tuple[Rule, ...] = ()
    default_server: tuple[ServerOption, ...] = ()
    statements: tuple[Statement, ...] = ()

    @property
    def title(self) -> str:
        return f"{self.kind} {self.name}".strip()

    @property
    def takes_traffic(self) -> bool:
        return self.kind in ("frontend", "listen")

    @property
    def has_servers(self) -> bool:
        return self.kind in ("backend", "listen")

    @property
    def algorithm(self) -> str:
        return self.balance.value.algorithm if self.balance else "roundrobin"

    def option(self, name: str) -> Option | None:
        """The option in force, None where nothing sets or unsets it."""
        return next((o for o in self.options if o.name == name), None)

    def has(self, name: str) -> bool:
        found = self.option(name)
        return found is not None and found.on

    def server(self, name: str) -> ServerLine | None:
        return next((s for s in self.servers if s.name == name), None)


@dataclass(frozen=True, slots=True)
class StatsSocket:
    address: Address
    level: str
    mode: str
    user: str
    group: str
    expose_listeners: bool
    origin: Origin


@dataclass(frozen=True, slots=True)
class Global:
    """The global sections together. `settings` are all their lines in order: the words of each, the first its name."""

    settings: tuple[tuple[Word, ...], ...] = ()
    maxconn: Setting[int] | None = None
    nbthread: Setting[int] | None = None
    hard_stop_after_s: Setting[float] | None = None
    spread_checks: Setting[int] | None = None
    server_state_base: Setting[str] | None = None
    server_state_file: Setting[str] | None = None
    stats_sockets: tuple[StatsSocket, ...] = ()
    origin: Origin | None = None

    def setting(self, name: str) -> tuple[Word, ...]:
        """The words after the last line of this name, empty if there is none (or none after it)."""
        return next((words[1:] for words in reversed(self.settings) if words[0].text == name), ())


@dataclass(frozen=True, slots=True)
class Opaque:
    """A section that is kept as it is: peers, resolvers, userlist, cache, program and the like."""

    kind: str
    name: str
    origin: Origin
    statements: tuple[Statement, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything that was read, in order of the files, and what is wrong with it."""

    trees: tuple[Tree, ...]
    globals: Global = Global()
    proxies: tuple[Proxy, ...] = ()
    others: tuple[Opaque, ...] = ()
    problems: tuple[Problem, ...] = field(default=())

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(p for p in self.problems if p.kind == "error")

    def proxy(self, name: str, kind: Kind | None = None) -> Proxy | None:
        wanted = (kind,) if kind else ("frontend", "backend", "listen")
        return next((p for p in self.proxies if p.name == name and p.kind in wanted), None)

    def pools(self) -> tuple[Proxy, ...]:
        return tuple(p for p in self.proxies if p.has_servers)
