"""Passive checks of the simulated proxy, as HAProxy, nginx and Envoy do them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from levelhead.model import Check, Ejection, Fleet, Outliers, Pool, Reserves, Retries, Server
from levelhead.simulate import Errors, Fault, Fixed, Resets, ServerModel, UserModel, World
from levelhead.telemetry import Health

SERVERS = tuple(Server(f"s{i}", f"10.0.0.{i}", 80) for i in range(5))
CHECK = Check("/healthz", interval_s=2.0, fall=3, rise=2)
# As their readers understand a plain configuration of each.
NGINX = Pool(
    "web", SERVERS, check=None, slow_start_s=0.0, engine="nginx", retries=Retries(4, after=("refused", "reset")),
    ejection=Ejection(3, ("refused", "hung", "reset"), within_s=10.0, away_s=10.0, one_always=False),
)  # fmt: skip
ENVOY = Pool("web", SERVERS, check=None, slow_start_s=0.0, engine="envoy", retries=Retries(0),
             ejection=Ejection(5, away_s=30.0, longest_away_s=300.0, most=0.4))  # fmt: skip
HAPROXY = Pool("web", SERVERS, check=CHECK, slow_start_s=0.0, ejection=Ejection(5))


def out(pool: Pool, *faults: Fault, until_s: float, rps: float = 500.0, seed: int = 3) -> list[list[float]]:
    """For each server, the seconds (in steps of a quarter) in which it was out; faults begin at 5 s."""
    world = World(Fleet((), (pool,)), {}, {"web": UserModel(rps=rps)}, seed=seed,
                  otherwise=ServerModel(64, Fixed(5)))  # fmt: skip
    for fault in faults:
        world.inject(fault, 5.0)
    seconds: list[list[float]] = [[] for _ in pool.servers]
    for i in range(1, round(until_s / 0.25) + 1):
        world.advance(i * 0.25)
        for row in np.flatnonzero(world.sample().health == Health.FAILING).tolist():
            seconds[row].append(i * 0.25)
    return seconds


def spells(seconds: list[float]) -> list[tuple[float, float]]:
    """(began, lasted) of each time out."""
    found: list[list[float]] = []
    for at_s in seconds:
        if found and at_s - found[-1][-1] <= 0.3:
            found[-1].append(at_s)
        else:
            found.append([at_s])
    return [(spell[0], spell[-1] - spell[0] + 0.25) for spell in found]


def test_nginx_takes_it_out_for_its_time_and_asks_again() -> None:
    sick = spells(out(NGINX, Resets(1.0, "s2"), until_s=45.0, rps=15.0)[2])

    assert sick[0][0] <= 9.0
    assert [lasted for _, lasted in sick[:3]] == pytest.approx([10.0] * 3, abs=0.5)
    assert all(not seconds for i, seconds in enumerate(out(NGINX, Resets(1.0, "s2"), until_s=40.0)) if i != 2)


def test_nginx_does_not_count_a_status_and_forgets_what_is_long_ago() -> None:
    assert out(NGINX, Errors(1.0, "s2"), until_s=20.0) == [[]] * 5
    # Two of three failures within 10 s, now and then, never add up.
    rare = replace(NGINX, ejection=replace(NGINX.ejection or Ejection(), consecutive_errors=3, within_s=0.01))
    assert out(rare, Resets(0.5, "s2"), until_s=20.0, rps=50.0) == [[]] * 5


def test_envoy_stays_away_longer_each_time_and_keeps_a_part_of_the_pool() -> None:
    sick = spells(out(ENVOY, Errors(1.0, "s2"), until_s=120.0, rps=15.0)[2])
    assert [lasted for _, lasted in sick[:2]] == pytest.approx([30.0, 60.0], abs=0.5)

    all_of_them = out(ENVOY, Errors(1.0), until_s=20.0)
    assert sum(bool(seconds) for seconds in all_of_them) == 2


def test_one_may_always_be_ejected_unless_told_otherwise() -> None:
    assert ENVOY.ejection is not None
    for always, count in ((True, 1), (False, 0)):
        pool = replace(ENVOY, ejection=replace(ENVOY.ejection, most=0.1, one_always=always))
        assert sum(bool(seconds) for seconds in out(pool, Errors(1.0), until_s=20.0)) == count


def test_an_active_check_that_passes_brings_it_back_where_it_may() -> None:
    assert ENVOY.ejection is not None
    for may, most_s in ((True, 2.5), (False, 30.5)):
        pool = replace(ENVOY, check=CHECK, ejection=replace(ENVOY.ejection, check_readmits=may))
        _, lasted = spells(out(pool, Errors(1.0, "s2"), until_s=60.0, rps=15.0)[2])[0]
        assert lasted <= most_s
        assert may or lasted > 29.0


@pytest.mark.parametrize(("servers", "found"), [(5, True), (4, False)])
def test_envoy_finds_who_stands_out_among_enough(servers: int, found: bool) -> None:
    """One in N stands out by at most sqrt(N - 1) deviations: 2 of 5, 1.73 of 4."""
    compared = Ejection(0, (), away_s=30.0, outliers=Outliers(10.0, 1.9, hosts=3, volume=100))
    pool = replace(ENVOY, servers=SERVERS[:servers], ejection=compared)
    seconds = out(pool, Errors(0.3, "s2"), until_s=35.0)

    assert bool(seconds[2]) is found
    assert not found or seconds[2][0] >= 10.0
    assert not any(seconds[i] for i in range(servers) if i != 2)


def test_envoy_ejects_by_a_part_of_failures_where_that_is_enforced() -> None:
    by_part = Ejection(0, (), away_s=30.0, outliers=Outliers(5.0, None, 5, 100, failing=0.85, failing_volume=50))

    assert out(replace(ENVOY, ejection=by_part), Errors(0.95, "s2"), until_s=20.0)[2]
    assert not out(replace(ENVOY, ejection=by_part), Errors(0.7, "s2"), until_s=20.0)[2]


@pytest.mark.parametrize(
    ("ejection", "first_s"),
    [
        (Ejection(5, acts="out"), (5.0, 5.5)),  # mark-down: at once
        (Ejection(5, acts="fail-check"), (5.0, 5.75)),  # three times as many failures
        (Ejection(5, acts="hurry"), None),  # the check is sound, and passes however often it is asked
        (Ejection(5, acts="last-check"), None),
    ],
)
def test_haproxy_acts_as_it_is_told(ejection: Ejection, first_s: tuple[float, float] | None) -> None:
    pool = replace(HAPROXY, ejection=ejection)
    seconds = out(pool, Errors(1.0, "s2"), until_s=12.0)[2]

    if first_s is None:
        assert seconds == []
    else:
        assert first_s[0] <= seconds[0] <= first_s[1]


def test_haproxy_takes_nobody_out_who_could_not_come_back() -> None:
    assert out(replace(HAPROXY, check=None), Errors(1.0, "s2"), until_s=12.0) == [[]] * 5


@pytest.mark.parametrize(("fails", "answered"), [(False, True), (True, False)])
def test_in_panic_all_get_their_part_or_none(fails: bool, answered: bool) -> None:
    assert ENVOY.ejection is not None
    pool = replace(ENVOY, ejection=replace(ENVOY.ejection, most=1.0), reserves=Reserves(panic=0.5, panic_fails=fails))
    world = World(Fleet((), (pool,)), {}, {"web": UserModel(rps=500)}, seed=3, otherwise=ServerModel(64, Fixed(5)))
    for name in ("s0", "s1", "s2"):
        world.inject(Errors(1.0, name))
    world.advance(5.0)
    before = world.sample()
    world.advance(10.0)
    after = world.sample()

    assert (before.health == Health.FAILING).sum() == 3
    got = after.requests - before.requests
    assert bool(got.sum()) is answered
    if answered:
        assert got == pytest.approx(np.full(5, got.mean()), rel=0.02)
    else:
        assert after.pool.refused[0] - before.pool.refused[0] == after.pool.arrived[0] - before.pool.arrived[0]
