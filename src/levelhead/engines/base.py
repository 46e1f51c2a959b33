"""What every engine offers: a total, idempotent desired state in, samples and records out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from levelhead.model import Fleet
from levelhead.telemetry import Missing, Records, Sample


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do without a reload, and in what grain it works."""

    engine: str
    version: str
    live_weights: bool
    live_members: bool
    max_weight: int
    latency_unit_ms: float


@dataclass(frozen=True, slots=True)
class Applied:
    """How a desired state came into force: by which mechanism, how long it took, and why it was that mechanism."""

    mechanism: Literal["none", "runtime", "reload", "start", "adopt"]
    took_s: float
    because: str


class Engine(Protocol):
    """A data plane under one owner.

    `start` adopts a proxy that is already running from an earlier control plane, else starts one. `apply` takes the
    whole desired fleet, makes the smallest change that reaches it, and raises EngineRefused (the old state stays) or
    EngineError. `sample` never raises: what cannot be read is `Missing`, with the reason. `records` hands over the
    requests sampled since it was last called, with rows in the layout of the latest sample. `restart` brings a dead
    proxy back. `close(stop=False)` leaves the proxy serving.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    async def validate(self, fleet: Fleet) -> None: ...

    async def start(self, fleet: Fleet) -> Applied: ...

    async def apply(self, fleet: Fleet) -> Applied: ...

    async def sample(self) -> Sample | Missing: ...

    def records(self) -> Records: ...

    def alive(self) -> bool: ...

    async def restart(self) -> Applied: ...

    async def close(self, *, stop: bool) -> None: ...
