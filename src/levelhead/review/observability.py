"""Rules about what the proxy lets people see: changes of state, shares, times, and what it silently does not do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from levelhead.engines.envoy import fields
from levelhead.engines.envoy import picture as envoy
from levelhead.engines.haproxy import picture as haproxy
from levelhead.engines.nginx import picture as nginx
from levelhead.model import Origin
from levelhead.review.base import Config, Rule, Trouble
from levelhead.review.sections import Line, in_use, is_checked, is_http, lines, log, log_line
from levelhead.review.wording import counted, listed

_REQUEST_ID: Final = re.compile(
    r"request[-_]?id|correlation|traceparent|trace[-_]?id|b3|req[-_]?id|unique[-_]?id", re.IGNORECASE
)
_TIMES_OF_ENVOY: Final = (
    "UPSTREAM-SERVICE-TIME", "RESPONSE_DURATION", "RESPONSE_TX_DURATION", "COMMON_DURATION", "REQUEST_TX_DURATION",
)  # fmt: skip
_RULES_OF_HTTP: Final = ("http-request", "http-response", "http-after-response", "redirect", "monitor-uri", "stats")
_OPTIONS_OF_HTTP: Final = ("forwardfor", "originalto")
_HTTP_HASHES: Final = ("uri", "url_param", "hdr")


def _unlogged_haproxy(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    reading = config.reading
    checked = [p for p in reading.pools() if any(is_checked(s) for s in in_use(p))]
    silent = [p for p in checked if log_line(config, p) is None]
    quiet = [p for p in checked if not p.has("log-health-checks") and p not in silent]
    if silent:
        message = f"{_pools(silent)} without a log: a server that goes down or comes back leaves no trace"
        yield Trouble(silent[0].origin, message, silent[0].name, fix="add `log` and `option log-health-checks`")
    elif quiet:
        falls = max(s.check.fall for s in in_use(quiet[0]) if is_checked(s))
        if falls > 1:
            early = "the first failed check of a server leaves"
            if falls > 2:
                early = f"the first {falls - 1} failed checks of a server leave"
            message = f"{_pools(quiet)} without log-health-checks: {early} no trace, only the last does"
            yield Trouble(quiet[0].origin, message, quiet[0].name)


def _pools(proxies: list[haproxy.Proxy]) -> str:
    return listed([proxy.title for proxy in proxies])


def _unlogged_envoy(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    for cluster in config.reading.clusters:
        if cluster.checks and not any(check.logged for check in cluster.checks):
            message = f"the checks of {cluster.name} have no event log: a change of health leaves no trace"
            yield Trouble(cluster.checks[0].origin, message, cluster.name, fix="give the check an event_logger")


def _unmeasured_haproxy(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    reading = config.reading
    pools = [p for p in reading.pools() if len(in_use(p)) > 1]
    if not pools or reading.globals.stats_sockets:
        return
    for proxy in reading.proxies:
        written = lines(config, proxy)
        if any(_shows_servers(line) for line in written):
            return
        named = log(config, proxy)
        if named is not None and (named.unknown or named.kind.endswith("log") or "s" in named.fields):
            return
    servers = sum(len(in_use(p)) for p in pools)
    message = f"no stats socket, stats page, metrics or request log: the shares of {counted(servers, 'server')} cannot"
    yield Trouble(reading.globals.origin or pools[0].origin, f"{message} be measured", fix="add a stats socket")


def _shows_servers(line: Line) -> bool:
    return (line.words[0] == "stats" and not line.negated) or any("prometheus-exporter" in w for w in line.words)


def _unmeasured_nginx(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    reading = config.reading
    pages = [page for site in reading.sites for page in site.status_pages]
    if reading.context != "main" or reading.absent or any(page.directive != "stub_status" for page in pages):
        return
    seen: set[Origin] = set()
    for upstream in reading.upstreams:
        name = upstream.name.lower()
        uses = [p for p in reading.passes if p.upstream.lower() == name and p.module == upstream.module]
        blind = [p for p in uses if not any(_may_name_server(written) for written in p.logs)]
        if len(upstream.servers) < 2 or not blind or len(blind) < len(uses):
            continue
        origin = next((written.origin for written in blind[0].logs if written.origin.line), blind[0].origin)
        why = f"log format {blind[0].logs[0].format_name} lacks $upstream_addr" if blind[0].logs else "no access log"
        if origin not in seen:
            seen.add(origin)
            message = f"{why}: the shares of {counted(len(upstream.servers), 'server')} cannot be measured"
            fix = "log $upstream_addr and $upstream_status; to syslog or a buffered file where a plain one is too slow"
            yield Trouble(origin, message, upstream.name, fix=fix)


def _may_name_server(written: nginx.AccessLog) -> bool:
    """Whether it does, or has a format that is not given here."""
    return written.format is None or "upstream_addr" in written.format.variables


def _unmeasured_envoy(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    reading = config.reading
    several = [c for c in reading.clusters if isinstance(c.members, envoy.Unknown) or len(c.endpoints) > 1]
    root = fields.View(reading.roots[0]) if reading.roots else None
    if root is None or not root.has("static_resources") or not several or reading.admin.at is not None:
        return
    sides = [s for listener in reading.listeners for s in listener.sides if not isinstance(s, envoy.OtherSide)]
    formats = [written.format for side in sides for written in side.logs]
    if root.has("stats_sinks") or any(not form or "UPSTREAM_HOST" in form for form in formats):
        return
    names = listed([cluster.name for cluster in several])
    message = f"no admin page, stats sink or access log with %UPSTREAM_HOST%: the shares in {names} cannot be measured"
    yield Trouble(root.where, message, fix="add an admin page on 127.0.0.1")


def _untimed_haproxy(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    reading = config.reading
    seen: set[Origin] = set()
    for proxy in reading.proxies:
        found = log(config, proxy) if proxy.takes_traffic and not proxy.disabled else None
        if found is None or found.unknown or found.origin in seen:
            continue
        missing = _missing_haproxy(found.fields, is_http(proxy)) if found.kind == "log-format" else []
        seen.add(found.origin)
        if found.kind == "default":
            option = "httplog" if is_http(proxy) else "tcplog"
            message = f"HAProxy's default log line has no server, times or ending: {proxy.title} needs option {option}"
            yield Trouble(found.origin, message, proxy.name, fix=f"add `option {option}`")
        elif missing:
            message = f"this log format lacks {listed(missing)}: HAProxy's delay and the server's look the same"
            yield Trouble(found.origin, message, proxy.name)


def _missing_haproxy(fields: frozenset[str], http: bool) -> list[str]:
    timers = any("timer" in field for field in fields)
    wanted = [] if timers else [("the time to connect (%Tc)", {"Tc"})]
    if http and not timers:
        wanted.append(("the server's time (%Tr)", {"Tr", "Td", "Ta"}))
    wanted.append(("how the session ended (%ts)", {"ts", "tsc"}))
    return [said for said, names in wanted if not names & fields]


def _untimed_nginx(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    seen: set[str] = set()
    for passed in config.reading.passes if not config.reading.absent else ():
        for written in passed.logs if passed.module == "http" else ():
            form = written.format
            # In a piece of a configuration, what nobody wrote here may be written around it.
            elsewhere = config.reading.context != "main" and not written.origin.line
            if form is None or elsewhere or form.name in seen or "upstream_response_time" in form.variables:
                continue
            seen.add(form.name)
            origin = next((o for o in (form.origin, written.origin) if o.line), passed.origin)
            more = "" if "upstream_status" in form.variables else " and $upstream_status"
            message = f"log format {form.name} lacks $upstream_response_time{more}"
            message += ": nginx's delay and the server's look the same"
            fix = "add $upstream_connect_time, $upstream_response_time and $upstream_status"
            yield Trouble(origin, message, fix=fix)


def _untimed_envoy(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    for listener in config.reading.listeners:
        for side in listener.sides:
            for written in () if isinstance(side, envoy.OtherSide) else side.logs:
                missing = [] if "RESPONSE_FLAGS" in written.format else ["%RESPONSE_FLAGS%"]
                timed = any(time in written.format.upper() for time in _TIMES_OF_ENVOY)
                if isinstance(side, envoy.HttpSide) and not timed:
                    missing.append("%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%")
                # A format without any command comes from elsewhere.
                if missing and "%" in written.format:
                    message = f"this access log lacks {listed(missing)}: Envoy's delay and the server's look the same"
                    yield Trouble(written.origin, message, fix=f"add {listed(missing)}")


def _untold_haproxy(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    reading = config.reading
    every = [line for proxy in reading.proxies for line in lines(config, proxy)]
    fronts = [p for p in reading.proxies if p.takes_traffic and is_http(p) and not p.disabled]
    front = next((p for p in fronts if log_line(config, p) is not None), None)
    told = any(line.words[0] == "unique-id-header" or _sets_id(line.words) for line in every)
    if front is not None and not told and any(len(in_use(p)) > 1 for p in reading.pools()):
        yield _no_id(front.origin, "unique-id-format %{+X}o%ci%cp%Ts%rt, and unique-id-header X-Request-ID")


def _sets_id(words: tuple[str, ...]) -> bool:
    sets = words[0] == "http-request" and len(words) > 2 and words[1] in ("set-header", "add-header")
    return sets and bool(_REQUEST_ID.search(words[2]))


def _untold_nginx(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    reading = config.reading
    several = {u.name.lower() for u in reading.upstreams if len(u.servers) > 1 and u.module == "http"}
    logged = [p for p in reading.passes if p.logs and p.directive in ("proxy_pass", "grpc_pass")]
    passes = [p for p in logged if p.upstream.lower() in several]
    told = any(_REQUEST_ID.search(f"{h.name} {h.value.text}") for p in reading.passes for h in p.headers)
    if passes and not told and not reading.absent and reading.context == "main":
        yield _no_id(passes[0].origin, "proxy_set_header X-Request-ID $request_id")


def _untold_envoy(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    for listener in config.reading.listeners:
        for side in listener.sides:
            if isinstance(side, envoy.HttpSide) and not side.request_id.value:
                yield _no_id(side.request_id.origin, "leave generate_request_id on, which it is by default")


def _no_id(origin: Origin, fix: str) -> Trouble:
    message = "requests carry no id: in a server's log, a retry cannot be told from another request"
    return Trouble(origin, message, fix=fix)


def _http_in_tcp(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    reading = config.reading
    handed: dict[Origin | None, list[tuple[haproxy.Proxy, list[str]]]] = {}
    for proxy in reading.proxies:
        if proxy.kind == "defaults" or proxy.disabled or (proxy.mode is not None and proxy.mode.value != "tcp"):
            continue
        written = lines(config, proxy)
        if any("switch-mode" in line.words for line in written):
            continue
        ignored = [(line, name) for line in written if (name := _ignored(line, proxy, config))]
        own = [line.origin for line, _ in ignored if line.own]
        names = [name for _, name in ignored]
        if own:
            yield Trouble(own[0], f"{proxy.title} is in mode tcp: HAProxy ignores {listed(names)}", proxy.name)
        elif ignored:
            handed.setdefault(proxy.heir_of, []).append((proxy, names))
    for heirs in handed.values():
        # What all of them inherit is said once, at the first.
        first = heirs[0][0]
        said = first.mode.origin if first.mode is not None and first.mode.defaults is None else first.origin
        names = [name for _, inherited in heirs for name in inherited]
        are = "are" if len(heirs) > 1 else "is"
        message = f"{_pools([p for p, _ in heirs])} {are} in mode tcp: HAProxy ignores {listed(names)} of the defaults"
        yield Trouble(said, message, first.name)


def _ignored(line: Line, proxy: haproxy.Proxy, config: Config[haproxy.Reading]) -> str:
    """What HAProxy 2.6 and 2.8 warn of in such a section, by name; empty for all else."""
    name = line.words[1] if line.words[0] == "option" and len(line.words) > 1 else ""
    if line.negated:
        return ""
    if name in _OPTIONS_OF_HTTP and proxy.has(name):
        return f"option {name}"
    if name in ("httplog", "httpslog") and proxy.takes_traffic:
        in_force = log(config, proxy)
        return f"option {name}" if in_force is not None and in_force.kind == name else ""
    if line.words[0] in _RULES_OF_HTTP and (line.own or line.words[0] not in ("stats", "monitor-uri")):
        return line.words[0]
    if line.words[0] == "cookie" and proxy.has_servers:
        return "cookie"
    hashes = line.words[0] == "balance" and len(line.words) > 1 and proxy.has_servers
    return f"balance {line.words[1]}" if hashes and line.words[1].partition("(")[0] in _HTTP_HASHES else ""


RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "LH077", "no-health-log", "warning",
        "checks whose results nobody can read afterwards",
        "add `option log-health-checks`",
        haproxy=_unlogged_haproxy, envoy=_unlogged_envoy,
    ),
    Rule(
        "LH078", "no-per-server-data", "info",
        "a pool whose shares nobody can measure",
        "let the proxy tell how many requests each server gets",
        haproxy=_unmeasured_haproxy, nginx=_unmeasured_nginx, envoy=_unmeasured_envoy,
    ),
    Rule(
        "LH079", "log-lacks-timing", "warning",
        "a log that cannot tell the proxy's delay from the server's",
        "log the time of each phase, and how it ended",
        haproxy=_untimed_haproxy, nginx=_untimed_nginx, envoy=_untimed_envoy,
    ),
    Rule(
        "LH080", "no-request-id", "info",
        "logged requests that carry no id",
        "give every request an id, and log it",
        haproxy=_untold_haproxy, nginx=_untold_nginx, envoy=_untold_envoy,
    ),
    Rule(
        "LH092", "http-options-in-tcp-mode", "warning",
        "settings of HTTP in a section of mode tcp",
        "set `mode http` in this section, or remove them; `option tcplog` goes with mode tcp",
        haproxy=_http_in_tcp,
    ),
)  # fmt: skip
