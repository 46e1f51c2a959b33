"""An incident as a record that grows: its phases are a table, and every entry says who did what, when and why.

    investigating --identified--> identified --acted--> mitigating --verified--> monitoring --resolved--> resolved
         |                            ^                     |                        |
         |                            +-----failed----------+                        |
         +--------------calmed-------------------------------------------------------+   (and back by `worsened`)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import groupby
from typing import Final, Literal

from levelhead.diagnose.base import Story


class Phase(Enum):
    INVESTIGATING = "investigating"  # a symptom, no cause yet
    IDENTIFIED = "identified"  # a likely cause
    MITIGATING = "mitigating"  # something was done; its effect is being measured
    MONITORING = "monitoring"  # users are well; watching that it stays so
    RESOLVED = "resolved"


Move = Literal["identified", "acted", "verified", "failed", "calmed", "worsened", "resolved"]

# Every move that is allowed. Anything else is a bug and raises KeyError.
TRANSITIONS: dict[tuple[Phase, Move], Phase] = {
    (Phase.INVESTIGATING, "identified"): Phase.IDENTIFIED,
    (Phase.INVESTIGATING, "acted"): Phase.MITIGATING,
    (Phase.INVESTIGATING, "calmed"): Phase.MONITORING,
    (Phase.INVESTIGATING, "resolved"): Phase.RESOLVED,
    (Phase.IDENTIFIED, "identified"): Phase.IDENTIFIED,
    (Phase.IDENTIFIED, "acted"): Phase.MITIGATING,
    (Phase.IDENTIFIED, "calmed"): Phase.MONITORING,
    (Phase.IDENTIFIED, "resolved"): Phase.RESOLVED,
    (Phase.MITIGATING, "identified"): Phase.MITIGATING,
    (Phase.MITIGATING, "acted"): Phase.MITIGATING,
    (Phase.MITIGATING, "verified"): Phase.MONITORING,
    (Phase.MITIGATING, "calmed"): Phase.MONITORING,
    (Phase.MITIGATING, "failed"): Phase.IDENTIFIED,
    (Phase.MITIGATING, "resolved"): Phase.RESOLVED,
    (Phase.MONITORING, "worsened"): Phase.INVESTIGATING,
    (Phase.MONITORING, "acted"): Phase.MITIGATING,
    (Phase.MONITORING, "resolved"): Phase.RESOLVED,
}

EntryKind = Literal[
    "symptom", "change", "story", "refuted", "plan", "refusal", "action", "effect", "undo", "note", "acknowledgement",
    "phase", "notice", "resolution", "engine",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the timeline. `at` is Unix seconds; `who` is "levelhead" or a person."""

    at: float
    kind: EntryKind
    who: str
    text: str


@dataclass(frozen=True, slots=True)
class Action:
    """Something done to traffic: by whom, why, and what it was measured to do; `undone_at` if it was taken back."""

    at: float
    who: str
    what: str
    because: str
    plan: str = ""
    effect: str = ""
    undone_at: float | None = None


@dataclass(frozen=True, slots=True)
class Harm:
    """What users suffered. Users are counted from sampled requests; `sampled` is the lowest sampling ratio used."""

    requests: int = 0
    requests_harmed: int = 0
    users: int = 0
    users_harmed: int = 0
    sampled: float = 1.0

    @property
    def users_ratio(self) -> float:
        return self.users_harmed / self.users if self.users else 0.0

    @property
    def requests_ratio(self) -> float:
        return self.requests_harmed / self.requests if self.requests else 0.0


@dataclass(frozen=True, slots=True)
class Clocks:
    """When each thing happened, Unix seconds; None is not (yet)."""

    fault: float
    detected: float
    diagnosed: float | None = None
    acted: float | None = None
    recovered: float | None = None
    resolved: float | None = None


@dataclass(frozen=True, slots=True)
class Incident:
    """The whole record. `stories` are the latest ones; `refuted` are those that were looked at and ruled out."""

    id: str
    pool: str
    title: str
    phase: Phase
    clocks: Clocks
    harm: Harm = Harm()
    entries: tuple[Entry, ...] = ()
    stories: tuple[Story, ...] = ()
    refuted: tuple[Story, ...] = ()
    actions: tuple[Action, ...] = ()
    acknowledged_by: str | None = None
    resolution: str = ""
    tasks: tuple[str, ...] = field(default=())

    @property
    def open(self) -> bool:
        return self.phase is not Phase.RESOLVED

    @property
    def cause(self) -> str:
        return self.stories[0].cause if self.stories else ""


def moved(incident: Incident, move: Move) -> Incident:
    """The incident in its next phase; KeyError for a move that the table does not know."""
    return replace(incident, phase=TRANSITIONS[incident.phase, move])


def may(incident: Incident, move: Move) -> bool:
    return (incident.phase, move) in TRANSITIONS


def written(incident: Incident, at: float, kind: EntryKind, text: str, who: str = "levelhead") -> Incident:
    """The incident with one more line in its timeline."""
    return replace(incident, entries=(*incident.entries, Entry(at, kind, who, text)))


# What people blame first when users suffer: that it was something else is worth a line.
FIRST_BLAMED: Final = "traffic-surge"
# A story that is ruled out and less likely than this is one of many.
REMOTE: Final = 0.01


def cause_of(entry: Entry) -> str:
    """The cause that a story's or a refutation's line begins with."""
    return entry.text.split(" ", 1)[0].rstrip(":")


def remote(incident: Incident, notable: Iterable[str] = ()) -> frozenset[str]:
    """Causes that were ruled out and were never likely, nor blamed, nor `notable`: a reader is told how many."""
    told = {cause_of(entry) for entry in incident.entries if entry.kind == "story"}
    unlikely = {story.cause for story in incident.refuted if story.probability < REMOTE}
    return frozenset(unlikely - told - {FIRST_BLAMED, *notable})


def folded(entries: Iterable[Entry], causes: frozenset[str], where: str) -> tuple[Entry, ...]:
    """The timeline for a reader: of refutations in a row those of `causes` are one line, the rest stands as it is.

    `where` says where the reasons are to be found.
    """
    shown: list[Entry] = []
    for refuted, row in groupby(entries, key=lambda entry: entry.kind == "refuted"):
        lines = list(row)
        others = [entry for entry in lines if refuted and cause_of(entry) in causes]
        if len(others) < 2:
            shown += lines
            continue
        shown += [entry for entry in lines if entry not in others]
        shown.append(replace(others[-1], text=f"{len(others)} other causes ruled out ({where})"))
    return tuple(shown)
