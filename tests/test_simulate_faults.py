"""What each fault does to users and to the counters that an engine would show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from levelhead.errors import UsageError
from levelhead.model import (
    Check,
    Fleet,
    Hash,
    LeastRequest,
    Limits,
    Pool,
    RandomPick,
    Retries,
    RoundRobin,
    Server,
    Timeouts,
)
from levelhead.simulate import (
    Capacity,
    CheckFlaps,
    Down,
    Errors,
    Exponential,
    Fixed,
    Hang,
    HotKey,
    Lognormal,
    ProxyModel,
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
from levelhead.telemetry import Health, Sample

POOL = Pool("web", tuple(Server(f"s{i}", f"10.0.0.{i}", 80) for i in range(5)), check=None)


def world(
    of: Pool = POOL, *, users: UserModel | None = None, server: ServerModel | None = None,
    proxy: ProxyModel | None = None, seed: int = 3,
) -> World:  # fmt: skip
    return World(
        Fleet((), (of,)), {}, {"web": users or UserModel(rps=200)}, seed=seed, proxy=proxy, keep_outcomes=True,
        otherwise=server or ServerModel(workers=64, service=Fixed(5)),
    )  # fmt: skip


def counters(sample: Sample, row: int) -> dict[str, float]:
    names = ("requests", "errors_5xx", "connect_errors", "response_errors", "retries", "redispatches")
    return {name: float(getattr(sample, name)[row]) for name in names if getattr(sample, name)[row]}


def test_a_refused_connection_moves_redispatches_of_the_failed_server_first() -> None:
    """HAProxy 2.6 with `option redispatch 1`, one server refusing, 10 attempts there: stot 10, wredis 10, econ 0."""
    of = world()
    of.inject(Down("s1"))
    of.advance(30)
    sample = of.sample()
    tried = sample.requests[1]
    assert counters(sample, 1) == {"requests": tried, "redispatches": tried}
    assert tried > 1000
    assert counters(sample, 0) == {"requests": sample.requests[0]}
    assert of.harm("web").harmed_requests == 0


def test_when_all_refuse_connect_errors_follow_after_the_last_attempt() -> None:
    """HAProxy 2.6, one server, refusing, `retries 3`: a request is 4 attempts, 3 retries, econ 1, 503 after 3 s."""
    of = world(replace(POOL, servers=POOL.servers[:1]), users=UserModel(rps=1.0))
    of.inject(Down())
    of.advance(200)
    of.inject(Traffic(0.0))
    of.advance(210)
    sample, outcomes = of.sample(), of.outcomes("web")
    asked = len(outcomes)
    assert counters(sample, 0) == {"requests": 4 * asked, "retries": 3 * asked, "connect_errors": asked}
    assert set(outcomes.status) == {503}
    assert outcomes.latency_ms == pytest.approx(3000, abs=5)
    assert (sample.pool.errors_5xx[0], sample.pool.refused[0]) == (asked, 0)


def test_a_reset_is_retried_if_the_request_may_be_repeated() -> None:
    of = world()
    of.inject(Resets(1.0, "s1"))
    of.advance(30)
    sample = of.sample()
    tried, settled = float(sample.requests[1]), float(sample.redispatches[1])
    assert tried - settled <= 1  # the last may still be on its way
    assert counters(sample, 1) == {"requests": tried, "response_errors": settled, "redispatches": settled}
    assert of.harm("web").harmed_requests == 0

    posts = world(users=UserModel(rps=200, repeatable=0.0))
    posts.inject(Resets(1.0, "s1"))
    posts.advance(30)
    sample, outcomes = posts.sample(), posts.outcomes("web")
    failed = int((outcomes.status == 502).sum())
    assert failed == pytest.approx(1200, rel=0.05)
    assert counters(sample, 1)["response_errors"] == failed
    assert sample.pool.errors_5xx[0] == failed
    assert sample.errors_5xx.sum() == 0


def test_errors_pass_through_and_count_where_they_happened() -> None:
    of = world()
    of.inject(Errors(0.25, "s2", status=503))
    of.advance(60)
    sample, outcomes = of.sample(), of.outcomes("web")
    assert sample.errors_5xx[2] / sample.requests[2] == pytest.approx(0.25, abs=0.03)
    assert sample.errors_5xx.sum() == sample.errors_5xx[2] == (outcomes.status == 503).sum()
    assert sample.pool.errors_5xx[0] == sample.errors_5xx[2]
    assert of.harm("web").harmed_requests == sample.errors_5xx[2]


def test_retrying_errors_multiplies_attempts() -> None:
    """HAProxy, `retries 3`, `retry-on 503`, all servers 503: four attempts per request."""
    of = world(replace(POOL, retries=Retries(3, after=("status",))))
    of.inject(Errors(1.0, status=503))
    of.advance(30)
    sample = of.sample()
    assert sample.requests.sum() / sample.pool.arrived[0] == pytest.approx(4, rel=0.01)
    assert sample.errors_5xx.sum() == pytest.approx(sample.pool.arrived[0], rel=0.01)
    assert list(sample.response_errors) == list(sample.redispatches)
    assert sample.retries.sum() == 0


def test_a_server_that_fails_fast_draws_the_traffic_of_least_request() -> None:
    slow = ServerModel(workers=64, service=Fixed(200))
    shares = []
    for fast in (False, True):
        of = world(replace(POOL, policy=LeastRequest()), server=slow)
        of.inject(Errors(1.0, "s0", fast=fast))
        of.advance(30)
        sample = of.sample()
        shares.append(sample.requests[0] / sample.requests.sum())
    assert shares[0] == pytest.approx(0.2, abs=0.03)
    assert shares[1] > 0.5


def test_a_hanging_server_costs_the_server_timeout_and_a_504() -> None:
    of = world(replace(POOL, timeouts=Timeouts(server_s=5.0)))
    of.inject(Hang("s1"), at_s=10.0)
    of.advance(30)
    sample, outcomes = of.sample(), of.outcomes("web")
    late = outcomes.status == 504
    assert late.sum() == sample.response_errors[1] == sample.pool.errors_5xx[0]
    assert late.sum() == pytest.approx(40 * 15, rel=0.05)
    assert outcomes.latency_ms[late] == pytest.approx(5000, abs=6)  # those it had in hand began up to 5 ms before
    assert sample.in_flight[1] == pytest.approx(200, rel=0.1)
    assert sample.retries.sum() == 0


def test_a_server_whose_packets_are_lost_costs_connect_timeouts_and_is_passed_over() -> None:
    of = world(replace(POOL, timeouts=Timeouts(connect_s=1.5)))
    of.inject(Hang("s1", accepts=False), at_s=10.0)
    of.advance(30)
    of.inject(Traffic(0.0))
    of.advance(40)
    outcomes, sample = of.outcomes("web"), of.sample()
    assert set(outcomes.status) == {200}
    slow = outcomes.latency_ms[outcomes.latency_ms > 1000]
    assert slow == pytest.approx(1505, abs=1)
    assert len(slow) == sample.redispatches[1] == pytest.approx(40 * 20, rel=0.05)


def test_users_do_not_wait_for_what_the_machine_goes_on_doing() -> None:
    """After a hang the machine works off requests that nobody waits for any more, and is late for the others."""
    of = world(
        replace(POOL, servers=POOL.servers[:1], timeouts=Timeouts(server_s=1.0)),
        users=UserModel(rps=50), server=ServerModel(workers=1, service=Fixed(16)),
    )  # fmt: skip
    of.inject(Stall(6.0), at_s=10.0)
    of.advance(60)
    outcomes, sample = of.outcomes("web"), of.sample()
    lost = outcomes.planned_s[outcomes.status == 504]
    assert lost.max() > 18  # 300 requests of 16 ms stand in line at 16 s: a second and more of waiting until then
    assert sample.requests[0] == len(outcomes) + sample.in_flight[0]


def test_a_slow_server_is_slow_for_its_share() -> None:
    """Measured, one of 5 servers a second slower, 200 requests/s for 37 s: 1,460 slow requests under round robin;
    p99 of leastconn stays near the others' with 1 % of requests there; random(2) gives it 8 %."""
    of = world()
    of.inject(Slow(add_ms=1000, server="s1"), at_s=8.0)
    of.advance(45)
    assert (of.outcomes("web").latency_ms > 500).sum() == pytest.approx(1460, rel=0.05)
    for policy, low, high in ((LeastRequest(), 0.0, 0.02), (RandomPick(2), 0.03, 0.10), (RoundRobin(), 0.249, 0.251)):
        four = replace(POOL, servers=POOL.servers[:4], policy=policy)
        of = world(four, server=ServerModel(workers=64, service=Lognormal(8, 22)))
        of.inject(Slow(add_ms=1000, server="s1"))
        of.advance(60)
        shares = of.sample().requests / of.sample().requests.sum()
        assert low <= shares[1] <= high


def test_a_factor_slows_what_begins_from_then_on() -> None:
    of = world(server=ServerModel(workers=64, service=Fixed(40)))
    of.inject(Slow(factor=3.0), at_s=10.0)
    of.inject(Up(), at_s=20.0)
    of.advance(30)
    outcomes = of.outcomes("web")
    during = (outcomes.planned_s > 10) & (outcomes.planned_s < 20)
    assert during.sum() > 1500
    assert outcomes.latency_ms[during] == pytest.approx(120, abs=0.01)
    assert outcomes.latency_ms[~during] == pytest.approx(40, abs=0.01)


def test_lost_capacity_makes_a_line_and_more_capacity_works_it_off() -> None:
    of = world(server=ServerModel(workers=4, service=Fixed(50)))  # each bears 80 requests/s and gets 40
    of.inject(Capacity(1, "s1"), at_s=10.0)
    of.advance(20)
    assert of.sample().in_flight[1] > 150
    of.inject(Capacity(20, "s1"))
    of.advance(21)
    assert of.sample().in_flight[1] < 20


def test_workers_that_go_finish_what_they_do_and_take_nothing_more() -> None:
    of = world(replace(POOL, servers=POOL.servers[:1]), server=ServerModel(workers=8, service=Fixed(100)))
    of.advance(10)  # 200 requests/s on a server that bears 80: a long line
    of.inject(Capacity(1))
    answered = []
    for second in (11, 21):
        of.advance(second)
        answered.append(of.harm("web").requests)
    assert answered[1] - answered[0] == pytest.approx(100, abs=1)  # one worker, ten a second


def test_a_stall_stops_work_where_it_is_and_nothing_is_lost() -> None:
    of = world(replace(POOL, servers=POOL.servers[:1]), server=ServerModel(workers=64, service=Fixed(100)))
    of.inject(Stall(2.0), at_s=10.05)
    of.advance(20)
    outcomes = of.outcomes("web")
    assert set(outcomes.status) == {200}
    caught = (outcomes.planned_s > 9.95) & (outcomes.planned_s <= 10.05)
    assert caught.sum() > 10
    assert of.sample().requests[0] == len(outcomes) + of.sample().in_flight[0]
    assert outcomes.latency_ms[caught] == pytest.approx(2100, abs=0.1)
    before = outcomes.planned_s <= 9.95
    assert before.sum() > 1500
    assert outcomes.latency_ms[before] == pytest.approx(100, abs=0.1)


def test_the_end_of_an_old_stall_does_not_end_a_new_one() -> None:
    of = world(replace(POOL, servers=POOL.servers[:1]))
    of.inject(Stall(3.0), at_s=10.0)
    of.inject(Up(), at_s=11.0)
    of.inject(Stall(5.0), at_s=12.0)
    of.advance(16.9)
    answered = of.harm("web").requests
    of.advance(16.99)
    assert of.harm("web").requests == answered
    of.advance(18)
    assert of.harm("web").requests > answered + 500


def test_a_crash_resets_what_was_open_and_repeatable_requests_go_elsewhere() -> None:
    of = world(server=ServerModel(workers=64, service=Fixed(500)))
    of.inject(Down("s1"), at_s=10.0)
    of.advance(10)
    sample = of.sample()
    open_then = sample.response_errors[1]
    assert open_then == pytest.approx(20, abs=2)
    assert sample.in_flight[1] == 0
    assert sample.redispatches[1] == open_then
    of.advance(20)
    outcomes = of.outcomes("web")
    assert set(outcomes.status) == {200}
    assert (outcomes.latency_ms > 600).sum() > 10


def test_a_server_that_was_down_is_cold_at_first() -> None:
    of = world(server=ServerModel(workers=64, service=Fixed(20), cold_factor=5.0, cold_s=10.0))
    of.inject(Down("s1"), at_s=5.0)
    of.inject(Up("s1"), at_s=10.0)
    of.advance(25)
    outcomes = of.outcomes("web")
    worst = [
        outcomes.latency_ms[(outcomes.planned_s >= t) & (outcomes.planned_s < t + 0.5)].max()
        for t in (10.0, 15.0, 20.5)
    ]
    assert worst == pytest.approx([100, 60, 20], rel=0.06)
    of.inject(Slow(factor=2.0, server="s1"))
    of.inject(Up("s1"))  # it was not down, so it is not cold
    of.advance(30)
    assert of.outcomes("web").latency_ms.max() == pytest.approx(20, abs=0.1)


def test_traffic_is_multiplied_and_can_stop() -> None:
    of = world()
    arrived = []
    for second, factor in ((20, 3.0), (40, 0.0), (60, 1.0), (61, 2.0), (81, 1.0)):
        of.advance(second)
        arrived.append(of.sample().pool.arrived[0])
        of.inject(Traffic(factor))
    assert np.diff([0.0, *arrived]) == pytest.approx([4000, 12_000, 0, 200, 8000], rel=0.1)


def test_a_full_queue_refuses_and_a_long_wait_times_out() -> None:
    limited = replace(POOL, limits=Limits(server_in_flight=4, queue=20), timeouts=Timeouts(queue_s=0.5))
    busy = ServerModel(workers=4, service=Exponential(100))  # bears 200 requests/s in all
    of = world(limited, users=UserModel(rps=400), server=busy)
    of.advance(30)
    sample, outcomes = of.sample(), of.outcomes("web")
    assert sample.pool.queued[0] <= 20
    assert sample.in_flight.max() <= 4
    assert sample.pool.refused[0] == (outcomes.status == 503).sum() == pytest.approx(6000, rel=0.1)
    assert sample.requests.sum() == (outcomes.status == 200).sum() + sample.in_flight.sum()
    assert outcomes.latency_ms[outcomes.status == 503] == pytest.approx(0)

    patient = world(replace(limited, limits=Limits(server_in_flight=4)), users=UserModel(rps=400), server=busy)
    patient.advance(30)
    outcomes = patient.outcomes("web")
    gone = outcomes.latency_ms[outcomes.status == 503]
    assert len(gone) > 3000
    assert gone == pytest.approx(500)
    assert patient.sample().pool.queued[0] == pytest.approx(200, rel=0.1)  # 0.5 s of all that come


def test_shorter_timeouts_apply_to_those_who_wait_already() -> None:
    limited = replace(POOL, limits=Limits(server_in_flight=4), timeouts=Timeouts(server_s=30, queue_s=30))
    of = world(limited)
    of.inject(Hang())
    of.advance(10)
    assert len(of.outcomes("web")) == 0
    of.apply(Fleet((), (replace(limited, timeouts=Timeouts(server_s=2, queue_s=3)),)))
    of.advance(10.01)
    outcomes = of.outcomes("web")
    assert (outcomes.status == 504).sum() == 20
    assert (outcomes.status == 503).sum() == pytest.approx(1400, rel=0.1)
    assert of.sample().pool.queued[0] == pytest.approx(600 - 20, rel=0.1)


def test_those_who_wait_for_a_server_that_goes_down_are_served_by_others() -> None:
    of = world(
        replace(POOL, policy=Hash("source"), limits=Limits(server_in_flight=2), check=Check(fall=1, timeout_s=0.5)),
        users=UserModel(rps=50), server=ServerModel(workers=64, service=Fixed(10)),
    )  # fmt: skip
    of.inject(Hang("s1"), at_s=10.0)
    of.advance(10.5)
    assert of.sample().queued[1] > 2
    of.advance(13)
    sample = of.sample()
    assert (sample.health[1], sample.in_flight[1]) == (Health.FAILING, 2)
    assert sample.pool.queued[0] == 0
    assert set(of.outcomes("web").status) == {200}


def test_a_wait_that_moves_from_a_server_to_the_pool_is_not_longer() -> None:
    of = world(
        replace(
            POOL, policy=Hash("source"), check=Check(fall=1), slow_start_s=0,
            limits=Limits(server_in_flight=1), timeouts=Timeouts(queue_s=2.0, server_s=100),
        ),
        users=UserModel(rps=20), server=ServerModel(workers=64, service=Fixed(100_000)),
    )  # fmt: skip
    of.inject(CheckFlaps(1.5))
    of.advance(30)
    outcomes = of.outcomes("web")
    waited = outcomes.latency_ms[(outcomes.status == 503) & (outcomes.latency_ms > 1)]
    assert len(waited) > 100
    assert waited == pytest.approx(2000, abs=0.01)


def test_a_cookie_moves_with_its_user_when_a_server_fails_him() -> None:
    of = world(replace(POOL, affinity_cookie="SRV"), users=UserModel(rps=200, count=100, session="cookie"))
    of.advance(20)
    of.inject(Down("s1"))
    of.advance(60)
    moved = of.sample().redispatches[1]
    assert 5 < moved < 40  # once for each of its users, not for each request


def test_a_restart_closes_connections_but_cookies_survive() -> None:
    moved = {}
    for session in ("cookie", "keepalive"):
        of = world(
            replace(POOL, affinity_cookie="SRV"),
            users=UserModel(rps=200, count=100, session=session),
        )
        of.advance(20)
        seen = of.records()
        of.inject(Restart())
        of.advance(40)
        then = of.records()
        before = dict(zip(seen.client, seen.row.tolist(), strict=True))
        after = dict(zip(then.client, then.row.tolist(), strict=True))
        moved[session] = np.mean([before[client] != after[client] for client in before])
    assert moved["cookie"] == 0
    assert moved["keepalive"] > 0.5


def test_without_a_server_up_everything_is_refused_at_once() -> None:
    of = world(replace(POOL, check=Check(fall=1)))
    of.inject(Down())
    of.advance(5)
    start = of.sample().pool
    of.advance(10)
    end = of.sample().pool
    assert end.refused[0] - start.refused[0] == end.arrived[0] - start.arrived[0] > 900
    assert of.outcomes("web").status[-1] == 503


def test_all_servers_alike_may_be_slow_or_failing() -> None:
    of = world()
    of.inject(Errors(0.05))
    of.inject(Slow(add_ms=300))
    of.advance(60)
    sample = of.sample()
    assert sample.errors_5xx / sample.requests == pytest.approx([0.05] * 5, abs=0.02)
    assert of.outcomes("web").latency_ms == pytest.approx(305, abs=0.1)


def test_a_graceful_restart_finishes_old_requests_and_counts_anew() -> None:
    of = world(server=ServerModel(workers=64, service=Fixed(300)))
    of.inject(Restart(), at_s=10.0)
    of.advance(9.99)
    before = of.sample()
    of.advance(10.0)
    after = of.sample()
    assert (before.epoch, after.epoch) == (1, 2)
    assert after.pool.arrived[0] == after.requests.sum() == 0
    assert after.pool.in_flight[0] == pytest.approx(60, rel=0.4)
    of.inject(Traffic(0.0))
    of.advance(12)
    assert set(of.outcomes("web").status) == {200}
    assert of.harm("web").arrived == of.harm("web").requests > 1900


def test_a_killed_proxy_gives_its_clients_no_answer() -> None:
    of = world(server=ServerModel(workers=64, service=Fixed(300)))
    of.advance(10)
    held = of.sample().pool.in_flight[0]
    of.inject(Restart(graceful=False))
    assert of.sample().pool.in_flight[0] == 0
    assert (of.outcomes("web").status == -1).sum() == held > 20
    assert of.harm("web").harmed_requests == held


def test_faults_are_undone_one_server_at_a_time() -> None:
    of = world()
    for server in ("s0", "s1"):
        of.inject(Errors(1.0, server))
        of.inject(Slow(add_ms=500, server=server))
        of.inject(Resets(0.5, server))
        of.inject(Capacity(0, server))
    of.inject(Up("s0"))
    of.advance(20)
    sample = of.sample()
    assert counters(sample, 0) == {"requests": sample.requests[0]}
    assert sample.in_flight[1] > 100


def test_what_cannot_be_is_refused_with_a_sentence() -> None:
    of = world()
    with pytest.raises(UsageError, match=r"there is no server s9\n.*s0, s1"):
        of.inject(Down("s9"))
    with pytest.raises(UsageError, match=r"there is no pool api\n.*web"):
        of.inject(Traffic(2.0, pool="api"))
    for wrong in (
        lambda: Errors(1.5), lambda: Errors(0.5, status=404), lambda: Slow(factor=0.0), lambda: HotKey(-0.1),
        lambda: CheckFlaps(0.0), lambda: Traffic(-1.0), lambda: Capacity(-1), lambda: Stall(-1.0), lambda: Resets(2.0),
        lambda: ServerModel(workers=-1), lambda: UserModel(count=0), lambda: Lognormal(20, 10),
    ):  # fmt: skip
        with pytest.raises(UsageError, match="next: give"):
            wrong()


def test_a_check_is_no_retry_and_no_retries_means_none() -> None:
    of = world(replace(POOL, retries=Retries(0)))
    of.inject(Down("s1"))
    of.advance(20)
    sample = of.sample()
    assert counters(sample, 1) == {"requests": sample.requests[1], "connect_errors": sample.requests[1]}
    assert (of.outcomes("web").status == 503).sum() == sample.connect_errors[1]
