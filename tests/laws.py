"""A world in which everything goes wrong at random, and a judge who watches that no law of mitigation is broken.

Faults, people who change things, samples lost, delayed and repeated, an engine that refuses or dawdles, a control
plane that dies and is started again at any moment. The same seed gives the same run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from random import Random

from levelhead import control, predict
from levelhead.control.base import (
    LEVELHEAD,
    Acknowledge,
    Alter,
    Approve,
    Doing,
    Keep,
    MarkGood,
    Order,
    Outcome,
    Put,
    Report,
    Resolve,
    RollBack,
    State,
    View,
    Wish,
)
from levelhead.control.pools import COOLDOWN_S, LONGEST_S, VERIFY_S
from levelhead.incident import Incident
from levelhead.mitigate.guard import FEWEST_SERVING
from levelhead.model import (
    Admin,
    Fleet,
    Hash,
    LeastRequest,
    Limits,
    Listener,
    Mode,
    Policy,
    Pool,
    RandomPick,
    Revision,
    RoundRobin,
    Route,
    Server,
    SetAdmin,
    SetWeight,
)
from levelhead.simulate import (
    Capacity,
    CheckFails,
    CheckFlaps,
    CheckLies,
    Down,
    Errors,
    Fault,
    Hang,
    HotKey,
    Lognormal,
    Resets,
    Restart,
    ServerModel,
    Slow,
    Stall,
    Traffic,
    Up,
    UserModel,
    World,
)
from levelhead.telemetry import NO_RECORDS, Health, Missing, Records, Sample

BEGAN = 1_700_000_000.0
# What is older than this must not be acted on; a plan must be kept or undone so long after its time at the latest.
STALE_S, SLACK_S = 2.0, 3.0
HISTORY = 20
# The rate is the lower one of two times; a rate of few requests is only known to within this factor.
RATE_S, LATELY_S, COUNTED = 10.0, 3.0, 1.5
POLICIES: tuple[Policy, ...] = (RoundRobin(), RoundRobin(), LeastRequest(), RandomPick(), Hash("header", "x-tenant"))


@dataclass(frozen=True, slots=True)
class Broken:
    """A law that was broken: when (seconds since the start), which, and how."""

    at_s: float
    law: str
    what: str


@dataclass(slots=True)
class Toll:
    """What a run did."""

    pool_hours: float = 0.0
    faults: int = 0
    plans: int = 0
    undone: int = 0
    refused: int = 0
    deaths: int = 0
    broken: list[Broken] = field(default_factory=list)


def run(seed: int, pools: int, hours: float, tick_s: float) -> Toll:
    """Plays so many hours of so many pools."""
    chaos = Chaos(seed, pools, tick_s)
    for tick in range(1, round(hours * 3600 / tick_s) + 1):
        chaos.tick(tick * tick_s)
    chaos.toll.pool_hours = pools * hours
    return chaos.toll


class Chaos:
    """The run: a world, the loop over it, and what disturbs both."""

    def __init__(self, seed: int, pools: int, tick_s: float) -> None:
        self.chance = Random(seed)
        self.tick_s = tick_s
        self.toll = Toll()
        rates = [self.chance.choice((2.0, 5.0, 10.0)) for _ in range(pools)]
        fleet = _fleet(self.chance, rates)
        users = {
            p.name: UserModel(rps=rate, count=self.chance.choice((20, 200)), exponent=0.6, tenants=50)
            for p, rate in zip(fleet.pools, rates, strict=True)
        }
        self.world = World(
            fleet, {}, users, seed=seed, records_per_s=6.0 * pools, otherwise=ServerModel(4, Lognormal(30.0, 120.0))
        )
        self.revisions: tuple[Revision, ...] = (Revision(1, fleet, "ann", BEGAN, "first"),)
        self.state: State = control.begin((), (), 1)
        self.judge = Judge(self.toll, tick_s)
        self.kept: dict[str, Incident] = {}
        self.good: tuple[int, ...] = ()
        self.putting: tuple[Put, float, bool] | None = None
        self.reports: tuple[Report, ...] = ()
        self.truth = self.world.sample()
        self.samples: list[Sample] = []
        self.silent_until = 0.0
        self.orders = 0

    def tick(self, at_s: float) -> None:
        self._afflict(at_s)
        self.world.advance(at_s)
        self._engine_answers(at_s)
        if self.chance.random() < 0.001 * self.tick_s:
            self._die()
        view = View(
            at=BEGAN + at_s, sample=self._sample(at_s), revisions=self.revisions, records=self._records(at_s),
            orders=self._order(at_s), reports=self.reports, busy=self.putting is not None,
        )  # fmt: skip
        self.reports = ()
        outcome = control.step(self.state, view)
        self.judge.look(at_s, self.state, view, outcome, self.truth)
        self.state = outcome.state
        interrupted = False
        for effect in outcome.effects:
            match effect:
                case Put():
                    self.putting = (effect, at_s + self.chance.uniform(0, 2), self.chance.random() < 0.1)
                    interrupted = self.chance.random() < 0.15
                case Keep(incident):
                    self.kept[incident.id] = incident
                case MarkGood(revision):
                    self.good = (*self.good, revision)[-HISTORY:]
                case _:
                    pass
        if interrupted:
            # A change that was on its way may come into force all the same, and nobody waits for its report.
            self.putting = self.putting if self.chance.random() < 0.5 else None
            self._die()

    def _afflict(self, at_s: float) -> None:
        """About one fault in four minutes and pool, each for some seconds to some minutes."""
        fleet = self.revisions[-1].fleet
        if self.chance.random() < len(fleet.pools) * self.tick_s / 240:
            pool = self.chance.choice(fleet.pools)
            server = self.chance.choice(pool.servers).name
            fault, back = self._fault(pool.name, self.chance.choice((server, server, server, None)))
            self.toll.faults += 1
            self.world.inject(fault, at_s)
            self.world.inject(back, at_s + self.chance.choice((3.0, 20.0, 60.0)))
        if self.chance.random() < self.tick_s / 1800:
            self.world.inject(Restart(), at_s)

    def _fault(self, pool: str, server: str | None) -> tuple[Fault, Fault]:
        up = Up(server, pool)
        part = self.chance.choice((0.05, 0.3, 1.0))
        faults: list[tuple[Fault, Fault]] = [
            (Down(server, pool), up), (Hang(server, pool), up), (Errors(part, server, pool), up),
            (Resets(part, server, pool), up), (Slow(1500.0 * part, 1.0, server, pool), up),
            (Stall(part, server, pool), up), (CheckFails(server, pool), up), (CheckLies(server, pool), up),
            (CheckFlaps(4.0, server, pool), up), (Capacity(1, server, pool), up),
            (Traffic(self.chance.choice((0.1, 3.0, 8.0)), pool), Traffic(1.0, pool)),
            (HotKey(part, pool), HotKey(0.0, pool)),
        ]  # fmt: skip
        return self.chance.choice(faults)

    def _sample(self, at_s: float) -> Sample | Missing:
        """What arrives of the sample of now: itself, an older one, the last one again, or nothing."""
        self.truth = self.world.sample()
        self.samples = [*self.samples[-20:], replace(self.truth, at_s=BEGAN + self.truth.at_s)]
        luck = self.chance.random()
        if at_s < self.silent_until or luck < 0.005:
            return Missing(BEGAN + at_s, "it was lost")
        if luck < 0.006:
            self.silent_until = at_s + self.chance.uniform(1, 15)
        if luck < 0.016:
            return self.samples[-min(self.chance.randint(2, 20), len(self.samples))]
        return self.samples[-1]

    def _records(self, at_s: float) -> Records:
        return self.world.records() if at_s % 2.0 < self.tick_s else NO_RECORDS

    def _order(self, at_s: float) -> tuple[Order, ...]:
        """Once in ten minutes and pool somebody does something, wise or not."""
        fleet = self.revisions[-1].fleet
        if self.putting is not None or self.chance.random() > len(fleet.pools) * self.tick_s / 600:
            return ()
        pool = self.chance.choice(fleet.pools)
        server = self.chance.choice(pool.servers).name
        open_ones = [s.incident.id for _, s in self.state.pools if s.incident is not None]
        wishes: list[Wish] = [
            Alter((SetWeight(pool.name, server, self.chance.choice((10.0, 100.0, 900.0))),)),
            Alter((SetAdmin(pool.name, server, self.chance.choice(list(Admin))),)),
            Alter((SetAdmin(pool.name, server, Admin.READY),)),
            RollBack(None), RollBack(self.chance.choice(self.revisions).number),
            *(wish for name in open_ones for wish in (Acknowledge(name), Approve(name), Resolve(name, "enough"))),
        ]  # fmt: skip
        self.orders += 1
        force = self.chance.choice(("", "", "I know better"))
        return (Order(f"o{self.orders}", BEGAN + at_s, "ann", "why not", self.chance.choice(wishes), force),)

    def _engine_answers(self, at_s: float) -> None:
        if self.putting is None or at_s < self.putting[1]:
            return
        put, _, refuses = self.putting
        self.putting = None
        if refuses:
            self.toll.refused += 1
            self.reports = (Report(put.ticket, None, "the engine refused"),)
            return
        number = self.revisions[-1].number + 1
        made = Revision(number, put.fleet, put.author, BEGAN + at_s, put.why, put.source)
        self.revisions = (*self.revisions, made)[-HISTORY:]
        self.world.apply(put.fleet)
        self.reports = (Report(put.ticket, number, f"revision {number}"),)

    def _die(self) -> None:
        """The control plane is killed and started again: it knows what was stored, and nothing else."""
        self.toll.deaths += 1
        self.reports = ()
        still = tuple(i for i in self.kept.values() if i.open)
        number = 1 + max((int(i.removeprefix("INC-")) for i in self.kept), default=0)
        self.state = control.begin(still, tuple(n for n in self.good if n >= self.revisions[0].number), number)
        self.judge.forget()


class Judge:
    """Watches every tick; what Levelhead does by itself must keep all laws."""

    def __init__(self, toll: Toll, tick_s: float) -> None:
        self.toll = toll
        self.tick_s = tick_s
        self.arrived: deque[Sample] = deque(maxlen=round(RATE_S / tick_s) + 1)
        self.undone_at: dict[str, float] = {}
        self.verified_late: dict[str, float] = {}

    def forget(self) -> None:
        self.undone_at.clear()
        self.verified_late.clear()

    def look(self, at_s: float, before: State, view: View, outcome: Outcome, truth: Sample) -> None:
        self.arrived.append(truth)
        puts = [e for e in outcome.effects if isinstance(e, Put)]
        found = [*self._one_at_a_time(view, puts), *self._verified(at_s, view, outcome)]
        for put in puts:
            if put.author == LEVELHEAD:
                found += self._judged(at_s, before, view, put, outcome, truth)
        self.toll.broken += [Broken(at_s, law, what) for law, what in found]

    def _rate(self, truth: Sample, pool: str) -> float:
        """Requests per second that came to the pool in the last seconds, and in the very last: the fewer."""
        lately = self.arrived[-min(round(LATELY_S / self.tick_s) + 1, len(self.arrived))]
        return min(_between(first, truth, pool) for first in (self.arrived[0], lately))

    def _one_at_a_time(self, view: View, puts: list[Put]) -> Iterator[tuple[str, str]]:
        if len(puts) > 1 or (puts and view.busy):
            yield "one change at a time", f"{len(puts)} changes wanted, busy: {view.busy}"

    def _judged(
        self, at_s: float, before: State, view: View, put: Put, outcome: Outcome, truth: Sample
    ) -> Iterator[tuple[str, str]]:
        sample = view.sample
        if isinstance(sample, Missing) or view.at - sample.at_s > STALE_S:
            yield "never on stale or unknown data", f"{put.why} on {sample}"
        undo = put.ticket.startswith("undo")
        name = _pool_of(put, outcome)
        if undo:
            self.toll.undone += 1
            self.undone_at[name] = at_s
        else:
            self.toll.plans += 1
            if at_s - self.undone_at.get(name, -COOLDOWN_S) < COOLDOWN_S:
                yield "a cooldown", f"{put.why} {at_s - self.undone_at[name]:.2f} s after an undo"
            yield from self._plan(before, view, put, outcome, name)
        for pool in view.fleet.pools:
            after = put.fleet.pool(pool.name)
            if after is not None and after != pool and not undo:
                yield from _safe(pool, after, truth, self._rate(truth, pool.name))

    def _plan(self, before: State, view: View, put: Put, outcome: Outcome, name: str) -> Iterator[tuple[str, str]]:
        pool = view.fleet.pool(name)
        approved = any(isinstance(o.wish, Approve) for o in view.orders)
        if pool is None or not (pool.mode is Mode.ACT or (pool.mode is Mode.ASK and approved)):
            yield "the mode is kept", f"{put.why} in {name}"
        if before.pool(name).doing is not None:
            yield "never two plans at once in a pool", f"{put.why} in {name}"
        doing = outcome.state.pool(name).doing
        if doing is None or doing.plan.steps[0].undo != view.fleet:
            yield "every step has an undo", f"{put.why} in {name}"

    def _verified(self, at_s: float, view: View, outcome: Outcome) -> Iterator[tuple[str, str]]:
        """Seconds in which a plan could have been judged and was not."""
        fresh = not isinstance(view.sample, Missing) and not view.busy and view.at - view.sample.at_s < STALE_S
        late = {
            n: self.verified_late.get(f"{n}/{s.doing.ticket}", 0.0) + (self.tick_s if fresh else 0.0)
            for n, s in outcome.state.pools
            if s.doing is not None and s.doing.applied_at is not None and _overdue(s.doing, view.at)
        }
        self.verified_late = {
            f"{n}/{s.doing.ticket}": late[n] for n, s in outcome.state.pools if s.doing is not None and n in late
        }
        for name, seconds in late.items():
            # A deadline moves on while a backlog is worked off, but not for ever.
            if SLACK_S < seconds <= SLACK_S + self.tick_s:
                yield "verified on users, else undone", f"{name} is neither kept nor undone"


def _overdue(doing: Doing, at: float) -> bool:
    return at > doing.due or at - (doing.applied_at or at) > LONGEST_S + VERIFY_S


def _between(first: Sample, truth: Sample, pool: str) -> float:
    if first.layout.pools != truth.layout.pools or first.epoch != truth.epoch or first.at_s == truth.at_s:
        return 0.0
    i = truth.layout.places[pool]
    return float(truth.pool.arrived[i] - first.pool.arrived[i]) / (truth.at_s - first.at_s)


def _safe(before: Pool, after: Pool, truth: Sample, rate: float) -> Iterator[tuple[str, str]]:
    """What is left when servers are taken out bears the load, and there are enough of them."""
    rows = truth.layout.rows(after.name)
    sound = {n for n, h in zip(truth.layout.servers[rows], truth.health[rows], strict=True) if h != Health.FAILING}
    was, left = _serving(before) & sound, _serving(after) & sound
    if not was - left:
        return
    fewest = max(1, after.minimum_servers, FEWEST_SERVING * len(after.servers))
    if len(left) < min(fewest, len(was)):
        yield "enough servers stay", f"{after.name}: {sorted(left)} of {sorted(was)} are left, {fewest:g} is the least"
    capacity = {s.name: s.capacity for s in after.servers}
    if any(capacity[n] is None for n in left):
        return
    for server, share in zip(after.servers, predict.predicted(after), strict=True):
        if server.name in left and server.capacity is not None and share * rate > COUNTED * server.capacity:
            what = f"{server.name} of {after.name}: {share * rate:.0f} of {server.capacity:.0f}"
            yield "the rest bears the load", what


def _serving(pool: Pool) -> set[str]:
    return {s.name for s in pool.servers if s.admin is Admin.READY and s.weight > 0}


def _pool_of(put: Put, outcome: Outcome) -> str:
    for name, state in outcome.state.pools:
        if state.doing is not None and state.doing.ticket == put.ticket:
            return name
        if state.incident is not None and state.incident.entries and put.ticket.startswith("undo"):
            last = [e for e in state.incident.entries if e.at == _outcome_at(outcome) and e.kind == "undo"]
            if last:
                return name
    return ""


def _outcome_at(outcome: Outcome) -> float:
    """The time of the tick, as its newest entries say."""
    times = [s.incident.entries[-1].at for _, s in outcome.state.pools if s.incident is not None]
    return max(times, default=0.0)


def _fleet(chance: Random, rates: list[float]) -> Fleet:
    made = []
    for i, rate in enumerate(rates):
        count = chance.randint(2, 6)
        capacity = chance.choice((None, None, 1.6 * rate / count))
        servers = tuple(
            Server(f"p{i}s{j}", "127.0.0.1", 3001 + 10 * i + j, capacity=capacity) for j in range(count)
        )
        limits = chance.choice((Limits(), Limits(8, 40)))
        mode = chance.choice((Mode.ACT, Mode.ACT, Mode.ACT, Mode.ASK, Mode.SHADOW))
        made.append(
            Pool(f"pool-{i}", servers, chance.choice(POLICIES), limits=limits, mode=mode,
                 minimum_servers=chance.choice((1, 1, 2)), slow_start_s=chance.choice((0.0, 10.0)))
        )  # fmt: skip
    return Fleet((Listener("main", "127.0.0.1", 80, (Route("pool-0"),)),), tuple(made))
