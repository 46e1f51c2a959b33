"""What a simulated world is made of: servers, users, a proxy's habits; and what it tells about the users' luck."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from levelhead.errors import UsageError
from levelhead.telemetry import Floats, Ints

# 99 % of a standard normal lie below this; it turns (median, p99) into the sigma of a lognormal.
_Z99 = 2.3263478740408408


@dataclass(frozen=True, slots=True)
class Lognormal:
    """Service times with this median and 99th percentile, the usual shape of a web server's."""

    median_ms: float = 20.0
    p99_ms: float = 80.0

    def __post_init__(self) -> None:
        if not 0 < self.median_ms <= self.p99_ms:
            raise UsageError(
                f"service time: median {self.median_ms:g} ms, p99 {self.p99_ms:g} ms",
                next_step="give a median above 0 and a p99 that is not below it",
            )

    @property
    def sigma(self) -> float:
        return math.log(self.p99_ms / self.median_ms) / _Z99

    @property
    def mean_ms(self) -> float:
        return self.median_ms * math.exp(self.sigma**2 / 2)


@dataclass(frozen=True, slots=True)
class Exponential:
    """Memoryless service times, for which queueing theory has closed formulas."""

    mean_ms: float = 20.0


@dataclass(frozen=True, slots=True)
class Fixed:
    """Every request takes the same time."""

    mean_ms: float = 20.0


Service = Lognormal | Exponential | Fixed


@dataclass(frozen=True, slots=True)
class ServerModel:
    """A server: `workers` requests at a time, the others wait in line; `speed` 2 serves in half the time.

    `deep_check`: its health check waits in the same line as requests do (else it is answered beside them). A check of a
    path that does not begin with one of `health_paths` is not found there, and fails; with none it may ask for any.
    A server that comes back from `Down` is `cold_factor` times slower at first, falling evenly to 1 over `cold_s`.
    """

    workers: int = 8
    service: Service = Lognormal()
    speed: float = 1.0
    deep_check: bool = False
    health_paths: tuple[str, ...] = ()
    cold_factor: float = 1.0
    cold_s: float = 0.0

    def __post_init__(self) -> None:
        if self.workers < 0 or self.speed <= 0 or self.cold_factor <= 0:
            raise UsageError(
                f"server: {self.workers} workers, speed {self.speed:g}, cold factor {self.cold_factor:g}",
                next_step="give at least 0 workers, and a speed and a cold factor above 0",
            )

    @property
    def bearable_rps(self) -> float:
        """The rate above which its line grows without end, in requests per second."""
        return self.workers * self.speed / (self.service.mean_ms / 1000)


@dataclass(frozen=True, slots=True)
class Steady:
    """The same mean rate at all times."""


@dataclass(frozen=True, slots=True)
class Ramp:
    """The rate goes from 1 to `factor` times `rps`, evenly over `over_s` from `start_s` on, and stays there."""

    factor: float
    start_s: float
    over_s: float


@dataclass(frozen=True, slots=True)
class Diurnal:
    """The rate swings by `swing` (0.5 is plus and minus half) around `rps`, highest at `peak_s` of each period."""

    swing: float = 0.5
    period_s: float = 86_400.0
    peak_s: float = 43_200.0


@dataclass(frozen=True, slots=True)
class Bursts:
    """A Markov-modulated rate: `factor` times `rps` for a mean of `on_s`, `rps` for a mean of `off_s`, in turn."""

    factor: float = 3.0
    on_s: float = 5.0
    off_s: float = 30.0


Shape = Steady | Ramp | Diurnal | Bursts


@dataclass(frozen=True, slots=True)
class UserModel:
    """Open-loop users of one pool: they come at `rps` requests per second in the mean (Poisson), answered or not.

    `exponent`: the activity of the user of rank k is proportional to k^-exponent; 0 makes all alike.
    `session`: `cookie` users keep the pool's affinity cookie; `keepalive` users send everything over one connection,
    which stays at the server it was given to; `session_requests` is the mean number of requests until either is gone.
    `addresses`, `tenants`, `paths`: how many different source addresses, header values and paths there are (None: one
    per user); paths are drawn per request with `path_exponent`. `repeatable`: the share of requests (GET, HEAD,
    OPTIONS) that a proxy may send twice.
    """

    rps: float = 100.0
    count: int = 300
    exponent: float = 0.0
    shape: Shape = Steady()
    session: Literal["none", "cookie", "keepalive"] = "none"
    session_requests: float | None = None
    addresses: int | None = None
    tenants: int | None = None
    paths: int = 200
    path_exponent: float = 1.0
    repeatable: float = 1.0

    def __post_init__(self) -> None:
        if self.rps < 0 or self.count < 1 or self.paths < 1 or not 0 <= self.repeatable <= 1:
            raise UsageError(
                f"users: {self.count} users, {self.rps:g} requests/s, {self.paths} paths, repeatable {self.repeatable}",
                next_step="give at least one user and one path, a rate of 0 or more and a share between 0 and 1",
            )


@dataclass(frozen=True, slots=True)
class ProxyModel:
    """Habits of the proxy that the fleet does not state.

    `workers` that share no state each keep a round robin of their own: so many, or as many as the pool says.
    """

    workers: int = 1


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Answered requests in the order of their answers, as parallel columns.

    `planned_s` is when the user meant to send it (latency counts from there), `status` the HTTP status or -1 where
    the client got no answer.
    """

    planned_s: Floats
    user: Ints
    status: Ints
    latency_ms: Floats

    def __len__(self) -> int:
        return len(self.planned_s)


@dataclass(frozen=True, slots=True)
class Harm:
    """A pool's users so far: requests that came, those answered, how many of these were harmed (failed or slow).

    `users` are those with an answer, `harmed_users` those with a harmed one.
    """

    arrived: int
    requests: int
    harmed_requests: int
    users: int
    harmed_users: int
