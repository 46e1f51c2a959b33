"""Let servers back in that somebody took out and forgot, or that a change left out."""

from __future__ import annotations

from levelhead import predict
from levelhead.diagnose.base import Story
from levelhead.mitigate.base import Plan, Refusal, Situation, one_step
from levelhead.model import Admin, Change, SetAdmin, SetWeight, apply


def readmit(situation: Situation, story: Story) -> Plan | Refusal:
    """One step that makes the servers of the story ready; the engine gives them their traffic by slow start."""
    pool, case = situation.case.pool, situation.case
    if situation.forced:
        return Refusal((f"a person insisted on this: {situation.forced}",))
    named = story.servers or tuple(s.name for s in pool.servers if s.name not in case.drained)
    out = [s for s in pool.servers if s.name in named and (s.admin is not Admin.READY or s.weight == 0)]
    sound = [s.name for s in out if s.name not in case.failing]
    if not out:
        return Refusal(("every server that the story names is let in already",))
    if not sound:
        return Refusal((f"the check fails on {', '.join(s.name for s in out)}: it is not let in",))
    changes: list[Change] = [SetAdmin(pool.name, s.name, Admin.READY) for s in out if s.name in sound]
    intended = dict(zip((s.name for s in pool.servers), predict.intended_weights(pool), strict=True))
    changes += [SetWeight(pool.name, s.name, intended[s.name]) for s in out if s.name in sound and s.weight == 0]
    target = apply(situation.fleet, tuple(changes))
    slow = f" by a slow start of {pool.slow_start_s:g} s" if pool.slow_start_s > 0 else ""
    return one_step("re-admit", situation, story, target, f"let {', '.join(sound)} back in{slow}")
