"""Rules about servers given by a name: when it is looked up, what it stands for, and what if it is not found."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from levelhead.engines.envoy import picture as envoy
from levelhead.engines.haproxy import picture as haproxy
from levelhead.engines.haproxy.syntax import Word
from levelhead.engines.nginx import picture as nginx
from levelhead.model import Origin
from levelhead.review.base import Config, Rule, Trouble
from levelhead.review.wording import counted, listed

# These stand in the hosts file, which does not change while a proxy runs.
_OF_HOSTS_FILE: Final = frozenset({
    "host.docker.internal", "gateway.docker.internal", "kubernetes.docker.internal", "host.containers.internal",
})  # fmt: skip
_INTERNAL: Final = (".local", ".internal", ".consul", ".svc", ".lan", ".home.arpa")
_RESOLVE_IS_FREE: Final = (1, 27, 3)
_ONE_FAMILY: Final = ("ipv4@", "ipv6@", "tcp4@", "tcp6@")


def _is_localhost(name: str) -> bool:
    return name.lower().rstrip(".") == "localhost"


def _is_in_hosts_file(name: str) -> bool:
    return _is_localhost(name) or name.lower() in _OF_HOSTS_FILE


def _is_internal(name: str) -> bool:
    """Whether this is a name of a private network: of a service, as a rule, with an address for each of its servers."""
    bare = name.lower().rstrip(".")
    return "." not in bare or bare.endswith(_INTERNAL)


def _named_lines(proxy: haproxy.Proxy) -> Iterator[haproxy.ServerLine]:
    """The servers of a section that are given by a name; of a template, the first."""
    if proxy.disabled:
        return
    for server in proxy.servers:
        first = server.template is None or server.template.number == server.template.first
        if server.address.family == "name" and first:
            yield server


def _named_servers(upstream: nginx.Upstream) -> Iterator[tuple[nginx.Server, str]]:
    """The servers of a group whose name nginx looks up when it starts, and the name."""
    for server in upstream.servers:
        if server.at is not None and server.at.kind == "name" and not server.resolve and "$" not in server.address.text:
            yield server, server.at.host


def _once_haproxy(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    sections = [other.name for other in config.reading.others if other.kind == "resolvers"]
    fix = f"add `resolvers {sections[0]}` to the server or to default-server" if sections else ""
    for proxy in config.reading.pools():
        found = [s for s in _named_lines(proxy) if not s.resolvers and not _is_in_hosts_file(s.address.host)]
        if found:
            names = [s.address.host for s in found]
            yield _looked_up_once(names, found[0].origin, proxy.name, found[0].name, fix)


def _once_nginx(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    for upstream in config.reading.upstreams:
        found = [(s, name) for s, name in _named_servers(upstream) if not _is_in_hosts_file(name)]
        if found:
            first, names = found[0][0], [name for _, name in found]
            pool = "" if upstream.implicit else upstream.name
            yield _looked_up_once(names, first.origin, pool, first.address.text, _fix_in_nginx(config))


def _fix_in_nginx(config: Config[nginx.Reading]) -> str:
    if config.version >= _RESOLVE_IS_FREE:
        return "add `resolve` to the server, a `zone` to its upstream, and a `resolver`"
    return "put the name into a variable and give a `resolver`; from 1.27.3 on, add `resolve` to the server"


def _looked_up_once(names: list[str], origin: Origin, pool: str, server: str, fix: str) -> Trouble:
    are = "is" if len(set(names)) == 1 else "are"
    message = f"{listed(names)} {are} looked up once, at start: a new address goes unnoticed until a reload"
    return Trouble(origin, message, pool, server, fix)


def _unresolvable_haproxy(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    found = [
        (server, proxy)
        for proxy in config.reading.pools()
        for server in _named_lines(proxy)
        if not _is_localhost(server.address.host) and not _starts_without(server)
    ]
    if found:
        server, proxy = found[0]
        fix = "add `init-addr last,libc,none` to the servers or to default-server"
        names = [s.address.host for s, _ in found]
        yield Trouble(server.origin, _stops_start("HAProxy", names), proxy.name, server.name, fix)


def _starts_without(server: haproxy.ServerLine) -> bool:
    """Whether the last resort of init-addr is no lookup: `none`, or an address to begin with."""
    return any(word not in ("last", "libc") for word in server.init_addr)


def _unresolvable_nginx(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    found = [
        (server, name, upstream)
        for upstream in config.reading.upstreams
        for server, name in _named_servers(upstream)
        if not _is_localhost(name)
    ]
    if found:
        server, _, upstream = found[0]
        pool = "" if upstream.implicit else upstream.name
        message = _stops_start("nginx", [name for _, name, _ in found])
        yield Trouble(server.origin, message, pool, server.address.text, _fix_in_nginx(config))


def _stops_start(engine: str, names: list[str]) -> str:
    several = len(set(names)) > 1
    which = f"any of {counted(len(set(names)), 'name')} ({listed(names)})" if several else names[0]
    return f"{engine} does not start at all if {which} cannot be resolved"


def _localhost_nginx(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    for upstream in config.reading.upstreams:
        found = [server for server, name in _named_servers(upstream) if _is_localhost(name)]
        if found:
            pause = found[0].fail_timeout_s.value
            when = f"one request every {pause:g} s" if found[0].max_fails.value and pause else "every other request"
            ends = "and fails: nothing here tries again" if _gives_up(config, upstream) else "and goes on to the other"
            message = (
                f"'localhost' is two servers, 127.0.0.1 and ::1: if only one of them listens, {when} is refused {ends}"
            )
            pool = "" if upstream.implicit else upstream.name
            yield Trouble(found[0].origin, message, pool, found[0].address.text)


def _gives_up(config: Config[nginx.Reading], upstream: nginx.Upstream) -> bool:
    """Whether some request to this group has no second try after a refused connection."""
    name = upstream.name.lower()
    passes = [p for p in config.reading.passes if p.upstream.lower() == name and p.module == upstream.module]
    return any(p.next_upstream_tries.value == 1 or "error" not in p.next_upstream.value for p in passes)


def _localhost_haproxy(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    for proxy in config.reading.pools():
        local = [s for s in _named_lines(proxy) if _is_localhost(s.address.host)]
        found = [s for s in local if not s.address.text.startswith(_ONE_FAMILY)]
        if found:
            message = (
                "'localhost' is ::1 and 127.0.0.1, and HAProxy takes only the first:"
                f" if {listed([s.name for s in found])} listens on 127.0.0.1 alone, it is never reached"
            )
            yield Trouble(found[0].origin, message, proxy.name, found[0].name)


def _unused_resolvers(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    reading = config.reading
    lines = [s.words for proxy in reading.proxies for s in proxy.statements]
    lines += [s.words for other in reading.others if other.kind != "resolvers" for s in other.statements]
    lines += reading.globals.settings
    lonely = {s.address.host for p in reading.pools() for s in _named_lines(p) if not s.resolvers}
    for section in reading.others:
        # HAProxy itself takes the one named default, for its own requests.
        if section.kind != "resolvers" or section.name in ("", "default"):
            continue
        if not any(_mentions(words, section.name) for words in lines):
            rest = f": {counted(len(lonely), 'name')} looked up once, at start" if lonely else ""
            yield Trouble(section.origin, f"nothing uses resolvers {section.name}{rest}")


def _mentions(words: tuple[Word, ...], name: str) -> bool:
    texts = [word.text for word in words]
    if texts[0] == "httpclient.resolvers.id":
        return name in texts
    resolves = any("do-resolve(" in text for text in texts) and any(name in text for text in texts)
    return resolves or any(a == "resolvers" and (b == name or "$" in b) for a, b in pairwise(texts))


def _one_address(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    for cluster in config.reading.clusters:
        if cluster.kind.value != "LOGICAL_DNS" or isinstance(cluster.members, envoy.Unknown):
            continue
        message = _of_logical_dns(cluster.endpoints)
        if message:
            yield Trouble(cluster.kind.origin, message, cluster.name)


def _of_logical_dns(endpoints: tuple[envoy.Endpoint, ...]) -> str:
    if len(endpoints) > 1:
        return f"a LOGICAL_DNS cluster has one endpoint: Envoy refuses the {len(endpoints)} that are written here"
    at = endpoints[0].at if endpoints else None
    if at is None:
        return ""
    if at.kind == "ip":
        return f"{at.host} is an address, which needs no lookup: LOGICAL_DNS is for a name, and uses one address of it"
    if at.kind != "name" or _is_in_hosts_file(at.host) or not _is_internal(at.host):
        return ""
    return f"only one address of {at.host} is used at a time: of several servers behind it, one gets everything"


RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "LH066", "name-resolved-once", "warning",
        "a server whose name is looked up only when the proxy starts",
        "have the name looked up while the proxy runs: add `resolvers` to the server, with a section of that name",
        haproxy=_once_haproxy, nginx=_once_nginx,
    ),
    Rule(
        "LH067", "logical-dns-one-host", "warning",
        "a LOGICAL_DNS cluster where several servers may be meant",
        "use STRICT_DNS for a name with several addresses, STATIC for addresses, or EDS",
        envoy=_one_address,
    ),
    Rule(
        "LH085", "localhost-is-two-addresses", "warning",
        "a server named localhost, which is an IPv4 and an IPv6 address",
        "write the address that the server listens on, such as 127.0.0.1",
        haproxy=_localhost_haproxy, nginx=_localhost_nginx,
    ),
    Rule(
        "LH089", "resolvers-unused", "warning",
        "a resolvers section that nothing uses",
        "add `resolvers NAME` to the servers or to default-server, or remove the section",
        haproxy=_unused_resolvers,
    ),
    Rule(
        "LH090", "unresolvable-name-stops-start", "info",
        "a name that stops the whole proxy from starting when it cannot be resolved",
        "let the proxy start without it",
        haproxy=_unresolvable_haproxy, nginx=_unresolvable_nginx,
    ),
)  # fmt: skip
