"""Prints notices to a text stream, plain and calm: one line that says what, indented lines that say more."""

from __future__ import annotations

import select
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TextIO

from levelhead.errors import NotifyError
from levelhead.notify.base import Notice

# A pipe or a terminal that is ready takes this much without blocking (POSIX: PIPE_BUF).
_MOST_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Terminal:
    """Writes to `stream`, but never waits for it: a terminal that somebody stopped (Ctrl-S) must stop nothing else."""

    name: str
    stream: TextIO

    async def send(self, notice: Notice) -> None:
        """Prints it; NotifyError where the stream is closed, or does not take text now."""
        try:
            if not _ready(self.stream):
                raise NotifyError(f"{self.name}: it does not take text now", next_step="press Ctrl-Q in the terminal")
            self.stream.write(_fitting(printed(notice), self.stream.encoding or "utf-8"))
            self.stream.flush()
        except (OSError, ValueError) as error:
            raise NotifyError(f"{self.name}: it cannot be written to: {error}", again=False) from error


def printed(notice: Notice) -> str:
    """The notice as lines of text; what could steer a terminal is replaced."""
    at = datetime.fromtimestamp(notice.at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    lines = [f"{at}  {notice.incident} {notice.kind}, {notice.pool}: {notice.title}"]
    lines += [f"    {notice.phase}: {line}" if i == 0 else f"    {line}" for i, line in enumerate(_lines(notice.text))]
    width = max((len(label) for label, _ in notice.figures), default=0)
    lines += [f"    {label:<{width}}  {value}" for label, value in notice.figures]
    lines += [f"    {notice.url}"] if notice.url else []
    return "".join(f"{_tame(line)}\n" for line in lines)


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()] or ["no details"]


def _tame(line: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)


def _fitting(text: str, encoding: str) -> str:
    raw = text.encode(encoding, "replace")
    if len(raw) > _MOST_BYTES:
        raw = raw[: _MOST_BYTES - 5] + " ...\n".encode(encoding, "replace")
    return raw.decode(encoding, "ignore")


def _ready(stream: TextIO) -> bool:
    try:
        descriptor = stream.fileno()
    except OSError:
        # Not a file but text in memory: always ready.
        return True
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return any(what & (select.POLLOUT | select.POLLERR | select.POLLHUP) for _, what in poll.poll(0))
