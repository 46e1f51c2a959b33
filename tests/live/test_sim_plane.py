"""The whole control plane over the simulated engine, in real time: a wrong weight is shipped, and rolled back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from levelhead.control.base import Revise
from levelhead.engines.sim.driver import SimEngine
from levelhead.plane.loop import Plane
from levelhead.settings import Settings
from levelhead.simulate import UserModel
from levelhead.store import Store
from tests.build import fleet, pool

pytestmark = pytest.mark.live
EVEN = fleet(pool(100.0, 100.0, 100.0, 100.0))
LONG_S = 40.0


def test_a_wrong_weight_is_rolled_back(tmp_path: Path) -> None:
    skewed = replace(EVEN, pools=(pool(900.0, 100.0, 100.0, 100.0),))

    async def played() -> tuple[str, ...]:
        with Store(tmp_path / "levelhead.db") as store:
            engine = SimEngine(users=UserModel(rps=200.0))
            plane = Plane(settings=Settings(fleet=EVEN, notify=()), source="", engine=engine, store=store)
            await plane.start()
            stop = asyncio.Event()
            running = asyncio.create_task(plane.run_until(stop))
            await until(lambda: plane.status().good == 1)
            await plane.submit(Revise(skewed, ""), who="ann", why="more for s1")
            await until(lambda: plane.fleet == EVEN)
            authors = tuple(r.author for r, _ in plane.revisions(5))
            stop.set()
            await running
            await plane.close(stop_proxy=True)
        return authors

    assert asyncio.run(played()) == ("levelhead", "ann", "levelhead")


async def until(what: Callable[[], bool]) -> None:
    """Polls; AssertionError when it takes too long."""
    for _ in range(round(LONG_S / 0.1)):
        if what():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("it took too long")
