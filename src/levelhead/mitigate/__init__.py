"""plan(situation, story) -> Plan or Refusal: the first mitigation for the cause that the guard lets pass."""

from __future__ import annotations

from levelhead.diagnose import CERTAIN_ENOUGH
from levelhead.diagnose.base import NONE_OF_THESE, Story
from levelhead.mitigate import drain, guard, rollback, weights
from levelhead.mitigate.base import Mitigation, Plan, Refusal, Situation

# In the order of preference. `weights` treats what nobody could name too: it can do no harm.
MITIGATIONS = (
    Mitigation("roll-back", frozenset({"weight-typo-skew"}), rollback.draft),
    Mitigation("intended-shares", frozenset({"weight-typo-skew"}), weights.draft),
    Mitigation("drain", frozenset({"slow-server-gray-failure", "shallow-check", "server-down"}), drain.draft),
)

# What is right to do nothing about, and the sentence for it.
LEAVE_ALONE = {
    "traffic-surge": "traffic grew and is spread as it should be: the balancer is not touched",
    NONE_OF_THESE: "no known cause explains this: a person should look",
}


def plan(situation: Situation, story: Story, tried: frozenset[str] = frozenset()) -> Plan | Refusal:
    """What to do about the story. Below `CERTAIN_ENOUGH` only the return to intended shares is offered.

    `tried` are names of plans that did not help in this incident.
    """
    if story.cause in LEAVE_ALONE:
        return Refusal((LEAVE_ALONE[story.cause],))
    reasons: list[str] = []
    for mitigation in MITIGATIONS:
        if story.cause not in mitigation.treats:
            continue
        if mitigation.name in tried:
            reasons.append(f"{mitigation.name} was tried and did not help")
            continue
        if story.probability < CERTAIN_ENOUGH and mitigation.name != "intended-shares":
            reasons.append(f"{story.cause} is only {story.probability:.0%} likely: too little for {mitigation.name}")
            continue
        drafted = mitigation.draft(situation, story)
        if isinstance(drafted, Refusal):
            reasons += drafted.reasons
            continue
        against = _objections(drafted, situation)
        if not against:
            return drafted
        reasons += [f"{mitigation.name}: {objection}" for objection in against]
    return Refusal(tuple(reasons) or (f"no mitigation treats {story.cause}",))


def _objections(drafted: Plan, situation: Situation) -> tuple[str, ...]:
    """What the guard says of every prefix of the plan."""
    fleet = situation.fleet
    found: list[str] = []
    for step in drafted.steps:
        found += guard.objections(fleet, step.target, situation.case)
        fleet = step.target
    return tuple(found)
