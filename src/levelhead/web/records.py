"""The whole record of an incident as an answer, and how incidents and revisions become answers. For clients too."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo

from levelhead.errors import UsageError
from levelhead.incident import Incident
from levelhead.model import Fleet, Revision, differences, sentence
from levelhead.web.answers import (
    IncidentRow,
    IncidentsAnswer,
    Marked,
    RevisionAnswer,
    RevisionRow,
    RevisionsAnswer,
)

if TYPE_CHECKING:  # The store is slow to load, and clients that read records have no use for it.
    from levelhead.store import IncidentSummary


@dataclass(frozen=True)
class IncidentAnswer(Incident, Marked):
    """The whole record of an incident, see `incident.Incident`."""

    schema: Literal["levelhead/incident/1"] = field(default="levelhead/incident/1", kw_only=True)


def incident_answer(incident: Incident) -> IncidentAnswer:
    return IncidentAnswer(**{f.name: getattr(incident, f.name) for f in fields(incident)})


def incidents_answer(summaries: tuple[IncidentSummary, ...]) -> IncidentsAnswer:
    rows = (IncidentRow(s.id, s.pool, s.opened_at, s.closed_at, s.phase, s.title) for s in summaries)
    return IncidentsAnswer(tuple(rows))


def revisions_answer(revisions: tuple[tuple[Revision, bool], ...]) -> RevisionsAnswer:
    """Revisions come newest first, each with whether it is known to have served well."""
    return RevisionsAnswer(tuple(_row(revision, good, i == 0) for i, (revision, good) in enumerate(revisions)))


def revision_answer(number: int, revisions: tuple[tuple[Revision, bool], ...]) -> RevisionAnswer | None:
    """One of these revisions, with what it changed against the one before it; None where it is not among them."""
    at = next((i for i, (revision, _) in enumerate(revisions) if revision.number == number), None)
    if at is None:
        return None
    revision, good = revisions[at]
    before = revisions[at + 1][0].fleet if at + 1 < len(revisions) else None
    return RevisionAnswer(
        _row(revision, good, at == 0), _changes(before, revision.fleet), revision.source, revision.fleet
    )


def time_zone(name: str) -> tzinfo:
    """A time zone by its name; UsageError for one that this machine does not know."""
    if name.upper() in ("UTC", "Z"):
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise UsageError(f"there is no time zone {name!r}", next_step="write one such as UTC or Europe/Rome") from None


def _row(revision: Revision, good: bool, in_force: bool) -> RevisionRow:
    r = revision
    return RevisionRow(r.number, r.author, r.at, r.why, good, in_force, bool(r.source))


def _changes(before: Fleet | None, after: Fleet) -> tuple[str, ...]:
    if before is None:
        return ("the first revision on record",)
    found = tuple(sentence(change) for change in differences(before, after))
    if found:
        return found
    return ("nothing that the proxy need know",) if before != after else ("nothing",)
