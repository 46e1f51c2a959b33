"""The detectors: fast on what is wrong, silent on what is not, and unknown is not zero."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from levelhead import detect
from levelhead.detect import shares
from levelhead.detect.base import Kind, Signal, Track, thresholds
from levelhead.telemetry import Floats, Records, Tick
from tests.build import fleet, layout, pool, tick

Shape = Callable[[int, np.random.Generator], Tick]


def watch(shape: Shape, ticks: int, seed: int = 1) -> Iterator[tuple[int, tuple[Signal, ...]]]:
    rng = np.random.default_rng(seed)
    state, where = None, FLEET
    for i in range(ticks):
        now = shape(i, rng)
        state = state or detect.begin(now.layout, where)
        state, signals = detect.detect(state, now, where)
        yield i, signals


FIVE = pool(*[100.0] * 5)
MANY = tuple(pool(*[100.0] * 5, name=f"p{i}") for i in range(8))
FLEET = fleet(FIVE)
WHERE = layout(FIVE)


def spread(rng: np.random.Generator, per_s: float, shares_: list[float]) -> Floats:
    return rng.multinomial(rng.poisson(per_s / 4), shares_).astype(float)


@pytest.mark.parametrize("share", [0.35, 0.4, 0.5, 0.61, 0.8])
def test_a_skew_is_noticed_in_few_more_requests_than_any_test_needs(share: float) -> None:
    where, needed = layout(four := pool(*[100.0] * 4)), []
    threshold = float(thresholds(where.sizes, 1.0)[0])
    bound = shares.noticed(0.25, share, threshold)
    expected = np.full(4, 0.25)
    for seed in range(12):
        rng = np.random.default_rng(seed)
        track, seen, state = Track.begin(4, len(shares.ALTERNATIVES)), 0, detect.begin(where, fleet(four)).recent
        while not track.on[0]:
            k = rng.multinomial(10, [share, *[(1 - share) / 3] * 3]).astype(float)
            track = shares.above(track, tick(where, seen, k), expected, np.zeros(4), state, np.full(4, threshold))
            seen += 10
        needed.append(seen)

    assert np.mean(needed) / bound < 1.35
    assert not track.on[1:].any()


def healthy(kind: str) -> Shape:
    where = layout(*MANY)

    def shape(i: int, rng: np.random.Generator) -> Tick:
        factor = {"surge": 3.0 if i > 400 else 1.0, "burst": 1 + 2.0 * (i // 20 % 7 == 0)}.get(kind, 1.0)
        slow = 2.0 if kind == "slower" and i > 400 else 1.0
        k = np.concatenate([spread(rng, 200 * factor, [0.2] * 5) for _ in MANY])
        bad = rng.binomial(k.astype(int), 0.05 if kind == "errors" and i > 400 else 0.0).astype(float)
        held = rng.poisson(k / 0.25 * 0.06 * slow).astype(float)
        if kind == "stall" and i % 40 == 0:
            held[i // 40 % 5 :: 5] += 0.8 * k[i // 40 % 5 :: 5]
        if kind == "rare":
            k, bad, held = np.minimum(k, 1.0), bad * 0, held * 0
        return tick(where, i * 0.25, k, errors=bad, in_flight=held)

    return shape


@pytest.mark.parametrize("kind", ["steady", "burst", "surge", "errors", "slower", "stall", "rare"])
def test_no_server_of_a_healthy_world_is_accused(kind: str) -> None:
    where = layout(*MANY)
    everywhere = fleet(*MANY)
    state, rng, shape = detect.begin(where, everywhere), np.random.default_rng(5), healthy(kind)
    accused, surges = [], set()
    for i in range(700):
        state, signals = detect.detect(state, shape(i, rng), everywhere)
        accused += [s.sentence for s in signals if s.server]
        surges |= {s.pool for s in signals if s.kind is Kind.SURGE}

    assert accused == []
    assert (len(surges) == len(MANY)) == (kind in ("surge", "burst"))


def fault(kind: str) -> Shape:
    def shape(i: int, rng: np.random.Generator) -> Tick:
        k = spread(rng, 200, [0.2] * 5)
        bad, held, health = np.zeros(5), rng.poisson(k / 0.25 * 0.06).astype(float), np.ones(5)
        records = None
        if i >= 80:
            if kind.startswith("errors"):
                bad[2] = rng.binomial(int(k[2]), float(kind.split("-")[1]) / 100)
            if kind == "slow":
                held[2] += k[2] / 0.25 * min(1.0, (i - 79) * 0.25)
            if kind == "late":
                rows = np.repeat(np.arange(5), k.astype(int))
                late = np.where(rows == 2, 1500.0, 60.0)
                records = Records(rows, np.full(len(rows), 200), late)
            if kind == "down":
                health[2] = 2
        return tick(WHERE, i * 0.25, k, errors=bad, in_flight=held, health=health, records=records)

    return shape


@pytest.mark.parametrize(
    ("kind", "signal", "within"),
    [("errors-50", Kind.ERRORS, 4), ("errors-20", Kind.ERRORS, 10), ("slow", Kind.LATENCY, 6),
     ("late", Kind.LATENCY, 6), ("down", Kind.CHECK, 1)],
)  # fmt: skip
def test_one_sick_server_is_accused_and_no_other(kind: str, signal: Kind, within: int) -> None:
    first, accused = None, set[str]()
    for i, signals in watch(fault(kind), 120):
        hit = [s for s in signals if s.kind is signal]
        accused |= {s.server for s in signals if s.server}
        if hit and first is None:
            first = i

    assert first is not None
    assert first - 79 <= within
    assert accused == {"s3"}


def test_an_alarm_is_over_soon_after_what_raised_it() -> None:
    """What took 10 looks to see may take some more to be over, and not ten times as many."""

    def shape(i: int, rng: np.random.Generator) -> Tick:
        k = spread(rng, 200, [0.2] * 5)
        bad = np.zeros(5)
        bad[2] = rng.binomial(int(k[2]), 0.5) if 80 <= i < 120 else 0
        return tick(WHERE, i * 0.25, k, errors=bad)

    stood = [i for i, signals in watch(shape, 160) if any(s.kind is Kind.ERRORS for s in signals)]

    assert 80 <= stood[0] <= 90
    assert 119 <= stood[-1] <= 140
    assert stood == list(range(stood[0], stood[-1] + 1))


def test_a_server_that_just_fell_is_not_accused_of_its_last_requests() -> None:
    def shape(i: int, rng: np.random.Generator) -> Tick:
        k = spread(rng, 200, [0.2] * 5)
        # It served until somewhere within look 80, at whose end its check has failed.
        k[2] = k[2] if i <= 80 else 0
        return tick(WHERE, i * 0.25, k, health=np.where(np.arange(5) == 2, 2 if i >= 80 else 1, 1))

    found = {s.kind for _, signals in watch(shape, 100) for s in signals}

    assert found == {Kind.CHECK, Kind.DOUBT}


def test_unknown_counters_freeze_the_tests() -> None:
    where = layout(FIVE)
    state = detect.begin(where, FLEET)
    for i in range(50):
        state, _ = detect.detect(state, tick(where, i * 0.25, np.asarray([40.0, 5, 5, 5, 5])), FLEET)
    before = state.share
    state, signals = detect.detect(state, tick(where, 20.0, np.full(5, np.nan)), FLEET)

    assert np.array_equal(state.share.score, before.score)
    assert any(s.kind is Kind.SHARE for s in signals), "what is known is not forgotten"


def test_members_that_come_and_go_do_not_reset_the_tests() -> None:
    state = detect.begin(WHERE, FLEET)
    for i in range(6):
        state, _ = detect.detect(state, tick(WHERE, i * 0.25, np.asarray([3.0, 3, 9, 3, 3])), FLEET)
    smaller = pool(*[100.0] * 4)
    where = layout(smaller)
    later, _ = detect.detect(state, tick(where, 2.0, np.asarray([0.0, 0, 0, 0])), fleet(smaller))

    assert later.share.score[:, 2].max() == pytest.approx(state.share.score[:, 2].max())


def test_a_single_server_has_no_peers_to_be_compared_with() -> None:
    alone = pool(100.0)
    state = detect.begin(layout(alone), fleet(alone))
    for i in range(100):
        state, signals = detect.detect(state, tick(layout(alone), i * 0.25, np.asarray([50.0])), fleet(alone))

    assert signals == ()


def test_a_server_in_slow_start_does_not_accuse_the_others() -> None:
    state = detect.begin(WHERE, FLEET)
    rng = np.random.default_rng(2)
    for i in range(200):
        now = tick(WHERE, i * 0.25, spread(rng, 200, [0.24, 0.24, 0.04, 0.24, 0.24]))
        now = type(now)(**{**{f: getattr(now, f) for f in now.__slots__}, "ramp": np.asarray([1, 1, 0.17, 1, 1])})
        state, signals = detect.detect(state, now, FLEET)

    assert signals == ()
