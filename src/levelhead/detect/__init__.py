"""detect(state, tick, fleet) -> (state, signals): all tests over all servers at once, one tick at a time.

`DETECTORS` says what is watched, in the order in which signals are reported. A tick that is missing is simply not
shown to `detect`: every test stands still.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from levelhead import predict
from levelhead.detect import errors, latency, recent, shares, volume
from levelhead.detect.base import Kind, Signal, Track, thresholds
from levelhead.detect.errors import Trial
from levelhead.detect.recent import Recent
from levelhead.model import Fleet
from levelhead.telemetry import Flags, Floats, Layout, Tick, known_or, moved_rows, reindexed

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

# After a server changed its standing, its numbers speak of the change and not of the server for a moment.
SETTLE_S = 1.0


@dataclass(frozen=True, slots=True)
class Expected:
    """What each row should show: intended and predicted shares, the SLO's latency, and whether keys are spread."""

    intended: Floats
    predicted: Floats
    late_ms: Floats
    by_key: Floats
    adaptive: Flags  # the policy itself gives more to servers that are faster
    availability: Floats  # per pool


@dataclass(frozen=True, slots=True)
class Detection:
    """Everything the detectors remember."""

    layout: Layout
    fleet: Fleet  # that `expected` was computed for
    recent: Recent
    share: Track
    unpredicted: Track
    error: Trial
    late: Trial
    held: Track
    surge: Track  # per pool
    check: Track  # per row, deterministic
    harm: Track  # per pool, deterministic
    refused: Track  # per pool, deterministic
    expected: Expected
    standing: Floats  # per row: admin state, health and weight in one number, to see when one of them changes
    settled_at: Floats  # per row: when one of them last changed anywhere in the pool
    returned: Flags  # per row: it serves again since this tick
    got: Floats  # per row: its requests since its share is suspect, and those of the whole pool
    of_all: Floats
    overfed_at: Floats  # per row: when it last got more than its share, until it has worked off what that left


def begin(layout: Layout, fleet: Fleet) -> Detection:
    """Detectors that have seen nothing yet."""
    rows, pools = len(layout.servers), len(layout.pools)
    return Detection(
        layout=layout, fleet=fleet, recent=recent.begin(layout),
        share=Track.begin(rows, len(shares.ALTERNATIVES)), unpredicted=Track.begin(rows, len(shares.ALTERNATIVES)),
        error=Trial.begin(rows), late=Trial.begin(rows),
        held=Track.begin(rows, len(latency.FACTORS)), surge=Track.begin(pools, len(volume.FACTORS)),
        check=Track.begin(rows, 1), harm=Track.begin(pools, 1), refused=Track.begin(pools, 1),
        expected=expectations(fleet, layout),
        standing=np.full(rows, np.nan), settled_at=np.full(rows, -np.inf), returned=np.zeros(rows, dtype=bool),
        overfed_at=np.full(rows, -np.inf), got=np.zeros(rows), of_all=np.zeros(rows),
    )  # fmt: skip


def expectations(fleet: Fleet, layout: Layout) -> Expected:
    """The fleet's intent, prediction and promises as columns in this layout."""
    meant, must = predict.shares_by_row(fleet, layout)
    pools = [fleet.pool(name) for name in layout.pools]
    late = np.asarray([p.slo.latency_ms if p else np.inf for p in pools])
    keyed = np.asarray([float(predict.moves_by_key(p)) if p else 0.0 for p in pools])
    kept = np.asarray([p.slo.availability if p else 0.0 for p in pools])
    adaptive = layout.per_row(np.asarray([float(predict.adapts(p)) if p else 0.0 for p in pools])) > 0
    return Expected(meant, must, layout.per_row(late), layout.per_row(keyed), adaptive, kept)


def detect(
    state: Detection, tick: Tick, fleet: Fleet, false_alarms_per_month: float = 1.0
) -> tuple[Detection, tuple[Signal, ...]]:
    """One tick: every test moves on, and all signals that stand are reported."""
    state = _relaid(state, tick.layout, fleet)
    per_pool = thresholds(tick.layout.sizes, false_alarms_per_month)
    per_row = tick.layout.per_row(per_pool)
    state = _settled(state, tick)
    calm = (~_pools_alarmed(state)).astype(np.float64)
    now = recent.updated(state.recent, tick, state.expected.late_ms, calm)
    state = _tested(replace(state, recent=now), tick, per_row, per_pool)
    return state, tuple(signal for detector in DETECTORS for signal in detector(state, tick))


def _tested(state: Detection, tick: Tick, per_row: Floats, per_pool: Floats) -> Detection:
    now, expected = state.recent, state.expected
    serving = tick.ready() & ~tick.failing()
    meant = _among(tick.layout, expected.intended, serving, tick.ramp)
    must = np.where(serving, _predicted_now(tick), 0.0)
    requests = known_or(tick.requests)
    failures = tick.failures()
    attempts = np.maximum(requests, failures)
    records, late = recent.records_by_row(tick, expected.late_ms)
    seen_recent = np.maximum(now.requests, now.failures)
    unset = (tick.at_s - state.settled_at) < SETTLE_S
    # What was seen under other weights says nothing about these.
    changed = state.settled_at == tick.at_s
    suspect = changed & (must > SUSPECT_CHANGE * meant)
    started = state.share.cleared(changed).raised(suspect, per_row - HEAD_START, tick.at_s)
    # A policy that prefers idle servers may give a fast one more; only its weights can be wrong.
    judged = np.where(expected.adaptive & ~(must > SUSPECT_CHANGE * meant), np.nan, meant)
    share_track = shares.observe(started, tick, judged, expected.by_key, now, per_row)
    must = np.where(expected.adaptive, np.nan, must)
    unpredicted = shares.observe(state.unpredicted, tick, must, expected.by_key, now, per_row).cleared(unset)
    error = errors.observe(state.error, tick, failures, attempts, now.failures, seen_recent, per_row)
    late_trial = errors.observe(state.late, tick, late, records, now.late, now.records, per_row)
    held = latency.observe(state.held, tick, now, per_row)
    failing = tick.failing() & tick.ready()
    # What a server did before it was taken out says nothing about it when it comes back.
    out = ~tick.ready() | state.returned
    overfed_at = _overfed(state, tick, share_track.on, latency.allowance(now, tick))
    backlogged = out | (~share_track.on & (tick.at_s - overfed_at < BACKLOG_S))
    harmful, latest = _harmful(now, expected)
    refusing = known_or(tick.pool.refused) >= 1
    still = state.refused.on & (latest > 0.005)
    return replace(
        state,
        got=np.where(np.isnan(share_track.since), 0.0, state.got + requests),
        of_all=np.where(np.isnan(share_track.since), 0.0, state.of_all + _of_pool(tick, requests)),
        share=share_track.cleared(out), unpredicted=unpredicted.cleared(out), error=error.cleared(out),
        late=late_trial.cleared(backlogged), held=held.cleared(backlogged), overfed_at=overfed_at,
        surge=volume.observe(state.surge, tick, now, per_pool),
        check=_flagged(state.check, failing, tick.at_s),
        harm=_flagged(state.harm, harmful, tick.at_s),
        refused=_flagged(state.refused, refusing | still, tick.at_s),
    )  # fmt: skip


def _harmful(now: Recent, expected: Expected) -> tuple[Flags, Floats]:
    """Which pools harm users, and the part harmed of the latest requests: harm ends as soon as those are well."""
    ratio = now.harmed / np.maximum(now.arrived, 1.0)
    latest = now.harmed_now / np.maximum(now.arrived_now, 1.0)
    limit = np.maximum(HARM_RATIO, 10 * (1 - expected.availability))
    harmful: Flags = (now.harmed >= FEWEST_HARMED) & (ratio > limit) & (latest > limit)
    return harmful, latest


def _of_pool(tick: Tick, rows: Floats) -> Floats:
    return tick.layout.per_row(tick.layout.per_pool(rows))


def _overfed(state: Detection, tick: Tick, fed: Flags, allowance: Floats) -> Floats:
    """When each row last got too much; forgotten as soon as it holds no more than its peers' pace explains."""
    done = ~fed & (known_or(tick.in_flight, np.inf) <= allowance)
    return np.where(fed, tick.at_s, np.where(done, -np.inf, state.overfed_at))


def _flagged(track: Track, on: Flags, at: float) -> Track:
    since = np.where(on, np.where(np.isnan(track.since), at, track.since), np.nan)
    return Track(track.score, since, on)


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


def _pools_alarmed(state: Detection) -> Flags:
    layout = state.layout
    rows = state.share.on | state.unpredicted.on | state.held.on | state.check.on
    rows |= state.error.track.on | state.late.track.on
    suspected = state.held.score.max(axis=1) > 4
    # A forecast that learns from the surge it should notice never notices it.
    rising = state.surge.score.max(axis=1) > 4
    alarmed: Flags = layout.per_pool((rows | suspected).astype(np.float64)) > 0
    alarmed |= state.surge.on | rising | state.harm.on | state.refused.on
    return alarmed


def _settled(state: Detection, tick: Tick) -> Detection:
    away = tick.failing() | ~tick.ready()
    mark = away * 1e6 + known_or(tick.weight)
    first = np.isnan(state.standing)
    moved = (mark != state.standing) & ~first
    changed = tick.layout.per_row(tick.layout.per_pool(moved.astype(np.float64))) > 0
    return replace(
        state, standing=mark, settled_at=np.where(changed, tick.at_s, state.settled_at),
        returned=(state.standing >= 1e6) & ~away & ~first,
    )  # fmt: skip


def _relaid(state: Detection, layout: Layout, fleet: Fleet) -> Detection:
    if layout == state.layout:
        # Fleets are values, but comparing large ones each tick costs more than all tests together.
        return state if fleet is state.fleet else replace(state, fleet=fleet, expected=expectations(fleet, layout))
    rows = moved_rows(state.layout, layout)
    pools = np.asarray([state.layout.pools.index(p) if p in state.layout.pools else -1 for p in layout.pools])
    fresh = begin(layout, fleet)
    return replace(
        fresh,
        recent=recent.relaid(state.recent, layout, rows, pools),
        share=state.share.reindexed(rows), unpredicted=state.unpredicted.reindexed(rows),
        error=state.error.reindexed(rows), late=state.late.reindexed(rows), held=state.held.reindexed(rows),
        check=state.check.reindexed(rows), surge=state.surge.reindexed(pools), harm=state.harm.reindexed(pools),
        refused=state.refused.reindexed(pools),
        standing=reindexed(state.standing, rows, np.nan), settled_at=reindexed(state.settled_at, rows, -np.inf),
        overfed_at=reindexed(state.overfed_at, rows, -np.inf), got=reindexed(state.got, rows),
        of_all=reindexed(state.of_all, rows),
    )  # fmt: skip


def _rows_on(state: Detection, track: Track, kind: Kind, say: Callable[[int, slice], str]) -> list[Signal]:
    signals = []
    for pool, rows in state.layout.each():
        for row in range(rows.start, rows.stop):
            if track.on[row]:
                score = float(track.evidence()[row])
                name = state.layout.servers[row]
                signals.append(Signal(kind, pool, name, float(track.since[row]), score, say(row, rows)))
    return signals


def _pools_on(state: Detection, track: Track, kind: Kind, say: Callable[[int], str]) -> list[Signal]:
    return [
        Signal(kind, pool, "", float(track.since[i]), float(track.evidence()[i]), say(i))
        for i, pool in enumerate(state.layout.pools) if track.on[i]
    ]  # fmt: skip


def _share_signals(state: Detection, tick: Tick) -> list[Signal]:
    def say(row: int, rows: slice) -> str:
        got, of_all = state.got[row], max(state.of_all[row], 1.0)
        name, meant = state.layout.servers[row], state.expected.intended[row]
        return f"{name} got {got:.0f} of {of_all:.0f} requests ({got / of_all:.0%}) and is meant to get {meant:.0%}"

    return _rows_on(state, state.share, Kind.SHARE, say)


def _unpredicted_signals(state: Detection, tick: Tick) -> list[Signal]:
    def say(row: int, rows: slice) -> str:
        got, all_of_them = state.recent.requests[row], max(state.recent.requests[rows].sum(), 1.0)
        return (f"{state.layout.servers[row]} got {got / all_of_them:.0%} of the last {all_of_them:.0f} requests; "
                f"the weights in force do not explain it")  # fmt: skip

    return _rows_on(state, state.unpredicted, Kind.UNPREDICTED, say)


def _error_signals(state: Detection, tick: Tick) -> list[Signal]:
    trial = state.error

    def say(row: int, rows: slice) -> str:
        return (f"{trial.bad[row]:.0f} of {trial.seen[row]:.0f} requests to {state.layout.servers[row]} failed; "
                f"of its peers {trial.peers_bad[row]:.0f} of {trial.peers_seen[row]:.0f}")  # fmt: skip

    return _rows_on(state, trial.track, Kind.ERRORS, say)


def _latency_signals(state: Detection, tick: Tick) -> list[Signal]:
    now, late = state.recent, state.late
    explained = latency.expectation(now, tick)

    def say(row: int, rows: slice) -> str:
        name = state.layout.servers[row]
        answers = f"{late.bad[row]:.0f} of {late.seen[row]:.0f} sampled answers of {name} are late"
        if not state.held.on[row]:
            return f"{answers}; of its peers {late.peers_bad[row]:.0f} of {late.peers_seen[row]:.0f}"
        held = max(float(known_or(tick.in_flight)[row]), float(now.in_flight[row]))
        slow = f"; {answers}" if late.bad[row] >= 1 else ""
        return f"{name} holds {held:.0f} requests in flight where its peers' pace explains {explained[row]:.0f}{slow}"

    both = Track(
        np.where(late.track.on[:, None], late.track.score.max(axis=1)[:, None], state.held.score[:, :1]),
        np.fmin(state.held.since, late.track.since), state.held.on | late.track.on,
    )  # fmt: skip
    return _rows_on(state, both, Kind.LATENCY, say)


def _surge_signals(state: Detection, tick: Tick) -> list[Signal]:
    now = state.recent

    def say(i: int) -> str:
        rate = now.arrived[i] / max(now.seconds[i], 1e-9)
        return f"{rate:.0f} requests/s arrive against a forecast of {now.rate[i]:.0f}"

    return _pools_on(state, state.surge, Kind.SURGE, say)


def _check_signals(state: Detection, tick: Tick) -> list[Signal]:
    return _rows_on(
        state, state.check, Kind.CHECK, lambda row, _: f"the check of {state.layout.servers[row]} fails"
    )  # fmt: skip


def _refused_signals(state: Detection, tick: Tick) -> list[Signal]:
    def say(i: int) -> str:
        refused = float(known_or(tick.pool.refused)[i]) / tick.seconds
        how_many = f"{refused:.0f} requests/s" if refused >= 1 else "some requests"
        return f"the proxy refuses {how_many}: no server, or no place in the queue, is free for them"

    return _pools_on(state, state.refused, Kind.REFUSED, say)


def _harm_signals(state: Detection, tick: Tick) -> list[Signal]:
    now = state.recent

    def say(i: int) -> str:
        ratio = min(now.harmed[i] / max(now.arrived[i], 1.0), 1.0)
        return f"{ratio:.0%} of the last {now.arrived[i]:.0f} requests failed or were late"

    return _pools_on(state, state.harm, Kind.HARM, say)


DETECTORS = (
    _share_signals,
    _unpredicted_signals,
    _error_signals,
    _latency_signals,
    _surge_signals,
    _check_signals,
    _refused_signals,
    _harm_signals,
)
