"""The face of the control plane that the API and the commands are written against."""

from __future__ import annotations

from typing import Protocol

from levelhead.control.base import Wish
from levelhead.incident import Incident
from levelhead.model import Revision
from levelhead.plane.status import Answer, Status
from levelhead.settings.targets import Target
from levelhead.store import IncidentSummary


class Face(Protocol):
    """What people and pages may ask of a running plane.

    `submit` hands a wish to the next tick and waits for what became of it (seconds at most); it raises the engine's
    error if the proxy could not do it. With `notify` these targets come into force with it. `revisions` are newest
    first, with the numbers of those known to have served well. `incident` raises KeyError for an unknown id.
    """

    async def submit(
        self, wish: Wish, *, who: str, why: str, force: str = "", notify: tuple[Target, ...] | None = None
    ) -> Answer: ...

    def status(self) -> Status: ...

    def revisions(self, limit: int) -> tuple[tuple[Revision, bool], ...]: ...

    def incidents(self, limit: int) -> tuple[IncidentSummary, ...]: ...

    def incident(self, incident_id: str) -> Incident: ...
