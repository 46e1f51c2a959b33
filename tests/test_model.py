"""The model: applying changes, and finding them again."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from levelhead.model import (
    AddServer,
    Admin,
    Fleet,
    Hash,
    Pool,
    Rebuild,
    RemoveServer,
    RoundRobin,
    Server,
    SetAdmin,
    SetWeight,
    apply,
    differences,
    sentence,
)
from tests.build import fleet, pool

servers = st.builds(
    Server, name=st.sampled_from(["a", "b", "c", "d"]), host=st.just("127.0.0.1"), port=st.integers(3000, 3003),
    weight=st.sampled_from([0.0, 10.0, 90.0, 100.0]), admin=st.sampled_from(Admin), capacity=st.none(),
    in_flight_limit=st.sampled_from([None, 8]),
)  # fmt: skip
pools = st.builds(
    Pool, name=st.just("web"), servers=st.lists(servers, min_size=1, max_size=4, unique_by=lambda s: s.name).map(tuple),
    policy=st.sampled_from([RoundRobin(), Hash("source")]), check=st.none(),
)  # fmt: skip
fleets = st.builds(lambda p: fleet(p), pools)


def as_sets(it: Fleet) -> list[tuple[str, frozenset[Server]]]:
    return [(p.name, frozenset(p.servers)) for p in it.pools]


@given(fleets, fleets)
def test_the_differences_lead_from_one_fleet_to_the_other(before: Fleet, after: Fleet) -> None:
    arrived = apply(before, differences(before, after))

    assert as_sets(arrived) == as_sets(after)


@given(fleets)
def test_nothing_differs_from_itself(it: Fleet) -> None:
    assert differences(it, it) == ()


def test_small_changes_need_no_rebuild() -> None:
    before = fleet(pool(100, 100, 100))
    web = before.pools[0]
    drained = replace(web.servers[1], admin=Admin.DRAIN)
    changed = (replace(web.servers[0], weight=50.0), drained, Server("new", "::1", 9))
    after = fleet(replace(web, servers=changed))

    assert differences(before, after) == (
        SetWeight("web", "s1", 50.0),
        SetAdmin("web", "s2", Admin.DRAIN),
        AddServer("web", changed[2]),
        RemoveServer("web", "s3"),
    )


def test_a_rebuild_says_what_differs() -> None:
    before = fleet(pool(100, 100))
    after = fleet(replace(before.pools[0], policy=Hash("header", "X-User"), slow_start_s=3.0))

    (change,) = differences(before, after)

    assert isinstance(change, Rebuild)
    assert change.because == "web: policy, slow start s changed"


def test_what_only_steers_levelhead_is_no_change_for_the_proxy() -> None:
    before = fleet(pool(100, 100))
    after = fleet(replace(before.pools[0], minimum_servers=2))

    assert differences(before, after) == ()


def test_a_change_to_an_unknown_server_is_an_error() -> None:
    with pytest.raises(KeyError, match="web/s9"):
        apply(fleet(pool(100)), (SetWeight("web", "s9", 1.0),))


def test_changes_read_as_sentences() -> None:
    assert sentence(SetAdmin("web", "s1", Admin.DRAIN)) == "drain s1 in web"
    assert sentence(AddServer("web", Server("s9", "::1", 80))) == "add s9 ([::1]:80) to web"
