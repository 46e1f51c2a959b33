"""A NAT before users, a request that kills what it reaches, and a listener that lets few in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from levelhead.model import Check, Ejection, Fleet, Hash, Listener, Pool, Retries, Route, Server
from levelhead.simulate import Behind, Fixed, Poison, ServerModel, UserModel, World
from levelhead.telemetry import Health

POOL = Pool("web", tuple(Server(f"s{i}", f"10.0.0.{i}", 80) for i in range(4)), check=Check(interval_s=1.0))
QUICK = ServerModel(workers=50, service=Fixed(50.0))


def fleet(pool: Pool = POOL, connections: int | None = None) -> Fleet:
    return Fleet((Listener("front", "127.0.0.1", 80, (Route("web"),), connections=connections),), (pool,))


def world(of: Fleet, rps: float = 200.0) -> World:
    return World(of, {}, {"web": UserModel(rps=rps, count=500)}, seed=1, otherwise=QUICK)


def test_behind_one_address_a_source_hash_sends_everyone_to_one_server() -> None:
    it = world(fleet(replace(POOL, policy=Hash("source"))))
    it.advance(10.0)
    spread = it.sample().requests
    it.inject(Behind(1))
    it.advance(20.0)
    after = it.sample().requests - spread

    assert (spread > 0.15 * spread.sum()).all()
    assert sorted(after > 100) == [False, False, False, True]
    assert len(set(it.records().client[-50:])) == 1


def test_one_poisonous_request_takes_out_all_it_is_tried_on() -> None:
    strict = replace(POOL, ejection=Ejection(1), retries=Retries(attempts=3))
    it = world(fleet(strict))
    it.advance(5.0)
    before = it.sample()
    it.inject(Poison(times=1, every_s=60.0))
    sample = it.sample()

    assert (sample.health == Health.FAILING).all()
    assert (sample.response_errors - before.response_errors == 1).all()
    it.advance(15.0)
    assert (it.sample().health == Health.PASSING).all(), "the checks put them back"


def test_without_ejection_poison_fails_only_itself() -> None:
    it = world(fleet(replace(POOL, retries=Retries(attempts=1))))
    it.advance(5.0)
    it.inject(Poison(every_s=60.0))
    it.advance(6.0)
    sample = it.sample()

    assert (sample.health == Health.PASSING).all()
    assert sample.response_errors.sum() == 2, "tried again once"
    assert it.harm("web").harmed_requests == 1


def test_poison_comes_again() -> None:
    it = world(fleet(replace(POOL, retries=Retries(attempts=0))))
    it.inject(Poison(times=2, every_s=1.0), at_s=1.0)
    it.advance(3.5)

    assert it.sample().response_errors.sum() == 6


def test_a_full_listener_lets_nobody_in_and_the_proxy_does_not_know() -> None:
    # 200 requests/s of 50 ms are ten at a time.
    it = world(fleet(connections=5))
    it.advance(10.0)
    sample = it.sample()

    assert float(sample.pool.in_flight[0]) <= 5
    assert 0.35 * 2000 < float(sample.pool.arrived[0]) < 0.55 * 2000
    assert float(np.max(it.records().latency_ms)) < 60


def test_a_raised_limit_lets_in_who_waits_outside() -> None:
    it = world(fleet(connections=5))
    it.advance(10.0)
    before = float(it.sample().pool.arrived[0])
    it.apply(fleet())
    it.advance(10.5)

    assert float(it.sample().pool.arrived[0]) - before > 800
