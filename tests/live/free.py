"""Ports that nobody else takes: below those the system gives away by itself, and a range for each test process."""

from __future__ import annotations

import itertools
import os
import socket
from typing import Final

_FIRST, _PER_PROCESS, _RANGES = 11_000, 2_000, 10
# pytest-xdist names its processes gw0, gw1 ...; another run on the same machine begins elsewhere in the range.
_MINE: Final = _FIRST + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % _RANGES * _PER_PROCESS
_next: Final = itertools.count(os.getpid() % _PER_PROCESS)


def free_port() -> int:
    """A port on loopback that nothing listens on, and that no other test process is given."""
    for number in itertools.islice(_next, _PER_PROCESS):
        port = _MINE + number % _PER_PROCESS
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port from {_MINE} to {_MINE + _PER_PROCESS - 1}")
