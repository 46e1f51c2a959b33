"""One misbehaving HTTP/1.1 server with a finite number of workers and a FIFO queue: `python -m levelhead.lab.server`.

It is steered by JSON lines on stdin and ends when stdin does, so that it never outlives its owner:

    {"slow_ms": 1000}     every request keeps its worker that much longer
    {"errors": 0.5}       that share is answered 500 at once
    {"resets": 0.2}       that share of connections is reset instead of answered
    {"check": "passing"}  the check passes whatever happens; "failing", though all is well; "ok", as it is
    {"workers": 1}        so many workers are left
    {"hang": true}        accepts and reads, never answers; false goes on where it stopped
    {"ok": true}          all of the above as at the start

When it listens it prints {"listening": port} on stdout, and {"obeyed": {...}} after each command.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import socket
import struct
import sys
from collections import deque
from dataclasses import dataclass

from levelhead.lab.wire import DRAW_HEADER, HEALTH_PATH, SERVER_HEADER, Chunks, allow_many_sockets, scratch

_MAX_HEAD = 65_536
_Z99 = 2.3263478740408408
_DRAW = b"\r\n" + DRAW_HEADER.lower().encode() + b":"
_LENGTH = b"\r\ncontent-length:"
_BODY = b"all is well\n"
# Closing with this set sends a reset instead of a proper end.
_LINGER_ZERO = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class Faults:
    """What is wrong with the server now."""

    workers: int
    slow_ms: float = 0.0
    errors: float = 0.0
    resets: float = 0.0
    check: str = "ok"
    hang: bool = False


@dataclass(frozen=True, slots=True)
class Options:
    """How the server was started; the check is shallow unless it has to wait for a worker like everybody."""

    name: str
    port: int
    workers: int
    median_ms: float
    p99_ms: float
    seed: int
    deep_check: bool


class Work:
    """The workers and the queue before them.

    A request whose client went away is worked on like any other: most real servers do not notice.
    """

    def __init__(self, options: Options, loop: asyncio.AbstractEventLoop) -> None:
        self.options = options
        self.faults = Faults(options.workers)
        self.random = random.Random(options.seed)
        self.scratch = scratch()
        self._loop = loop
        self._sigma = math.log(options.p99_ms / options.median_ms) / _Z99 if options.median_ms > 0 else 0.0
        self._busy = 0
        self._waiting: deque[tuple[Connection, float]] = deque()
        self._held: list[Connection] = []
        ending = f"Content-Type: text/plain\r\n{SERVER_HEADER}: {options.name}\r\nContent-Length: %d\r\n\r\n%s"
        body = _BODY.decode()
        self.fine = ("HTTP/1.1 200 OK\r\n" + ending % (len(body), body)).encode()
        self.failed = ("HTTP/1.1 500 Internal Server Error\r\n" + ending % (7, "failed\n")).encode()
        self.unknown = ("HTTP/1.1 404 Not Found\r\n" + ending % (8, "unknown\n")).encode()
        self.unwell = ("HTTP/1.1 503 Service Unavailable\r\n" + ending % (7, "unwell\n")).encode()

    def take(self, connection: Connection, draw: float | None) -> None:
        """A request: one of the workers does it now, or it waits."""
        service_s = self._service_s(self.random.gauss(0.0, 1.0) if draw is None else draw)
        if self._busy < self.faults.workers:
            self._start(connection, service_s)
        else:
            self._waiting.append((connection, service_s))

    def obey(self, command: dict[str, object]) -> None:
        """Faults from a line of stdin; raises ValueError or TypeError on what it does not know."""
        if command.get("ok"):
            self.faults = Faults(self.options.workers)
        for key, value in command.items():
            if key in ("slow_ms", "errors", "resets") and isinstance(value, int | float):
                setattr(self.faults, key, float(value))
            elif key == "workers" and isinstance(value, int):
                self.faults.workers = max(1, value)
            elif key == "check" and value in ("ok", "passing", "failing"):
                self.faults.check = str(value)
            elif key == "hang" and isinstance(value, bool):
                self.faults.hang = value
            elif key != "ok":
                raise ValueError(f"cannot obey {key}={value!r}")
        self._drain()
        if not self.faults.hang:
            held, self._held = self._held, []
            for connection in held:
                connection.resume()

    def hold(self, connection: Connection) -> None:
        """While the server hangs, this connection gets no further."""
        self._held.append(connection)

    def _service_s(self, draw: float) -> float:
        return self.options.median_ms * math.exp(self._sigma * draw) / 1000.0

    def _start(self, connection: Connection, service_s: float) -> None:
        seconds = service_s + self.faults.slow_ms / 1000.0
        if seconds <= 0.0:
            connection.finish(self.fine)
            return
        self._busy += 1
        self._loop.call_later(seconds, self._done, connection)

    def _done(self, connection: Connection) -> None:
        self._busy -= 1
        connection.finish(self.fine)
        self._drain()

    def _drain(self) -> None:
        while self._waiting and self._busy < self.faults.workers:
            self._start(*self._waiting.popleft())


class Connection(Chunks):
    """One client connection: requests one after the other, however they are cut into packets."""

    def __init__(self, work: Work) -> None:
        super().__init__(work.scratch)
        self._work = work
        self._buffer = b""
        self._working = False  # a request of this connection is with the workers
        self._turning = False
        self._closing = False
        self._answer = b""  # what could not be said because the server hangs
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._turn()

    def finish(self, answer: bytes) -> None:
        """The workers are done with the request; say so, and turn to the next one of this connection."""
        if self._work.faults.hang:
            self._answer = answer
            self._work.hold(self)
            return
        self._working = False
        self._say(answer)
        self._turn()

    def resume(self) -> None:
        """The server hangs no longer."""
        if self._answer:
            answer, self._answer = self._answer, b""
            self.finish(answer)
        else:
            self._turn()

    def _turn(self) -> None:
        """Serve what has arrived, one request after the other; a loop, because answers come at once or later."""
        if self._turning:
            return
        self._turning = True
        while self._buffer and not self._working:
            head, size = self._peek()
            if not size:
                break
            path = b"".join(head.split(b" ", 2)[1:2])
            health = path == HEALTH_PATH.encode()
            if self._work.faults.hang and not (health and self._work.faults.check == "passing"):
                self._work.hold(self)
                break
            self._buffer = self._buffer[size:]
            self._serve(head, path, health)
        self._turning = False

    def _peek(self) -> tuple[bytes, int]:
        """The head of the next request, in lower case, and the size of it all; 0 while some of it is missing."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > _MAX_HEAD:
                self._refuse(b"431 Request Header Fields Too Large")
            return b"", 0
        head = self._buffer[: end + 2].lower()
        if b"\r\ntransfer-encoding:" in head:
            self._refuse(b"411 Length Required")
            return head, 0
        length = _value(head, _LENGTH)
        if length and not length.isdigit():
            self._refuse(b"400 Bad Request")
            return head, 0
        size = end + 4 + int(length or 0)
        return head, size if len(self._buffer) >= size else 0

    def _serve(self, head: bytes, path: bytes, health: bool) -> None:
        work, faults = self._work, self._work.faults
        self._closing = b"\r\nconnection: close\r\n" in head or (
            b" http/1.0\r\n" in head and b"\r\nconnection: keep-alive\r\n" not in head
        )
        if health and faults.check == "failing":
            self._say(work.unwell)
        elif health and (faults.check == "passing" or not work.options.deep_check):
            self._say(work.fine)
        elif not (health or path == b"/" or path.startswith(b"/item/")):
            self._say(work.unknown)
        elif faults.resets and work.random.random() < faults.resets:
            self._reset()
        elif faults.errors and work.random.random() < faults.errors:
            self._say(work.failed)
        else:
            self._working = True
            work.take(self, _draw(head))

    def _say(self, answer: bytes) -> None:
        if self._transport is None:
            return
        self._transport.write(answer)
        if self._closing:
            self._buffer = b""
            self._transport.close()

    def _reset(self) -> None:
        self._buffer = b""
        if self._transport is not None:
            peer = self._transport.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
            self._transport.abort()

    def _refuse(self, status: bytes) -> None:
        self._closing = True
        self._say(b"HTTP/1.1 " + status + b"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")


class Commands(asyncio.Protocol):
    """Lines on stdin; when it ends, so does the server."""

    def __init__(self, work: Work, over: asyncio.Future[None]) -> None:
        self._work = work
        self._over = over
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in filter(None, lines):
            try:
                command = json.loads(line)
                self._work.obey(command)
                say({"obeyed": command})
            except (ValueError, TypeError, AttributeError) as error:
                say({"refused": line.decode(errors="replace"), "because": str(error)})

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._over.done():
            self._over.set_result(None)


def say(line: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


async def serve(options: Options) -> None:
    """Listen on loopback and work until stdin ends."""
    loop = asyncio.get_running_loop()
    work = Work(options, loop)
    over: asyncio.Future[None] = loop.create_future()
    listener = await loop.create_server(lambda: Connection(work), "127.0.0.1", options.port, backlog=4096)
    try:
        await loop.connect_read_pipe(lambda: Commands(work, over), sys.stdin)
        say({"listening": listener.sockets[0].getsockname()[1]})
        await over
    finally:
        listener.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="levelhead.lab.server", description="One misbehaving HTTP/1.1 server.")
    parser.add_argument("--name", default="server-1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--median-ms", type=float, default=50.0)
    parser.add_argument("--p99-ms", type=float, default=200.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--deep-check", action="store_true", help=f"{HEALTH_PATH} waits for a worker like any request")
    args = parser.parse_args()
    allow_many_sockets()
    options = Options(args.name, args.port, args.workers, args.median_ms, args.p99_ms, args.seed, args.deep_check)
    asyncio.run(serve(options))


def _value(head: bytes, header: bytes) -> bytes:
    """A header's value, empty if it is not there; `head` is in lower case and ends with a line break."""
    start = head.find(header)
    if start < 0:
        return b""
    start += len(header)
    return head[start : head.index(b"\r\n", start)].strip()


def _draw(head: bytes) -> float | None:
    """The request's service-time draw; None if it has none that makes sense, then the server draws."""
    try:
        draw = float(_value(head, _DRAW))
    except ValueError:
        return None
    return draw if abs(draw) < 10 else None


if __name__ == "__main__":
    main()
