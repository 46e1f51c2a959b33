"""The case, its evidence, and the stories that could explain it.

A cause is a function from the case to an `Account`: log-likelihood ratios, each with the sentence that a person would
say for it. What has no evidence either way contributes nothing: unknown is not evidence.
"""

from __future__ import annotations

from dataclasses import dataclass

from levelhead.detect.base import Kind, Signal
from levelhead.detect.memory import Past
from levelhead.model import Pool
from levelhead.telemetry import Floats


@dataclass(frozen=True, slots=True)
class ShareChange:
    """The last change of configuration that moved shares in this pool."""

    revision: int
    author: str
    at: float
    server: str
    share_before: float
    share_after: float


@dataclass(frozen=True, slots=True)
class Shipped:
    """The last change of this pool's configuration: who made it, when, and what it touched."""

    revision: int
    author: str
    at: float
    touched: frozenset[str]  # weights, members, admin, policy, check, limits, other


@dataclass(frozen=True, slots=True)
class Case:
    """What is known about one pool now. Arrays have one entry per server, in the order of `servers`.

    Shares are of the last seconds; `weight` is what the engine says is in force. Rates are per second. `changed` is
    the last change that moved shares within the last minutes, if any.
    """

    pool: Pool
    at: float
    servers: tuple[str, ...]
    signals: tuple[Signal, ...]
    intended: Floats
    predicted: Floats
    observed: Floats
    requests: float
    weight: Floats
    failing: frozenset[str]  # servers whose check fails
    unserving: frozenset[str]  # servers that cannot be chosen now: drained, taken out, or failing their check
    failure_ratio: Floats
    unconnected: Floats  # the part of those failures that never got an answer out of the server
    in_flight: Floats
    rate: float
    forecast: float
    harmed_ratio: float
    changed: ShareChange | None
    away: frozenset[str] = frozenset()  # servers that were taken out, or left without weight
    drained: frozenset[str] = frozenset()  # those of them that Levelhead took out, as the revisions at hand tell
    shipped: Shipped | None = None
    connections: float = float("inf")  # that the listeners of this pool let in at a time
    queued: float = 0.0
    connection_age_s: float = float("nan")  # how old those to its servers are, where they are counted
    # Requests that each server was given in the last look, where there was one, and how many attempts failed in it.
    latest: Floats | None = None
    latest_failed: Floats | None = None
    past: Past | None = None

    def about(self, *kinds: Kind) -> tuple[Signal, ...]:
        return tuple(s for s in self.signals if s.kind in kinds)

    def accused(self, *kinds: Kind) -> frozenset[str]:
        return frozenset(s.server for s in self.about(*kinds) if s.server)

    def index(self, server: str) -> int:
        return self.servers.index(server)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a question about a case comes to: a word, and the sentence that says it with numbers."""

    word: str
    sentence: str = ""


UNKNOWN = Answer("unknown")


@dataclass(frozen=True, slots=True)
class Clue:
    """One piece of evidence: nats for the cause (negative: against it), and the sentence."""

    nats: float
    sentence: str


@dataclass(frozen=True, slots=True)
class Account:
    """What a cause makes of a case: its prior in nats, its clues, and whom it accuses."""

    prior: float
    clues: tuple[Clue, ...]
    servers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Story:
    """A cause with its probability and its evidence for and against, strongest first."""

    cause: str
    probability: float
    pro: tuple[str, ...]
    contra: tuple[str, ...]
    servers: tuple[str, ...] = ()

    @property
    def refuted(self) -> bool:
        """Looked at and ruled out: there is evidence against it, and little chance left."""
        return self.probability < 0.05 and bool(self.contra)


NONE_OF_THESE = "none-of-these"
