"""Drives the simulated world as an engine: users, a proxy and servers in memory that go on with the clock.

Nothing listens anywhere. It is for trying Levelhead without a proxy or servers, and for tests of what stands above
engines. `inject` breaks things.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from levelhead import __version__
from levelhead.engines.base import Applied, Capabilities, Engine
from levelhead.errors import EngineRefused, LevelheadError
from levelhead.model import Fleet
from levelhead.simulate import Fault, Restart, ServerModel, UserModel, World
from levelhead.telemetry import NO_RECORDS, Missing, Records, Sample

# HAProxy's, so that a fleet that is tried here can be run there.
MOST_WEIGHT = 256


class SimEngine:
    """An `Engine` over a `World`. Every pool has users like `users`, every server is like `servers`.

    `clock` is read in seconds; by default it is the machine's, so that a simulated second takes a second.
    """

    def __init__(
        self, *, users: UserModel | None = None, servers: ServerModel | None = None, seed: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._users, self._servers, self._seed = users or UserModel(), servers or ServerModel(), seed
        self._clock = clock
        self._world: World | None = None
        self._began = 0.0
        self._dead = False

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities("sim", __version__, True, True, MOST_WEIGHT, 0.0)

    async def validate(self, fleet: Fleet) -> None:
        """Raises EngineRefused for a policy that the simulator does not know."""
        self._made(fleet)

    async def start(self, fleet: Fleet) -> Applied:
        """A world of its own each time: there is never one to adopt."""
        self._world, self._began, self._dead = self._made(fleet), self._clock(), False
        return Applied("start", 0.0, "a simulated world has begun")

    async def apply(self, fleet: Fleet) -> Applied:
        await self.validate(fleet)
        world = self._running()
        world.apply(fleet)
        return Applied("runtime", 0.0, "the simulated proxy takes every change at once")

    async def sample(self) -> Sample | Missing:
        if self._dead or self._world is None:
            return Missing(self._clock(), "the simulated proxy is dead")
        world = self._running()
        return replace(world.sample(), at_s=self._began + world.now_s)

    def records(self) -> Records:
        return NO_RECORDS if self._dead or self._world is None else self._world.records()

    def alive(self) -> bool:
        return self._world is not None and not self._dead

    async def restart(self) -> Applied:
        """Brings a proxy back that `kill` ended: counters begin anew; who had a request open got no answer."""
        self._running().inject(Restart(graceful=False))
        self._dead = False
        return Applied("start", 0.0, "it had died")

    async def close(self, *, stop: bool) -> None:
        """The world ends with its process, whatever `stop` says."""
        self._world = None

    def inject(self, fault: Fault) -> None:
        """Let this happen now. UsageError for a pool or server that is not there."""
        self._running().inject(fault)

    def kill(self) -> None:
        """The proxy dies, until `restart`."""
        self._dead = True

    def _made(self, fleet: Fleet) -> World:
        try:
            return World(fleet, {}, dict.fromkeys((pool.name for pool in fleet.pools), self._users), seed=self._seed,
                         otherwise=self._servers)  # fmt: skip
        except LevelheadError as error:
            raise EngineRefused(error.what, next_step=error.next_step) from error

    def _running(self) -> World:
        """The world, moved on to now."""
        if self._world is None:
            raise EngineRefused("the simulated world has not begun", next_step="levelhead run --engine sim")
        self._world.advance(self._clock() - self._began)
        return self._world


_: type[Engine] = SimEngine
