"""What a tick sees, what it remembers, and what it wants done: plain data between the thinking and the hands."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from levelhead.detect import Detection
from levelhead.detect.base import Kind, Signal
from levelhead.detect.learned import Learned
from levelhead.detect.memory import Memory
from levelhead.incident import Incident
from levelhead.mitigate.base import Plan
from levelhead.model import Change, Fleet, Revision
from levelhead.telemetry import NO_RECORDS, Floats, Layout, Missing, Records, Sample

LEVELHEAD = "levelhead"


# What a person may wish.


@dataclass(frozen=True, slots=True)
class Alter:
    """Change weights, states or members; the guard is asked first."""

    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Revise:
    """Ship a whole new configuration; `source` is its text, `against` what its review has against it, in sentences."""

    fleet: Fleet
    source: str
    against: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RollBack:
    """Return to a revision; None means the last one known to have served well."""

    to: int | None = None


@dataclass(frozen=True, slots=True)
class Acknowledge:
    incident: str


@dataclass(frozen=True, slots=True)
class Note:
    incident: str
    text: str


@dataclass(frozen=True, slots=True)
class Resolve:
    incident: str
    text: str


@dataclass(frozen=True, slots=True)
class Approve:
    """Let the plan that waits for a person (mode ask) go ahead."""

    incident: str


Wish = Alter | Revise | RollBack | Acknowledge | Note | Resolve | Approve


@dataclass(frozen=True, slots=True)
class Order:
    """A wish with its author and reason; `force` is the reason for passing over the guard's objections, or ""."""

    id: str
    at: float
    who: str
    why: str
    wish: Wish
    force: str = ""


# What comes in.


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a `Put`: the revision it made, or the error, and by which mechanism."""

    ticket: str
    revision: int | None
    text: str


@dataclass(frozen=True, slots=True)
class EngineEvent:
    """Something that happened to the proxy itself: it died, it was started again."""

    at: float
    text: str
    harmful: bool


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a notice about an incident."""

    incident: str
    at: float
    text: str


@dataclass(frozen=True, slots=True)
class View:
    """Everything one tick may look at. `at` is Unix seconds; `revisions` are the latest, the one in force last.

    `false_alarms_per_month` is the budget of each pool, from which all thresholds of detectors follow.
    `busy`: a change of the fleet is on its way. Of orders that change the fleet at most one is in a view, and none
    while it is busy.
    """

    at: float
    sample: Sample | Missing
    revisions: tuple[Revision, ...]
    records: Records = NO_RECORDS
    orders: tuple[Order, ...] = ()
    reports: tuple[Report, ...] = ()
    events: tuple[EngineEvent, ...] = ()
    notices: tuple[Sent, ...] = ()
    busy: bool = False
    false_alarms_per_month: float = 1.0

    @property
    def fleet(self) -> Fleet:
        return self.revisions[-1].fleet


# What is remembered.


@dataclass(frozen=True, slots=True)
class Glance:
    """What one tick showed of users: counts per pool, and the records."""

    at: float
    layout: Layout
    arrived: Floats
    errors_5xx: Floats
    records: Records


@dataclass(frozen=True, slots=True)
class Suffering:
    """Harm of one tick in one pool; clients as seen in records."""

    at: float
    arrived: float
    harmed: float
    clients: frozenset[str]
    clients_harmed: frozenset[str]
    sampled: float


@dataclass(frozen=True, slots=True)
class Doing:
    """A plan that was carried out and is being verified. `applied_at` is None until the engine has reported.

    `harmed` is the part of requests that were harmed before it. It is judged at `due`, which moves on while what waited
    before is being worked off: `most` is the largest backlog since it was looked at last.
    """

    plan: Plan
    ticket: str
    at: float
    action: int
    harmed: float
    applied_at: float | None = None
    due: float = math.inf
    most: float = 0.0


@dataclass(frozen=True, slots=True)
class Watch:
    """An action whose effect is still to be measured, the ticket of its `Put`, and how things stood before it."""

    action: int
    ticket: str
    due: float
    before: str


@dataclass(frozen=True, slots=True)
class PoolState:
    """What is remembered of one pool; `said` keeps a sentence from being written twice in an incident.

    `lately` is filled just before an incident opens, and empty at all other times.
    """

    incident: Incident | None = None
    doing: Doing | None = None
    proposal: Plan | None = None
    said: frozenset[str] = frozenset()
    tried: frozenset[str] = frozenset()
    calm_since: float | None = None
    hands_off_until: float = 0.0
    watching: tuple[Watch, ...] = ()
    lately: tuple[Suffering, ...] = ()
    users: frozenset[str] = frozenset()
    users_harmed: frozenset[str] = frozenset()
    forced: str = ""
    kept_at: float = 0.0
    turned_at: float = 0.0
    counted_at: float = 0.0  # on the engine's clock: harm until then is in the incident
    explained_at: float = 0.0
    explained_by: frozenset[tuple[Kind, str]] = frozenset()  # the signals that stood then


@dataclass(frozen=True, slots=True)
class State:
    """Everything control remembers between ticks."""

    detection: Detection | None = None
    learned: Learned | None = None  # by an earlier control plane, until the first look
    kept_at: float = 0.0  # when what is learnt was last kept
    memory: Memory | None = None
    sample: Sample | None = None
    signals: tuple[Signal, ...] = ()
    pools: tuple[tuple[str, PoolState], ...] = ()
    good: tuple[int, ...] = ()
    serving: int = 0
    serving_since: float = 0.0
    served: float = 0.0
    missing_since: float | None = None
    glances: tuple[Glance, ...] = ()  # of the last seconds
    next_incident: int = 1
    next_ticket: int = 1

    def pool(self, name: str) -> PoolState:
        return next((state for pool, state in self.pools if pool == name), PoolState())


# What is wanted.


@dataclass(frozen=True, slots=True)
class Put:
    """Bring this fleet into force as a new revision. `order` names the order it answers, "" for Levelhead's own."""

    ticket: str
    fleet: Fleet
    author: str
    why: str
    source: str = ""
    order: str = ""
    restores: int | None = None


@dataclass(frozen=True, slots=True)
class Keep:
    """Store this incident."""

    incident: Incident


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell people about an incident."""

    incident: Incident
    kind: Literal["opened", "changed", "closed"]
    text: str


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer an order that needs no change of the fleet, or that is refused."""

    order: str
    accepted: bool
    text: str
    objections: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MarkGood:
    """Remember that this revision has served well."""

    revision: int


@dataclass(frozen=True, slots=True)
class Remember:
    """Keep what the detectors learnt, for a control plane that starts later."""

    learned: Learned


Effect = Put | Keep | Tell | Reply | MarkGood | Remember


@dataclass(frozen=True, slots=True)
class Outcome:
    """The next state, what is to be done, and a sentence that says why: also when nothing is done."""

    state: State
    effects: tuple[Effect, ...]
    because: str
    signals: tuple[Signal, ...] = field(default=())
