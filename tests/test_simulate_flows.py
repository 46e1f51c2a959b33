"""Flows play the same model as World: the same formulas of queueing, the same spread, in flight and drains."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from levelhead.errors import UsageError
from levelhead.model import Admin, Fleet, Hash, LeastRequest, Policy, Pool, RandomPick, RoundRobin, Server
from levelhead.simulate import (
    Bursts,
    Diurnal,
    Errors,
    Exponential,
    Fixed,
    Flows,
    Lognormal,
    Ramp,
    ServerModel,
    Slow,
    Stall,
    Steady,
    Traffic,
    UserModel,
    World,
)
from levelhead.simulate.base import Service, Shape
from levelhead.telemetry import Floats, Health, Standing, Tick, between


def pool(servers: int = 4, **settings: object) -> Pool:
    members = tuple(Server(f"s{i}", f"10.0.0.{i + 1}", 80) for i in range(servers))
    return Pool("web", members, **settings)  # type: ignore[arg-type]


def flows(of: Pool, copies: int = 50, *, rps: float = 100.0, seed: int = 1, **users: object) -> Flows:
    crowd = UserModel(rps=rps, **users)  # type: ignore[arg-type]
    return Flows(of, copies, crowd, seed=seed, otherwise=ServerModel(2, Exponential(20)), record_share=1.0)


def seen(it: Flows, until_s: float, look: Callable[[Flows], None] = lambda it: None) -> Tick:
    before = it.sample()
    for i in range(1, round(until_s / 0.25) + 1):
        it.advance(i * 0.25)
        look(it)
    found = between(before, it.sample(), it.records())
    assert isinstance(found, Tick)
    return found


@settings(max_examples=4, deadline=None)
@given(
    policy=st.sampled_from([RoundRobin(), LeastRequest(), RandomPick(1), RandomPick(2)]),
    service=st.sampled_from([Exponential(20), Lognormal(15, 60), Fixed(20)]),
    workers=st.integers(1, 3), load=st.floats(0.2, 0.8), seed=st.integers(0, 10_000),
)  # fmt: skip
def test_latency_and_what_is_in_flight_are_those_of_the_world(
    policy: Policy, service: Service, workers: int, load: float, seed: int
) -> None:
    of, model = pool(policy=policy, check=None), ServerModel(workers, service)
    users = UserModel(rps=4 * load * model.bearable_rps)
    world = World(Fleet((), (of,)), {}, {"web": users}, seed=seed, otherwise=model, keep_outcomes=True)
    many = Flows(of, 12, users, seed=seed, otherwise=model, record_share=1.0)
    held: list[Floats] = []
    latency = []
    for i in range(1, 61):
        many.advance(i * 0.25)
        held.append(many.sample().in_flight)
        latency.append(many.records().latency_ms)
    world.advance(15.0)
    ours = np.concatenate(latency[20:])
    found = world.outcomes("web")
    theirs = found.latency_ms[found.planned_s > 5.0]
    # One world of 15 s beside 12 of them: the world's own noise decides how near they must be.
    sigma = theirs.std() / np.sqrt(len(theirs) / (1 + 30 * load**2 / (1 - load)))

    assert abs(ours.mean() - theirs.mean()) < 5 * sigma + 0.05 * theirs.mean()
    by_law = users.rps * ours.mean() / 1000 / 4  # Little's
    assert np.mean(held[20:]) == pytest.approx(by_law, rel=0.15 + 0.3 * load**2)


@pytest.mark.parametrize(("workers", "load"), [(1, 0.5), (1, 0.8), (4, 0.7), (8, 0.8)])
def test_the_mean_wait_is_that_of_the_formula(workers: int, load: float) -> None:
    mean_ms = 20.0
    rps = load * workers / (mean_ms / 1000)
    of = replace(pool(1), check=None)
    model = ServerModel(workers, Exponential(mean_ms))
    it = Flows(of, 1500, UserModel(rps=rps), seed=3, otherwise=model, record_share=0.5)
    it.advance(1.5)
    it.records()
    it.advance(3.0)
    wait_ms = it.records().latency_ms.mean() - mean_ms

    assert wait_ms == pytest.approx(1000 * erlang_c_wait(workers, rps, mean_ms / 1000), rel=0.08)


def erlang_c_wait(workers: int, rps: float, mean_s: float) -> float:
    offered = rps * mean_s
    below = sum(offered**k / float(np.prod(np.arange(1, k + 1))) for k in range(workers))
    full = offered**workers / float(np.prod(np.arange(1, workers + 1))) / (1 - offered / workers)
    return full / (below + full) * mean_s / (workers - offered)


@pytest.mark.parametrize("policy", [RoundRobin(), LeastRequest(), RandomPick(2), Hash("source")])
def test_shares_are_those_of_the_world(policy: Policy) -> None:
    of = pool(5, policy=policy, check=None)
    weighted = replace(of, servers=(replace(of.servers[0], weight=200.0), *of.servers[1:]))
    model, users = ServerModel(2, Exponential(20)), UserModel(rps=250, count=500)
    world = World(Fleet((), (weighted,)), {}, {"web": users}, seed=5, otherwise=model)
    world.advance(20.0)
    theirs = world.sample().requests
    ours = seen(Flows(weighted, 20, users, seed=1, otherwise=model), 4).requests.reshape(20, 5).sum(axis=0)

    assert ours / ours.sum() == pytest.approx(theirs / theirs.sum(), abs=0.03)


@pytest.mark.parametrize("shape", [Steady(), Diurnal(0.5, 40.0, 10.0), Ramp(3.0, 5.0, 5.0), Bursts(3.0, 2.0, 2.0)])
def test_as_many_come_as_the_shape_says(shape: Shape) -> None:
    world = World(Fleet((), (pool(check=None),)), {}, {"web": UserModel(rps=400, shape=shape)}, seed=2)
    world.advance(20.0)
    it = flows(pool(), 40, rps=50, shape=shape)
    rate = seen(it, 20).pool.arrived.mean() / 50
    wide = 0.5 if isinstance(shape, Bursts) else 0.03  # one world has few bursts

    assert rate == pytest.approx(world.harm("web").arrived / 400, rel=wide)


def test_the_same_seed_gives_the_same_flows() -> None:
    first, second, other = (seen(flows(pool(), seed=seed), 3) for seed in (1, 1, 2))

    assert np.array_equal(first.requests, second.requests)
    assert np.array_equal(first.records.latency_ms, second.records.latency_ms)
    assert not np.array_equal(first.requests, other.requests)


def test_clients_stay_with_their_cookie_and_move_when_their_server_is_gone() -> None:
    of = pool(affinity_cookie="at", slow_start_s=0.0)
    it = flows(of, 5, session="cookie", count=30)
    seen(it, 5)
    at = records_by_client(it, 5.0, 10.0)
    assert max(len(servers) for servers in at.values()) == 1

    gone = replace(of, servers=(replace(of.servers[0], admin=Admin.MAINT), *of.servers[1:]))
    it.apply(gone)
    it.records()
    later = records_by_client(it, 11.0, 15.0)
    assert all(server % 4 != 0 for servers in later.values() for server in servers)
    assert all(later[c] == at[c] for c in at.keys() & later.keys() if min(at[c]) % 4 != 0)


def records_by_client(it: Flows, after_s: float, until_s: float) -> dict[str, set[int]]:
    it.advance(after_s)
    it.records()
    it.advance(until_s)
    found: dict[str, set[int]] = {}
    records = it.records()
    for client, row in zip(records.client, records.row.tolist(), strict=True):
        found.setdefault(client, set()).add(row)
    return found


def test_a_drained_server_gets_nothing_new_and_comes_back_slowly() -> None:
    of = pool(slow_start_s=8.0)
    out = replace(of, servers=(replace(of.servers[0], admin=Admin.MAINT), *of.servers[1:]))
    it = flows(of, 20)
    it.advance(5.0)
    it.apply(out)
    before = it.sample()
    it.advance(10.0)
    away = it.sample()
    it.apply(of)
    it.advance(12.0)
    starting = it.sample()

    assert (away.requests - before.requests)[::4].max() == 0
    assert set(away.standing[::4].tolist()) == {Standing.MAINT}
    assert set(away.health[::4].tolist()) == {Health.UNKNOWN}
    assert 0 < starting.ramp[0] < 0.5
    got = (starting.requests - away.requests).reshape(20, 4).sum(axis=0)
    assert 0 < got[0] < 0.4 * got[1]


def test_a_stall_holds_everything_for_so_long_and_loses_nothing() -> None:
    of = pool(check=None)
    it = Flows(of, 40, UserModel(rps=200), seed=1, otherwise=ServerModel(4, Fixed(10)), record_share=1.0)
    it.advance(2.0)
    it.records()
    it.inject(Stall(0.2, "s1"))
    it.advance(2.15)
    held = it.sample().in_flight.reshape(40, 4).mean(axis=0)
    it.advance(4.0)
    records = it.records()
    slowest = [records.latency_ms[records.row % 4 == k].max() for k in range(4)]

    assert held[1] > 5 * held[[0, 2, 3]].max()
    assert 180 < slowest[1] < 300
    assert max(slowest[0], slowest[2], slowest[3]) < 100
    assert it.sample().in_flight.reshape(40, 4)[:, 1].mean() < 2


def test_faults_show_in_the_counters() -> None:
    it = flows(pool(), 50)
    it.advance(2.0)
    it.inject(Errors(0.3, "s2"))
    it.inject(Slow(factor=3.0, server="s3"))
    it.inject(Traffic(2.0))
    before = it.sample()
    it.records()
    it.advance(8.0)
    found = between(before, it.sample(), it.records())
    assert isinstance(found, Tick)
    failed = (found.errors_5xx / found.requests).reshape(50, 4).mean(axis=0)
    slow = [np.median(found.records.latency_ms[found.records.row % 4 == k]) for k in range(4)]

    assert failed == pytest.approx([0, 0, 0.3, 0], abs=0.03)
    assert found.pool.errors_5xx.sum() == found.errors_5xx.sum()
    assert slow[3] > 2.5 * slow[0]
    assert found.pool.arrived.mean() == pytest.approx(200 * 6, rel=0.03)


def test_more_in_flight_than_there_was_room_for_is_still_counted() -> None:
    it = Flows(pool(1, check=None), 3, UserModel(rps=200), seed=1, otherwise=ServerModel(1, Fixed(1000)))
    it.advance(1.0)
    sample = it.sample()

    assert sample.in_flight.min() > 100
    assert np.array_equal(sample.in_flight, sample.pool.arrived), "none is answered within the first second"


def test_records_stand_for_all_requests() -> None:
    crowd = UserModel(rps=100)
    found = seen(Flows(pool(), 100, crowd, seed=1, otherwise=ServerModel(2, Exponential(20)), record_share=0.1), 5)

    assert len(found.records) * found.records.weight == pytest.approx(found.requests.sum(), rel=0.05)


@pytest.mark.parametrize(
    "policy", [Hash("path"), Hash("source", bounded_load=1.25), Hash("source", consistent=False)]
)
def test_what_flows_cannot_play_is_refused(policy: Policy) -> None:
    with pytest.raises(UsageError, match="need a World"):
        flows(pool(policy=policy))


def test_a_server_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="no server s9"):
        flows(pool()).inject(Slow(factor=2.0, server="s9"))
