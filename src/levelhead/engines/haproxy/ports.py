"""Whether a listening address is free, and who holds it if it is not."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_LISTENS: Final = "0A"


def obstacle(host: str, port: int) -> str:
    """Why nobody can listen there now, as the end of a sentence; empty if somebody can."""
    try:
        places = socket.getaddrinfo(
            host if host not in ("", "*") else "0.0.0.0", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )  # fmt: skip
    except OSError as error:
        return f"is not known here ({error.strerror})"
    for family, kind, protocol, _, address in places:
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                probe.bind(address)
            except OSError as error:
                return _reason(error, port)
    return ""


def _reason(error: OSError, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            holder = ", ".join(_holders(port))
            return f"is in use by {holder}" if holder else "is in use by another process"
        case errno.EADDRNOTAVAIL:
            return "is not an address of this machine"
        case errno.EACCES:
            return "may not be used by this user"
        case _:
            return f"cannot be used ({error.strerror})"


def _holders(port: int) -> Iterator[str]:
    """Names and numbers of the processes that listen on a port, as far as this user may see them."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                words = line.split()
                if words[3] == _LISTENS and int(words[1].rsplit(":", 1)[1], 16) == port:
                    inodes.add(f"socket:[{words[9]}]")
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and inodes:
            with contextlib.suppress(OSError):
                if any(os.readlink(fd) in inodes for fd in (entry / "fd").iterdir()):
                    yield f"{(entry / 'comm').read_text().strip()} (pid {entry.name})"
