"""Levelhead from outside: its command line as processes in a home of their own, traffic at a steady pace, and what is
left when all is over."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from levelhead.engines.haproxy.process import find_binary
from levelhead.errors import EngineError
from tests.live.conftest import Answer, Backend, Client

PATIENCE_S = 20.0
# A user waits this long for an answer; none is an answer too.
ANSWER_S = 8.0
# What an instance keeps when it has ended.
KEPT = {"levelhead.db", "haproxy.cfg", "haproxy.cfg.last-good", "haproxy.log", "engine.json"}


@dataclass(frozen=True)
class Done:
    """A command line that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


class Running:
    """A command line that goes on; its output is in files, so that it never waits for a reader."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path, err: Path) -> None:
        self.process, self._out, self._err = process, out, err

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def out(self) -> str:
        return self._out.read_text(errors="replace")

    @property
    def err(self) -> str:
        return self._err.read_text(errors="replace")

    def lines(self) -> list[dict[str, Any]]:
        """The JSON lines it has printed so far."""
        whole = self.out.rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def first(self) -> dict[str, Any]:
        """Its first line, as soon as it is there."""
        wait_until(lambda: bool(self.lines()) or self.process.poll() is not None, "its first line")
        found = self.lines()
        assert found, (self.process.returncode, self.err)
        return found[0]

    def end(self, number: signal.Signals = signal.SIGTERM, *, group: bool = False) -> Done:
        """Tells it (or its whole group, as a terminal's Ctrl-C does) to stop, and waits until it has."""
        if self.process.poll() is None:
            os.killpg(self.pid, number) if group else self.process.send_signal(number)
        return self.wait()

    def wait(self, within_s: float = PATIENCE_S) -> Done:
        return Done(self.process.wait(within_s), self.out, self.err)


class Home:
    """A LEVELHEAD_HOME, with every process that was started in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path, self.scratch = folder, folder / "home", folder / "tmp"
        self.scratch.mkdir()
        self._count = itertools.count()
        self._started: list[Running] = []

    @property
    def environ(self) -> dict[str, str]:
        ours = {"LEVELHEAD_HOME": str(self.path), "TMPDIR": str(self.scratch), "PYTHONUNBUFFERED": "1"}
        # Compiling every module anew at every command would take longer than the commands.
        return {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "COLUMNS")} | ours

    def start(self, *args: str, limit: Callable[[], None] | None = None) -> Running:
        """`levelhead ARGS`, in a process group of its own, as a shell would start it; `limit` is run in it before."""
        n = next(self._count)
        out, err = self.folder / f"out-{n}", self.folder / f"err-{n}"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "levelhead", *args], stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
                env=self.environ, cwd=self.folder, start_new_session=True, preexec_fn=limit,
            )  # fmt: skip
        running = Running(process, out, err)
        self._started.append(running)
        return running

    def do(self, *args: str) -> Done:
        """`levelhead ARGS`, from beginning to end."""
        return self.start(*args).wait()

    def told(self, *args: str) -> dict[str, Any]:
        """The JSON answer of a command that must succeed."""
        done = self.do(*args, "--json")
        assert done.code == 0, done
        return done.json

    async def tells(self, *args: str) -> dict[str, Any]:
        """The same while traffic goes on."""
        return await asyncio.to_thread(self.told, *args)

    def processes(self) -> dict[int, str]:
        """Every living process that was started in this home, by whomever: number and command line."""
        mark = f"LEVELHEAD_HOME={self.path}".encode()
        found = {}
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found

    def haproxy(self, instance: str = "default") -> tuple[int, tuple[int, ...]]:
        """Number of the master, and those of its workers."""
        master = int((self.path / instance / "haproxy.pid").read_text())
        children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        return master, tuple(int(pid) for pid in children)

    def left(self) -> dict[str, object]:
        """What should not be there when all is over: processes, sockets and pipes, files nobody knows."""
        files = [p for p in self.path.rglob("*") if not p.is_dir()] if self.path.exists() else []
        special = [str(p) for p in files if stat.S_ISSOCK(p.lstat().st_mode) or stat.S_ISFIFO(p.lstat().st_mode)]
        stray = [str(p) for p in files if p.name not in KEPT]
        found = {
            "processes": self.processes(), "special": special, "stray": stray, "temporary": os.listdir(self.scratch)
        }  # fmt: skip
        return {what: which for what, which in found.items() if which}

    def end(self) -> None:
        """Nothing of it runs on, whatever the test came to."""
        for running in self._started:
            if running.process.poll() is None:
                running.process.terminate()
        for running in self._started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait()
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for running in self._started:
            running.wait()

    def tracebacks(self) -> list[str]:
        """What every command of this home said that a person should never see."""
        return [r.err for r in self._started if "Traceback" in r.err or "this is a bug" in r.err]


@contextmanager
def at_home(request: pytest.FixtureRequest) -> Iterator[Home]:
    """A home with a short path, as sockets need; when the test has passed nothing may be left in it."""
    try:
        find_binary()
    except EngineError as error:
        pytest.skip(str(error))
    folder = Path(tempfile.mkdtemp(prefix="lh-"))
    home, failed_before = Home(folder), request.session.testsfailed
    try:
        yield home
        if request.session.testsfailed == failed_before:
            wait_until(lambda: not home.processes(), f"the end of {home.processes()}")
            assert home.left() == {}
            assert home.tracebacks() == []
    finally:
        home.end()
        shutil.rmtree(folder)


def wait_until(true: Callable[[], bool], what: str = "it", within_s: float = PATIENCE_S) -> None:
    """Waits for something to come true; fails the test if it does not in time."""
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, f"{what} did not come in time"
        time.sleep(0.02)


async def comes(true: Callable[[], bool], what: str = "it", within_s: float = PATIENCE_S) -> None:
    """The same while traffic goes on."""
    await asyncio.to_thread(wait_until, true, what, within_s)


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def fleet_text(port: int, backends: tuple[Backend, ...], *pool_lines: str) -> str:
    """A levelhead.yaml with one pool, web, whose checks ask quickly."""
    servers = "".join(f"      {b.name}: 127.0.0.1:{b.port}\n" for b in backends)
    check = "    check: {path: /health, interval_s: 0.3, timeout_s: 0.3, fall: 2, rise: 2}\n"
    rest = "".join(f"    {line}\n" for line in pool_lines)
    return f"listen: 127.0.0.1:{port}\npools:\n  web:\n    servers:\n{servers}{check}{rest}"


@dataclass(frozen=True)
class Sent:
    """One request of a user, when it was sent (seconds on the loop's clock), and what came of it."""

    at: float
    id: str
    fresh: bool
    answer: Answer

    @property
    def failed(self) -> bool:
        return self.answer.status != 200


class Traffic:
    """Users who ask at a steady pace, over kept connections and over new ones, and never ask twice.

    `async with Traffic(port, 200) as traffic:` They stop at the end of the block; then `sent` is complete.
    """

    def __init__(
        self, port: int, per_s: float, *, connections: int = 16, fresh: float = 0.0, method: str = "GET",
        path: str = "/", tag: str = "",
    ) -> None:  # fmt: skip
        """`fresh` is the part of the requests that come over new connections; `tag` makes ids unique."""
        self.sent: list[Sent] = []
        self._port, self._method, self._path, self._tag = port, method, path, tag
        self._every_s = connections / (per_s * (1 - fresh)) if fresh < 1 else 0.0
        self._fresh_every_s = 1 / (per_s * fresh) if fresh else 0.0
        self._connections = connections if fresh < 1 else 0
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ids = itertools.count()

    async def __aenter__(self) -> Traffic:
        for i in range(self._connections):
            self._begin(self._kept(i * self._every_s / self._connections))
        if self._fresh_every_s:
            self._begin(self._new())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        while self._tasks:
            await asyncio.gather(*self._tasks)

    @property
    def failures(self) -> list[Sent]:
        return [sent for sent in self.sent if sent.failed]

    def after(self, at: float) -> list[Sent]:
        return [sent for sent in self.sent if sent.at >= at]

    def _begin(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _kept(self, delay_s: float) -> None:
        client = Client(self._port)
        due = time.monotonic() + delay_s
        while await self._still(due):
            await self._ask(client, fresh=False)
            due = max(due + self._every_s, time.monotonic() - self._every_s)
        await client.close()

    async def _new(self) -> None:
        due = time.monotonic()
        while await self._still(due):
            self._begin(self._once())
            due += self._fresh_every_s

    async def _once(self) -> None:
        client = Client(self._port)
        await self._ask(client, fresh=True)
        await client.close()

    async def _ask(self, client: Client, *, fresh: bool) -> None:
        name, at = f"{self._tag}{next(self._ids)}", time.monotonic()
        try:
            answer = await asyncio.wait_for(client.ask(self._path, self._method, x_id=name), ANSWER_S)
        except TimeoutError:
            await client.close()
            answer = Answer(0, f"no answer within {ANSWER_S} s", ANSWER_S)
        self.sent.append(Sent(at, name, fresh, answer))

    async def _still(self, due: float) -> bool:
        """Waits until then; whether the users go on."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), max(due - time.monotonic(), 0.0))
        return not self._stop.is_set()
