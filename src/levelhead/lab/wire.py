"""What servers, users and the world say to each other: headers, the plan's rows, the lines of outcomes.

Standard library only, because the server and the users load it.
"""

from __future__ import annotations

import asyncio
import resource
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

# A standard normal number that fixes the service time of a request, whichever server gets it.
DRAW_HEADER: Final = "X-Lab-Draw"
# Who answered.
SERVER_HEADER: Final = "X-Server"
HEALTH_PATH: Final = "/healthz"

# What stands in an outcome line where the user got no status.
NO_ANSWER: Final = "reset"
TIMED_OUT: Final = "timeout"
UNANSWERED: Final = "open"

_ROW: Final = struct.Struct("<dII?d")


class Planned(NamedTuple):
    """One planned request: seconds after the start, who, for which path, and its service-time draw."""

    at_s: float
    user: int
    key: int
    post: bool
    draw: float


def packed(rows: Iterator[Planned]) -> bytes:
    return b"".join(_ROW.pack(*row) for row in rows)


def unpacked(data: bytes) -> list[Planned]:
    """The rows of a plan; raises struct.error if it was cut."""
    return [Planned(*row) for row in _ROW.iter_unpack(data)]


def outcome_line(at_s: float, user: int, status: str, latency_ms: float, server: str) -> str:
    return f"{at_s:.6f} {user} {status} {latency_ms:.3f} {server or '-'}"


def allow_many_sockets() -> None:
    """Overload means many open connections; take as many files as this machine lets us."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Chunks(asyncio.BufferedProtocol):
    """A protocol that reads into a scratch buffer shared by all connections of its process.

    A plain Protocol costs a buffer of 256 kB, mapped and unmapped by the kernel, for each small message.
    """

    def __init__(self, scratch: memoryview) -> None:
        self._scratch = scratch

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._scratch

    def buffer_updated(self, nbytes: int) -> None:
        # Nothing else runs between the read and this call, so no other connection overwrote it.
        self.data_received(bytes(self._scratch[:nbytes]))

    def data_received(self, data: bytes) -> None:
        raise NotImplementedError


def scratch() -> memoryview:
    return memoryview(bytearray(65_536))
