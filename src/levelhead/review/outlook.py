"""What a configuration does to traffic, pool by pool: shares, the loss of a server, and when that is noticed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from levelhead import predict
from levelhead.model import Hash, Origin, OtherPolicy, Policy, Pool
from levelhead.predict import Kept, Survivors
from levelhead.review.languages import AnyConfig

# Each loss is a prediction of its own; of larger pools those of the largest shares are made.
MOST_LOSSES: Final = 50


@dataclass(frozen=True, slots=True)
class Lost:
    """The pool without one server: the largest share then, whose it is, the part of requests or keys that moves, and
    who then has more than it declared to bear. NaN where nobody can tell.
    """

    max_share: float
    largest: str
    moved: float
    overloaded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prospect:
    """One server: its share, by how much of itself that wobbles over 10,000 requests, the pool without it, and how
    long it keeps its requests once it is dead. `lost` is None where nobody reckoned it or nobody would be left.
    """

    server: str
    share: float
    noise: float
    lost: Lost | None
    kept: Kept


@dataclass(frozen=True, slots=True)
class Outlook:
    """One pool. Without `servers`, or with `unknown` ones, the file does not name them all."""

    pool: str
    policy: str
    servers: tuple[Prospect, ...]
    unknown: str
    origin: Origin


NOISE_REQUESTS: Final = 10_000


def outlook(config: AnyConfig) -> tuple[Outlook, ...]:
    """Every pool of a configuration, in its order."""
    return tuple(_outlook(pool, config.facts.peak(pool.name)) for pool in config.fleet.pools)


def _outlook(pool: Pool, rps: float | None) -> Outlook:
    shares = predict.predicted(pool).tolist()
    noise = predict.noise(pool, NOISE_REQUESTS).tolist()
    ranked = sorted(range(len(shares)), key=lambda at: -shares[at])[:MOST_LOSSES]
    names = {pool.servers[at].name for at in ranked if shares[at] > 0}
    losses = {left.lost: left for left in predict.every_loss(pool, names, rps=rps)} if len(pool.servers) > 1 else {}
    prospects = tuple(
        Prospect(
            server.name, shares[at], noise[at], _lost(pool, losses.get(server.name)),
            predict.kept_s(pool, "dead", server=server.name, rps=rps),
        )
        for at, server in enumerate(pool.servers)
    )  # fmt: skip
    return Outlook(pool.name, policy(pool.policy), prospects, pool.unknown, pool.origin)


def policy(how: Policy) -> str:
    """A policy in words: `round-robin`, `hash by source, consistent`."""
    match how:
        case Hash(on, name, consistent):
            return f"hash by {on}{f' {name}' if name else ''}{', consistent' if consistent else ''}"
        case OtherPolicy(name):
            return name
        case _:
            return how.kind


def _lost(pool: Pool, left: Survivors | None) -> Lost | None:
    if left is None or left.largest == 0:
        return None
    largest = pool.servers[int(left.shares.argmax())].name
    return Lost(left.largest, largest, left.moved, left.overloaded)
