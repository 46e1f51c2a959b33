"""A scenario on a real proxy: lab servers and users, HAProxy, the control plane and its API, from start to record.

Used by the demo, by `levelhead drill run` and `drill play`, and by live tests. Whatever happens (an exception, Ctrl-C),
no process, socket or file is left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from levelhead.control.base import Outcome, Revise, Wish
from levelhead.control.recording import Recorder
from levelhead.drills import base as drills
from levelhead.drills import score
from levelhead.drills.facts import facts
from levelhead.drills.score import Clocks, DrillRecord, Facts, Glance, Harm
from levelhead.drills.timeline import Moment, fault_s
from levelhead.engines.base import Engine
from levelhead.engines.haproxy.driver import HAProxyEngine
from levelhead.engines.haproxy.picture import Reading
from levelhead.errors import ConfigError
from levelhead.incident import Incident
from levelhead.lab.world import World
from levelhead.model import Fleet, Mode, Revision
from levelhead.plane.loop import Plane
from levelhead.plane.status import Answer, Status
from levelhead.review.base import Language
from levelhead.review.languages import config_of
from levelhead.settings import Settings, Target
from levelhead.store import IncidentSummary, Store
from levelhead.web.app import create_app
from levelhead.web.serve import serve

SOMEBODY = "deploy"
FRAME_S = 0.25
# After the users have gone the loop is given this long to close what it has open.
LAST_TICKS_S = 1.0


@dataclass(frozen=True, slots=True)
class Frame:
    """What a display needs, four times a second. `news` are sentences about what the scenario did, newest last."""

    at_s: float
    duration_s: float
    status: Status
    glance: Glance
    harm: Harm
    news: tuple[tuple[float, str], ...]
    incidents: tuple[Incident, ...]


@dataclass(frozen=True, slots=True)
class Performance:
    """What came of it: the drill record, and the incidents in full."""

    record: DrillRecord
    incidents: tuple[Incident, ...]
    lasted_s: float


class Stage:
    """One performance of a scenario. `directory` holds everything; by default a temporary one that is removed.

    `look` is shown a frame four times a second; when `over` says so of a frame, the performance ends early. `hidden`
    keeps from the API what Levelhead thinks, for people who are to find out themselves.
    """

    def __init__(
        self, scenario: drills.Scenario, *, mode: score.Mode, seed: int | None = None, directory: Path | None = None,
        look: Callable[[Frame], None] | None = None, over: Callable[[Frame], bool] | None = None, hidden: bool = False,
        recorder: Recorder | None = None,
    ) -> None:  # fmt: skip
        self._over, self._hidden, self._recorder = over, hidden, recorder
        self._scenario, self._mode, self._seed = scenario, mode, scenario.seed if seed is None else seed
        self._directory, self._look = directory, look
        self._texts = {e.raw: read_raw(e.raw) for e in scenario.events if e.raw is not None}
        self._news: list[tuple[float, str]] = []
        self._noticed: float | None = None
        self._fleet: Fleet | None = None
        self._began = 0.0

    async def perform(self) -> Performance:
        """Runs the scenario from beginning to end. Raises EngineError, LabError, UsageError."""
        with self._place() as directory:
            async with World(self._scenario, self._seed) as world:
                fleet = drills.fleet_of(self._scenario, _free_port(), world.addresses)
                self._fleet = self._moded(fleet)
                engine = HAProxyEngine(directory)
                if self._mode == "off":
                    return await self._alone(world, engine)
                return await self._watched(world, engine, directory)

    async def _alone(self, world: World, engine: Engine) -> Performance:
        """Bare HAProxy with the same configuration: nobody watches."""
        fleet = self._starting_fleet()
        await engine.start(fleet)
        try:

            async def change(moment: Moment) -> None:
                nonlocal fleet
                fleet = self._changed(fleet, world, moment)
                self._tell(world, moment)
                await engine.apply(fleet)

            await self._users_come(world)
            await world.run(change)
        finally:
            await engine.close(stop=True)
        told = Facts(engine="haproxy", mode="off", seed=self._seed, harm=world.harm(),
                     clocks=Clocks(fault=fault_s(self._scenario)))  # fmt: skip
        return Performance(score.score(self._scenario, told), (), world.now_s)

    async def _watched(self, world: World, engine: Engine, directory: Path) -> Performance:
        settings = Settings(fleet=self._starting_fleet(), notify=())
        with Store(directory / "levelhead.db") as store:
            plane = Plane(
                settings=settings, source="", engine=engine, store=store, spoken=self._heard, recorder=self._recorder
            )
            stop = asyncio.Event()
            try:
                await plane.start()
                face = Hidden(plane) if self._hidden else plane
                async with serve(create_app(face), directory / "api.sock"), _running(plane, stop):
                    await self._play(world, plane)
                incidents = self._incidents(plane)
                record = score.score(self._scenario, self._facts(plane, incidents, world))
                return Performance(record, incidents, world.now_s)
            finally:
                await plane.close(stop_proxy=True)

    async def _play(self, world: World, plane: Plane) -> None:
        async def change(moment: Moment) -> None:
            fleet = self._changed(plane.fleet, world, moment)
            self._tell(world, moment)
            answer = await plane.submit(Revise(fleet, ""), who=SOMEBODY, why=self._words(moment))
            if not answer.accepted:
                self._news.append((world.now_s, f"refused: {answer.text}"))

        await self._users_come(world)
        world.go()
        self._began = plane.now() - world.now_s
        display = asyncio.create_task(self._display(world, plane))
        events = asyncio.create_task(world.run(change))
        try:
            await asyncio.wait((display, events), return_when=asyncio.FIRST_COMPLETED)
            if display.done():
                display.result()
            else:
                events.result()
                await asyncio.sleep(LAST_TICKS_S)
        finally:
            await _ended(display, events)
        self._frame(world, plane)

    async def _users_come(self, world: World) -> None:
        listener = self._starting_fleet().listeners[0]
        await world.start_users(listener.host, listener.port)

    async def _display(self, world: World, plane: Plane) -> None:
        """Shows frames until one of them is the last."""
        while True:
            frame = self._frame(world, plane)
            if self._over is not None and self._over(frame):
                return
            await asyncio.sleep(FRAME_S)

    def _frame(self, world: World, plane: Plane) -> Frame:
        frame = Frame(
            at_s=world.now_s, duration_s=self._scenario.duration_s, status=plane.status(), glance=world.glance(2.0),
            harm=world.harm(), news=tuple(self._news), incidents=self._incidents(plane),
        )  # fmt: skip
        if self._look is not None:
            self._look(frame)
        return frame

    def _heard(self, outcome: Outcome) -> None:
        fault, sample = fault_s(self._scenario), outcome.state.sample
        if not outcome.signals or self._noticed is not None or fault is None or sample is None:
            return
        if self._began and sample.at_s - self._began >= fault:
            self._noticed = sample.at_s

    # The scenario.

    def _moded(self, fleet: Fleet) -> Fleet:
        if self._mode == "off":
            return fleet
        mode = Mode(self._mode)
        return replace(fleet, pools=tuple(replace(p, mode=mode) for p in fleet.pools))

    def _starting_fleet(self) -> Fleet:
        if self._fleet is None:
            raise AssertionError("the stage is not set yet")
        return self._fleet

    def _changed(self, fleet: Fleet, world: World, moment: Moment) -> Fleet:
        """The fleet after this event of the scenario; its end puts back what was there at the start."""
        first = self._starting_fleet().pools[0]
        if not moment.begins:
            return replace(fleet, pools=(first,))
        pool = drills.shipped(self._scenario, fleet.pools[0], moment.event, world.addresses, self._texts)
        if pool is None:
            raise AssertionError(f"not for the stage: {moment.event.what}")
        return replace(fleet, pools=(pool,))

    def _tell(self, world: World, moment: Moment) -> None:
        self._news.append((world.now_s, f"{SOMEBODY} ships {self._words(moment)}"))

    def _words(self, moment: Moment) -> str:
        what = moment.event.what
        if not moment.begins:
            return "the first configuration again"
        if isinstance(what, drills.ConfigChange) and what.weights is not None:
            return "weights " + " / ".join(f"{w:g}" for w in what.weights.values())
        return f"a change of {moment.event.chosen}"

    # The record.

    def _incidents(self, plane: Plane) -> tuple[Incident, ...]:
        return tuple(reversed([plane.incident(s.id) for s in plane.incidents(20)]))

    def _facts(self, plane: Plane, incidents: tuple[Incident, ...], world: World) -> Facts:
        return facts(
            self._scenario, incidents, engine="haproxy", mode=self._mode, seed=self._seed, harm=world.harm(),
            began=self._began, noticed=self._noticed, before=self._starting_fleet(), after=plane.fleet,
        )  # fmt: skip

    @contextlib.contextmanager
    def _place(self) -> Iterator[Path]:
        if self._directory is not None:
            yield self._directory
            return
        directory = Path(tempfile.mkdtemp(prefix="levelhead-"))
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)


async def _ended(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Hidden:
    """A plane's face without what it thinks: symptoms, what people did, and numbers are shown; stories are not."""

    # What the person on call is to find out.
    SECRET = frozenset({"change", "story", "refuted", "plan"})

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    async def submit(
        self, wish: Wish, *, who: str, why: str, force: str = "", notify: tuple[Target, ...] | None = None
    ) -> Answer:
        return await self._plane.submit(wish, who=who, why=why, force=force, notify=notify)

    def status(self) -> Status:
        shown = self._plane.status()
        pools = tuple(replace(p, signals=(), proposal=None) for p in shown.pools)
        return replace(shown, because="you are on call: Levelhead looks on and says nothing", pools=pools)

    def revisions(self, limit: int) -> tuple[tuple[Revision, bool], ...]:
        return self._plane.revisions(limit)

    def incidents(self, limit: int) -> tuple[IncidentSummary, ...]:
        return tuple(replace(s, title=self.incident(s.id).title) for s in self._plane.incidents(limit))

    def incident(self, incident_id: str) -> Incident:
        whole = self._plane.incident(incident_id)
        entries = tuple(e for e in whole.entries if e.kind not in self.SECRET)
        title = entries[0].text if entries else whole.title
        clocks = replace(whole.clocks, diagnosed=None)
        return replace(whole, title=title, entries=entries, stories=(), refuted=(), clocks=clocks)


@contextlib.asynccontextmanager
async def _running(plane: Plane, stop: asyncio.Event) -> AsyncIterator[None]:
    """The loop ticks beside the block; a loop that breaks ends the block with its error."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(plane.run_until(stop))
            try:
                yield
            finally:
                stop.set()
    except BaseExceptionGroup as group_of:
        if len(group_of.exceptions) == 1:
            raise group_of.exceptions[0] from None
        raise


def read_raw(raw: drills.Raw) -> Fleet:
    """The fleet that a raw text of a scenario describes. ConfigError, with its line, for what is no such text."""
    match raw.chosen:
        case "haproxy":
            language: Language = "haproxy"
        case "nginx":
            language = "nginx"
        case _:
            language = "envoy"
    name = f"raw {language}"
    config = config_of({name: getattr(raw, language)}, name, language)
    if isinstance(config.reading, Reading) and config.reading.errors:
        # A balancer would not load it.
        wrong = config.reading.errors[0]
        raise ConfigError(wrong.sentence, file=name, line=wrong.origin.line, column=wrong.origin.column,
                          next_step="mend the raw text of the scenario; lines count from its first")  # fmt: skip
    return config.fleet


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
