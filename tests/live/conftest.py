"""Real servers, real clients and every HAProxy of this machine, for tests that run real things on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from levelhead.engines.haproxy.process import Binary, every_binary

ORIGIN = Path(__file__).parent / "origin.py"
Backends = Callable[[int], tuple["Backend", ...]]


@dataclass
class Backend:
    """One real HTTP server in a process of its own; see origin.py for what it does."""

    name: str
    folder: Path
    port: int = 0
    process: subprocess.Popen[str] | None = field(default=None)

    def start(self) -> None:
        """Starts it, on the port it had before if it had one."""
        argv = [sys.executable, str(ORIGIN), self.name, str(self.folder / self.name), str(self.port)]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def kill(self) -> None:
        """As a crash would: nothing is finished, nothing is said."""
        if self.process is not None and self.process.stdout is not None:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.process = None

    def health(self, status: int) -> None:
        """What its check is answered from now on."""
        (self.folder / f"{self.name}.health").write_text(str(status))

    def journal(self) -> list[tuple[str, str, str]]:
        """Method, path and id of every request it executed, in order."""
        with contextlib.suppress(FileNotFoundError):
            text = (self.folder / self.name).read_text()
            return [(m, p, i) for m, p, i in (line.split(" ") for line in text.splitlines())]
        return []

    def counts(self) -> Counter[str]:
        """How many requests of each method it executed."""
        return Counter(method for method, _, _ in self.journal())


@dataclass(frozen=True)
class Answer:
    """What a client got: the status and body, or 0 and why there was no answer."""

    status: int
    body: str
    seconds: float


class Client:
    """One HTTP/1.1 client with one connection, which it keeps while the other side does. It never tries again."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, path: str = "/", method: str = "GET", body: str = "", **fields: str) -> Answer:
        began = time.monotonic()
        try:
            if self._writer is None:
                self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
            assert self._reader is not None
            head = "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in fields.items())
            size = f"content-length: {len(body)}\r\n" if body or method == "POST" else ""
            self._writer.write(f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n{head}{size}\r\n{body}".encode())
            raw = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
            told = {k: v for k, _, v in (line.partition(": ") for line in raw[1:])}
            text = await self._reader.readexactly(int(told.get("content-length", "0")))
            if told.get("connection") == "close":
                await self.close()
            return Answer(int(raw[0].split(" ")[1]), text.decode(), time.monotonic() - began)
        except (OSError, asyncio.IncompleteReadError) as error:
            await self.close()
            return Answer(0, repr(error), time.monotonic() - began)

    async def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
        self._reader = self._writer = None


async def ask(port: int, count: int = 1, path: str = "/", method: str = "GET", **fields: str) -> list[Answer]:
    """`count` requests one after the other, over one connection."""
    client = Client(port)
    try:
        return [await client.ask(path, method, **fields) for _ in range(count)]
    finally:
        await client.close()


async def load(port: int, clients: int, until: asyncio.Event, path: str = "/", method: str = "GET") -> list[Answer]:
    """Keep-alive clients that ask without a pause until they are told to stop; each request has an id of its own."""

    async def one(number: int) -> list[Answer]:
        client = Client(port)
        answers: list[Answer] = []
        while not until.is_set():
            answers.append(await client.ask(path, method, x_id=f"{number}-{len(answers)}"))
            if answers[-1].status == 0:
                await asyncio.sleep(0.01)
        await client.close()
        return answers

    return [answer for answers in await asyncio.gather(*(one(n) for n in range(clients))) for answer in answers]


async def until(true: Callable[[], Awaitable[bool]], within_s: float = 10.0) -> None:
    """Waits for something to come true; fails the test if it does not in time."""
    end = time.monotonic() + within_s
    while not await true():
        assert time.monotonic() < end, "it did not come true in time"
        await asyncio.sleep(0.02)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path: HAProxy's sockets go into it."""
    path = Path(tempfile.mkdtemp(prefix="lh-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def backends() -> Iterator[Backends]:
    """`backends(n)`: that many running servers, called s1 to sn."""
    place = Path(tempfile.mkdtemp(prefix="lh-"))
    made: list[Backend] = []

    def make(count: int) -> tuple[Backend, ...]:
        fresh = [Backend(f"s{len(made) + i + 1}", place) for i in range(count)]
        made.extend(fresh)
        for backend in fresh:
            backend.start()
        return tuple(fresh)

    yield make
    for backend in made:
        backend.kill()
    shutil.rmtree(place)


@pytest.fixture(params=every_binary() or [None], ids=lambda b: b.release if b else "none")
def binary(request: pytest.FixtureRequest) -> Binary:
    """Every HAProxy of this machine in turn."""
    found: Binary | None = request.param
    if found is None:
        pytest.skip("there is no HAProxy 2.4 or later here")
    return found
