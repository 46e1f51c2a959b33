"""Where running control planes live: one directory each, found by name, by being the only live one, or as "default".

The state lives in $LEVELHEAD_HOME, else $XDG_STATE_HOME/levelhead, else ~/.local/state/levelhead; each instance has a
sub-directory there with the API's socket, the database, the number of its process, and the engine's files.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from levelhead.errors import UnreachableError, UsageError

DEFAULT: Final = "default"
# Sockets go into the directory, and the kernel ends their paths at 107 bytes. HAProxy binds its own to a longer,
# temporary name first.
LONGEST: Final = 84
_PROBE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Instance:
    """One control plane's place on disk, running or not."""

    name: str
    directory: Path

    @property
    def socket(self) -> Path:
        return self.directory / "api.sock"

    @property
    def database(self) -> Path:
        return self.directory / "levelhead.db"

    @property
    def pid_file(self) -> Path:
        return self.directory / "plane.pid"

    def alive(self) -> bool:
        """Whether a control plane takes connections on the socket."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(_PROBE_S)
            try:
                probe.connect(os.fspath(self.socket))
            except OSError:
                return False
        return True

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Makes the directory this process's own for a while. UsageError while another process holds it."""
        if (length := len(os.fsencode(self.directory))) > LONGEST:
            what = f"{self.directory} is too long for the sockets in it ({length} bytes; {LONGEST} are possible)"
            raise UsageError(what, next_step="set LEVELHEAD_HOME to a folder with a shorter path")
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = os.open(self.pid_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            what = f"the folder {self.directory} cannot be used: {error.strerror}"
            raise UsageError(what, next_step="set LEVELHEAD_HOME to a folder of your own") from None
        try:
            self._locked(lock)
            os.ftruncate(lock, 0)
            os.write(lock, f"{os.getpid()}\n".encode())
            try:
                yield
            finally:
                # While it is still locked; who opened it meanwhile sees below that it is gone.
                with suppress(FileNotFoundError):
                    self.pid_file.unlink()
        finally:
            os.close(lock)

    def _locked(self, lock: int) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock).st_nlink > 0:
                return
            what = f"an instance called {self.name} was stopping just now"
        except OSError:
            held = os.read(lock, 32).decode("ascii", "replace").strip()
            what = f"an instance called {self.name} is running already" + (
                f" (process {held})" if held.isdigit() else ""
            )
        step = f"levelhead status --instance {self.name}, or choose another name with --instance"
        raise UsageError(what, next_step=step)


def home(environ: Mapping[str, str]) -> Path:
    """The folder that holds every instance's directory."""
    if own := environ.get("LEVELHEAD_HOME"):
        return Path(own).absolute()
    if state := environ.get("XDG_STATE_HOME"):
        return Path(state).absolute() / "levelhead"
    return Path.home() / ".local" / "state" / "levelhead"


def named(name: str, environ: Mapping[str, str]) -> Instance:
    """The instance of this name, whether it exists or not. UsageError for a name that cannot be one."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", name):
        what = f"{name!r} cannot be the name of an instance"
        raise UsageError(what, next_step="use letters, digits, '-', '_' and '.', at most 64")
    return Instance(name, home(environ) / name)


def known(environ: Mapping[str, str]) -> tuple[Instance, ...]:
    """Every instance that has a directory, by name."""
    folder = home(environ)
    try:
        names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    except OSError:
        return ()
    return tuple(Instance(name, folder / name) for name in names)


def wished(call_instance: str | None, environ: Mapping[str, str]) -> str | None:
    """The name that the command line or the environment asks for, if any."""
    return call_instance or environ.get("LEVELHEAD_INSTANCE") or None


def running(call_instance: str | None, environ: Mapping[str, str]) -> Instance:
    """The instance to talk to: the one asked for, else the only live one. UnreachableError says what to do."""
    if name := wished(call_instance, environ):
        instance = named(name, environ)
        if instance.alive():
            return instance
        raise UnreachableError(
            f"no control plane answers for instance {name} ({instance.socket})", next_step=_start(name)
        )
    live = [instance for instance in known(environ) if instance.alive()]
    if len(live) == 1:
        return live[0]
    if live:
        names = ", ".join(instance.name for instance in live)
        step = f"say which: --instance {live[0].name} (or LEVELHEAD_INSTANCE={live[0].name})"
        raise UnreachableError(f"{len(live)} control planes are running: {names}", next_step=step)
    raise UnreachableError(f"no control plane is running (looked in {home(environ)})", next_step=_start(DEFAULT))


def remembered(call_instance: str | None, environ: Mapping[str, str]) -> Instance:
    """The instance whose record to read when no plane answers: the one asked for, "default", or the only one."""
    if name := wished(call_instance, environ):
        found = [named(name, environ)]
    else:
        found = [instance for instance in known(environ) if instance.database.exists()]
        found = [instance for instance in found if instance.name == DEFAULT] or found
    found = [instance for instance in found if instance.database.exists()]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(instance.name for instance in found)
        what = f"no control plane is running, and there are records of {len(found)}: {names}"
        raise UnreachableError(what, next_step=f"say which: --instance {found[0].name}")
    what = f"no control plane is running, and there is no record of one in {home(environ)}"
    raise UnreachableError(what, next_step=_start(wished(call_instance, environ) or DEFAULT))


def _start(name: str) -> str:
    flag = "" if name == DEFAULT else f" --instance {name}"
    return f"start one: levelhead run{flag} --server 127.0.0.1:3001 --server 127.0.0.1:3002"
