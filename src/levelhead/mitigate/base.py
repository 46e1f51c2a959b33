"""Plans and refusals: what could be done about a story, step by step, each with its undo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from levelhead.diagnose.base import Case, Story
from levelhead.model import Fleet, Revision


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
    """Steps in order; every prefix is safe to stop at. `restores` is the revision that a roll-back returns to."""

    name: str
    pool: str
    cause: str
    steps: tuple[Step, ...]
    because: str
    restores: int | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Nothing is done, and why: whole sentences."""

    reasons: tuple[str, ...]

    @property
    def sentence(self) -> str:
        return "; ".join(self.reasons)


@dataclass(frozen=True, slots=True)
class Mitigation:
    """A way to help, the causes it treats, and the function that makes its plan."""

    name: str
    treats: frozenset[str]
    draft: Callable[[Situation, Story], Plan | Refusal]
