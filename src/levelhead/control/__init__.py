"""step(state, view) -> Outcome: one tick of the loop, pure, so that every tick can be recorded and replayed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from levelhead import detect
from levelhead.control import harm
from levelhead.control.base import (
    Acknowledge,
    Alter,
    Approve,
    Effect,
    Keep,
    MarkGood,
    Note,
    Order,
    Outcome,
    PoolState,
    Put,
    Remember,
    Reply,
    Resolve,
    Revise,
    RollBack,
    State,
    Tell,
    View,
)
from levelhead.control.cases import case_of, known, unknown_case
from levelhead.control.orders import ordered
from levelhead.control.pools import HARMLESS, opened, pool_turn, reported, standing_now, taken_up, troubles
from levelhead.control.turn import Turn
from levelhead.detect import learned, memory
from levelhead.detect.base import Kind, Signal
from levelhead.detect.learned import Learned
from levelhead.diagnose.base import Case
from levelhead.incident import Incident, moved, written
from levelhead.mitigate.base import Situation
from levelhead.model import AddServer, Pool, Rebuild
from levelhead.telemetry import Missing, Sample, Tick, between

# A revision has served well after so long without trouble and with so many requests, or much longer without any.
GOOD_AFTER_S = 8.0
GOOD_REQUESTS = 100.0
GOOD_IDLE_S = 60.0

# A sample this much older than the last one is no late one: the clock was set back.
LATE_S = 60.0

# What is learnt is kept once in so long.
KEEP_LEARNED_S = 300.0

# So few pools are told of one by one even when nothing is wrong.
FEW = 3

# So many pools get a turn in one tick; a failure of all of them at once must not stop the clock.
MOST_TURNS = 100

# Trouble this old, with the same signals as before and nothing under way, is looked at once in so long.
SETTLED_S, TURN_S = 10.0, 1.0


@dataclass(frozen=True, slots=True)
class _Scene:
    """What the tick is judged by: the tick itself, or why there is none."""

    state: State
    tick: Tick | None
    signals: tuple[Signal, ...]
    why: str

    def of_pools(self) -> dict[str, tuple[Signal, ...]]:
        """The signals of each pool that has some."""
        found: dict[str, list[Signal]] = {}
        for signal in self.signals:
            found.setdefault(signal.pool, []).append(signal)
        return {pool: tuple(signals) for pool, signals in found.items()}


@dataclass(slots=True)
class _Desk:
    """What is remembered of pools while one tick works on them, and the next numbers."""

    pools: dict[str, PoolState]
    tickets: int
    incidents: int

    def pool(self, name: str) -> PoolState:
        return self.pools.get(name) or PoolState()

    def keep(self, name: str, turn: Turn) -> None:
        self.pools[name], self.tickets, self.incidents = turn.state, turn.tickets, turn.incidents


def begin(
    incidents: tuple[Incident, ...], good: tuple[int, ...], next_incident: int, known: Learned | None = None
) -> State:
    """The state of a control plane that starts, with the incidents an earlier one left open, and what it had learnt."""
    pools = tuple((i.pool, taken_up(i)) for i in incidents if i.open)
    return State(pools=pools, good=good, next_incident=next_incident, learned=known)


def worth_keeping(state: State, at: float) -> tuple[Remember, ...]:
    """What the detectors have learnt until now, if they have begun."""
    return () if state.detection is None else (Remember(learned.learned(state.detection, at)),)


def step(state: State, view: View) -> Outcome:
    """One tick: look, judge, and say what is to be done and why."""
    scene = _looked(state, view)
    state, effects, sentences = _people_and_pools(scene, view)
    state, marked = _good(state, view, scene)
    because = "; ".join(sentences) if scene.tick is not None else scene.why
    state = replace(state, signals=scene.signals, kept_at=state.kept_at or view.at)
    if view.at - state.kept_at >= KEEP_LEARNED_S and scene.tick is not None:
        state, effects = replace(state, kept_at=view.at), [*effects, *worth_keeping(state, view.at)]
    return Outcome(state, (*effects, *marked), because, scene.signals)


def _looked(state: State, view: View) -> _Scene:
    sample = view.sample
    if isinstance(sample, Missing):
        since = view.at if state.missing_since is None else state.missing_since
        why = f"no telemetry since {view.at - since:.1f} s ({sample.why}): nothing is judged and nothing is done"
        return _Scene(replace(state, missing_since=since), None, state.signals, why)
    before = state.sample
    if before is not None and 0 <= before.at_s - sample.at_s < LATE_S:
        # What came late or twice was counted already; the next sample is compared with the newest one.
        return _Scene(state, None, state.signals, "the sample is not newer than the last one: nothing is judged")
    state = replace(state, sample=sample, missing_since=None)
    if before is None:
        return _Scene(state, None, (), "the first look at the proxy: nothing to compare it with yet")
    tick = between(before, sample, view.records)
    if isinstance(tick, Missing):
        return _Scene(state, None, state.signals, f"{tick.why}: nothing is judged this tick")
    detection = state.detection or _begun(state.learned, sample, view)
    state = replace(state, learned=None)
    detection, signals = detect.detect(detection, tick, view.fleet, view.false_alarms_per_month)
    past, signals = memory.remembered(state.memory, tick, view.fleet, signals)
    state = replace(state, detection=detection, memory=past, glances=harm.glanced(state.glances, tick))
    return _Scene(state, tick, signals, "")


def _begun(known: Learned | None, sample: Sample, view: View) -> detect.Detection:
    fresh = detect.begin(sample.layout, view.fleet)
    return fresh if known is None else learned.taken_up(fresh, known, view.at)


def _people_and_pools(scene: _Scene, view: View) -> tuple[State, list[Effect], list[str]]:
    """People first, then each pool by itself. Of changes to the fleet at most one is ever on its way: each is drawn
    up against the fleet in force, and a second one would undo the first."""
    state, effects = scene.state, list[Effect]()
    desk = _Desk(dict(state.pools), state.next_ticket, state.next_incident)
    of_pools = scene.of_pools()
    awake = _awake(desk, of_pools, view)
    cases = tuple(
        (pool, _case(pool, view, scene, of_pools.get(pool.name, ())), known(pool, scene.tick)) for pool in awake
    )
    for pool, case, fresh in cases:
        turn = _turn(desk, state.good, case, view, busy=True)
        turn = _told(_harmed(turn, scene, pool.name), scene, view)
        for report in view.reports:
            turn = reported(turn, report)
        for order in view.orders:
            if _concerns(order, pool, desk, view):
                turn = ordered(turn, order, view.revisions, fresh)
        effects += turn.effects
        desk.keep(pool.name, turn)
    answered = {e.order for e in effects if isinstance(e, (Put, Reply))}
    effects += [Reply(o.id, False, _nowhere(o), (_nowhere(o),)) for o in view.orders if o.id not in answered]
    sentences = _asleep(awake, _troubled(desk, of_pools), view, scene)
    for pool, case, fresh in cases:
        if not fresh:
            continue
        busy = view.busy or any(isinstance(e, Put) for e in effects)
        turn = _turn(desk, state.good, case, view, busy=busy)
        if turn.state.incident is None and troubles(case):
            turn = _looking_back(turn, scene)
        turn, sentence = pool_turn(turn)
        sentences.append(sentence)
        effects += turn.effects
        desk.keep(pool.name, turn)
    effects += _orphans_closed(desk, view)
    pools = tuple(desk.pools.items())
    state = replace(state, pools=pools, next_ticket=desk.tickets, next_incident=desk.incidents)
    return state, effects, sentences


def _awake(desk: _Desk, of_pools: dict[str, tuple[Signal, ...]], view: View) -> tuple[Pool, ...]:
    """The pools that get a turn: all while people or the proxy want something, else those that are in trouble; where
    these are too many, those whose last turn is longest ago."""
    pools = view.fleet.pools
    if view.orders or view.events or len(pools) <= FEW:
        return pools
    named = _troubled(desk, of_pools)
    named -= {name for name in named if _waits(desk.pool(name), of_pools.get(name, ()), view.at)}
    if len(named) > MOST_TURNS:
        named = set(sorted(named, key=lambda name: (desk.pool(name).turned_at, name))[:MOST_TURNS])
    return tuple(pool for pool in pools if pool.name in named)


def _troubled(desk: _Desk, of_pools: dict[str, tuple[Signal, ...]]) -> set[str]:
    """Pools with a signal that matters, or with an open incident."""
    named = {name for name, signals in of_pools.items() if any(s.kind not in HARMLESS for s in signals)}
    return named | {name for name, remembered in desk.pools.items() if remembered.incident is not None}


def _waits(state: PoolState, signals: tuple[Signal, ...], at: float) -> bool:
    """Whether an incident is as it was a moment ago, and nobody is doing anything about it."""
    incident = state.incident
    if incident is None or state.doing is not None or state.watching or at - state.turned_at >= TURN_S:
        return False
    return at - incident.clocks.detected >= SETTLED_S and state.explained_by == standing_now(signals)


def _asleep(awake: tuple[Pool, ...], troubled: set[str], view: View, scene: _Scene) -> list[str]:
    """What there is to say of all the others together."""
    named = {pool.name for pool in awake}
    waiting = sum(pool.name in troubled and pool.name not in named for pool in view.fleet.pools)
    calm = len(view.fleet.pools) - len(awake) - waiting
    if scene.tick is None:
        return []
    told = [f"{waiting} pools: in trouble, and their turn comes"] if waiting else []
    if calm:
        rate = float(np.nansum(scene.tick.pool.arrived)) / scene.tick.seconds
        others = "other " if awake or waiting else ""
        told.append(f"{calm} {others}pools: nothing amiss ({rate:.0f} requests/s arrive in all)")
    quiet = [s for s in scene.signals if s.pool not in named and s.kind in HARMLESS]
    return told + [f"{s.pool}: {s.sentence}" for s in quiet[:FEW]]


def _orphans_closed(desk: _Desk, view: View) -> list[Effect]:
    """Incidents of pools that are no longer configured end with them."""
    effects: list[Effect] = []
    configured = {pool.name for pool in view.fleet.pools}
    for name in [name for name in desk.pools if name not in configured]:
        incident = desk.pools.pop(name).incident
        if incident is not None:
            text = "the pool is no longer configured"
            incident = written(incident, view.at, "resolution", text)
            clocks = replace(incident.clocks, resolved=view.at, recovered=incident.clocks.recovered or view.at)
            incident = moved(replace(incident, clocks=clocks, resolution=text), "resolved")
            effects += [Keep(incident), Tell(incident, "closed", text)]
    return effects


def _turn(desk: _Desk, known_good: tuple[int, ...], case: Case, view: View, *, busy: bool) -> Turn:
    remembered = desk.pool(case.pool.name)
    good = next((r for r in reversed(view.revisions) if r.number in known_good), None)
    situation = Situation(view.fleet, case, good, view.revisions[-1].number, remembered.forced)
    return Turn(remembered, situation, view.at, desk.tickets, desk.incidents, busy)


def _case(pool: Pool, view: View, scene: _Scene, signals: tuple[Signal, ...]) -> Case:
    detection = scene.state.detection
    if scene.tick is None or detection is None or not known(pool, scene.tick):
        return unknown_case(pool, view)
    return case_of(pool, view, detection, scene.tick, signals, scene.state.memory)


def _harmed(turn: Turn, scene: _Scene, pool: str) -> Turn:
    """With the harm since its last turn in its open incident."""
    state, glances = turn.state, scene.state.glances
    if scene.tick is None:
        return turn
    if state.incident is not None:
        late_ms = turn.case.pool.slo.latency_ms
        for suffered in harm.lately(tuple(g for g in glances if g.at > state.counted_at), pool, late_ms):
            state = harm.remembered(state, suffered)
    return turn.remembering(replace(state, turned_at=turn.at, counted_at=glances[-1].at))


def _told(turn: Turn, scene: _Scene, view: View) -> Turn:
    """Writes down what happened to the proxy itself, and what became of notices."""
    for event in view.events:
        if turn.state.incident is None and event.harmful:
            turn = opened(_looking_back(turn, scene), event.text, event.at)
        if turn.state.incident is not None:
            turn = turn.having(written(turn.incident, event.at, "engine", event.text))
    for notice in view.notices:
        if turn.state.incident is not None and turn.incident.id == notice.incident:
            turn = turn.having(written(turn.incident, notice.at, "notice", notice.text))
    return turn


def _looking_back(turn: Turn, scene: _Scene) -> Turn:
    """With the harm of the last seconds at hand, to be counted into an incident that opens."""
    pool = turn.case.pool
    lately = harm.lately(scene.state.glances, pool.name, pool.slo.latency_ms)
    return turn.remembering(replace(turn.state, lately=lately))


def _concerns(order: Order, pool: Pool, desk: _Desk, view: View) -> bool:
    """Whether this pool's turn handles the order: its servers', its incident's, or, for the whole fleet, one pool's."""
    incident = desk.pool(pool.name).incident
    match order.wish:
        case Alter(changes):
            return any(not isinstance(c, Rebuild) and c.pool == pool.name for c in changes[:1]) and _known(
                order.wish, pool
            )
        case RollBack() | Revise():
            return pool.name == _spokesman(desk, view)
        case Acknowledge(name) | Note(name, _) | Resolve(name, _) | Approve(name):
            return incident is not None and incident.id == name


def _known(wish: Alter, pool: Pool) -> bool:
    """Whether every server that is to be changed exists, so that the change can be made at all."""
    for change in wish.changes:
        if isinstance(change, (AddServer, Rebuild)):
            continue
        if change.pool != pool.name or pool.server(change.server) is None:
            return False
    return True


def _spokesman(desk: _Desk, view: View) -> str:
    """The pool whose incident a change of everything is written into: one in trouble, else the first."""
    open_ones = [p.name for p in view.fleet.pools if desk.pool(p.name).incident is not None]
    return (open_ones or [p.name for p in view.fleet.pools])[0]


def _nowhere(order: Order) -> str:
    match order.wish:
        case Alter():
            return "there is no such pool or server"
        case Acknowledge(name) | Note(name, _) | Resolve(name, _) | Approve(name):
            return f"no open incident is called {name}"
        case RollBack() | Revise():
            return "the fleet has no pool"


def _good(state: State, view: View, scene: _Scene) -> tuple[State, tuple[Effect, ...]]:
    """Marks the revision in force as good once it has served for a while without trouble."""
    current = view.revisions[-1]
    if state.serving != current.number:
        state = replace(state, serving=current.number, serving_since=view.at, served=0.0)
    if scene.tick is None or current.number in state.good:
        return state, ()
    served = state.served + float(scene.tick.pool.arrived.sum())
    alarmed = any(s.kind is not Kind.SURGE for s in scene.signals)
    if alarmed or any(s.incident is not None for _, s in state.pools):
        return replace(state, serving_since=view.at, served=0.0), ()
    state = replace(state, served=served)
    elapsed = view.at - state.serving_since
    if (elapsed >= GOOD_AFTER_S and served >= GOOD_REQUESTS) or elapsed >= GOOD_IDLE_S:
        return replace(state, good=(*state.good, current.number)), (MarkGood(current.number),)
    return state, ()
