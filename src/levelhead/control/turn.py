"""One pool's turn in a tick: its state and the effects wanted so far, as a value that every decision returns anew."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from levelhead.control.base import LEVELHEAD, Effect, PoolState
from levelhead.diagnose.base import Case
from levelhead.incident import Action, EntryKind, Incident, Move, moved, written
from levelhead.mitigate.base import Situation


@dataclass(frozen=True, slots=True)
class Turn:
    """`tickets` and `incidents` are the next free numbers; `at` is Unix seconds.

    `busy`: a change of the fleet is on its way, and another must wait for it.
    """

    state: PoolState
    situation: Situation
    at: float
    tickets: int
    incidents: int
    busy: bool = False
    effects: tuple[Effect, ...] = ()

    @property
    def case(self) -> Case:
        return self.situation.case

    @property
    def incident(self) -> Incident:
        """The open incident; only asked for where one is open."""
        if self.state.incident is None:
            raise ValueError("no incident is open in this pool")
        return self.state.incident

    def having(self, incident: Incident) -> Turn:
        return replace(self, state=replace(self.state, incident=incident))

    def remembering(self, state: PoolState) -> Turn:
        return replace(self, state=state)

    def wanting(self, *effects: Effect) -> Turn:
        return replace(self, effects=self.effects + effects)

    def writing(self, kind: EntryKind, text: str, who: str = LEVELHEAD) -> Turn:
        return self.having(written(self.incident, self.at, kind, text, who))

    def writing_once(self, kind: EntryKind, text: str, key: str = "") -> Turn:
        """Writes it unless the same key (or text) was written in this incident before."""
        key = key or text
        if key in self.state.said or text in self.state.said:
            return self
        return self.remembering(replace(self.state, said=self.state.said | {key})).writing(kind, text)

    def moving(self, move: Move) -> Turn:
        return self.having(moved(self.incident, move))

    def acting(self, action: Action) -> Turn:
        return self.having(replace(self.incident, actions=(*self.incident.actions, action)))

    def amending(self, index: int, effect: str | None = None, undone_at: float | None = None) -> Turn:
        """The same with one action's measured effect or undoing filled in."""
        actions = list(self.incident.actions)
        old = actions[index]
        actions[index] = replace(
            old, effect=old.effect if effect is None else effect,
            undone_at=old.undone_at if undone_at is None else undone_at,
        )  # fmt: skip
        return self.having(replace(self.incident, actions=tuple(actions)))


def standing(case: Case) -> str:
    """How users and shares stand now, in half a sentence."""
    harmed = f"{case.harmed_ratio:.1%} of requests harmed"
    if np.isnan(case.observed).any() or not case.servers:
        return harmed
    top = int(np.argmax(case.observed))
    return f"{harmed}, largest share {case.observed[top]:.0%} ({case.servers[top]})"
