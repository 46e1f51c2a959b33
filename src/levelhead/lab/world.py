"""The world of a drill: its servers and users as processes on this machine, what breaks when, and what came of it."""

from __future__ import annotations

import asyncio
import json
import socket
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, assert_never

import numpy as np

from levelhead.drills import score
from levelhead.drills.arrivals import Arrivals, arrivals, user_address
from levelhead.drills.base import (
    CheckFault,
    ConfigChange,
    DependencyFault,
    Deploy,
    Event,
    HotKey,
    Raw,
    Restart,
    Scenario,
    ServerFault,
    ServerSpec,
    Traffic,
    ZoneFault,
)
from levelhead.drills.score import Glance, Harm, Outcomes, Series
from levelhead.drills.timeline import Moment, moments
from levelhead.errors import LabError, UsageError
from levelhead.lab import wire
from levelhead.lab.child import Child

HOST = "127.0.0.1"

_LEAD_S = 0.1
_STATUS = {wire.NO_ANSWER: score.NO_ANSWER, wire.TIMED_OUT: score.TIMED_OUT, wire.UNANSWERED: score.UNANSWERED}

Stage = Callable[[Moment], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Support:
    """Who makes an event happen: the world, the users' plan, the stage that holds the balancer, or the events of single
    servers that it is made of (`drills.timeline`)."""

    by: Literal["world", "plan", "stage", "parts"]


@dataclass(frozen=True, slots=True)
class Punctuality:
    """How late the users sent: their process had no time. Above a few milliseconds the drill says little."""

    sent: int
    late_p50_ms: float
    late_p99_ms: float
    late_most_ms: float


def support(event: Event) -> Support:
    """Who makes this event happen."""
    what = event.what
    match what:
        case ServerFault() | DependencyFault() | Restart():
            return Support("world")
        case Traffic() | HotKey():
            return Support("plan")
        case ConfigChange() | Raw():
            return Support("stage")
        case CheckFault():
            return Support("stage" if what.path is not None else "world")
        case Deploy() | ZoneFault():
            return Support("parts")
        case _:
            assert_never(what)


class World:
    """Servers and users of one scenario. An async context manager: whatever happens, no process is left behind.

    async with World(scenario) as world:
        ... start a balancer for fleet_of(scenario, port, world.addresses) ...
        await world.start_users("127.0.0.1", port)
        await world.run(stage)          # everything on time, from the first request to the last answer
    harm = world.harm()
    """

    def __init__(self, scenario: Scenario, seed: int | None = None) -> None:
        self.scenario = scenario
        self.seed = scenario.seed if seed is None else seed
        self._servers = {
            name: _LabServer(name, spec, self.seed * 1000 + i)
            for i, (name, spec) in enumerate(scenario.pool.servers.items())
        }
        self._users: Child | None = None
        self._users_ready: asyncio.Future[None] | None = None
        self._users_done: asyncio.Future[Punctuality] | None = None
        self._ledger = _Ledger(tuple(self._servers))
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: list[BaseException] = []
        self._flaps: dict[str, asyncio.Task[None]] = {}
        self._start: float | None = None

    async def __aenter__(self) -> World:
        """Start the servers and wait until all listen. Raises LabError."""
        try:
            await asyncio.gather(*(server.start() for server in self._servers.values()))
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    @property
    def addresses(self) -> Mapping[str, tuple[str, int]]:
        """Where the servers listen; a server keeps its address when it is killed and comes back."""
        return {name: (HOST, server.port) for name, server in self._servers.items()}

    @property
    def pids(self) -> Mapping[str, int]:
        """The processes that are alive, by name; that of the users is called users."""
        pids = {name: s.child.pid for name, s in self._servers.items() if s.child is not None and s.child.alive}
        return {**pids, "users": self._users.pid} if self._users is not None and self._users.alive else pids

    @property
    def now_s(self) -> float:
        """Seconds since the drill began; negative shortly before, and NaN before `go`."""
        return float("nan") if self._start is None else asyncio.get_running_loop().time() - self._start

    @property
    def punctuality(self) -> Punctuality | None:
        """How late the users were; None until they are through."""
        done = self._users_done
        return done.result() if done is not None and done.done() and not done.cancelled() else None

    async def start_users(self, host: str, port: int, plan: Arrivals | None = None) -> None:
        """Start the users before this listener; they wait for `go`. `plan` is by default that of the seed."""
        plan = arrivals(self.scenario, self.seed) if plan is None else plan
        loop = asyncio.get_running_loop()
        self._users_ready, self._users_done = loop.create_future(), loop.create_future()
        users = await Child.start("users", "levelhead.lab.users", on_lines=self._hear_users)
        self._users = users
        rows = zip(plan.at_s, plan.user, plan.key, plan.post, plan.draw, strict=True)
        data = wire.packed(wire.Planned(float(t), int(u), int(k), bool(p), float(d)) for t, u, k, p, d in rows)
        orders: dict[str, object] = {
            "host": host,
            "port": port,
            "users": [user_address(i) for i in range(self.scenario.users.count)],
            "session": self.scenario.users.session,
            "timeout_s": self.scenario.users.timeout_s,
            "bytes": len(data),
        }
        users.tell(orders, data)
        await users.hears(self._users_ready, "take their plan")

    def go(self) -> None:
        """Begin, a moment from now."""
        self._start = asyncio.get_running_loop().time() + _LEAD_S
        if self._users is not None:
            self._users.tell({"go": self._start})

    async def run(self, stage: Stage | None = None) -> None:
        """Let it all happen, from the start (`go`, unless that was said) to the end and the last answers.

        `stage` carries out the moments that concern the balancer. Raises UsageError if it is needed and not given,
        LabError if something could not be done.
        """
        timeline = moments(self.scenario)
        if stage is None and any(support(m.event).by == "stage" for m in timeline):
            raise UsageError(f"{self.scenario.name} changes the balancer's configuration, and there is no balancer")
        if self._start is None:
            self.go()
        for moment in timeline:
            await self._until(moment.at_s)
            self._background(self._carry(moment, stage))
        await self._until(self.scenario.duration_s)
        await self._settle()
        self._raise_failed()

    def supports(self, event: Event) -> Support:
        """See `support`."""
        return support(event)

    async def apply(self, event: Event) -> None:
        """Make this happen now, whatever its at_s; returns when the servers have taken note of it."""
        what = self._ours(event).what
        match what:
            case ServerFault():
                await self._break_server(what)
            case DependencyFault():
                await self._tell_all({"slow_ms": what.slow_ms} if what.slow_ms is not None else {"errors": what.errors})
            case CheckFault():
                await self._break_check(what)
            case Restart():
                self._background(self._restart(what))
            case _:
                raise AssertionError(what)

    async def undo(self, event: Event) -> None:
        """Make an event over that `apply` began."""
        what = self._ours(event).what
        match what:
            case ServerFault():
                await self._mend_server(what)
            case DependencyFault():
                await self._tell_all({"slow_ms": 0.0} if what.slow_ms is not None else {"errors": 0.0})
            case CheckFault():
                for name in what.servers or tuple(self._servers):
                    self._stop_flapping(name)
                    await self._servers[name].obey({"check": "ok"})
            case Restart():
                pass  # it ends by itself
            case _:
                raise AssertionError(what)

    def outcomes(self) -> Outcomes:
        """What became of the requests that are settled so far."""
        return self._ledger.outcomes(0)

    def glance(self, seconds: float = 5.0) -> Glance:
        """The requests settled in the last seconds, in a few numbers."""
        now = asyncio.get_running_loop().time()
        seen_s = max(0.1, min(seconds, self.now_s)) if self._start is not None else seconds
        recent = self._ledger.outcomes(self._ledger.since(now - seconds))
        return score.glance(recent, self.scenario.slo.slo(), seen_s)

    def harm(self) -> Harm:
        """The harm done so far; final after `run`."""
        return score.harm(self.outcomes(), self.scenario.slo.slo())

    def series(self) -> Series:
        """The drill second by second."""
        return score.per_second(self.outcomes(), self.scenario.slo.slo(), self.scenario.duration_s)

    async def _carry(self, moment: Moment, stage: Stage | None) -> None:
        match support(moment.event).by:
            case "world":
                await (self.apply(moment.event) if moment.begins else self.undo(moment.event))
            case "stage" if stage is not None:
                await stage(moment)
            case _:
                pass  # the plan holds it

    def _ours(self, event: Event) -> Event:
        verdict = support(event)
        if verdict.by != "world":
            raise UsageError(f"a {event.chosen} event is for the {verdict.by}, not for the world")
        return event

    async def _break_server(self, fault: ServerFault) -> None:
        server = self._servers[fault.name]
        if fault.down is not None:
            await server.stop()
        else:
            await server.obey(_command(fault, server.spec))

    async def _mend_server(self, fault: ServerFault) -> None:
        server = self._servers[fault.name]
        if fault.down is not None:
            await server.start()
        else:
            await server.obey(_cure(fault, server.spec))

    async def _break_check(self, fault: CheckFault) -> None:
        for name in fault.servers or tuple(self._servers):
            self._stop_flapping(name)
            if fault.flaps is not None:
                self._flaps[name] = self._background(self._flap(self._servers[name], fault.flaps))
            else:
                await self._servers[name].obey({"check": fault.lies})

    async def _flap(self, server: _LabServer, period_s: float) -> None:
        while True:
            await server.obey({"check": "failing"})
            await asyncio.sleep(period_s)
            await server.obey({"check": "ok"})
            await asyncio.sleep(period_s)

    def _stop_flapping(self, name: str) -> None:
        task = self._flaps.pop(name, None)
        if task is not None:
            task.cancel()

    async def _restart(self, restart: Restart) -> None:
        server = self._servers[restart.name]
        await server.stop()
        await asyncio.sleep(restart.down_s)
        await server.start()

    async def _tell_all(self, command: dict[str, object]) -> None:
        await asyncio.gather(*(server.obey(command) for server in self._servers.values()))

    async def _until(self, at_s: float) -> None:
        await asyncio.sleep(max(0.0, at_s - self.now_s))
        self._raise_failed()

    async def _settle(self) -> None:
        """Wait for the last answers, as long as they may still be in time; then the rest is harmed anyway."""
        if self._users is None or self._users_done is None:
            return
        patience_s = min(self.scenario.users.timeout_s, self.scenario.slo.latency_ms / 1000.0) + 0.25
        await asyncio.wait([self._users_done], timeout=patience_s)
        self._users.tell({"stop": True})
        await self._users.hears(self._users_done, "report the last requests")

    def _background(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed.append(error)

    def _raise_failed(self) -> None:
        """Say what went wrong in the lab itself: a drill on a broken lab must not be scored."""
        if self._failed:
            raise self._failed.pop(0)
        for server in self._servers.values():
            server.raise_unless_well()

    def _hear_users(self, lines: list[str]) -> None:
        now = asyncio.get_running_loop().time()
        for line in lines:
            if not line.startswith("{"):
                self._ledger.note(line, now)
                continue
            said = json.loads(line)
            if "ready" in said and self._users_ready is not None and not self._users_ready.done():
                self._users_ready.set_result(None)
            elif "done" in said and self._users_done is not None and not self._users_done.done():
                d = said["done"]
                self._users_done.set_result(
                    Punctuality(d["sent"], d["late_p50_ms"], d["late_p99_ms"], d["late_p100_ms"])
                )

    async def _close(self) -> None:
        """Kill first, then tidy up: whoever interrupts the tidying finds no process left."""
        children = [s.child for s in self._servers.values() if s.child is not None]
        if self._users is not None:
            children.append(self._users)
        for child in children:
            child.kill()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        for server in self._servers.values():
            server.release()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(child.close() for child in children))


class _LabServer:
    """One server process, its port, which stays reserved while the process is down, and what is wrong with it."""

    def __init__(self, name: str, spec: ServerSpec, seed: int) -> None:
        self.name, self.spec = name, spec
        self.child: Child | None = None
        self._seed = seed
        self._faults: dict[str, object] = {}
        self._listening: asyncio.Future[None] | None = None
        self._obeyed: list[asyncio.Future[None]] = []
        self._meant_down = True
        # Bound but not listening: connections are refused, and nobody else gets the port between death and return.
        self._reserved: socket.socket | None = None

    @property
    def port(self) -> int:
        if self._reserved is None:
            raise LabError(f"{self.name} has no address outside the world's context")
        port: int = self._reserved.getsockname()[1]
        return port

    async def start(self) -> None:
        """Start the process unless it runs, with the faults that are in force; returns when it listens."""
        if self.child is not None and self.child.alive:
            return
        if self._reserved is None:
            self._reserved = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._reserved.bind((HOST, 0))
        self._listening = asyncio.get_running_loop().create_future()
        self._obeyed = []  # from here on, whoever commands it is answered by the new process
        service = self.spec.service_ms
        self.child = await Child.start(
            self.name, "levelhead.lab.server", "--name", self.name, "--port", str(self.port),
            "--workers", str(self.spec.workers), "--median-ms", str(service.median), "--p99-ms", str(service.p99),
            "--seed", str(self._seed), *(["--deep-check"] if self.spec.deep_check else []),
            on_lines=self._hear,
        )  # fmt: skip
        await self.child.hears(self._listening, "listen")
        self._meant_down = False
        if self._faults:
            await self._say(self._faults)

    async def stop(self) -> None:
        """SIGKILL; connections break, new ones are refused."""
        self._meant_down = True
        if self.child is not None:
            await self.child.close()

    def raise_unless_well(self) -> None:
        """LabError if the process ended though nobody killed it."""
        if self.child is not None and not self.child.alive and not self._meant_down:
            raise LabError(f"{self.name} ended by itself: {self.child.last_words}")

    async def obey(self, command: dict[str, object]) -> None:
        """Take this on now, or when the process is back if it is down; returns when it is in force."""
        self._faults |= command
        if self.child is not None and self.child.alive:
            await self._say(command)

    def release(self) -> None:
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None

    async def _say(self, command: dict[str, object]) -> None:
        assert self.child is not None
        obeyed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._obeyed.append(obeyed)
        self.child.tell(command)
        try:
            await self.child.hears(obeyed, f"obey {command}")
        except LabError:
            if not self._meant_down:  # killed meanwhile: it obeys when it is back
                raise

    def _hear(self, lines: list[str]) -> None:
        for line in lines:
            said = json.loads(line)
            if "listening" in said and self._listening is not None and not self._listening.done():
                self._listening.set_result(None)
            elif self._obeyed:  # it answers commands in order
                answer = self._obeyed.pop(0)
                if answer.done():
                    continue
                if "obeyed" in said:
                    answer.set_result(None)
                else:
                    answer.set_exception(LabError(f"{self.name} refused {said.get('refused')}: {said.get('because')}"))


class _Ledger:
    """Outcomes as they come in."""

    def __init__(self, servers: tuple[str, ...]) -> None:
        self._servers = servers
        self._rows = {name: i for i, name in enumerate(servers)}
        self._heard_s: list[float] = []
        self._at_s: list[float] = []
        self._user: list[int] = []
        self._status: list[int] = []
        self._latency_ms: list[float] = []
        self._server: list[int] = []

    def note(self, line: str, now: float) -> None:
        at_s, user, status, latency_ms, server = line.split(" ")
        self._heard_s.append(now)
        self._at_s.append(float(at_s))
        self._user.append(int(user))
        self._status.append(_STATUS[status] if status in _STATUS else int(status))
        self._latency_ms.append(float(latency_ms))
        self._server.append(self._rows.get(server, -1))

    def since(self, heard_s: float) -> int:
        return bisect_left(self._heard_s, heard_s)

    def outcomes(self, first: int) -> Outcomes:
        return Outcomes(
            servers=self._servers,
            at_s=np.asarray(self._at_s[first:], dtype=np.float64),
            user=np.asarray(self._user[first:], dtype=np.int64),
            status=np.asarray(self._status[first:], dtype=np.int64),
            latency_ms=np.asarray(self._latency_ms[first:], dtype=np.float64),
            server=np.asarray(self._server[first:], dtype=np.int64),
        )


def _command(fault: ServerFault, spec: ServerSpec) -> dict[str, object]:
    match fault.chosen:
        case "hang":
            return {"hang": True}
        case "capacity":
            return {"workers": max(1, round((fault.capacity or 1.0) * spec.workers))}
        case name:
            return {name: getattr(fault, name)}


def _cure(fault: ServerFault, spec: ServerSpec) -> dict[str, object]:
    match fault.chosen:
        case "hang":
            return {"hang": False}
        case "capacity":
            return {"workers": spec.workers}
        case name:
            return {name: 0.0}
