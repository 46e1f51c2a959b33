"""Fewer retries, higher limits where a limit is the trouble, and refusing at the front what nobody can bear."""

from __future__ import annotations

import math
from dataclasses import replace

from levelhead.detect.base import Kind
from levelhead.diagnose.base import Story
from levelhead.mitigate.base import Plan, Refusal, Situation, one_step, with_pool
from levelhead.model import Limits, Retries

# What a limit is raised by; twice is felt and can still be borne by what had room to spare.
RAISED = 2
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
    attempts, now = (1, "once") if pool.retries.attempts > 1 else (0, "not at all")
    target = with_pool(situation.fleet, replace(pool, retries=Retries(attempts)))
    before = "once" if attempts == 0 else f"{pool.retries.attempts} times"
    text = f"repeat failed requests of {pool.name} {now} instead of {before}"
    return one_step("limit-retries", situation, story, target, text)


def raise_limit(situation: Situation, story: Story) -> Plan | Refusal:
    """One step that doubles the limit in the way: connections of the listener, or requests in flight of servers."""
    fleet, pool = situation.fleet, situation.case.pool
    if story.cause == "lb-maxconn-too-low":
        mine = [x for x in fleet.listeners if x.connections is not None and any(r.pool == pool.name for r in x.routes)]
        if not mine:
            return Refusal((f"no listener of {pool.name} has a limit of connections in its configuration",))
        raised = {x.name: replace(x, connections=RAISED * (x.connections or 0)) for x in mine}
        target = replace(fleet, listeners=tuple(raised.get(x.name, x) for x in fleet.listeners))
        text = ", ".join(f"{x.name} from {x.connections} to {raised[x.name].connections} connections" for x in mine)
        return one_step("raise-limit", situation, story, target, f"raise the limit of {text}")
    if pool.limits.server_in_flight is None and all(s.in_flight_limit is None for s in pool.servers):
        return Refusal((f"no server of {pool.name} has a limit of requests in flight",))
    limit = pool.limits.server_in_flight
    more = None if limit is None else RAISED * limit
    servers = tuple(
        s if s.in_flight_limit is None else replace(s, in_flight_limit=RAISED * s.in_flight_limit) for s in pool.servers
    )
    target = with_pool(fleet, replace(pool, limits=replace(pool.limits, server_in_flight=more), servers=servers))
    what = "double each server's limit of requests in flight" if limit is None else (
        f"let each server of {pool.name} work on {more} requests at a time instead of {limit}"
    )  # fmt: skip
    return one_step("raise-limit", situation, story, target, what)


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
    each = sum(declared) / len(declared) if len(declared) == len(ready) else case.forecast / len(ready)
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
    return one_step("shed", situation, story, target, text)
