"""Fewer retries, higher limits where a limit is the trouble, and refusing at the front what nobody can bear."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from levelhead.detect.base import Kind
from levelhead.diagnose.base import Case, Story
from levelhead.mitigate.base import Plan, Refusal, Situation, one_step, with_pool
from levelhead.model import Limits, Retries

# What a limit is raised by at least; twice is felt and can still be borne by what had room to spare. Where the usual
# pace is known, it is raised to what the rate needs (Little's law) and as much again as this.
RAISED = 2
ROOM = 1.5
# Repetitions do harm where they are work that cannot be borne: requests stay so many times as long as usual.
STRAINED = 1.3
# No server is asked to work on more requests at a time than it can finish in this part of the SLO's latency.
OF_SLO = 0.5
# What waits longer than this part of the SLO's latency is late already.
QUEUE_OF_SLO = 0.25
# Refusing requests harms whoever sent them: it must save more than that.
WORTH = 0.05


def fewer_retries(situation: Situation, story: Story) -> Plan | Refusal:
    """One step to a single retry, or to none where there is one: retries multiply what already cannot be borne."""
    pool = situation.case.pool
    if pool.retries.attempts == 0:
        return Refusal((f"{pool.name} repeats nothing",))
    if not situation.case.about(Kind.RETRIES):
        return Refusal(("few requests are repeated: limiting that would save nothing",))
    if not _strained(situation.case):
        return Refusal(("the servers bear the repetitions, and some of them succeed: without them more would fail",))
    attempts, now = (1, "once") if pool.retries.attempts > 1 else (0, "not at all")
    target = with_pool(situation.fleet, replace(pool, retries=Retries(attempts)))
    before = "once" if attempts == 0 else f"{pool.retries.attempts} times"
    text = f"repeat failed requests of {pool.name} {now} instead of {before}"
    return one_step("limit-retries", situation, story, target, text)


def raise_limit(situation: Situation, story: Story) -> Plan | Refusal:
    """One step that at least doubles the limit in the way: connections of the listener, or requests in flight of
    servers."""
    fleet, pool = situation.fleet, situation.case.pool
    if story.cause == "lb-maxconn-too-low":
        mine = [x for x in fleet.listeners if x.connections is not None and any(r.pool == pool.name for r in x.routes)]
        if not mine:
            return Refusal((f"no listener of {pool.name} has a limit of connections in its configuration",))
        needed = _needed(situation.case)
        raised = {x.name: replace(x, connections=max(RAISED * (x.connections or 0), needed)) for x in mine}
        target = replace(fleet, listeners=tuple(raised.get(x.name, x) for x in fleet.listeners))
        text = ", ".join(f"{x.name} from {x.connections} to {raised[x.name].connections} connections" for x in mine)
        return one_step("raise-limit", situation, story, target, f"raise the limit of {text}")
    if pool.limits.server_in_flight is None and all(s.in_flight_limit is None for s in pool.servers):
        return Refusal((f"no server of {pool.name} has a limit of requests in flight",))
    limit = pool.limits.server_in_flight
    each = math.ceil(_needed(situation.case) / max(len(pool.servers) - len(situation.case.unserving), 1))
    least = min(x for x in (limit, *(s.in_flight_limit for s in pool.servers)) if x is not None)
    if 0 < each < least:
        return Refusal((f"at the usual pace {each} requests at a time would do, and {least} are allowed: "
                        "it is the servers that are slow",))  # fmt: skip
    more = None if limit is None else max(RAISED * limit, each)
    servers = tuple(
        s if s.in_flight_limit is None else replace(s, in_flight_limit=max(RAISED * s.in_flight_limit, each))
        for s in pool.servers
    )
    target = with_pool(fleet, replace(pool, limits=replace(pool.limits, server_in_flight=more), servers=servers))
    what = "raise each server's limit of requests in flight" if limit is None else (
        f"let each server of {pool.name} work on {more} requests at a time instead of {limit}"
    )  # fmt: skip
    return one_step("raise-limit", situation, story, target, what)


def _strained(case: Case) -> bool:
    """Whether requests stay with servers far longer than usual, or wait for a place."""
    past = case.past
    if case.queued >= 1 or case.about(Kind.SLOWDOWN, Kind.REFUSED):
        return True
    if past is None:
        return False
    usual = float(np.nansum(past.pace_s * past.requests))
    return float((past.pace_now_s * past.requests).sum()) > STRAINED * usual > 0


def _usual(case: Case, ready: int) -> float:
    """Requests per second that a server had in calm, as far as the forecast asks for as many of those that are left."""
    share = case.forecast / ready
    if case.past is None or np.isnan(case.past.got).all():
        return share
    return min(share, float(np.nanmedian(case.past.got)))


def _needed(case: Case) -> int:
    """Requests that are with servers at a time when this rate is served at its usual pace, with some room; 0 where no
    pace is known."""
    past = case.past
    if past is None or np.isnan(past.pace_s).all():
        return 0
    return math.ceil(ROOM * max(case.rate, case.forecast) * float(np.nanmedian(past.pace_s)))


def shed(situation: Situation, story: Story) -> Plan | Refusal:
    """One step that bounds requests in flight and the queue, so that what cannot be borne is refused at once.

    A server bears what it is declared to, or else what it had in calm. By Little's law it then has rate x latency
    requests in flight; a latency of half the SLO leaves the other half for the queue and the way.
    """
    case, pool = situation.case, situation.case.pool
    if pool.limits.queue is not None and pool.limits.server_in_flight is not None:
        return Refusal(("traffic grew and is spread as it should be: the balancer is not touched, its limits are set",))
    if case.harmed_ratio < WORTH:
        return Refusal((f"{case.harmed_ratio:.1%} of requests are harmed: too few to refuse others for",))
    ready = [s for s in pool.servers if s.name not in case.unserving]
    if not ready or not math.isfinite(case.forecast):
        return Refusal(("nobody knows what the servers can bear: neither declared nor seen in calm",))
    declared = [s.capacity for s in ready if s.capacity is not None]
    each = sum(declared) / len(declared) if len(declared) == len(ready) else _usual(case, len(ready))
    if len(declared) == len(ready) and case.rate <= sum(declared):
        return Refusal((f"{case.rate:.0f} requests/s are within the {sum(declared):.0f} that the servers can bear",))
    slo_s = pool.slo.latency_ms / 1000
    in_flight = max(math.ceil(each * OF_SLO * slo_s), 2)
    limits = Limits(
        pool.limits.server_in_flight or in_flight,
        len(ready) * in_flight if pool.limits.queue is None else pool.limits.queue,
    )
    times = replace(pool.timeouts, queue_s=min(pool.timeouts.queue_s, max(QUEUE_OF_SLO * slo_s, 0.05)))
    target = with_pool(situation.fleet, replace(pool, limits=limits, timeouts=times))
    text = (f"let each server work on {limits.server_in_flight} requests at a time and {limits.queue} wait for "
            f"{times.queue_s:.2g} s; refuse the rest at once")  # fmt: skip
    usual = min(each * len(ready), case.forecast)
    return replace(one_step("shed", situation, story, target, text), serves=usual)
