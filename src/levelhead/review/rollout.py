"""Rules about what reloads, drains and maintenance leave behind: lost state, old processes, kept sessions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any, Final

from levelhead.engines.envoy import picture as envoy
from levelhead.engines.haproxy import picture as haproxy
from levelhead.engines.nginx import picture as nginx
from levelhead.model import Origin
from levelhead.review.base import Config, Rule, Trouble
from levelhead.review.groups import Group, of_envoy, of_fleet, of_haproxy, of_nginx, over
from levelhead.review.sections import in_use, is_checked, is_http
from levelhead.review.wording import counted, lasting, listed

_LONG_S: Final = 600.0
_FORGOTTEN_DAYS: Final = 30.0
_FROM_FILE: Final = ("global", "local")


def _restores(proxy: haproxy.Proxy) -> bool:
    return proxy.load_server_state is not None and proxy.load_server_state.value in _FROM_FILE


def _state_lost(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    reading = config.reading
    admins = [socket for socket in reading.globals.stats_sockets if socket.level == "admin"]
    pools = [proxy for proxy in reading.pools() if len(in_use(proxy)) > 1 and not _restores(proxy)]
    kept = reading.globals.server_state_file or reading.globals.server_state_base
    if kept:
        pools = [proxy for proxy in pools if not any(_restores(p) for p in reading.pools())]
    if admins and pools:
        number = sum(len(in_use(proxy)) for proxy in pools)
        message = (
            f"a reload forgets what this socket was told: drains and weights of {counted(number, 'server')}"
            f" in {listed([p.name for p in pools])}"
        )
        yield Trouble(admins[0].origin, message)


def _state_wins(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    pools = [proxy for proxy in config.reading.pools() if _restores(proxy) and not proxy.disabled]
    ported = [s for proxy in pools for s in proxy.servers if s.port and not s.port_offset and s.template is None]
    named = [s for proxy in pools for s in proxy.servers if s.address.family == "name" and not s.init_addr]
    if not ported or pools[0].load_server_state is None:
        return
    message = f"the state file has the last word on the port of {counted(len(ported), 'server')}"
    if named:
        message += f" and on the address of {listed([s.address.host for s in named])}"
    yield Trouble(pools[0].load_server_state.origin, f"{message}: a reload ignores what you change here")


def _linger_haproxy(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    reading = config.reading
    if reading.globals.hard_stop_after_s is not None:
        return
    # What only a defaults section has is in force in those that build on it.
    bounds = [bound for p in reading.proxies if p.kind != "defaults" and not p.disabled for bound in _waits(p)]
    name, longest = max(bounds, key=lambda named: named[1].value, default=("", None))
    if longest is not None and longest.value >= _LONG_S:
        origin = reading.globals.origin or longest.origin
        message = f"no hard-stop-after, and `timeout {name}` lets a connection idle for {lasting(longest.value)}"
        message += ": each reload leaves a process that long, or longer"
        yield Trouble(origin, message, fix="add `hard-stop-after 10m` to the global section")


def _waits(proxy: haproxy.Proxy) -> Iterator[tuple[str, haproxy.Setting[float]]]:
    for field in fields(proxy.timeouts):
        bound: haproxy.Setting[float] | None = getattr(proxy.timeouts, field.name)
        if bound is not None and field.name in ("client", "server", "tunnel"):
            yield field.name, bound


def _linger_nginx(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    reading = config.reading
    if reading.context != "main" or reading.absent or reading.process.shutdown_timeout_s.value is not None:
        return
    found = [(origin, why) for passed in reading.passes for origin, why in _long_lived(passed)]
    if found:
        origin, why = found[0]
        message = f"no worker_shutdown_timeout, and {why}: each reload leaves old workers until the last one ends"
        yield Trouble(origin, message, fix="add `worker_shutdown_timeout 10m` at the top level")


def _long_lived(passed: nginx.Pass) -> Iterator[tuple[Origin, str]]:
    upgrade = next((h for h in passed.headers if h.name.lower() == "upgrade" and h.value.text), None)
    wait = passed.read_timeout_s
    if upgrade is not None:
        yield upgrade.origin, "WebSocket connections end when their users go"
    elif not wait.is_default and wait.value >= _LONG_S:
        yield wait.origin, f"a connection may idle for {lasting(wait.value)}"


def _maintenance(config: Config[Any], group: Group[Any]) -> Iterator[Trouble]:
    out = [member for member in group.members if member.out or not member.weight]
    for member in out:
        days = config.facts.age(member.origin)
        if days is not None and days >= _FORGOTTEN_DAYS:
            left = len(group.members) - len(out)
            why = member.out or "has weight 0"
            message = f"{member.name} {why} since {days:.0f} days: {left} of {len(group.members)} servers are left"
            yield Trouble(member.origin, f"{message} in {group.name}", group.name, member.name)


def _sessions_haproxy(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    for proxy in config.reading.pools():
        kept = [s for s in in_use(proxy) if is_checked(s) and s.on_marked_down != "shutdown-sessions"]
        if not is_http(proxy) and kept and len(in_use(proxy)) > 1:
            fix = "add `on-marked-down shutdown-sessions` to the servers"
            yield _kept(kept[0].origin, proxy.name, [s.name for s in kept], fix)


def _sessions_envoy(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    sides = [side for listener in config.reading.listeners for side in listener.sides]
    tcp = {target.cluster for side in sides if isinstance(side, envoy.TcpSide) for target in side.clusters}
    for cluster in config.reading.clusters:
        alone = not isinstance(cluster.members, envoy.Unknown) and len(cluster.endpoints) < 2
        if cluster.name in tcp and cluster.checks and not cluster.close_on_failure.value and not alone:
            fix = "set close_connections_on_host_health_failure to true"
            yield _kept(cluster.origin, cluster.name, [f"an endpoint of {cluster.name}"], fix)


def _kept(origin: Origin, pool: str, names: list[str], fix: str) -> Trouble:
    which = "their checks have" if len(names) > 1 else "its check has"
    message = f"sessions stay on {listed(names)} after {which} failed: only new connections go elsewhere"
    return Trouble(origin, message, pool, fix=fix)


RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "LH069", "runtime-state-lost", "warning",
        "an admin socket whose changes are lost by a reload",
        "save the state before a reload (`server-state-file`, `load-server-state-from-file global`), or set it again"
        " after",
        haproxy=_state_lost,
    ),
    Rule(
        "LH070", "state-overrides-config", "warning",
        "a state file that goes before what is changed in the configuration",
        "when you change a port, take the server out of the state file first; for a name, add `init-addr libc,none`",
        haproxy=_state_wins,
    ),
    Rule(
        "LH071", "old-workers-linger", "warning",
        "long connections that keep old processes alive after a reload",
        "bound the life of an old process",
        haproxy=_linger_haproxy, nginx=_linger_nginx,
    ),
    Rule(
        "LH074", "stale-maintenance", "warning",
        "a server that has been out of service for more than a month",
        "put it back, or delete it",
        haproxy=over(of_haproxy, _maintenance), nginx=over(of_nginx, _maintenance),
        envoy=over(of_envoy, _maintenance), levelhead=over(of_fleet, _maintenance),
    ),
    Rule(
        "LH075", "down-keeps-sessions", "info",
        "a TCP pool whose sessions stay on a server that is down",
        "end the sessions of a server that is down",
        haproxy=_sessions_haproxy, envoy=_sessions_envoy,
    ),
)  # fmt: skip
