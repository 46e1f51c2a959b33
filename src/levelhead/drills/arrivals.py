"""Who asks for what and when: the open-loop plan of a scenario's users, the same for the same seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from levelhead.drills.base import Scenario
from levelhead.drills.timeline import active
from levelhead.telemetry import Floats, Ints

# Requests are for one of so many paths; a hot key is the first of them.
KEYS = 1000
HOT_KEY = 0

_GRID_S = 0.01
_BURST_EVERY_S, _BURST_S, _BURST_FACTOR = 10.0, 1.0, 3.0


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Parallel columns, earliest first.

    `draw` is a standard normal number that fixes the request's service time on whichever server gets it
    (`Service.demand_ms`), so that two contenders with one seed are asked for the same work.
    """

    at_s: Floats
    user: Ints
    post: NDArray[np.bool_]
    key: Ints
    draw: Floats

    def __len__(self) -> int:
        return len(self.at_s)


def arrivals(scenario: Scenario, seed: int) -> Arrivals:
    """A Poisson process whose rate follows the users' shape and the traffic events; users differ in how busy they are.

    Each column has a random stream of its own: an event that changes one leaves the others as they were.
    """
    streams = [np.random.Generator(np.random.PCG64(s)) for s in np.random.SeedSequence(seed).spawn(7)]
    times, busyness, who, posts, keys, hot, draws = streams
    at_s = _times(scenario, times)
    n, count = len(at_s), scenario.users.count
    weight = busyness.lognormal(0.0, 0.6, count)
    user = np.searchsorted(np.cumsum(weight / weight.sum()), who.random(n))
    key = keys.integers(HOT_KEY + 1, KEYS, n)
    return Arrivals(
        at_s=at_s,
        user=np.minimum(user, count - 1).astype(np.int64),
        post=posts.random(n) < scenario.users.post_share,
        key=np.where(hot.random(n) < _hot_share(scenario, at_s), HOT_KEY, key).astype(np.int64),
        draw=draws.standard_normal(n),
    )


def rate(scenario: Scenario, at_s: float) -> float:
    """Planned requests per second at a time, as one event or none makes it."""
    event = active(scenario, "traffic", at_s)
    factor = event.traffic.factor if event is not None and event.traffic is not None else 1.0
    return scenario.users.rps * _shape(scenario, at_s) * factor


def path_of(key: int) -> str:
    return f"/item/{key}"


def user_address(user: int) -> str:
    """The loopback address that a user's connections come from; users are told apart by it."""
    number = user + 1
    return f"127.1.{number >> 8}.{number & 255}"


def _times(scenario: Scenario, random: np.random.Generator) -> Floats:
    """Arrival times by running a unit Poisson process on the scale of the expected number of requests."""
    edges = [t for e in scenario.events for t in (e.at_s, e.until_s) if t is not None and t < scenario.duration_s]
    grid = np.unique(np.concatenate([np.arange(0.0, scenario.duration_s, _GRID_S), edges, [scenario.duration_s]]))
    middles = (grid[1:] + grid[:-1]) / 2
    rates = np.asarray([rate(scenario, float(t)) for t in middles])
    expected = np.concatenate([[0.0], np.cumsum(rates * np.diff(grid))])
    total = float(expected[-1])
    unit = np.zeros(0)
    while not len(unit) or unit[-1] < total:
        gaps = random.standard_exponential(int(total - (unit[-1] if len(unit) else 0.0)) + 64)
        unit = np.concatenate([unit, (unit[-1] if len(unit) else 0.0) + np.cumsum(gaps)])
    return np.asarray(np.interp(unit[unit < total], expected, grid), dtype=np.float64)


def _hot_share(scenario: Scenario, at_s: Floats) -> Floats:
    share = np.zeros(len(at_s))
    for event in sorted(scenario.events, key=lambda e: e.at_s):
        if event.hot_key is not None:
            end = scenario.duration_s if event.until_s is None else event.until_s
            share[(at_s >= event.at_s) & (at_s < end)] = event.hot_key.share
    return share


def _shape(scenario: Scenario, at_s: float) -> float:
    """The form of the day; its mean over the drill (over whole bursts) is 1."""
    phase = at_s / scenario.duration_s
    shape = scenario.users.shape
    match shape:
        case "steady":
            return 1.0
        case "ramp":
            return 0.5 + phase
        case "diurnal":
            return 1.0 - 0.5 * float(np.cos(2 * np.pi * phase))
        case "burst":
            mean = 1.0 + (_BURST_FACTOR - 1.0) * _BURST_S / _BURST_EVERY_S
            # The burst stands at the end of its period, so that the first seconds are quiet.
            bursting = at_s % _BURST_EVERY_S >= _BURST_EVERY_S - _BURST_S
            return (_BURST_FACTOR if bursting else 1.0) / mean
        case _:
            assert_never(shape)
