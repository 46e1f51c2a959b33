"""Rules on whether a server is checked at all, and whether the check asks the right thing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from levelhead.engines.envoy import picture as envoy
from levelhead.engines.haproxy import picture as haproxy
from levelhead.engines.haproxy.syntax import Line
from levelhead.engines.nginx import picture as nginx
from levelhead.model import Origin
from levelhead.review.base import Config, Rule, Trouble
from levelhead.review.probes import (
    Member,
    Pool,
    asked_sections,
    by_pool,
    envoy_pools,
    fleet_pools,
    haproxy_pools,
    merged,
)
from levelhead.review.wording import counted, listed

_AUTO_SNI: Final = (3, 3)  # from here on, checks take the SNI of the server


def _unchecked(pool: Pool) -> Iterator[Trouble]:
    """LH022. A check helps only where there is a server to turn to."""
    blind = [m for m in pool.active if not m.watched]
    if not blind or (len(pool.active) < 2 and not pool.reserves):
        return
    if len(pool.active) == 1:
        only, reserve = blind[0], listed([m.name for m in pool.reserves])
        message = f"{only.name} is always considered up: {reserve} never takes over from it"
        yield Trouble(only.origin, message, pool.name, only.name)
    elif len(blind) == len(pool.active):
        message = f"none of the {len(blind)} servers is checked: one that dies keeps {pool.part()}"
        yield Trouble(pool.origin, message, pool.name)
    else:
        for member in blind:
            message = f"{member.name} is always considered up: if it dies it keeps {pool.part([member])}"
            yield Trouble(member.origin, message, pool.name, member.name)


def _haproxy_unchecked(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    """Where a check is defined and not asked for, LH023 says so."""
    defined = {p.origin for p in config.reading.pools() if p.checks.type != "tcp"}
    for pool in config.view(haproxy_pools):
        if pool.origin not in defined:
            yield from _unchecked(pool)


def _envoy_unchecked(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    """Names may stand for several servers, so that two endpoints are at least two; EDS brings its own health."""
    known = {c.origin for c in config.reading.clusters if c.kind.value in ("STATIC", "STRICT_DNS")}
    for pool in config.view(envoy_pools):
        if pool.origin in known:
            yield from _unchecked(pool)


def _never_sent(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    """LH023. What is inherited was perhaps meant for other sections: then it counts where a check would help."""
    for pool, proxy in zip(config.view(haproxy_pools), config.view(asked_sections), strict=True):
        blind = [m for m in pool.members if not m.watched and not m.reserve]
        own = proxy.checks.defaults is None
        if proxy.checks.type == "tcp" or not blind or not (own or len(pool.active) > 1):
            continue
        asks = {"http": "option httpchk", "tcp-check": "option tcp-check"}.get(
            proxy.checks.type, f"the {proxy.checks.type} check"
        )
        if not any(m.watched for m in pool.members):
            loss = f": one that dies keeps {pool.part()}" if len(pool.active) > 1 else ""
            message = f"{asks} is never sent: no server of {pool.name} has the word check{loss}"
            yield Trouble(proxy.checks.origin if own and proxy.checks.origin else proxy.origin, message, pool.name)
            continue
        for member in blind:
            message = f"{asks} is never sent to {member.name}, which lacks the word check: it is always considered up"
            yield Trouble(member.origin, message, pool.name, member.name)


def _open_port(pool: Pool) -> Iterator[Trouble]:
    """LH024."""
    asked = [m.name for m in pool.members if m.timing is not None]
    if pool.question is None or pool.question.kind != "tcp" or not pool.http or not pool.several:
        return
    said = f"an open port counts as healthy: {listed(asked) or 'a server'} may answer every request with an error"
    yield Trouble(pool.question.origin, said, pool.name)


def _wide(pool: Pool) -> Iterator[Trouble]:
    """LH025. One chosen status is somebody's decision; a whole class of them is not."""
    question = pool.question
    if question is None or question.accepts is None or not pool.several or _takes_anything(pool):
        return
    redirects = sum(300 <= n < 400 for n in question.accepts)
    refusals = sum(400 <= n < 500 for n in question.accepts)
    if redirects > 8 or refusals > 8:
        taken = [*(["302 (a login page, say)"] if redirects > 8 else []), *(["404"] if refusals > 8 else [])]
        message = f"an answer of {' or '.join(taken)} to {question.path or '/'} counts as healthy"
        yield Trouble(question.accepts_at, message, pool.name)


def _takes_anything(pool: Pool) -> bool:
    question = pool.question
    if question is None or question.kind != "http":
        return False
    return question.any_content or bool(question.accepts and question.accepts & {500, 502, 503})


def _anything(pool: Pool) -> Iterator[Trouble]:
    """LH101."""
    question = pool.question
    if question is None or not _takes_anything(pool):
        return
    lost = sorted((question.accepts or frozenset()) & {500, 502, 503})
    what = "any answer" if question.any_content else f"an answer of {listed([str(n) for n in lost])}"
    message = f"{what} to {question.path or '/'} counts as healthy: a server that only fails passes"
    yield Trouble(question.accepts_at, message, pool.name)


def _elsewhere(pool: Pool) -> Iterator[Trouble]:
    """LH026. What is not HTTP is often asked over HTTP on a port of its own, and rightly so."""
    if pool.question is None or not (pool.http or pool.question.kind == "tcp"):
        return
    found: dict[tuple[str, str], list[Member]] = {}
    for member in pool.members:
        known = member.place[0] and member.place[1] and member.asked_at[1]
        if member.timing is not None and known and member.asked_at != member.place:
            found.setdefault(_apart(member), []).append(member)
    for (serves, asked), members in found.items():
        who = listed([m.name for m in members])
        is_asked, serve = ("is", "serves") if len(members) == 1 else ("are", "serve")
        message = f"{who} {is_asked} checked on {asked} but {serve} on {serves}"
        yield Trouble(members[0].asked_origin, message, pool.name, members[0].name)


def _apart(member: Member) -> tuple[str, str]:
    """Where a server serves and where it is asked, as far as they differ."""
    (host, port), (asked_host, asked_port) = member.place, member.asked_at
    if host == asked_host:
        return f"port {port}", f"port {asked_port}"
    return f"{host}:{port}", f"{asked_host}:{asked_port}"


def _no_proxy_header(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    """LH027. On another port nobody can tell from here whether the header is expected; a bare connect needs none."""
    for proxy in config.reading.pools():
        for server in proxy.servers:
            check = server.check
            moved = server.option("port") or server.option("addr")
            same = check.port in (0, server.port) and check.host in ("", server.address.host)
            talks = proxy.checks.type not in ("tcp", "tcp-check") or proxy.checks.expects or server.ssl or check.ssl
            if not (check.enabled and server.send_proxy and moved and same and talks) or check.send_proxy:
                continue
            message = (
                f"the check of {server.name} omits the PROXY header that its port expects:"
                f" `{moved.name}` turns it off, although it names the same port"
            )
            yield Trouble(moved.origin, message, proxy.name, server.name)


def _haproxy_sni(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    """LH028."""
    if config.version >= _AUTO_SNI:
        return
    for proxy in config.reading.pools():
        connects = [r for r in proxy.checks.rules if r.action == "connect" and "sni" in r.arguments]
        found: dict[Origin, list[haproxy.ServerLine]] = {}
        for server in proxy.servers:
            check, word = server.check, server.option("sni")
            by_tls = check.ssl or (server.ssl and not (check.port or check.host))
            if check.enabled and by_tls and word and not check.sni and not server.disabled and not connects:
                found.setdefault(word.origin, []).append(server)
        for origin, servers in found.items():
            who = listed([s.name for s in servers])
            message = f"requests to {who} carry a server name (sni), its check none: it may meet another certificate"
            fix = _check_sni(servers[0].sni)
            yield Trouble(origin, message, proxy.name, servers[0].name, fix)


def _check_sni(expression: str) -> str:
    literal = re.fullmatch(r"str\(([\w.-]+)\)", expression)
    return f"Add `check-sni {literal[1]}`." if literal else "Add `check-sni NAME` with the name that requests carry."


def _nginx_sni(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    """LH028. A name that is not public is that of one server with one certificate, as a rule."""
    troubles = []
    for passed in config.reading.passes:
        group = config.reading.upstream(passed.module, passed.upstream) if passed.upstream else None
        names = [s.at.host for s in group.servers if s.at and _public(s.at.host)] if group else []
        if passed.tls is None or passed.tls.server_name.value or not names:
            continue
        off = passed.tls.server_name
        said = f"no server name is sent in the TLS handshake with {names[0]}: it may answer with another certificate"
        pool = "" if group is None or group.implicit else group.name
        fix = "" if not pool else f"Write `proxy_ssl_server_name on;` and `proxy_ssl_name {names[0]};`."
        troubles.append(Trouble(passed.origin if off.is_default else off.origin, said, pool, names[0], fix))
    yield from merged(troubles)


def _public(host: str) -> bool:
    last = host.rpartition(".")[2]
    private = (".local", ".internal", ".svc", ".lan", ".consul", ".localhost", ".test")
    return "." in host and last.isalpha() and not host.endswith(private)


def _envoy_host(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    """LH028. Without a host the check asks for the name of the cluster."""
    for cluster in config.reading.clusters:
        wanted = cluster.tls.name.value if cluster.tls else ""
        named = bool(cluster.endpoints) and all(e.hostname for e in cluster.endpoints)
        for check in cluster.checks:
            if check.kind != "http" or check.host.value or named or wanted in ("", cluster.name):
                continue
            message = f"the check asks for host {cluster.name!r}, the cluster's name, where TLS is with {wanted}"
            yield Trouble(check.origin, message, cluster.name)


_DEEP: Final = frozenset({"deep", "full", "db", "database", "dependencies", "deps", "downstream", "upstreams"})


def _deep(pool: Pool) -> Iterator[Trouble]:
    """LH029."""
    question = pool.question
    if question is None or question.kind != "http" or pool.fails_open or not pool.several:
        return
    path, _, query = question.path.lower().partition("?")
    if _DEEP & set(re.split(r"[^a-z0-9]+", f"{path} {query}")) or (query and "ready" in path):
        servers = f"all {len(pool.active)} servers" if pool.counted else "all servers"
        message = f"if what {question.path} depends on fails, {servers} go down at once and nobody serves"
        yield Trouble(question.origin, message, pool.name)


def _unchecked_reserve(pool: Pool) -> Iterator[Trouble]:
    """LH041. An unchecked twin of an active server is there on purpose: it keeps the pool open when checks lie."""
    if not any(m.watched for m in pool.active):
        return
    serving = {m.place for m in pool.active}
    blind = [m for m in pool.reserves if m.timing is None and not m.watched and m.place not in serving]
    for member in blind:
        message = f"{member.name} takes over when the others are down, and nobody checks whether it could"
        yield Trouble(member.origin, message, pool.name, member.name)


def _envoy_unchecked_reserve(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    """LH041. Ejection sees only servers that are in use, so it says nothing of those in reserve."""
    for cluster in config.reading.clusters:
        places = cluster.members if isinstance(cluster.members, tuple) else ()
        reserves = [p for p in places if p.priority.value > 0 and p.endpoints]
        if not reserves or (not cluster.checks and cluster.outliers is None):
            continue
        for place in reserves:
            unasked = [e for e in place.endpoints if not cluster.checks or e.unchecked.value]
            if unasked:
                who = f"{counted(len(unasked), 'server')} of priority {place.priority.value}"
                message = f"{who} would take over, and nobody checks beforehand whether that works"
                yield Trouble(place.priority.origin, message, cluster.name)


_ROLES: Final = frozenset({"master", "primary", "leader", "replica", "slave", "standby", "role", "writable"})


def _drains_on_404(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    """LH098. Measured on 2.6 and 2.8: a 404 drains whatever the expect rules say."""
    troubles = []
    for pool, proxy in zip(config.view(haproxy_pools), config.view(asked_sections), strict=True):
        checks = proxy.checks
        if not checks.disable_on_404 or pool.question is None:
            continue
        origin = _written(config.reading, proxy, "disable-on-404")
        seen = [r for r in checks.expects if any("404" in word for word in r.arguments)]
        if checks.type != "http":
            message = f"disable-on-404 does nothing without option httpchk: {pool.name} has the {checks.type} check"
        elif seen:
            message = f"a 404 drains the server, so the expect rule of line {seen[0].origin.line} never sees one"
        elif _ROLES & set(re.split(r"[^a-z0-9]+", checks.uri.lower())):
            message = f"a 404 of {checks.uri} drains the server: sessions stay on one that has lost its role"
        else:
            continue
        troubles.append(Trouble(origin, message, pool.name))
    yield from merged(troubles)


def _written(reading: haproxy.Reading, proxy: haproxy.Proxy, word: str) -> Origin:
    """Where an http-check line stands: in the section, or in the defaults it builds on."""
    sections = [proxy, *(p for p in reading.proxies if p.kind == "defaults" and p.origin == proxy.heir_of)]
    for section in sections:
        for statement in section.statements:
            if statement.active and [w.text for w in statement.words[:2]] == ["http-check", word]:
                return statement.origin
    return proxy.origin


def _refused_request(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    """LH099."""
    troubles = []
    for pool, proxy in zip(config.view(haproxy_pools), config.view(asked_sections), strict=True):
        checks = proxy.checks
        if checks.type != "http" or pool.question is None:
            continue
        sends = [r for r in checks.http_rules if r.action == "send"]
        origin = sends[0].origin if sends else checks.origin or proxy.origin
        if checks.method == "OPTIONS":
            path = checks.uri or "/"
            message = f"the check sends OPTIONS {path}: a server that answers it with an error is down though it works"
            troubles.append(Trouble(origin, message, pool.name, fix=f"Write `option httpchk GET {path}`."))
        elif checks.version.upper().startswith("HTTP/1.1") and not _has_host(checks, sends):
            path = f"{checks.method} {checks.uri}"
            message = f"the check sends {path} HTTP/1.1 without a Host header, which servers answer with 400"
            fix = "Add `http-check send hdr Host NAME`."
            troubles.append(Trouble(origin, message, pool.name, fix=fix))
    yield from merged(troubles)


def _has_host(checks: haproxy.Checks, sends: Sequence[haproxy.Rule]) -> bool:
    written = " ".join([checks.uri, checks.version, *(word for rule in sends for word in rule.arguments)])
    return "host" in written.lower() or any(name.lower() == "host" for name, _ in checks.headers)


# The options of a server that a comment swallows most often, all without risk of being prose.
_OPTIONS: Final = frozenset({
    "check", "backup", "weight", "maxconn", "inter", "fall", "rise", "cookie", "ssl", "verify", "send-proxy",
    "send-proxy-v2", "resolvers", "track", "observe", "disabled", "init-addr", "on-marked-down", "slowstart", "minconn",
})  # fmt: skip


def _swallowed(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    """LH088."""
    for tree in config.reading.trees:
        for line in tree.lines:
            lost = _lost_options(line)
            if lost:
                name = line.words[1].text
                message = f"everything after # is a comment: {name} has no {' '.join(lost)}"
                at = line.words[2].origin
                column = at.column + len(line.words[2].raw)
                yield Trouble(Origin(at.file, at.line, column), message, server=name)


def _lost_options(line: Line) -> tuple[str, ...]:
    """The words of a comment that hangs at the address of a server and begins as its options would."""
    if line.keyword != "server" or len(line.words) != 3 or not line.comment:
        return ()
    text = line.comment[1:]
    words = tuple(text.split())
    return words if not text[0:1].isspace() and words and words[0] in _OPTIONS else ()


RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "LH022", "no-health-check", "error",
        "a server that nobody checks, so that it keeps its requests when it is dead",
        "Add `check` (HAProxy), `health_checks` or `outlier_detection` (Envoy), or `check` (levelhead.yaml).",
        haproxy=_haproxy_unchecked, envoy=_envoy_unchecked, levelhead=by_pool(fleet_pools, _unchecked),
    ),
    Rule(
        "LH023", "httpchk-without-check", "error",
        "a health check that is defined but never sent, for want of the word check",
        "Add `check` to the server or to default-server.",
        haproxy=_never_sent,
    ),
    Rule(
        "LH024", "tcp-check-on-http", "warning",
        "HTTP servers that are healthy as long as their port is open",
        "Ask for a page: option httpchk with http-check expect, http_health_check, or `check: /path`.",
        haproxy=by_pool(haproxy_pools, _open_port), envoy=by_pool(envoy_pools, _open_port),
    ),
    Rule(
        "LH025", "check-accepts-redirects", "warning",
        "a check that takes any redirect, or any refusal, for health",
        "Say what is healthy: `http-check expect status 200`, or expected_statuses of 200 alone.",
        haproxy=by_pool(haproxy_pools, _wide), envoy=by_pool(envoy_pools, _wide),
    ),
    Rule(
        "LH026", "check-on-other-port", "warning",
        "a check that asks at another port or address than the one that serves",
        "Check where the requests go, or say in a comment why not.",
        haproxy=by_pool(haproxy_pools, _elsewhere), envoy=by_pool(envoy_pools, _elsewhere),
        levelhead=by_pool(fleet_pools, _elsewhere),
    ),
    Rule(
        "LH027", "check-lacks-proxy-header", "error",
        "a check without the PROXY header on a port that expects it",
        "Add `check-send-proxy`, or take the port away.",
        haproxy=_no_proxy_header,
    ),
    Rule(
        "LH028", "check-lacks-sni-or-host", "warning",
        "a check, or a proxied connection, that does not say which name it is for",
        "Send the name that the certificate is for: check-sni, proxy_ssl_server_name on, or the check's host.",
        haproxy=_haproxy_sni, nginx=_nginx_sni, envoy=_envoy_host,
    ),
    Rule(
        "LH029", "deep-check-without-fail-open", "warning",
        "a check of what all servers depend on, in a pool that closes when every check fails",
        "Let the check look only at the server itself, or keep the pool open when all checks fail.",
        haproxy=by_pool(haproxy_pools, _deep), envoy=by_pool(envoy_pools, _deep),
        levelhead=by_pool(fleet_pools, _deep),
    ),
    Rule(
        "LH041", "backup-unchecked", "warning",
        "a reserve that nobody checks until it is needed",
        "Check it as the others are checked.",
        haproxy=by_pool(haproxy_pools, _unchecked_reserve), envoy=_envoy_unchecked_reserve,
    ),
    Rule(
        "LH088", "options-swallowed-by-comment", "error",
        "options of a server that a # turns into a comment",
        "Put a space before the options and take the # away.",
        haproxy=_swallowed,
    ),
    Rule(
        "LH098", "disable-on-404-misused", "warning",
        "disable-on-404 where a 404 is to take a server down",
        "Take disable-on-404 away and say what is healthy with http-check expect.",
        haproxy=_drains_on_404,
    ),
    Rule(
        "LH099", "check-request-refused", "warning",
        "a check with a request that many servers refuse",
        "Send GET and a path, with a Host header.",
        haproxy=_refused_request,
    ),
    Rule(
        "LH101", "check-accepts-anything", "error",
        "a check that errors of the server pass",
        "Say what is healthy: `http-check expect status 200`, or expected_statuses of 200 alone.",
        haproxy=by_pool(haproxy_pools, _anything), envoy=by_pool(envoy_pools, _anything),
        levelhead=by_pool(fleet_pools, _anything),
    ),
)  # fmt: skip
