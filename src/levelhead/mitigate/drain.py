"""Take one sick server out of new traffic, gently."""

from __future__ import annotations

from levelhead.diagnose.base import Story
from levelhead.mitigate.base import Plan, Refusal, Situation, Step
from levelhead.model import Admin, SetAdmin, apply


def draft(situation: Situation, story: Story) -> Plan | Refusal:
    """One step that drains the one server the story accuses; never two."""
    pool, case = situation.case.pool, situation.case
    if len(story.servers) != 1:
        return Refusal((f"{len(story.servers)} servers are accused; only one is ever drained at a time",))
    name = story.servers[0]
    server = pool.server(name)
    if server is None or server.admin is not Admin.READY:
        return Refusal((f"{name} is already out",))
    if name in case.failing:
        return Refusal((f"nothing to do: the check has taken {name} out, and its requests are repeated elsewhere",))
    if story.cause == "server-down" and pool.check is not None and case.harmed_ratio < 0.01:
        return Refusal((f"nothing to do: requests to {name} are repeated elsewhere until its check takes it out",))
    changes = (SetAdmin(pool.name, name, Admin.DRAIN),)
    step = Step(apply(situation.fleet, changes), situation.fleet, f"drain {name}")
    reason = story.pro[0] if story.pro else "no evidence"
    return Plan("drain", pool.name, story.cause, (step,), f"{story.cause} at {story.probability:.0%}: {reason}")
