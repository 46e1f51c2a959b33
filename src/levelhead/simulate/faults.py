"""What can happen to a simulated world: the closed union of faults.

`server` None means every server of the pool, `pool` None every pool that has such a server.
"""

from __future__ import annotations

from dataclasses import dataclass

from levelhead.errors import UsageError


@dataclass(frozen=True, slots=True)
class Down:
    """The process is gone: connections are refused, those that were open are reset."""

    server: str | None = None
    pool: str | None = None


@dataclass(frozen=True, slots=True)
class Up:
    """Everything that was done to the server is undone; if it was down it starts cold."""

    server: str | None = None
    pool: str | None = None


@dataclass(frozen=True, slots=True)
class Hang:
    """It answers nothing any more; with `accepts` False it does not even take connections (packets are lost)."""

    server: str | None = None
    pool: str | None = None
    accepts: bool = True


@dataclass(frozen=True, slots=True)
class Stall:
    """A pause of everything for `for_s` (garbage collection, a frozen host); then it goes on where it stopped."""

    for_s: float
    server: str | None = None
    pool: str | None = None

    def __post_init__(self) -> None:
        _require(self.for_s >= 0, "a stall lasts 0 s or more")


@dataclass(frozen=True, slots=True)
class Errors:
    """This share of requests gets `status`; `fast` answers them at once, without a worker."""

    ratio: float
    server: str | None = None
    pool: str | None = None
    fast: bool = False
    status: int = 500

    def __post_init__(self) -> None:
        _require(
            0 <= self.ratio <= 1 and 500 <= self.status <= 599,
            "errors have a ratio from 0 to 1 and a status from 500 to 599",
        )


@dataclass(frozen=True, slots=True)
class Slow:
    """Requests that start from now on take `factor` times as long, plus `add_ms`."""

    add_ms: float = 0.0
    factor: float = 1.0
    server: str | None = None
    pool: str | None = None

    def __post_init__(self) -> None:
        _require(self.add_ms >= 0 and self.factor > 0, "a slow server takes at least 0 ms more, by a factor above 0")


@dataclass(frozen=True, slots=True)
class Resets:
    """This share of connections is accepted and then reset."""

    ratio: float = 1.0
    server: str | None = None
    pool: str | None = None

    def __post_init__(self) -> None:
        _require(0 <= self.ratio <= 1, "resets have a ratio from 0 to 1")


@dataclass(frozen=True, slots=True)
class Capacity:
    """The server has this many workers from now on."""

    workers: int
    server: str | None = None
    pool: str | None = None

    def __post_init__(self) -> None:
        _require(self.workers >= 0, "a server has 0 workers or more")


@dataclass(frozen=True, slots=True)
class CheckLies:
    """The health check passes, whatever the server's state."""

    server: str | None = None
    pool: str | None = None


@dataclass(frozen=True, slots=True)
class CheckFails:
    """The health check fails, although the server may be well."""

    server: str | None = None
    pool: str | None = None


@dataclass(frozen=True, slots=True)
class CheckHonest:
    """The health check says how the server is, as it did before anything was done to it."""

    server: str | None = None
    pool: str | None = None


@dataclass(frozen=True, slots=True)
class CheckFlaps:
    """The health check fails for `period_s`, tells the truth for `period_s`, and so on."""

    period_s: float
    server: str | None = None
    pool: str | None = None

    def __post_init__(self) -> None:
        _require(self.period_s > 0, "a check flaps with a period above 0 s")


@dataclass(frozen=True, slots=True)
class Traffic:
    """Users send `factor` times their usual rate."""

    factor: float
    pool: str | None = None

    def __post_init__(self) -> None:
        _require(self.factor >= 0, "traffic has a factor of 0 or more")


@dataclass(frozen=True, slots=True)
class HotKey:
    """This share of requests has one key: one path under a hash of paths, one single user under any other hash.

    Other policies do not look at keys, and nothing changes.
    """

    share: float
    pool: str | None = None

    def __post_init__(self) -> None:
        _require(0 <= self.share <= 1, "a hot key has a share from 0 to 1")


@dataclass(frozen=True, slots=True)
class Behind:
    """From now on users come through something that has so few addresses: a NAT, a CDN, another balancer."""

    addresses: int
    pool: str | None = None

    def __post_init__(self) -> None:
        _require(self.addresses >= 1, "whatever users come through has at least one address")


@dataclass(frozen=True, slots=True)
class Poison:
    """A request that every server fails, sent `times` times at once, and again every `every_s`.

    The proxy tries it again on the next server, as far as its retries go, and blames each for it.
    """

    times: int = 1
    every_s: float = 3.0
    pool: str | None = None

    def __post_init__(self) -> None:
        _require(self.times >= 1 and self.every_s > 0, "poison comes at least once, every so many seconds above 0")


@dataclass(frozen=True, slots=True)
class Restart:
    """The proxy starts again: counters from 0 in a new epoch, health unknown to it.

    `graceful`: the old process finishes what it has; otherwise its clients get no answer.
    """

    graceful: bool = True


ServerFault = Down | Up | Hang | Stall | Errors | Slow | Resets | Capacity
CheckFault = CheckLies | CheckFails | CheckFlaps | CheckHonest
CrowdFault = Traffic | HotKey | Behind | Poison
Fault = ServerFault | CheckFault | CrowdFault | Restart


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise UsageError(f"this fault cannot be: {rule}", next_step="give a number within these bounds")
