"""Small builders of domain values for tests: real data, no mocks."""

import numpy as np

from levelhead.model import Fleet, Listener, Pool, Route, Server
from levelhead.telemetry import Floats, Layout, PoolCounters, Records, Tick


def pool(*weights: float, name: str = "web", **settings: object) -> Pool:
    servers = tuple(Server(f"s{i + 1}", "127.0.0.1", 3001 + i, weight=w) for i, w in enumerate(weights))
    return Pool(name, servers, **settings)  # type: ignore[arg-type]


def fleet(*pools: Pool) -> Fleet:
    return Fleet((Listener("main", "127.0.0.1", 8080, tuple(Route(p.name) for p in pools[:1])),), pools)


def layout(*pools: Pool) -> Layout:
    return Layout.of(tuple((p.name, tuple(s.name for s in p.servers)) for p in pools))


def tick(
    where: Layout, at: float, requests: Floats, *, errors: Floats | None = None, in_flight: Floats | None = None,
    weight: Floats | None = None, health: Floats | None = None, standing: Floats | None = None,
    refused: Floats | None = None, records: Records | None = None, retries: Floats | None = None,
    connects: Floats | None = None, connections: Floats | None = None,
) -> Tick:  # fmt: skip
    rows, pools = len(where.servers), len(where.pools)
    zero, none = np.zeros(rows), np.zeros(pools)
    bad, unknown = zero if errors is None else errors, np.full(rows, np.nan)
    extra = {} if records is None else {"records": records}
    return Tick(
        at_s=at, seconds=0.25, layout=where, requests=requests.astype(float), errors_5xx=bad.astype(float),
        connect_errors=zero, response_errors=zero, retries=zero if retries is None else retries, redispatches=zero,
        connects=unknown if connects is None else connects, connections=unknown if connections is None else connections,
        in_flight=requests * 0.25 if in_flight is None else in_flight.astype(float), queued=zero,
        weight=np.full(rows, 100.0) if weight is None else weight, ramp=np.ones(rows),
        health=(np.ones(rows) if health is None else health).astype(np.int8),
        standing=(np.ones(rows) if standing is None else standing).astype(np.int8),
        pool=PoolCounters(
            where.per_pool(requests.astype(float)), where.per_pool(bad.astype(float)),
            none if refused is None else refused, none, none,
        ), **extra,
    )  # fmt: skip
