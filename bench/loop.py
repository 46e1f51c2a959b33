"""Random scenarios through the whole loop, in the simulator: what it names, what it does, and how users fare.

    .venv/bin/python bench/loop.py [--variants 10] [--kind NAME ...] [--all] [--live] [--write FOLDER]

Each kind of trouble is drawn as scenario files (2 to 12 servers, any policy that admits it, seeded), and each is played
twice: in mode act, and with nobody. `--all` prints every variant, `--write` keeps the files for `levelhead drill run`.
`--live` plays one of each kind, of no more than 250 requests/s, on a real HAProxy, beside the same in the simulator.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import yaml

from levelhead.drills.rehearse import rehearse
from levelhead.drills.score import DrillRecord
from levelhead.drills.text import parse_scenario
from levelhead.stage import Stage, read_raw

AT_S = 20
MOST_LIVE_RPS, MOST_LIVE_SERVERS = 250.0, 8
PLAIN = ("round-robin", "least-request", "random")
EVEN = (*PLAIN, "hash")
BY_LOAD = ("least-request", "random")

Value = object
Mapping = dict[str, Value]


@dataclass(slots=True)
class Draft:
    """A scenario while it is drawn: servers alike, busy to a part, and what happens to them."""

    rng: Random
    pool: Mapping = field(default_factory=dict)
    users: Mapping = field(default_factory=dict)
    events: list[Mapping] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    lasts_s: int = 45
    server: Mapping = field(default_factory=dict)
    median_ms: int = 0

    def served(self, *counts: int, busy: tuple[float, float] = (0.3, 0.6), policy: tuple[str, ...] = EVEN) -> None:
        """So many servers (by lot), this busy, spread by one of these policies."""
        rng = self.rng
        count = rng.choice(counts or (2, 3, 4, 5, 6, 8, 12))
        median, workers = rng.choice((20, 40, 60, 100)), rng.choice((2, 4, 8))
        p99 = median * rng.choice((2.5, 4.0))
        mean_ms = median * math.exp((math.log(p99 / median) / 2.326) ** 2 / 2)
        rps = min(max(20, round(count * workers * 1000 / mean_ms * rng.uniform(*busy))), 800)
        self.names = [f"server-{i}" for i in range(1, count + 1)]
        self.median_ms = median
        self.server = {"workers": workers, "service_ms": {"median": median, "p99": p99}}
        if rng.random() < 0.3:
            self.server["capacity"] = round(workers * 1000 / mean_ms * 0.9)
        check = {"path": "/healthz", "interval_s": rng.choice((0.5, 1, 2)), "fall": rng.choice((2, 3)), "rise": 2}
        self.pool = {"policy": rng.choice(policy), "check": check}
        self.users = {"count": rng.choice((200, 300, 1000)), "rps": rps}

    def some(self, count: int = 1) -> list[str]:
        return self.rng.sample(self.names, count)

    def happens(self, after_s: float = 0, until_s: float | None = None, **event: Value) -> None:
        self.events.append({"at_s": AT_S + after_s, **({} if until_s is None else {"until_s": until_s}), **event})

    def scenario(self, name: str, seed: int) -> str:
        zones = self.pool.pop("zones", None)
        servers = {
            n: {**self.server, **({"zone": "abc"[i % int(str(zones))]} if zones else {})}
            for i, n in enumerate(self.names)
        }
        return yaml.safe_dump({
            "name": name, "title": name, "source": {"title": "made up"}, "teaches": [name], "seed": seed,
            "duration_s": self.lasts_s, "pool": {**self.pool, "servers": servers}, "users": self.users,
            "events": self.events,
        }, sort_keys=False)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of trouble, what may be named for it first ("nothing" where none is to be named), and how it is drawn."""

    name: str
    told: tuple[str, ...]
    draw: Callable[[Draft], None]


def weight_typo(d: Draft) -> None:
    d.served(2, 3, 4, 5, 6, 8, 12, busy=(0.3, 0.5), policy=PLAIN)
    d.happens(config={"weights": {d.some()[0]: 100 * d.rng.choice((4, 6, 9, 20))}})


def weights_in_a_file(d: Draft) -> None:
    d.served(4, busy=(0.3, 0.45), policy=("round-robin",))
    heavy = d.some()[0]
    lines = "".join(f"  server {n} x:1 check weight {200 if n == heavy else 20}\n" for n in d.names)
    d.happens(raw={"haproxy": f"backend web\n  balance roundrobin\n  option httpchk GET /healthz\n{lines}"})


def fast_fail(d: Draft) -> None:
    d.served(3, 4, 6, policy=BY_LOAD, busy=(0.4, 0.6))
    d.happens(server={"name": d.some()[0], "errors": d.rng.choice((0.9, 1.0))})


def hot_key(d: Draft) -> None:
    d.served(4, 5, 8, busy=(0.35, 0.5))
    d.pool["policy"] = {"kind": "hash", "on": "path"}
    d.happens(hot_key={"share": d.rng.choice((0.45, 0.6, 0.7))})


def scale_out(session: str) -> Callable[[Draft], None]:
    def draw(d: Draft) -> None:
        d.served(6, busy=(0.2, 0.28), policy=("round-robin",))
        d.users |= {"session": session, "count": 1000 if session == "cookie" else 300}
        if session == "cookie":
            d.pool["affinity_cookie"] = "SRV"
        d.events.append({"at_s": 1, "config": {"members": d.names[:2]}})
        d.happens(config={"members": d.names})

    return draw


def stale_slots(d: Draft) -> None:
    d.served(6, 8, 12, busy=(0.3, 0.4))
    for i, name in enumerate(d.some(len(d.names) // 2)):
        d.happens(3 * i, server={"name": name, "down": True})


def forgotten_drain(d: Draft) -> None:
    d.served(4, 6, 8, busy=(0.45, 0.55))
    out = d.some(len(d.names) // 2 + (len(d.names) > 4))
    for i in range(len(out)):
        d.happens(2 * i, config={"weights": dict.fromkeys(out[: i + 1], 0)})
    d.lasts_s = 75


def emptied(d: Draft) -> None:
    d.served(2, 3, 4)
    d.happens(config={"weights": dict.fromkeys(d.names, 0)})


def failing(d: Draft) -> None:
    d.served(3, 4, 6, 10, policy=("round-robin", "hash"))
    d.happens(server={"name": d.some()[0], "errors": d.rng.choice((0.3, 0.5, 0.8))})


def resetting(d: Draft) -> None:
    d.served(3, 4, 6, 10, policy=("round-robin", "hash"))
    d.users["post_share"] = 0.3
    d.happens(server={"name": d.some()[0], "resets": d.rng.choice((0.3, 0.5, 0.8))})


def lying_check(d: Draft) -> None:
    d.served()
    d.happens(check={"lies": "failing"})


def deep_check(d: Draft) -> None:
    d.served()
    d.server["deep_check"] = True
    d.happens(dependency={"errors": 1.0})


def cascade(d: Draft) -> None:
    d.served(4, 6, busy=(0.72, 0.78), policy=PLAIN)
    d.server["deep_check"] = True
    d.pool["check"] = {"path": "/healthz", "interval_s": 1, "timeout_s": 0.5, "fall": 2, "rise": 2}
    d.happens(dependency={"slow_ms": 1.2 * d.median_ms})


def flapping(d: Draft) -> None:
    d.served(3, 4, 6)
    d.pool["check"] = {"path": "/healthz", "interval_s": 0.5, "fall": 1, "rise": 1}
    d.happens(check={"servers": d.some(), "flaps": d.rng.choice((1, 2))})


def wrong_path(d: Draft) -> None:
    d.served()
    d.happens(**({"check": {"path": "/status"}} if d.rng.random() < 0.5 else {"config": {"check": {"path": "/nope"}}}))


def tight_limit(d: Draft) -> None:
    d.served(3, 4, busy=(0.45, 0.6))
    d.happens(config={"limits": {"server_in_flight": 1}})


def no_headroom(d: Draft) -> None:
    d.served(3, 4, busy=(0.8, 0.85), policy=PLAIN)
    d.happens(server={"name": d.some()[0], "down": True})


def all_reset(d: Draft) -> None:
    d.served(3, 4, busy=(0.45, 0.55))
    d.pool["retries"] = 4
    for name in d.names:
        d.happens(server={"name": name, "resets": 0.6})


def slow(d: Draft) -> None:
    d.served(3, 4, 6, 10)
    d.happens(server={"name": d.some()[0], "slow_ms": d.rng.choice((500, 1000, 3000))})


def weak(d: Draft) -> None:
    d.served(3, 4, 6, busy=(0.5, 0.6), policy=("round-robin",))
    d.happens(server={"name": d.some()[0], "capacity": 0.25})


def zone(d: Draft) -> None:
    d.served(6, 9)
    d.pool["zones"] = d.rng.choice((2, 3))
    d.happens(zone={"name": "a", "slow_ms": 1500})


def surge(d: Draft) -> None:
    d.served(busy=(0.4, 0.6))
    d.happens(until_s=40, traffic={"factor": d.rng.choice((3, 5, 8))})


def down(d: Draft) -> None:
    d.served(3, 4, 6)
    d.happens(server={"name": d.some()[0], "down": True})


def hanging(d: Draft) -> None:
    d.served(3, 4, 6)
    d.happens(server={"name": d.some()[0], "hang": True})


def restart(d: Draft) -> None:
    d.served(3, 4, 6)
    d.happens(restart={"name": d.some()[0], "down_s": d.rng.choice((2, 6))})


def broken_dependency(d: Draft) -> None:
    d.served()
    d.happens(dependency={"errors": d.rng.choice((0.2, 0.5, 1.0))})


def slow_dependency(d: Draft) -> None:
    d.served()
    d.happens(dependency={"slow_ms": d.rng.choice((1200, 2500))})


def bad_deploy(d: Draft) -> None:
    d.served(3, 4, 6)
    bad = {"errors": d.rng.choice((0.4, 1.0))} if d.rng.random() < 0.5 else {"slow_ms": 1500}
    d.happens(deploy={"every_s": 3, "down_s": 1.5, **bad})


def good_deploy(d: Draft) -> None:
    d.served(3, 4, 6, busy=(0.3, 0.4))
    d.happens(deploy={"every_s": 4, "down_s": 1})


def nothing(d: Draft) -> None:
    d.served(busy=(0.1, 0.25))
    d.users["shape"] = d.rng.choice(("steady", "burst", "ramp", "diurnal"))
    d.lasts_s = 120


def surge_and_slow(d: Draft) -> None:
    d.served(4, 5, 6, busy=(0.2, 0.28))
    d.happens(traffic={"factor": 2})
    d.happens(2, server={"name": d.some()[0], "slow_ms": 1500})


KINDS = (
    Kind("a wrong weight", ("weight-typo-skew",), weight_typo),
    Kind("wrong weights in haproxy.cfg", ("weight-typo-skew",), weights_in_a_file),
    Kind("a server that fails at once, by load", ("fast-fail-black-hole",), fast_fail),
    Kind("a hot path", ("hash-hot-key",), hot_key),
    Kind("scale-out behind cookies", ("sticky-session-skew",), scale_out("cookie")),
    Kind("scale-out behind connections", ("keepalive-pinning-after-scale-out",), scale_out("keepalive")),
    Kind("servers die one by one", ("stale-backend-slots",), stale_slots),
    Kind("servers left without weight", ("forgotten-drain",), forgotten_drain),
    Kind("no server has weight", ("pool-emptied-by-admin-state",), emptied),
    Kind("a server fails 30 to 80 %", ("shallow-check",), failing),
    Kind("a server resets 30 to 80 %", ("shallow-check",), resetting),
    Kind("all checks fail, servers are well", ("deep-check-ejects-all",), lying_check),
    Kind("a deep check, its dependency gone", ("deep-check-ejects-all", "dependency-failure"), deep_check),
    Kind("overload fails deep checks", ("overload-ejection-cascade",), cascade),
    Kind("a check that flaps", ("check-flapping",), flapping),
    Kind("a check of another path", ("check-protocol-mismatch",), wrong_path),
    Kind("one request at a time per server", ("server-maxconn-too-low", "nothing"), tight_limit),
    Kind("one of few dies, the rest is full", ("no-failure-headroom",), no_headroom),
    Kind("all reset 60 %, four retries", ("retry-amplification",), all_reset),
    Kind("a server slow by 0.5 to 3 s", ("slow-server-gray-failure",), slow),
    Kind("a server with a quarter of its workers", ("slow-server-gray-failure",), weak),
    Kind("a slow zone", ("gray-failure-zone",), zone),
    Kind("surge x3 to x8", ("traffic-surge", "nothing"), surge),
    Kind("a server is down", ("server-down",), down),
    Kind("a server hangs", ("slow-server-gray-failure", "server-down"), hanging),
    Kind("a server restarts", ("server-down",), restart),
    Kind("a dependency fails 20 to 100 %", ("dependency-failure",), broken_dependency),
    Kind("a dependency is slow", ("dependency-failure",), slow_dependency),
    Kind("a release that fails or is slow", ("bad-deploy",), bad_deploy),
    Kind("a release that is well", ("server-down", "nothing"), good_deploy),
    Kind("surge x2 and a slow server", ("slow-server-gray-failure", "traffic-surge"), surge_and_slow),
    Kind("nothing", ("nothing",), nothing),
)


@dataclass(frozen=True, slots=True)
class Played:
    kind: str
    seed: int
    told: str
    probability: float
    named_s: float
    acted_s: float
    harmed: float
    alone: float
    did: str


def text_of(kind: Kind, seed: int) -> str:
    draft = Draft(Random(f"{kind.name} {seed}"))
    kind.draw(draft)
    name = "".join(c if c.isalnum() else "-" for c in kind.name).strip("-")
    return draft.scenario("-".join(filter(None, name.split("-"))), seed)


def played(job: tuple[int, int]) -> Played:
    kind, seed = KINDS[job[0]], job[1]
    scenario = parse_scenario(text_of(kind, seed), kind.name)
    helped = rehearse(scenario, mode="act", read=read_raw).record
    alone = rehearse(scenario, mode="off", read=read_raw).record
    clocks = helped.clocks_s
    return Played(
        kind.name, seed, helped.stories[0].cause if helped.stories else "nothing",
        helped.stories[0].probability if helped.stories else math.nan,
        math.nan if clocks.diagnosed is None else clocks.diagnosed - AT_S,
        math.nan if clocks.acted is None else clocks.acted - AT_S, _harmed(helped), _harmed(alone),
        ", ".join(f"{a.plan or 'people'}{' (undone)' if a.undone else ''}" for a in helped.actions),
    )  # fmt: skip


def live(kind: Kind) -> None:
    """One variant that this machine can bear, on a real HAProxy and in the simulator, in one line."""
    for seed in range(1, 50):
        scenario = parse_scenario(text_of(kind, seed), kind.name)
        if scenario.users.rps <= MOST_LIVE_RPS and len(scenario.pool.servers) <= MOST_LIVE_SERVERS:
            break
    else:
        return
    told = asyncio.run(Stage(scenario, mode="act").perform()).record
    sim = rehearse(scenario, mode="act", read=read_raw).record
    cells = []
    for record in (told, sim):
        named = record.stories[0].cause if record.stories else "nothing"
        done = ", ".join(f"{a.plan or 'people'}{' (undone)' if a.undone else ''}" for a in record.actions) or "nothing"
        cells.append(f"{named}; {done}; {record.harm.requests_harmed} of {record.harm.requests_total} harmed")
    print(f"{kind.name}, seed {seed}, {scenario.users.rps:.0f}/s\n    HAProxy    {cells[0]}\n    simulated  {cells[1]}",
          flush=True)  # fmt: skip


def _harmed(record: DrillRecord) -> float:
    return record.harm.requests_harmed / max(record.harm.requests_total, 1)


def _median(values: list[float]) -> str:
    known = [v for v in values if not math.isnan(v)]
    return f"{statistics.median(known):.2f}" if known else "-"


def report(kind: Kind, found: list[Played], every: bool) -> tuple[int, int]:
    """One line about a kind, and how many were named rightly, and how many did worse than with nobody."""
    right = sum(p.told in kind.told for p in found)
    worse = sum(p.harmed > 1.02 * p.alone + 0.005 for p in found)
    acted = sum(bool(p.did) for p in found)
    print(f"{kind.name:<38}{right:>4}/{len(found):<4}{_median([p.named_s for p in found]):>7}"
          f"{_median([p.acted_s for p in found]):>7}{acted:>6}{statistics.mean(p.alone for p in found):>9.1%}"
          f"{statistics.mean(p.harmed for p in found):>9.1%}{worse:>7}", flush=True)  # fmt: skip
    for p in found:
        if every or p.told not in kind.told:
            print(f"    seed {p.seed}: {p.told}; {p.alone:.1%} to {p.harmed:.1%}; {p.did or 'did nothing'}")
    return right, worse


def calibration_error(stories: list[tuple[float, bool]]) -> float:
    """Mean distance, over ten bins of the probability said, between what was said and how often it was right."""
    total = 0.0
    for i in range(10):
        mine = [(said, right) for said, right in stories if min(int(said * 10), 9) == i]
        if mine:
            total += abs(sum(said for said, _ in mine) - sum(right for _, right in mine))
    return total / max(len(stories), 1)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--variants", type=int, default=10)
    options.add_argument("--kind", action="append", help="only kinds whose name has this in it")
    options.add_argument("--all", action="store_true", help="print every variant, not only those named otherwise")
    options.add_argument("--live", action="store_true", help="one of each kind on a real HAProxy, and in the simulator")
    options.add_argument("--write", type=Path, help="write the scenario files into this folder, and play nothing")
    chosen = options.parse_args()
    wanted = [i for i, k in enumerate(KINDS) if not chosen.kind or any(part in k.name for part in chosen.kind)]
    jobs = [(i, seed) for i in wanted for seed in range(1, chosen.variants + 1)]
    if chosen.live:
        for i in wanted:
            live(KINDS[i])
        return
    if chosen.write is not None:
        chosen.write.mkdir(parents=True, exist_ok=True)
        for i, seed in jobs:
            text = text_of(KINDS[i], seed)
            (chosen.write / f"{text.split()[1]}-{seed}.yaml").write_text(text, encoding="utf-8")
        return
    began = time.monotonic()
    print(f"{'medians in seconds; harmed: means':<38}{'named':>7}{'after':>9}{'acted':>7}{'in':>5}"
          f"{'nobody':>9}{'act':>9}{'worse':>7}")  # fmt: skip
    right = worse = 0
    stories: list[tuple[float, bool]] = []
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        results = workers.map(played, jobs)
        for i in wanted:
            found = [next(results) for _ in range(chosen.variants)]
            a, b = report(KINDS[i], found, chosen.all)
            right, worse = right + a, worse + b
            stories += [(p.probability, p.told in KINDS[i].told) for p in found if not math.isnan(p.probability)]
    print(f"named rightly: {right} of {len(jobs)} ({right / len(jobs):.1%}); more users harmed than with nobody "
          f"(by a fiftieth and half a point): {worse}; calibration error of the stories told "
          f"{calibration_error(stories):.3f}; {time.monotonic() - began:.0f} s")  # fmt: skip


if __name__ == "__main__":
    main()
