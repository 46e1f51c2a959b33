"""What a lost or failing server does to its pool: shares, keys that move, overload, how long it keeps its requests."""

from __future__ import annotations

from dataclasses import replace
from math import inf, isnan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from levelhead.model import (
    Check,
    Ejection,
    EngineName,
    Hash,
    Outliers,
    Policy,
    Pool,
    Reserves,
    Retries,
    RoundRobin,
    Server,
    Table,
    Timeouts,
)
from levelhead.predict import Trouble, amplification, every_loss, kept_s, predicted, survivors

MAGLEV = Hash("path", table=Table("maglev", 65537, 65537))
RING = Hash("path", table=Table("ring", 1024, 8 << 20))
MAPPED = Hash("path", consistent=False)


def pool(engine: EngineName, policy: Policy, count: int = 4, weight: float = 1.0) -> Pool:
    members = tuple(Server(f"s{n}", f"10.0.0.{n}", 80, weight, capacity=30.0) for n in range(1, count + 1))
    spill = Reserves("spill", 1.4, 0.5)
    return Pool(
        "p", members, policy, check=None, engine=engine, reserves=spill if engine == "envoy" else Reserves("all")
    )


@pytest.mark.parametrize("engine", ["haproxy", "nginx", "envoy"])
@given(st.integers(1, 8), st.integers(0, 7))
def test_the_rest_takes_over_and_only_the_lost_share_moves(engine: EngineName, count: int, which: int) -> None:
    some = pool(engine, RoundRobin(), count)
    lost = some.servers[which % count].name
    left = survivors(some, lost)
    assert float(left.shares.sum()) == pytest.approx(1.0 if count > 1 else 0.0) or engine == "envoy"
    assert left.moved == pytest.approx(1 / count)


@pytest.mark.parametrize(
    ("engine", "policy", "held_down", "removed"),
    [
        # A table of four places becomes one of three: three keys of four move.
        ("haproxy", MAPPED, (0.75, 0.75), (0.75, 0.75)),
        # nginx keeps its table while a server is only down, and lays out a new one when it is gone.
        ("nginx", MAPPED, (0.25, 0.25), (0.5, 0.75)),
        ("haproxy", Hash("path"), (0.1, 0.4), (0.5, 0.9)),
        ("nginx", Hash("path"), (0.2, 0.3), (0.2, 0.3)),
        ("envoy", RING, (0.2, 0.36), (0.2, 0.36)),
        ("envoy", MAGLEV, (0.25, 0.35), (0.25, 0.35)),
    ],
)
def test_keys_that_move(
    engine: EngineName, policy: Policy, held_down: tuple[float, float], removed: tuple[float, float]
) -> None:
    left = survivors(pool(engine, policy), "s2")
    assert held_down[0] - 1e-9 <= left.moved <= held_down[1] + 1e-9
    assert removed[0] - 1e-9 <= left.moved_if_removed <= removed[1] + 1e-9


def test_a_number_in_the_file_keeps_haproxy_s_keys_where_they_are() -> None:
    some = pool("haproxy", Hash("path"))
    numbered = replace(some, servers=tuple(replace(s, ring_key=s.name[1:]) for s in some.servers))
    left = survivors(numbered, "s2")
    assert left.moved_if_removed == pytest.approx(left.moved)
    assert survivors(some, "s2").moved_if_removed > 2 * left.moved
    # The last one can go: nobody after it is numbered anew.
    assert survivors(some, "s4").moved_if_removed == pytest.approx(survivors(some, "s4").moved)


@given(st.integers(2, 8), st.sampled_from([("haproxy", Hash("path")), ("nginx", Hash("path"))]))
def test_consistent_hashing_moves_no_key_but_the_lost_ones(count: int, kind: tuple[EngineName, Policy]) -> None:
    some = pool(*kind, count)
    for left in every_loss(some):
        at = [s.name for s in some.servers].index(left.lost)
        assert left.moved == pytest.approx(float(predicted(some)[at]))


def test_overload_needs_a_rate_and_capacities() -> None:
    some = pool("haproxy", RoundRobin(), 3)
    assert survivors(some, "s1").overloaded == ()
    assert survivors(some, "s1", rps=58.0).overloaded == ()
    assert survivors(some, "s1", rps=62.0).overloaded == ("s2", "s3")
    unsaid = replace(some, servers=tuple(replace(s, capacity=None) for s in some.servers))
    assert survivors(unsaid, "s1", rps=1e9).overloaded == ()


def test_losing_whom_nobody_knows_is_an_error() -> None:
    with pytest.raises(KeyError):
        survivors(pool("haproxy", RoundRobin()), "s9")


def test_a_server_without_a_share_is_no_loss() -> None:
    some = pool("haproxy", RoundRobin())
    backup = replace(some, servers=(*some.servers[:3], replace(some.servers[3], priority=1)))
    assert [left.lost for left in every_loss(backup)] == ["s1", "s2", "s3"]


HTTP = Check("/up", interval_s=2.0, timeout_s=2.0, fall=3, rise=2)


@pytest.mark.parametrize(
    ("trouble", "check", "least_s", "most_s"),
    [
        # HAProxy's defaults: measured 4.6 s for a dead server, 10.8 s for one that hangs.
        ("dead", HTTP, 4.0, 6.0),
        ("hung", HTTP, 10.0, 12.0),
        ("hung", replace(HTTP, path=None), inf, inf),
        ("failing", HTTP, inf, inf),
        ("slow", HTTP, inf, inf),
        ("dead", replace(HTTP, fast_interval_s=0.5), 1.0, 3.0),
        ("dead", None, inf, inf),
    ],
)
def test_how_long_haproxy_s_check_takes(trouble: Trouble, check: Check | None, least_s: float, most_s: float) -> None:
    kept = kept_s(replace(pool("haproxy", RoundRobin()), check=check), trouble)
    assert (kept.least_s, kept.most_s) == (least_s, most_s)
    assert kept.why


def test_envoy_s_check_sleeps_until_there_is_traffic() -> None:
    """Measured: 52.5 s with an interval of 2 s and a threshold of 3, which is within the 64 s of the formula."""
    some = replace(pool("envoy", RoundRobin()), check=replace(HTTP, idle_interval_s=60.0))
    kept = kept_s(some, "dead")
    assert (kept.most_s, kept.early_s) == (6.0, 64.0)


def test_nginx_counts_and_asks_again() -> None:
    counts = Ejection(2, ("refused", "hung", "reset"), within_s=10.0, away_s=10.0, one_always=False)
    some = pool("nginx", RoundRobin())
    some = replace(some, servers=tuple(replace(s, ejection=counts) for s in some.servers))
    dead = kept_s(some, "dead", server="s1", rps=40.0)
    assert (dead.requests, dead.most_s, dead.again_s) == (2, 0.2, 10.0)
    assert kept_s(replace(some, timeouts=Timeouts(server_s=60.0)), "hung", server="s1", rps=40.0).most_s == 60.2
    assert kept_s(some, "failing", server="s1").most_s == inf
    # Two failures within ten seconds need more than one request in five.
    assert kept_s(some, "dead", server="s1", rps=0.4).most_s == inf


def test_envoy_s_bare_outlier_detection_ejects_nobody_in_a_small_cluster() -> None:
    """Measured: 5 hosts, one dead, none ejected."""
    bare = Ejection(5, away_s=30.0, most=0.1, one_always=False, outliers=Outliers(10.0, 1.9, 5, 100))
    small, large = (replace(pool("envoy", RoundRobin(), n), ejection=bare) for n in (5, 10))
    assert kept_s(small, "dead").most_s == inf
    assert "10% of 5 servers" in kept_s(small, "dead").why
    assert kept_s(large, "dead").requests == 5
    assert kept_s(replace(small, ejection=replace(bare, one_always=True)), "dead").requests == 5


def test_a_passing_check_brings_a_failing_server_back() -> None:
    ejection = Ejection(5, away_s=30.0)
    some = replace(pool("envoy", RoundRobin()), ejection=ejection, check=HTTP)
    assert kept_s(some, "failing").again_s == 2.0
    assert kept_s(replace(some, ejection=replace(ejection, check_readmits=False)), "failing").again_s == 30.0
    mark_down = replace(pool("haproxy", RoundRobin()), ejection=Ejection(10), check=HTTP)
    assert kept_s(mark_down, "failing", rps=100.0).most_s == pytest.approx(0.4)
    assert kept_s(mark_down, "failing").again_s == 4.0


def test_success_rates_are_compared_where_there_are_enough_servers() -> None:
    rates = Ejection(0, (), away_s=30.0, most=0.5, outliers=Outliers(10.0, 1.9, 5, 100))
    assert kept_s(replace(pool("envoy", RoundRobin(), 5), ejection=rates), "failing").most_s == 10.0
    assert kept_s(replace(pool("envoy", RoundRobin(), 4), ejection=rates), "failing").most_s == inf


def test_nobody_can_tell_of_servers_that_are_not_known() -> None:
    assert isnan(kept_s(replace(pool("envoy", RoundRobin(), 0), unknown="by EDS"), "dead").most_s)


def test_attempts_of_one_request() -> None:
    some = pool("haproxy", RoundRobin())
    assert amplification(replace(some, retries=Retries(3))) == 4
    assert amplification(replace(some, retries=Retries(0))) == 1
    assert amplification(replace(some, retries=Retries(3, ()))) == 1
    named = pool("nginx", RoundRobin(), 2)
    named = replace(named, retries=Retries(1), servers=tuple(replace(s, many=True) for s in named.servers))
    assert isnan(amplification(named))
