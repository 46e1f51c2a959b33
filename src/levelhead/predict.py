"""What a configuration, in a given state, must do to traffic: intended and predicted shares, and what is left.

Arrays have one entry per server, in the order of `pool.servers`, and sum to 1 where any server can serve, else to 0.
"""

from __future__ import annotations

import numpy as np

from levelhead.model import Admin, Fleet, Hash, LeastRequest, Pool, RandomPick
from levelhead.telemetry import Codes, Floats, Health, Layout, Standing


def intended(pool: Pool) -> Floats:
    """What the operator means: equal, by capacity or explicit, over the servers that are not drained or taken out."""
    match pool.intent.kind:
        case "equal":
            wish = np.ones(len(pool.servers))
        case "capacity":
            wish = np.asarray([s.capacity or 0.0 for s in pool.servers])
        case "explicit":
            given = dict(pool.intent.shares)
            wish = np.asarray([given.get(s.name, 0.0) for s in pool.servers])
    ready = np.asarray([s.admin is Admin.READY for s in pool.servers])
    return _normalised(np.where(ready, wish, 0.0))


def predicted(pool: Pool) -> Floats:
    """What the configured weights and states produce when every server is healthy.

    Every policy here gives shares proportional to weight: exactly for round robin, in the mean for least-request,
    random and a hash over many keys (servers of equal speed).
    """
    ready = np.asarray([s.admin is Admin.READY for s in pool.servers])
    return _normalised(np.where(ready, [s.weight for s in pool.servers], 0.0))


def predicted_now(weight: Floats, ramp: Floats, health: Codes, standing: Codes) -> Floats:
    """What the weights in force produce among the servers that the engine holds fit to serve; one pool's rows.

    An unknown weight or state makes every share unknown (NaN): it is not zero.
    """
    effective = weight * ramp
    if np.isnan(effective).any() or (standing == Standing.UNKNOWN).any():
        return np.full(len(weight), np.nan)
    serving = (standing == Standing.READY) & (health != Health.FAILING)
    return _normalised(np.where(serving, effective, 0.0))


def intended_weights(pool: Pool) -> tuple[float, ...]:
    """Weights that give the intended shares, the largest 100; a drained server keeps the weight it has."""
    wish = intended(pool)
    top = float(wish.max()) if len(wish) else 0.0
    if top <= 0:
        return tuple(s.weight for s in pool.servers)
    return tuple(
        float(round(100 * share / top, 2)) if s.admin is Admin.READY else s.weight
        for s, share in zip(pool.servers, wish, strict=True)
    )


def shares_by_row(fleet: Fleet, layout: Layout) -> tuple[Floats, Floats]:
    """Intended and predicted shares of every row; rows of servers that the fleet does not know are NaN."""
    meant = np.full(len(layout.servers), np.nan)
    must = np.full(len(layout.servers), np.nan)
    for name, rows in layout.each():
        pool = fleet.pool(name)
        if pool is None:
            continue
        at = {s.name: i for i, s in enumerate(pool.servers)}
        where = np.asarray([at.get(server, -1) for server in layout.servers[rows]])
        meant[rows] = np.append(intended(pool), np.nan)[where]
        must[rows] = np.append(predicted(pool), np.nan)[where]
    return meant, must


def adapts(pool: Pool) -> bool:
    """Whether the policy looks at how busy servers are, so that a faster one rightly gets more than its weight."""
    return isinstance(pool.policy, LeastRequest | RandomPick)


def moves_by_key(pool: Pool) -> bool:
    """Whether one client's requests go to one server, so that clients rather than requests are spread."""
    return pool.affinity_cookie is not None or isinstance(pool.policy, Hash)


def _normalised(wish: Floats) -> Floats:
    total = float(wish.sum())
    return wish / total if total > 0 else np.zeros(len(wish))
