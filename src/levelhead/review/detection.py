"""Rules on how soon a check sees a dead server, how easily it is misled, how soon it relents, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final, TypeVar

from levelhead.engines.envoy import picture as envoy
from levelhead.engines.nginx import picture as nginx
from levelhead.model import Origin
from levelhead.review.base import Config, Rule, Trouble
from levelhead.review.probes import (
    Member,
    Pool,
    Timing,
    by_pool,
    each_timing,
    envoy_pools,
    fleet_pools,
    haproxy_pools,
    merged,
)
from levelhead.review.wording import counted, lasting, listed

R = TypeVar("R")
_SLOW_S: Final = 30.0
_TWITCHY_S: Final = 1.0
_LONG_OUT_S: Final = 60.0
_LONG_EJECTION_S: Final = 300.0
_BRIEF_OUT_S: Final = 2.0
_KERNEL_S: Final = 127.0  # Linux gives a connection up after this, whatever the proxy would wait
_MOST_PROBES: Final = 5.0
_MOST_OF_PEAK: Final = 0.05
_IDLE_S: Final = 60.0


def _slow(pool: Pool) -> Iterator[Trouble]:
    """LH030. Where there is no other server, it does not matter how soon one is out."""
    for timing, members in each_timing(pool) if pool.several else ():
        if timing.dead_s + timing.timeout_s <= _SLOW_S:
            continue
        checks = f"{lasting(timing.interval_s)} apart, {timing.fall} in a row"
        message = (
            f"a dead server keeps {pool.part(members)} for up to {lasting(timing.dead_s)} ({checks}),"
            f" one that hangs for up to {lasting(timing.hung_s)}"
        )
        yield Trouble(_slowest(timing), message, pool.name, members[0].name)


def _slowest(timing: Timing) -> Origin:
    """The line that has to change: the one with the long interval, else the one with the many failures."""
    return timing.interval_at if timing.interval_s >= 5 or timing.fall <= 3 else timing.fall_at


def _nginx_slow(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    """LH030. nginx has no checks: it learns that a host is gone from requests that wait for a connection."""
    troubles = []
    for passed in config.reading.passes:
        group, wait = _group(config.reading, passed), passed.connect_timeout_s
        live = [s for s in group.servers if not (s.down or s.backup) and s.max_fails.value] if group else []
        if group is None or wait.is_default or wait.value <= _SLOW_S or len(live) < 2:
            continue
        share = round(100 * max(s.weight.value for s in live) / sum(s.weight.value for s in live))
        message = (
            f"a host that is gone keeps {share}% of requests for about {min(wait.value, _KERNEL_S):g} s:"
            f" until then each of them waits for a connection"
        )
        troubles.append(Trouble(wait.origin, message, group.name))
    yield from merged(troubles)


def _group(reading: nginx.Reading, passed: nginx.Pass) -> nginx.Upstream | None:
    return reading.upstream(passed.module, passed.upstream) if passed.upstream else None


def _twitchy(pool: Pool) -> Iterator[Trouble]:
    """LH031."""
    for timing, members in each_timing(pool) if pool.several else ():
        who = (members[0].name if len(members) == 1 else "") or "a server"
        window = timing.fall * timing.interval_s
        if timing.fall == 1:
            message = f"one lost probe takes {who} out, and with it {pool.part(members)} moves to the others"
            yield Trouble(timing.fall_at, message, pool.name, members[0].name)
        elif 0 < window < _TWITCHY_S:
            checks = f"{timing.fall} checks {lasting(timing.interval_s)} apart"
            message = f"{lasting(window)} of trouble take {who} out: {checks}"
            yield Trouble(timing.interval_at, message, pool.name, members[0].name)


def _nginx_twitchy(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    """LH031. A fail_timeout of 0 is how one says never to take a server out."""
    for group in config.reading.upstreams:
        live = [s for s in group.servers if not (s.down or s.backup)]
        found = [s for s in live if s.max_fails.value and 0 < s.fail_timeout_s.value < _BRIEF_OUT_S]
        if len(live) < 2 or not found:
            continue
        first = found[0]
        out = lasting(first.fail_timeout_s.value)
        who = listed([s.address.text for s in found])
        message = f"{_failures(first)} {who} out for only {out}, then users try again: a dead one comes and goes"
        yield Trouble(first.fail_timeout_s.origin, message, group.name, first.address.text)


def _failures(server: nginx.Server) -> str:
    many = server.max_fails.value
    return f"{counted(many, 'failure')} take{'s' if many == 1 else ''}"


def _patient(pool: Pool) -> Iterator[Trouble]:
    """LH032. The next check waits for the last, so a long timeout stretches the interval; a little does no harm."""
    for timing, members in each_timing(pool) if pool.several else ():
        if timing.timeout_s < 2 * timing.interval_s:
            continue
        best = timing.dead_s + timing.fall * timing.interval_s
        message = (
            f"checks {lasting(timing.interval_s)} apart wait up to {lasting(timing.timeout_s)} for an answer:"
            f" a server that hangs keeps {pool.part(members)} for up to {lasting(timing.hung_s)}, not {lasting(best)}"
        )
        yield Trouble(timing.timeout_at, message, pool.name, members[0].name)


def _idle(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    """LH038."""
    for cluster in config.reading.clusters:
        for check in cluster.checks:
            idle, interval = check.no_traffic_interval_s, check.interval_s.value
            if idle.is_default and 0 < interval < _IDLE_S:
                message = (
                    f"until its first request, {cluster.name} is checked every {idle.value:g} s, not every"
                    f" {lasting(interval)} (measured: 58 s to see a dead server)"
                )
                yield Trouble(check.origin, message, cluster.name)


def _threshold(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    """LH042."""
    for cluster in config.reading.clusters:
        for check in cluster.checks:
            threshold = check.unhealthy_threshold
            if check.kind == "http" and threshold.value > 1 and not check.retriable:
                message = (
                    f"one answer that is not expected takes a server out at once:"
                    f" the threshold of {threshold.value} counts only timeouts and broken connections"
                )
                yield Trouble(check.origin if threshold.is_default else threshold.origin, message, cluster.name)


def _probes(view: Callable[[R], Iterable[Pool]], config: Config[R]) -> Iterator[Trouble]:
    """LH039. The same server may be in several pools, each with checks of its own."""
    asked: dict[tuple[str, int], list[tuple[Pool, Member, Timing]]] = {}
    for pool in view(config.reading):
        for member in pool.members:
            if member.timing is not None and member.timing.interval_s > 0 and member.asked_at[0]:
                asked.setdefault(member.asked_at, []).append((pool, member, member.timing))
    balancers = config.facts.balancers or 1
    said: set[Origin] = set()
    for found in asked.values():
        rate = balancers * sum(1 / timing.interval_s for _, _, timing in found)
        expected = _expected(config, found)
        many = expected is not None and rate > _MOST_OF_PEAK * expected
        _, member, timing = min(found, key=lambda f: f[2].interval_s)
        if not (rate > _MOST_PROBES or many) or timing.interval_at in said:
            continue
        said.add(timing.interval_at)
        pools = {pool.name for pool, _, _ in found}
        origins = "" if len(pools) == 1 else f" for {len(pools)} pools"
        tier = "" if balancers == 1 else f" from {balancers} balancers"
        of_peak = f", {100 * rate / expected:.0f}% of its peak" if many and expected else ""
        message = f"{member.name} gets {rate:.3g} probes a second{origins}{tier}{of_peak}"
        yield Trouble(timing.interval_at, message, found[0][0].name, member.name)


def _expected(config: Config[R], found: list[tuple[Pool, Member, Timing]]) -> float | None:
    """Requests per second of this server at the peak, where the peaks of all its pools are known."""
    total = 0.0
    for pool, member, _ in found:
        peak, weight = config.facts.peak(pool.name), sum(m.weight for m in pool.active)
        if peak is None or member.reserve or not weight or not pool.counted:
            return None
        total += peak * member.weight / weight
    return total


def _kept_out(pool: Pool) -> Iterator[Trouble]:
    """LH087. Only where a time for servers that are out is written: LH030 speaks of long intervals."""
    for timing, members in each_timing(pool):
        if timing.down_s > timing.interval_s and timing.back_s > _LONG_OUT_S:
            checks = f"asked every {lasting(timing.down_s)}"
            message = f"a server that recovered stays out for up to {lasting(timing.back_s)}: while out it is {checks}"
            yield Trouble(timing.down_at, message, pool.name, members[0].name)


def _nginx_kept_out(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    """LH087. The only server of a group is never taken out, unless its name stands for several."""
    for group in config.reading.upstreams:
        lonely = len(group.servers) == 1 and (group.servers[0].at is None or group.servers[0].at.kind != "name")
        live = [s for s in group.servers if not s.down and s.max_fails.value]
        found = [s for s in live if s.fail_timeout_s.value > _LONG_OUT_S]
        if lonely or not found:
            continue
        first = found[0]
        who, out = listed([s.address.text for s in found]), lasting(first.fail_timeout_s.value)
        message = f"{_failures(first)} {who} out for {out}, recovered or not"
        yield Trouble(first.fail_timeout_s.origin, message, group.name, first.address.text)


def _envoy_kept_out(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    """LH087."""
    yield from by_pool(envoy_pools, _kept_out)(config)
    for cluster in config.reading.clusters:
        outliers = cluster.outliers
        if outliers is not None and outliers.ejection_s.value > _LONG_EJECTION_S:
            out = lasting(outliers.ejection_s.value)
            message = f"the first ejection lasts {out}, recovered or not, and each further one longer"
            yield Trouble(outliers.ejection_s.origin, message, cluster.name)


RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "LH030", "detection-too-slow", "warning",
        "a dead server that keeps its requests for more than half a minute",
        "Check more often, or let fewer failures do: 2 s apart and 3 in a row see it within 6 s.",
        haproxy=by_pool(haproxy_pools, _slow), nginx=_nginx_slow, envoy=by_pool(envoy_pools, _slow),
        levelhead=by_pool(fleet_pools, _slow),
    ),
    Rule(
        "LH031", "detection-too-twitchy", "warning",
        "a server that one lost probe, or a second of trouble, takes out",
        "Let 3 failures in a row take a server out and 2 successes bring it back.",
        haproxy=by_pool(haproxy_pools, _twitchy), nginx=_nginx_twitchy, envoy=by_pool(envoy_pools, _twitchy),
        levelhead=by_pool(fleet_pools, _twitchy),
    ),
    Rule(
        "LH032", "check-timeout-vs-interval", "warning",
        "a check that waits for an answer longer than the time between two checks",
        "Make the timeout of the check shorter than its interval.",
        haproxy=by_pool(haproxy_pools, _patient), envoy=by_pool(envoy_pools, _patient),
        levelhead=by_pool(fleet_pools, _patient),
    ),
    Rule(
        "LH038", "idle-check-interval", "warning",
        "a cluster that is checked only once a minute until it has traffic",
        "Set no_traffic_interval to the interval.",
        envoy=_idle,
    ),
    Rule(
        "LH039", "probe-load-high", "warning",
        "a server that gets so many probes that they are a load",
        "Check a server in one pool and let the others `track` it, or check less often.",
        haproxy=partial(_probes, haproxy_pools), envoy=partial(_probes, envoy_pools),
        levelhead=partial(_probes, fleet_pools),
    ),
    Rule(
        "LH042", "http-threshold-ignored", "info",
        "an unhealthy_threshold that does not count wrong answers",
        "List the statuses that may be one-off in retriable_statuses.",
        envoy=_threshold,
    ),
    Rule(
        "LH087", "kept-out-too-long", "warning",
        "a server that stays out for minutes after it recovered",
        "Let it come back after 10 to 30 s.",
        haproxy=by_pool(haproxy_pools, _kept_out), nginx=_nginx_kept_out, envoy=_envoy_kept_out,
    ),
)  # fmt: skip
