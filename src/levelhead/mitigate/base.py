"""Plans and refusals: what could be done about a story, step by step, each with its undo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from levelhead.detect.base import Kind
from levelhead.diagnose.base import Case, Story
from levelhead.model import Fleet, Pool, Revision


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a plan may look at. `good` is the last revision known to have served well, if any.

    `current` is the number of the revision in force; `forced` names a change that a person insisted on, which no
    plan may take back by itself.
    """

    fleet: Fleet
    case: Case
    good: Revision | None
    current: int
    forced: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One move to a whole desired fleet, and the fleet that takes it back."""

    target: Fleet
    undo: Fleet
    sentence: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in order; every prefix is safe to stop at. `restores` is the revision that a roll-back returns to.

    `serves` are the requests per second that must still be served well, where a plan refuses others.
    """

    name: str
    pool: str
    cause: str
    steps: tuple[Step, ...]
    because: str
    restores: int | None = None
    serves: float = 0.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Nothing is done, and why: whole sentences. `question` is what to ask a person, who can do more."""

    reasons: tuple[str, ...]
    question: str = ""

    @property
    def sentence(self) -> str:
        return "; ".join(self.reasons)


@dataclass(frozen=True, slots=True)
class Mitigation:
    """A way to help, the causes it treats, and the function that makes its plan.

    `eases` are the signals that must be gone for it to have helped. Some trouble can only be made smaller: `enough` is
    then the part of the harm that may be left.
    """

    name: str
    treats: frozenset[str]
    eases: frozenset[Kind]
    draft: Callable[[Situation, Story], Plan | Refusal]
    enough: float = 0.0


def one_step(name: str, situation: Situation, story: Story, target: Fleet, text: str) -> Plan:
    """The plan that goes to `target` at once, for the reason that the story gives."""
    reason = story.pro[0] if story.pro else "no evidence"
    because = f"{story.cause} at {story.probability:.0%}: {reason}"
    return Plan(name, situation.case.pool.name, story.cause, (Step(target, situation.fleet, text),), because)


def with_pool(fleet: Fleet, pool: Pool) -> Fleet:
    """The fleet with this pool in the place of the one of its name."""
    return replace(fleet, pools=tuple(pool if p.name == pool.name else p for p in fleet.pools))
