"""detect(state, tick, fleet) -> (state, signals): all tests over all servers at once, one tick at a time.

`signals.DETECTORS` says what is watched, in the order in which signals are reported. A tick that is missing is simply
not shown to `detect`: every test stands still.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from levelhead import predict
from levelhead.detect import budget, checks, connections, errors, latency, recent, season, shares, signals, volume
from levelhead.detect.base import Signal, Track, thresholds
from levelhead.detect.budget import Burn
from levelhead.detect.checks import Checks
from levelhead.detect.connections import Links
from levelhead.detect.errors import Trial
from levelhead.detect.recent import Recent
from levelhead.detect.season import Season
from levelhead.detect.state import Detection, Expected
from levelhead.model import Fleet, Pool
from levelhead.telemetry import Flags, Floats, Layout, Tick, known_or, moved_pools, moved_rows, reindexed

__all__ = ["Detection", "Expected", "begin", "detect", "expectations"]

# A pool harms its users when this share of its requests does, and at least so many of them in the last seconds.
HARM_RATIO = 0.02
FEWEST_HARMED = 5.0

# A server that got too much has a backlog to work off. Until that is done, but no longer than this, its queue says
# nothing about its pace.
BACKLOG_S = 60.0

# A change that gives a server this much more than intended is suspect in itself: the test of its share starts this
# near to the alarm (nats; one false alarm in a thousand such changes), and a few dozen requests decide.
SUSPECT_CHANGE = 1.5
HEAD_START = 7.0

# Requests that wait for a place are told after so long: a moment's queue is what queues are for.
QUEUED_S = 1.0

# While users are harmed, and so long after, the slow test of the error budget says nothing new.
HUSHED_S = 60.0

# After a server changed its standing, its numbers speak of the change and not of the server for a moment.
SETTLE_S = 1.0


def begin(layout: Layout, fleet: Fleet) -> Detection:
    """Detectors that have seen nothing yet."""
    rows, pools = len(layout.servers), len(layout.pools)
    return Detection(
        layout=layout, fleet=fleet, expected=expectations(fleet, layout), recent=recent.begin(layout),
        season=Season.begin(pools), forecast=np.full(pools, np.nan),
        share=Track.begin(rows, len(shares.ALTERNATIVES)), unpredicted=Track.begin(rows, len(shares.ALTERNATIVES)),
        starved=Track.begin(rows, len(shares.FALLEN)), error=Trial.begin(rows), late=Trial.begin(rows),
        held=Track.begin(rows, len(latency.FACTORS)), checks=Checks.begin(rows), burn=Burn.begin(rows),
        surge=Track.begin(pools, len(volume.FACTORS)), slowdown=Track.begin(pools, len(latency.FACTORS)),
        retries=Track.begin(pools, len(volume.RETRY_FACTORS)), pool_burn=Burn.begin(pools),
        harm=Track.begin(pools, 1), refused=Track.begin(pools, 1), queue=Track.begin(pools, 1),
        crowded=Track.begin(pools, 1), links=Links.begin(pools), harmed_at=np.full(pools, -np.inf),
        standing=np.full(rows, np.nan), settled_at=np.full(rows, -np.inf), serving_since=np.full(rows, np.nan),
        returned=np.zeros(rows, dtype=bool), got=np.zeros(rows), of_all=np.zeros(rows),
        overfed_at=np.full(rows, -np.inf),
    )  # fmt: skip


def expectations(fleet: Fleet, layout: Layout) -> Expected:
    """The fleet's intent, prediction and promises as columns in this layout."""
    meant, must = predict.shares_by_row(fleet, layout)
    named = {pool.name: pool for pool in fleet.pools}
    pools = [named.get(name) for name in layout.pools]
    late = np.asarray([p.slo.latency_ms if p else np.inf for p in pools])
    keyed = np.asarray([float(predict.moves_by_key(p)) if p else 0.0 for p in pools])
    kept = np.asarray([p.slo.availability if p else 0.0 for p in pools])
    adaptive = layout.per_row(np.asarray([float(predict.adapts(p)) if p else 0.0 for p in pools])) > 0
    return Expected(meant, must, layout.per_row(late), layout.per_row(keyed), adaptive, _limits(pools, layout), kept)


def detect(
    state: Detection, tick: Tick, fleet: Fleet, false_alarms_per_month: float = 1.0
) -> tuple[Detection, tuple[Signal, ...]]:
    """One tick: every test moves on, and all signals that stand are reported.

    All thresholds follow from `false_alarms_per_month`, the budget of each pool.
    """
    state = _settled(_relaid(state, tick.layout, fleet), tick)
    per_pool = thresholds(tick.layout.sizes, false_alarms_per_month)
    calm = (~_pools_alarmed(state)).astype(np.float64)
    counted = recent.records_by_row(tick, state.expected.late_ms)
    before, now = state.recent, recent.updated(state.recent, tick, *counted, calm)
    look = _Look(tick, before, *counted, tick.failures(), latency.allowance(now, tick))
    state = replace(state, recent=now, season=season.updated(state.season, tick),
                    forecast=season.forecast(state.season, now.rate, tick.at_s))  # fmt: skip
    state = _servers_tested(state, look, tick.layout.per_row(per_pool))
    state = _pools_tested(state, look, per_pool)
    return state, signals.standing(state, tick)


@dataclass(frozen=True, slots=True)
class _Look:
    """One tick, and what several tests ask of it, per row."""

    tick: Tick
    before: Recent
    records: Floats
    late: Floats  # of these
    failures: Floats
    allowed: Floats  # requests in flight that a healthy server may hold


def _servers_tested(state: Detection, look: _Look, threshold: Floats) -> Detection:
    now, tick, failures = state.recent, look.tick, look.failures
    attempts = np.maximum(known_or(tick.requests), failures)
    error = errors.observe(state.error, tick, failures, attempts, now.failures, np.maximum(now.requests, now.failures),
                           threshold)  # fmt: skip
    late_trial = errors.observe(state.late, tick, look.late, look.records, now.late, now.records, threshold)
    held = latency.observe(state.held, tick, look.allowed, now, threshold)
    state = _shares_tested(state, tick, threshold)
    # What a server did before it was taken out says nothing about it when it comes back.
    out = ~tick.ready() | state.returned
    overfed_at = _overfed(state, tick, look.allowed)
    backlogged = out | (~state.share.on & (tick.at_s - overfed_at < BACKLOG_S))
    hushed = tick.layout.per_row(tick.at_s - state.harmed_at) < HUSHED_S
    availability = tick.layout.per_row(state.expected.availability)
    return replace(
        state, share=state.share.cleared(out), unpredicted=state.unpredicted.cleared(out),
        starved=state.starved.cleared(out), error=error.cleared(out), late=late_trial.cleared(backlogged),
        held=held.cleared(backlogged), overfed_at=overfed_at,
        checks=checks.observe(state.checks, tick, look.before),
        burn=budget.observe(state.burn, failures, attempts, availability, hushed, tick.seconds, tick.at_s),
    )  # fmt: skip


def _shares_tested(state: Detection, tick: Tick, threshold: Floats) -> Detection:
    now, expected, layout = state.recent, state.expected, tick.layout
    serving = tick.ready() & ~tick.failing()
    meant = _among(layout, expected.intended, serving, tick.ramp)
    must = np.where(serving, _predicted_now(tick), 0.0)
    # What was seen under other weights says nothing about these.
    changed = state.settled_at == tick.at_s
    suspect = changed & (must > SUSPECT_CHANGE * meant)
    started = state.share.cleared(changed).raised(suspect, threshold - HEAD_START, tick.at_s)
    # A policy that prefers idle servers may give a fast one more; only its weights can be wrong.
    judged = np.where(expected.adaptive & ~(must > SUSPECT_CHANGE * meant), np.nan, meant)
    share = shares.above(started, tick, judged, expected.by_key, now, threshold)
    must = np.where(expected.adaptive, np.nan, must)
    # Where weights are as meant, both tests ask the same.
    same = _equal(judged, must) and started.alike(state.unpredicted)
    unpredicted = share if same else shares.above(state.unpredicted, tick, must, expected.by_key, now, threshold)
    unsettled = (tick.at_s - state.settled_at) < SETTLE_S
    requests = known_or(tick.requests)
    doubted = share.suspect
    return replace(
        state, share=share,
        unpredicted=unpredicted.cleared(unsettled),
        starved=shares.below(state.starved, tick, must, expected.by_key, now, threshold).cleared(unsettled),
        got=np.where(doubted, state.got + requests, 0.0),
        of_all=np.where(doubted, state.of_all + layout.per_row(layout.per_pool(requests)), 0.0),
    )  # fmt: skip


def _equal(one: Floats, other: Floats) -> bool:
    return bool(((np.abs(one - other) < 1e-9) | (np.isnan(one) & np.isnan(other))).all())


def _pools_tested(state: Detection, look: _Look, threshold: Floats) -> Detection:
    now, expected, tick = state.recent, state.expected, look.tick
    harmful, latest = _harmful(now, expected)
    refusing = known_or(tick.pool.refused) >= 1
    still = state.refused.on & (latest > 0.005)
    harm = state.harm.flagged(harmful, tick.at_s)
    harmed_at = np.where(harm.on, tick.at_s, state.harmed_at)
    arrived = known_or(tick.pool.arrived)
    late = tick.layout.per_pool(look.late) * tick.records.weight
    harmed = np.minimum(known_or(tick.pool.errors_5xx) + late, arrived)
    hushed = tick.at_s - harmed_at < HUSHED_S
    waiting = np.fmax(tick.pool.queued, tick.layout.per_pool(tick.queued)) >= 1
    queue = state.queue.flagged(waiting, tick.at_s)
    return replace(
        state, harm=harm, harmed_at=harmed_at, refused=state.refused.flagged(refusing | still, tick.at_s),
        surge=volume.surge(state.surge, tick, now, state.forecast, threshold),
        retries=volume.retries(state.retries, tick, threshold),
        slowdown=latency.slowdown(state.slowdown, tick, look.allowed, now, threshold),
        queue=replace(queue, on=waiting & (tick.at_s - known_or(queue.since, np.inf) >= QUEUED_S)),
        crowded=state.crowded.flagged(_crowded(state, tick), tick.at_s),
        links=connections.observe(state.links, tick, now, _predicted_now(tick), state.serving_since, expected.by_key),
        pool_burn=budget.observe(
            state.pool_burn, harmed, arrived, expected.availability, hushed, tick.seconds, tick.at_s
        ),
    )  # fmt: skip


def _crowded(state: Detection, tick: Tick) -> Flags:
    """Pools that spread clients, have too few for it to come out even, and in which it does not."""
    now, expected, layout = state.recent, state.expected, tick.layout
    # Few pairs of requests from one client are little evidence, and they come in clusters: much fewer of them must
    # still be too many.
    certain = np.maximum(now.pairs_same - 6 * np.sqrt(now.pairs_same), 1e-9)
    few = (now.pairs >= recent.FEWEST_PAIRS) & (now.pairs / certain < shares.FEWEST_CLIENTS)
    uneven = now.requests > (1 + shares.TOLERANCE) * expected.intended * layout.per_row(layout.per_pool(now.requests))
    found: Flags = few & (layout.per_pool((uneven & (expected.by_key > 0)).astype(np.float64)) > 0)
    return found


def _harmful(now: Recent, expected: Expected) -> tuple[Flags, Floats]:
    """Which pools harm users, and the part harmed of the latest requests: harm ends as soon as those are well."""
    ratio = now.harmed / np.maximum(now.arrived, 1.0)
    latest = now.harmed_now / np.maximum(now.arrived_now, 1.0)
    limit = np.maximum(HARM_RATIO, 10 * (1 - expected.availability))
    harmful: Flags = (now.harmed >= FEWEST_HARMED) & (ratio > limit) & (latest > limit)
    return harmful, latest


def _overfed(state: Detection, tick: Tick, allowed: Floats) -> Floats:
    """When each row last got too much; forgotten as soon as it holds no more than its peers' pace explains."""
    fed = state.share.on
    done = ~fed & (known_or(tick.in_flight, np.inf) <= allowed)
    return np.where(fed, tick.at_s, np.where(done, -np.inf, state.overfed_at))


def _among(layout: Layout, wish: Floats, serving: Flags, ramp: Floats) -> Floats:
    """The wished shares among the servers that serve now, each as far as its slow start lets it."""
    kept = np.where(serving, wish * known_or(ramp, 1.0), 0.0)
    total = layout.per_row(layout.per_pool(kept))
    return np.where(total > 0, kept / np.maximum(total, 1e-12), np.nan)


def _predicted_now(tick: Tick) -> Floats:
    """`predict.predicted_now` of every pool at once; one unknown weight makes its whole pool unknown."""
    layout = tick.layout
    serving = tick.ready() & ~tick.failing()
    effective = np.where(serving, tick.weight * tick.ramp, 0.0)
    unknown = layout.per_pool((np.isnan(tick.weight * tick.ramp) | tick.unsaid()).astype(float))
    total = layout.per_row(layout.per_pool(effective))
    must: Floats = np.where(total > 0, effective / np.maximum(total, 1e-12), 0.0)
    must[layout.per_row(unknown) > 0] = np.nan
    return must


def _limits(pools: list[Pool | None], layout: Layout) -> Floats:
    limits = np.full(len(layout.servers), np.inf)
    for pool, (_, rows) in zip(pools, layout.each(), strict=True):
        if pool is None or (pool.limits.server_in_flight is None and not any(s.in_flight_limit for s in pool.servers)):
            continue
        own = {s.name: pool.limits.server_in_flight if s.in_flight_limit is None else s.in_flight_limit
               for s in pool.servers}  # fmt: skip
        limits[rows] = [np.inf if own.get(name) is None else own[name] for name in layout.servers[rows]]
    return limits


def _pools_alarmed(state: Detection) -> Flags:
    layout = state.layout
    rows = state.share.on | state.unpredicted.on | state.held.on | state.checks.failing.on
    rows |= state.error.track.on | state.late.track.on
    # A forecast that learns from the surge it should notice never notices it.
    rows |= state.held.score.max(axis=0) > 4
    rising = (state.surge.score.max(axis=0) > 4) | (state.slowdown.score.max(axis=0) > 4)
    alarmed: Flags = layout.per_pool(rows.astype(np.float64)) > 0
    alarmed |= state.surge.on | rising | state.harm.on | state.refused.on
    return alarmed


def _settled(state: Detection, tick: Tick) -> Detection:
    away = tick.failing() | ~tick.ready()
    mark = away * 1e6 + known_or(tick.weight)
    first = np.isnan(state.standing)
    moved = (mark != state.standing) & ~first
    changed = tick.layout.per_row(tick.layout.per_pool(moved.astype(np.float64))) > 0
    since = np.where(np.isnan(state.serving_since), tick.at_s, state.serving_since)
    return replace(
        state, standing=mark, settled_at=np.where(changed, tick.at_s, state.settled_at),
        serving_since=np.where(away, np.nan, since), returned=(state.standing >= 1e6) & ~away & ~first,
    )  # fmt: skip


def _relaid(state: Detection, layout: Layout, fleet: Fleet) -> Detection:
    if layout == state.layout:
        # Fleets are values, but comparing large ones each tick costs more than all tests together.
        return state if fleet is state.fleet else replace(state, fleet=fleet, expected=expectations(fleet, layout))
    rows, pools = moved_rows(state.layout, layout), moved_pools(state.layout, layout)
    columns: dict[str, Track | Trial | Checks | Burn | Links] = {}
    for name in OF_ROWS:
        columns[name] = getattr(state, name).reindexed(rows)
    for name in OF_POOLS:
        columns[name] = getattr(state, name).reindexed(pools)
    fresh = replace(begin(layout, fleet), **columns)  # type: ignore[arg-type]  # each name keeps its own type
    return replace(
        fresh,
        recent=recent.relaid(state.recent, layout, rows, pools), season=state.season.reindexed(pools),
        forecast=reindexed(state.forecast, pools, np.nan), harmed_at=reindexed(state.harmed_at, pools, -np.inf),
        standing=reindexed(state.standing, rows, np.nan), settled_at=reindexed(state.settled_at, rows, -np.inf),
        serving_since=reindexed(state.serving_since, rows, np.nan),
        overfed_at=reindexed(state.overfed_at, rows, -np.inf), got=reindexed(state.got, rows),
        of_all=reindexed(state.of_all, rows),
    )  # fmt: skip


OF_ROWS = ("share", "unpredicted", "starved", "error", "late", "held", "checks", "burn")
OF_POOLS = ("surge", "slowdown", "retries", "pool_burn", "harm", "refused", "queue", "crowded", "links")
