"""A Python process that is steered by lines on its stdin, speaks in lines, and never outlives its owner."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import TypeVar, cast

from levelhead.errors import LabError

T = TypeVar("T")

_STDIN, _STDERR = 0, 2
_REMEMBERED = 4096
_READY_WITHIN_S = 20.0


class Child(asyncio.SubprocessProtocol):
    """One process. Use `Child.start`; `close` kills it and waits for its end.

    It stands in a session of its own, so that Ctrl-C reaches its owner only; it ends when its stdin does.
    """

    def __init__(self, name: str, on_lines: Callable[[list[str]], None]) -> None:
        self.name = name
        self._on_lines = on_lines
        self._rest = ""
        self._stderr = b""
        loop = asyncio.get_running_loop()
        self._gone: asyncio.Future[None] = loop.create_future()
        self._cleared: asyncio.Future[None] = loop.create_future()
        self._transport: asyncio.SubprocessTransport | None = None

    @staticmethod
    async def start(name: str, module: str, *arguments: str, on_lines: Callable[[list[str]], None]) -> Child:
        """Start `python -m module`; `on_lines` gets what it says, whole lines at a time. Raises LabError."""
        child = Child(name, on_lines)
        loop = asyncio.get_running_loop()
        try:
            await loop.subprocess_exec(
                lambda: child, sys.executable, "-m", module, *arguments,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise LabError(f"{name} could not be started: {error}", next_step="levelhead doctor") from error
        except asyncio.CancelledError:
            await child.close()
            raise
        return child

    @property
    def pid(self) -> int:
        return self._transport.get_pid() if self._transport is not None else 0

    @property
    def alive(self) -> bool:
        return self._transport is not None and not self._gone.done()

    @property
    def last_words(self) -> str:
        """The last line of its stderr."""
        return self._stderr.decode(errors="replace").strip().rsplit("\n", 1)[-1] or "it said nothing"

    def tell(self, line: dict[str, object], data: bytes = b"") -> None:
        """Say this on its stdin; a process that is gone hears nothing."""
        if self._transport is None or self._gone.done():
            return
        stdin = cast(asyncio.WriteTransport, self._transport.get_pipe_transport(_STDIN))
        stdin.write(json.dumps(line).encode() + b"\n" + data)

    async def hears(self, answer: asyncio.Future[T], what: str) -> T:
        """Wait for something it was to say; LabError if it ends before that or says nothing for long."""
        either: list[asyncio.Future[T] | asyncio.Future[None]] = [answer, self._gone]
        await asyncio.wait(either, timeout=_READY_WITHIN_S, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        answer.cancel()
        how = f"ended: {self.last_words}" if self._gone.done() else f"is silent for {_READY_WITHIN_S:g} s"
        raise LabError(f"{self.name} was to {what} but {how}", next_step="levelhead doctor")

    def kill(self) -> None:
        """SIGKILL, at once.

        Not by the transport: that polls first, and takes the exit status from under the loop's own watcher.
        """
        if self._transport is not None and not self._gone.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._transport.get_pid(), signal.SIGKILL)

    async def close(self) -> None:
        """Kill it and wait until it is gone and its pipes are closed."""
        if self._transport is None:
            return
        self.kill()
        await asyncio.wait([self._gone])
        self._transport.close()
        await asyncio.wait([self._cleared])

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == _STDERR:
            self._stderr = (self._stderr + data)[-_REMEMBERED:]
            return
        *lines, self._rest = (self._rest + data.decode(errors="replace")).split("\n")
        if lines:
            self._on_lines(lines)

    def process_exited(self) -> None:
        if not self._gone.done():
            self._gone.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._cleared.done():
            self._cleared.set_result(None)
