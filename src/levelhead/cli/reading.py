"""Reads incidents and revisions from a running plane, or from the record it left when none is running."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, cast
from urllib.parse import quote

from levelhead.cli import instances
from levelhead.cli.base import Call, talk
from levelhead.cli.client import Client
from levelhead.errors import UnreachableError, UsageError
from levelhead.web.answers import IncidentsAnswer, RevisionAnswer, RevisionsAnswer
from levelhead.web.records import IncidentAnswer


class Reader(Protocol):
    """What can be read of a plane, living or not. UsageError for an incident or a revision that is not there."""

    def incidents(self, limit: int) -> IncidentsAnswer: ...

    def incident(self, incident_id: str) -> IncidentAnswer: ...

    def postmortem(self, incident_id: str, zone: str) -> str: ...

    def revisions(self, limit: int) -> RevisionsAnswer: ...

    def revision(self, number: int) -> RevisionAnswer: ...


class LiveReader:
    """Reads from a running plane."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def incidents(self, limit: int) -> IncidentsAnswer:
        return self._client.get(f"/v1/incidents?limit={limit}", IncidentsAnswer)

    def incident(self, incident_id: str) -> IncidentAnswer:
        return self._client.get(at_incident(incident_id), IncidentAnswer)

    def postmortem(self, incident_id: str, zone: str) -> str:
        return self._client.text(f"{at_incident(incident_id)}/postmortem?zone={quote(zone, safe='')}")

    def revisions(self, limit: int) -> RevisionsAnswer:
        return self._client.get(f"/v1/revisions?limit={limit}", RevisionsAnswer)

    def revision(self, number: int) -> RevisionAnswer:
        return self._client.get(f"/v1/revisions/{number}", RevisionAnswer)


@contextmanager
def reading(call: Call) -> Iterator[Reader]:
    """The running plane, else its record; UnreachableError where there is neither, or more than one."""
    try:
        instance = instances.running(call.instance, os.environ)
    except UnreachableError:
        if instances.wished(call.instance, os.environ) is None and any(i.alive() for i in instances.known(os.environ)):
            raise
        instance = instances.remembered(call.instance, os.environ)
        talk(f"no control plane is running: this is the record of instance {instance.name}")
        with _stored(instance.database) as reader:
            yield reader
        return
    yield LiveReader(Client(instance.socket))


def at_incident(incident_id: str) -> str:
    """The API's path of an incident; UsageError for what cannot be the id of one."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", incident_id):
        raise UsageError(f"there is no incident {incident_id!r}", next_step="levelhead incident list")
    return f"/v1/incidents/{incident_id}"


@contextmanager
def _stored(database: Path) -> Iterator[Reader]:
    # The database's library takes longer to load than all the rest, and is only needed here: hence by name.
    opened = importlib.import_module("levelhead.cli.stored").opened
    with opened(database) as reader:
        yield cast(Reader, reader)
