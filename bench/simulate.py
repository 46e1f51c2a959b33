"""How many requests per second the simulator plays on one core, with a sample every 250 ms of virtual time.

    .venv/bin/python bench/simulate.py [--requests 200000] [--rounds 5]

The best of some rounds is printed, in requests per second of processor time: other work on the machine only ever
slows a round down. The M/G/8 queue is played by World (one, with everything a proxy does), by Flows (thousands of it
side by side, request by request), and by SimPy; the mean latency of each is printed, so that it can be seen that all
three play the same queue.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Generator

import numpy as np
import simpy

from levelhead.model import Fleet, Hash, LeastRequest, Policy, Pool, RandomPick, RoundRobin, Server
from levelhead.simulate import Flows, Lognormal, ServerModel, UserModel, World

SAMPLE_S = 0.25
SERVICE = Lognormal(20, 80)
RPS = 0.8 * 8 / (SERVICE.mean_ms / 1000)


def played(servers: int, rps: float, policy: Policy, requests: int) -> float:
    """Requests per second of processor time."""
    members = tuple(Server(f"s{i}", f"10.0.0.{i + 1}", 80) for i in range(servers))
    world = World(
        Fleet((), (Pool("web", members, policy=policy),)),
        {},
        {"web": UserModel(rps=rps, count=2000, exponent=0.8)},
        seed=1,
        otherwise=ServerModel(workers=round(2 * rps / servers * SERVICE.mean_ms / 1000) + 1, service=SERVICE),
    )
    began = time.process_time()
    for tick in range(1, round(requests / rps / SAMPLE_S) + 1):
        world.advance(tick * SAMPLE_S)
        world.sample()
        world.records()
    return world.harm("web").requests / (time.process_time() - began)


def queue_of_world(requests: int) -> tuple[float, float]:
    """M/G/k with k = 8 and a load of 0.8: one server, no samples. Requests per second, and their mean latency."""
    fleet = Fleet((), (Pool("web", (Server("a", "10.0.0.1", 80),), check=None),))
    world = World(fleet, {}, {"web": UserModel(rps=RPS)}, seed=1, otherwise=ServerModel(8, SERVICE), keep_outcomes=True)
    began = time.process_time()
    world.advance(requests / RPS)
    took = time.process_time() - began
    return world.harm("web").requests / took, float(world.outcomes("web").latency_ms.mean())


def queue_of_flows(requests: int) -> tuple[float, float]:
    """The same queue, 8,000 of it side by side, one request in a hundred told of."""
    pool = Pool("web", (Server("a", "10.0.0.1", 80),), check=None)
    flows = Flows(pool, 8000, UserModel(rps=RPS), seed=1, otherwise=ServerModel(8, SERVICE), record_share=0.01)
    began = time.process_time()
    flows.advance(max(2.0, 20 * requests / RPS / 8000))
    took = time.process_time() - began
    flows.records()
    arrived = flows.arrived
    flows.advance(flows.now_s + 0.5)  # what came before was settling in
    return arrived / took, float(flows.records().latency_ms.mean())


def queue_of_simpy(requests: int) -> tuple[float, float]:
    """The same queue as SimPy's documentation would write it: a process per request, a Resource of 8."""
    rng = np.random.default_rng(1)
    gaps = (rng.standard_exponential(requests) / RPS).tolist()
    services = (SERVICE.median_ms / 1000 * np.exp(SERVICE.sigma * rng.standard_normal(requests))).tolist()
    took: list[float] = []
    environment = simpy.Environment()
    workers = simpy.Resource(environment, capacity=8)

    def request(service_s: float) -> Generator[simpy.Event, None, None]:
        planned_s = environment.now
        with workers.request() as turn:
            yield turn
            yield environment.timeout(service_s)
        took.append(environment.now - planned_s)

    def users() -> Generator[simpy.Event, None, None]:
        for gap_s, service_s in zip(gaps, services, strict=True):
            yield environment.timeout(gap_s)
            environment.process(request(service_s))

    environment.process(users())
    began = time.process_time()
    environment.run()
    return len(took) / (time.process_time() - began), 1000 * float(np.mean(took))


def best(of: Callable[[], float], rounds: int) -> float:
    return max(of() for _ in range(rounds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000, help="per round")
    parser.add_argument("--rounds", type=int, default=5)
    wanted = parser.parse_args()
    print(f"{'policy':<16}{'servers':>8}{'rps':>7}{'requests/s':>13}{'of real time':>14}")
    cases: list[tuple[str, Policy, int, float]] = [
        ("round-robin", RoundRobin(), 4, 200),
        ("round-robin", RoundRobin(), 4, 2000),
        ("round-robin", RoundRobin(), 10, 2000),
        ("round-robin", RoundRobin(), 100, 10_000),
        ("least-request", LeastRequest(), 10, 2000),
        ("random(2)", RandomPick(2), 10, 2000),
        ("hash source", Hash("source"), 10, 2000),
        ("hash bounded", Hash("source", bounded_load=1.25), 10, 2000),
    ]
    for name, policy, servers, rps in cases:
        rate = best(lambda n=servers, r=rps, p=policy: played(n, r, p, wanted.requests), wanted.rounds)  # type: ignore[misc]
        print(f"{name:<16}{servers:>8}{rps:>7.0f}{rate:>13,.0f}{f'{rate / rps:,.0f} x':>14}", flush=True)
    print("\nM/G/8 at a load of 0.8")
    queues: dict[str, Callable[[int], tuple[float, float]]] = {"World": queue_of_world, "Flows": queue_of_flows}
    theirs = f"SimPy {simpy.__version__}"
    queues[theirs] = queue_of_simpy
    rates: dict[str, float] = {}
    for name, play in queues.items():
        found = [play(wanted.requests) for _ in range(wanted.rounds)]
        rates[name] = max(rate for rate, _ in found)
        print(f"{name:<16}{rates[name]:>12,.0f} requests/s, mean latency {found[0][1]:.1f} ms", flush=True)
    print(f"times SimPy: World {rates['World'] / rates[theirs]:.1f}, Flows {rates['Flows'] / rates[theirs]:.0f}")


if __name__ == "__main__":
    main()
