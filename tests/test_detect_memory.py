"""What diagnosis remembers: turns of checks, paces, newcomers, restarts, clients, and full listeners."""

from dataclasses import replace

import numpy as np
import pytest

from levelhead.detect import memory
from levelhead.detect.base import Kind, Signal
from levelhead.detect.memory import Memory, Past, connections, of_pool, remembered
from levelhead.model import Fleet, Listener, Route
from levelhead.telemetry import Floats, Health, Layout, Records, Standing, Tick
from tests.build import fleet, layout, pool, tick

POOL = pool(*[100.0] * 3)
WHERE, FLEET = layout(POOL), fleet(POOL)
CALM = np.full(3, 20.0)
OUT = np.asarray([Health.FAILING, Health.PASSING, Health.PASSING], dtype=float)


def seen(*ticks: Tick, of: Fleet = FLEET, signals: tuple[Signal, ...] = ()) -> Past:
    past: Memory | None = None
    for it in ticks:
        past, _ = remembered(past, it, of, signals)
    assert past is not None
    return of_pool(past, "web")


def calm(count: int, start: float = 0.0, **more: Floats) -> list[Tick]:
    return [tick(WHERE, start + 0.25 * (i + 1), CALM, **more) for i in range(count)]  # type: ignore[arg-type]


def test_how_long_good_and_bad_answers_take_is_known_apart() -> None:
    rows, status = np.asarray([0, 0, 0, 0, 1, 1, 1, 1]), np.asarray([500, 503, 500, 200, 200, 200, 200, -1])
    records = Records(rows, status, np.asarray([1.0, 1, 4, 90, 60, 70, 80, 5000]))
    found = seen(tick(WHERE, 0.25, CALM, records=records))

    assert found.bad_ms[0] == pytest.approx(2.0)
    assert found.good_ms[1] == pytest.approx(70.0)
    assert np.isnan(found.good_ms[0]), "one request is no mean"
    assert np.isnan(found.bad_ms[1:]).all()


def test_the_usual_pace_is_learnt_in_calm_and_not_in_trouble() -> None:
    slow = np.asarray([60.0, 5, 5])
    trouble = (Signal(Kind.HARM, "web", "", 0.0, np.inf, "harm"),)
    past: Memory | None = None
    for it in calm(40):
        past, _ = remembered(past, it, FLEET, ())
    for it in calm(40, 10.0, in_flight=slow):
        past, _ = remembered(past, it, FLEET, trouble)
    assert past is not None
    found = of_pool(past, "web")

    assert found.pace_s == pytest.approx(np.full(3, 5 / 80), rel=0.05)
    assert found.pace_now_s[0] == pytest.approx(60 / 80, rel=0.05)


def test_it_knows_when_a_check_fell_and_that_all_was_well_before() -> None:
    found = seen(*calm(40), *calm(4, 10.0, health=OUT))

    assert found.fell_at[0] == 10.25
    assert np.isnan(found.fell_at[1:]).all()
    assert found.ill_before[0] == 0
    assert found.turns[0] == pytest.approx(1.0, abs=0.05)


def test_it_knows_who_came_back() -> None:
    found = seen(*calm(40), *calm(4, 10.0, health=OUT), *calm(4, 11.0))

    assert found.rose_at[0] == 11.25
    assert found.turns[0] == pytest.approx(2.0, abs=0.1)


def test_who_takes_no_connections_is_mute_and_who_answers_badly_is_not() -> None:
    found = seen(*calm(20), *calm(8, 5.0, retries=np.asarray([20.0, 0, 0]), errors=np.asarray([0, 15.0, 0])))

    assert found.mute_at[0] == 7.0
    assert np.isnan(found.mute_at[1:]).all()
    assert found.refused_by[0] > 5 * found.answered[0]
    assert found.answered[1] > 0


def test_what_was_away_at_the_start_did_not_leave_just_now() -> None:
    drained = np.asarray([Standing.DRAIN, Standing.READY, Standing.READY], dtype=float)
    found = seen(*calm(8, standing=drained), *calm(8, 2.0))

    assert np.isnan(found.left_at[0])
    assert found.back_at[0] == 2.25


def test_a_server_that_is_added_is_new_and_the_others_keep_what_is_known() -> None:
    wider = Layout.of((("web", (*WHERE.members("web"), "s4")),))
    past: Memory | None = None
    for it in calm(40):
        past, _ = remembered(past, it, FLEET, ())
    past, _ = remembered(past, tick(wider, 10.25, np.full(4, 20.0)), FLEET, ())
    found = of_pool(past, "web")

    assert found.born_at[3] == 10.0
    assert np.isnan(found.born_at[:3]).all()
    assert found.pace_s[:3] == pytest.approx(np.full(3, 5 / 80), rel=0.05)


def test_a_gap_between_ticks_is_a_restart() -> None:
    assert np.isnan(seen(*calm(8)).gap_at)
    assert seen(*calm(8), *calm(2, 4.0)).gap_at == 4.25


def test_the_busiest_clients_come_first() -> None:
    names = ("a", "b", "a", "c", "a")
    records = Records(np.asarray([0, 1, 2, 0, 1]), np.full(5, 200), np.full(5, 50.0), names)
    found = seen(replace(tick(WHERE, 0.25, CALM), records=records))

    assert [name for name, _ in found.clients] == ["a", "b", "c"]


def test_a_listener_that_stays_full_is_told() -> None:
    narrow = replace(FLEET, listeners=(replace(FLEET.listeners[0], connections=30),))
    past: Memory | None = None
    told: list[bool] = []
    for it in calm(30):
        inside = replace(it, pool=replace(it.pool, in_flight=np.asarray([30.0])))
        past, signals = remembered(past, inside, narrow, ())
        told.append(any(s.kind is Kind.FULL for s in signals))

    assert not any(told[:8])
    assert told[-1]


def test_a_pool_is_open_where_one_of_its_listeners_is() -> None:
    both = (Listener("a", "127.0.0.1", 1, (Route("web"),), connections=30),
            Listener("b", "127.0.0.1", 2, (Route("web"),), connections=20))  # fmt: skip

    assert connections(Fleet(both, (POOL,)), "web") == 50
    assert connections(Fleet((both[0], replace(both[1], connections=None)), (POOL,)), "web") == np.inf
    assert memory.begin(WHERE).layout == WHERE


def test_who_gets_less_by_weight_is_relieved_and_who_comes_back_relieves_nobody() -> None:
    heavy = np.asarray([200.0, 100, 100])
    found = seen(*calm(8, weight=heavy), *calm(8, 2.0))
    returned = seen(*calm(8, health=OUT), *calm(8, 2.0))

    assert found.relieved_at[0] == 2.25
    assert np.isnan(found.relieved_at[1:]).all()
    assert np.isnan(returned.relieved_at).all()
