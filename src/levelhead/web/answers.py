"""What the API gives: frozen dataclasses, each with the name and version of its schema. Light, for clients too."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from levelhead.model import Fleet
from levelhead.plane.status import Answer, Status


@dataclass(frozen=True)
class Marked:
    """What every answer has: the name and version of its schema, first of all."""

    schema: str = field(kw_only=True)


@dataclass(frozen=True)
class StatusAnswer(Status, Marked):
    """The whole picture of the plane, see `plane.status.Status`."""

    schema: Literal["levelhead/status/1"] = field(default="levelhead/status/1", kw_only=True)


@dataclass(frozen=True, slots=True)
class RevisionRow:
    """One revision without its fleet; `good` when it is known to have served well."""

    number: int
    author: str
    at: float
    why: str
    good: bool
    in_force: bool
    from_file: bool


@dataclass(frozen=True)
class RevisionsAnswer(Marked):
    """Revisions, newest first."""

    revisions: tuple[RevisionRow, ...]
    schema: Literal["levelhead/revisions/1"] = field(default="levelhead/revisions/1", kw_only=True)


@dataclass(frozen=True)
class RevisionAnswer(Marked):
    """One revision: what it changed, the text it came from ("" where there is none), and the whole fleet."""

    revision: RevisionRow
    changes: tuple[str, ...]
    source: str
    fleet: Fleet
    schema: Literal["levelhead/revision/1"] = field(default="levelhead/revision/1", kw_only=True)


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """One incident in a list; times in Unix seconds, `closed_at` None while it is open."""

    id: str
    pool: str
    opened_at: float
    closed_at: float | None
    phase: str
    title: str


@dataclass(frozen=True)
class IncidentsAnswer(Marked):
    """Incidents, newest first."""

    incidents: tuple[IncidentRow, ...]
    schema: Literal["levelhead/incidents/1"] = field(default="levelhead/incidents/1", kw_only=True)


@dataclass(frozen=True)
class OrderAnswer(Answer, Marked):
    """What became of an order: accepted with the revision it made, or refused with the objections."""

    schema: Literal["levelhead/answer/1"] = field(default="levelhead/answer/1", kw_only=True)


@dataclass(frozen=True)
class HealthAnswer(Marked):
    """Whether the plane sees its proxy now, and if not, why."""

    ok: bool
    text: str
    version: str
    schema: Literal["levelhead/health/1"] = field(default="levelhead/health/1", kw_only=True)


@dataclass(frozen=True)
class ErrorAnswer(Marked):
    """What failed, where (line and column count from 1, 0 is unknown), and what to do next."""

    error: str
    next: str = ""
    file: str = ""
    line: int = 0
    column: int = 0
    schema: Literal["levelhead/error/1"] = field(default="levelhead/error/1", kw_only=True)
