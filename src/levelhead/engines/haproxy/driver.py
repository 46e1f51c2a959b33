"""The hands on HAProxy: starts, adopts, changes, reloads, reads and ends the one process of a folder.

What is in force is in the folder: `haproxy.cfg` is always the desired state, also after changes at run time, and
`haproxy.cfg.last-good` the last one that a process took. The process outlives its control plane, and the next one
adopts it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import re
import stat
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from levelhead.engines.base import Applied, Capabilities
from levelhead.engines.haproxy import config, ports, process, runtime, stats
from levelhead.engines.haproxy.config import Paths
from levelhead.engines.haproxy.process import Binary, Process, find_binary
from levelhead.engines.haproxy.runtime import Key, NeedsReload, ServerState, States
from levelhead.engines.haproxy.talk import ask, ask_master
from levelhead.engines.haproxy.tap import Tap
from levelhead.errors import EngineError, EngineRefused
from levelhead.model import Fleet
from levelhead.telemetry import NO_RECORDS, Missing, Records, Sample

START_S: Final = 15.0
POLL_S: Final = 0.005
SOON_S: Final = 0.05
QUIET_S: Final = 2.0
"""A server that left is deleted after it was idle this long: a request that waits out a failed connection (a second
at most) holds on to its server without being counted, and HAProxy before 2.8.4 does not look for it."""
STOP_S: Final = 1.0
_LONGEST_SOCKET: Final = 97  # HAProxy binds to a longer, temporary name first; the kernel's end is 107
_LOG_BYTES: Final = 1_000_000
_READINGS: Final = ("show info", "show stat -1 6 -1", "show servers state")
_NO_FLEET: Final = Fleet((), ())


@dataclass(frozen=True, slots=True)
class Files:
    """Everything the engine keeps, in one folder of its own."""

    folder: Path
    config: Path
    candidate: Path
    last_good: Path
    states: Path
    sampling_acl: Path
    sampling_map: Path
    socket: Path
    master: Path
    pid: Path
    records: Path
    log: Path
    engine: Path
    lock: Path

    @classmethod
    def under(cls, folder: Path) -> Files:
        names = (
            "haproxy.cfg", "haproxy.cfg.candidate", "haproxy.cfg.last-good", "servers.state", "sampling.acl",
            "sampling.map", "haproxy.sock", "master.sock", "haproxy.pid", "records.pipe", "haproxy.log", "engine.json",
            "lock",
        )  # fmt: skip
        return cls(folder, *(folder / name for name in names))

    @property
    def paths(self) -> Paths:
        return Paths(str(self.socket), str(self.states), str(self.sampling_acl), str(self.sampling_map))


class HAProxyEngine:
    """`engines.base.Engine` over HAProxy 2.4 or later, in one folder; one at a time, held by a lock file."""

    def __init__(self, directory: Path, *, binary: Binary | None = None, record_target_per_s: float = 200.0) -> None:
        self.malformed_records = 0
        self._files = Files.under(Path(os.path.abspath(directory)))
        self._binary = binary if binary is not None else find_binary()
        self._target = record_target_per_s
        self._changes = asyncio.Lock()
        self._loading = False
        self._wanted = self._fleet = _NO_FLEET
        self._master: Process | None = None
        self._worker: Process | None = None
        self._former: frozenset[int] = frozenset()
        self._epoch = 0
        self._sampling = stats.sampling_for(0.0, self._target, runtime.Sampling())
        self._tap: Tap | None = None
        self._unlock: weakref.finalize[[int], HAProxyEngine] | None = None
        self._last: Sample | None = None
        self._read_at = (0.0, 0)
        self._states: dict[Key, ServerState] = {}
        self._gone: dict[str, float] = {}
        self._idle_since: dict[Key, float] = {}

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            engine="haproxy", version=self._binary.release, live_weights=True,
            live_members=self._binary.version >= runtime.NOT_LIVE, max_weight=config.MAX_WEIGHT, latency_unit_ms=0.001,
        )  # fmt: skip

    async def validate(self, fleet: Fleet) -> None:
        """EngineRefused, with HAProxy's words, if it would not load this fleet; ConfigError if it cannot be written."""
        text = self._text(fleet)
        self._make_folder()
        await self._check(text, self._files.folder / f"haproxy.cfg.check-{os.getpid()}-{time.monotonic_ns()}")

    async def start(self, fleet: Fleet) -> Applied:
        """Adopts the folder's HAProxy if it answers and brings it to `fleet`; else starts one."""
        began = time.monotonic()
        self._text(fleet)
        self._wanted = fleet
        async with self._changes:
            self._make_folder()
            self._hold_lock()
            self._tap = self._tap or Tap(self._files.records)
            if await self._adopt():
                applied = await self._bring(fleet, began)
                because = f"it was serving already; {applied.because}"
                return Applied("adopt", time.monotonic() - began, because)
            await process.end(process.owned(self._files.config), grace_s=0.0)
            await self._launch(fleet, check=True)
            return Applied("start", time.monotonic() - began, "no HAProxy was serving this folder")

    async def apply(self, fleet: Fleet) -> Applied:
        """The smallest change that reaches `fleet`. Of several that wait for their turn only the newest is made."""
        began = time.monotonic()
        self._text(fleet)
        self._wanted = fleet
        async with self._changes:
            if self._wanted is not fleet:
                return Applied("none", time.monotonic() - began, "a newer configuration was wanted before its turn")
            self._must_run()
            return await self._bring(fleet, began)

    async def sample(self) -> Sample | Missing:
        try:
            replies = await ask(self._files.socket, _READINGS)
            at = time.monotonic()
            info, rows = stats.read_info(replies[0]), stats.read_stat(replies[1])
        except (EngineError, ValueError) as error:
            what = error.what if isinstance(error, EngineError) else str(error)
            return Missing(time.monotonic(), what)
        if info.pid in self._former:
            return Missing(at, "the old process still answers")
        self._meet(info.pid)
        self._states = runtime.read_states(replies[2])
        self._last = stats.sample(
            rows, self._states, self._fleet, at_s=at, epoch=self._epoch, before=self._last, gone=self._gone
        )
        reading = self._last
        with contextlib.suppress(EngineError):
            await self._steer_records(at, info.requests)
            await self._see_off(rows, at)
        return reading

    def records(self) -> Records:
        if self._tap is None:
            return NO_RECORDS
        where = self._last.layout if self._last is not None else stats.layout(self._fleet)
        read = stats.read_lines(self._tap.lines(), where)
        self.malformed_records += read.malformed
        return read.records

    def alive(self) -> bool:
        """Whether master and worker run; while a new worker is being loaded, the master speaks for both."""
        if self._master is None:
            return False
        process.collect(self._master)
        if not process.runs(self._master):
            return False
        return self._loading or (self._worker is not None and process.runs(self._worker))

    async def restart(self) -> Applied:
        """Brings a dead proxy back with the fleet it had, and with what was last known of its servers."""
        began = time.monotonic()
        async with self._changes:
            if self.alive():
                return Applied("none", time.monotonic() - began, "it serves")
            if self._tap is None:
                raise EngineError("HAProxy cannot be restarted: it was never started", next_step="start it first")
            await process.end(process.owned(self._files.config), grace_s=0.0)
            await self._launch(self._fleet, check=False)
            return Applied("start", time.monotonic() - began, "it had died")

    async def close(self, *, stop: bool) -> None:
        """Lets go of the proxy; with `stop`, ends it and removes what it needed to run, as where none was started."""
        async with self._changes:
            if stop:
                await process.end(process.owned(self._files.config), grace_s=STOP_S)
                self._master = self._worker = None
            over = stop or (self._unlock is not None and self._master is None)
            if self._tap is not None:
                self._tap.close()
                self._tap = None
            if over:
                _clear_after(self._files)
            if self._unlock is not None:
                self._unlock()
                self._unlock = None

    # Changing.

    async def _bring(self, fleet: Fleet, began: float) -> Applied:
        """From what the process really has to this fleet, over the socket if that will do."""
        text, old = self._text(fleet), _read(self._files.config)
        live = await self._live()
        plan = runtime.plan(old, text, live, fleet, self._binary.version)
        if not isinstance(plan, NeedsReload):
            _write(self._files.config, text)
            replies = await ask(self._files.socket, plan.lines) if plan.lines else ()
            objections = runtime.objections(plan.lines, replies)
            if not objections:
                self._settle(fleet, text, live)
                how: Literal["none", "runtime"] = "runtime" if plan.lines else "none"
                return Applied(how, time.monotonic() - began, plan.because or "it is in force already")
            _write(self._files.config, old)
            plan = NeedsReload(f"HAProxy objected to {objections[0]}")
        await self._reload(fleet, old, text)
        return Applied("reload", time.monotonic() - began, plan.because)

    async def _reload(self, fleet: Fleet, old: str, text: str) -> None:
        """A new worker with the new file; the old one finishes its requests. If it fails, the old one goes on."""
        files = self._files
        await self._check(text, files.candidate)
        _must_be_free(fleet, old)
        live = await self._live()
        _write(files.states, runtime.state_file(fleet, live, runtime.asked_alike(old, text)))
        _write(files.config, text)
        self._loading = True
        try:
            await self._load(text)
        except EngineError:
            _write(files.config, old)
            _write(files.states, runtime.state_file(self._fleet, live, runtime.asked_alike(old, old)))
            raise
        finally:
            self._loading = False
        await self._finish(fleet, text)

    async def _load(self, text: str) -> None:
        """Has the master load the file, and waits until its new worker answers."""
        files, end = self._files, time.monotonic() + START_S
        old = self._worker.pid if self._worker is not None else 0
        said_before = _size(files.log)
        known = await self._processes(end)
        await ask_master(files.master, "reload", within_s=START_S)
        while time.monotonic() < end:
            await asyncio.sleep(POLL_S)
            info = await self._info()
            if info is not None and info.pid != old:
                self._former = (self._former - {info.pid}) | {old}
                self._meet(info.pid)
                return
            now = await self._processes(0.0)
            if now is not None and known is not None and now.failed > known.failed:
                said = config.complaint(_tail(files.log, said_before), text, str(files.folder))
                raise EngineRefused(
                    f"HAProxy could not load the new configuration, the old one goes on: {said}",
                    next_step="correct what it names, and apply again",
                )  # fmt: skip
        raise EngineError(f"HAProxy had no new worker within {START_S:g} s", next_step=f"look at {files.log}")

    async def _launch(self, fleet: Fleet, *, check: bool) -> None:
        """A master and its worker, and nothing half-started if they cannot serve."""
        files, text = self._files, self._text(fleet)
        if check:
            await self._check(text, files.candidate)
        _must_be_free(fleet, "")
        _make_inputs(files, self._sampling)
        _write(files.states, runtime.state_file(fleet, self._states, runtime.asked_alike(text, text)))
        _write(files.config, text)
        _clear_for_start(files)
        self._worker = None
        self._master = process.spawn(
            self._binary, file=files.config, master=files.master, records=files.records, log=files.log
        )
        _write(files.pid, f"{self._master.pid}\n")
        try:
            await self._wait_for_start(self._master, text)
        except EngineError:
            await process.end(process.owned(files.config), grace_s=0.0)
            self._master = None
            raise
        await self._finish(fleet, text)

    async def _wait_for_start(self, master: Process, text: str) -> None:
        files, end = self._files, time.monotonic() + START_S
        while time.monotonic() < end:
            if not process.runs(master):
                process.collect(master)
                said = config.complaint(_tail(files.log, 0), text, str(files.folder))
                raise EngineError(f"HAProxy did not start: {said}", next_step=f"look at {files.log}")
            info = await self._info()
            if info is not None and await self._processes(0.0) is not None:
                self._meet(info.pid)
                return
            await asyncio.sleep(POLL_S)
        raise EngineError(f"HAProxy did not answer within {START_S:g} s", next_step=f"look at {files.log}")

    async def _finish(self, fleet: Fleet, text: str) -> None:
        """Makes sure that the new worker is where the fleet wants it; the file of states should have done so."""
        live = await self._live()
        plan = runtime.plan(text, text, live, fleet, self._binary.version)
        if not isinstance(plan, NeedsReload) and plan.lines:
            objections = runtime.objections(plan.lines, await ask(self._files.socket, plan.lines))
            if objections:
                raise EngineError(
                    f"HAProxy serves, but objected to {objections[0]}", next_step="apply the configuration again"
                )  # fmt: skip
        self._settle(fleet, text, live)

    def _settle(self, fleet: Fleet, text: str, live: States) -> None:
        """Writes down what is in force now, so that a start after a crash begins there."""
        self._fleet = fleet
        _write(self._files.config, text)
        _write(self._files.last_good, text)
        _write(self._files.states, runtime.state_file(fleet, live, runtime.asked_alike(text, text)))

    async def _check(self, text: str, file: Path) -> None:
        """EngineRefused with HAProxy's words if it would not load the text; `file` is for this one question."""
        _write(file, text)
        _make_inputs(self._files, self._sampling)
        try:
            good, said = await process.check_file(self._binary, file)
        finally:
            _remove(file)
        if not good:
            raise EngineRefused(
                f"HAProxy {self._binary.release} refuses the configuration: "
                f"{config.complaint(said, text, str(self._files.folder))}",
                next_step="correct what it names; the old configuration stays in force",
            )  # fmt: skip

    # Adopting.

    async def _adopt(self) -> bool:
        """Takes over the folder's HAProxy if both its master and its worker answer."""
        found = process.owned(self._files.config)
        info = await self._info() if found else None
        if info is None or await self._processes(time.monotonic() + 2.0) is None:
            return False
        self._master = found[0]
        self._binary = _binary_of(found[0], self._binary)
        self._epoch, worker = _read_engine(self._files.engine)
        now = process.process_of(info.pid)
        if now is not None and worker == (now.pid, now.started):
            self._worker = now
        self._meet(info.pid)
        self._sampling = runtime.read_sampling(_read(self._files.sampling_map)) or self._sampling
        if self._tap is not None:
            self._tap.lines()  # of a time when nobody listened
        return True

    def _meet(self, pid: int) -> None:
        """Notes which worker answers. Another one than before counts from 0, so it begins an epoch."""
        if self._worker is not None and self._worker.pid == pid:
            return
        self._worker = process.process_of(pid)
        self._epoch += 1
        self._last, self._read_at = None, (0.0, 0)
        self._gone, self._idle_since = {}, {}
        started = self._worker.started if self._worker is not None else 0
        # For the next control plane only: a full disk is no reason not to look.
        with contextlib.suppress(EngineError):
            _write(self._files.engine, json.dumps({"epoch": self._epoch, "worker": [pid, started]}) + "\n")

    # While it runs.

    async def _steer_records(self, at: float, requests: int) -> None:
        """Sets the sampling by the rate since the last reading, so that about the target is recorded."""
        then, before = self._read_at
        if at - then < SOON_S:
            return
        self._read_at = (at, requests)
        if not then:
            return
        wanted = stats.sampling_for((requests - before) / (at - then), self._target, self._sampling)
        if wanted != self._sampling:
            _write_sampling(self._files, wanted)
            lines = runtime.set_sampling(wanted, self._files.paths)
            if not runtime.objections(lines, await ask(self._files.socket, lines)):
                self._sampling = wanted

    async def _see_off(self, rows: stats.Stats, at: float) -> None:
        """Deletes servers that left the fleet, once their last request is done and nothing can hold on to them."""
        if self._changes.locked():
            return
        for key in runtime.leaving(self._states, self._fleet):
            row = rows.get(key)
            if row is None or row["scur"] > 0 or row["qcur"] > 0:
                self._idle_since.pop(key, None)
                continue
            if at - self._idle_since.setdefault(key, at) < QUIET_S:
                continue
            async with self._changes:
                replies = await ask(self._files.socket, runtime.farewell(key))
            del self._idle_since[key]
            if "deleted" in replies[-1]:
                self._gone[key[0]] = self._gone.get(key[0], 0.0) + row["econ"]

    async def _live(self) -> dict[Key, ServerState]:
        return runtime.read_states((await ask(self._files.socket, ("show servers state",)))[0])

    async def _info(self) -> stats.Info | None:
        """Which worker answers now, None if none does."""
        try:
            return stats.read_info((await ask(self._files.socket, ("show info",)))[0])
        except (EngineError, ValueError):
            return None

    async def _processes(self, until: float) -> stats.Processes | None:
        """What the master says of itself; it does not listen for a moment after each reload."""
        while True:
            try:
                return stats.read_processes(await ask_master(self._files.master, "show proc"))
            except (EngineError, ValueError):
                if time.monotonic() >= until:
                    return None
            await asyncio.sleep(POLL_S)

    # The folder.

    def _text(self, fleet: Fleet) -> str:
        return config.render(fleet, self._files.paths, self._binary.version)

    def _must_run(self) -> None:
        if not self.alive():
            raise EngineError("HAProxy is not running, so it cannot be changed", next_step="restart it")

    def _make_folder(self) -> None:
        """The folder, for its owner only. One that others use is refused, not changed."""
        files = self._files
        longest = max(len(os.fsencode(p)) for p in (files.socket, files.master))
        if longest > _LONGEST_SOCKET or not re.fullmatch(r"[\w./@+~-]+", str(files.folder)):
            raise EngineError(
                f"{files.folder} cannot hold HAProxy's sockets: their paths may have {_LONGEST_SOCKET} bytes, and this "
                f"makes {longest}; and only letters, digits and ./@+~_-", next_step="use a folder with a plainer path",
            )  # fmt: skip
        try:
            files.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            mode, owner = files.folder.stat().st_mode, files.folder.stat().st_uid
        except OSError as error:
            raise EngineError(f"{files.folder} cannot be made: {error.strerror}", next_step="use another") from None
        if owner != os.geteuid() or stat.S_IMODE(mode) & 0o077:
            raise EngineError(
                f"{files.folder} is open to others (mode {stat.S_IMODE(mode):o}), and who can write there commands "
                "the proxy", next_step=f"`chmod 700 {files.folder}`, or use a folder of its own",
            )  # fmt: skip

    def _hold_lock(self) -> None:
        if self._unlock is not None:
            return
        fd = os.open(self._files.lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise EngineError(
                f"another control plane drives the HAProxy in {self._files.folder}", next_step="stop that one first"
            ) from None
        self._unlock = weakref.finalize(self, os.close, fd)


def _must_be_free(fleet: Fleet, old: str) -> None:
    """EngineRefused if somebody else holds an address that the running file does not listen on yet.

    A port of the running file may be held by its own process, under another address; HAProxy settles that with it.
    """
    ours = {line.split()[1].rpartition(":")[2] for line in old.splitlines() if line.startswith("    bind ")}
    for listener in fleet.listeners:
        why = "" if str(listener.port) in ours else ports.obstacle(listener.host, listener.port)
        if why:
            place = f"{listener.origin}: " if listener.origin.file else ""
            raise EngineRefused(
                f"{place}listener {listener.name} cannot listen on {listener.address}: that address {why}",
                next_step="stop what uses it, or give the listener another port",
            )  # fmt: skip


def _binary_of(master: Process, ours: Binary) -> Binary:
    """What the running master would load a new worker from: a reload starts the file it was started from."""
    with contextlib.suppress(OSError, EngineError):
        path = Path(os.fsdecode(Path(f"/proc/{master.pid}/cmdline").read_bytes().split(b"\0")[0]))
        if path != ours.path:
            return process.binary_at(path)
    return ours


def _read_engine(path: Path) -> tuple[int, tuple[int, int]]:
    """The epoch and the worker (number, start) of the control plane before; zeros if it left nothing to read."""
    try:
        said = json.loads(_read(path))
        return int(said["epoch"]), (int(said["worker"][0]), int(said["worker"][1]))
    except (ValueError, KeyError, TypeError, IndexError):
        return 0, (0, 0)


def _clear_for_start(files: Files) -> None:
    for path in (files.socket, files.master):
        path.unlink(missing_ok=True)
    files.log.write_text("")


def _clear_after(files: Files) -> None:
    for path in (
        files.socket, files.master, files.pid, files.states, files.sampling_acl, files.sampling_map, files.records,
        files.lock,
    ):  # fmt: skip
        path.unlink(missing_ok=True)


def _make_inputs(files: Files, sampling: runtime.Sampling) -> None:
    """What a file names must be there when HAProxy reads it."""
    if not files.states.exists():
        _write(files.states, runtime.state_file(_NO_FLEET, {}, frozenset()))
    _write_sampling(files, sampling)


def _write_sampling(files: Files, sampling: runtime.Sampling) -> None:
    patterns, values = runtime.sampling_files(sampling)
    _write(files.sampling_acl, patterns)
    _write(files.sampling_map, values)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def _write(path: Path, text: str) -> None:
    """The whole new text or the whole old one, never a part. EngineError if it cannot be written."""
    if _read(path) == text:
        return
    fresh = path.with_name(path.name + ".new")
    try:
        fresh.write_text(text)
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise EngineError(f"{path} cannot be written: {error.strerror}", next_step=f"df -h {path.parent}") from None


def _size(path: Path) -> int:
    """How much HAProxy has said so far; what is old and long is dropped."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return 0
    if size > _LOG_BYTES:
        os.truncate(path, 0)
        return 0
    return size


def _tail(path: Path, start: int) -> str:
    with contextlib.suppress(OSError):
        return path.read_bytes()[start:].decode(errors="replace")
    return ""
