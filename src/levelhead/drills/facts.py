"""What a drill is scored by, read from the incidents that Levelhead wrote while it ran."""

from __future__ import annotations

from levelhead.drills.base import Scenario
from levelhead.drills.score import Action, Clocks, Facts, Harm, Mode, StoryLine
from levelhead.drills.timeline import fault_s
from levelhead.incident import Incident
from levelhead.model import Fleet


def facts(
    scenario: Scenario, incidents: tuple[Incident, ...], *, engine: str, mode: Mode, seed: int, harm: Harm,
    began: float, noticed: float | None, before: Fleet, after: Fleet,
) -> Facts:  # fmt: skip
    """The facts of a drill that began at `began` (Unix seconds); `noticed` is the first signal, if there was one.

    Stories and clocks are those of the first incident after the fault; actions those of all of them. Users are well
    again when the last of them has ended for them.
    """
    fault = fault_s(scenario)
    relevant = [i for i in incidents if fault is not None and i.clocks.detected - began >= fault - 1.0]
    first = relevant[0] if relevant else None

    def since(at: float | None) -> float | None:
        return None if at is None else round(at - began, 2)

    clocks, stories = Clocks(fault, since(noticed)), list[StoryLine]()
    if first is not None:
        c = first.clocks
        detected = c.detected if noticed is None else min(c.detected, noticed)
        well = [i.clocks.recovered for i in relevant]
        recovered = None if None in well else max(at for at in well if at is not None)
        clocks = Clocks(fault, since(detected), since(c.diagnosed), since(c.acted), since(recovered))
        known = {s.cause for s in first.stories}
        told = (*first.stories, *(s for s in first.refuted if s.cause not in known))
        stories = [StoryLine(s.cause, s.probability, s.pro, s.contra) for s in told]
    weights = {s.name: s.weight for p in before.pools for s in p.servers}
    return Facts(
        engine=engine, mode=mode, seed=seed, harm=harm, stories=tuple(stories), clocks=clocks,
        actions=tuple(
            Action(round(a.at - began, 2), a.plan, a.what, a.because, a.undone_at is not None)
            for i in relevant for a in i.actions
        ),
        changed_weights=tuple(
            s.name for p in after.pools for s in p.servers if weights.get(s.name, s.weight) != s.weight
        ),
    )  # fmt: skip
