"""Which servers of a pool get requests at all: priorities, backups, panic, zones, slow start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from levelhead.model import Admin, Pool, RandomPick, RoundRobin, Server
from levelhead.telemetry import Flags, Floats

NOBODY: Final[frozenset[str]] = frozenset()
NO_TIMES: Final[Mapping[str, float]] = {}

# Envoy never lets a starting server have less than this part of its weight (min_weight_percent's default).
_ENVOY_LEAST: Final = 0.1


@dataclass(frozen=True, slots=True)
class Group:
    """Servers among which the policy chooses: `part` of all requests is theirs.

    `weights` has an entry per server of the pool, 0 for those outside the group. The weight of a zone is in them.
    """

    part: float
    weights: Floats

    @property
    def members(self) -> tuple[int, ...]:
        return tuple(np.flatnonzero(self.weights > 0).tolist())


def groups(pool: Pool, down: frozenset[str] = NOBODY, up_s: Mapping[str, float] = NO_TIMES) -> tuple[Group, ...]:
    """Who shares which part of the requests; empty where nobody can serve.

    `down` are servers that the engine holds unfit, `up_s` since how many seconds servers are up that came back.
    """
    weights = _weights(pool, up_s)
    fit = np.asarray([_fit(server) and server.name not in down for server in pool.servers], dtype=np.bool_)
    if pool.reserves.kind == "spill":
        return _spilled(pool, fit, weights)
    first = np.asarray([server.priority == 0 for server in pool.servers], dtype=np.bool_)
    serving = fit & first & (weights > 0)
    if not serving.any():
        serving = fit & ~first & (weights > 0)
        if pool.reserves.kind == "first" and serving.any():
            serving = np.arange(len(serving)) == int(np.argmax(serving))
    if not serving.any():
        return ()
    return (Group(1.0, np.where(serving, weights, 0.0)),)


def _fit(server: Server) -> bool:
    return server.admin is Admin.READY


def _weights(pool: Pool, up_s: Mapping[str, float]) -> Floats:
    if isinstance(pool.policy, RandomPick) and not pool.policy.by_weight:
        return np.ones(len(pool.servers))
    return np.asarray([s.weight * _ramp(pool, s, up_s.get(s.name)) for s in pool.servers], dtype=np.float64)


def _ramp(pool: Pool, server: Server, up_s: float | None) -> float:
    """The part of its weight that a server has which came back `up_s` ago.

    HAProxy grows it evenly, in steps of a sixteenth (server_recalc_eweight), but not under policies with fixed
    weights; Envoy grows it evenly from a tenth on (slow_start_config with aggression 1).
    """
    window = pool.slow_start_s if server.slow_start_s is None else server.slow_start_s
    fixed = isinstance(pool.policy, RoundRobin) and pool.policy.fixed
    if up_s is None or window <= 0 or up_s >= window or fixed:
        return 1.0
    grown = max(up_s, 0.0) / window
    return max(grown, _ENVOY_LEAST) if pool.engine == "envoy" else (int(grown * 15) + 1) / 16


def _spilled(pool: Pool, fit: Flags, weights: Floats) -> tuple[Group, ...]:
    """Envoy's priorities (arch_overview/upstream/load_balancing: priority, degraded, panic_threshold)."""
    levels = sorted({server.priority for server in pool.servers})
    rows = [[i for i, s in enumerate(pool.servers) if s.priority == level] for level in levels]
    healthy = [[i for i in level if fit[i] and not pool.servers[i].degraded] for level in rows]
    degraded = [[i for i in level if fit[i] and pool.servers[i].degraded] for level in rows]
    factor = pool.reserves.factor
    bears = [min(1.0, factor * len(h) / len(level)) for h, level in zip(healthy, rows, strict=True)]
    helps = [min(1.0, factor * len(d) / len(level)) for d, level in zip(degraded, rows, strict=True)]
    whole = min(1.0, sum(bears) + sum(helps))
    parts = [(len(h) + len(d)) / len(level) for h, d, level in zip(healthy, degraded, rows, strict=True)]
    panics = [whole < 1.0 and part < pool.reserves.panic for part in parts]
    if panics and all(panics):
        # All levels share by how many servers they have, healthy or not.
        loads = [len(level) / len(pool.servers) for level in rows]
        given = [(load, level, True) for load, level in zip(loads, rows, strict=True)]
    else:
        given = _loads(bears, helps, whole, healthy, degraded, rows, panics)
    if pool.reserves.panic_fails:
        given = [(load, level, panic) for load, level, panic in given if not panic]
    made = [Group(load, _zoned(pool, level, rows, weights, panic)) for load, level, panic in given if load > 0]
    return tuple(group for group in made if group.members)


def _loads(
    bears: Sequence[float], helps: Sequence[float], whole: float, healthy: Sequence[list[int]],
    degraded: Sequence[list[int]], rows: Sequence[list[int]], panics: Sequence[bool],
) -> list[tuple[float, list[int], bool]]:  # fmt: skip
    """How much each level's healthy servers take, in order of priority, then the degraded ones."""
    left, given = 1.0, list[tuple[float, list[int], bool]]()
    if whole <= 0:
        return given
    for amounts, members in ((bears, healthy), (helps, degraded)):
        for amount, level, row, panic in zip(amounts, members, rows, panics, strict=True):
            load = min(left, amount / whole)
            left -= load
            given.append((load, row if panic else level, panic))
    return given


def _zoned(pool: Pool, level: Sequence[int], rows: Sequence[list[int]], weights: Floats, panic: bool) -> Floats:
    """Weights of these servers alone; where zones are chosen first, with those of their zones in them.

    A zone counts by its weight times `factor` times its healthy part, at most its weight.
    """
    mine = np.zeros(len(pool.servers))
    mine[list(level)] = weights[list(level)]
    if not pool.zone_weights or panic or not level:
        return mine
    priority = pool.servers[level[0]].priority
    whole = next(row for row in rows if pool.servers[row[0]].priority == priority)
    result = np.zeros(len(pool.servers))
    for where, zone, zone_weight in pool.zone_weights:
        here = [i for i in level if pool.servers[i].zone == zone]
        if where != priority or not here:
            continue
        all_here = sum(pool.servers[i].zone == zone for i in whole)
        part = zone_weight * min(1.0, pool.reserves.factor * len(here) / all_here)
        result[here] = part * mine[here] / mine[here].sum()
    return result
