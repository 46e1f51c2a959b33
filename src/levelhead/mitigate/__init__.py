"""plan(situation, story) -> Plan or Refusal: the first mitigation for the cause that the guard lets pass."""

from __future__ import annotations

from levelhead.detect.base import Kind
from levelhead.diagnose import CERTAIN_ENOUGH
from levelhead.diagnose.base import NONE_OF_THESE, Story
from levelhead.mitigate import admission, checks, drain, guard, hashing, limits, questions, rollback, weights
from levelhead.mitigate.base import Mitigation, Plan, Refusal, Situation

_SKEW = frozenset({Kind.SHARE})
_CONFIGURED = frozenset({Kind.SHARE, Kind.CHECK, Kind.FULL})
_SICK = frozenset({Kind.ERRORS, Kind.LATENCY})

# In the order of preference. `intended-shares` treats what nobody could name too: it can do no harm.
MITIGATIONS = (
    Mitigation("roll-back", frozenset({"weight-typo-skew", "duplicate-server-entry", "check-protocol-mismatch",
               "runtime-drain-lost-on-reload", "stale-backend-slots", "pool-emptied-by-admin-state",
               "lb-maxconn-too-low", "server-maxconn-too-low"}),
               _CONFIGURED, rollback.draft),
    Mitigation("intended-shares", frozenset({"weight-typo-skew"}), _SKEW, weights.draft),
    Mitigation("re-admit", frozenset({"forgotten-drain", "pool-emptied-by-admin-state"}), _SKEW, admission.readmit),
    Mitigation("drain", frozenset({"slow-server-gray-failure", "shallow-check", "server-down", "fast-fail-black-hole",
               "bad-deploy", "gray-failure-zone"}), _SICK, drain.draft),
    Mitigation("bound-load", frozenset({"hash-hot-key", "nat-source-hash-collapse"}), _SKEW, hashing.bound),
    Mitigation("ignore-check", frozenset({"deep-check-ejects-all", "check-flapping", "check-protocol-mismatch"}),
               frozenset({Kind.CHECK}), checks.ignore),
    Mitigation("stop-ejection", frozenset({"poison-request-ejects-all", "overload-ejection-cascade"}),
               frozenset({Kind.CHECK}), checks.stop_ejection),
    Mitigation("limit-retries", frozenset({"retry-amplification", "dependency-failure"}), _SICK,
               limits.fewer_retries, enough=0.8),
    Mitigation("raise-limit", frozenset({"lb-maxconn-too-low", "server-maxconn-too-low"}),
               frozenset({Kind.REFUSED}), limits.raise_limit),
    Mitigation("shed", frozenset({"traffic-surge", "no-failure-headroom", "overload-ejection-cascade"}),
               frozenset(), limits.shed),
)  # fmt: skip
NOBODY_KNOWS = "no known cause explains this: a person should look"
BY_NAME = {m.name: m for m in MITIGATIONS}


def plan(situation: Situation, story: Story, tried: frozenset[str] = frozenset()) -> Plan | Refusal:
    """What to do about the story. Below `CERTAIN_ENOUGH` only the return to intended shares is offered.

    `tried` are names of plans that did not help in this incident.
    """
    if story.cause == NONE_OF_THESE:
        return Refusal((NOBODY_KNOWS,), questions.question(story))
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
    return Refusal(tuple(reasons) or (f"the balancer cannot mend {story.cause}",), questions.question(story))


def _objections(drafted: Plan, situation: Situation) -> tuple[str, ...]:
    """What the guard says of every prefix of the plan."""
    fleet = situation.fleet
    found: list[str] = []
    for step in drafted.steps:
        found += guard.objections(fleet, step.target, situation.case)
        fleet = step.target
    return tuple(found)
