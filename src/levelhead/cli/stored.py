"""Reads incidents and revisions from the database of a plane that is not running."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import TypeAdapter

from levelhead import postmortem
from levelhead.errors import UsageError
from levelhead.incident import Incident
from levelhead.model import Revision
from levelhead.store import Store
from levelhead.web.answers import IncidentsAnswer, RevisionAnswer, RevisionsAnswer
from levelhead.web.records import (
    IncidentAnswer,
    incident_answer,
    incidents_answer,
    revision_answer,
    revisions_answer,
    time_zone,
)

_MOST = 1000


class StoredReader:
    """The record in a database, as `reading.Reader`; nothing is written."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def incidents(self, limit: int) -> IncidentsAnswer:
        return incidents_answer(self._store.incidents(limit))

    def incident(self, incident_id: str) -> IncidentAnswer:
        return incident_answer(self._incident(incident_id))

    def postmortem(self, incident_id: str, zone: str) -> str:
        incident = self._incident(incident_id)
        last = self._store.last_revision()
        pool = last.fleet.pool(incident.pool) if last is not None else None
        return postmortem.markdown(incident, tz=time_zone(zone), slo=pool.slo if pool is not None else None)

    def revisions(self, limit: int) -> RevisionsAnswer:
        return revisions_answer(self._revisions(limit))

    def revision(self, number: int) -> RevisionAnswer:
        answer = revision_answer(number, self._revisions(_MOST))
        if answer is None:
            raise UsageError(f"there is no revision {number}", next_step="levelhead revision list")
        return answer

    def _incident(self, incident_id: str) -> Incident:
        try:
            return TypeAdapter(Incident).validate_json(self._store.incident(incident_id))
        except KeyError:
            raise UsageError(f"there is no incident {incident_id!r}", next_step="levelhead incident list") from None

    def _revisions(self, limit: int) -> tuple[tuple[Revision, bool], ...]:
        return tuple((revision, self._store.is_good(revision.number)) for revision in self._store.revisions(limit))


@contextmanager
def opened(database: Path) -> Iterator[StoredReader]:
    """The record in this database, which must exist."""
    with Store(database) as store:
        yield StoredReader(store)
