"""What Levelhead's telemetry costs the proxy: `make bench-overhead`, or `python bench/overhead.py --help`.

Two HAProxys with the same configuration, one with the records of requests and read by the engine four times a second,
one without either. Both serve the same load at the same time on the same CPU, and once a second the CPU time that all
processes of each used is divided by the requests it served. Whatever else the machine does slows both alike, so the
ratio of the two is steadier than either. `--null` compares the bare one with another bare one: the noise of the ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from levelhead.engines.haproxy import config, process, runtime, stats
from levelhead.engines.haproxy.driver import HAProxyEngine
from levelhead.engines.haproxy.process import Binary, Process, find_binary
from levelhead.engines.haproxy.talk import ask
from levelhead.errors import LevelheadError
from levelhead.model import Fleet, Listener, Pool, Route, Server
from levelhead.telemetry import Missing

TICK_S = 0.25
SETTLE_S = 1.5
PORTS = {"bare": 28_080, "watched": 28_081}
ORIGINS = (28_090, 28_091, 28_092, 28_093)
ORIGIN = """global
    nbthread 1
defaults
    mode http
    timeout connect 1s
    timeout client 60s
    timeout server 60s
frontend origin
{binds}
    http-request return status 200 content-type text/plain string "hello, this is one of four origins"
"""


@dataclass(frozen=True)
class Turn:
    """One second of one proxy: CPU microseconds a request, and how many requests that was."""

    us: float
    requests: int


@dataclass
class Control:
    """What the control side did and used."""

    cpu_s: float = 0.0
    wall_s: float = 0.0
    readings: int = 0
    records: int = 0
    missing: int = 0


def fleet(port: int) -> Fleet:
    servers = tuple(Server(f"s{i}", "127.0.0.1", p) for i, p in enumerate(ORIGINS, 1))
    return Fleet((Listener("main", "127.0.0.1", port, (Route("web"),)),), (Pool("web", servers),))


def cpu_us(processes: tuple[Process, ...]) -> float:
    """CPU time of all threads of these processes so far, in microseconds."""
    total = 0
    for one in processes:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one.pid}/task").iterdir():
                total += int((task / "schedstat").read_text().split()[0])
    return total / 1000.0


@contextlib.contextmanager
def pinned(cpus: set[int]) -> Iterator[None]:
    """Processes started inside run on these CPUs, as far as this machine has them."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, (cpus & before) or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def start_plain(binary: Binary, folder: Path, text: str) -> tuple[Process, ...]:
    """An HAProxy that nobody watches."""
    file, states = folder / "haproxy.cfg", folder / "servers.state"
    file.write_text(text)
    states.write_text(runtime.state_file(Fleet((), ()), {}, frozenset()))
    (folder / "ignored.pipe").write_text("")
    process.spawn(
        binary, file=file, master=folder / "master.sock", records=folder / "ignored.pipe", log=folder / "log"
    )
    return settle(file)


def settle(file: Path) -> tuple[Process, ...]:
    """The processes that serve a file, once master and worker are there."""
    for _ in range(500):
        found = process.owned(file)
        if len(found) == 2:
            return found
        time.sleep(0.01)
    raise SystemExit(f"HAProxy did not start; look at {file.parent}")


async def load(port: int, seconds: float, connections: int) -> None:
    """Keep-alive connections that never pause."""
    url = f"http://127.0.0.1:{port}/"
    if shutil.which("wrk"):
        argv = ["wrk", "-t1", f"-c{connections}", f"-d{math.ceil(seconds)}s", url]
    else:
        argv = [sys.executable, __file__, "--load", str(port), "--seconds", str(math.ceil(seconds))]
    run = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    said = (await run.communicate())[0].decode()
    if "requests in" not in said:
        raise SystemExit(f"the load client said: {said}")


async def small_load(port: int, seconds: float, connections: int = 16) -> None:
    """The client where wrk is not there: the same, less of it."""
    end, served = time.monotonic() + seconds, 0

    async def user() -> None:
        nonlocal served
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.monotonic() < end:
            writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            size = re.search(rb"(?i)content-length: (\d+)", head)
            await reader.readexactly(int(size[1]) if size else 0)
            served += 1
        writer.close()

    await asyncio.gather(*(user() for _ in range(connections)))
    print(f"{served} requests in {seconds} s")


async def watch(engine: HAProxyEngine, control: Control, stop: asyncio.Event) -> None:
    """What the control plane does to the proxy, every quarter of a second."""
    while not stop.is_set():
        began, used = time.monotonic(), time.process_time()
        reading = await engine.sample()
        control.records += len(engine.records())
        control.cpu_s += time.process_time() - used
        control.readings += 1
        control.missing += isinstance(reading, Missing)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), max(TICK_S - (time.monotonic() - began), 0.0))
        control.wall_s += time.monotonic() - began


async def compare(binary: Binary, folder: Path, seconds: int, connections: int, null: bool) -> None:
    places = {name: folder / name for name in ("bare", "watched", "origin")}
    for place in places.values():
        place.mkdir(mode=0o700)
    cpus = sorted(os.sched_getaffinity(0))
    proxies, others = {cpus[0]}, set(cpus[1:]) or set(cpus)
    binds = "\n".join(f"    bind 127.0.0.1:{port}" for port in ORIGINS)
    engine = HAProxyEngine(places["watched"], binary=binary)
    control, stop = Control(), asyncio.Event()
    running: list[Process] = []
    try:
        with pinned(others):
            running += start_plain(binary, places["origin"], ORIGIN.format(binds=binds))
        with pinned(proxies):
            running += start_plain(binary, places["bare"], plain_text(binary, places["bare"], "bare"))
            if null:
                running += start_plain(binary, places["watched"], plain_text(binary, places["watched"], "watched"))
            else:
                await engine.start(fleet(PORTS["watched"]))
        watching = asyncio.create_task(watch(engine, control, stop)) if not null else None
        with pinned(others):
            turns = await take_turns({name: places[name] for name in PORTS}, seconds, connections)
        stop.set()
        if watching is not None:
            await watching
        info = (await ask(places["watched"] / "haproxy.sock", ("show info",)))[0]
        report(binary, turns, control, info)
    finally:
        await engine.close(stop=True)
        for one in running:
            await process.end((one,), grace_s=0.0)


def plain_text(binary: Binary, place: Path, name: str) -> str:
    paths = config.Paths(str(place / "haproxy.sock"), str(place / "servers.state"))
    return config.render(fleet(PORTS[name]), paths, binary.version, None)


async def take_turns(places: dict[str, Path], seconds: int, connections: int) -> dict[str, list[Turn]]:
    """A reading of each proxy for every second under load; the first ones, when the sampling finds its rate, apart."""
    processes = {name: settle(place / "haproxy.cfg") for name, place in places.items()}
    users = [asyncio.create_task(load(PORTS[name], seconds + SETTLE_S + 2, connections)) for name in places]
    await asyncio.sleep(SETTLE_S)
    turns: dict[str, list[Turn]] = {name: [] for name in places}
    before = {name: (await served(place), cpu_us(processes[name])) for name, place in places.items()}
    for _ in range(seconds):
        await asyncio.sleep(1.0)
        now = {name: (await served(place), cpu_us(processes[name])) for name, place in places.items()}
        for name, (requests, used) in now.items():
            count = requests - before[name][0]
            turns[name].append(Turn((used - before[name][1]) / max(count, 1), count))
        before = now
    await asyncio.gather(*users)
    return turns


async def served(place: Path) -> int:
    """Requests that a proxy has counted so far."""
    return stats.read_info((await ask(place / "haproxy.sock", ("show info",)))[0]).requests


def report(binary: Binary, turns: dict[str, list[Turn]], control: Control, info: str) -> None:
    ratios = sorted(w.us / b.us for w, b in zip(turns["watched"], turns["bare"], strict=True))
    print(f"HAProxy {binary.release}, {len(ratios)} s, one thread each on one CPU, small GETs over keep-alive\n")
    print(f"{'':10}{'us/request':>12}{'requests/s':>13}")
    for name, taken in turns.items():
        print(f"{name:10}{statistics.median(t.us for t in taken):>12.2f}", end="")
        print(f"{statistics.median(t.requests for t in taken):>13.0f}")
    low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
    median = statistics.median(ratios)
    print(f"\nwatched / bare: median {median:.4f}, middle half {low:.4f} to {high:.4f}; the bar is 1.03")
    if control.readings:
        dropped = re.search(r"DroppedLogs: (\d+)", info)
        print(
            f"control side: {100 * control.cpu_s / control.wall_s:.2f} % of a core, "
            f"{1e3 * control.cpu_s / control.readings:.2f} ms a reading; {control.records / control.wall_s:.0f} records"
            f"/s, {dropped[1] if dropped else '?'} dropped, {control.missing} readings missing"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--seconds", type=int, default=25, help="how long it counts (25)")
    parser.add_argument("--connections", type=int, default=16, help="keep-alive connections to each proxy (16)")
    parser.add_argument("--haproxy", type=Path, help="the binary; else the one that Levelhead would take")
    parser.add_argument("--null", action="store_true", help="compare the bare one with another bare one")
    parser.add_argument("--load", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.load:
        asyncio.run(small_load(given.load, given.seconds))
        return
    try:
        binary = process.binary_at(given.haproxy) if given.haproxy else find_binary()
        with tempfile.TemporaryDirectory(prefix="lh-") as folder:
            asyncio.run(compare(binary, Path(folder), given.seconds, given.connections, given.null))
    except LevelheadError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
