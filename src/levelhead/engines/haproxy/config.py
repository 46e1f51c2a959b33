"""A Fleet as the text of an HAProxy configuration; what HAProxy cannot do is refused with the place it was written."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, assert_never

import numpy as np

from levelhead.engines.haproxy import expressible
from levelhead.errors import ConfigError
from levelhead.model import (
    Admin,
    Check,
    Fleet,
    Hash,
    LeastRequest,
    Listener,
    Origin,
    OtherPolicy,
    Pool,
    RandomPick,
    RoundRobin,
    Route,
    Server,
)  # fmt: skip

Version = tuple[int, int, int]

OLDEST: Final[Version] = (2, 4, 0)
MAX_WEIGHT: Final = 256
MILLION: Final = 1_000_000
THIN: Final = 32
NO_ROUTE: Final = "levelhead-no-route"
SERVER_INDENT: Final = "    server "

_LONGEST_S: Final = 2_000_000.0  # HAProxy's timers end at 24 days
_NAME: Final = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&*+.^_|~-]{1,128}")  # HTTP's token, but no quotes
_HOST: Final = re.compile(r"[A-Za-z0-9._:-]{1,255}|\*|")
_STATUS: Final = re.compile(r"[1-5]\d\d(-[1-5]\d\d)?(,[1-5]\d\d(-[1-5]\d\d)?)*")
_SUMMARY: Final = re.compile(r"(?i)errors?(\(s\))? found in config|failed to start their listeners|failed to init")
_RESERVED_SERVERS: Final = frozenset({"FRONTEND", "BACKEND"})  # names of the sums in `show stat`
_POLICIES: Final = "use round-robin, least-request, random or hash"
_RESERVED_POOLS: Final = frozenset({NO_ROUTE, "GLOBAL", "MASTER"})


@dataclass(frozen=True, slots=True)
class Paths:
    """Where the process finds its runtime socket, the states its predecessor left, and the sampling of records."""

    stats_socket: str
    state_file: str
    sampling_acl: str
    sampling_map: str


def render(fleet: Fleet, paths: Paths, version: Version, *, records: bool = True) -> str:
    """The whole file, with the records of requests or without.

    The same fleet gives the same text. Raises ConfigError, with its origin, for what this version cannot express.
    Drained servers look ready here: a file has no word for them; `runtime.state_file` holds them back from the start.
    """
    _check_names(fleet)
    expressible.check(fleet)
    sections = [_global(fleet, paths), _defaults()]
    recorded = _records(fleet.client, paths) if records else []
    sections += [_frontend(fleet, listener, version, recorded) for listener in fleet.listeners]
    sections += [_backend(fleet, pool, version) for pool in fleet.pools]
    if any(not _catches_all(listener) for listener in fleet.listeners):
        sections.append(_no_route())
    return "\n".join("\n".join(lines) + "\n" for lines in sections)


def weights(pool: Pool) -> tuple[int, ...]:
    """The pool's weights as HAProxy takes them, integers from 0 to 256.

    Integers in that range go through as they are. Otherwise all of the pool's weights are scaled together, so that
    the worst relative error is smallest: it is at most max/min/512 while max/min is at most 256, and a weight above
    zero never becomes zero.
    """
    wanted = np.asarray([s.weight for s in pool.servers], dtype=np.float64)
    for server in pool.servers:
        if not math.isfinite(server.weight) or server.weight < 0:
            raise _refusal(server.origin, f"server {server.name} has the weight {server.weight:g}", "give 0 or more")
    if not len(wanted) or wanted.max() == 0 or (wanted.max() <= MAX_WEIGHT and (wanted == np.rint(wanted)).all()):
        return tuple(int(w) for w in wanted)
    relative = wanted[wanted > 0] / wanted.max()
    tops = np.arange(MAX_WEIGHT, 0, -1, dtype=np.float64)[:, None]
    exact = np.maximum(tops * relative, 1e-6)
    steps = np.maximum(np.rint(exact), 1.0)
    worst = np.abs(steps / exact - 1.0).max(axis=1)
    chosen = np.zeros(len(wanted), dtype=np.int64)
    chosen[wanted > 0] = steps[int(np.argmin(worst.round(12)))].astype(np.int64)
    return tuple(int(w) for w in chosen)


def server_words(pool: Pool, server: Server, weight: int) -> str:
    """What follows a server's name and address, in the file and in `add server`; its admin state is not among them."""
    words = [f"weight {weight}"]
    limit = server.in_flight_limit if server.in_flight_limit is not None else pool.limits.server_in_flight
    if limit is not None:
        words.append(f"maxconn {max(limit, 1)}")
    if pool.check is not None:
        check = pool.check
        words.append(f"check inter {_ms(check.interval_s)} fall {max(check.fall, 1)} rise {max(check.rise, 1)}")
        words += [f"port {check.port}"] if check.port is not None else []
    if pool.ejection is not None:
        words.append(f"observe layer7 error-limit {max(pool.ejection.consecutive_errors, 1)} on-error mark-down")
    if pool.slow_start_s > 0:
        words.append(f"slowstart {_ms(pool.slow_start_s)}")
    if pool.affinity_cookie is not None:
        words.append(f"cookie {server.name}")
    return " ".join(words)


def is_name(host: str) -> bool:
    """Whether a server's host is a name, which HAProxy looks up when it loads its file, and not an IP address."""
    try:
        ip_address(host)
    except ValueError:
        return True
    return False


def _global(fleet: Fleet, paths: Paths) -> list[str]:
    longest = max((t for p in fleet.pools for t in (p.timeouts.server_s, p.timeouts.client_s)), default=0.0)
    lines = [
        "# The process. Levelhead writes this file anew at every change; edits here are lost.",
        "global",
        f"    stats socket {_quoted(paths.stats_socket)} mode 600 level admin expose-fd listeners",
        f"    server-state-file {_quoted(paths.state_file)}",
        f"    hard-stop-after {_ms(max(60.0, longest + 5.0))}",
        "    noreuseport",
    ]
    if any(listener.certificate for listener in fleet.listeners):
        lines += ["    ssl-default-bind-options ssl-min-ver TLSv1.2", "    tune.ssl.default-dh-param 2048"]
    return lines


def _defaults() -> list[str]:
    return [
        "# What holds in every section below, unless it says otherwise.",
        "defaults",
        "    mode http",
        "    load-server-state-from-file global",
        "    option http-keep-alive",
        "    option idle-close-on-response",
        "    option redispatch 1",
        "    option abortonclose",
        "    option forwardfor",
        "    http-reuse safe",
        "    timeout connect 2000ms",
        "    timeout client 30000ms",
        "    timeout server 30000ms",
        "    timeout queue 5000ms",
        "    timeout http-request 10000ms",
        "    timeout http-keep-alive 15000ms",
        "    timeout client-fin 5000ms",
        "    timeout server-fin 5000ms",
        "    timeout tunnel 3600000ms",
    ]


def _frontend(fleet: Fleet, listener: Listener, version: Version, recorded: list[str]) -> list[str]:
    pools = [p for p in fleet.pools if any(r.pool == p.name for r in listener.routes)]
    host = f"[{listener.host}]" if ":" in listener.host else listener.host
    tls = f" ssl crt {_quoted(listener.certificate)} alpn h2,http/1.1" if listener.certificate else ""
    lines = [
        f"# Listener {listener.name}: where clients connect.",
        f"frontend {listener.name}",
        f"    bind {host}:{listener.port}{tls}",
    ]
    if listener.connections is not None:
        lines.append(f"    maxconn {max(listener.connections, 1)}")
    if pools:
        client, idle = max(p.timeouts.client_s for p in pools), max(p.timeouts.keep_alive_s for p in pools)
        lines += [f"    timeout client {_ms(client)}", f"    timeout http-keep-alive {_ms(idle)}"]
        lines.append(f"    timeout http-request {_ms(min(client, 10.0))}")
    if listener.certificate:
        lines.append("    http-request set-header X-Forwarded-Proto https")
    lines += recorded
    for route in listener.routes:
        if _is_open(route):
            return [*lines, f"    default_backend {route.pool}"]
        lines.append(f"    use_backend {route.pool} if {_condition(route, listener.origin, version)}")
    return [*lines, f"    default_backend {NO_ROUTE}"]


def _records(client: str, paths: Paths) -> list[str]:
    """The record of one request, made for a random few; the others pay for one comparison and nothing else.

    Which few is the range of numbers in `sampling_acl`: of all the conditions that can be changed while the process
    runs, a list of patterns is the cheapest to evaluate. The time starts when the whole request head is there, so a
    slow client does not make a server look slow.
    """
    said = f"map_str_int({paths.sampling_map})"
    return [
        "    log stdout len 512 format raw local0",
        "    option dontlognull",
        '    log-format "%b %s %ST %ts %Ta %[date(0,us),sub(txn.levelhead_at)] %[var(txn.levelhead_keep)]'
        ' %[var(txn.levelhead_thin)] %[var(txn.levelhead_who)]"',
        "    http-request set-log-level silent",
        f"    http-request allow if !{{ rand({MILLION}) -f {paths.sampling_acl} }}",
        f"    http-request set-var(txn.levelhead_surge) str(surge),{said}",
        f"    http-request set-var(txn.levelhead_thin) int({THIN}) if {{ fe_req_rate,sub(txn.levelhead_surge) gt 0 }}",
        f"    http-request allow if {{ var(txn.levelhead_thin) -m found }} {{ rand({THIN}) gt 0 }}",
        "    http-request set-log-level info",
        "    http-request set-var(txn.levelhead_at) date(0,us)",
        f"    http-request set-var(txn.levelhead_keep) str(keep),{said}",
        f"    http-request set-var(txn.levelhead_who) {_client_key(client)}",
    ]


def _client_key(client: str) -> str:
    """The expression that tells users apart. A cookie is a credential, so only its hash leaves the proxy."""
    kind, _, name = client.partition(":")
    if kind == "source" and not name:
        return "src"
    if kind in ("header", "cookie") and _TOKEN.fullmatch(name):
        return f"req.hdr({_quoted(name)})" if kind == "header" else f"req.cook({_quoted(name)}),xxh64,hex"
    raise _refusal(
        Origin(), f"clients cannot be told apart by {client!r}", "use source, header:NAME or cookie:NAME"
    )  # fmt: skip


def _condition(route: Route, origin: Origin, version: Version) -> str:
    parts = []
    if route.host is not None:
        if not route.host or not _HOST.fullmatch(route.host):
            raise _refusal(origin, f"{route.host!r} is no host name", "give a plain name such as app.example.com")
        bare = "host_only" if version >= (2, 5, 0) else "field(1,:),lower"
        parts.append(f"{{ req.hdr(host),{bare} -m str {_quoted(route.host.lower())} }}")
    if route.prefix != "/":
        parts.append(f"{{ path_beg -- {_quoted(_path(route.prefix, origin))} }}")
    return " ".join(parts)


def _backend(fleet: Fleet, pool: Pool, version: Version) -> list[str]:
    times = pool.timeouts
    lines = [
        f"# Pool {pool.name}: servers that share a job.",
        f"backend {pool.name}",
        *(f"    {line}" for line in _policy(pool, version)),
        f"    timeout connect {_ms(times.connect_s)}",
        f"    timeout server {_ms(times.server_s)}",
        f"    timeout queue {_ms(times.queue_s)}",
        *_retries(pool),
    ]
    if pool.affinity_cookie is not None:
        if not _TOKEN.fullmatch(pool.affinity_cookie):
            raise _refusal(pool.origin, f"{pool.affinity_cookie!r} is no cookie name", "use letters and digits")
        reach = [n for n in fleet.listeners if any(r.pool == pool.name for r in n.routes)]
        secure = " secure" if reach and all(n.certificate for n in reach) else ""
        lines.append(f"    cookie {_quoted(pool.affinity_cookie)} insert indirect nocache httponly{secure}")
    lines += _queue_bound(pool)
    if pool.check is not None:
        lines += _check(fleet, pool, pool.check)
    elif pool.ejection is not None:
        raise _refusal(
            pool.origin, f"pool {pool.name} has ejection but no check, so an ejected server could never come back",
            "give the pool a check, or take its ejection out",
        )  # fmt: skip
    for server, weight in zip(pool.servers, weights(pool), strict=True):
        lookup = " init-addr libc,last" if is_name(server.host) else ""
        away = " disabled" if server.admin is Admin.MAINT else ""
        words = server_words(pool, server, weight)
        lines.append(f"{SERVER_INDENT}{server.name} {server.address} {words}{lookup}{away}")
    return lines


def _policy(pool: Pool, version: Version) -> list[str]:
    policy = pool.policy
    match policy:
        case RoundRobin():
            return ["balance roundrobin"]
        case LeastRequest():
            return ["balance leastconn"]
        case RandomPick(draws):
            return [f"balance random({max(draws, 1)})"]
        case Hash():
            return _hash(pool, policy, version)
        case OtherPolicy(name):
            raise _refusal(pool.origin, f"pool {pool.name} has the policy {name!r}", _POLICIES)
        case _:
            assert_never(policy)


def _hash(pool: Pool, policy: Hash, version: Version) -> list[str]:
    if policy.on in ("header", "cookie") and not _TOKEN.fullmatch(policy.name):
        raise _refusal(pool.origin, f"pool {pool.name} hashes on a {policy.on} without a usable name", "name it")
    match policy.on:
        case "source":
            key = "balance source"
        case "path":
            key = "balance uri path-only"
        case "header":
            key = f"balance hdr({_quoted(policy.name)})"
        case "cookie":
            if version < (2, 6, 0):
                raise _refusal(
                    pool.origin, f"pool {pool.name} hashes on a cookie, which HAProxy {version[0]}.{version[1]} cannot",
                    "use HAProxy 2.6 or later, or hash on a header",
                )  # fmt: skip
            key = f"balance hash req.cook({_quoted(policy.name)})"
        case "query" | "other":
            raise _refusal(
                pool.origin, f"pool {pool.name} hashes on {policy.name or 'the query'!r}",
                "hash on the source, the path, a header or a cookie",
            )  # fmt: skip
        case _:
            assert_never(policy.on)
    # Neighbouring keys must not share a server: sdbm and djb2 without avalanche keep them together.
    lines = [key, "hash-type consistent djb2 avalanche" if policy.consistent else "hash-type map-based djb2 avalanche"]
    if policy.bounded_load is not None:
        if not policy.consistent or not policy.bounded_load > 1.0:
            raise _refusal(
                pool.origin, f"pool {pool.name} bounds the load of a hash at {policy.bounded_load:g} times the mean",
                "HAProxy needs a consistent hash and a bound above 1; 1.25 is usual",
            )  # fmt: skip
        lines.append(f"hash-balance-factor {max(round(policy.bounded_load * 100), 101)}")
    return lines


def _retries(pool: Pool) -> list[str]:
    """Which failures are tried again.

    A refused connection is, for every method: nothing was sent. A request whose server died before it answered is,
    if it is a GET, HEAD or OPTIONS. One that only takes too long is not: asking again multiplies the load at the
    moment when the servers have too much of it.
    """
    if pool.retries.attempts <= 0:
        return ["    retries 0"]
    return [
        f"    retries {pool.retries.attempts}",
        "    retry-on conn-failure empty-response",
        "    http-request disable-l7-retry unless { method GET HEAD OPTIONS }",
    ]


def _queue_bound(pool: Pool) -> list[str]:
    """A bound on the whole pool's queue. HAProxy's own `maxqueue` is no such bound: it is counted per server, and
    requests that any server may take wait in the pool, where it does not apply."""
    places = pool.limits.queue
    limited = pool.limits.server_in_flight is not None or any(s.in_flight_limit is not None for s in pool.servers)
    if places is None or not limited:
        return []
    full = f"queue ge {places}" if places > 0 else "be_conn_free eq 0"
    return [f"    http-request deny deny_status 503 if {{ {full} }}"]


def _check(fleet: Fleet, pool: Pool, check: Check) -> list[str]:
    lines = [f"    timeout check {_ms(check.timeout_s)}"]
    if check.path is None:
        return lines
    host = check.host or _usual_host(fleet, pool)
    if not _STATUS.fullmatch(check.status) or not host or not _HOST.fullmatch(host):
        what = f"the check of pool {pool.name} expects {check.status!r} from host {host!r}"
        raise _refusal(pool.origin, what, "give a status such as 200 or 200-399, and a plain host name")
    return [
        *lines,
        "    option httpchk",
        f"    http-check send meth GET uri {_quoted(_path(check.path, pool.origin))} ver HTTP/1.1"
        f" hdr Host {_quoted(host)} hdr User-Agent levelhead-check",
        f"    http-check expect status {check.status}",
    ]


def _usual_host(fleet: Fleet, pool: Pool) -> str:
    """The first host that users reach the pool by: a server that only knows its own name would refuse another."""
    hosts = [r.host for n in fleet.listeners for r in n.routes if r.pool == pool.name and r.host]
    return hosts[0] if hosts else "localhost"


def _no_route() -> list[str]:
    return [
        "# Requests that no route wants.",
        f"backend {NO_ROUTE}",
        '    http-request return status 404 content-type text/plain string "no route leads here\\n"',
    ]


def _is_open(route: Route) -> bool:
    return route.host is None and route.prefix == "/"


def _catches_all(listener: Listener) -> bool:
    return any(_is_open(route) for route in listener.routes)


def _check_names(fleet: Fleet) -> None:
    """Names and addresses that HAProxy, or `show stat`, would mistake for something else."""
    for kind, named in (("listener", fleet.listeners), ("pool", fleet.pools)):
        for thing in _twice(n.name for n in named):
            origin = [n.origin for n in named if n.name == thing][-1]
            raise _refusal(origin, f"two {kind}s are called {thing}", "rename one")
    for listener in fleet.listeners:
        _check_name("listener", listener.name, listener.origin, _RESERVED_POOLS)
        _check_address(f"listener {listener.name}", listener.host, listener.port, listener.origin)
        for route in listener.routes:
            if fleet.pool(route.pool) is None:
                what = f"listener {listener.name} sends {route.prefix} to the pool {route.pool}, which is not there"
                raise _refusal(listener.origin, what, "name one of: " + ", ".join(p.name for p in fleet.pools))
    for pool in fleet.pools:
        _check_name("pool", pool.name, pool.origin, _RESERVED_POOLS)
        for thing in _twice(s.name for s in pool.servers):
            origin = [s.origin for s in pool.servers if s.name == thing][-1]
            raise _refusal(origin, f"two servers of pool {pool.name} are called {thing}", "rename one")
        for server in pool.servers:
            _check_name("server", server.name, server.origin, _RESERVED_SERVERS)
            _check_address(f"server {server.name}", server.host, server.port, server.origin)


def _twice(names: Iterator[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            yield name
        seen.add(name)


def _check_name(kind: str, name: str, origin: Origin, reserved: frozenset[str]) -> None:
    if not _NAME.fullmatch(name) or name in reserved:
        step = "use letters, digits, - _ . and :" + (f"; not {', '.join(sorted(reserved))}" if name in reserved else "")
        raise _refusal(origin, f"HAProxy takes no {kind} called {name!r}", step)


def _check_address(what: str, host: str, port: int, origin: Origin) -> None:
    if not _HOST.fullmatch(host) or not 1 <= port <= 65535:
        raise _refusal(origin, f"{what} has the address {host}:{port}", "give a host and a port from 1 to 65535")


def _path(text: str, origin: Origin) -> str:
    if not text.startswith("/") or any(ord(c) < 33 or ord(c) > 126 for c in text) or len(text) > 1000:
        raise _refusal(origin, f"{text!r} is no path", "begin it with / and encode what is not ASCII")
    return text


def _quoted(text: str) -> str:
    """One word of the file, whatever is in it; plain words stay plain."""
    if re.fullmatch(r"[A-Za-z0-9_.:/=*-]+", text):
        return text
    return "'" + text.replace("'", "'\\''") + "'"


def _ms(seconds: float) -> str:
    return f"{max(round(min(seconds, _LONGEST_S) * 1000), 1)}ms"


def _refusal(origin: Origin, what: str, next_step: str) -> ConfigError:
    place = origin.file or "(command line)"
    return ConfigError(what, file=place, line=origin.line, column=origin.column, next_step=next_step)


def complaint(said: str, text: str, hide: str) -> str:
    """What `haproxy -c`, or a start that failed, said of a file: alerts only, with the lines they are about.

    `hide` is the folder of the file; places in it become `line N (the line)`.
    """
    lines = text.splitlines()
    found: dict[str, None] = {}
    for line in said.splitlines():
        alert = re.match(r"\[ALERT\]\s+\(\d+\) : (?:config : )?(.*)", line)
        if alert is None or _SUMMARY.search(alert[1]):
            continue
        found[_placed(alert[1], lines, hide)] = None
    return "; ".join(found) or " ".join(said.split())[-300:] or "it did not say why"


def _placed(alert: str, lines: list[str], hide: str) -> str:
    def place(match: re.Match[str]) -> str:
        number = int(match[1])
        shown = lines[number - 1].strip() if 0 < number <= len(lines) else ""
        return f"line {number} ({shown})"

    named = re.sub(re.escape(hide) + r"/[^:\]\s']*:(\d+)", place, alert)
    named = re.sub(r"^(?:parsing )?\[(line \d+ \(.*?\))\] ?: ", r"\1: ", named)
    return named.replace(hide + "/", "").strip().rstrip(".")
