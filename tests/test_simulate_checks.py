"""Health: when the simulated proxy notices that a server is down, and how the server comes back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from levelhead.model import Admin, Check, Ejection, Fleet, LeastRequest, Policy, Pool, RandomPick, RoundRobin, Server
from levelhead.simulate import (
    CheckFails,
    CheckFlaps,
    CheckLies,
    Down,
    Errors,
    Fault,
    Fixed,
    Hang,
    Restart,
    ServerModel,
    Stall,
    Up,
    UserModel,
    World,
)
from levelhead.telemetry import Health, Standing

CHECK = Check(path="/healthz", interval_s=1.0, timeout_s=1.0, fall=3, rise=2)
POOL = Pool("web", tuple(Server(f"s{i}", f"10.0.0.{i}", 80) for i in range(4)), check=CHECK)
STEP_S = 0.05


def world(of: Pool = POOL, *, rps: float = 200, server: ServerModel | None = None, seed: int = 1) -> World:
    return World(
        Fleet((), (of,)), {}, {"web": UserModel(rps=rps)}, seed=seed, keep_outcomes=True,
        otherwise=server or ServerModel(workers=64, service=Fixed(5)),
    )  # fmt: skip


def turned(of: World, health: Health, row: int, limit_s: float) -> float:
    """When the row's health turns to this, to the step; it must before the limit."""
    while of.sample().health[row] != health:
        of.advance(of.now_s + STEP_S)
        assert of.now_s < limit_s, f"never {health.name}"
    return of.now_s


@pytest.mark.parametrize("fall", [1, 3, 5])
def test_a_refusing_server_is_found_after_fall_checks(fall: int) -> None:
    found = []
    for row in range(4):
        of = world(replace(POOL, check=replace(CHECK, fall=fall)))
        of.inject(Down(f"s{row}"), at_s=10.0)
        found.append(turned(of, Health.FAILING, row, 30) - 10)
    # The first failed check comes within one interval, evenly spread over servers; the others an interval apart.
    assert all(fall - 1 <= after_s <= fall + STEP_S for after_s in found)
    assert max(found) - min(found) > 0.5


def test_a_hanging_server_is_found_by_timeouts_each_an_interval_after_the_last_one_ended() -> None:
    """HAProxy 2.6 and 2.8: a check that times out after 0.5 s is followed by the next 1 s later, 1.5 s in all."""
    for accepts in (True, False):
        of = world(replace(POOL, check=replace(CHECK, timeout_s=0.5)))
        of.inject(Hang("s1", accepts=accepts), at_s=10.0)
        assert 3.5 <= turned(of, Health.FAILING, 1, 30) - 10 <= 4.5 + STEP_S


def test_a_server_without_a_check_is_never_found_and_stays_unchecked() -> None:
    of = world(replace(POOL, check=None))
    of.inject(Down("s1"))
    of.advance(30)
    sample = of.sample()
    assert list(sample.health) == [Health.UNCHECKED] * 4
    # Each second attempt takes a turn too: a quarter of 6,000 requests and of the second attempts.
    assert sample.redispatches[1] == pytest.approx(2000, rel=0.02)


def test_a_server_that_is_down_from_the_start_falls_at_the_first_check() -> None:
    of = world()
    of.inject(Down())
    of.advance(1.0)
    assert list(of.sample().health) == [Health.FAILING] * 4


def test_a_down_server_gets_no_requests_and_returns_in_slow_start() -> None:
    of = world()
    of.inject(Down("s1"), at_s=10)
    of.inject(Up("s1"), at_s=30.2)
    turned(of, Health.FAILING, 1, 14)
    at_down = of.sample().requests[1]
    back_s = turned(of, Health.PASSING, 1, 34)
    assert 1.0 <= back_s - 30.2 <= 2.0 + STEP_S
    assert of.sample().requests[1] == at_down
    ramps, share = [], []
    for second in range(12):
        of.advance(back_s + second + 0.5)
        before = of.sample()
        ramps.append(float(before.ramp[1]))
        of.advance(back_s + second + 1.0)
        got = of.sample().requests - before.requests
        share.append(float(got[1] / got.sum()))
    # The steps that `show stat` of HAProxy 2.6 goes through for slowstart 10s: 7 13 25 32 44 57 63 75 82 94 100.
    assert [np.ceil(100 * ramp) for ramp in ramps] == [7, 13, 25, 32, 44, 57, 63, 75, 82, 94, 100, 100]
    assert share == pytest.approx([ramp / (3 + ramp) for ramp in ramps], abs=0.03)
    assert of.sample().weight[1] == 100


def test_slow_start_is_not_for_the_beginning() -> None:
    of = world()
    of.advance(0.5)
    assert list(of.sample().ramp) == [1.0] * 4
    counts = of.sample().requests
    assert counts.max() - counts.min() <= 1


def test_maintenance_stops_checks_and_ends_in_slow_start() -> None:
    of = world()
    of.advance(5)
    away = replace(POOL, servers=(replace(POOL.servers[0], admin=Admin.MAINT), *POOL.servers[1:]))
    of.apply(Fleet((), (away,)))
    of.inject(Down("s0"))
    start = of.sample().requests[0]
    of.advance(20)
    sample = of.sample()
    assert (sample.health[0], sample.standing[0]) == (Health.UNKNOWN, Standing.MAINT)
    assert sample.requests[0] == start
    of.inject(Up("s0"))
    of.apply(Fleet((), (POOL,)))
    sample = of.sample()
    assert (sample.health[0], sample.standing[0]) == (Health.UNKNOWN, Standing.READY)
    assert sample.ramp[0] == 1 / 16
    of.advance(20.1)
    assert of.sample().health[0] == Health.PASSING
    of.advance(40)
    assert of.sample().ramp[0] == 1


def test_a_server_put_back_while_it_is_still_down_falls_at_its_first_check() -> None:
    of = world()
    away = replace(POOL, servers=(replace(POOL.servers[0], admin=Admin.MAINT), *POOL.servers[1:]))
    of.apply(Fleet((), (away,)))
    of.inject(Down("s0"))
    of.advance(5)
    of.apply(Fleet((), (POOL,)))
    of.advance(5.1)
    assert of.sample().health[0] == Health.FAILING


def test_a_new_server_comes_in_slow_start_and_is_checked_at_once() -> None:
    of = world()
    of.advance(10)
    more = replace(POOL, servers=(*POOL.servers, Server("s4", "10.0.0.4", 80), Server("s5", "10.0.0.1", 80)))
    of.inject(Down("s1"))
    of.apply(Fleet((), (more,)))
    assert list(of.sample().ramp) == [1, 1, 1, 1, 1 / 16, 1 / 16]
    of.advance(10.5)
    # s5 has the address of s1, so it is the same machine; being new, it falls at its first failed check.
    assert list(of.sample().health[4:]) == [Health.PASSING, Health.FAILING]


def test_a_check_that_lies_hides_a_dead_server_and_one_that_fails_hides_a_good_one() -> None:
    of = world()
    of.inject(CheckLies("s0"))
    of.inject(Down("s0"))
    of.inject(CheckFails("s1"))
    of.advance(10)
    assert list(of.sample().health) == [Health.PASSING, Health.FAILING, Health.PASSING, Health.PASSING]
    of.inject(Up("s0"))
    of.inject(Up("s1"))
    of.advance(15)
    assert set(of.sample().health) == {Health.PASSING}


def test_a_flapping_check_takes_the_server_in_and_out() -> None:
    of = world()
    of.inject(CheckFlaps(8.0, "s2"), at_s=10.0)
    of.advance(5)
    changes, last = [], Health.PASSING
    while of.now_s < 60:
        of.advance(of.now_s + STEP_S)
        health = Health(int(of.sample().health[2]))
        if health != last:
            changes.append((health, of.now_s - 10))
            last = health
    assert [health for health, _ in changes[:5]] == [Health.FAILING, Health.PASSING] * 2 + [Health.FAILING]
    assert changes[1][1] == pytest.approx(9.5, abs=0.6)


def test_a_short_stall_passes_the_check_and_a_long_one_fails_it() -> None:
    short = world(replace(POOL, check=replace(CHECK, fall=1)))
    short.inject(Stall(0.6, "s1"), at_s=10.0)
    short.advance(11.6)
    assert short.sample().health[1] == Health.PASSING
    long = world(replace(POOL, check=replace(CHECK, fall=1)))
    long.inject(Stall(3.0, "s1"), at_s=10.0)
    assert turned(long, Health.FAILING, 1, 14) < 12.1
    assert turned(long, Health.PASSING, 1, 18) > 14


def test_passive_ejection_takes_out_a_failing_server_until_its_checks_pass() -> None:
    """A gray failure: half of the requests fail, the check passes."""
    of = world(replace(POOL, ejection=Ejection(consecutive_errors=5), slow_start_s=0), rps=400)
    of.inject(Errors(0.9, "s3"), at_s=10.0)
    out_s = turned(of, Health.FAILING, 3, 12)
    assert out_s < 10.5
    assert turned(of, Health.PASSING, 3, 16) - out_s <= 2.1
    plain = world(rps=400)
    plain.inject(Errors(0.9, "s3"), at_s=10.0)
    plain.advance(20)
    assert plain.sample().health[3] == Health.PASSING


def test_rare_errors_do_not_eject() -> None:
    of = world(replace(POOL, ejection=Ejection(consecutive_errors=10)), rps=400)
    of.inject(Errors(0.2))
    for tick in range(1, 120):
        of.advance(tick * 0.25)
        assert Health.FAILING not in of.sample().health


@pytest.mark.parametrize(("deep", "rps"), [(True, 330), (False, 330)])
def test_checks_behind_the_request_line_turn_overload_into_a_cascade(deep: bool, rps: float) -> None:
    """4 servers of 100 requests/s, one lost. Measured with HAProxy: up count 3,3,3,3,3,0,2,2,1,1,2 with deep checks,
    3 throughout with light ones."""
    of = world(
        replace(POOL, slow_start_s=0), rps=rps, server=ServerModel(workers=1, service=Fixed(10), deep_check=deep)
    )
    of.inject(Down("s0"), at_s=10.0)
    of.advance(15)
    up = []
    for second in range(15, 75, 2):
        of.advance(second)
        up.append(int((of.sample().health == Health.PASSING).sum()))
    if deep:
        assert min(up) <= 1
        assert len(set(up)) >= 3
    else:
        assert set(up) == {3}


@pytest.mark.parametrize(
    ("policy", "slow_start_s", "low", "high"),
    [
        (RoundRobin(), 0.0, 0.15, 0.32),
        (LeastRequest(), 0.0, 0.70, 1.0),
        (RandomPick(2), 0.0, 0.35, 0.65),
        (LeastRequest(), 10.0, 0.0, 0.15),
    ],
)
def test_the_flood_on_return_is_as_measured(policy: Policy, slow_start_s: float, low: float, high: float) -> None:
    """HAProxy, requests of 2 s, 30 in flight each, first half second after the return: round robin 23 %,
    leastconn 100 %, random(2) 45 %, leastconn with slow start 0 %."""
    shares = []
    for seed in range(5):
        of = world(
            replace(POOL, policy=policy, slow_start_s=slow_start_s), rps=60, seed=seed,
            server=ServerModel(workers=200, service=Fixed(2000)),
        )  # fmt: skip
        of.inject(Down("s1"), at_s=10.0)
        of.inject(Up("s1"), at_s=20.0)
        of.advance(15)
        turned(of, Health.PASSING, 1, 24)
        before = of.sample().requests
        of.advance(of.now_s + 0.5)
        got = of.sample().requests - before
        shares.append(got[1] / got.sum())
    assert low <= np.mean(shares) <= high


def test_a_check_taken_away_forgets_what_it_found_and_one_given_back_finds_it_again() -> None:
    of = world()
    of.inject(Down("s1"))
    of.advance(10)
    assert of.sample().health[1] == Health.FAILING
    of.apply(Fleet((), (replace(POOL, check=None),)))
    start = of.sample().requests[1]
    of.advance(12)
    assert of.sample().requests[1] > start
    of.apply(Fleet((), (POOL,)))
    of.advance(12.5)
    assert of.sample().health[1] == Health.FAILING


@pytest.mark.parametrize("fault", [Restart(), Restart(graceful=False)])
def test_a_restarted_proxy_forms_its_opinion_anew(fault: Fault) -> None:
    of = world()
    of.inject(Down("s1"))
    of.advance(10)
    of.inject(fault)
    assert list(of.sample().health) == [Health.UNKNOWN] * 4
    of.advance(11)
    assert of.sample().health[1] == Health.FAILING
