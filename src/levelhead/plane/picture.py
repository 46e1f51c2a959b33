"""Draws the status from the loop's own state: pure, so that what people see is what was judged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from levelhead import predict
from levelhead.control.base import State
from levelhead.model import Pool, Revision
from levelhead.plane.status import PoolStatus, ServerStatus, Status
from levelhead.telemetry import Floats, Health, Layout, Records, Standing


def status(
    *, at: float, because: str, engine: str, alive: bool, state: State, revision: Revision, records: Sequence[Records],
    notes: tuple[str, ...],
) -> Status:  # fmt: skip
    """The picture now. `records` are those of the last seconds, in the layout of the newest sample."""
    sample = state.sample
    return Status(
        at=at, because=because, engine=engine, engine_alive=alive,
        age_s=None if sample is None else max(at - sample.at_s, 0.0),
        revision=revision.number, revision_author=revision.author, revision_why=revision.why,
        good=max(state.good, default=None),
        listeners=tuple(f"{'https' if li.certificate else 'http'}://{li.address}" for li in revision.fleet.listeners),
        pools=tuple(_pool(pool, state, records) for pool in revision.fleet.pools),
        notes=notes,
    )  # fmt: skip


def _pool(pool: Pool, state: State, records: Sequence[Records]) -> PoolStatus:
    remembered, detection = state.pool(pool.name), state.detection
    shown = detection is not None and state.sample is not None and _same(pool, state.sample.layout, detection.layout)
    rate = forecast = harmed = p50 = p99 = None
    if shown and detection is not None:
        i, now = detection.layout.places[pool.name], detection.recent
        rate = _known(now.arrived[i] / max(now.seconds[i], 1e-9))
        forecast = _known(now.rate[i])
        harmed = float(min(now.harmed[i] / max(now.arrived[i], 1.0), 1.0))
        rows = detection.layout.rows(pool.name)
        p50, p99 = _quantiles(records, range(rows.start, rows.stop))
    incident = remembered.incident
    proposal = remembered.proposal
    return PoolStatus(
        name=pool.name, policy=pool.policy.kind, intent=pool.intent.kind, mode=pool.mode.value,
        rate=rate, forecast=forecast, harmed_ratio=harmed, p50_ms=p50, p99_ms=p99,
        servers=_servers(pool, state, records, shown),
        signals=tuple(s.sentence for s in state.signals if s.pool == pool.name),
        incident=incident.id if incident else None, phase=incident.phase.value if incident else None,
        proposal=proposal.steps[0].sentence if proposal else None,
    )  # fmt: skip


def _servers(pool: Pool, state: State, records: Sequence[Records], shown: bool) -> tuple[ServerStatus, ...]:
    sample, detection = state.sample, state.detection
    meant = predict.intended(pool)
    if not shown or sample is None or detection is None:
        return tuple(
            ServerStatus(s.name, s.address, None, None, "unknown", "unknown", float(m), None, None, None, None, None,
                         None, None, None, None, None)
            for s, m in zip(pool.servers, meant, strict=True)
        )  # fmt: skip
    rows = sample.layout.rows(pool.name)
    must = predict.predicted_now(sample.weight[rows], sample.ramp[rows], sample.health[rows], sample.standing[rows])
    now = detection.recent
    i = detection.layout.places[pool.name]
    seconds, total = max(float(now.seconds[i]), 1e-9), float(now.requests[rows].sum())
    rate = float(now.arrived[i]) / seconds
    drawn = []
    for k, server in enumerate(pool.servers):
        row = rows.start + k
        p50, p99 = _quantiles(records, range(row, row + 1))
        seen = max(float(now.requests[row]), float(now.failures[row]))
        drawn.append(ServerStatus(
            name=server.name, address=server.address, weight=_known(sample.weight[row]), ramp=_known(sample.ramp[row]),
            state=Standing(int(sample.standing[row])).name.lower(), health=Health(int(sample.health[row])).name.lower(),
            intended=float(meant[k]), predicted=_known(must[k]),
            observed=float(now.requests[row]) / total if total >= 1 else None,
            bearable=server.capacity / rate if server.capacity and rate > 0 else None,
            borne=float(now.borne[row]) / rate if now.borne[row] > 0 and rate > 0 else None,
            rate=float(now.requests[row]) / seconds,
            failure_ratio=min(float(now.failures[row]) / seen, 1.0) if seen >= 1 else None,
            in_flight=_known(sample.in_flight[row]), queued=_known(sample.queued[row]), p50_ms=p50, p99_ms=p99,
        ))  # fmt: skip
    return tuple(drawn)


def _same(pool: Pool, layout: Layout, other: Layout) -> bool:
    names = tuple(s.name for s in pool.servers)
    return layout == other and pool.name in layout.places and layout.members(pool.name) == names


def _known(value: np.float64 | float) -> float | None:
    return None if np.isnan(value) else float(value)


def _quantiles(records: Sequence[Records], rows: range) -> tuple[float | None, float | None]:
    found: list[Floats] = [r.latency_ms[(r.row >= rows.start) & (r.row < rows.stop)] for r in records]
    latencies = np.concatenate(found) if found else np.zeros(0)
    if len(latencies) < 3:
        return None, None
    p50, p99 = np.quantile(latencies, [0.5, 0.99])
    return float(p50), float(p99)
