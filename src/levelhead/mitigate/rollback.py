"""Return to the last configuration that served well."""

from __future__ import annotations

from levelhead.diagnose.base import Story
from levelhead.mitigate.base import Plan, Refusal, Situation, Step

# Limits may have become too low for the traffic without anybody touching them.
LIMITS = frozenset({"lb-maxconn-too-low", "server-maxconn-too-low"})


def draft(situation: Situation, story: Story) -> Plan | Refusal:
    """One step to the last known good revision, if the trouble came with a later one."""
    good, changed, shipped = situation.good, situation.case.changed, situation.case.shipped
    if good is None:
        return Refusal(("no revision is known to have served well",))
    if good.number == situation.current:
        return Refusal((f"revision {good.number}, in force, is the last one known to have served well",))
    if good.fleet == situation.fleet:
        return Refusal((f"what is in force is what served well as revision {good.number}",))
    if changed is None and story.cause == "weight-typo-skew":
        return Refusal(("no change of configuration explains the trouble",))
    if story.cause in LIMITS and (shipped is None or "limits" not in shipped.touched):
        return Refusal(("no change of limits explains the trouble",))
    if situation.forced:
        return Refusal((f"a person insisted on this: {situation.forced}",))
    text = f"roll back to revision {good.number} ({good.why} by {good.author})"
    because = f"{story.cause} at {story.probability:.0%}; "
    because += f"revision {situation.current} came into force since" if changed is None else (
        f"revision {changed.revision} by {changed.author} "
        f"moved {changed.server} from {changed.share_before:.0%} to {changed.share_after:.0%}"
    )  # fmt: skip
    step = Step(good.fleet, situation.fleet, text)
    return Plan("roll-back", situation.case.pool.name, story.cause, (step,), because, restores=good.number)
