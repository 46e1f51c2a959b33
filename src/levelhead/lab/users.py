"""All users of a drill in one process, open loop: `python -m levelhead.lab.users`.

Every request is sent at its planned time whether or not earlier ones were answered, and its latency counts from that
time. Each user has its own source address, its own connections and its own cookies. Answers are awaited as long as
the user is patient, also after the last request was sent.

On stdin comes one JSON line {"host", "port", "users": [address, ...], "session", "timeout_s", "bytes"}, then so many
bytes of plan (`wire.packed`), then {"go": t} with the start on the machine's monotonic clock, then perhaps
{"stop": true}: what is open is reported as such, and it ends, as it does when stdin ends. On stdout come
{"ready": requests}, a line per outcome (`wire.outcome_line`), and {"done": {...}}.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import socket
import sys
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from levelhead.lab import wire

_SWEEP_S: Final = 0.05
# A browser gives up an idle connection after some seconds; later than this the balancer might do it first.
_IDLE_S: Final = 8.0
_SERVER: Final = b"\r\n" + wire.SERVER_HEADER.lower().encode() + b":"
_POST_BODY: Final = b"name=value"


@dataclass(slots=True)
class Request:
    """One request under way; it is settled once."""

    planned: wire.Planned
    message: bytes
    settled: bool = False
    again: bool = False
    connection: Connection | None = None


@dataclass(slots=True)
class User:
    address: str
    cookies: dict[bytes, bytes] = field(default_factory=dict)
    idle: list[Connection] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Orders:
    """What stands in the first line."""

    host: str
    port: int
    users: tuple[str, ...]
    session: str
    timeout_s: float


class Crowd:
    """The users, what they have under way, and what became of it."""

    def __init__(self, orders: Orders, plan: list[wire.Planned], loop: asyncio.AbstractEventLoop) -> None:
        self.orders = orders
        self.over: asyncio.Future[None] = loop.create_future()
        self.scratch = wire.scratch()
        self._loop = loop
        self._plan = plan
        jars = [{b"session": b"u%d" % i} if orders.session == "cookie" else {} for i in range(len(orders.users))]
        self._users = [User(address, jar) for address, jar in zip(orders.users, jars, strict=True)]
        self._next = 0
        self._start = 0.0
        self._open: deque[Request] = deque()
        self._unsettled = 0
        self._lines: list[str] = []
        self._lateness_ms: list[float] = []
        self._opening: set[asyncio.Task[None]] = set()

    def go(self, start: float) -> None:
        """Begin; `start` is on the loop's clock, which all processes of a machine share."""
        self._start = start
        self._sweep()
        self._send_due()

    def stop(self) -> None:
        """Report what is still open as such, and end."""
        if self.over.done():
            return
        for request in self._open:
            if not request.settled:
                age_ms = (self._loop.time() - self._start - request.planned.at_s) * 1000.0
                self._settle(request, wire.UNANSWERED, age_ms, "")
        self._flush()
        late = sorted(self._lateness_ms)
        worst = {f"late_p{q}_ms": round(late[min(len(late) - 1, len(late) * q // 100)], 3) if late else 0.0
                 for q in (50, 99, 100)}  # fmt: skip
        _say({"done": {"sent": self._next, **worst}})
        self.over.set_result(None)

    def answered(self, request: Request, status: str, server: str) -> None:
        if not request.settled:
            self._settle(request, status, self._age_ms(request), server)

    def broken(self, request: Request, *, reused: bool) -> None:
        """The connection ended before any of the answer came.

        On a connection used before, that is the usual race with an idle timeout; like browsers, the user tries once
        more if the request may be repeated.
        """
        if request.settled:
            return
        if reused and not request.again and not request.planned.post:
            request.again = True
            self._open_connection(request)
            return
        self._settle(request, wire.NO_ANSWER, self._age_ms(request), "")

    def rest(self, connection: Connection) -> None:
        """The connection is free for its user's next request."""
        connection.free_since = self._loop.time()
        connection.user.idle.append(connection)

    def _age_ms(self, request: Request) -> float:
        return (self._loop.time() - self._start - request.planned.at_s) * 1000.0

    def _send_due(self) -> None:
        while self._next < len(self._plan):
            planned = self._plan[self._next]
            due = self._start + planned.at_s
            now = self._loop.time()
            # The loop's timers are as fine as this; waiting for less would only spin.
            if due > now + 0.0005:
                self._loop.call_at(due, self._send_due)
                return
            self._next += 1
            self._lateness_ms.append((now - due) * 1000.0)
            self._send(planned)

    def _send(self, planned: wire.Planned) -> None:
        user = self._users[planned.user]
        request = Request(planned, self._message(planned, user))
        self._open.append(request)
        self._unsettled += 1
        while user.idle:
            connection = user.idle.pop()
            if connection.send(request):
                return
        self._open_connection(request)

    def _message(self, planned: wire.Planned, user: User) -> bytes:
        head = (
            f"{'POST' if planned.post else 'GET'} /item/{planned.key} HTTP/1.1\r\nHost: lab\r\n"
            f"{wire.DRAW_HEADER}: {planned.draw:.6f}\r\n"
        ).encode()
        if user.cookies:
            head += b"Cookie: " + b"; ".join(k + b"=" + v for k, v in user.cookies.items()) + b"\r\n"
        if planned.post:
            return head + b"Content-Length: %d\r\n\r\n" % len(_POST_BODY) + _POST_BODY
        return head + b"\r\n"

    def _open_connection(self, request: Request) -> None:
        task = self._loop.create_task(self._connect(request))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _connect(self, request: Request) -> None:
        user = self._users[request.planned.user]
        peer = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            peer.setblocking(False)
            peer.bind((user.address, 0))
            await self._loop.sock_connect(peer, (self.orders.host, self.orders.port))
            _, connection = await self._loop.create_connection(lambda: Connection(self, user), sock=peer)
        except OSError:
            peer.close()
            self.broken(request, reused=False)
            return
        except asyncio.CancelledError:
            peer.close()
            raise
        if request.settled:
            connection.close()
        else:
            connection.send(request)

    def _settle(self, request: Request, status: str, latency_ms: float, server: str) -> None:
        request.settled = True
        self._unsettled -= 1
        planned = request.planned
        self._lines.append(wire.outcome_line(planned.at_s, planned.user, status, latency_ms, server))

    def _sweep(self) -> None:
        """Every so often: users lose patience, idle connections are given up, outcomes are written."""
        if self.over.done():
            return
        now = self._loop.time()
        patience_ends = now - self._start - self.orders.timeout_s
        while self._open and (self._open[0].settled or self._open[0].planned.at_s <= patience_ends):
            request = self._open.popleft()
            if not request.settled:
                self._settle(request, wire.TIMED_OUT, self._age_ms(request), "")
                if request.connection is not None:
                    request.connection.close()
        if self.orders.session != "keepalive":
            for user in self._users:
                # The one that rested longest stands first.
                while user.idle and user.idle[0].free_since < now - _IDLE_S:
                    user.idle.pop(0).close()
        self._flush()
        if self._next == len(self._plan) and not self._unsettled:
            self.stop()
            return
        self._loop.call_later(_SWEEP_S, self._sweep)

    def _flush(self) -> None:
        if self._lines:
            lines, self._lines = self._lines, []
            sys.stdout.write("\n".join(lines) + "\n")
            sys.stdout.flush()


class Connection(wire.Chunks):
    """One connection of one user to the balancer: one request at a time."""

    def __init__(self, crowd: Crowd, user: User) -> None:
        super().__init__(crowd.scratch)
        self.user = user
        self.free_since = 0.0
        self._crowd = crowd
        self._transport: asyncio.Transport | None = None
        self._request: Request | None = None
        self._used = False
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        with contextlib.suppress(ValueError):
            self.user.idle.remove(self)
        request, self._request = self._request, None
        if request is None:
            return
        status, server, _ = _answer(self._buffer, ended=True)
        if status and exc is None:
            self._crowd.answered(request, status, server)
        else:
            self._crowd.broken(request, reused=self._used and not self._buffer)

    def send(self, request: Request) -> bool:
        """Whether the request could be sent on this connection; it may have ended meanwhile."""
        if self._transport is None or self._transport.is_closing():
            return False
        self._request, request.connection = request, self
        self._transport.write(request.message)
        return True

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if self._request is None:
            self.close()  # nobody asked
            return
        status, server, reusable = _answer(self._buffer, ended=False)
        if not status:
            return
        request, self._request = self._request, None
        request.connection = None
        if self._crowd.orders.session == "cookie":
            _keep_cookies(self._buffer, self.user.cookies)
        self._buffer = b""
        self._used = True
        self._crowd.answered(request, status, server)
        if reusable:
            self._crowd.rest(self)
        else:
            self.close()


class Commands(asyncio.Protocol):
    """Orders, the plan, and the word to go, on stdin; when it ends, so do the users."""

    def __init__(self, loop: asyncio.AbstractEventLoop, over: asyncio.Future[None]) -> None:
        self._loop = loop
        self._over = over
        self._buffer = bytearray()
        self._orders: Orders | None = None
        self._plan_bytes = 0
        self._crowd: Crowd | None = None

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while not self._over.done():
            if self._orders is not None and self._crowd is None:
                if len(self._buffer) < self._plan_bytes:
                    return
                self._crowd = self._gathered(self._orders, bytes(self._buffer[: self._plan_bytes]))
                del self._buffer[: self._plan_bytes]
            end = self._buffer.find(b"\n")
            if end < 0:
                return
            line = json.loads(self._buffer[:end])
            del self._buffer[: end + 1]
            self._obey(line)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._over.done():
            self._over.set_result(None)

    def _obey(self, line: dict[str, object]) -> None:
        if self._crowd is None:
            users = line["users"]
            assert isinstance(users, list)
            self._orders = Orders(
                host=str(line["host"]),
                port=int(str(line["port"])),
                users=tuple(str(u) for u in users),
                session=str(line["session"]),
                timeout_s=float(str(line["timeout_s"])),
            )
            self._plan_bytes = int(str(line["bytes"]))
        elif "go" in line:
            self._crowd.go(float(str(line["go"])))
        elif "stop" in line:
            self._crowd.stop()

    def _gathered(self, orders: Orders, plan: bytes) -> Crowd:
        crowd = Crowd(orders, wire.unpacked(plan), self._loop)
        crowd.over.add_done_callback(lambda _: self.connection_lost(None))
        # The plan lives as long as the process; the collector need not look at it again.
        gc.collect()
        gc.freeze()
        _say({"ready": len(plan)})
        return crowd


async def attend() -> None:
    """Do as stdin says until the last request is settled or stdin ends."""
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()
    await loop.connect_read_pipe(lambda: Commands(loop, over), sys.stdin)
    await over


def main() -> None:
    wire.allow_many_sockets()
    asyncio.run(attend())


def _say(line: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _answer(buffer: bytes, *, ended: bool) -> tuple[str, str, bool]:
    """Status, server's name, and whether the connection may be used again; an empty status while some is missing."""
    while True:
        end = buffer.find(b"\r\n\r\n")
        status = buffer[9:12].decode("ascii", errors="replace")
        if end < 0 or not buffer.startswith(b"HTTP/1.") or not status.isdigit():
            return "", "", False
        if not status.startswith("1"):
            break
        buffer = buffer[end + 4 :]  # 100 Continue and the like come before the answer
    head = buffer[: end + 2]
    low = head.lower()
    reusable = low.startswith(b"http/1.1") and b"\r\nconnection: close\r\n" not in low
    length = _value(head, low, b"\r\ncontent-length:")
    if length.isdigit():
        complete = len(buffer) >= end + 4 + int(length)
    elif status in ("204", "304"):
        complete = True
    elif b"chunked" in _value(head, low, b"\r\ntransfer-encoding:").lower():
        complete = buffer.endswith(b"\r\n0\r\n\r\n")
    else:
        complete, reusable = ended, False
    if not complete:
        return "", "", False
    server = _value(head, low, _SERVER).decode("ascii", errors="replace").replace(" ", "_")
    return status, server, reusable


def _keep_cookies(buffer: bytes, jar: dict[bytes, bytes]) -> None:
    head = buffer[: buffer.find(b"\r\n\r\n")]
    for line in head.split(b"\r\n"):
        if line[:11].lower() == b"set-cookie:":
            name, _, value = line[11:].split(b";")[0].strip().partition(b"=")
            jar[name] = value


def _value(head: bytes, low: bytes, header: bytes) -> bytes:
    """A header's value as it was written, empty if it is not there; `low` is the head in lower case."""
    start = low.find(header)
    if start < 0:
        return b""
    start += len(header)
    return head[start : head.index(b"\r\n", start)].strip()


if __name__ == "__main__":
    main()
