"""What detectors keep over a restart, and what usually arrives at a time of day."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
from pydantic import TypeAdapter

from levelhead import control, detect
from levelhead.control.base import Remember, State, View
from levelhead.detect import season
from levelhead.detect.base import Kind
from levelhead.detect.learned import Learned, learned, taken_up
from levelhead.detect.season import BIN_S, DAY_S, Season
from levelhead.model import Fleet, Pool, Revision, Server
from levelhead.simulate import Errors, Lognormal, ServerModel, Traffic, UserModel, World
from levelhead.telemetry import Tick, between

BEGAN = 1_710_000_000.0


def servers(count: int) -> tuple[Server, ...]:
    return tuple(Server(f"s{i}", f"10.0.0.{i}", 80) for i in range(1, count + 1))


FLEET = Fleet((), (Pool("web", servers(4)), Pool("api", servers(3))))


class Loop:
    """The loop over a world, from a moment on."""

    def __init__(self, world: World, state: State) -> None:
        self.world, self.state = world, state
        self.kept: list[Learned] = []
        self.kinds: set[Kind] = set()

    def until(self, at_s: float) -> None:
        revisions = (Revision(1, self.world.fleet, "ann", BEGAN, "first"),)
        while self.world.now_s < at_s - 1e-9:
            self.world.advance(self.world.now_s + 0.25)
            sample = self.world.sample()
            sample = replace(sample, at_s=BEGAN + sample.at_s)
            outcome = control.step(self.state, View(sample.at_s, sample, revisions, self.world.records()))
            self.state = outcome.state
            self.kinds |= {s.kind for s in outcome.signals}
            self.kept += [e.learned for e in outcome.effects if isinstance(e, Remember)]


def world(rps: float = 40.0) -> World:
    users = {name: UserModel(rps=rps, exponent=0.5) for name in ("web", "api")}
    return World(FLEET, {}, users, seed=5, otherwise=ServerModel(8, Lognormal(20, 80)))


def test_what_is_learnt_comes_back_as_it_was() -> None:
    loop = Loop(world(), control.begin((), (), 1))
    loop.until(90.0)
    assert loop.state.detection is not None
    known = learned(loop.state.detection, BEGAN + 90.0)

    again = TypeAdapter(Learned).validate_json(TypeAdapter(Learned).dump_json(known))
    fresh = control.begin((), (), 1, again)
    loop.state = fresh
    loop.until(90.5)

    assert again == known
    assert json.loads(TypeAdapter(Learned).dump_json(known))["pools"][0]["name"] == "web"
    assert loop.state.detection is not None
    np.testing.assert_allclose(loop.state.detection.recent.rate[0], known.pools[0].rate or 0.0, rtol=0.02)
    np.testing.assert_allclose(loop.state.detection.burn.seen[0, :4].sum(), known.pools[0].seen[0], rtol=0.05)


def test_burning_goes_on_where_it_was_and_fades_while_nobody_looks() -> None:
    sick = world()
    sick.inject(Errors(0.05))
    loop = Loop(sick, control.begin((), (), 1))
    loop.until(60.0)
    assert loop.state.detection is not None
    before = loop.state.detection

    known = learned(before, BEGAN + 60.0)
    at_once = taken_up(fresh_like(loop), known, BEGAN + 60.0)
    later = taken_up(fresh_like(loop), known, BEGAN + 60.0 + 3600.0)

    np.testing.assert_allclose(at_once.pool_burn.bad, before.pool_burn.bad, atol=1e-5)
    np.testing.assert_allclose(at_once.burn.seen, before.burn.seen, atol=1e-5)
    np.testing.assert_allclose(later.pool_burn.bad[0], before.pool_burn.bad[0] / np.e, rtol=1e-6)
    # After an hour the last minute's rate is no forecast.
    assert np.isnan(later.recent.rate).all()


def fresh_like(loop: Loop) -> detect.Detection:
    assert loop.state.detection is not None
    return detect.begin(loop.state.detection.layout, loop.world.fleet)


def test_members_that_came_and_went_meanwhile_do_no_harm() -> None:
    loop = Loop(world(), control.begin((), (), 1))
    loop.until(30.0)
    assert loop.state.detection is not None
    known = learned(loop.state.detection, BEGAN + 30.0)
    fewer = Fleet((), (Pool("api", servers(2)), Pool("new", servers(2))))
    layout = World(fewer, {}, {}, seed=1, otherwise=ServerModel(8)).sample().layout

    state = taken_up(detect.begin(layout, fewer), known, BEGAN + 31.0)

    assert state.burn.seen[0, :2].sum() > 0
    assert state.burn.seen[0, 2:].sum() == 0
    assert np.isnan(state.recent.rate[1])


def test_it_is_kept_every_five_minutes() -> None:
    loop = Loop(world(rps=2.0), control.begin((), (), 1))
    loop.until(620.0)

    assert [round(k.at - BEGAN) for k in loop.kept] == [300, 600]


def day(seen: Season, rates: dict[int, float], at_s: float) -> Season:
    """A whole day in ticks of ten seconds: 10 requests/s, other rates in some bins."""
    quiet = world(rps=1.0)
    quiet.advance(1.0)
    before = quiet.sample()
    quiet.advance(2.0)
    tick = between(before, quiet.sample())
    assert isinstance(tick, Tick)
    for n in range(round(DAY_S / 10.0)):
        at = at_s + 10.0 * n
        rate = rates.get(season.bin_of(at), 10.0)
        arrived = replace(tick.pool, arrived=np.full(2, 10.0 * rate))
        seen = season.updated(seen, replace(tick, at_s=at, seconds=10.0, pool=arrived))
    return seen


def test_what_comes_every_day_is_expected_and_what_came_once_fades() -> None:
    midnight = 20_000 * DAY_S
    seen = Season.begin(2)
    for n in range(3):
        seen = day(seen, {36: 50.0} | ({100: 90.0} if n == 0 else {}), midnight + n * DAY_S)
    rate = np.full(2, 10.0)

    def expected(bin_: int) -> float:
        return float(season.forecast(seen, rate, midnight + 3 * DAY_S + (bin_ + 0.5) * BIN_S)[0])

    assert expected(20) == 10.0
    assert expected(36) == expected(35) == 50.0
    assert 36.0 < expected(100) < 37.0
    assert season.forecast(day(Season.begin(2), {36: 50.0}, midnight), rate, midnight + 36.5 * BIN_S)[0] == 10.0


def test_the_nightly_job_is_no_surge() -> None:
    bins = (season.bin_of(BEGAN + 60.0),)
    usual = day(Season.begin(2), dict.fromkeys(bins, 130.0), BEGAN - 3 * DAY_S)
    usual = day(usual, dict.fromkeys(bins, 130.0), BEGAN - 2 * DAY_S)
    kinds = []
    for history in (None, usual):
        busy = world()
        busy.inject(Traffic(3.0, "web"), 60.0)
        loop = Loop(busy, control.begin((), (), 1))
        loop.until(20.0)
        assert loop.state.detection is not None
        if history is not None:
            loop.state = replace(loop.state, detection=replace(loop.state.detection, season=history))
        loop.until(75.0)
        kinds.append(loop.kinds)

    assert Kind.SURGE in kinds[0]
    assert Kind.SURGE not in kinds[1]
