"""Give every server the weight that its intended share needs: harmless whatever the cause."""

from __future__ import annotations

from levelhead import predict
from levelhead.diagnose.base import Story
from levelhead.mitigate.base import Plan, Refusal, Situation, Step
from levelhead.model import SetWeight, apply


def draft(situation: Situation, story: Story) -> Plan | Refusal:
    """One step that sets all weights of the pool to those of the intent."""
    pool, case = situation.case.pool, situation.case
    if situation.forced:
        return Refusal((f"a person insisted on this: {situation.forced}",))
    wanted = predict.intended_weights(pool)
    in_force = tuple(float(w) for w in case.weight)
    if all(abs(w - s.weight) < 0.5 for w, s in zip(wanted, pool.servers, strict=True)) and in_force == wanted:
        return Refusal(("the weights are already those of the intended shares",))
    changes = tuple(SetWeight(pool.name, s.name, w) for s, w in zip(pool.servers, wanted, strict=True))
    step = Step(apply(situation.fleet, changes), situation.fleet, f"return {pool.name} to its intended shares")
    shares = " / ".join(f"{share:.0%}" for share in predict.intended(pool))
    return Plan("intended-shares", pool.name, story.cause, (step,), f"{story.cause}: intended shares are {shares}")
