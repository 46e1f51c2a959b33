"""Rules on the proxy's own limits: queues and their time, limits that contradict each other, connections of nginx."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from levelhead.engines.haproxy import picture as haproxy
from levelhead.engines.nginx import picture as nginx
from levelhead.model import Fleet, Origin
from levelhead.review.base import Config, Rule, Trouble

_LONGEST_WAIT_S: Final = 30.0
_FAR_BELOW: Final = 4


def _queueing(reading: haproxy.Reading) -> Iterator[tuple[haproxy.Proxy, haproxy.ServerLine]]:
    """Enabled pools where requests may wait for a server, with the first such server."""
    for proxy in reading.pools():
        first = next((s for s in proxy.servers if s.maxconn and not s.disabled), None)
        if first is not None and not proxy.disabled:
            yield proxy, first


def _queue_unbounded(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    """LH044: requests may wait long for a server, and any number of them."""
    for proxy, server in _queueing(config.reading):
        wait = proxy.timeouts.queue or proxy.timeouts.connect
        if server.maxqueue or wait is None or 0 < wait.value <= _LONGEST_WAIT_S:
            continue
        which = "timeout queue" if proxy.timeouts.queue else "timeout connect, as timeout queue is not set"
        bound = f"up to {wait.value:g} s ({which})" if wait.value else f"for ever ({which} is 0)"
        said = (
            f"once {server.name} is at its maxconn {server.maxconn}, any number of requests may wait {bound}:"
            " a server that comes out of an overload works for clients that have gone"
        )
        yield Trouble(wait.origin, said, proxy.name)


def _queue_time_implicit(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    """LH045: how long requests wait for a server is what was written for another thing."""
    for proxy, server in _queueing(config.reading):
        connect = proxy.timeouts.connect
        if proxy.timeouts.queue is None and connect is not None and 0 < connect.value <= _LONGEST_WAIT_S:
            said = (
                f"once {server.name} is at its maxconn {server.maxconn}, requests wait {connect.value:g} s for"
                " it and are then turned away: timeout queue is not set, and timeout connect stands in for it"
            )
            option = server.option("maxconn")
            yield Trouble(option.origin if option else server.origin, said, proxy.name)


def _levelhead_queue_unbounded(config: Config[Fleet]) -> Iterator[Trouble]:
    """LH044: the same in a levelhead.yaml, whose queue_s is 5 unless written."""
    for pool in config.reading.pools:
        limited = pool.limits.server_in_flight or any(s.in_flight_limit for s in pool.servers)
        if limited and pool.limits.queue is None and pool.timeouts.queue_s > _LONGEST_WAIT_S:
            said = (
                f"any number of requests may wait up to {pool.timeouts.queue_s:g} s (queue_s) for {pool.name}: after an"
                " overload its servers work for clients that have gone"
            )
            yield Trouble(pool.origin, said, pool.name)


def _haproxy_inconsistent(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    """LH046: limits of which one makes another pointless."""
    reading = config.reading
    sides = [p for p in reading.proxies if p.takes_traffic and not p.disabled]
    yield from _capped_sides(reading.globals.maxconn, sides)
    for proxy in (p for p in reading.pools() if not p.disabled):
        for server in {s.origin: s for s in proxy.servers}.values():
            yield from _odd_server(proxy, server, reading.globals.maxconn)


def _capped_sides(whole: haproxy.Setting[int] | None, sides: list[haproxy.Proxy]) -> Iterator[Trouble]:
    """A frontend above the process, or all of them together far below it."""
    own = [p.maxconn for p in sides if p.maxconn is not None and p.maxconn.value > 0]
    inherited = [s for s in own if s.defaults is not None]
    if whole is None or whole.value <= 0:
        return
    above = {s.origin: s.value for s in own if s.value > whole.value}
    for origin, value in above.items():
        said = f"maxconn {value} can never be reached: the whole process stops at {whole.value} ({_line(whole.origin)})"
        yield Trouble(origin, said)
    together = sum(s.value for s in own)
    # A limit written in the section itself was meant for it; one of defaults may be news to its writer.
    if own and len(inherited) == len(sides) and together * _FAR_BELOW <= whole.value:
        who = f"{sides[0].title} stops" if len(sides) == 1 else f"the {len(sides)} listening sections together stop"
        said = (
            f"{who} at {together} connections, so the global maxconn {whole.value} ({_line(whole.origin)}) can never"
            " be reached: further clients wait in the kernel's backlog, without an answer or a log line"
        )
        yield Trouble(own[0].origin, said, sides[0].name)


def _odd_server(
    proxy: haproxy.Proxy, server: haproxy.ServerLine, whole: haproxy.Setting[int] | None
) -> Iterator[Trouble]:
    most, least = server.maxconn, server.minconn
    at = server.option("minconn") or server.option("maxconn")
    origin = at.origin if at else server.origin
    if most and least and least > most:
        said = f"minconn {least} is above maxconn {most}: HAProxy raises the limit of {server.name} to {least}"
        yield Trouble(origin, said, proxy.name, server.name)
    elif most and least and least < most and proxy.fullconn is None:
        said = (
            f"fullconn is not set, so HAProxy derives it from the frontends (10% of their maxconn): until the pool has"
            f" that many connections, {server.name} gets {least} to {most} and the rest waits"
        )
        yield Trouble(origin, said, proxy.name, server.name, "set fullconn to the connections the pool has at its peak")
    elif most and whole is not None and most > whole.value > 0:
        said = (
            f"maxconn {most} of {server.name} can never be reached: the whole process stops at {whole.value}"
            f" ({_line(whole.origin)})"
        )
        yield Trouble(origin, said, proxy.name, server.name)


def _line(origin: Origin) -> str:
    return f"line {origin.line}"


def _nginx_inconsistent(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    """LH046: a worker may open fewer files than it may have connections."""
    process = config.reading.process
    files, connections = process.open_files, process.connections
    if files.value is not None and files.value < connections.value:
        said = (
            f"worker_connections {connections.value} can never be reached: a worker may open {files.value} files,"
            " and each connection is one"
        )
        yield Trouble(files.origin, said)


def _connections_low(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    """LH050: all workers together have fewer connections than clients and servers need at the declared peak."""
    peak, process = config.facts.peak_in_flight, config.reading.process
    workers = config.facts.cores if process.workers.value == "auto" else process.workers.value
    if peak is None or workers is None or config.reading.context != "main" or not config.reading.passes:
        return
    here = peak / (config.facts.balancers or 1)
    most = workers * process.connections.value
    if most < 2 * here:
        per = "one worker" if workers == 1 else f"{workers:g} workers"
        usual = " (the default)" if process.connections.is_default else ""
        said = (
            f"{per} with {process.connections.value} connections{usual} can serve {most // 2:g} clients at a time, as"
            f" each takes one to the client and one to the server: {here:.0f} are declared"
        )
        yield Trouble(_written(process, config.reading), said)


def _written(process: nginx.Process, reading: nginx.Reading) -> Origin:
    """Where worker_connections is, or would be."""
    if not process.connections.is_default:
        return process.connections.origin
    events = next((d for d in reading.directives if d.name == "events"), None)
    return events.origin if events else Origin(reading.files[0], 1, 1)


def _limit_per_worker(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    """LH051: a limit that every worker counts by itself."""
    workers = config.reading.process.workers.value
    if config.reading.context == "main" and workers == 1:
        return
    known = config.facts.cores if workers == "auto" else workers if config.reading.context == "main" else None
    for upstream in config.reading.upstreams:
        for server in upstream.servers:
            most = server.max_conns.value
            if most > 0 and upstream.zone is None:
                name = server.address.text
                through = f"{known:g} let {known * most:g}" if known else f"all together let a multiple of {most}"
                said = f"without a zone every worker counts to {most} by itself: {through} through to {name}"
                yield Trouble(server.max_conns.origin, said, upstream.name, server.address.text)


RULES: Final = (
    Rule(
        code="LH044",
        name="queue-unbounded",
        severity="warning",
        summary="a queue in which any number of requests may wait longer than people do",
        fix="set timeout queue to a few seconds, less than clients wait, or a maxqueue",
        haproxy=_queue_unbounded,
        levelhead=_levelhead_queue_unbounded,
    ),
    Rule(
        code="LH045",
        name="queue-timeout-implicit",
        severity="warning",
        summary="a limit per server without timeout queue, so that timeout connect is how long requests wait",
        fix="set timeout queue",
        haproxy=_queue_time_implicit,
    ),
    Rule(
        code="LH046",
        name="limits-inconsistent",
        severity="error",
        summary="a limit that another one makes impossible to reach",
        fix="raise the smaller limit or lower the larger one, so that both say what is meant",
        haproxy=_haproxy_inconsistent,
        nginx=_nginx_inconsistent,
    ),
    Rule(
        code="LH050",
        name="worker-connections-low",
        severity="warning",
        summary="fewer connections in all workers than clients and servers need at the declared peak",
        fix="raise worker_connections to at least twice the clients at a time, and worker_rlimit_nofile with it",
        nginx=_connections_low,
    ),
    Rule(
        code="LH051",
        name="max-conns-without-zone",
        severity="error",
        summary="max_conns in a group without a zone, which every worker counts by itself",
        fix="add a zone to the upstream, so that all workers count together",
        nginx=_limit_per_worker,
    ),
)
