"""How soon the loop notices, how often it cries wolf, what it does about faults, and what it costs.

    .venv/bin/python bench/detect.py [--only delay,healthy,faults,cost] [--days 30] [--jobs 2] [--plot docs/cost.svg]

Everything is seeded; the tables stand in docs/benchmarks.md. `--days` are pool-days for each healthy world.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from levelhead import control, detect
from levelhead.control.base import Effect, Keep, Put, Report, State, Tell, View
from levelhead.detect import shares
from levelhead.detect.base import Kind, Track, thresholds
from levelhead.model import Admin, Fleet, Hash, Limits, Pool, RandomPick, Revision, Server, Slo
from levelhead.simulate import (
    Bursts,
    Diurnal,
    Down,
    Errors,
    Fault,
    Flows,
    Hang,
    Lognormal,
    ServerModel,
    Slow,
    Stall,
    Traffic,
    UserModel,
    World,
)
from levelhead.simulate.flows import FlowFault
from levelhead.telemetry import Floats, Health, Layout, PoolCounters, Sample, Tick

TICK_S = 0.25
BEGAN = 1_710_061_200.0


# --- 1. delay over Lorden's bound ---


def delays(seeds: int) -> None:
    print("requests from the fault to the alarm, over the fewest that any test with this budget needs (mean of "
          f"{seeds} seeds)\n{'share':>5} {'of n':>5}{'bound':>8}{'at 100/s':>12}{'ratio':>8}{'+ tick':>8}"
          f"{'at 1000/s':>12}{'ratio':>8}{'+ tick':>8}")  # fmt: skip
    ratios = []
    for factor in (1.4, 1.6, 2.0, 2.44, 3.2):
        for n in (2, 4, 10, 50):
            share = min(factor / n, 0.98)
            bound = shares.noticed(1 / n, share, float(thresholds(np.asarray([n]), 1.0)[0]))
            cells = []
            for rps in (100.0, 1000.0):
                found = [_delay(n, share, rps, seed) for seed in range(seeds)]
                needed, ticked = np.mean([a for a, _ in found]), np.mean([b for _, b in found])
                ratios.append(needed / bound)
                cells.append((needed, needed / bound, ticked - needed))
            told = "".join(f"{a:>12.0f}{b:>8.2f}{c:>8.0f}" for a, b, c in cells)
            print(f"{share:>5.3f} {n:>5}{bound:>8.0f}{told}", flush=True)
    print(f"median ratio {np.median(ratios):.2f}, worst {max(ratios):.2f} (the bar: median 1.25)\n")


def _delay(n: int, share: float, rps: float, seed: int) -> tuple[float, float]:
    """Requests until the test had seen enough, and until the tick in which it was asked."""
    rng = np.random.default_rng([seed, n, round(rps)])
    where, limit = _layout(1, n), thresholds(np.asarray([n]), 1.0).repeat(n)
    chances = np.asarray([share, *[(1 - share) / (n - 1)] * (n - 1)])
    recent = detect.begin(where, Fleet((), ())).recent
    track, seen = Track.begin(n, len(shares.ALTERNATIVES)), 0
    while True:
        who = rng.choice(n, size=rng.poisson(rps * TICK_S), p=chances)
        before, track = track, _asked(track, where, who[None, :], recent, limit)
        if track.on[0]:
            return seen + _first(before, n, who, limit), float(seen + len(who))
        seen += len(who)


def _first(track: Track, n: int, who: np.ndarray[tuple[int], np.dtype[np.int64]], limit: Floats) -> int:
    """After how many requests of its last tick the test would have alarmed, had it been asked after each."""
    size = len(who)
    prefixes = np.where(np.arange(size) <= np.arange(size)[:, None], who, -1)
    where = _layout(size, n)
    many = track.reindexed(np.tile(np.arange(n), size))
    recent = detect.begin(where, Fleet((), ())).recent
    return int(np.argmax(_asked(many, where, prefixes, recent, np.tile(limit, size)).on[::n])) + 1


def _asked(
    track: Track, where: Layout, who: np.ndarray[tuple[int, int], np.dtype[np.int64]], recent: detect.recent.Recent,
    limit: Floats,
) -> Track:  # fmt: skip
    pools, n = len(where.pools), len(where.servers) // len(where.pools)
    pool, at = np.nonzero(who >= 0)
    counts = np.bincount(pool * n + who[pool, at], minlength=pools * n).astype(np.float64)
    expected = np.full(pools * n, 1 / n)
    return shares.above(track, _tick(where, counts), expected, np.zeros(pools * n), recent, limit)


def _layout(pools: int, servers: int) -> Layout:
    return Layout.of(tuple((f"p{i}", tuple(f"s{k}" for k in range(servers))) for i in range(pools)))


def _tick(where: Layout, requests: Floats) -> Tick:
    rows, pools = len(where.servers), len(where.pools)
    none = np.zeros(rows)
    return Tick(
        at_s=0.0, seconds=TICK_S, layout=where, requests=requests, errors_5xx=none, connect_errors=none,
        response_errors=none, retries=none, redispatches=none, connects=none, connections=none,
        in_flight=none, queued=none, weight=np.full(rows, 100.0), ramp=np.ones(rows), health=np.ones(rows, np.int8),
        standing=np.ones(rows, np.int8),
        pool=PoolCounters(where.per_pool(requests), np.zeros(pools), np.zeros(pools), np.zeros(pools), np.zeros(pools)),
    )  # fmt: skip


# --- 2. healthy worlds ---


@dataclass(frozen=True, slots=True)
class Healthy:
    """A world in which nothing is wrong with any server. `true` are signals that are right in it."""

    name: str
    users: UserModel
    pool: Pool
    copies: int = 1000
    servers: dict[str, ServerModel] | None = None
    true: frozenset[Kind] = frozenset()
    records: float = 0.05  # of all requests
    deploys: bool = False
    stalls: bool = False
    midway: tuple[FlowFault, ...] = ()  # happens after a third
    later: tuple[FlowFault, ...] = ()  # after two thirds


def _pool(count: int = 5, **settings: object) -> Pool:
    servers = tuple(Server(f"s{i + 1}", f"10.0.0.{i + 1}", 80) for i in range(count))
    return Pool("web", servers, slo=Slo(1000.0, 0.999), **settings)  # type: ignore[arg-type]


def healthy_worlds() -> tuple[Healthy, ...]:
    few = UserModel(rps=20.0, exponent=0.5)
    tailed = UserModel(rps=20.0, count=300, exponent=1.0)
    ten = _pool(10)
    speeds = {f"s{i + 1}": ServerModel(4, speed=s) for i, s in enumerate(np.geomspace(0.5, 2.0, 10).tolist())}
    surge, harm = frozenset({Kind.SURGE}), frozenset({Kind.HARM, Kind.BURN})
    return (
        Healthy("steady", few, _pool()),
        Healthy("bursty (x3 for 5 s in 35)", replace(few, shape=Bursts(3.0, 5.0, 30.0)), _pool(), true=surge),
        Healthy("diurnal (+-80 %)", replace(few, shape=Diurnal(0.8)), _pool()),
        Healthy("surge x5", few, _pool(), true=surge, midway=(Traffic(5.0),), later=(Traffic(1.0),)),
        Healthy("2 requests/s", replace(few, rps=2.0), _pool(), copies=2000),
        Healthy("P2C", few, _pool(policy=RandomPick(2))),
        Healthy("random", few, _pool(policy=RandomPick(1))),
        Healthy("consistent hash, 300 users", tailed, _pool(policy=Hash("source")), records=1.0),
        Healthy("cookie, 300 users", replace(tailed, session="cookie"), _pool(affinity_cookie="at"), records=1.0),
        Healthy("rolling deploys", few, _pool(), deploys=True),
        Healthy("stalls of 200 ms in turn", few, _pool(), stalls=True),
        Healthy("uniform 5 % errors", few, _pool(), true=harm, midway=(Errors(0.05),)),
        Healthy("uniform slowdown x2", few, _pool(), true=frozenset({Kind.SLOWDOWN}), midway=(Slow(factor=2.0),)),
        Healthy("10 servers, speeds x0.5 to x2", few, ten, servers=speeds),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Verdict:
    name: str
    days: float
    copies: int
    rps: float
    requests: float
    alarms: tuple[str, ...]
    true: int
    incidents: int
    actions: tuple[str, ...]
    seconds: float


def judged(world: Healthy, days: float) -> Verdict:
    """`days` pool-days of this world, through the whole loop in mode act."""
    began = time.perf_counter()
    length_s = days * 86_400 / world.copies
    phase_s = np.arange(world.copies).astype(np.float64) * length_s
    flows = Flows(world.pool, world.copies, world.users, seed=11, servers=world.servers, otherwise=ServerModel(4),
                  phase_s=phase_s, record_share=world.records)  # fmt: skip
    revisions: tuple[Revision, ...] = (Revision(1, flows.fleet, "levelhead", BEGAN, "first"),)
    state, deploys, rng = control.begin((), (), 1), _deploys(world.pool), np.random.default_rng(3)
    standing: frozenset[tuple[Kind, str, str]] = frozenset()
    alarms, actions, true, incidents = list[str](), list[str](), 0, 0
    ticks = round(length_s / TICK_S)
    for i in range(1, ticks + 1):
        at_s = i * TICK_S
        if i in (ticks // 3, 2 * ticks // 3):
            for fault in world.midway if i == ticks // 3 else world.later:
                flows.inject(fault)
        if world.stalls and i % 40 == 0:
            flows.advance(at_s - TICK_S + TICK_S * float(rng.random()))
            flows.inject(Stall(0.2, f"s{i // 40 % len(world.pool.servers) + 1}"))
        if world.deploys and i % 4 == 0 and (pool := next(deploys)) != flows.pool:
            flows.apply(pool)
            number = revisions[-1].number + 1
            revisions = (*revisions[-3:], Revision(number, flows.fleet, "deploy", BEGAN + at_s, "deploy"))
        flows.advance(at_s)
        sample = replace(flows.sample(), at_s=BEGAN + at_s)
        outcome = control.step(state, View(sample.at_s, sample, revisions, flows.records()))
        state = outcome.state
        now = frozenset((s.kind, s.pool, s.server) for s in outcome.signals)
        if now - standing:
            true += sum(kind in world.true for kind, _, _ in now - standing)
            alarms += [f"{at_s:.2f} s {s.pool} {s.kind.value}: {s.sentence}" for s in outcome.signals
                       if s.kind not in world.true and (s.kind, s.pool, s.server) not in standing]  # fmt: skip
        standing = now
        actions += [f"{at_s:.2f} s {e.why}" for e in outcome.effects if isinstance(e, Put)]
        incidents += sum(isinstance(e, Tell) and e.kind == "opened" for e in outcome.effects)
    return Verdict(world.name, days, world.copies, world.users.rps, flows.arrived, tuple(alarms), true, incidents,
                   tuple(actions), time.perf_counter() - began)  # fmt: skip


def _deploys(pool: Pool) -> Iterator[Pool]:
    """Second by second: each server in turn drained for 5 s, gone for 10 s, back for 15 s; then a pause of 60 s."""
    while True:
        for i in range(len(pool.servers)):
            for second in range(30):
                admin = Admin.DRAIN if second < 5 else Admin.MAINT if second < 15 else Admin.READY
                servers = (replace(s, admin=admin) if k == i else s for k, s in enumerate(pool.servers))
                yield replace(pool, servers=tuple(servers))
        for _ in range(60):
            yield pool


def healthy(days: float, jobs: int, only: str) -> None:
    worlds = [w for w in healthy_worlds() if only in w.name]
    print(f"{'world':<31}{'pools':>6}{'req/s':>7}{'pool-days':>10}{'requests':>13}{'false alarms':>14}{'true':>7}"
          f"{'incidents':>11}{'actions':>9}{'took':>8}")  # fmt: skip
    total = time.perf_counter()
    with ProcessPoolExecutor(jobs) as pool:
        for v in pool.map(judged, worlds, [days] * len(worlds)):
            print(f"{v.name:<31}{v.copies:>6}{v.rps:>7.0f}{v.days:>10g}{v.requests:>13,.0f}{len(v.alarms):>14}{v.true:>7}"
                  f"{v.incidents:>11}{len(v.actions):>9}{v.seconds:>6.0f} s", flush=True)  # fmt: skip
            for line in (*v.alarms[:8], *v.actions[:8]):
                print(f"    {line}", flush=True)
    print(f"all of it took {(time.perf_counter() - total) / 60:.0f} min with {jobs} processes; every world by Flows "
          "(request by request, many pools side by side)\n")


# --- 3. faults ---


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    faults: tuple[Fault, ...]
    bar_s: float


CASES = (
    Case("refused", (Down("s3"),), 1.5),
    Case("hang", (Hang("s3"),), 1.0),
    Case("gray 50 %", (Errors(0.5, "s3"),), 1.0),
    Case("gray 20 %", (Errors(0.2, "s3"),), 2.0),
    Case("slow +1 s", (Slow(add_ms=1000, server="s3"),), 1.5),
    Case("two of five at 20 %", (Errors(0.2, "s3"), Errors(0.2, "s5")), 3.0),
)


@dataclass(frozen=True, slots=True)
class Clock:
    detected: float
    named: float
    acted: float
    cause: str
    how: str
    harmed: int
    accused: frozenset[str]


def faults(seeds: int) -> None:
    print(f"seconds of virtual time from the fault, median (95th percentile) of {seeds} seeds; 5 servers, 200/s\n"
          f"{'fault':<21}{'bar':>5}{'detected':>14}{'named':>14}{'acted':>14}{'harmed':>8}  named; done")  # fmt: skip
    for case in CASES:
        clocks = [played(case, seed) for seed in range(seeds)]
        cells = "".join(f"{_spread([getattr(c, what) for c in clocks]):>14}" for what in ("detected", "named", "acted"))
        told = _counted([c.cause for c in clocks]), _counted([c.how for c in clocks])
        innocent = sum(bool(c.accused - {f.server for f in case.faults}) for c in clocks)  # type: ignore[union-attr]
        blamed = f"; an innocent one accused in {innocent}" if innocent else ""
        print(f"{case.name:<21}{case.bar_s:>5}{cells}{np.median([c.harmed for c in clocks]):>8.0f}  "
              f"{told[0]}; {told[1]}{blamed}", flush=True)  # fmt: skip
    print()


def _spread(seconds: list[float]) -> str:
    known = [s for s in seconds if not np.isnan(s)]
    missed = f" -{len(seconds) - len(known)}" if len(known) < len(seconds) else ""
    return f"{np.median(known):.2f} ({np.quantile(known, 0.95):.2f}){missed}" if known else "never"


def _counted(words: list[str]) -> str:
    return ", ".join(f"{w} {words.count(w)}" for w in sorted(set(words), key=lambda w: -words.count(w)))


def played(case: Case, seed: int) -> Clock:
    """One run: 20 s and a bit of calm, then the fault, then 8 s."""
    pool = replace(_pool(), servers=tuple(replace(s, capacity=160.0) for s in _pool().servers), limits=Limits())
    world = World(Fleet((), (pool,)), {}, {"web": UserModel(rps=200.0, exponent=0.5)}, seed=seed,
                  otherwise=ServerModel(8, Lognormal(20, 80)))  # fmt: skip
    fault_s = 20.0 + float(np.random.default_rng(seed).random()) * TICK_S
    state: State = control.begin((), (), 1)
    revisions: tuple[Revision, ...] = (Revision(1, world.fleet, "levelhead", BEGAN, "first"),)
    reports: tuple[Report, ...] = ()
    seen: dict[str, float] = {}
    cause, how, accused = "", "", set[str]()
    culprits = {f.server for f in case.faults}  # type: ignore[union-attr]
    for i in range(1, 113):
        at_s = i * TICK_S
        if at_s - TICK_S < fault_s <= at_s:
            world.advance(fault_s)
            before = world.harm("web").harmed_requests
            for fault in case.faults:
                world.inject(fault)
        world.advance(at_s)
        sample = replace(world.sample(), at_s=BEGAN + at_s)
        outcome = control.step(state, View(sample.at_s, sample, revisions, world.records(), reports=reports))
        state, reports = outcome.state, ()
        if at_s < fault_s:
            continue
        accused |= {s.server for s in outcome.signals if s.server}
        if outcome.signals:
            seen.setdefault("detected", at_s - fault_s)
        named, decision = _decided(outcome.effects, culprits)
        if named:
            seen.setdefault("named", at_s - fault_s)
            cause = cause or named
        if not decision and (sample.health == Health.FAILING).any():
            decision = "the check took it out"
        if decision:
            seen.setdefault("acted", at_s - fault_s)
            how = how or decision
        for put in (e for e in outcome.effects if isinstance(e, Put)):
            world.apply(put.fleet)
            revisions = (*revisions, Revision(revisions[-1].number + 1, put.fleet, put.author, sample.at_s, put.why))
            reports = (*reports, Report(put.ticket, revisions[-1].number, "in force"))
    # Users stop coming; who still has no answer when it would be late is harmed too.
    world.inject(Traffic(0.0))
    world.advance(world.now_s + 1.0)
    left = world.harm("web")
    harmed = left.harmed_requests - before + left.arrived - left.requests
    return Clock(
        seen.get("detected", np.nan), seen.get("named", np.nan), seen.get("acted", np.nan),
        cause or "nothing", how or "nothing", harmed, frozenset(accused),
    )  # fmt: skip


def _decided(effects: tuple[Effect, ...], culprits: set[str | None]) -> tuple[str, str]:
    """The cause that the incident names, if of a culprit, and what was decided: a change, or that none is needed."""
    named, decision = "", ""
    for effect in effects:
        if isinstance(effect, Keep) and effect.incident.clocks.diagnosed is not None:
            told = effect.incident.stories[0]
            named = told.cause if set(told.servers) & culprits else ""
            if any(e.kind == "refusal" and "nothing to do" in e.text for e in effect.incident.entries):
                decision = decision or "left to retries and the check"
        if isinstance(effect, Put):
            decision = effect.why.split(":")[0]
    return named, decision


# --- 6. cost ---


def cost(plot: Path | None) -> None:
    print("control.step, calm, one tick: median of wall time and of processor time\n"
          f"{'pools':>6}{'servers':>9}{'wall ms':>9}{'cpu ms':>8}{'us a server':>13}")  # fmt: skip
    points = []
    for pools, servers in ((1, 20), (100, 20), (200, 50), (500, 40), (1000, 40), (1500, 40), (2000, 40), (5000, 20)):
        wall, cpu = _step_cost(pools, servers, 24)
        rows = pools * servers
        points.append((rows, cpu))
        print(f"{pools:>6}{rows:>9,}{wall * 1e3:>9.2f}{cpu * 1e3:>8.2f}{cpu / rows * 1e6:>13.2f}", flush=True)
    rows_, seconds = np.asarray(points).T
    slope, start = np.polyfit(rows_, seconds, 1)
    left = seconds - (slope * rows_ + start)
    fit = 1 - float((left**2).sum() / ((seconds - seconds.mean()) ** 2).sum())
    print(f"a straight line explains {fit:.1%}: {start * 1e3:.1f} ms and {slope * 1e6:.2f} us a server; "
          f"100,000 servers once a second take {100 * seconds[-1]:.0f} % of a core\n")  # fmt: skip
    if plot is not None:
        plot.write_text(_svg(rows_, seconds * 1e3, slope * 1e3, start * 1e3), encoding="utf-8")


def _step_cost(pools: int, servers: int, ticks: int) -> tuple[float, float]:
    where, rng = _layout(pools, servers), np.random.default_rng(1)
    members = tuple(Server(f"s{k}", "10.0.0.1", 80 + k) for k in range(servers))
    fleet = Fleet((), tuple(Pool(f"p{i}", members) for i in range(pools)))
    revisions = (Revision(1, fleet, "levelhead", BEGAN, "first"),)
    rows, state = pools * servers, control.begin((), (), 1)
    requests, connects, none, nothing = np.zeros(rows), np.zeros(rows), np.zeros(rows), np.zeros(pools)
    wall, cpu = [], []
    for i in range(ticks):
        requests = requests + rng.poisson(10, rows)
        connects = connects + rng.poisson(0.1, rows)
        sample = Sample(
            at_s=BEGAN + i * TICK_S, epoch=1, layout=where, requests=requests, errors_5xx=none, connect_errors=none,
            response_errors=none, retries=none, redispatches=none, connects=connects, connections=none,
            in_flight=rng.poisson(3.0, rows).astype(float),
            queued=none, weight=np.full(rows, 100.0), ramp=np.ones(rows), health=np.ones(rows, np.int8),
            standing=np.ones(rows, np.int8),
            pool=PoolCounters(where.per_pool(requests), nothing, nothing, nothing, nothing),
        )  # fmt: skip
        view = View(sample.at_s, sample, revisions)
        began, began_cpu = time.perf_counter(), time.process_time()
        state = control.step(state, view).state
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - began_cpu)
    return float(np.median(wall[4:])), float(np.median(cpu[4:]))


def _svg(rows: Floats, ms: Floats, slope: float, start: float) -> str:
    """The points and the straight line through them, as a picture of 640 by 320."""
    top_x, top_y = float(rows.max()) * 1.05, float(ms.max()) * 1.15

    def at(x: float, y: float) -> tuple[float, float]:
        return 60 + 560 * x / top_x, 270 - 240 * y / top_y

    (x1, y1), (x2, y2) = at(0, start), at(top_x, start + slope * top_x)
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 320" font-family="sans-serif" font-size="12">',
        '<rect width="640" height="320" fill="#fff"/>',
        '<path d="M60 20V270H630" fill="none" stroke="#444"/>',
        f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="#2a7" stroke-width="2"/>',
    ]
    for x, y in zip(rows.tolist(), ms.tolist(), strict=True):
        parts.append('<circle cx="{:.1f}" cy="{:.1f}" r="4" fill="#146"/>'.format(*at(x, y)))
    for x in (20_000, 60_000, 100_000):
        parts.append(f'<text x="{at(x, 0)[0]:.0f}" y="288" text-anchor="middle">{x:,}</text>')
    for y in np.linspace(0, ms.max(), 5).tolist():
        parts.append(f'<text x="54" y="{at(0, y)[1] + 4:.0f}" text-anchor="end">{y:.0f}</text>')
    parts += [
        '<text x="340" y="310" text-anchor="middle">servers</text>',
        '<text x="64" y="14">control.step, ms of processor time a tick</text>', "</svg>",
    ]
    return "\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="delay,healthy,faults,cost")
    parser.add_argument("--days", type=float, default=30.0, help="pool-days of each healthy world")
    parser.add_argument("--world", default="", help="only healthy worlds whose name has this in it")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=25)
    parser.add_argument("--plot", type=Path, help="where to write the plot of the cost")
    chosen = parser.parse_args()
    parts: dict[str, Callable[[], None]] = {
        "delay": lambda: delays(chosen.seeds), "healthy": lambda: healthy(chosen.days, chosen.jobs, chosen.world),
        "faults": lambda: faults(chosen.seeds), "cost": lambda: cost(chosen.plot),
    }  # fmt: skip
    wanted = chosen.only.split(",")
    if unknown := set(wanted) - set(parts):
        sys.exit(f"there is no part {', '.join(unknown)}: name some of {', '.join(parts)}")
    for name in wanted:
        parts[name]()


if __name__ == "__main__":
    main()
