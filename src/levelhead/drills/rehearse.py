"""A drill in virtual time: the simulated world and the pure loop, tick by tick; seconds for an hour."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import assert_never

from levelhead import control
from levelhead.control.base import (
    Effect,
    Keep,
    MarkGood,
    Order,
    Outcome,
    Put,
    Remember,
    Reply,
    Report,
    Revise,
    State,
    Tell,
    View,
)
from levelhead.control.recording import Opening, Recorder
from levelhead.drills import base, score
from levelhead.drills.arrivals import KEYS
from levelhead.drills.facts import facts
from levelhead.drills.timeline import Moment, fault_s, moments
from levelhead.errors import UsageError
from levelhead.incident import Incident
from levelhead.model import Fleet, Mode, Revision
from levelhead.simulate import (
    Capacity,
    CheckFails,
    CheckFlaps,
    CheckHonest,
    CheckLies,
    Down,
    Errors,
    Fault,
    Hang,
    HotKey,
    Lognormal,
    Ramp,
    Resets,
    ServerModel,
    Shape,
    Slow,
    Steady,
    Traffic,
    Up,
    UserModel,
    World,
)
from levelhead.simulate.base import Bursts, Diurnal

TICK_S = 0.25
# When the virtual day begins: 2024-03-10 09:00 UTC, as in the incident that Levelhead starts from.
BEGAN = 1_710_061_200.0
SOMEBODY = "deploy"

# A configuration in the language of a balancer, read. Languages are known above this layer.
Reader = Callable[[base.Raw], Fleet]


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What came of it; `sentences` are what the loop said, without repetitions, with seconds since the start."""

    record: score.DrillRecord
    incidents: tuple[Incident, ...]
    sentences: tuple[tuple[float, str], ...]
    puts: tuple[Put, ...]


def rehearse(
    scenario: base.Scenario, *, mode: score.Mode, seed: int | None = None, recorder: Recorder | None = None,
    read: Reader | None = None,
) -> Rehearsal:
    """Plays the scenario in the simulator. UsageError for a raw text where nobody can `read` it.

    `recorder` is shown all that a tick saw.
    """  # fmt: skip
    seed = scenario.seed if seed is None else seed
    rehearsal = Rehearsing(scenario, mode, seed, recorder, read)
    ticks = round(scenario.duration_s / TICK_S)
    for i in range(1, ticks + 1):
        rehearsal.tick(i * TICK_S)
    return rehearsal.result()


class Rehearsing:
    """A rehearsal on its way: a world that moves on tick by tick, the loop's state, and the orders of people."""

    def __init__(
        self, scenario: base.Scenario, mode: score.Mode, seed: int, recorder: Recorder | None = None,
        read: Reader | None = None,
    ) -> None:  # fmt: skip
        self.scenario, self.mode, self.seed = scenario, mode, seed
        self.texts = _texts(scenario, read)
        addresses = {name: ("127.0.0.1", 3001 + i) for i, name in enumerate(scenario.pool.servers)}
        fleet = base.fleet_of(scenario, 8080, addresses)
        if mode != "off":
            fleet = replace(fleet, pools=tuple(replace(p, mode=Mode(mode)) for p in fleet.pools))
        self.addresses, self.fleet, self.first = addresses, fleet, fleet
        self.world = World(fleet, _servers(scenario), {base.POOL: _users(scenario)}, seed=seed)
        self.state: State = control.begin((), (), 1)
        self.recorder = recorder
        if recorder is not None:
            recorder.begin(Opening())
        self.revisions: tuple[Revision, ...] = (Revision(1, fleet, "levelhead", BEGAN, "first configuration"),)
        self.orders: tuple[Order, ...] = ()
        self.reports: tuple[Report, ...] = ()
        self.incidents: dict[str, Incident] = {}
        self.noticed: float | None = None
        self.sentences: list[tuple[float, str]] = []
        self.puts: list[Put] = []
        self.effects: list[Effect] = []
        self.moments = list(moments(scenario))

    def tick(self, at_s: float) -> None:
        while self.moments and self.moments[0].at_s <= at_s:
            moment = self.moments.pop(0)
            self.world.advance(moment.at_s)
            self._happen(moment)
        self.world.advance(at_s)
        if self.mode == "off":
            return
        sample = self.world.sample()
        view = View(
            at=BEGAN + at_s, sample=replace(sample, at_s=BEGAN + sample.at_s), revisions=self.revisions,
            records=self.world.records(), orders=self.orders, reports=self.reports,
        )  # fmt: skip
        self.orders, self.reports = (), ()
        outcome = control.step(self.state, view)
        self.state = outcome.state
        if self.recorder is not None:
            self.recorder.tick(view, outcome)
        self._note(at_s, outcome)
        self.effects += outcome.effects
        for effect in outcome.effects:
            self._carry_out(effect, BEGAN + at_s)

    def result(self) -> Rehearsal:
        # Users stop coming, and those who wait may still be answered in time.
        self.world.inject(Traffic(0.0))
        self.world.advance(self.scenario.duration_s + self.scenario.slo.latency_ms / 1000.0)
        found = self.world.harm(base.POOL)
        unanswered = found.arrived - found.requests
        harm = score.Harm(found.arrived, found.harmed_requests + max(unanswered, 0), found.users, found.harmed_users)
        incidents = tuple(self.incidents.values())
        told = facts(
            self.scenario, incidents, engine="sim", mode=self.mode, seed=self.seed, harm=harm, began=BEGAN,
            noticed=self.noticed, before=self.first, after=self.fleet,
        )  # fmt: skip
        return Rehearsal(score.score(self.scenario, told), incidents, tuple(self.sentences), tuple(self.puts))

    def _note(self, at_s: float, outcome: Outcome) -> None:
        fault = fault_s(self.scenario)
        if outcome.signals and self.noticed is None and fault is not None and at_s >= fault:
            self.noticed = BEGAN + at_s
        if not self.sentences or self.sentences[-1][1] != outcome.because:
            self.sentences.append((at_s, outcome.because))

    def _carry_out(self, effect: Effect, at: float) -> None:
        match effect:
            case Put():
                self.puts.append(effect)
                self._put(effect, at)
            case Keep(incident):
                self.incidents[incident.id] = incident
            case Tell() | Reply() | MarkGood() | Remember():
                pass  # nobody listens in a rehearsal, and the state knows itself what is good
            case _:
                assert_never(effect)

    def _put(self, put: Put, at: float) -> None:
        number = self.revisions[-1].number + 1
        self.revisions = (*self.revisions, Revision(number, put.fleet, put.author, at, put.why, put.source))
        self.fleet = put.fleet
        self.world.apply(put.fleet)
        self.reports = (*self.reports, Report(put.ticket, number, f"revision {number} in force"))

    def _happen(self, moment: Moment) -> None:
        what = moment.event.what
        fleet = self._changed(moment)
        if fleet is not None:
            self._ship(fleet, moment)
            return
        for fault in _faults(self.scenario, what, moment.begins):
            self.world.inject(fault)
        if isinstance(what, base.Restart) and moment.begins:
            self.world.inject(Up(what.name), moment.at_s + what.down_s)

    def _changed(self, moment: Moment) -> Fleet | None:
        """The fleet that somebody ships now, right or wrong; None where this event is none of the configuration."""
        change = base.shipped(self.scenario, self.fleet.pools[0], moment.event, self.addresses, self.texts)
        if change is None:
            return None
        return replace(self.fleet, pools=(change,)) if moment.begins else self.first

    def _ship(self, fleet: Fleet, moment: Moment) -> None:
        if self.mode == "off":
            self.fleet = fleet
            self.world.apply(fleet)
            return
        order = Order(f"ship-{moment.at_s:g}", BEGAN + moment.at_s, SOMEBODY, "ship a change", Revise(fleet, ""))
        self.orders = (*self.orders, order)


def _servers(scenario: base.Scenario) -> dict[tuple[str, str], ServerModel]:
    return {
        (base.POOL, name): ServerModel(
            spec.workers, Lognormal(spec.service_ms.median, spec.service_ms.p99), deep_check=spec.deep_check,
            health_paths=(base.HEALTH_PATH,),
        )
        for name, spec in scenario.pool.servers.items()
    }


def _users(scenario: base.Scenario) -> UserModel:
    users = scenario.users
    shape: Shape
    match users.shape:
        case "steady":
            shape = Steady()
        case "ramp":
            shape = Ramp(2.0, 0.0, scenario.duration_s)
        case "diurnal":
            shape = Diurnal(0.5, scenario.duration_s, scenario.duration_s / 2)
        case "burst":
            shape = Bursts()
    return UserModel(
        rps=users.rps, count=users.count, exponent=0.4, shape=shape, session=users.session,
        paths=KEYS, path_exponent=0.0, repeatable=1.0 - users.post_share,
    )  # fmt: skip


def _faults(scenario: base.Scenario, what: base.What, begins: bool) -> tuple[Fault, ...]:
    match what:
        case base.ServerFault():
            return (_server_fault(scenario, what) if begins else _cure(scenario, what),)
        case base.Traffic(factor=factor):
            return (Traffic(factor if begins else 1.0),)
        case base.HotKey(share=share):
            return (HotKey(share if begins else 0.0),)
        case base.DependencyFault(slow_ms=slow, errors=ratio):
            if slow is not None:
                return (Slow(add_ms=slow if begins else 0.0),)
            return (Errors((ratio or 0.0) if begins else 0.0, fast=True),)
        case base.CheckFault():
            return tuple(_check_fault(what, server) if begins else CheckHonest(server)
                         for server in what.servers or (None,))  # fmt: skip
        case base.Restart(name=name):
            return (Down(name),) if begins else ()
        case base.ConfigChange() | base.Raw() | base.Deploy() | base.ZoneFault():
            raise AssertionError(f"{type(what).__name__} is shipped, or told as its parts")
        case _:
            assert_never(what)


def _server_fault(scenario: base.Scenario, what: base.ServerFault) -> Fault:
    if what.down is not None:
        return Down(what.name)
    if what.hang is not None:
        return Hang(what.name)
    if what.errors is not None:
        return Errors(what.errors, what.name, fast=True)
    if what.slow_ms is not None:
        return Slow(add_ms=what.slow_ms, server=what.name)
    if what.resets is not None:
        return Resets(what.resets, what.name)
    workers = scenario.pool.servers[what.name].workers
    return Capacity(max(1, round(workers * (what.capacity or 1.0))), what.name)


def _cure(scenario: base.Scenario, what: base.ServerFault) -> Fault:
    """What ends this fault, and no other that the server may have."""
    match what.chosen:
        case "errors":
            return Errors(0.0, what.name)
        case "slow_ms":
            return Slow(server=what.name)
        case "resets":
            return Resets(0.0, what.name)
        case "capacity":
            return Capacity(scenario.pool.servers[what.name].workers, what.name)
        case _:
            return Up(what.name)


def _texts(scenario: base.Scenario, read: Reader | None) -> dict[base.Raw, Fleet]:
    """The raw texts of a scenario, read before anything begins."""
    raw = [event.raw for event in scenario.events if event.raw is not None]
    if raw and read is None:
        raise UsageError(f"{scenario.name} ships a raw text, and nobody here can read it")
    return {text: read(text) for text in raw if read is not None}


def _check_fault(what: base.CheckFault, server: str | None) -> Fault:
    if what.flaps is not None:
        return CheckFlaps(what.flaps, server)
    return CheckLies(server) if what.lies == "passing" else CheckFails(server)
