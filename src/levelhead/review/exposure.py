"""Rules about who can reach what: administration open to others, servers nobody verifies, addresses clients invent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from levelhead.engines.envoy import picture as envoy
from levelhead.engines.haproxy import picture as haproxy
from levelhead.engines.haproxy.values import Address
from levelhead.engines.nginx import picture as nginx
from levelhead.model import Origin
from levelhead.review.base import Config, Rule, Trouble
from levelhead.review.sections import Line, is_loopback, lines
from levelhead.review.trees import mappings
from levelhead.review.wording import listed

_EVERYBODY: Final = ("0.0.0.0/0", "::/0")
_TO_ALL: Final = 0o002
# Keys of role-based access control, and of a limit by client.
_BY_ADDRESS: Final = frozenset({"remote_ip", "remoteIp", "remote_address", "remoteAddress"})
_GUARDS: Final = ("auth", "deny", "reject", "tarpit", "silent-drop")
_INTERNET: Final = ("ip4", "ip6", "name", "any")
_LOOPBACK_OF_ENVOY: Final = ("pipe", "internal")


def _admin_haproxy(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    for socket in config.reading.globals.stats_sockets:
        if socket.level == "admin" and _is_public(socket.address):
            message = f"anyone who reaches {socket.address.text} can drain servers and end sessions"
            yield Trouble(socket.origin, message, fix="bind it to a Unix socket or to 127.0.0.1")
    for proxy in config.reading.proxies:
        where = [address for bind in proxy.binds for address in bind.addresses]
        if proxy.kind == "defaults" or proxy.disabled or (where and not any(_is_public(a) for a in where)):
            continue
        written = lines(config, proxy)
        opened = next((line for line in written if line.words[:2] == ("stats", "admin") and _always(line)), None)
        if opened is not None and not any(_guards(line) for line in written):
            message = f"the stats page of {proxy.title} has no password: anyone who reaches it can drain servers"
            yield Trouble(opened.origin, message, proxy.name, fix="add `stats auth`, or bind it to 127.0.0.1")


def _is_public(address: Address) -> bool:
    return address.family in _INTERNET and not is_loopback(address.host)


def _always(line: Line) -> bool:
    return line.words[2:] in (("if", "TRUE"), ("unless", "FALSE"))


def _guards(line: Line) -> bool:
    """Whether a line turns some people away."""
    if line.words[:2] == ("stats", "auth"):
        return True
    families = ("http-request", "stats", "tcp-request")
    return line.words[0] in families and any(word in _GUARDS for word in line.words[1:4])


def _admin_nginx(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    for site in config.reading.sites:
        heard = [listen.at for listen in site.listens if listen.at is not None and listen.at.kind != "unix"]
        if not any(not is_loopback(at.host) for at in heard):
            continue
        for page in site.status_pages:
            denies = any(rule.name == "deny" for rule in page.allowed)
            if page.internal or page.password.value or denies:
                continue
            read = "how busy nginx is" if page.directive == "stub_status" else "the state of every upstream server"
            allows = " (`allow` turns nobody away without `deny all`)" if page.allowed else ""
            yield Trouble(page.origin, f"anyone who reaches {page.directive} can read {read}{allows}")


def _admin_envoy(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    at = config.reading.admin.at
    if at is not None and at.kind not in _LOOPBACK_OF_ENVOY and not is_loopback(at.host):
        yield Trouble(at.origin, f"anyone who reaches {at} can fail health checks, drain listeners and stop Envoy")


def _unverified_haproxy(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    lax = any(word.text == "none" for word in config.reading.globals.setting("ssl-server-verify"))
    for proxy in config.reading.pools():
        found: dict[Origin, list[str]] = {}
        for server in proxy.servers:
            here = is_loopback(server.address.host) or server.address.family in ("unix", "abns")
            if server.ssl and (server.verify or ("none" if lax else "required")) == "none" and not here:
                written = server.option("verify")
                found.setdefault(written.origin if written else server.origin, []).append(server.name)
        for origin, names in found.items():
            if not proxy.disabled:
                yield _unverified(origin, proxy.name, names, "use `verify required` and a `ca-file`")


def _unverified_nginx(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    seen: set[tuple[Origin, str]] = set()
    for passed in config.reading.passes:
        tls = passed.tls
        if tls is None or tls.verify.value:
            continue
        upstream = config.reading.upstream(passed.module, passed.upstream)
        servers = [s.at for s in upstream.servers] if upstream is not None else []
        if servers and all(at is not None and (at.kind == "unix" or is_loopback(at.host)) for at in servers):
            continue
        target = passed.upstream or passed.target.text
        origin = passed.origin if tls.verify.is_default else tls.verify.origin
        if (origin, target) not in seen:
            seen.add((origin, target))
            pool = passed.upstream if upstream is not None and not upstream.implicit else ""
            fix = "set `proxy_ssl_verify on` and `proxy_ssl_trusted_certificate`"
            yield _unverified(origin, pool, [target], fix)


def _unverified_envoy(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    for cluster in config.reading.clusters:
        tls = cluster.tls
        if tls is None or tls.verified or not tls.type.endswith("UpstreamTlsContext"):
            continue
        places = [endpoint.at for endpoint in cluster.endpoints]
        if places and all(at is not None and (at.kind in _LOOPBACK_OF_ENVOY or is_loopback(at.host)) for at in places):
            continue
        fix = "give common_tls_context a validation_context with the authority, and match the name"
        yield _unverified(tls.origin, cluster.name, [cluster.name], fix)


def _unverified(origin: Origin, pool: str, names: list[str], fix: str) -> Trouble:
    message = f"any server can answer for {listed(names)}: no one looks at its certificate"
    return Trouble(origin, message, pool, fix=fix)


def _believed_haproxy(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    for proxy in config.reading.proxies:
        if proxy.kind == "defaults" or proxy.disabled:
            continue
        written = lines(config, proxy)
        guarded = any(line.words[0] == "tcp-request" and _guards(line) for line in written)
        for bind in proxy.binds:
            public = any(a.family == "any" or a.host in ("0.0.0.0", "::") for a in bind.addresses)
            if bind.accept_proxy and public and not guarded:
                where = ", ".join(address.text for address in bind.addresses)
                yield _believed(bind.origin, f"a PROXY header is taken from whoever reaches {where}", proxy.name)
        for line in written:
            header = next((word for word in line.words[2:3] if "hdr" in word), "")
            if line.own and line.words[1:2] == ("set-src",) and header and not {"if", "unless"} & set(line.words):
                yield _believed(line.origin, f"{header} is taken from every client", proxy.name)


def _believed_nginx(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    trusting = [*(site.real_ip for site in config.reading.sites), *(p.real_ip for p in config.reading.passes)]
    for real_ip in trusting:
        for word in real_ip.trusted:
            if word.text in _EVERYBODY:
                yield _believed(word.origin, f"{real_ip.header.value} is taken from every client", "")


def _believed_envoy(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    if config.facts.behind_proxy:
        return
    limits = any(_BY_ADDRESS & node.entries.keys() for node in mappings(config.reading.roots))
    for listener in config.reading.listeners:
        for side in listener.sides:
            if not isinstance(side, envoy.HttpSide) or side.use_remote_address.value:
                continue
            used = "which server a client gets" if _hashes_address(side) else "whom it lets through" if limits else ""
            if used:
                origin = side.origin if side.use_remote_address.is_default else side.use_remote_address.origin
                yield _believed(origin, f"use_remote_address is off, and X-Forwarded-For decides {used}", "")


def _hashes_address(side: envoy.HttpSide) -> bool:
    routes = () if isinstance(side.routes, envoy.Unknown) else side.routes.hosts
    return any(on.kind == "connection_properties" for host in routes for route in host.routes for on in route.hash_on)


def _believed(origin: Origin, who: str, pool: str) -> Trouble:
    return Trouble(origin, f"{who}: clients choose their own address, so their hash key and their limits", pool)


def _open_socket(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    for socket in config.reading.globals.stats_sockets:
        bits = int(socket.mode, 8) if socket.mode and not set(socket.mode) - set("01234567") else 0
        if socket.level == "admin" and socket.address.family == "unix" and bits & _TO_ALL:
            message = f"mode {socket.mode} lets every user of this machine drain servers and change weights"
            yield Trouble(socket.origin, message)


RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "LH081", "admin-exposed", "error",
        "administration that others than administrators can reach",
        "bind it to 127.0.0.1, or ask for a password",
        haproxy=_admin_haproxy, nginx=_admin_nginx, envoy=_admin_envoy,
    ),
    Rule(
        "LH082", "backend-tls-unverified", "warning",
        "TLS to servers whose certificate nobody looks at",
        "name the authority whose certificates you believe, and verify",
        haproxy=_unverified_haproxy, nginx=_unverified_nginx, envoy=_unverified_envoy,
    ),
    Rule(
        "LH083", "trusts-any-forwarded-address", "warning",
        "a client address that is believed from anyone",
        "believe it from your own proxies only; in Envoy at the edge, set use_remote_address to true",
        haproxy=_believed_haproxy, nginx=_believed_nginx, envoy=_believed_envoy,
    ),
    Rule(
        "LH084", "admin-socket-open", "error",
        "an admin socket that every user of the machine may write to",
        "use mode 660 and a group of its own",
        haproxy=_open_socket,
    ),
)  # fmt: skip
