"""What happens when in a scenario: its events in order, and those that are made of others as their parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from levelhead.drills.base import Event, Restart, Scenario, ServerFault

# A server is back for so long before its new version shows what it is like.
_BACK_S = 0.01


@dataclass(frozen=True, slots=True)
class Moment:
    """An event that begins, or is over."""

    at_s: float
    event: Event
    begins: bool


def moments(scenario: Scenario) -> tuple[Moment, ...]:
    """What happens when, earliest first; an event that lasts beyond the drill has no end.

    A deploy and the trouble of a zone are told as what happens to each of their servers.
    """
    parts = [part for event in scenario.events for part in _parts(scenario, event) if part.at_s < scenario.duration_s]
    begins = [Moment(e.at_s, e, True) for e in parts]
    ends = [Moment(e.until_s, e, False) for e in parts if e.until_s is not None and e.until_s < scenario.duration_s]
    return tuple(sorted(begins + ends, key=lambda m: (m.at_s, m.begins)))


def fault_s(scenario: Scenario) -> float | None:
    """When the first thing goes wrong; None if nothing does."""
    return min((e.at_s for e in scenario.events), default=None)


def active(scenario: Scenario, kind: str, at_s: float) -> Event | None:
    """The event of that kind in force at a time; of several the one that began last."""
    found = [
        e for e in scenario.events if e.chosen == kind and e.at_s <= at_s and (e.until_s is None or at_s < e.until_s)
    ]
    return max(found, key=lambda e: e.at_s, default=None)


def _parts(scenario: Scenario, event: Event) -> Iterator[Event]:
    """The event itself, or the events of single servers that it is made of."""
    servers = scenario.pool.servers
    if (zone := event.zone) is not None:
        for name in (name for name, spec in servers.items() if spec.zone == zone.name):
            fault = ServerFault(name=name, down=zone.down, slow_ms=zone.slow_ms)
            yield Event(at_s=event.at_s, until_s=event.until_s, server=fault)
    elif (deploy := event.deploy) is not None:
        for i, name in enumerate(servers):
            at_s = event.at_s + i * deploy.every_s
            yield Event(at_s=at_s, restart=Restart(name=name, down_s=deploy.down_s))
            back_s = at_s + deploy.down_s + _BACK_S
            if deploy.slow_ms is not None:
                yield Event(at_s=back_s, server=ServerFault(name=name, slow_ms=deploy.slow_ms))
            if deploy.errors is not None:
                yield Event(at_s=back_s, server=ServerFault(name=name, errors=deploy.errors))
    else:
        yield event
