"""Predicted shares, the noise around them, and how keys are placed: laws that hold for any pool, and known cases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from levelhead.model import (
    Admin,
    EngineName,
    Hash,
    LeastRequest,
    OtherPolicy,
    Policy,
    Pool,
    RandomPick,
    Reserves,
    RoundRobin,
    Server,
    Table,
)
from levelhead.predict import by_weight, noise, predicted
from levelhead.predict.hashes import avalanche32, ketama, xxh64_texts

RING, MAGLEV = Table("ring", 1024, 8 << 20), Table("maglev", 2039, 2039)
KINDS: tuple[tuple[EngineName, Policy], ...] = (
    ("haproxy", RoundRobin()),
    ("haproxy", LeastRequest()),
    ("haproxy", RandomPick()),
    ("haproxy", OtherPolicy("first")),
    ("haproxy", Hash("source")),
    ("haproxy", Hash("source", bounded_load=1.25)),
    ("haproxy", Hash("source", consistent=False)),
    ("nginx", LeastRequest()),
    ("nginx", RandomPick(1)),
    ("nginx", RandomPick(2)),
    ("nginx", Hash("source")),
    ("nginx", Hash("source", consistent=False)),
    ("envoy", LeastRequest(2)),
    ("envoy", RandomPick(1, by_weight=False)),
    ("envoy", Hash("source", table=RING)),
    ("envoy", Hash("source", table=MAGLEV)),
)
RESERVES: dict[EngineName, Reserves] = {
    "haproxy": Reserves("first"), "nginx": Reserves("all"), "envoy": Reserves("spill", 1.4, 0.5),
}  # fmt: skip


def servers(*weights: float, priority: int = 0, first: int = 1) -> tuple[Server, ...]:
    return tuple(
        Server(f"s{n}", f"10.0.0.{n}", 80, weight, priority=priority) for n, weight in enumerate(weights, first)
    )


def pool(engine: EngineName, policy: Policy, members: tuple[Server, ...]) -> Pool:
    return Pool("p", members, policy, check=None, engine=engine, reserves=RESERVES[engine])


@st.composite
def pools(draw: st.DrawFn) -> Pool:
    engine, policy = draw(st.sampled_from(KINDS))
    members = draw(
        st.lists(
            st.tuples(st.integers(1, 20), st.integers(0, 1), st.sampled_from([Admin.READY, Admin.READY, Admin.MAINT])),
            min_size=1,
            max_size=6,
        )
    )
    made = tuple(
        Server(f"s{n}", f"10.0.0.{n}", 80, float(weight), admin=admin, priority=priority)
        for n, (weight, priority, admin) in enumerate(members)
    )
    return pool(engine, policy, made)


@given(pools(), st.booleans())
def test_shares_are_a_whole_or_nothing(some: Pool, busy: bool) -> None:
    shares = predicted(some, busy=busy)
    assert (shares >= 0).all()
    assert float(shares.sum()) == pytest.approx(1.0) or not shares.any()


@given(pools(), st.booleans())
def test_who_is_down_or_taken_out_gets_nothing_unless_in_panic(some: Pool, busy: bool) -> None:
    calm = replace(some, reserves=replace(some.reserves, panic=0.0))
    shares = predicted(calm, frozenset({"s0"}), busy=busy)
    out = [s.name == "s0" or s.admin is not Admin.READY for s in calm.servers]
    assert not shares[out].any()


@given(pools())
def test_a_heavier_weight_never_gives_a_smaller_share(some: Pool) -> None:
    first = some.servers[0]
    heavier = replace(some, servers=(replace(first, weight=first.weight * 2), *some.servers[1:]))
    # Maglev's table and a ring of few points round by a slot or two.
    assert predicted(heavier)[0] >= predicted(some)[0] - 0.02


@given(pools(), st.integers(1, 100_000))
def test_noise_is_less_with_more_requests(some: Pool, n: int) -> None:
    few, many = noise(some, n), noise(some, 4 * n)
    assert (many <= few).all()
    assert (few[predicted(some, busy=False) == 0] == 0).all()


@pytest.mark.parametrize(("engine", "policy"), KINDS)
def test_an_empty_pool_has_no_shares(engine: EngineName, policy: Policy) -> None:
    assert predicted(pool(engine, policy, ())).shape == (0,)


@pytest.mark.parametrize(
    ("engine", "policy", "weights", "busy", "idle"),
    [
        ("haproxy", RoundRobin(), (1, 3), (0.25, 0.75), (0.25, 0.75)),
        # HAProxy takes idle servers in turn whatever they weigh; nginx does not.
        ("haproxy", LeastRequest(), (1, 3), (0.25, 0.75), (0.5, 0.5)),
        ("nginx", LeastRequest(), (1, 3), (0.25, 0.75), (0.25, 0.75)),
        ("envoy", RandomPick(1, by_weight=False), (1, 3), (0.5, 0.5), (0.5, 0.5)),
        # Of two idle servers nginx takes the second one drawn, which is seldom the heavy one.
        ("nginx", RandomPick(2), (1, 3), (0.25, 0.75), (0.75, 0.25)),
        ("nginx", RandomPick(1), (1, 3), (0.25, 0.75), (0.25, 0.75)),
        ("haproxy", OtherPolicy("first"), (1, 3), (1.0, 0.0), (1.0, 0.0)),
        ("haproxy", Hash("path", consistent=False), (1, 3), (0.25, 0.75), (0.25, 0.75)),
        ("nginx", Hash("path", consistent=False), (1, 3), (0.25, 0.75), (0.25, 0.75)),
    ],
)
def test_shares_of_policies(
    engine: EngineName, policy: Policy, weights: tuple[float, ...], busy: tuple[float, ...], idle: tuple[float, ...]
) -> None:
    some = pool(engine, policy, servers(*weights))
    assert predicted(some).tolist() == pytest.approx(busy)
    assert predicted(some, busy=False).tolist() == pytest.approx(idle)


def test_a_policy_or_members_that_are_not_known_have_unknown_shares() -> None:
    assert np.isnan(predicted(pool("nginx", OtherPolicy("least_time"), servers(1, 1)))).all()
    assert np.isnan(predicted(replace(pool("envoy", RoundRobin(), servers(1, 1)), unknown="by EDS"))).all()
    limited = tuple(replace(s, in_flight_limit=10) for s in servers(1, 1))
    # How far `first` goes depends on how many requests are in flight.
    assert np.isnan(predicted(pool("haproxy", OtherPolicy("first"), limited))).all()
    assert predicted(pool("haproxy", OtherPolicy("first"), limited), busy=False).tolist() == [1.0, 0.0]


def test_haproxy_s_random_is_as_uneven_as_its_ring() -> None:
    """With weight 1 a server has 16 points: a standard deviation of 18 % between servers, as was measured."""
    light = predicted(pool("haproxy", RandomPick(), servers(*[1] * 10)), busy=False)
    heavy = predicted(pool("haproxy", RandomPick(), servers(*[256] * 10)), busy=False)
    assert float(light.std() / light.mean()) == pytest.approx(0.18, abs=0.03)
    assert float(heavy.std() / heavy.mean()) < 0.02


def test_noise_of_turns_and_of_chance() -> None:
    turns, chance = (pool("haproxy", policy, servers(*[1] * 10)) for policy in (RoundRobin(), RandomPick()))
    assert noise(turns, 3_000).max() < 0.01
    assert noise(chance, 3_000).min() > 0.15
    workers = replace(turns, workers=None)
    assert noise(workers, 3_000, cores=8).max() == pytest.approx(8 * noise(turns, 3_000).max())
    hashed = pool("haproxy", Hash("source"), servers(1, 1))
    assert noise(hashed, 10_000, keys=100).min() > 5 * noise(hashed, 10_000).max()


def test_backups_serve_when_the_others_are_gone() -> None:
    members = (*servers(1, 1), *servers(1, 1, priority=1, first=3))
    gone = frozenset({"s1", "s2"})
    assert predicted(pool("haproxy", RoundRobin(), members)).tolist() == [0.5, 0.5, 0, 0]
    assert predicted(pool("haproxy", RoundRobin(), members), gone).tolist() == [0, 0, 1, 0]
    assert predicted(pool("nginx", RoundRobin(), members), gone).tolist() == [0, 0, 0.5, 0.5]


@pytest.mark.parametrize(
    ("down", "expected"),
    [
        # The table of Envoy's own page on priority levels: 1.4 times the healthy part, the rest goes on.
        ("", (0.25, 0.25, 0.25, 0.25, 0, 0)),
        ("s1", (0, 1 / 3, 1 / 3, 1 / 3, 0, 0)),
        ("s1 s2", (0, 0, 0.35, 0.35, 0.15, 0.15)),
        ("s1 s2 s3", (0, 0, 0, 0.35, 0.325, 0.325)),
        ("s1 s2 s3 s4", (0, 0, 0, 0, 0.5, 0.5)),
        # Half of each is healthy: the first bears 70 %, the second could, and takes the rest.
        ("s1 s2 s5", (0, 0, 0.35, 0.35, 0, 0.3)),
        # Both levels are below half: all servers, by how many each level has.
        ("s1 s2 s3 s5 s6", (1 / 6,) * 6),
    ],
)
def test_envoy_s_priorities_spill_over(down: str, expected: tuple[float, ...]) -> None:
    members = (*servers(1, 1, 1, 1), *servers(1, 1, priority=1, first=5))
    found = predicted(pool("envoy", RoundRobin(), members), frozenset(down.split()))
    assert found.tolist() == pytest.approx(expected)


def test_envoy_s_panic_asks_the_dead_as_well_unless_told_to_fail() -> None:
    some = pool("envoy", RoundRobin(), servers(1, 1, 1))
    gone = frozenset({"s1", "s2"})
    assert predicted(some, gone).tolist() == pytest.approx([1 / 3] * 3)
    assert predicted(replace(some, reserves=Reserves("spill", 1.4, 0.0)), gone).tolist() == [0, 0, 1]
    assert not predicted(replace(some, reserves=Reserves("spill", 1.4, 0.5, panic_fails=True)), gone).any()


def test_degraded_servers_take_what_healthy_ones_cannot() -> None:
    members = tuple(replace(s, degraded=s.name == "s4") for s in servers(1, 1, 1, 1))
    some = pool("envoy", RoundRobin(), members)
    assert predicted(some).tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])
    # Two of four healthy bear 70 %, the degraded one 35 %, of which 30 % are left.
    assert predicted(some, frozenset({"s1"})).tolist() == pytest.approx([0, 0.35, 0.35, 0.3])


def test_zones_are_chosen_by_weight_and_by_how_healthy_they_are() -> None:
    members = tuple(replace(s, zone=zone) for s, zone in zip(servers(1, 1, 1, 3), "aabb", strict=True))
    some = replace(pool("envoy", RoundRobin(), members), zone_weights=((0, "a", 1.0), (0, "b", 3.0)))
    assert predicted(some).tolist() == pytest.approx([0.125, 0.125, 0.1875, 0.5625])
    # Zone b counts 3 x 0.7 with one of its two servers.
    assert predicted(some, frozenset({"s4"})).tolist() == pytest.approx([0.5 / 3.1, 0.5 / 3.1, 2.1 / 3.1, 0])


def test_a_server_that_came_back_starts_slowly() -> None:
    some = replace(pool("haproxy", RoundRobin(), servers(16, 16)), slow_start_s=10.0)
    assert predicted(some, up_s={"s1": 0.0}).tolist() == pytest.approx([1 / 17, 16 / 17])
    assert predicted(some, up_s={"s1": 5.0}).tolist() == pytest.approx([8 / 24, 16 / 24])
    assert predicted(some, up_s={"s1": 10.0}).tolist() == [0.5, 0.5]
    fixed = replace(some, policy=RoundRobin(fixed=True))
    assert predicted(fixed, up_s={"s1": 0.0}).tolist() == [0.5, 0.5]
    envoy = replace(pool("envoy", RoundRobin(), servers(1, 1)), slow_start_s=10.0)
    assert predicted(envoy, up_s={"s1": 0.1}).tolist() == pytest.approx([0.1 / 1.1, 1 / 1.1])


def test_a_bounded_hash_evens_out_what_its_ring_does_not() -> None:
    loose = pool("haproxy", Hash("path"), servers(1, 1, 1, 1, 1))
    bound = replace(loose, policy=Hash("path", bounded_load=1.1))
    assert predicted(loose).max() > 0.22
    assert predicted(bound).max() == pytest.approx(0.22)
    assert predicted(bound, busy=False).tolist() == predicted(loose).tolist()


@given(pools())
def test_every_policy_is_meant_to_come_to_weights(some: Pool) -> None:
    plain = by_weight(some)
    assert float(plain.sum()) == pytest.approx(1.0) or not plain.any()
    if isinstance(some.policy, RoundRobin) and plain.any():
        assert predicted(some).tolist() == pytest.approx(plain.tolist())


def test_hashes_are_those_of_their_definitions() -> None:
    # Test vectors of XXH64 itself: seed 0, less and more than 32 bytes; and of CRC-32.
    assert [hex(h) for h in xxh64_texts(["abc", "Nobody inspects the spammish repetition", ""]).tolist()] == [
        "0x44bc2cf5ad770999", "0xfbcea83c8a378bf1", "0xef46db3751d8e999",
    ]  # fmt: skip
    assert ketama("123456789", "", 0).tolist() == []
    assert len(set(ketama("10.0.0.1", "80", 160).tolist())) == 160
    spread = avalanche32(np.arange(10_000, dtype=np.uint32)).astype(np.float64) / 2**32
    assert float(spread.mean()) == pytest.approx(0.5, abs=0.02)
