"""The simulated engine: the same desired state, samples and records as a proxy, on a clock that the test holds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import numpy as np
import pytest

from levelhead import control
from levelhead.control.base import View
from levelhead.detect.base import Kind
from levelhead.engines.sim.driver import SimEngine
from levelhead.errors import EngineRefused, UsageError
from levelhead.model import OtherPolicy, Revision, SetWeight, apply
from levelhead.simulate import Errors, UserModel
from levelhead.telemetry import Health, Missing, Sample, between
from tests.build import fleet, pool

FLEET = fleet(pool(100.0, 100.0, 100.0, 100.0))


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def on(work: Callable[[SimEngine, Clock], Awaitable[None]]) -> None:
    clock = Clock()
    engine = SimEngine(users=UserModel(rps=200.0), clock=clock)

    async def played() -> None:
        await engine.start(FLEET)
        await work(engine, clock)
        await engine.close(stop=True)

    asyncio.run(played())


async def sampled(engine: SimEngine) -> Sample:
    found = await engine.sample()
    assert isinstance(found, Sample)
    return found


def test_it_goes_on_with_the_clock_and_takes_changes() -> None:
    async def work(engine: SimEngine, clock: Clock) -> None:
        first = await sampled(engine)
        clock.now_s += 10.0
        then = await sampled(engine)
        tick = between(first, then, engine.records())
        assert not isinstance(tick, Missing)
        assert then.at_s == clock.now_s
        assert tick.requests.sum() == pytest.approx(2000, rel=0.1)
        assert len(tick.records) > 100

        how = await engine.apply(apply(FLEET, (SetWeight("web", "s1", 900.0),)))
        clock.now_s += 10.0
        later = await sampled(engine)
        shares = (later.requests - then.requests) / (later.requests - then.requests).sum()
        assert how.mechanism == "runtime"
        assert shares[0] == pytest.approx(0.75, abs=0.03)

    on(work)


def test_a_dead_one_says_nothing_until_it_is_started_again() -> None:
    async def work(engine: SimEngine, clock: Clock) -> None:
        before = await sampled(engine)
        engine.kill()
        assert not engine.alive()
        assert isinstance(await engine.sample(), Missing)
        assert len(engine.records()) == 0
        clock.now_s += 3.0
        await engine.restart()
        after = await sampled(engine)
        assert engine.alive()
        assert after.epoch > before.epoch
        assert after.requests.sum() < 50

    on(work)


def test_what_it_cannot_play_is_refused_and_the_old_state_stays() -> None:
    strange = fleet(replace(FLEET.pools[0], policy=OtherPolicy("first")))

    async def work(engine: SimEngine, clock: Clock) -> None:
        with pytest.raises(EngineRefused):
            await engine.apply(strange)
        clock.now_s += 1.0
        assert (await sampled(engine)).weight.tolist() == [100.0] * 4
        with pytest.raises(UsageError, match="there is no server s9"):
            engine.inject(Errors(1.0, "s9"))

    on(work)


def test_before_it_began_nothing_is_to_be_had() -> None:
    engine = SimEngine()
    assert not engine.alive()
    assert isinstance(asyncio.run(engine.sample()), Missing)
    with pytest.raises(EngineRefused, match="has not begun"):
        asyncio.run(engine.apply(FLEET))


def test_the_loop_cannot_tell_it_from_a_proxy() -> None:
    found: set[tuple[Kind, str]] = set()

    async def work(engine: SimEngine, clock: Clock) -> None:
        state, revisions = control.begin((), (), 1), (Revision(1, FLEET, "ann", clock.now_s, "first"),)
        for i in range(100):
            if i == 60:
                engine.inject(Errors(0.5, "s3"))
            clock.now_s += 0.25
            outcome = control.step(state, View(clock.now_s, await engine.sample(), revisions, engine.records()))
            state = outcome.state
            assert i >= 60 or not outcome.signals
            found.update((s.kind, s.server) for s in outcome.signals)
        sample = await sampled(engine)
        assert set(sample.health.tolist()) == {Health.PASSING}
        assert np.isnan(sample.connects).all()

    on(work)
    assert (Kind.ERRORS, "s3") in found
    assert {server for _, server in found} <= {"", "s3"}
