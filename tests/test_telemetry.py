"""Samples and ticks: unknown stays unknown, rows keep their identity when members come and go."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from levelhead.telemetry import Layout, Missing, PoolCounters, Sample, between, moved_rows


def sample(where: Layout, at: float, requests: list[float], epoch: int = 1) -> Sample:
    rows, pools = len(where.servers), len(where.pools)
    z, p = np.zeros(rows), np.zeros(pools)
    n = np.asarray(requests, dtype=float)
    ones = np.ones(rows, np.int8)
    counters = PoolCounters(where.per_pool(n), p, p, p, p)
    return Sample(at, epoch, where, n, z, z, z, z, z, z, z, z, z + 100, z + 1, z, ones, ones, counters)


TWO = Layout.of((("web", ("a", "b")), ("api", ("c",))))


def test_a_tick_counts_what_happened_between() -> None:
    tick = between(sample(TWO, 1.0, [10, 20, 5]), sample(TWO, 1.25, [14, 21, 5]))

    assert not isinstance(tick, Missing)
    assert tick.seconds == 0.25
    assert tick.requests.tolist() == [4, 1, 0]
    assert tick.pool.arrived.tolist() == [5, 0]


def test_members_that_come_and_go_keep_their_rows_apart() -> None:
    later = Layout.of((("web", ("b", "new", "a")),))

    tick = between(sample(TWO, 1.0, [10, 20, 5]), sample(later, 1.25, [21, 3, 14]))

    assert not isinstance(tick, Missing)
    assert tick.requests.tolist() == [1, 3, 4]


def test_a_counter_that_fell_is_unknown_not_negative() -> None:
    tick = between(sample(TWO, 1.0, [10, 20, 5]), sample(TWO, 1.25, [2, 21, 5]))

    assert not isinstance(tick, Missing)
    assert np.isnan(tick.requests[0])
    assert tick.requests[1] == 1


def test_a_new_epoch_is_no_tick_and_says_so() -> None:
    assert between(sample(TWO, 1.0, [9, 9, 9]), sample(TWO, 1.25, [1, 1, 1], epoch=2)) == Missing(
        1.25, "the proxy's counters started again"
    )


def test_a_stale_sample_is_no_tick() -> None:
    one = sample(TWO, 1.0, [9, 9, 9])

    assert isinstance(between(one, one), Missing)


def test_failed_attempts_are_not_counted_twice() -> None:
    before, after = sample(TWO, 1.0, [0, 0, 0]), sample(TWO, 1.25, [10, 10, 10])
    after = replace(
        after, retries=np.asarray([3.0, 0, 0]), redispatches=np.asarray([1.0, 0, 0]),
        connect_errors=np.asarray([1.0, 2.0, 0]), errors_5xx=np.asarray([0, 1.0, np.nan]),
    )  # fmt: skip

    tick = between(before, after)

    assert not isinstance(tick, Missing)
    assert tick.failures().tolist() == [4, 3, 0]


names = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6, unique=True).map(tuple)


@given(names, names)
def test_moved_rows_find_each_server_again(old: tuple[str, ...], new: tuple[str, ...]) -> None:
    rows = moved_rows(Layout.of((("p", old),)), Layout.of((("p", new),)))

    assert [old[r] if r >= 0 else None for r in rows] == [n if n in old else None for n in new]
