"""What a rule is, what it looks at and what it says: one function per language that the rule is for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from levelhead.engines.envoy import picture as envoy
from levelhead.engines.haproxy import picture as haproxy
from levelhead.engines.nginx import picture as nginx
from levelhead.model import Fleet, Origin

Severity = Literal["error", "warning", "info"]
Language = Literal["haproxy", "nginx", "envoy", "levelhead"]
Version = tuple[int, ...]

R = TypeVar("R")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a configuration cannot say. None is unknown, and a rule that needs it is silent then.

    Rates are requests per second, sizes mebibytes. `pool_peak_rps` (by pool) goes before `peak_rps`, which is that of
    a pool alone; `capacity_rps` (by server, or pool/server) goes before `server_rps`. `server_in_flight` is what one
    server can work on at a time, `peak_in_flight` what a pool has at the peak. `balancers` is how many of this proxy
    run side by side; `behind_proxy` whether clients come through another proxy or CDN; `outer_timeout_s` what waits
    before us; `server_idle_s` after what time the servers close idle connections; `zones` is server to zone.
    `age_days` says how long a line has been as it is (git blame), by `file:line`, or by `line` of the only file.
    """

    peak_rps: float | None = None
    pool_peak_rps: Mapping[str, float] = field(default_factory=dict)
    server_rps: float | None = None
    capacity_rps: Mapping[str, float] = field(default_factory=dict)
    peak_in_flight: int | None = None
    server_in_flight: int | None = None
    max_servers: int | None = None
    clients: int | None = None
    behind_proxy: bool | None = None
    balancers: int | None = None
    cores: int | None = None
    memory_mib: float | None = None
    outer_timeout_s: float | None = None
    server_idle_s: float | None = None
    zones: Mapping[str, str] = field(default_factory=dict)
    age_days: Mapping[str, float] = field(default_factory=dict)

    def peak(self, pool: str) -> float | None:
        """Requests per second of this pool at its peak."""
        return self.pool_peak_rps.get(pool, self.peak_rps)

    def capacity(self, pool: str, server: str) -> float | None:
        """Requests per second that this server bears."""
        return self.capacity_rps.get(f"{pool}/{server}", self.capacity_rps.get(server, self.server_rps))

    def age(self, origin: Origin) -> float | None:
        """For how many days the line of this place has been as it is."""
        return self.age_days.get(f"{origin.file}:{origin.line}", self.age_days.get(str(origin.line)))


@dataclass(frozen=True, slots=True)
class Config(Generic[R]):
    """One configuration under review: its texts by name, the picture its reader made, and the fleet that amounts to.

    For levelhead.yaml the picture is the fleet itself. `version` is that of the engine it is for, `base` the same
    configuration before the change under review, None where nobody said what it was.
    """

    language: Language
    files: Mapping[str, str]
    reading: R
    fleet: Fleet
    version: Version
    facts: Facts = Facts()
    base: Config[R] | None = None
    _views: dict[object, tuple[Any, ...]] = field(default_factory=dict, init=False, compare=False, repr=False)

    def view(self, made: Callable[[R], Iterable[V]]) -> tuple[V, ...]:
        """What this makes of the picture, made once: many rules look at the same pools."""
        if made not in self._views:
            self._views[made] = tuple(made(self.reading))
        return self._views[made]


@dataclass(frozen=True, slots=True)
class Trouble:
    """What a rule says of one place: a sentence with the numbers of this file and without its full stop.

    `fix` is given where this place wants other words than the rule's own.
    """

    origin: Origin
    message: str
    pool: str = ""
    server: str = ""
    fix: str = ""


Judge = Callable[[Config[R]], Iterator[Trouble]]


@dataclass(frozen=True, slots=True)
class Rule:
    """A mistake that can be seen in a configuration, and how each language shows it; None where it has no such thing.

    `summary` completes "finds ..." in one line; `fix` says what to do about it, in the imperative.
    """

    code: str
    name: str
    severity: Severity
    summary: str
    fix: str
    haproxy: Judge[haproxy.Reading] | None = None
    nginx: Judge[nginx.Reading] | None = None
    envoy: Judge[envoy.Reading] | None = None
    levelhead: Judge[Fleet] | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One trouble with the rule that found it."""

    code: str
    rule: str
    severity: Severity
    language: Language
    origin: Origin
    message: str
    fix: str
    pool: str = ""
    server: str = ""
