"""The signals that stand, each with its figures in a sentence."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from levelhead.detect import budget, latency, shares
from levelhead.detect.base import Kind, Signal, Track
from levelhead.detect.state import Detection
from levelhead.telemetry import Tick, known_or


def standing(state: Detection, tick: Tick) -> tuple[Signal, ...]:
    """All signals that stand after this tick."""
    return tuple(signal for detector in DETECTORS for signal in detector(state, tick))


def _rows_on(state: Detection, track: Track, kind: Kind, say: Callable[[int, slice], str]) -> list[Signal]:
    rows = np.flatnonzero(track.on)
    if not len(rows):
        return []
    layout, found = state.layout, []
    scores = track.evidence()
    for row in rows.tolist():
        pool = int(np.searchsorted(layout.starts, row, side="right")) - 1
        of_pool = slice(layout.offsets[pool], layout.offsets[pool + 1])
        found.append(Signal(kind, layout.pools[pool], layout.servers[row], float(track.since[row]),
                            float(scores[row]), say(row, of_pool)))  # fmt: skip
    return found


def _pools_on(state: Detection, track: Track, kind: Kind, say: Callable[[int], str]) -> list[Signal]:
    pools = np.flatnonzero(track.on)
    if not len(pools):
        return []
    scores = track.evidence()
    return [
        Signal(kind, state.layout.pools[i], "", float(track.since[i]), float(scores[i]), say(i)) for i in pools.tolist()
    ]


def _share(state: Detection, tick: Tick) -> list[Signal]:
    def say(row: int, rows: slice) -> str:
        got, of_all = state.got[row], max(state.of_all[row], 1.0)
        name, meant = state.layout.servers[row], state.expected.intended[row]
        return f"{name} got {got:.0f} of {of_all:.0f} requests ({got / of_all:.0%}) and is meant to get {meant:.0%}"

    return _rows_on(state, state.share, Kind.SHARE, say)


def _unpredicted(state: Detection, tick: Tick) -> list[Signal]:
    def say(row: int, rows: slice) -> str:
        got, all_of_them = state.recent.requests[row], max(state.recent.requests[rows].sum(), 1.0)
        return (f"{state.layout.servers[row]} got {got / all_of_them:.0%} of the last {all_of_them:.0f} requests; "
                f"the weights in force do not explain it")  # fmt: skip

    return _rows_on(state, state.unpredicted, Kind.UNPREDICTED, say)


def _starved(state: Detection, tick: Tick) -> list[Signal]:
    def say(row: int, rows: slice) -> str:
        got, all_of_them = state.recent.requests[row], max(state.recent.requests[rows].sum(), 1.0)
        served = tick.at_s - known_or(state.serving_since)[row]
        return (f"{state.layout.servers[row]} got {got:.0f} of the last {all_of_them:.0f} requests, far fewer than its "
                f"weight explains; it serves since {served:.0f} s")  # fmt: skip

    return _rows_on(state, state.starved, Kind.STARVED, say)


def _errors(state: Detection, tick: Tick) -> list[Signal]:
    trial = state.error

    def say(row: int, rows: slice) -> str:
        own = f"{trial.bad[row]:.0f} of {trial.seen[row]:.0f} requests to {state.layout.servers[row]} failed"
        return f"{own}{_manner(state, row)}; of its peers {trial.peers_bad[row]:.0f} of {trial.peers_seen[row]:.0f}"

    return _rows_on(state, trial.track, Kind.ERRORS, say)


def _manner(state: Detection, row: int) -> str:
    """In which ways the last failures failed, the commonest first."""
    now = state.recent
    failed, refused, answered = float(now.failures[row]), float(now.unconnected[row]), float(now.answered[row])
    ways = {"answered 5xx": answered, "no connection": refused, "broken off or too late": failed - refused - answered}
    told = sorted((way for way, count in ways.items() if count > 0.2 * failed), key=lambda way: -ways[way])
    return f" ({', '.join(told)})" if failed >= 0.5 and told else ""


def _latency(state: Detection, tick: Tick) -> list[Signal]:
    now, late = state.recent, state.late
    if not (state.held.on | late.track.on).any():
        return []
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
        np.where(late.track.on, late.track.score.max(axis=0), state.held.score[0])[None, :],
        np.fmin(state.held.since, late.track.since), state.held.on | late.track.on,
    )  # fmt: skip
    return _rows_on(state, both, Kind.LATENCY, say)


def _surge(state: Detection, tick: Tick) -> list[Signal]:
    now = state.recent

    def say(i: int) -> str:
        rate = now.arrived[i] / max(now.seconds[i], 1e-9)
        return f"{rate:.0f} requests/s arrive against a forecast of {state.forecast[i]:.0f}"

    return _pools_on(state, state.surge, Kind.SURGE, say)


def _slowdown(state: Detection, tick: Tick) -> list[Signal]:
    def say(i: int) -> str:
        held = float(known_or(tick.layout.per_pool(tick.in_flight))[i])
        usual = float(latency.usually(state.recent)[i])
        return f"the pool holds {held:.0f} requests in flight where its usual pace explains {usual:.0f}"

    return _pools_on(state, state.slowdown, Kind.SLOWDOWN, say)


def _retries(state: Detection, tick: Tick) -> list[Signal]:
    def say(i: int) -> str:
        again = float(state.layout.per_pool(state.recent.unconnected)[i])
        return f"{again:.0f} attempts were made again for the last {state.recent.arrived[i]:.0f} requests"

    return _pools_on(state, state.retries, Kind.RETRIES, say)


def _queue(state: Detection, tick: Tick) -> list[Signal]:
    def say(i: int) -> str:
        waiting = np.fmax(tick.pool.queued, tick.layout.per_pool(tick.queued))[i]
        rows = slice(state.layout.offsets[i], state.layout.offsets[i + 1])
        full = np.flatnonzero(tick.in_flight[rows] >= state.expected.limit[rows])
        names = ", ".join(state.layout.servers[rows][k] for k in full.tolist())
        return f"{waiting:.0f} requests wait for a place" + (f"; at their limit: {names}" if names else "")

    return _pools_on(state, state.queue, Kind.QUEUE, say)


def _check(state: Detection, tick: Tick) -> list[Signal]:
    return _rows_on(
        state, state.checks.failing, Kind.CHECK, lambda row, _: f"the check of {state.layout.servers[row]} fails"
    )  # fmt: skip


def _doubt(state: Detection, tick: Tick) -> list[Signal]:
    def say(row: int, rows: slice) -> str:
        name = state.layout.servers[row]
        return f"the check of {name} fails, and until then {name} answered as well and as fast as its peers"

    return _rows_on(state, state.checks.doubted, Kind.DOUBT, say)


def _flapping(state: Detection, tick: Tick) -> list[Signal]:
    def say(row: int, rows: slice) -> str:
        return f"the check of {state.layout.servers[row]} changed its mind {state.checks.flips[row]:.0f} times lately"

    return _rows_on(state, state.checks.flapping, Kind.FLAPPING, say)


def _crowded(state: Detection, tick: Tick) -> list[Signal]:
    def say(i: int) -> str:
        few, enough = state.recent.clients[i], shares.FEWEST_CLIENTS
        return (f"clients are spread, and their requests are as concentrated as if there were {few:.0f} "
                f"(below {enough:.0f} they cannot come out even)")  # fmt: skip

    return _pools_on(state, state.crowded, Kind.CLIENTS, say)


def _pinned(state: Detection, tick: Tick) -> list[Signal]:
    def say(i: int) -> str:
        rows = slice(state.layout.offsets[i], state.layout.offsets[i + 1])
        age_s, open_now = float(state.links.age_s[i]), float(known_or(tick.connections)[rows].sum())
        old = f"about {age_s / 60:.0f} min old" if age_s < 6 * 3600 else "hours old"
        return f"requests come over {open_now:.0f} connections that are {old}; servers that were added get hardly any"

    return _pools_on(state, state.links.track, Kind.PINNED, say)


def _refused(state: Detection, tick: Tick) -> list[Signal]:
    def say(i: int) -> str:
        refused = float(known_or(tick.pool.refused)[i]) / tick.seconds
        how_many = f"{refused:.0f} requests/s" if refused >= 1 else "some requests"
        return f"the proxy refuses {how_many}: no server, or no place in the queue, is free for them"

    return _pools_on(state, state.refused, Kind.REFUSED, say)


def _burn(state: Detection, tick: Tick) -> list[Signal]:
    def of_server(row: int, rows: slice) -> str:
        return _burning(state.burn, row, f"{state.layout.servers[row]} fails", availability[row])

    availability = state.layout.per_row(state.expected.availability)
    return [
        *_pools_on(state, state.pool_burn.track, Kind.BURN,
                   lambda i: _burning(state.pool_burn, i, "the pool fails", state.expected.availability[i])),
        *_rows_on(state, state.burn.track, Kind.BURN, of_server),
    ]  # fmt: skip


def _burning(burn: budget.Burn, at: int, who: str, availability: float) -> str:
    rates = burn.rates_of(at, availability)
    worst = max(range(0, len(rates), 2), key=lambda k: rates[k] / budget.RATES[k])
    seconds = float(min(budget.WINDOWS_S[worst], burn.watched_s[at]))
    return (f"{who} {burn.bad[worst, at]:.0f} of {burn.seen[worst, at]:.0f} requests in {seconds / 60:.0f} min: "
            f"{rates[worst]:.1f} times what its promise of {availability:.2%} allows")  # fmt: skip


def _harm(state: Detection, tick: Tick) -> list[Signal]:
    now = state.recent

    def say(i: int) -> str:
        ratio = min(now.harmed[i] / max(now.arrived[i], 1.0), 1.0)
        return f"{ratio:.0%} of the last {now.arrived[i]:.0f} requests failed or were late"

    return _pools_on(state, state.harm, Kind.HARM, say)


DETECTORS = (
    _share, _unpredicted, _starved, _errors, _latency, _surge, _slowdown, _retries, _queue, _check, _doubt, _flapping,
    _crowded, _pinned, _refused, _burn, _harm,
)  # fmt: skip
