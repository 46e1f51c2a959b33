"""What the control plane shows of itself: one frozen picture per request, for the CLI, the API and the live view.

Numbers that nobody knows are None, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """One server beside its four shares; rates per second, latencies from sampled requests of the last seconds."""

    name: str
    address: str
    weight: float | None
    ramp: float | None
    state: str  # ready, drain, maint, unknown
    health: str  # passing, failing, unchecked, unknown
    intended: float | None
    predicted: float | None
    observed: float | None
    bearable: float | None  # declared capacity as a share of the pool's traffic now
    borne: float | None  # the most it was seen to serve in calm, as such a share: it can bear at least this
    rate: float | None
    failure_ratio: float | None
    in_flight: float | None
    queued: float | None
    p50_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """One pool; `harmed_ratio` is the part of requests of the last seconds that failed or were late."""

    name: str
    policy: str
    intent: str
    mode: str
    rate: float | None
    forecast: float | None
    harmed_ratio: float | None
    p50_ms: float | None
    p99_ms: float | None
    servers: tuple[ServerStatus, ...]
    signals: tuple[str, ...]
    incident: str | None
    phase: str | None
    proposal: str | None  # the plan that waits for a person, in mode ask


@dataclass(frozen=True, slots=True)
class Status:
    """The whole picture. `age_s` is how old the newest sample is, None before the first one."""

    at: float
    because: str
    engine: str
    engine_alive: bool
    age_s: float | None
    revision: int
    revision_author: str
    revision_why: str
    good: int | None
    listeners: tuple[str, ...]
    pools: tuple[PoolStatus, ...]
    notes: tuple[str, ...] = ()  # what a person should know besides: a file that was refused, say


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of an order: accepted with the revision it made (if any), or refused with the objections."""

    accepted: bool
    text: str
    objections: tuple[str, ...] = ()
    revision: int | None = None
