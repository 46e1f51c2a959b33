"""Stop believing a check that lies, and stop ejecting servers for what is not their fault."""

from __future__ import annotations

from dataclasses import replace

from levelhead.diagnose.base import Story
from levelhead.mitigate.base import Plan, Refusal, Situation, one_step, with_pool
from levelhead.model import Admin, Pool

# A check is held for a liar only where it accuses at least this part of the servers ...
MOST = 0.5
# ... and of the requests that they were given at most this part failed, now or when the check fell.
WELL = 0.05


def ignore(situation: Situation, story: Story) -> Plan | Refusal:
    """One step that switches the active check off, so that every server serves again."""
    pool, case = situation.case.pool, situation.case
    if pool.check is None:
        return Refusal((f"{pool.name} has no check to ignore",))
    if len(case.failing) < MOST * len(_ready(pool)):
        return Refusal((f"the check fails on {len(case.failing)} of {len(_ready(pool))} servers only",))
    ratios = [case.failure_ratio[case.index(s)] for s in case.failing]
    if case.past is not None:
        # Who is out gets no requests that could fail; what counts is how it was when its check fell.
        ratios += [case.past.ill_before[case.index(s)] for s in case.failing]
    worst = max((float(r) for r in ratios if r == r), default=0.0)
    if worst > WELL:
        return Refusal((f"requests fail too, up to {worst:.0%} of those that a server gets: the check may be right",))
    target = with_pool(situation.fleet, replace(pool, check=None))
    return one_step("ignore-check", situation, story, target, f"stop checking the servers of {pool.name}")


def stop_ejection(situation: Situation, story: Story) -> Plan | Refusal:
    """One step that ends passive ejection: what fails for every server is no reason to take one out."""
    pool = situation.case.pool
    if pool.ejection is None:
        return Refusal((f"{pool.name} ejects nobody",))
    target = with_pool(situation.fleet, replace(pool, ejection=None))
    return one_step("stop-ejection", situation, story, target, f"stop ejecting servers of {pool.name} for failures")


def _ready(pool: Pool) -> list[str]:
    return [s.name for s in pool.servers if s.admin is Admin.READY]
