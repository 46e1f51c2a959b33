"""What users get through a real HAProxy: even shares, and no request lost or done twice, whatever happens behind it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from levelhead.engines.haproxy import runtime, talk
from levelhead.engines.haproxy.driver import Files, HAProxyEngine
from levelhead.engines.haproxy.process import Binary
from levelhead.engines.haproxy.runtime import Sampling
from levelhead.model import Admin, Check, Fleet, LeastRequest, Limits, Listener, Pool, RoundRobin, Route, Server
from levelhead.telemetry import Health, Sample, Standing
from tests.live.conftest import Answer, Backend, Backends, ask, load, until
from tests.live.free import free_port

pytestmark = pytest.mark.live

CHECK = Check(path="/health", interval_s=0.2, timeout_s=0.5, fall=2, rise=2)


def fleet_of(port: int, servers: tuple[Backend, ...], **settings: object) -> Fleet:
    members = tuple(Server(b.name, "127.0.0.1", b.port) for b in servers)
    pool = Pool("web", members, **({"check": CHECK, "slow_start_s": 0.0} | settings))  # type: ignore[arg-type]
    return Fleet((Listener("main", "127.0.0.1", port, (Route("web"),)),), (pool,))


def edit(fleet: Fleet, name: str, **changes: object) -> Fleet:
    pool = fleet.pools[0]
    servers = tuple(replace(s, **changes) if s.name == name else s for s in pool.servers)  # type: ignore[arg-type]
    return replace(fleet, pools=(replace(pool, servers=servers),))


@asynccontextmanager
async def running(folder: Path, binary: Binary, fleet: Fleet, **settings: float) -> AsyncIterator[HAProxyEngine]:
    engine = HAProxyEngine(folder, binary=binary, **settings)
    try:
        await engine.start(fleet)
        yield engine
    finally:
        await engine.close(stop=True)


async def sampled(engine: HAProxyEngine) -> Sample:
    reading = await engine.sample()
    assert isinstance(reading, Sample), reading
    return reading


async def unrecorded(folder: Path) -> None:
    """From here on as it is for requests of which no record is made: most of them, at a high rate."""
    await talk.ask(folder / "haproxy.sock", runtime.set_sampling(Sampling(1), Files.under(folder).paths))


def failures(answers: list[Answer]) -> list[Answer]:
    return [a for a in answers if a.status != 200]


def test_four_servers_get_even_shares(folder: Path, binary: Binary, backends: Backends) -> None:
    async def check() -> None:
        port, servers = free_port(), backends(4)
        async with running(folder, binary, fleet_of(port, servers)) as engine:
            answers = await asyncio.gather(*(ask(port, 250) for _ in range(8)))
            counts = Counter(a.body for part in answers for a in part)
            reading = await sampled(engine)

            assert sum(counts.values()) == 2000
            assert max(counts.values()) / (2000 / 4) <= 1.01
            assert reading.requests.tolist() == [counts[b.name] for b in servers]
            assert reading.pool.arrived.tolist() == [2000]
            assert reading.response_errors.tolist() == [0, 0, 0, 0]

    asyncio.run(check())


def test_a_killed_server_loses_no_get(folder: Path, binary: Binary, backends: Backends) -> None:
    async def check() -> None:
        port, servers, stop = free_port(), backends(3), asyncio.Event()
        async with running(folder, binary, fleet_of(port, servers)) as engine:
            clients = asyncio.create_task(load(port, 8, stop, "/sleep/0.005"))
            await until(lambda: _served(engine, 200))
            before = (await sampled(engine)).requests.sum()
            servers[1].kill()
            await until(lambda: _served(engine, before + 400))
            await until(lambda: _healths(engine, [Health.PASSING, Health.FAILING, Health.PASSING]))
            stop.set()
            answers = await clients
            reading = await sampled(engine)

            assert failures(answers) == []
            assert (reading.redispatches + reading.response_errors)[1] >= 1
            assert (reading.response_errors + reading.connect_errors)[[0, 2]].tolist() == [0, 0]
            assert reading.pool.errors_5xx.tolist() == [0]
            # What a server was given is answered, failed here, or was made again elsewhere.
            assert reading.requests.sum() == len(answers) + reading.redispatches.sum()

    asyncio.run(check())


def test_a_post_is_never_done_twice(folder: Path, binary: Binary, backends: Backends) -> None:
    async def check() -> None:
        port, servers, stop = free_port(), backends(3), asyncio.Event()
        async with running(folder, binary, fleet_of(port, servers)) as engine:
            clients = asyncio.create_task(load(port, 8, stop, "/sleep/0.005", "POST"))
            await until(lambda: _served(engine, 200))
            before = (await sampled(engine)).requests.sum()
            servers[1].kill()
            await until(lambda: _served(engine, before + 400))
            stop.set()
            answers = await clients

        executed = Counter(id_ for b in servers for _, _, id_ in b.journal())
        assert max(executed.values()) == 1
        assert sum(a.status == 200 for a in answers) >= len(answers) - 8
        assert len(answers) > 400

    asyncio.run(check())


def test_a_server_that_closes_without_an_answer_costs_a_post_but_no_get(
    folder: Path, binary: Binary, backends: Backends
) -> None:
    async def check() -> None:
        port, servers = free_port(), backends(2)
        async with running(folder, binary, fleet_of(port, servers, check=None)) as engine:
            await unrecorded(folder)
            (post,) = await ask(port, 1, "/close", "POST", x_id="p")
            (get,) = await ask(port, 1, "/close", x_id="g")
            reading = await sampled(engine)

        done = Counter(id_ for b in servers for _, _, id_ in b.journal())
        assert (post.status, get.status) == (502, 502)
        assert done == {"p": 1, "g": 4}, "one attempt and three further ones"
        assert reading.requests.sum() == 5
        assert reading.response_errors.sum() == 5
        assert reading.health.tolist() == [Health.UNCHECKED, Health.UNCHECKED]

    asyncio.run(check())


def test_changes_at_run_time_lose_no_request(folder: Path, binary: Binary, backends: Backends) -> None:
    async def check() -> None:
        port, servers, stop = free_port(), backends(4), asyncio.Event()
        fleet = fleet_of(port, servers[:3])
        extra = Server("s4", "127.0.0.1", servers[3].port)
        async with running(folder, binary, fleet) as engine:
            worker = (folder / "engine.json").read_text()
            clients = asyncio.create_task(load(port, 8, stop))
            hows = []
            wider = replace(fleet, pools=(replace(fleet.pools[0], servers=(*fleet.pools[0].servers, extra)),))
            for wanted in (
                edit(fleet, "s1", weight=20), edit(fleet, "s1", admin=Admin.DRAIN),
                edit(fleet, "s2", admin=Admin.MAINT), fleet, wider, edit(wider, "s4", weight=0.5), fleet,
            ):  # fmt: skip
                hows.append((await engine.apply(wanted)).mechanism)
                seen = (await sampled(engine)).requests.sum()
                await until(lambda seen=seen: _served(engine, seen + 150))  # type: ignore[misc]
            stop.set()
            answers = await clients

            assert hows == ["runtime"] * 7
            assert (folder / "engine.json").read_text() == worker, "the same process, the same epoch"
            assert failures(answers) == []
            assert servers[3].counts()["GET"] > 0
            await until(lambda: _gone(engine, folder / "haproxy.sock", "s4"))

    asyncio.run(check())


def test_a_drained_server_gets_nothing_new_and_weights_are_shares(
    folder: Path, binary: Binary, backends: Backends
) -> None:
    async def check() -> None:
        port, servers = free_port(), backends(3)
        fleet = edit(edit(fleet_of(port, servers), "s1", weight=30), "s2", admin=Admin.DRAIN)
        fleet = edit(fleet, "s3", weight=10)
        async with running(folder, binary, fleet) as engine:
            await ask(port, 400)
            reading = await sampled(engine)

            assert reading.requests.tolist() == [300, 0, 100]
            assert reading.weight.tolist() == [30, 100, 10]
            assert reading.standing.tolist() == [Standing.READY, Standing.DRAIN, Standing.READY]
            assert reading.ramp.tolist() == [1, 1, 1]

    asyncio.run(check())


def test_a_reload_under_keep_alive_load_loses_nothing(folder: Path, binary: Binary, backends: Backends) -> None:
    async def check() -> None:
        port, servers, stop = free_port(), backends(3), asyncio.Event()
        fleet = fleet_of(port, servers)
        other = replace(fleet, pools=(replace(fleet.pools[0], policy=LeastRequest()),))
        async with running(folder, binary, fleet) as engine:
            clients = asyncio.create_task(load(port, 16, stop))
            epochs = []
            for wanted in (other, fleet, other, fleet):
                applied = await engine.apply(wanted)
                epochs.append((await sampled(engine)).epoch)
                await until(lambda: _served(engine, 200))

                assert applied.mechanism == "reload"
                assert "leastconn" in applied.because
            stop.set()
            answers = await clients

            assert failures(answers) == []
            assert epochs == [2, 3, 4, 5]

    asyncio.run(check())


def test_down_and_drained_servers_stay_so_over_a_reload(folder: Path, binary: Binary, backends: Backends) -> None:
    async def check() -> None:
        port, servers = free_port(), backends(4)
        fleet = edit(edit(fleet_of(port, servers), "s2", admin=Admin.DRAIN), "s4", weight=40, admin=Admin.MAINT)
        async with running(folder, binary, fleet) as engine:
            await until(lambda: _healths(engine, [1, 1, 1, 0]))
            servers[2].health(500)
            await until(lambda: _healths(engine, [1, 1, 2, 0]))
            assert (await engine.apply(_leastconn(fleet))).mechanism == "reload"
            before = await sampled(engine)
            await ask(port, 40)
            after = await sampled(engine)

            assert before.health.tolist()[:3] == [1, 1, 2], "known at once, not after the first checks"
            assert after.requests.tolist() == [40, 0, 0, 0]
            assert after.standing.tolist() == [1, 2, 1, 3]
            assert after.weight.tolist() == [100, 100, 100, 40]
            servers[2].health(200)
            await engine.apply(edit(_leastconn(fleet), "s4", admin=Admin.READY, weight=40))
            await until(lambda: _healths(engine, [1, 1, 1, 1]))

    asyncio.run(check())


def test_a_full_queue_is_refused_and_counted(folder: Path, binary: Binary, backends: Backends) -> None:
    async def check() -> None:
        port, servers = free_port(), backends(2)
        fleet = fleet_of(port, servers, limits=Limits(server_in_flight=1, queue=4))
        async with running(folder, binary, fleet) as engine:
            await unrecorded(folder)
            users = [asyncio.create_task(ask(port, 1, "/sleep/0.5")) for _ in range(12)]
            await until(lambda: _refused(engine, 6))
            busy = await sampled(engine)
            statuses = Counter(a.status for (a,) in await asyncio.gather(*users))
            idle = await sampled(engine)

            assert statuses == {200: 6, 503: 6}
            assert (busy.in_flight.tolist(), busy.pool.in_flight.tolist()) == ([1, 1], [2])
            assert busy.pool.queued.tolist() == [4]
            assert (idle.pool.arrived.tolist(), idle.pool.errors_5xx.tolist()) == ([12], [6])
            assert idle.requests.sum() == 6

    asyncio.run(check())


def test_in_flight_counts_requests_and_not_idle_connections(folder: Path, binary: Binary, backends: Backends) -> None:
    async def check() -> None:
        port, servers, stop = free_port(), backends(1), asyncio.Event()
        async with running(folder, binary, fleet_of(port, servers)) as engine:
            idle = asyncio.create_task(load(port, 5, stop))
            await until(lambda: _served(engine, 50))
            stop.set()
            await idle
            at_rest = await sampled(engine)
            users = [asyncio.create_task(ask(port, 1, "/sleep/0.4")) for _ in range(3)]
            await until(lambda: _in_flight(engine, 3))
            await asyncio.gather(*users)

            assert at_rest.in_flight.tolist() == [0]
            assert np.isfinite(at_rest.requests).all()

    asyncio.run(check())


def test_routes_lead_by_host_and_path_and_nowhere_else(folder: Path, binary: Binary, backends: Backends) -> None:
    async def check() -> None:
        port, servers = free_port(), backends(3)
        pools = tuple(
            Pool(f"p{b.name}", (Server(b.name, "127.0.0.1", b.port),), policy=RoundRobin(), check=None) for b in servers
        )
        routes = (Route("ps1", "App.example.com", "/api"), Route("ps2", "app.example.com"), Route("ps3", None, "/open"))
        fleet = Fleet((Listener("main", "127.0.0.1", port, routes),), pools)
        async with running(folder, binary, fleet):
            got = []
            for host, path in (
                ("app.example.com", "/api/x"), ("APP.example.com:8080", "/y"), ("other", "/open"), ("other", "/"),
            ):  # fmt: skip
                reply = await _raw(port, f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
                got.append((reply.split(" ")[1], reply.rsplit("\r\n", 1)[1].strip()))

            assert got == [("200", "s1"), ("200", "s2"), ("200", "s3"), ("404", "no route leads here")]

    asyncio.run(check())


def test_affinity_reaches_a_server_that_came_later(folder: Path, binary: Binary, backends: Backends) -> None:
    async def check() -> None:
        port, servers = free_port(), backends(2)
        fleet = fleet_of(port, servers[:1], affinity_cookie="lh")
        wider = fleet_of(port, servers, affinity_cookie="lh")
        async with running(folder, binary, fleet) as engine:
            applied = await engine.apply(wider)
            answers = await ask(port, 10, cookie="lh=s2")

            assert applied.mechanism == ("runtime" if binary.version >= (2, 8, 0) else "reload")
            assert {a.body for a in answers} == {"s2"}

    asyncio.run(check())


def test_affinity_holds_while_draining_and_ends_with_the_server(
    folder: Path, binary: Binary, backends: Backends
) -> None:
    async def check() -> None:
        port, servers = free_port(), backends(2)
        fleet = fleet_of(port, servers, affinity_cookie="lh")
        async with running(folder, binary, fleet) as engine:
            first = await ask(port, 10, cookie="lh=s2")
            await engine.apply(edit(fleet, "s2", admin=Admin.DRAIN))
            drained = await ask(port, 10, cookie="lh=s2")
            newcomers = await ask(port, 10)
            servers[1].kill()
            lost = await ask(port, 10, cookie="lh=s2")

            assert {a.body for a in first} == {a.body for a in drained} == {"s2"}
            assert {a.body for a in newcomers} == {"s1"}
            assert {(a.status, a.body) for a in lost} == {(200, "s1")}

    asyncio.run(check())


async def _raw(port: int, text: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text.encode())
    reply = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    return reply


def _leastconn(fleet: Fleet) -> Fleet:
    return replace(fleet, pools=(replace(fleet.pools[0], policy=LeastRequest()),))


async def _served(engine: HAProxyEngine, count: float) -> bool:
    return bool((await sampled(engine)).requests.sum() >= count)


async def _refused(engine: HAProxyEngine, count: int) -> bool:
    return bool((await sampled(engine)).pool.refused.sum() >= count)


async def _in_flight(engine: HAProxyEngine, count: int) -> bool:
    return bool((await sampled(engine)).in_flight.sum() == count)


async def _healths(engine: HAProxyEngine, wanted: list[int]) -> bool:
    return [int(h) for h in (await sampled(engine)).health] == wanted


async def _gone(engine: HAProxyEngine, runtime_socket: Path, name: str) -> bool:
    """Deleted in the process too, which happens in the course of readings."""
    assert name not in (await sampled(engine)).layout.servers
    (states,) = await talk.ask(runtime_socket, ("show servers state",))
    return f" {name} " not in states
