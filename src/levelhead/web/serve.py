"""serve(app, path): the API on a Unix socket that only its owner can open, inside a running asyncio loop."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final

import uvicorn
from fastapi import FastAPI

from levelhead.errors import LevelheadError, UsageError

# sun_path holds 108 bytes, and the last is a zero.
LONGEST_PATH: Final = 107
_LAST_WORDS_S: Final = 2


@asynccontextmanager
async def serve(app: FastAPI, path: Path) -> AsyncIterator[None]:
    """Serves until the block ends. UsageError where another plane answers on the path, or the path cannot be used.

    The socket has mode 600 before anybody can connect; a dead one in its place is replaced. No signal handlers are
    installed.
    """
    listening, inode = _bound(path)
    server = _Server(
        uvicorn.Config(
            app,
            log_config=None,
            log_level="critical",
            access_log=False,
            lifespan="off",
            http="h11",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=_LAST_WORDS_S,
        )
    )
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        while not server.started:
            if task.done():
                task.result()
                raise LevelheadError(f"the API on {path} stopped before it was ready")
            await asyncio.sleep(0.005)
        yield
    finally:
        server.should_exit = True
        with suppress(asyncio.CancelledError):
            await task
        listening.close()
        _tidy(path, inode)


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to whoever runs the loop."""
        yield


def _bound(path: Path) -> tuple[socket.socket, int]:
    """The socket, and which file it is."""
    if (length := len(os.fsencode(path))) > LONGEST_PATH:
        what = f"the path of the socket is too long ({length} bytes; {LONGEST_PATH} are possible): {path}"
        raise UsageError(what, next_step="set LEVELHEAD_HOME to a folder with a shorter path")
    _make_room(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(os.fspath(path))
        # Nobody can connect before it listens, so there is no moment at which others could.
        path.chmod(0o600)
    except OSError as error:
        listening.close()
        raise UsageError(f"the socket {path} cannot be made: {error.strerror}", next_step="ls -ld its folder") from None
    return listening, path.stat().st_ino


def _tidy(path: Path, inode: int) -> None:
    """Removes the socket unless another has taken its place."""
    with suppress(FileNotFoundError):
        if path.stat().st_ino == inode:
            path.unlink()


def _make_room(path: Path) -> None:
    """Removes what a dead plane left."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise UsageError(f"{path} is in the way: it is not a socket", next_step="move it, or choose another --instance")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except OSError:
            path.unlink()
            return
    raise UsageError(f"a control plane answers on {path} already", next_step="levelhead status, or --instance NAME")
