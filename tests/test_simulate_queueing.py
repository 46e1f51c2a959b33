"""The simulated servers against queueing theory: lines, waits and loads must be what the formulas say."""

from __future__ import annotations

from math import factorial

import numpy as np
import pytest

from levelhead.model import Fleet, Pool, Server
from levelhead.simulate import (
    Bursts,
    Diurnal,
    Exponential,
    Fixed,
    Lognormal,
    Ramp,
    ServerModel,
    Shape,
    UserModel,
    World,
)
from levelhead.simulate.base import ProxyModel
from levelhead.simulate.proxy import PoolProxy, Surroundings
from levelhead.telemetry import Floats


def one_server(model: ServerModel, rps: float, seed: int = 1) -> World:
    fleet = Fleet((), (Pool("web", (Server("a", "10.0.0.1", 80),)),))
    return World(fleet, {("web", "a"): model}, {"web": UserModel(rps=rps)}, seed=seed, keep_outcomes=True)


def latencies_s(world: World) -> Floats:
    outcomes = world.outcomes("web")
    assert set(outcomes.status) == {200}
    return outcomes.latency_ms / 1000


def erlang_c(servers: int, offered: float) -> float:
    """The chance to wait in M/M/c at an offered load of so many busy servers."""
    last = offered**servers / factorial(servers) * servers / (servers - offered)
    return last / (sum(offered**k / factorial(k) for k in range(servers)) + last)


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_one_worker_waits_as_in_m_m_1(load: float) -> None:
    world = one_server(ServerModel(workers=1, service=Exponential(10)), rps=100 * load)
    world.advance(100_000 / (100 * load))
    expected_s = 0.010 / (1 - load)
    took_s = latencies_s(world)
    assert took_s.mean() == pytest.approx(expected_s, rel=0.05)
    # Its sojourn times are themselves exponential: the 90th percentile is ln 10 means.
    assert np.quantile(took_s, 0.9) == pytest.approx(expected_s * np.log(10), rel=0.06)


@pytest.mark.parametrize(("workers", "load"), [(4, 0.6), (8, 0.85)])
def test_many_workers_wait_as_in_m_m_c(workers: int, load: float) -> None:
    rps = workers * load * 100
    world = one_server(ServerModel(workers=workers, service=Exponential(10)), rps=rps)
    world.advance(120_000 / rps)
    wait_s = erlang_c(workers, workers * load) * 0.010 / (workers * (1 - load))
    assert latencies_s(world).mean() == pytest.approx(0.010 + wait_s, rel=0.04)


def test_a_steady_service_time_waits_half_as_long_as_an_exponential_one() -> None:
    """M/D/1: the mean wait is half of M/M/1's (Pollaczek and Khinchine)."""
    world = one_server(ServerModel(workers=1, service=Fixed(10)), rps=70)
    world.advance(1_500)
    wait_s = latencies_s(world).mean() - 0.010
    assert wait_s == pytest.approx(0.5 * 0.7 * 0.010 / 0.3, rel=0.05)


def test_littles_law_holds_for_a_pool() -> None:
    """L = lambda W, with L read from the gauges as an engine shows them, at times that do not depend on the load."""
    fleet = Fleet((), (Pool("web", tuple(Server(f"s{i}", f"10.0.0.{i}", 80) for i in range(3))),))
    world = World(
        fleet, {}, {"web": UserModel(rps=120)}, seed=5, keep_outcomes=True,
        otherwise=ServerModel(workers=4, service=Lognormal(60, 200)),
    )  # fmt: skip
    held = []
    for tick in range(1, 4001):
        world.advance(tick * 0.13)
        held.append(world.sample().pool.in_flight[0])
    took_s = latencies_s(world)
    assert np.mean(held) == pytest.approx(len(took_s) / world.now_s * took_s.mean(), rel=0.03)


def test_no_worker_idles_while_a_request_waits() -> None:
    around = Surroundings(3, {}, ServerModel(workers=3, service=Lognormal(30, 300)), ProxyModel(), keep_outcomes=False)
    pool = PoolProxy(Pool("web", (Server("a", "10.0.0.1", 80),)), UserModel(rps=75), around, start_s=0.0)
    lined_up = 0
    for tick in range(1, 3000):
        pool.run(tick * 0.021)
        (row,) = pool.rows
        assert row.host.busy == min(3, len(row.outstanding))
        assert len(row.host.waiting) == max(0, len(row.outstanding) - 3)
        lined_up += bool(row.host.waiting)
    assert lined_up > 100  # the case was met


def test_service_times_have_the_median_and_the_p99_that_were_asked_for() -> None:
    world = one_server(ServerModel(workers=1000, service=Lognormal(20, 80)), rps=500)
    world.advance(100)
    took_ms = latencies_s(world) * 1000
    assert np.quantile(took_ms, [0.5, 0.99]) == pytest.approx([20, 80], rel=0.04)
    assert took_ms.mean() == pytest.approx(Lognormal(20, 80).mean_ms, rel=0.02)


def test_a_server_of_twice_the_speed_bears_twice_the_rate() -> None:
    slow, fast = (ServerModel(workers=2, service=Fixed(20), speed=speed) for speed in (1.0, 2.0))
    assert (slow.bearable_rps, fast.bearable_rps) == (100, 200)
    worlds = [one_server(model, rps=150) for model in (slow, fast)]
    for world in worlds:
        world.advance(20)
    backlog = [world.sample().in_flight[0] for world in worlds]
    assert backlog[0] > 500
    assert backlog[1] < 20


def counted(shape: Shape, edges: list[float], rps: float = 100) -> Floats:
    """Requests planned between the edges."""
    fleet = Fleet((), (Pool("web", (Server("a", "10.0.0.1", 80),)),))
    users = UserModel(rps=rps, shape=shape)
    world = World(fleet, {}, {"web": users}, seed=9, otherwise=ServerModel(workers=10_000, service=Fixed(1)))
    arrived = []
    for edge in edges:
        world.advance(edge)
        arrived.append(world.sample().pool.arrived[0])
    return np.diff(arrived)


def test_a_steady_crowd_is_a_poisson_stream() -> None:
    counts = counted(Bursts(factor=1.0), [float(t) for t in range(1001)])
    assert counts.mean() == pytest.approx(100, rel=0.01)
    assert counts.var() / counts.mean() == pytest.approx(1.0, abs=0.15)


def test_the_rate_follows_a_ramp_and_a_day() -> None:
    ramp = counted(Ramp(factor=3, start_s=100, over_s=100), [0, 100, 150, 200, 300]) / [100, 50, 50, 100]
    assert ramp == pytest.approx([100, 150, 250, 300], rel=0.05)
    day = counted(Diurnal(swing=0.5, period_s=400, peak_s=100), [50, 150, 250, 350]) / 100
    around_peak = 0.5 * 4 / (2 * np.pi) * 2 * np.sin(np.pi / 4)
    assert day == pytest.approx([100 * (1 + around_peak), 100, 100 * (1 - around_peak)], rel=0.05)


def test_bursts_make_counts_overdispersed() -> None:
    counts = counted(Bursts(factor=4, on_s=5, off_s=15), [float(t) for t in range(1501)], rps=20)
    assert counts.mean() == pytest.approx(20 * (15 + 4 * 5) / 20, rel=0.12)
    assert counts.var() / counts.mean() > 3
