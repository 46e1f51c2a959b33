"""What Levelhead's telemetry costs the proxy: `make bench-overhead`, or `python bench/overhead.py --help`.

Two HAProxys with the same configuration, one with the records of requests and read by the engine four times a second,
one without either. Both serve the same load at the same time on the same CPU, and the CPU time that all processes of
each use is divided by the requests it serves. Whatever else the machine does slows both alike, so the ratio of the two
is steadier than either. Where a process happens to lie in memory changes its speed by a few per cent, so both are
started anew for every round. `--null` compares the bare one with another bare one: that is the noise of the ratio.

The ratio depends on the rate, because readings and records cost the same at any rate. So each is measured apart, too:
what a request costs more of which no record is made, what a record costs, and what a reading costs. Together they say
what the telemetry takes of a core that is busy with requests.
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
from levelhead.engines.haproxy.driver import Files, HAProxyEngine
from levelhead.engines.haproxy.process import Binary, Process, find_binary
from levelhead.engines.haproxy.talk import ask
from levelhead.errors import LevelheadError
from levelhead.model import Fleet, Listener, Pool, Route, Server
from levelhead.telemetry import Missing

TICK_S = 0.25
TARGET = 200.0
READINGS = 40
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
    """Some seconds of one proxy: CPU microseconds a request, and requests a second."""

    us: float
    rate: float


@dataclass(frozen=True)
class Round:
    """Both proxies as they are used; and what the parts of the telemetry cost, NaN where they were not measured.

    `unrecorded` is a part of what a request costs; `record` and `reading` are in microseconds.
    """

    bare: Turn
    watched: Turn
    unrecorded: float = math.nan
    record: float = math.nan
    reading: float = math.nan


@dataclass
class Control:
    """What the control side did and used."""

    cpu_s: float = 0.0
    wall_s: float = 0.0
    readings: int = 0
    records: int = 0
    missing: int = 0
    dropped: int = 0


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


async def compare(binary: Binary, given: argparse.Namespace) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    proxies, others = {cpus[0]}, set(cpus[1:]) or set(cpus)
    binds = "\n".join(f"    bind 127.0.0.1:{port}" for port in ORIGINS)
    control = Control()
    rounds: list[Round] = []
    with tempfile.TemporaryDirectory(prefix="lh-") as folder:
        with pinned(others):
            origin = start_plain(binary, Path(folder), ORIGIN.format(binds=binds))
        try:
            for number in range(given.rounds):
                with tempfile.TemporaryDirectory(prefix="lh-") as place:
                    cpu_sets = (proxies, others)
                    rounds.append(await one_round(binary, Path(place), cpu_sets, number % 2 == 1, control, given))
        finally:
            await process.end(origin, grace_s=0.0)
    report(binary, rounds, control)


async def one_round(
    binary: Binary, place: Path, cpus: tuple[set[int], set[int]], turned: bool, control: Control,
    given: argparse.Namespace,
) -> Round:  # fmt: skip
    """Both proxies, started anew, under load together; the first seconds, when the sampling finds its rate, apart."""
    places = {name: place / name for name in PORTS}
    for folder in places.values():
        folder.mkdir(mode=0o700)
    engine, stop = HAProxyEngine(places["watched"], binary=binary), asyncio.Event()
    plain: list[Process] = []
    try:
        with pinned(cpus[0]):
            for name in sorted(places, reverse=turned):
                if name == "watched" and not given.null:
                    await engine.start(fleet(PORTS[name]))
                else:
                    plain += start_plain(binary, places[name], plain_text(binary, places[name], name))
        with pinned(cpus[1]):
            length = SETTLE_S + given.seconds + (0.5 if given.null else 6.0)
            users = [asyncio.create_task(load(PORTS[name], length, given.connections)) for name in places]
        watching = asyncio.create_task(watch(engine, control, stop)) if not given.null else None
        await asyncio.sleep(SETTLE_S)
        main = await measure(places, given.seconds)
        stop.set()
        if watching is None:
            await asyncio.gather(*users)
            return Round(main["bare"], main["watched"])
        await watching
        control.dropped += await dropped(places["watched"])
        parts = await measure_parts(engine, places)
        await asyncio.gather(*users)
        processes = settle(places["watched"] / "haproxy.cfg")
        before = cpu_us(processes)
        for _ in range(READINGS):
            await engine.sample()
        return Round(main["bare"], main["watched"], *parts, (cpu_us(processes) - before) / READINGS)
    finally:
        stop.set()
        await engine.close(stop=True)
        for one in plain:
            await process.end((one,), grace_s=0.0)


async def measure(places: dict[str, Path], seconds: float) -> dict[str, Turn]:
    processes = {name: settle(place / "haproxy.cfg") for name, place in places.items()}
    before = {name: (await served(place), cpu_us(processes[name])) for name, place in places.items()}
    await asyncio.sleep(seconds)
    after = {name: (await served(place), cpu_us(processes[name])) for name, place in places.items()}
    counts = {name: after[name][0] - before[name][0] for name in places}
    return {n: Turn((after[n][1] - before[n][1]) / max(counts[n], 1), counts[n] / seconds) for n in places}


async def measure_parts(engine: HAProxyEngine, places: dict[str, Path]) -> tuple[float, float]:
    """What a request costs more without a record, as a part of one, and what its record costs, in microseconds."""
    extra = []
    for sampling, seconds in ((runtime.Sampling(1, 1), 3.0), (runtime.Sampling(config.MILLION, 1 << 40), 1.0)):
        lines = runtime.set_sampling(sampling, Files.under(places["watched"]).paths)
        await ask(places["watched"] / "haproxy.sock", lines)
        drain = asyncio.create_task(drained(engine))
        await asyncio.sleep(0.3)
        turns = await measure(places, seconds)
        drain.cancel()
        extra.append((turns["watched"].us - turns["bare"].us, turns["bare"].us))
    (without, bare), (recorded, _) = extra
    return without / bare, recorded - without


async def drained(engine: HAProxyEngine) -> None:
    """Keeps the pipe of records empty, so that each costs what it usually does."""
    while True:
        engine.records()
        await asyncio.sleep(0.05)


def plain_text(binary: Binary, place: Path, name: str) -> str:
    return config.render(fleet(PORTS[name]), Files.under(place).paths, binary.version, records=False)


async def served(place: Path) -> int:
    """Requests that a proxy has counted so far."""
    return stats.read_info((await ask(place / "haproxy.sock", ("show info",)))[0]).requests


async def dropped(place: Path) -> int:
    return stats.read_info((await ask(place / "haproxy.sock", ("show info",)))[0]).dropped_records


def report(binary: Binary, rounds: list[Round], control: Control) -> None:
    print(f"HAProxy {binary.release}, {len(rounds)} rounds, one thread each on one CPU, small GETs over keep-alive\n")
    print(f"{'':10}{'us/request':>12}{'requests/s':>13}")
    for name, turns in (("bare", [r.bare for r in rounds]), ("watched", [r.watched for r in rounds])):
        us, rate = (statistics.median(values) for values in zip(*((t.us, t.rate) for t in turns), strict=True))
        print(f"{name:10}{us:>12.2f}{rate:>13.0f}")
    ratios = sorted(r.watched.us / r.bare.us for r in rounds)
    median = statistics.median(ratios)
    print(f"\nwatched / bare at this rate: median {median:.4f}, from {ratios[0]:.4f} to {ratios[-1]:.4f}")
    if not control.readings:
        return
    part, record, reading = (
        statistics.median(values) for values in zip(*((r.unrecorded, r.record, r.reading) for r in rounds), strict=True)
    )
    fixed = (TARGET * record + reading / TICK_S) / 1e6
    print(
        f"a request without a record: {100 * part:+.2f} %; a record: {record:.1f} us; a reading: {reading:.0f} us\n"
        f"of a core that is busy with requests: {100 * part:.2f} % + {100 * fixed:.2f} % = "
        f"{100 * (part + fixed):.2f} %; the bar is 3 %\n"
        f"control side: {100 * control.cpu_s / control.wall_s:.2f} % of a core, "
        f"{1e3 * control.cpu_s / control.readings:.2f} ms a reading; {control.records / control.wall_s:.0f} records/s, "
        f"{control.dropped} dropped, {control.missing} readings missing"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=4, help="how often both are started and compared (4)")
    parser.add_argument("--seconds", type=int, default=3, help="how long both are compared in a round (3)")
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
        asyncio.run(compare(binary, given))
    except LevelheadError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
