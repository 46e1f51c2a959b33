"""Each detector beyond shares, errors and pace: what it says, what it needs, and what must not set it off."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from levelhead import detect
from levelhead.detect import budget, errors, signals
from levelhead.detect.base import Kind, Signal
from levelhead.model import Fleet, Hash, Limits, Pool, Slo
from levelhead.telemetry import Floats, Layout, Records, Tick
from tests.build import fleet, layout, pool, tick

FIVE = pool(*[100.0] * 5)
Shape = Callable[[int, np.random.Generator], Tick]


def spread(rng: np.random.Generator, per_s: float, shares: list[float]) -> Floats:
    return rng.multinomial(rng.poisson(per_s / 4), shares).astype(float)


def calm(i: int, rng: np.random.Generator, *, rps: float = 200.0, slow: float = 1.0, of: Layout | None = None) -> Tick:
    where = of or layout(FIVE)
    n = len(where.servers)
    k = spread(rng, rps, [1 / n] * n)
    return tick(where, i * 0.25, k, in_flight=rng.poisson(np.full(n, rps / n * 0.05 * slow)).astype(float))


def watched(shape: Shape, ticks: int, where: Fleet, seed: int = 1) -> list[tuple[Signal, ...]]:
    rng, state, told = np.random.default_rng(seed), None, []
    for i in range(ticks):
        now = shape(i, rng)
        state, found = detect.detect(state or detect.begin(now.layout, where), now, where)
        told.append(found)
    return told


def first(told: list[tuple[Signal, ...]], kind: Kind) -> int | None:
    return next((i for i, found in enumerate(told) if any(s.kind is kind for s in found)), None)


def kinds(told: list[tuple[Signal, ...]]) -> set[Kind]:
    return {s.kind for found in told for s in found}


def test_a_server_that_is_meant_to_work_and_gets_nothing_is_told() -> None:
    def shape(i: int, rng: np.random.Generator) -> Tick:
        now = calm(i, rng)
        k = spread(rng, 200, [0.25, 0.25, 0.25, 0.25, 0]) if i >= 40 else now.requests
        return replace(now, requests=k)

    told = watched(shape, 80, fleet(FIVE))
    starved = [s for s in told[-1] if s.kind is Kind.STARVED]

    assert [s.server for s in starved] == ["s5"]
    assert starved[0].sentence.startswith("s5 got 0 of the last")
    found = first(told, Kind.STARVED)
    assert found is not None
    assert found - 40 <= 8


def scaled_out(opened: float, shares: list[float]) -> Callable[[int, np.random.Generator], Tick]:
    """Four servers with 100 connections each, of which `opened` a second are new; a fifth comes at look 120."""

    def shape(i: int, rng: np.random.Generator) -> Tick:
        count = 5 if i >= 120 else 4
        where = layout(pool(*[100.0] * count))
        k = spread(rng, 100, shares if i >= 120 else [0.25] * 4)
        open_now = np.asarray([100.0] * 4 + [0.0] * (count - 4))
        return tick(where, i * 0.25, k, connects=np.full(count, opened * 0.25 / count), connections=open_now)

    return shape


@pytest.mark.parametrize(
    ("opened", "shares", "told"),
    [
        (0.2, [0.25, 0.25, 0.25, 0.25, 0.0], True),
        (0.0, [0.25, 0.25, 0.25, 0.25, 0.0], True),
        (200.0, [0.25, 0.25, 0.25, 0.25, 0.0], False),  # connections last two seconds: something else keeps it out
        (0.2, [0.2] * 5, False),
    ],
)
def test_requests_that_follow_old_connections_are_told(opened: float, shares: list[float], told: bool) -> None:
    found = watched(scaled_out(opened, shares), 160, fleet(FIVE))

    assert (Kind.PINNED in kinds(found)) is told
    began = first(found, Kind.PINNED)
    assert began is None or began >= 120


def test_where_connections_are_not_counted_nothing_is_said_of_them() -> None:
    def shape(i: int, rng: np.random.Generator) -> Tick:
        counted = scaled_out(0.0, [0.25, 0.25, 0.25, 0.25, 0.0])(i, rng)
        return replace(counted, connects=np.full(len(counted.connects), np.nan))

    assert Kind.PINNED not in kinds(watched(shape, 160, fleet(FIVE)))


def test_a_server_that_lost_its_place_by_order_is_not_starved() -> None:
    def shape(i: int, rng: np.random.Generator) -> Tick:
        now = calm(i, rng)
        if i < 40:
            return now
        k = spread(rng, 200, [0.25, 0.25, 0.25, 0.25, 0])
        return replace(now, requests=k, standing=np.asarray([1, 1, 1, 1, 2], dtype=np.int8))

    assert kinds(watched(shape, 120, fleet(FIVE))) == set()


@pytest.mark.parametrize(("bad", "of"), [(1, 5), (2, 5), (3, 10)])
def test_several_sick_servers_do_not_hide_behind_each_other(bad: int, of: int) -> None:
    where = fleet(many := pool(*[100.0] * of))

    def shape(i: int, rng: np.random.Generator) -> Tick:
        now = calm(i, rng, rps=40.0 * of, of=layout(many))
        ratio = np.where(np.arange(of) < bad, 0.2 if i >= 40 else 0.0, 0.0)
        return replace(now, errors_5xx=rng.binomial(now.requests.astype(int), ratio).astype(float))

    told = watched(shape, 80, where)
    accused = {s.server for found in told for s in found if s.kind is Kind.ERRORS}
    all_of_them = next(i for i, found in enumerate(told) if sum(s.kind is Kind.ERRORS for s in found) == bad)

    assert accused == {f"s{i + 1}" for i in range(bad)}
    assert all_of_them - 40 <= 16


def test_who_is_compared_with_is_chosen_before_the_tick_is_looked_at() -> None:
    where = layout(pool(*[100.0] * 4))
    best = errors.better_half(where, np.asarray([3.0, 0, 1, 0]), np.full(4, 10.0), np.ones(4, dtype=bool))

    assert best.tolist() == [False, True, False, True]
    assert not errors.better_half(where, np.zeros(4), np.zeros(4), np.zeros(4, dtype=bool)).any()


def test_a_hung_server_is_told_within_four_looks() -> None:
    def shape(i: int, rng: np.random.Generator) -> Tick:
        now = calm(i, rng)
        held = now.in_flight.copy()
        held[2] += max(0, i - 59) * 10.0
        return replace(now, in_flight=held)

    told = watched(shape, 70, fleet(FIVE))
    found = first(told, Kind.LATENCY)

    assert found is not None
    assert found - 59 <= 4
    assert {s.server for t in told for s in t} == {"s3"}


def test_a_pause_of_two_looks_accuses_nobody() -> None:
    def shape(i: int, rng: np.random.Generator) -> Tick:
        now = calm(i, rng)
        held = now.in_flight.copy()
        if i >= 40 and i % 40 in (0, 1):
            held[i // 40 % 5] += 500
        return replace(now, in_flight=held)

    assert kinds(watched(shape, 240, fleet(FIVE))) == set()


def test_a_machine_that_was_always_slower_is_not_a_sick_one() -> None:
    def shape(i: int, rng: np.random.Generator) -> Tick:
        held = rng.poisson([2.0, 2.0, 2.0, 2.0, 9.0]).astype(float)
        return replace(calm(i, rng), in_flight=held)

    assert kinds(watched(shape, 240, fleet(FIVE))) == set()


def test_all_servers_slower_together_is_told_of_the_pool_and_accuses_none() -> None:
    told = watched(lambda i, rng: calm(i, rng, slow=4.0 if i >= 80 else 1.0), 140, fleet(FIVE))
    found = first(told, Kind.SLOWDOWN)

    assert found is not None
    assert found - 80 <= 12
    assert kinds(told) == {Kind.SLOWDOWN}
    assert all(s.server == "" for t in told for s in t)


def test_more_requests_are_no_slowdown() -> None:
    told = watched(lambda i, rng: calm(i, rng, rps=800.0 if i >= 80 else 200.0), 140, fleet(FIVE))

    assert kinds(told) == {Kind.SURGE}


def test_attempts_made_again_are_counted_against_requests() -> None:
    def shape(i: int, rng: np.random.Generator) -> Tick:
        now = calm(i, rng)
        again = rng.poisson(now.requests * (0.5 if i >= 40 else 0.04)).astype(float)
        return replace(now, retries=again, pool=replace(now.pool, arrived=np.asarray([now.requests.sum()])))

    told = watched(shape, 60, fleet(FIVE))
    found = first(told, Kind.RETRIES)

    assert found is not None
    assert 40 <= found <= 45


def test_a_queue_is_told_when_it_stays_with_whom_it_waits_for() -> None:
    where = fleet(of := pool(*[100.0] * 5, limits=Limits(server_in_flight=8)))

    def shape(i: int, rng: np.random.Generator) -> Tick:
        now, waits = calm(i, rng), i in (20, 21) or i >= 40
        held = np.full(5, 3.0)
        held[1] = 8.0 if waits else 3.0
        queued = np.asarray([0, 6.0 if waits else 0, 0, 0, 0])
        return replace(now, in_flight=held, queued=queued)

    told = watched(shape, 50, where)
    (queue,) = [s for s in told[-1] if s.kind is Kind.QUEUE]

    assert first(told, Kind.QUEUE) == 44, "a second of it, and no moment's queue"
    assert queue.sentence == "6 requests wait for a place; at their limit: s2"
    assert of.limits.server_in_flight == 8


def checked(fails: Callable[[int], bool], *, ill: bool = False) -> Shape:
    def shape(i: int, rng: np.random.Generator) -> Tick:
        now = calm(i, rng)
        health = np.ones(5, np.int8)
        health[3] = 2 if fails(i) else 1
        bad = np.zeros(5)
        bad[3] = now.requests[3] * 0.8 // 1 if ill and i >= 36 else 0.0
        return replace(now, health=health, errors_5xx=bad)

    return shape


def test_a_check_that_fails_while_requests_succeed_is_doubted_until_it_passes() -> None:
    told = watched(checked(lambda i: 40 <= i < 60), 80, fleet(FIVE))

    assert first(told, Kind.DOUBT) == 40
    assert [s.server for s in told[59] if s.kind is Kind.DOUBT] == ["s4"]
    assert not any(s.kind is Kind.DOUBT for s in told[60])


def test_a_check_that_fails_after_requests_failed_is_believed() -> None:
    told = watched(checked(lambda i: i >= 40, ill=True), 80, fleet(FIVE))

    assert Kind.DOUBT not in kinds(told)
    assert Kind.CHECK in kinds(told)


def test_a_check_that_changes_its_mind_again_and_again_is_flapping() -> None:
    flapping = watched(checked(lambda i: i >= 40 and i // 8 % 2 == 1), 100, fleet(FIVE))
    once = watched(checked(lambda i: 40 <= i < 60), 100, fleet(FIVE))

    assert [s.server for s in flapping[-1] if s.kind is Kind.FLAPPING] == ["s4"]
    assert Kind.FLAPPING not in kinds(once)


def asked_by(chances: Floats) -> Shape:
    """Clients whose requests go to the server of their number."""

    def shape(i: int, rng: np.random.Generator) -> Tick:
        who = rng.choice(len(chances), size=50, p=chances)
        rows = who % 5
        names = tuple(f"client-{w}" for w in who)
        records = Records(rows, np.full(50, 200), np.full(50, 40.0), names)
        k = np.bincount(rows, minlength=5).astype(float)
        return replace(tick(layout(FIVE), i * 0.25, k), records=records)

    return shape


def test_one_client_that_sends_most_is_told_where_clients_are_spread() -> None:
    hashed = fleet(replace(FIVE, policy=Hash("source")))
    hot = np.asarray([0.4, *[0.6 / 299] * 299])
    even = np.full(300, 1 / 300)

    assert Kind.CLIENTS in kinds(watched(asked_by(hot), 60, hashed))
    assert kinds(watched(asked_by(even), 120, hashed)) == set()
    assert Kind.CLIENTS not in kinds(watched(asked_by(hot), 60, fleet(FIVE)))


def burning(
    errors_per_request: Callable[[int], float], *, rps: float = 40.0, slo: Slo | None = None
) -> list[tuple[Signal, ...]]:
    where = fleet(of := replace(FIVE, slo=slo or Slo(availability=0.999)))

    def shape(i: int, rng: np.random.Generator) -> Tick:
        now = calm(i, rng, rps=rps, of=layout(of))
        bad = rng.binomial(now.requests.astype(int), errors_per_request(i)).astype(float)
        pool_ = replace(now.pool, errors_5xx=np.asarray([bad.sum()]))
        return replace(now, errors_5xx=bad, pool=pool_)

    return watched(shape, 420, where)


def test_a_leak_too_slow_for_harm_burns_the_budget() -> None:
    told = burning(lambda i: 0.018)
    found = next(s for s in told[-1] if s.kind is Kind.BURN and s.server == "")

    assert Kind.ERRORS not in kinds(told)
    assert "times what its promise of 99.90% allows" in found.sentence
    began = first(told, Kind.BURN)
    assert began is not None
    assert began >= 4 * budget.YOUNG_S - 1


@pytest.mark.parametrize("rate", [0.0, 0.001, 0.003])
def test_what_the_promise_allows_for_a_while_burns_nothing(rate: float) -> None:
    assert kinds(burning(lambda i: rate)) == set()


def test_one_failure_in_a_quiet_pool_burns_nothing() -> None:
    told = burning(lambda i: 0.9 if 100 <= i < 104 else 0.0, rps=1.0)

    assert Kind.BURN not in kinds(told)


def test_nothing_asked_is_no_hundred_per_cent() -> None:
    empty = budget.Burn.begin(2)
    later = budget.observe(empty, np.zeros(2), np.zeros(2), np.full(2, 0.999), np.zeros(2, dtype=bool), 0.25, 1.0)

    assert later.rates_of(0, 0.999) == [0.0] * len(budget.RATES)
    assert not later.track.on.any()


def test_a_burn_ends_when_its_short_window_is_clean() -> None:
    availability, calm_ = np.asarray([0.999]), np.zeros(1, dtype=bool)
    burn, ended = budget.Burn.begin(1), None
    for i in range(20_000):
        bad = np.asarray([2.0 if i < 2000 else 0.0])
        burn = budget.observe(burn, bad, np.asarray([50.0]), availability, calm_, 0.25, i * 0.25)
        if i > 2000 and ended is None and not burn.track.on[0]:
            ended = (i - 2000) * 0.25

    assert ended is not None
    assert 60 < ended < 4 * 1800, "long before the six hours are clean"


def test_all_thresholds_follow_from_the_budget_of_false_alarms() -> None:
    def shape(i: int, rng: np.random.Generator) -> Tick:
        return replace(calm(i, rng), requests=spread(rng, 200, [0.32, 0.17, 0.17, 0.17, 0.17]))

    def noticed(budget_: float) -> int:
        rng, where = np.random.default_rng(3), fleet(FIVE)
        state = detect.begin(layout(FIVE), where)
        for i in range(2000):
            state, found = detect.detect(state, shape(i, rng), where, budget_)
            if found:
                return i
        raise AssertionError("never noticed")

    assert noticed(1000.0) < noticed(1.0) < noticed(0.001)


def test_every_signal_has_a_detector() -> None:
    made = {kind for detector in signals.DETECTORS for kind in Kind if kind.name in detector.__code__.co_names}

    assert made == set(Kind) - {Kind.FULL}, "that one is a fact of `memory`"


def test_what_is_remembered_follows_its_server_when_members_change() -> None:
    where, rng = fleet(FIVE), np.random.default_rng(1)
    state = detect.begin(layout(FIVE), where)
    for i in range(60):
        now = calm(i, rng)
        bad = np.where(np.arange(5) == 4, now.requests // 3, 0.0)
        state, _ = detect.detect(state, replace(now, errors_5xx=bad), where)
    fewer: Pool = replace(FIVE, servers=FIVE.servers[2:])
    later, told = detect.detect(state, calm(60, rng, rps=0.0, of=layout(fewer)), fleet(fewer))

    assert [s.server for s in told if s.kind is Kind.ERRORS] == ["s5"]
    assert later.burn.bad[:, 2] == pytest.approx(state.burn.bad[:, 4], rel=0.01)
    assert later.recent.pace == pytest.approx(state.recent.pace, rel=0.1)
