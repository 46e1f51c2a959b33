"""The guard: what speaks against a step, whoever wants it. An empty tuple means that it is safe."""

from __future__ import annotations

import numpy as np

from levelhead import predict
from levelhead.diagnose.base import Case
from levelhead.model import Admin, Fleet, Pool

# Where nobody declared capacities, no server may be given more than this times an equal share of all servers.
MOST_GROWTH = 1.6
# A change may not give a server this much more than its intended share.
MOST_OVER_INTENDED = 1.5
FEWEST_SERVING = 0.5


def objections(before: Fleet, after: Fleet, case: Case) -> tuple[str, ...]:
    """Why the change from `before` to `after` would harm the case's pool; each is a whole sentence.

    Judged against what serves now: a server whose check fails bears nothing, whatever its weight.
    """
    old, new = before.pool(case.pool.name), after.pool(case.pool.name)
    if old is None or new is None:
        return (f"pool {case.pool.name} would be gone",) if new is None and old is not None else ()
    unfit = case.failing
    serving_before, serving = _serving(old, unfit), _serving(new, unfit)
    if not serving_before - serving and not _shares_worsen(old, new, unfit):
        return ()
    found = [*_too_few(new, serving_before, serving), *_overload(case, new, serving, unfit)]
    if not found:
        found = _skew(old, new, unfit)
    return tuple(found)


def _serving(pool: Pool, unfit: frozenset[str]) -> frozenset[str]:
    return frozenset(s.name for s in pool.servers if s.admin is Admin.READY and s.weight > 0 and s.name not in unfit)


def _too_few(pool: Pool, before: frozenset[str], after: frozenset[str]) -> list[str]:
    if not after:
        return ["no server would be left to serve"]
    if len(after) < pool.minimum_servers and len(after) < len(before):
        return [f"{len(after)} servers would be left, and {pool.minimum_servers} is the minimum"]
    if len(after) < FEWEST_SERVING * len(pool.servers) and len(after) < len(before):
        return [f"only {len(after)} of {len(pool.servers)} servers would be left"]
    return []


def _overload(case: Case, pool: Pool, serving: frozenset[str], unfit: frozenset[str]) -> list[str]:
    if not serving:
        return []
    now = np.asarray([_observed(case, s.name) for s in pool.servers])
    ready = np.asarray([s.name in serving for s in pool.servers])
    weights = np.where(ready, [s.weight for s in pool.servers], 0.0)
    share = weights / weights.sum()
    # A moment's lull is no room: what is forecast will be back.
    load = float(np.fmax(case.rate, case.forecast))
    found = []
    for server, part, was in zip(pool.servers, share, now, strict=True):
        rate = part * load
        if server.capacity is not None and rate > server.capacity and part > was:
            found.append(f"{server.name} would get {rate:.0f} requests/s and can bear {server.capacity:.0f}")
        elif server.capacity is None and part > was + 0.01 and part > MOST_GROWTH / len(share):
            found.append(
                f"{server.name} would get {part:.0%} of requests where it gets {was:.0%} now, "
                f"and nobody declared what it can bear"
            )
    return found


def _observed(case: Case, server: str) -> float:
    if server not in case.servers or np.isnan(case.observed).any():
        return 0.0
    return float(case.observed[case.index(server)])


def _shares_worsen(old: Pool, new: Pool, unfit: frozenset[str]) -> bool:
    return bool(_skew(old, new, unfit))


def _skew(old: Pool, new: Pool, unfit: frozenset[str]) -> list[str]:
    was = {s.name: float(p) for s, p in zip(old.servers, predict.predicted(old), strict=True)}
    found = []
    for server, must, meant in zip(new.servers, predict.predicted(new), predict.intended(new), strict=True):
        if must > MOST_OVER_INTENDED * meant and must > was.get(server.name, 0.0) + 0.02 and server.name not in unfit:
            found.append(f"{server.name} would get {must:.0%} of requests and is meant to get {meant:.0%}")
    return found
