"""Talking to HAProxy's two sockets: that of the worker, which serves, and that of the master, which reloads."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Final

from levelhead.errors import EngineError

ANSWER_S: Final = 3.0
_PROMPT: Final = "\n> "


async def ask(socket: Path, lines: tuple[str, ...], *, within_s: float = ANSWER_S) -> tuple[str, ...]:
    """Each command's reply, in one connection. EngineError if nobody answers all of them in time.

    In interactive mode every line is a command of its own, so a change of any length fits and replies can be told
    apart; replies that carry a severity begin with it, as in `[3]: No such server.`
    """
    sent = ("prompt", "set severity-output number", *lines, "quit")
    text = await _exchange(socket, sent, half_close=False, within_s=within_s)
    parts = text.split(_PROMPT)
    if len(parts) < len(lines) + 3:
        raise _silence(socket, f"it broke off after {max(len(parts) - 3, 0)} of {len(lines)} commands")
    return tuple(parts[2 : 2 + len(lines)])


async def ask_master(socket: Path, line: str, *, within_s: float = ANSWER_S) -> str:
    """The master's reply to one command; empty where it answers with its deeds. EngineError if it cannot be reached."""
    return await _exchange(socket, (line,), half_close=True, within_s=within_s)


async def _exchange(socket: Path, lines: tuple[str, ...], *, half_close: bool, within_s: float) -> str:
    try:
        async with asyncio.timeout(within_s):
            reader, writer = await asyncio.open_unix_connection(socket)
            try:
                writer.write("".join(f"{line}\n" for line in lines).encode())
                if half_close:
                    writer.write_eof()
                return (await reader.read()).decode(errors="replace")
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError:
        raise _silence(socket, f"no answer within {within_s:g} s") from None
    except OSError as error:
        raise _silence(socket, error.strerror or str(error)) from None


def _silence(socket: Path, why: str) -> EngineError:
    return EngineError(
        f"HAProxy does not answer on {socket}: {why}", next_step=f"look at {socket.parent / 'haproxy.log'}"
    )  # fmt: skip
