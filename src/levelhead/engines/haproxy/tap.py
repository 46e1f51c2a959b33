"""The pipe through which HAProxy hands over its records: a FIFO that outlives both ends.

Why not a datagram socket: the kernel queues at most net.unix.max_dgram_qlen datagrams on one (usually 10), whatever its
buffer, so all but ten records between two readings would be lost. The pipe holds a megabyte, its lines are read
hundreds at a time, and while nobody reads, HAProxy drops records and goes on.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import weakref
from pathlib import Path
from typing import Final

_HOLDS: Final = 1 << 20
_MOST: Final = 8 * _HOLDS


class Tap:
    """The reading end."""

    def __init__(self, path: Path) -> None:
        """Makes the FIFO where it is not there yet."""
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISFIFO(path.stat().st_mode):
                path.unlink()
        with contextlib.suppress(FileExistsError):
            os.mkfifo(path, 0o600)
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._close = weakref.finalize(self, os.close, self._fd)
        self._rest = b""
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._fd, fcntl.F_SETPIPE_SZ, _HOLDS)

    def lines(self) -> list[str]:
        """The whole lines that came since the last call. Never waits."""
        chunks = [self._rest]
        size = 0
        while size < _MOST:
            try:
                chunk = os.read(self._fd, _HOLDS)
            except BlockingIOError:
                break
            if not chunk:
                break
            chunks.append(chunk)
            size += len(chunk)
        *whole, self._rest = b"".join(chunks).split(b"\n")
        return [line.decode(errors="replace") for line in whole]

    def close(self) -> None:
        self._close()
