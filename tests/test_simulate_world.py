"""The world as a whole: the same seed gives the same numbers, nothing is lost, and it reports as engines do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from levelhead import predict
from levelhead.errors import UsageError
from levelhead.model import (
    Admin,
    Check,
    Ejection,
    Fleet,
    Hash,
    LeastRequest,
    Limits,
    Policy,
    Pool,
    RandomPick,
    Retries,
    RoundRobin,
    Server,
    Timeouts,
)
from levelhead.simulate import (
    Bursts,
    Capacity,
    CheckFails,
    CheckFlaps,
    CheckLies,
    Down,
    Errors,
    Exponential,
    Fault,
    Fixed,
    Hang,
    HotKey,
    Lognormal,
    Resets,
    Restart,
    ServerModel,
    Service,
    Slow,
    Stall,
    Traffic,
    Up,
    UserModel,
    World,
)
from levelhead.simulate.faults import CheckFault, ServerFault
from levelhead.telemetry import COUNTERS, Health, Missing, PoolCounters, Sample, Standing, between


def servers(count: int) -> tuple[Server, ...]:
    return tuple(Server(f"s{i}", f"10.0.0.{i}", 80) for i in range(count))


TWO = Fleet((), (Pool("web", servers(4)), Pool("api", servers(3), policy=LeastRequest())))
CROWDS = {"web": UserModel(rps=150, exponent=0.7), "api": UserModel(rps=60, count=50, shape=Bursts())}
TROUBLE: tuple[tuple[float, Fault], ...] = (
    (3.0, Down("s1")),
    (9.0, Up("s1")),
    (11.0, Errors(0.3, "s2", pool="api")),
    (12.0, Slow(factor=4.0, server="s0")),
)


def told(sample: Sample) -> list[object]:
    """Everything a sample says, as plain lists."""
    said: list[object] = []
    for part in fields(sample):
        value = getattr(sample, part.name)
        if isinstance(value, PoolCounters):
            said += [getattr(value, f.name).tolist() for f in fields(value)]
        else:
            said.append(np.nan_to_num(value, nan=-1.0).tolist() if isinstance(value, np.ndarray) else value)
    return said


def played(seed: int, step_s: float) -> tuple[list[object], list[float], World]:
    of = World(TWO, {}, CROWDS, seed=seed, keep_outcomes=True)
    for at_s, fault in TROUBLE:
        of.inject(fault, at_s)
    for tick in range(1, round(20 / step_s) + 1):
        of.advance(tick * step_s)
    return told(of.sample()), of.outcomes("web").latency_ms.tolist(), of


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others() -> None:
    first, second, other = (played(seed, 0.25) for seed in (7, 7, 8))
    assert first[:2] == second[:2]
    assert first[:2] != other[:2]


def test_how_often_one_looks_changes_nothing() -> None:
    assert played(7, 20.0)[:2] == played(7, 0.1)[:2]


def test_pools_do_not_disturb_each_other() -> None:
    together = World(TWO, {}, CROWDS, seed=7)
    alone = World(replace(TWO, pools=TWO.pools[:1]), {}, CROWDS, seed=7)
    together.inject(Down(pool="api"))
    for of in (together, alone):
        of.advance(20)
    assert together.sample().requests[:4].tolist() == alone.sample().requests.tolist()
    assert together.harm("web") == alone.harm("web")


def test_the_same_users_come_whatever_the_servers_do() -> None:
    planned = []
    for fault in (None, Down(), Errors(0.5)):
        of = World(TWO, {}, {"web": UserModel(rps=200, exponent=0.9, repeatable=0.5)}, seed=4, keep_outcomes=True)
        if fault is not None:
            of.inject(fault, at_s=5.0)
        of.advance(20)
        of.inject(Traffic(0.0))
        of.advance(60)
        outcomes = of.outcomes("web")
        order = np.argsort(outcomes.planned_s)
        planned.append((outcomes.planned_s[order].tolist(), outcomes.user[order].tolist()))
    assert planned[0] == planned[1] == planned[2]


def test_a_sample_has_the_shape_of_the_fleet() -> None:
    of = World(TWO, {}, CROWDS, seed=1, epoch=5)
    of.advance(2.0)
    sample = of.sample()
    assert sample.layout.pools == ("web", "api")
    assert sample.layout.members("api") == ("s0", "s1", "s2")
    assert (sample.at_s, sample.epoch) == (2.0, 5)
    assert set(sample.standing) == {Standing.READY}
    assert set(sample.health) == {Health.PASSING}
    assert {len(getattr(sample, name)) for name in COUNTERS} == {7}
    assert len(sample.pool.arrived) == 2
    assert sample.layout.per_pool(sample.requests).tolist() == sample.pool.arrived.tolist()


def test_an_empty_fleet_and_a_pool_without_users_are_fine() -> None:
    nothing = World(Fleet((), ()), {}, {}, seed=1)
    nothing.advance(5)
    assert nothing.sample().requests.tolist() == []
    assert len(nothing.records()) == 0
    silent = World(TWO, {}, {}, seed=1)
    silent.advance(100)
    assert silent.sample().requests.sum() == 0
    silent.inject(Traffic(5.0))
    silent.advance(200)
    assert silent.harm("web").arrived == 0


def test_a_pool_without_servers_refuses() -> None:
    of = World(Fleet((), (Pool("web", ()),)), {}, {"web": UserModel(rps=50)}, seed=1)
    of.advance(10)
    sample = of.sample()
    assert sample.pool.refused.tolist() == sample.pool.arrived.tolist()
    of.apply(Fleet((), (Pool("web", servers(2)),)))
    of.advance(20)
    assert of.sample().requests.sum() == of.sample().pool.arrived[0] - sample.pool.arrived[0]


def test_records_are_a_fair_sample_at_the_rate_that_was_asked_for() -> None:
    users = UserModel(rps=1000, count=500)
    of = World(Fleet((), (Pool("web", servers(4)),)), {}, {"web": users}, seed=2, otherwise=ServerModel(400))
    of.inject(Slow(add_ms=400, server="s2"))
    rows, weights, slow, total = np.zeros(4), [], 0, 0
    for tick in range(1, 121):
        of.advance(tick * 0.25)
        records = of.records()
        rows += np.bincount(records.row, minlength=4)
        weights.append(records.weight)
        slow += int((records.latency_ms > 400).sum())
        total += len(records)
        assert len(records.client) == len(records) == len(records.status)
    assert total == pytest.approx(200 * 30, rel=0.05)
    assert np.mean(weights) == pytest.approx(5, rel=0.05)
    assert rows / total == pytest.approx([0.25] * 4, abs=0.03)
    assert slow == rows[2]


def test_records_name_clients_as_the_engine_tells_them_apart() -> None:
    users = UserModel(rps=200, count=1000, addresses=3)
    for client, expected in (("source", 3), ("header:X-User", 900)):
        of = World(Fleet((), (Pool("web", servers(2)),), client=client), {}, {"web": users}, seed=2, records_per_s=1e9)
        of.advance(60)
        records = of.records()
        assert records.weight == 1.0
        assert len(records) == of.harm("web").requests
        assert len(set(records.client)) == pytest.approx(expected, rel=0.12)
        assert len(of.records()) == 0


def test_a_record_of_a_refused_request_or_of_a_removed_server_has_no_row() -> None:
    web = Pool("web", servers(2), check=Check(fall=1))
    of = World(Fleet((), (web,)), {}, {"web": UserModel(rps=100)}, seed=2)
    of.advance(5)
    of.apply(Fleet((), (replace(web, servers=web.servers[1:]),)))
    records = of.records()
    assert set(records.row) == {-1, 0}
    of.inject(Down())
    of.advance(8)
    of.records()
    of.advance(9)
    records = of.records()
    assert set(zip(records.row.tolist(), records.status.tolist(), strict=True)) == {(-1, 503)}


def test_outcomes_add_up_to_the_harm_and_are_only_kept_on_demand() -> None:
    of = played(3, 1.0)[2]
    kept = World(TWO, {}, CROWDS, seed=3, keep_outcomes=True)
    for at_s, fault in TROUBLE:
        kept.inject(fault, at_s)
    kept.advance(20)
    outcomes = kept.outcomes("web")
    harmed = (outcomes.status >= 500) | (outcomes.status < 0) | (outcomes.latency_ms > 1000)
    assert kept.harm("web") == of.harm("web")
    harm = kept.harm("web")
    assert (harm.requests, harm.harmed_requests) == (len(outcomes), harmed.sum())
    assert (harm.users, harm.harmed_users) == (len(set(outcomes.user)), len(set(outcomes.user[harmed])))
    assert len(kept.outcomes("web")) == 0
    with pytest.raises(UsageError, match="keep_outcomes=True"):
        World(TWO, {}, CROWDS, seed=3).outcomes("web")


def test_the_slo_decides_who_was_harmed_by_slowness() -> None:
    pool = Pool("web", servers(1))
    harmed = []
    for limit_ms in (10.0, 1000.0):
        of = World(
            Fleet((), (replace(pool, slo=replace(pool.slo, latency_ms=limit_ms)),)), {}, {"web": UserModel(rps=50)},
            seed=1, otherwise=ServerModel(service=Fixed(20)),
        )  # fmt: skip
        of.advance(20)
        harmed.append((of.harm("web").harmed_requests, of.harm("web").requests))
    assert harmed[0][0] == harmed[0][1] == harmed[1][1] > 800
    assert harmed[1][0] == 0


def test_shares_are_what_predict_says() -> None:
    """The weight typo of the incident: 90/10/10/10, and the two ways to say what must come of it."""
    weights = (90.0, 10.0, 10.0, 10.0)
    pool = Pool("web", tuple(replace(s, weight=w) for s, w in zip(servers(4), weights, strict=True)))
    of = World(Fleet((), (pool,)), {}, {"web": UserModel(rps=300)}, seed=1, otherwise=ServerModel(workers=200))
    of.advance(40)
    sample = of.sample()
    observed = sample.requests / sample.requests.sum()
    assert observed == pytest.approx(predict.predicted(pool), abs=2e-4)
    now = predict.predicted_now(sample.weight, sample.ramp, sample.health, sample.standing)
    assert observed == pytest.approx(now, abs=2e-4)


def test_apply_changes_everything_in_force_at_once() -> None:
    pool = Pool("web", servers(3))
    of = World(Fleet((), (pool,)), {}, {"web": UserModel(rps=300)}, seed=1)
    of.advance(10)
    of.apply(Fleet((), (replace(pool, servers=(replace(pool.servers[0], weight=0.0), *pool.servers[1:])),)))
    before = of.sample()
    of.advance(20)
    after = of.sample()
    assert before.weight.tolist() == [0, 100, 100]
    assert after.requests[0] == before.requests[0]
    of.apply(Fleet((), (replace(pool, policy=Hash("source")), Pool("new", servers(2)))))
    assert of.sample().layout.pools == ("web", "new")
    of.advance(30)
    assert of.sample().requests[0] > after.requests[0]
    of.apply(Fleet((), ()))
    of.advance(31)
    assert of.sample().layout.pools == ()


def test_a_server_that_moves_is_a_new_one() -> None:
    pool = Pool("web", servers(2), slow_start_s=0)
    of = World(Fleet((), (pool,)), {}, {"web": UserModel(rps=300)}, seed=1)
    of.advance(10)
    of.apply(Fleet((), (replace(pool, servers=(replace(pool.servers[0], host="10.9.9.9"), pool.servers[1])),)))
    assert of.sample().requests[0] == 0
    of.advance(20)
    assert of.sample().requests[0] == pytest.approx(1500, rel=0.1)


def test_two_entries_with_one_address_burden_one_machine() -> None:
    """`duplicate-server-entry`: the machine listed twice gets a double share, and both rows fail together."""
    pool = Pool("web", (*servers(3), Server("again", "10.0.0.1", 80)))
    of = World(Fleet((), (pool,)), {}, {"web": UserModel(rps=240)}, seed=1, otherwise=ServerModel(2, Fixed(20)))
    of.advance(20)
    sample = of.sample()
    assert sample.requests / sample.requests.sum() == pytest.approx([0.25] * 4, abs=0.01)
    assert sample.in_flight[1] + sample.in_flight[3] > 100  # 120 requests/s on a machine that bears 100
    of.inject(Down("again"))
    of.advance(25)
    assert of.sample().health.tolist() == [1, 2, 1, 2]


def test_an_hour_without_events_keeps_no_requests_in_memory() -> None:
    of = World(Fleet((), (Pool("web", servers(4)),)), {}, {"web": UserModel(rps=20)}, seed=1)
    of.advance(3600)
    ledger = of._pools["web"].ledger
    ledger.flush()
    assert of.harm("web").requests == pytest.approx(72_000, rel=0.02)
    assert sum(len(table) for table in ledger._fresh) <= 2 * 65_536
    assert ledger._kept == []


# --- properties over random fleets and faults ---

POLICIES: list[Policy] = [
    RoundRobin(),
    LeastRequest(),
    RandomPick(2),
    Hash("source"),
    Hash("path", bounded_load=1.25),
    Hash("cookie", name="c", consistent=False),
]
SERVICES: list[Service] = [Fixed(15), Exponential(30), Lognormal(20, 300)]
SERVER = st.sampled_from([None, "s0", "s1"])
FAULTS: st.SearchStrategy[Fault] = st.one_of(
    st.builds(Down, SERVER),
    st.builds(Up, SERVER),
    st.builds(Hang, SERVER, accepts=st.booleans()),
    st.builds(Stall, st.floats(0.1, 4), SERVER),
    st.builds(Errors, st.floats(0, 1), SERVER, fast=st.booleans()),
    st.builds(Slow, st.floats(0, 900), st.floats(0.5, 8), SERVER),
    st.builds(Resets, st.floats(0, 1), SERVER),
    st.builds(Capacity, st.integers(0, 8), SERVER),
    st.builds(CheckLies, SERVER),
    st.builds(CheckFails, SERVER),
    st.builds(CheckFlaps, st.floats(0.5, 5), SERVER),
    st.builds(Traffic, st.floats(0, 4)),
    st.builds(HotKey, st.floats(0, 1)),
    st.builds(Restart, st.booleans()),
)


def edits(pool: Pool) -> st.SearchStrategy[Pool]:
    """The pool with other weights, admin states, members, policy, check or timeouts."""
    more = (*pool.servers, Server("extra", "10.0.0.77", 80))
    return st.one_of(
        st.builds(lambda w: _with_first(pool, lambda s: replace(s, weight=w)), st.sampled_from([0.0, 1.0, 256.0])),
        st.builds(lambda a: _with_first(pool, lambda s: replace(s, admin=a)), st.sampled_from(Admin)),
        st.builds(lambda n: replace(pool, servers=more[n:]), st.integers(0, len(more) - 1)),
        st.builds(lambda p: replace(pool, policy=p), st.sampled_from(POLICIES)),
        st.builds(lambda c: replace(pool, check=c), st.sampled_from([None, Check(fall=1, rise=1)])),
        st.just(replace(pool, timeouts=Timeouts(connect_s=0.3, server_s=0.4, queue_s=0.2, keep_alive_s=1))),
    )


def _with_first(pool: Pool, edit: Callable[[Server], Server]) -> Pool:
    return replace(pool, servers=(edit(pool.servers[0]), *pool.servers[1:]))


@st.composite
def pools(draw: st.DrawFn) -> Pool:
    return Pool(
        "web",
        servers(draw(st.integers(2, 5))),
        policy=draw(st.sampled_from(POLICIES)),
        check=draw(st.sampled_from([None, Check(interval_s=0.5, timeout_s=0.3, fall=2)])),
        ejection=draw(st.sampled_from([None, Ejection(3)])),
        timeouts=Timeouts(connect_s=0.5, server_s=draw(st.sampled_from([0.5, 30.0])), queue_s=1.0, keep_alive_s=2.0),
        retries=Retries(draw(st.integers(0, 3))),
        limits=Limits(draw(st.sampled_from([None, 1, 4])), draw(st.sampled_from([None, 0, 10]))),
        affinity_cookie=draw(st.sampled_from([None, "SRV"])),
        slow_start_s=draw(st.sampled_from([0.0, 3.0])),
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data(), seed=st.integers(0, 1000))
def test_counters_never_fall_and_no_request_is_lost(data: st.DataObject, seed: int) -> None:
    pool = data.draw(pools())
    users = UserModel(
        rps=data.draw(st.sampled_from([20.0, 150.0])), count=30, exponent=0.8,
        session=data.draw(st.sampled_from(["none", "cookie", "keepalive"])), session_requests=20, repeatable=0.7,
    )  # fmt: skip
    workers, service, deep = (
        data.draw(st.integers(1, 6)),
        data.draw(st.sampled_from(SERVICES)),
        data.draw(st.booleans()),
    )
    model = ServerModel(workers, service, deep_check=deep, cold_factor=2.0, cold_s=1.0)
    of = World(Fleet((), (pool,)), {}, {"web": users}, seed=seed, otherwise=model, keep_outcomes=True)
    before, now_s, answered = of.sample(), 0.0, 0
    for _ in range(data.draw(st.integers(1, 6))):
        now_s += data.draw(st.floats(0.05, 3))
        of.advance(now_s)
        after = of.sample()
        answered += len(of.outcomes("web"))
        check_ledger(of, after, answered)
        check_counters(before, after)
        change = data.draw(st.one_of(FAULTS, edits(pool)))
        if isinstance(change, Pool):
            of.apply(Fleet((), (change,)))
        elif isinstance(change, ServerFault | CheckFault) and missing(of, change.server):
            continue
        else:
            of.inject(change)
        before = of.sample()
        answered += len(of.outcomes("web"))
        check_ledger(of, before, answered)
    settle(of)
    harm = of.harm("web")
    assert harm.arrived == harm.requests
    assert of.sample().in_flight.sum() == of.sample().pool.in_flight[0] == of.sample().pool.queued[0] == 0


def missing(of: World, server: str | None) -> bool:
    return server is not None and server not in of.sample().layout.members("web")


def check_ledger(of: World, sample: Sample, answered: int) -> None:
    """Arrived = answered (also those refused) + in flight + queued."""
    harm = of.harm("web")
    assert harm.requests == answered
    assert harm.arrived == answered + sample.pool.in_flight[0] + sample.pool.queued[0]
    assert sample.pool.in_flight[0] >= sample.in_flight.sum()
    assert sample.pool.queued[0] >= sample.queued.sum()
    assert sample.pool.refused[0] <= sample.pool.errors_5xx[0]


def test_connections_are_counted_where_users_keep_theirs() -> None:
    users = UserModel(rps=200, count=40, session="keepalive")
    fleet = Fleet((), (Pool("web", servers(4), slow_start_s=0.0),))
    kept = World(fleet, {}, {"web": users}, seed=3)
    shared = World(fleet, {}, {"web": replace(users, session="none")}, seed=3)
    for of in (kept, shared):
        of.advance(20.0)
    sample = kept.sample()

    assert sample.connections.sum() == 40
    assert sample.connects.sum() >= 40
    assert np.isnan(shared.sample().connections).all()
    kept.inject(Down(server="s0"))
    kept.advance(40.0)
    moved = kept.sample()
    assert moved.connections[0] == 0
    assert moved.connections.sum() == 40
    assert moved.connects.sum() == sample.connects.sum() + sample.connections[0]


def check_counters(before: Sample, after: Sample) -> None:
    """No counter falls within an epoch. `between` turns one that does into NaN."""
    tick = between(before, after)
    if isinstance(tick, Missing):
        assert after.epoch > before.epoch or after.at_s == before.at_s
        return
    for name in COUNTERS:
        # Connections are counted only where users keep theirs; else nobody knows them at any time.
        uncounted = np.isnan(after.connects) if name == "connects" else np.zeros(len(after.requests), dtype=bool)
        assert ((getattr(tick, name) >= 0) | uncounted).all(), name
    for part in ("arrived", "errors_5xx", "refused"):
        assert (getattr(tick.pool, part) >= 0).all(), part
    assert (tick.errors_5xx + tick.connect_errors <= tick.requests + before.in_flight).all()


def settle(of: World) -> None:
    """Nobody comes any more, all is well again, and everything may finish."""
    of.inject(Traffic(0.0))
    of.inject(Up())
    of.advance(of.now_s + 200)
